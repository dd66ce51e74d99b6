"""What has become of what came by some submissions: outcomes, drivers, shifts that rest on it."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Q, QuerySet

from shifts.desk.words import Tag, tag_of
from shifts.models import Shift, ShiftEvent, event_id

MOST_EVENTS = 10_000
SHOWN = 20
_BEFORE = timedelta(days=31)  # how long before its logout a shift may have begun


class Effects(NamedTuple):
    """Counts over the first `events` of the digested ones; `is_all` when these are all."""

    events: int
    is_all: bool
    outcomes: list[tuple[Tag, int]]
    drivers: int
    customers: int
    shifts: int
    first: list[Shift]


def effects_of(sent: Sequence[tuple[int, int]]) -> Effects:
    """Of submissions, each with its id and how many events it has."""
    ids = [event_id(pk, place) for pk, count in sent for place in range(count)]
    columns = ("pk", "stream", "timestamp", "outcome", "driver_id", "customer_number")
    events = list(
        ShiftEvent.objects.filter(pk__in=ids[:MOST_EVENTS]).values_list(*columns, named=True)
    )
    outcomes = Counter(event.outcome for event in events)
    shifts = _resting_on(
        [(row.pk, row.stream, row.timestamp) for row in events if row.outcome == "APPLIED"]
    )
    return Effects(
        events=len(events),
        is_all=len(ids) <= MOST_EVENTS,
        outcomes=[
            (tag_of(ShiftEvent(outcome=name)), number) for name, number in outcomes.most_common()
        ],
        drivers=len({(event.driver_id, event.customer_number) for event in events}),
        customers=len({event.stream for event in events} - {None}),
        shifts=shifts.count(),
        first=list(shifts.select_related("stream__customer").order_by("started_at")[:SHOWN]),
    )


def _resting_on(events: Sequence[tuple[int, int | None, datetime]]) -> QuerySet[Shift]:
    """The shifts that events opened or ended, found by way of their streams and times."""
    if not events:
        return Shift.objects.none()
    ids = [pk for pk, _, _ in events]
    times = [at for _, _, at in events]
    return Shift.objects.filter(
        Q(opened_by__in=ids) | Q(ended_by__in=ids),
        stream__in={stream for _, stream, _ in events},
        login_at__gte=min(times) - _BEFORE,
        login_at__lte=max(times),
    )
