"""One request, as it was accepted: what was in it, and what became of it."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import msgspec
from django.db.models import BinaryField, Count, Func, IntegerField, QuerySet, Value
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import path
from django.utils import timezone

from shifts import payload
from shifts.desk import addresses
from shifts.desk.addresses import address
from shifts.desk.pages import PAGE, page, paged, show
from shifts.desk.words import Tag, identifier, lateness, length, tag_of, told
from shifts.digest import MAX_ATTEMPTS
from shifts.models import Outcome, ShiftEvent, Submission, Withdrawal, event_id

SHOWN_BYTES = 20_000
_ERRORS = 5
_READ_BYTES = 200_000  # what is made readable at most
_STATES = {
    "PENDING": Tag("pending", "warn"),
    "DIGESTED": Tag("digested", "good"),
    "FAILED": Tag("failed", "bad"),
    "DISCARDED": Tag("discarded", "plain"),
}


class EventLine(NamedTuple):
    """An event of the submission, as the page shows it."""

    event: ShiftEvent
    place: int
    who: str
    there: str
    tag: Tag
    words: str
    rule: str
    late: str
    withdraw: str


@dataclass(frozen=True, slots=True)
class Body:
    """The body, or its beginning."""

    text: str
    size: int
    is_cut: bool


class _Octets(Func):
    """How many bytes a binary column holds."""

    function = "octet_length"
    output_field = IntegerField()


class _Beginning(Func):
    """The first bytes of a binary column."""

    function = "substring"
    output_field = BinaryField()


@page("shifts.view_shift")
def submission(request: HttpRequest, request_id: uuid.UUID) -> HttpResponse:
    """Everything about one request."""
    now = timezone.now()
    rows = Submission.objects.defer("body").select_related(
        "work_provider", "api_key", "action__actor", "reread_of"
    )
    row = get_object_or_404(rows, request_id=request_id)
    shown = paged(request, _from_event(request, row), by="pk")
    withdrawals = list(
        Withdrawal.objects.filter(submission=row)
        .select_related("action__actor", "undone_action__actor")
        .order_by("-pk")
    )
    return show(
        request,
        "desk/submission.html",
        title=f"Request {row.request_id}",
        row=row,
        zone=row.work_provider.timezone,
        state=_STATES[row.status],
        trouble=_trouble(row, now),
        counts=_counts(row),
        page=shown,
        events=[_line(event, row) for event in shown.rows],
        body=_body(row),
        withdrawals=withdrawals,
        readings=_readings(row),
        now=now,
    )


def events_of(row: Submission) -> QuerySet[ShiftEvent]:
    """A submission's events: a range of ids."""
    return ShiftEvent.objects.filter(pk__gte=event_id(row.pk, 0), pk__lt=event_id(row.pk + 1, 0))


def _from_event(request: HttpRequest, row: Submission) -> QuerySet[ShiftEvent]:
    """With ?event= the page of that event first."""
    rows = events_of(row).select_related("stream__customer")
    wanted = request.GET.get("event", "")
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 20:
        place = int(wanted) - event_id(row.pk, 0)
        if 0 <= place < row.event_count:
            rows = rows.filter(pk__gte=event_id(row.pk, place - place % PAGE))
    return rows


def _counts(row: Submission) -> list[tuple[str, int]]:
    """Events by outcome, in the order of the outcomes."""
    found = dict(
        events_of(row)
        .values_list("outcome")
        .annotate(count=Count("pk"))
        .values_list("outcome", "count")
    )
    names = {Outcome.APPLIED: "counted"}
    return [
        (names.get(outcome, outcome.label.lower()), found[outcome])
        for outcome in Outcome
        if outcome in found
    ]


def _line(event: ShiftEvent, row: Submission) -> EventLine:
    what = told(event)
    event.work_provider = row.work_provider
    is_struck = event.outcome == Outcome.WITHDRAWN
    return EventLine(
        event=event,
        place=event.pk - event_id(row.pk, 0) + 1,
        who=identifier(event),
        there=_whose(event),
        tag=tag_of(event),
        words=what.words,
        rule=what.rule,
        late=lateness(event.timestamp, event.received_at),
        withdraw="" if is_struck else addresses.withdraw(event),
    )


def _whose(event: ShiftEvent) -> str:
    """The timeline that the event is part of, on its day."""
    day = event.timestamp.date().isoformat()
    days = {"from": day, "to": day}
    if event.stream is not None:
        provider = event.work_provider_id
        return address("customer", event.stream.customer_id, work_provider=provider, **days)
    if event.driver_id is not None:
        return address("driver", event.work_provider_id, event.driver_id, **days)
    return address("search", q=event.customer_number)


def _trouble(row: Submission, now: datetime) -> list[str]:
    """How a request that is not digested stands, in words."""
    if row.status == "PENDING":
        return list(_waits(row, now))
    if row.status == "FAILED":
        aside = f"It was set aside after {row.attempts} attempts."
        return [aside, "Its events count for nothing until it is tried again.", *_failure(row)]
    if row.status == "DISCARDED":
        return ["The ops desk discarded it: its events count for nothing.", *_failure(row)]
    return []


def _waits(row: Submission, now: datetime) -> Iterator[str]:
    yield f"It has waited for its digest for {length(now - row.received_at)}."
    if row.attempts:
        yield f"{row.attempts} of {MAX_ATTEMPTS} attempts were made."
    if row.leased_until is not None and row.leased_until > now:
        yield "A worker is at it now."
    elif row.next_attempt_at is not None and row.next_attempt_at > now:
        yield f"The next attempt is due in {length(row.next_attempt_at - now)}."
    yield from _failure(row)


def _failure(row: Submission) -> Iterator[str]:
    if row.failure.startswith("InvalidBody"):
        yield "What was accepted once does not read as valid any more:"
        yield from _errors(row)
    elif row.failure:
        yield f"The last attempt ended with: {row.failure}"


def _errors(row: Submission) -> Iterator[str]:
    """What the present release finds wrong with the body."""
    body = Submission.objects.values_list("body", flat=True).get(pk=row.pk)
    try:
        payload.read(
            bytes(body), is_batch=row.is_batch, zone=row.timezone, received_at=row.received_at
        )
    except payload.InvalidBody as invalid:
        for error in invalid.errors[:_ERRORS]:
            where = [f"event {error.index + 1}"] if error.index is not None else []
            where += [error.field] if error.field else []
            yield f"{', '.join(where) or 'The body'}: {error.reason}"
    else:
        yield "This release can read it: try it again."


def _body(row: Submission) -> Body:
    """As it was sent; indented where that can be done, and cut where it is long."""
    size, beginning = (
        Submission.objects.filter(pk=row.pk)
        .values_list(_Octets("body"), _Beginning("body", Value(1), Value(_READ_BYTES)))
        .get()
    )
    data = bytes(beginning)
    text = _readable(data) if len(data) == size else data.decode(errors="replace")
    return Body(text[:SHOWN_BYTES], size, len(text) > SHOWN_BYTES or len(data) < size)


def _readable(data: bytes) -> str:
    """Indented; every name, number and string stays as it was sent."""
    try:
        return msgspec.json.format(data, indent=2).decode(errors="replace")
    except msgspec.MsgspecError:
        return data.decode(errors="replace")


def _readings(row: Submission) -> list[Submission]:
    """Where its body was read again, in another zone."""
    again = Submission.objects.filter(reread_of=row).defer("body")
    return list(again.order_by("-pk"))


urlpatterns = [path("submission/<uuid:request_id>/", submission, name="submission")]
