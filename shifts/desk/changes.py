"""What a mending changes, in sentences: shifts before and after, and the cover that comes and goes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from linking.models import Customer, WorkProvider
from shifts import timeline
from shifts.desk.words import ENDINGS, Clock, day
from shifts.preview import Changed
from shifts.timeline import Shift

SHOWN = 20
_NOTHING = timedelta(0)


class Sentence(NamedTuple):
    """One shift: whose it is, on which day, and what becomes of it, in local time and in UTC.

    `shift_id` is of a shift that is there now; "" for one that would be new. `utc` is "" where that is
    the local time.
    """

    customer: Customer
    work_provider: WorkProvider
    shift_id: str
    day: str
    local: str
    zone: str
    utc: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What changes altogether: `sentences` are the first of them, `lost` and `gained` cover of all."""

    headline: str
    sentences: list[Sentence]
    more: int
    lost: timedelta
    gained: timedelta


def summary(changes: Sequence[Changed], now: datetime) -> Summary:
    """Tell what changes, as it reads at `now`."""
    shown = changes[:SHOWN]
    customers = Customer.objects.in_bulk({one.customer_id for one in shown})
    providers = WorkProvider.objects.in_bulk({one.work_provider_id for one in shown})
    before, after = (
        _cover(changes, now, lambda one: one.old),
        _cover(changes, now, lambda one: one.new),
    )
    return Summary(
        headline=_headline(changes),
        sentences=[
            _sentence(one, customers[one.customer_id], providers[one.work_provider_id], now)
            for one in shown
        ],
        more=len(changes) - len(shown),
        lost=_without(before, after),
        gained=_without(after, before),
    )


def as_row(change: Changed, zone: str, now: datetime) -> tuple[str, str, str]:
    """For a table: the day, the shift before, and after; "none" where there is no shift."""
    clock = Clock(zone, change.started_at)
    old, new = (_span(shift, clock, now) if shift else "none" for shift in (change.old, change.new))
    return day(change.started_at.astimezone(ZoneInfo(zone))), old, new


def _headline(changes: Sequence[Changed]) -> str:
    new = sum(one.old is None for one in changes)
    gone = sum(one.new is None for one in changes)
    counts = [
        (len(changes) - new - gone, "will change", "will change"),
        (new, "is new", "are new"),
        (gone, "goes", "go"),
    ]
    parts = [
        f"{count:,} {'shift' if count == 1 else 'shifts'} {one if count == 1 else many}"
        for count, one, many in counts
        if count
    ]
    return ", ".join(parts) or "No shift changes"


def _sentence(
    change: Changed, customer: Customer, work_provider: WorkProvider, now: datetime
) -> Sentence:
    local = change.started_at.astimezone(ZoneInfo(work_provider.timezone))
    utc = change.started_at.astimezone(UTC)
    in_utc = ""
    if local.utcoffset() != _NOTHING:
        in_utc = _words(change, Clock("UTC", utc), now, ending=False)
        if utc.date() != local.date():
            in_utc = f"{day(utc)}, {in_utc}"
    return Sentence(
        customer=customer,
        work_provider=work_provider,
        shift_id=str(change.shift_id) if change.old else "",
        day=day(local),
        local=_words(change, Clock(work_provider.timezone, local), now),
        zone=f"{local:%Z}",
        utc=in_utc,
    )


def _words(change: Changed, clock: Clock, now: datetime, *, ending: bool = True) -> str:
    if change.old is None:
        assert change.new is not None
        return f"a new shift, {_span(change.new, clock, now, ending=ending)}"
    old = _span(change.old, clock, now, ending=ending)
    if change.new is None:
        return f"{old} goes"
    return f"{old} becomes {_span(change.new, clock, now, ending=ending)}"


def _span(shift: Shift, clock: Clock, now: datetime, *, ending: bool = True) -> str:
    end, reason = timeline.end_as_of(shift.ended_at, shift.end_reason, shift.closes_at, now)
    span = f"{clock(shift.started_at)} - {clock(end) if end else 'now'}"
    return f"{span} ({ENDINGS[reason]})" if ending else span


_Interval = tuple[datetime, datetime]


def _cover(
    changes: Iterable[Changed], now: datetime, which: Callable[[Changed], Shift | None]
) -> dict[tuple[int, int], list[_Interval]]:
    """The cover of each stream so far: an open shift counts up to now."""
    cover: dict[tuple[int, int], list[_Interval]] = {}
    for change in changes:
        if (shift := which(change)) is not None:
            end, _ = timeline.end_as_of(shift.ended_at, shift.end_reason, shift.closes_at, now)
            interval = (shift.started_at, max(end or now, shift.started_at))
            cover.setdefault((change.work_provider_id, change.customer_id), []).append(interval)
    return cover


def _without(
    cover: dict[tuple[int, int], list[_Interval]], other: dict[tuple[int, int], list[_Interval]]
) -> timedelta:
    """How much of one cover the other does not hold; within a stream no two intervals overlap."""
    left = _NOTHING
    for stream, intervals in cover.items():
        for start, end in intervals:
            left += end - start
            for begins, ends in other.get(stream, []):
                left -= max(min(end, ends) - max(start, begins), _NOTHING)
    return left
