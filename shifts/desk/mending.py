"""Mending one thing at a time: each page asks, shows what would change, and then does it."""

import uuid
from collections import Counter
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme

from linking.models import Customer, DeskAction, WorkProvider
from shifts import bulk, mend
from shifts.desk import link_mending
from shifts.desk.addresses import address
from shifts.desk.bulk import undo_bulk
from shifts.desk.flow import (
    Done,
    EndForm,
    Fact,
    MendForm,
    Mending,
    Why,
    conduct,
    facts_of,
    filled,
    guarded,
    instant_of,
    nothing,
    when,
)
from shifts.desk.flow import about as about_them
from shifts.desk.pages import actor, page, show
from shifts.desk.subjects import WaitingForm, choose, is_pk, subject
from shifts.desk.words import ENDINGS, KINDS, identifier, told
from shifts.models import (
    Kind,
    Seen,
    Shift,
    ShiftEvent,
    Stream,
    Submission,
    Withdrawal,
    event_id,
)
from shifts.templatetags.desk import both

COPIES = 20
WAITING = 1_000
Do = DeskAction.Kind


class EventForm(MendForm):
    """A login or logout to add."""

    kind = forms.ChoiceField(label="What is missing", choices=Kind.choices)
    moments = {"at": "When it was"}
    order = ("kind", "at")


@page("linking.mend")
def add_event(request: HttpRequest) -> HttpResponse:
    """A login or logout that is missing."""
    whom = subject(request, "Add a login or logout")
    if isinstance(whom, HttpResponse):
        return whom
    customer, provider = whom
    return _ask_for_event(
        request,
        customer,
        provider,
        title="Add a login or logout",
        form=filled(EventForm, request, provider.timezone),
        about=about_them(customer, provider),
        back=address("customer", customer.pk),
    )


