"""Whom a mending is about: as the address says, or asked for first."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from linking import identifiers
from linking.models import ApiKey, Customer, WorkProvider
from shifts.desk.pages import DeskForm, show


class SubjectForm(DeskForm):
    """Who it is about: a customer at a work provider."""

    number = forms.CharField(label="Customer number", max_length=200)
    work_provider = forms.ModelChoiceField(WorkProvider.objects.order_by("name"))

    def clean_number(self) -> Customer:
        """The customer, however the number was read out."""
        return _customer(self.cleaned_data["number"])


class WaitingForm(DeskForm):
    """Whose events wait: a driver id, or a customer number, at a work provider."""

    work_provider = forms.ModelChoiceField(WorkProvider.objects.order_by("name"))
    driver_id = forms.CharField(
        label="Driver id", max_length=200, required=False, help_text="As it was sent."
    )
    number = forms.CharField(
        label="Or customer number",
        max_length=200,
        required=False,
        help_text="For events that were sent by customer number (policyId).",
    )

    def clean_driver_id(self) -> str:
        """Trimmed, as it is when it is sent."""
        text = self.cleaned_data["driver_id"]
        return cleaned_id(text) if text else ""

    def clean_number(self) -> Customer | None:
        """The customer, however the number was read out."""
        text = self.cleaned_data["number"]
        return _customer(text) if text else None

    def clean(self) -> dict[str, Any]:
        """One of the two."""
        data = super().clean() or {}
        if not self.errors and bool(data["driver_id"]) is bool(data["number"]):
            raise ValidationError("Give a driver id or a customer number.")
        return data


def _customer(text: str) -> Customer:
    found = Customer.objects.filter(number="".join(text.split()).upper()).first()
    if found is None:
        raise ValidationError("There is no customer of this number.")
    return found


class WorkProviderForm(DeskForm):
    """Which work provider it is about."""

    work_provider = forms.ModelChoiceField(WorkProvider.objects.order_by("name"))


class CloseOutChoice(WorkProviderForm):
    """Which work provider, and when: what a preview needs."""

    at = forms.CharField(
        label="Log everybody out at",
        required=False,
        help_text="Such as 2026-11-21 18:30, in the work provider's zone; add Z for UTC.",
    )


class KeyForm(DeskForm):
    """Which key it is about."""

    key_id = forms.CharField(
        label="Key id", max_length=100, help_text="The twelve characters after zego_live_."
    )

    def clean_key_id(self) -> ApiKey:
        """The key of this id."""
        rows = ApiKey.objects.select_related("work_provider")
        found = rows.filter(key_id=self.cleaned_data["key_id"].strip()).first()
        if found is None:
            raise ValidationError("There is no key of this id.")
        return found


def cleaned_id(text: str) -> str:
    """An identifier as it is when it is sent; ValidationError for what is none."""
    try:
        return identifiers.clean(text)
    except ValueError as error:
        raise ValidationError(str(error)) from None


def subject(request: HttpRequest, title: str) -> tuple[Customer, WorkProvider] | HttpResponse:
    """The customer and the work provider of the address, or the page that asks for them."""
    given = request.GET.copy()
    if (pk := given.get("customer", "")) and is_pk(pk):
        given["number"] = get_object_or_404(Customer, pk=pk).number
    asked = SubjectForm(given or None)
    if asked.is_valid():
        return asked.cleaned_data["number"], asked.cleaned_data["work_provider"]
    return choose(request, title, asked)


def choose(request: HttpRequest, title: str, form: DeskForm) -> HttpResponse:
    """Ask who it is about; what is missing so far is no error."""
    for name in form.fields:
        if form.is_bound and not form.data.get(name):
            form.errors.pop(name, None)
    carried = {
        name: value
        for name, value in request.GET.items()
        if name not in form.fields and name != "customer"
    }
    return show(request, "desk/mend_choose.html", title=title, form=form, carried=carried)


def is_pk(text: str) -> bool:
    """Whether it could be the id of a row."""
    return text.isdecimal() and len(text) < 19
