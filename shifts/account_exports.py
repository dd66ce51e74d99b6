"""What drivers may take away: their shifts as CSV, and what is kept about them as JSON.

Either is written to its end before the first byte is sent. What is large goes by way of a temporary
file, so memory does not grow with it; and a database that goes away in the middle makes a 503, never
a file that only looks complete.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import IO, Any, TextIO
from zoneinfo import ZoneInfo

from allauth.account.models import EmailAddress
from django.db.models import QuerySet

from linking import flows
from linking.models import Agreement, Customer, DriverLink, LinkRequest, User
from shifts.account import agreements, ending
from shifts.models import Shift, ShiftEvent
from zego_api import spreadsheet

COLUMNS = [
    "work provider",
    "driver id",
    "started",
    "ended",
    "length in seconds",
    "how it ended",
]
_EVENT = (
    "kind",
    "timestamp",
    "received_at",
    "outcome",
    "reason",
    "driver_id",
    "customer_number",
)
_IN_MEMORY = 1024 * 1024
_CHUNK = 2_000


def shifts_csv(user: User, now: datetime) -> IO[bytes]:
    """Every shift of the user, the oldest first."""

    def write(file: TextIO) -> None:
        rows = (_csv_row(shift, now) for shift in _shifts(user))
        file.writelines(spreadsheet.lines(chain([COLUMNS], rows)))

    return _written(write, spreadsheet.ENCODING)


def everything_json(user: User, now: datetime) -> IO[bytes]:
    """What the user's account, links, requests, agreements, events and shifts hold."""

    def write(file: TextIO) -> None:
        file.writelines(_json(_sections(user, now)))

    return _written(write, "utf-8")


def _written(write: Callable[[TextIO], None], encoding: str) -> IO[bytes]:
    with ExitStack() as if_it_fails:
        file = if_it_fails.enter_context(SpooledTemporaryFile(max_size=_IN_MEMORY))
        text = io.TextIOWrapper(file, encoding, newline="")
        write(text)
        text.detach()
        file.seek(0)
        if_it_fails.pop_all()
    return file


def _csv_row(shift: Shift, now: datetime) -> list[str]:
    owner = shift.link.work_provider
    zone = ZoneInfo(owner.timezone)
    end, reason = shift.end_as_of(now)
    return [
        owner.name,
        shift.link.driver_id,
        shift.started_at.astimezone(zone).isoformat(),
        end.astimezone(zone).isoformat() if end else "",
        str(int((end - shift.started_at).total_seconds())) if end else "",
        ending(shift, reason),
    ]


def _shifts(user: User) -> Iterator[Shift]:
    found = Shift.objects.filter(stream__customer__user=user).select_related("link__work_provider")
    return found.order_by("started_at", "pk").iterator(_CHUNK)


def _sections(user: User, now: datetime) -> Iterator[tuple[str, object]]:
    customer = flows.customer_or_none(user)
    yield "made_at", now
    yield "account", _account(user)
    yield "customer_number", customer.number if customer else None
    if customer is not None:
        yield from _of_customer(customer, now)
        yield "shifts", (_shift(shift, now) for shift in _shifts(user))


def _of_customer(customer: Customer, now: datetime) -> Iterator[tuple[str, object]]:
    links = DriverLink.objects.filter(customer=customer).order_by("linked_at", "pk")
    yield "links", _rows(links, "driver_id", "linked_at", "unlinked_at", "ended_by")
    # Not the reason of a refusal, which may tell of another customer.
    requests = LinkRequest.objects.filter(customer=customer).order_by("agreed_at", "pk")
    yield "link_requests", _rows(requests, "driver_id", "agreed_at", "state", "decided_at")
    yield "agreements", [_agreement(each) for each in agreements(customer)]
    streams = list(customer.streams.values_list("pk", flat=True))
    events = ShiftEvent.objects.order_by("timestamp", "id")
    yield "events", _rows(events.filter(stream__in=streams), *_EVENT)
    unexplained = events.filter(stream__isnull=True, customer_number=customer.number)
    yield "events_without_a_link", _rows(unexplained, *_EVENT)


def _account(user: User) -> dict[str, Any]:
    addresses = EmailAddress.objects.filter(user=user).order_by("-primary", "email")
    return {
        "email_addresses": list(addresses.values("email", "verified", "primary")),
        "first_name": user.first_name,
        "last_name": user.last_name,
        "joined": user.date_joined,
        "last_login": user.last_login,
    }


def _agreement(agreement: Agreement) -> dict[str, Any]:
    return {
        "terms_of": agreement.terms.owner,
        "version": agreement.terms.version,
        "agreed_at": agreement.agreed_at,
    }


def _shift(shift: Shift, now: datetime) -> dict[str, Any]:
    end, reason = shift.end_as_of(now)
    return {
        "work_provider": shift.link.work_provider.name,
        "driver_id": shift.link.driver_id,
        "started_at": shift.started_at,
        "ended_at": end,
        "how_it_ended": ending(shift, reason),
        "login_at": shift.login_at,
        "starts_at_agreement": shift.start_clipped,
        "start_known_at": shift.start_known_at,
        "end_known_at": shift.end_known_at,
    }


def _rows(found: "QuerySet[Any]", *fields: str) -> Iterator[dict[str, Any]]:
    """One dict a row: the work provider's name and some fields."""
    names = ["work_provider", *fields]
    for row in found.values_list("work_provider__name", *fields).iterator(_CHUNK):
        yield dict(zip(names, row, strict=True))


def _json(sections: Iterable[tuple[str, object]]) -> Iterator[str]:
    """One object; what an iterator gives is written item by item."""
    opening = "{"
    for name, value in sections:
        yield f"{opening}\n{_dumped(name)}: "
        if isinstance(value, Iterator):
            yield from _array(value)
        else:
            yield _dumped(value)
        opening = ","
    yield "\n}\n"


def _array(items: Iterator[object]) -> Iterator[str]:
    opening = "["
    for item in items:
        yield f"{opening}\n{_dumped(item)}"
        opening = ","
    yield "[]" if opening == "[" else "\n]"


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=_instant)


def _instant(value: object) -> str:
    assert isinstance(value, datetime)
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
