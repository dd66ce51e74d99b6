"""Forms of the linking flow; django-allauth's with the link's details filled in."""

from collections.abc import Sequence
from typing import Any

from allauth.account import forms as allauth_forms
from allauth.core import context
from django import forms
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from linking import intents, terms
from linking.models import Customer, LinkIntent, Terms, User

_TERMS_CHANGED = "The terms have changed while you were reading. Please read them again."
_AGREE = "Tick the box to agree."


def add_terms(form: forms.Form, shown: Sequence[Terms]) -> None:
    """Let the form ask for agreement to exactly the versions that the page shows."""
    if not shown:
        return
    # The versions travel with the page, so that nobody agrees to a text that they have not seen.
    form.fields["terms"] = forms.CharField(
        widget=forms.HiddenInput, initial=_ids(shown), required=False
    )
    label = "I have read and agree to " + " and ".join(f"{each.owner}'s terms" for each in shown)
    form.fields["agree"] = forms.BooleanField(label=label, error_messages={"required": _AGREE})


def refuse_changed_terms(form: forms.Form, shown: Sequence[Terms]) -> None:
    """Add an error when the versions sent are not those that stand now."""
    if shown and form.cleaned_data.get("terms") != _ids(shown):
        sent = {name: form.data[name] for name in form.data if name != "agree"}
        form.data = {**sent, "terms": _ids(shown)}
        form.add_error("agree", _TERMS_CHANGED)


def _ids(shown: Sequence[Terms]) -> str:
    return ",".join(str(each.pk) for each in shown)


def _open_intent() -> LinkIntent | None:
    return intents.remembered(context.request, timezone.now())


class LoginForm(allauth_forms.LoginForm):  # type: ignore[misc]
    """With the link's email filled in, and a refusal told beside the password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.intent = _open_intent()
        if self.intent is not None:
            self.fields["login"].initial = self.intent.email

    def clean(self) -> dict[str, Any]:
        try:
            super().clean()
        except forms.ValidationError as error:
            self.add_error("password", error)
        cleaned: dict[str, Any] = self.cleaned_data
        return cleaned


class ResetPasswordForm(allauth_forms.ResetPasswordForm):  # type: ignore[misc]
    """With the link's email filled in."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.intent = _open_intent()
        if self.intent is not None:
            self.fields["email"].initial = self.intent.email


class SignupForm(allauth_forms.SignupForm):  # type: ignore[misc]
    """With the link's details filled in; agrees to Zego's and the work provider's terms."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.intent = _open_intent()
        self.shown_terms: list[Terms] = []
        if self.intent is not None:
            self.fields["email"].initial = self.intent.email
            self.shown_terms = terms.current([self.intent.work_provider], timezone.now())
        add_terms(self, self.shown_terms)

    def clean(self) -> dict[str, Any]:
        super().clean()
        refuse_changed_terms(self, self.shown_terms)
        cleaned: dict[str, Any] = self.cleaned_data
        return cleaned

    def try_save(self, request: HttpRequest) -> tuple[User | None, HttpResponse | None]:
        """The user, or the answer that an address with an account gets."""
        try:
            user, response = super().try_save(request)
        except IntegrityError:
            self.account_already_exists = True
            user, response = super().try_save(request)
        return user, response

    def save(self, request: HttpRequest) -> User:
        """The user, with a customer number and their agreement on record.

        IntegrityError when another session has just signed up with the address.
        """
        assert self.intent is not None  # sign-up is closed without one
        with transaction.atomic():
            user: User = super().save(request)
            customer = Customer.objects.create(user=user, is_test=self.intent.work_provider.is_test)
            terms.agree(customer, self.shown_terms, timezone.now())
        return user


class TermsForm(forms.Form):
    """The driver's yes to versions of terms that they have not agreed to yet; there may be none."""

    def __init__(self, *args: Any, shown_terms: Sequence[Terms], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shown_terms = shown_terms
        add_terms(self, shown_terms)

    def clean(self) -> dict[str, Any]:
        refuse_changed_terms(self, self.shown_terms)
        return self.cleaned_data


class ConsentForm(TermsForm):
    """The driver's yes to one intent."""

    intent = forms.UUIDField(widget=forms.HiddenInput)