@page("linking.mend")
def end_shift(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """The end of a shift: a logout that is missing."""
    rows = Shift.objects.select_related("stream__customer", "stream__work_provider")
    shift = rows.filter(pk=pk).first()
    if shift is None:
        return nothing(
            request,
            "End a shift",
            "This shift is no more. Its page says what has become of it.",
            ("Look at it", address("shift", pk)),
        )
    provider, now = shift.stream.work_provider, timezone.now()
    end, reason = shift.end_as_of(now)
    lasts = Fact("To", both(end, provider.timezone) if end else ENDINGS[""])
    return _ask_for_event(
        request,
        shift.stream.customer,
        provider,
        title="End a shift",
        form=filled(
            EndForm, request, provider.timezone, at="" if end else now.replace(microsecond=0)
        ),
        about=[
            *about_them(shift.stream.customer, provider),
            Fact("From", both(shift.started_at, provider.timezone)),
            lasts,
            *([Fact("How it ended", ENDINGS[reason])] if reason else []),
        ],
        back=address("shift", pk),
    )


def _ask_for_event(
    request: HttpRequest, customer: Customer, provider: WorkProvider, *, form: MendForm, **page: Any
) -> HttpResponse:
    """A form that asks for no kind is for a logout."""

    def kind(data: dict[str, Any]) -> Kind:
        return Kind(data.get("kind", Kind.LOGOUT))

    def act(data: dict[str, Any], why: Why) -> Done:
        added = mend.add_event(provider, customer, kind(data), data["at"], **why._asdict())
        return Done(
            f"Added the {kind(data)} of {when(data['at'], provider.timezone)}.",
            to=address("customer", customer.pk),
            why=_why_added_in_vain(added),
        )

    return conduct(
        request,
        Mending(
            form=form,
            act=act,
            submit=lambda data: f"Add the {kind(data)} of {when(data['at'], provider.timezone)}",
            zone=provider.timezone,
            **page,
        ),
    )


def _why_added_in_vain(added: Submission) -> str:
    event = ShiftEvent.objects.get(pk=event_id(added.pk, 0))
    if event.outcome == "APPLIED":
        return "It counts, and changes nothing that was insured."
    if event.outcome == "WITHDRAWN":
        return "The desk has withdrawn this very event: undo that instead."
    return told(event).words


@page("linking.mend")
def withdraw(request: HttpRequest) -> HttpResponse:
    """An event that never happened, with all its copies."""
    stream, kind, at = _event_asked_for(request)
    provider, customer = stream.work_provider, stream.customer
    copies = list(
        ShiftEvent.objects.filter(stream=stream, kind=kind, timestamp=at).order_by("pk")[:COPIES]
    )
    what = f"the {kind} of {when(at, provider.timezone)}"
    standing = Withdrawal.objects.filter(
        stream=stream, kind=kind, timestamp=at, undone_at__isnull=True
    ).first()
    if standing is not None:
        undoing = ("Undo that", address("undo", standing.action_id))
        return nothing(request, "Withdraw an event", f"{what} is withdrawn.".capitalize(), undoing)
    if not copies:
        timeline = ("Their timeline", address("customer", customer.pk))
        words = "No such event has come: there is nothing to withdraw."
        return nothing(request, "Withdraw an event", words, timeline)

    def act(data: dict[str, Any], why: Why) -> Done:
        mend.withdraw(stream, kind, at, **why._asdict())
        return Done(
            f"Withdrew {what}.",
            to=address("customer", customer.pk),
            why=f"It made no shift: {told(copies[0]).words}",
            notes=["Copies of it that still come are struck too. It can be undone."],
        )

    return conduct(
        request,
        Mending(
            title="Withdraw an event",
            form=filled(MendForm, request, provider.timezone),
            act=act,
            submit=lambda data: f"Withdraw {what}",
            about=[
                *about_them(customer, provider),
                Fact("Event", format_html("{} at {}", KINDS[kind], both(at, provider.timezone))),
                *_arrivals(copies, provider),
            ],
            intro="For an event that never happened: it will count for nothing, and stay on "
            "record.",
            danger=True,
            back=address("customer", customer.pk),
        ),
    )


def _event_asked_for(request: HttpRequest) -> tuple[Stream, Kind, datetime]:
    at = instant_of(request.GET.get("at", ""))
    kind, pk = request.GET.get("kind", ""), request.GET.get("stream", "")
    if at is None or kind not in Kind.values or not is_pk(pk):
        raise Http404
    rows = Stream.objects.select_related("customer", "work_provider")
    return get_object_or_404(rows, pk=pk), Kind(kind), at


def _arrivals(copies: list[ShiftEvent], provider: WorkProvider) -> list[Fact]:
    """How it came, each copy by itself, with its submission."""
    requests = dict(
        Submission.objects.filter(pk__in=[copy.submission_id for copy in copies]).values_list(
            "pk", "request_id"
        )
    )
    return [
        Fact(
            "Came" if place == 0 else "And again",
            format_html("{}, by {}", both(copy.received_at, provider.timezone), identifier(copy)),
            address("submission", requests[copy.submission_id])
            if copy.submission_id in requests
            else "",
        )
        for place, copy in enumerate(copies)
    ]


@page("linking.mend")
def undo(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """An action of the desk taken back."""
    rows = DeskAction.objects.select_related("work_provider", "customer", "actor", "undone_by")
    action = get_object_or_404(rows, pk=pk)
    undone_by: DeskAction | None = getattr(action, "undone_by", None)
    if undone_by is not None:
        done = ("How it was undone", address("action", undone_by.pk))
        return nothing(request, "Undo", "This has been undone already.", done)
    if action.kind in bulk.UNDOABLE:
        return undo_bulk(request, action)
    if action.kind not in mend.UNDOABLE:
        return nothing(request, "Undo", *_instead(action))
    zone = action.work_provider.timezone if action.work_provider else "UTC"

    def act(data: dict[str, Any], why: Why) -> Done:
        undoing = mend.undo(action, **why._asdict())
        if action.customer_id is not None:
            to = address("customer", action.customer_id)
        else:
            to = address("action", undoing.pk)
        return Done(
            "Undone.", to=to, why="What it did had changed no shift, or others say the same."
        )

    return conduct(
        request,
        Mending(
            title="Undo",
            form=filled(MendForm, request, zone),
            act=act,
            submit=lambda data: "Undo it",
            about=facts_of(action, zone),
            intro="What was added counts no more, and what was withdrawn counts again. Both stay "
            "on record.",
            zone=zone,
            back=address("action", action.pk),
        ),
    )


def _instead(action: DeskAction) -> tuple[str, tuple[str, str]]:
    """What to do about an action that cannot be undone, and where."""
    if action.kind in (Do.MAKE_LINK, Do.CONFIRM_LINK) and "link" in action.details:
        ending = address("end-link", action.details["link"])
        return "A link is not undone but ended; as of its beginning it never held.", (
            "End the link",
            ending,
        )
    back = ("Back to what was done", address("action", action.pk))
    if action.kind == Do.UNDO:
        return "An undoing is not undone: do again what was undone.", back
    return "This cannot be undone: it changed nothing by itself, or another page mends it.", back


@page("linking.mend")
def replay(request: HttpRequest) -> HttpResponse:
    """Held events decided again."""
    given = request.GET.copy()
    if (pk := given.get("customer", "")) and is_pk(pk):
        given["number"] = get_object_or_404(Customer, pk=pk).number
    asked = WaitingForm(given or None)
    if not asked.is_valid():
        return choose(request, "Decide held events again", asked)
    provider: WorkProvider = asked.cleaned_data["work_provider"]
    whose: dict[str, Any] = {
        "driver_id": asked.cleaned_data["driver_id"],
        "customer": asked.cleaned_data["number"],
    }
    waiting = list(mend.waiting_for(provider, **whose).order_by("pk")[:WAITING])
    if not waiting:
        words = "No event of theirs waits at this work provider."
        return nothing(request, "Decide held events again", words, _driver_page(provider, **whose))
    ids = [event.pk for event in waiting]

    def act(data: dict[str, Any], why: Why) -> Done:
        mend.replay(provider, **whose, **why._asdict())
        count = ShiftEvent.objects.filter(pk__in=ids, stream__isnull=False).count()
        return Done(
            f"Decided again: {count:,} of {len(ids):,} have found their link.",
            to=_driver_page(provider, **whose)[1],
            why="No link explains them yet: confirm or make the link, and they count by "
            "themselves.",
            notes=[f"{count:,} of {len(ids):,} events find a link."],
        )

    return conduct(
        request,
        Mending(
            title="Decide held events again",
            form=filled(MendForm, request, provider.timezone),
            act=act,
            submit=lambda data: f"Decide {len(ids):,} events again",
            about=[
                Fact("Work provider", provider.name, address("work-provider", provider.pk)),
                _who_waits(provider, **whose),
                Fact("Waiting", _counted(waiting)),
            ],
            intro="A link that begins decides them by itself. This is for those that have "
            "expired, or that a link made by other means has missed.",
            back=_driver_page(provider, **whose)[1],
        ),
    )


def _who_waits(provider: WorkProvider, *, driver_id: str, customer: Customer | None) -> Fact:
    link = _driver_page(provider, driver_id=driver_id, customer=customer)[1]
    if customer is not None:
        return Fact("Customer", customer.number, link)
    return Fact("Driver id", driver_id, link)


def _driver_page(
    provider: WorkProvider, *, driver_id: str, customer: Customer | None
) -> tuple[str, str]:
    if customer is not None:
        return "Their timeline", address("customer", customer.pk)
    return "Their timeline", address("driver", provider.pk, driver_id)


def _counted(waiting: list[ShiftEvent]) -> str:
    """ "3 held, 1 rejected (expired)"."""
    counts = Counter((event.outcome.lower(), event.get_reason_display()) for event in waiting)
    parts = [
        f"{count:,} {outcome}" + (f" ({reason.lower().replace('_', ' ')})" if reason else "")
        for (outcome, reason), count in counts.most_common()
    ]
    at_least = "the first " if len(waiting) == WAITING else ""
    return at_least + ", ".join(parts)


@page("linking.mend")
def retry(request: HttpRequest, request_id: uuid.UUID) -> HttpResponse:
    """A FAILED submission tried again."""
    return _failed(
        request,
        request_id,
        title="Try a failed submission again",
        submit="Try it again",
        act=mend.retry_failed,
        done="It is pending again, and will be digested in a moment.",
        why="What it will change is seen once it has been digested: it becomes pending again, "
        "and a worker takes it up within seconds, up to five times. If it fails again, it is "
        "back on the list.",
    )


@page("linking.mend")
def discard(request: HttpRequest, request_id: uuid.UUID) -> HttpResponse:
    """A FAILED submission set aside."""
    return _failed(
        request,
        request_id,
        title="Discard a failed submission",
        submit="Discard it",
        act=mend.discard_failed,
        done="It is discarded, and stays on record.",
        why="It was never digested, so that no shift rests on it. Its events will not count; the "
        "body stays on record, and the discarding can be undone.",
        danger=True,
    )


def _failed(
    request: HttpRequest,
    request_id: uuid.UUID,
    *,
    title: str,
    submit: str,
    act: Any,
    done: str,
    why: str,
    danger: bool = False,
) -> HttpResponse:
    rows = Submission.objects.select_related("work_provider").defer("body")
    row = get_object_or_404(rows, request_id=request_id)
    there = address("submission", request_id)
    if row.status != "FAILED":
        words = f"This submission is not FAILED any more: it is {row.status}."
        return nothing(request, title, words, ("Look at it", there))

    def carry_out(data: dict[str, Any], asked: Why) -> Done:
        act(row, **asked._asdict())
        return Done(done, to=there, why=why)

    zone = row.work_provider.timezone
    return conduct(
        request,
        Mending(
            title=title,
            form=filled(MendForm, request, zone),
            act=carry_out,
            submit=lambda data: submit,
            about=[
                Fact("Work provider", row.work_provider.name),
                Fact("Submission", request_id, there),
                Fact("Sent", f"{row.event_count:,} x {row.kind}"),
                Fact("Received", both(row.received_at, zone)),
                Fact("Tried", f"{row.attempts} times"),
                Fact("Failure", row.failure or "-"),
            ],
            danger=danger,
            back=there,
        ),
    )


@page("linking.mend")
def seen(request: HttpRequest) -> HttpResponse:
    """Something that was shown to be looked at, taken off its list with what came of it."""
    given = request.POST if request.method == "POST" else request.GET
    kind, target = given.get("kind", ""), given.get("target", "")
    if kind not in Seen.Kind.values or not is_pk(target):
        raise Http404
    back = given.get("next", "")
    if not url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}):
        back = address("list", _LISTS[Seen.Kind(kind)])
    form = MendForm(request.POST if "reason" in request.POST else None, zone="UTC")

    def mark() -> HttpResponse:
        mend.mark_seen(
            Seen.Kind(kind),
            int(target),
            actor=actor(request),
            reason=form.cleaned_data["reason"],
            now=timezone.now(),
        )
        messages.success(request, "It is off the list; what you said stays on record.")
        return redirect(back)

    answer = guarded(form, mark) if form.is_bound and form.is_valid() else None
    return answer or show(
        request,
        "desk/mend_seen.html",
        title="Looked at",
        form=form,
        hidden={"kind": kind, "target": target, "next": back},
        what=Seen.Kind(kind).label,
        submit="Take it off the list",
        back=back,
    )


_LISTS = {
    Seen.Kind.REVISION: "shortened",
    Seen.Kind.ORPHAN: "orphans",
    Seen.Kind.LINK_REQUEST: "taken",
}


urlpatterns = [
    path("add-event/", add_event, name="add-event"),
    path("withdraw/", withdraw, name="withdraw"),
    path("undo/<uuid:pk>/", undo, name="undo"),
    path("end-shift/<uuid:pk>/", end_shift, name="end-shift"),
    path("replay/", replay, name="replay"),
    path("retry/<uuid:request_id>/", retry, name="retry"),
    path("discard/<uuid:request_id>/", discard, name="discard"),
    path("seen/", seen, name="seen"),
    *link_mending.urlpatterns,
]
