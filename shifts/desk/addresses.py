"""Where things are on the desk: links with their queries, and driver ids that stand in a path."""

from datetime import datetime
from urllib.parse import quote, unquote, urlencode

from django.urls import reverse

from linking.models import Customer
from shifts.models import ShiftEvent, Stream


class DriverIdConverter:
    """A driver id as one part of a path; quoted once more, since it may hold any character."""

    regex = "[^/]+"

    def to_python(self, value: str) -> str:
        return unquote(value)

    def to_url(self, value: str) -> str:
        return quote(value, safe="") if value.strip(".") else value.replace(".", "%2E")


def address(name: str, *args: object, **query: object) -> str:
    """The path of a page of the desk, with those of `query` that are not empty; instants in ISO form."""
    path = reverse(f"desk:{name}", args=args)
    given = {key: _text(value) for key, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def add_event(stream: Stream, kind: str, at: datetime | None = None) -> str:
    """Where to add a login or logout to a stream."""
    return address(
        "add-event",
        customer=stream.customer_id,
        work_provider=stream.work_provider_id,
        kind=kind,
        at=at,
    )


def withdraw(event: ShiftEvent) -> str:
    """Where to withdraw an event, with all its copies; "" for one that no stream holds."""
    if event.stream_id is None:
        return ""
    return address("withdraw", stream=event.stream_id, kind=event.kind, at=event.timestamp)


def at_moment(customer: Customer, at: datetime, work_provider_id: int | None = None) -> str:
    """Whether a customer was covered at an instant."""
    return address("cover", customer=customer.number, work_provider=work_provider_id, at=at)


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
