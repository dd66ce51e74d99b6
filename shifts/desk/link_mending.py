"""Links on the desk: confirmed or refused, made for who agreed elsewhere, and ended."""

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import path
from django.utils import timezone

from linking.models import DriverLink, LinkRequest
from shifts import mend
from shifts.desk.addresses import address
from shifts.desk.flow import (
    Done,
    EndForm,
    Fact,
    MendForm,
    Mending,
    Why,
    conduct,
    filled,
    nothing,
    when,
)
from shifts.desk.flow import about as about_them
from shifts.desk.pages import page
from shifts.desk.subjects import cleaned_id, subject
from shifts.templatetags.desk import both

TOLD_BY_MAIL = "The driver is told by mail, if the account has a verified address."


class LinkForm(MendForm):
    """Under which driver id, and since when: the moment of the driver's own word."""

    driver_id = forms.CharField(
        label="Driver id", max_length=200, help_text="As the work provider sends it."
    )
    moments = {"agreed_at": "When the driver agreed"}
    order = ("driver_id", "agreed_at")

    def clean_driver_id(self) -> str:
        """Trimmed, as it is when it is sent."""
        return cleaned_id(self.cleaned_data["driver_id"])


@page("linking.mend")
def confirm_link(request: HttpRequest, pk: int) -> HttpResponse:
    """The yes to a link that waits."""

    def act(row: LinkRequest, why: Why) -> Done:
        mend.confirm_link(row, **why._asdict())
        return Done(
            "The link is made; the driver is told.",
            to=address("customer", row.customer_id),
            why="No event has come that makes a shift with it. Those that come from now on count.",
            notes=[TOLD_BY_MAIL],
        )

    return _decide(request, pk, title="Confirm a link", submit="Confirm the link", act=act)


@page("linking.mend")
def refuse_link(request: HttpRequest, pk: int) -> HttpResponse:
    """The no to a link that waits."""

    def act(row: LinkRequest, why: Why) -> Done:
        mend.refuse_link(row, **why._asdict())
        return Done(
            "The link is refused; the driver is told.",
            to=address("list", "waiting-links"),
            why="Nothing counted while it waited.",
            notes=[f"{TOLD_BY_MAIL} The reason stays with the desk."],
        )

    return _decide(
        request, pk, title="Refuse a link", submit="Refuse the link", act=act, danger=True
    )


def _decide(
    request: HttpRequest, pk: int, *, title: str, submit: str, act: Any, danger: bool = False
) -> HttpResponse:
    row = get_object_or_404(
        LinkRequest.objects.select_related("work_provider", "customer__user"), pk=pk
    )
    if row.state != LinkRequest.State.WAITING:
        words = f"This request does not wait any more: it is {row.get_state_display().lower()}."
        there = ("The customer", address("customer", row.customer_id))
        return nothing(request, title, words, there)
    zone = row.work_provider.timezone
    return conduct(
        request,
        Mending(
            title=title,
            form=filled(MendForm, request, zone),
            act=lambda data, why: act(row, why),
            submit=lambda data: submit,
            about=[
                *about_them(row.customer, row.work_provider),
                Fact("Email", row.customer.user.email if row.customer.user else "-"),
                Fact(
                    "Driver id",
                    row.driver_id,
                    address("driver", row.work_provider_id, row.driver_id),
                ),
                Fact("Agreed", both(row.agreed_at, zone)),
            ],
            intro="A confirmed link holds from the agreement on. Is it this person who drives "
            "under this id? The work provider knows.",
            danger=danger,
            back=address("list", "waiting-links"),
        ),
    )


@page("linking.mend")
def make_link(request: HttpRequest) -> HttpResponse:
    """A link for a driver who agreed elsewhere."""
    whom = subject(request, "Make a link")
    if isinstance(whom, HttpResponse):
        return whom
    customer, provider = whom

    def act(data: dict[str, Any], why: Why) -> Done:
        mend.make_link(
            provider, customer, data["driver_id"], agreed_at=data["agreed_at"], **why._asdict()
        )
        return Done(
            f"Linked as {data['driver_id']}; the driver is told.",
            to=address("customer", customer.pk),
            why="No event has come that makes a shift with it. Those that come from now on count.",
            notes=[TOLD_BY_MAIL],
        )

    return conduct(
        request,
        Mending(
            title="Make a link",
            form=filled(LinkForm, request, provider.timezone),
            act=act,
            submit=lambda data: f"Link as {data['driver_id']}",
            about=about_them(customer, provider),
            intro="Cover never starts before consent: only for a driver who has agreed to the "
            "terms, from that moment on. Say in the reason how you know.",
            zone=provider.timezone,
            back=address("customer", customer.pk),
        ),
    )


@page("linking.mend")
def end_link(request: HttpRequest, pk: int) -> HttpResponse:
    """The end of a link."""
    row = get_object_or_404(DriverLink.objects.select_related("work_provider", "customer"), pk=pk)
    provider, zone = row.work_provider, row.work_provider.timezone
    there = address("customer", row.customer_id)
    if row.unlinked_at is not None and row.unlinked_at <= row.linked_at:
        words = "This link ended as it began: it never held."
        return nothing(request, "End a link", words, ("The customer", there))

    def act(data: dict[str, Any], why: Why) -> Done:
        mend.end_link(row, data["at"], **why._asdict())
        return Done(
            f"The link ended at {when(data['at'], provider.timezone)}; the driver is told.",
            to=there,
            why="No shift reaches beyond that moment.",
            notes=[TOLD_BY_MAIL],
        )

    return conduct(
        request,
        Mending(
            title="End a link",
            form=filled(EndForm, request, zone, at=timezone.now().replace(microsecond=0)),
            act=act,
            submit=lambda data: f"End the link at {when(data['at'], provider.timezone)}",
            about=[
                *about_them(row.customer, provider),
                Fact("Driver id", row.driver_id, address("driver", provider.pk, row.driver_id)),
                Fact("Linked", both(row.linked_at, zone)),
                *([Fact("Ended", both(row.unlinked_at, zone))] if row.unlinked_at else []),
            ],
            lead=("It never held: end it as it began", address("end-link", pk, at=row.linked_at)),
            zone=zone,
            danger=True,
            back=there,
        ),
    )


urlpatterns = [
    path("confirm-link/<int:pk>/", confirm_link, name="confirm-link"),
    path("refuse-link/<int:pk>/", refuse_link, name="refuse-link"),
    path("make-link/", make_link, name="make-link"),
    path("end-link/<int:pk>/", end_link, name="end-link"),
]
