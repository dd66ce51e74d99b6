"""What work providers send: sixty days of drivers' logins and logouts, with all that goes wrong.

Nothing here knows the database. Instants are whole Unix seconds, cheap enough for millions of them.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

from shifts.timeline import LOGIN, LOGOUT, Link

DAYS = 60
DIGESTED, FAILED, PENDING = "DIGESTED", "FAILED", "PENDING"
BATCH = 100
MINUTE, HOUR, DAY = 60, 3_600, 86_400
# How often what happens to a shift; the rest have a login and a logout, soon reported.
_FATES = {
    "forgot to log out": 0.025,
    "login lost": 0.005,
    "logout late": 0.002,
    "login late": 0.001,
    "very long": 0.0007,
    "no length": 0.0005,
    "ops added the logout": 0.0005,
}
_FAILED = 0.00002  # of submissions
_PENDING = 0.05  # of work providers, the last submission
_WITHDRAWN = 0.0005  # of logouts, by the ops desk
_FATEFUL = sum(_FATES.values())
# Hour of the day at which shifts begin, give or take, and how often.
_STARTS = {7.5: 15, 11.5: 25, 17.5: 60}


class Sent(NamedTuple):
    """An event on its way: when it is said to have happened, and from when it can be received."""

    at: int
    ready: int
    kind: str
    driver: int
    is_ops: bool = False


class Struck(NamedTuple):
    """An event that the ops desk withdrew, and when."""

    driver: int
    kind: str
    at: int
    withdrawn_at: int


@dataclass(slots=True)
class Driver:
    """One driver id of a work provider, and who stands behind it; without a stream, nobody."""

    driver_id: str
    shifts: int
    first_day: int = 0
    last_day: int = DAYS
    number: str = ""
    customer_id: int | None = None
    stream_id: int | None = None
    links: list[Link] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Habits:
    """How a work provider sends."""

    zone: ZoneInfo
    extra: float  # events a shift, on average, besides one login and one logout
    duplicates: float  # the part of these that is sent again as it was; most of the rest are logins
    names_customers: bool  # by customer number, not by driver id
    spelling: str  # of instants: "utc", "offset", or "naive" local time
    patience: int  # seconds until what waits is sent, whether or not the batch is full
    clock_error: int = 0  # seconds that it is ahead of the truth
    silent_for: int = 0  # seconds for which nothing has come


class Batch(NamedTuple):
    """One request: some events of one kind; FAILED or PENDING ones have none in the tables."""

    kind: str
    received_at: datetime
    events: list[Sent]
    status: str = DIGESTED

    @property
    def is_ops(self) -> bool:
        """Whether the ops desk added it."""
        return self.events[0].is_ops


class Traffic(NamedTuple):
    """All that came of one work provider, in order of arrival, and what was struck of it."""

    batches: list[Batch]
    struck: list[Struck]


def traffic(drivers: list[Driver], habits: Habits, rng: Random, now: datetime) -> Traffic:
    """What the work provider of these drivers has sent by `now`."""
    until = int(now.timestamp()) - habits.silent_for
    events: list[Sent] = []
    struck: list[Struck] = []
    for number, driver in enumerate(drivers):
        for start in _starts(driver, habits.zone, rng, now):
            shift = [
                event
                for event in _shift(number, start, habits, rng)
                if event.ready < until and not (event.is_ops and driver.stream_id is None)
            ]
            events += shift
            if not shift:
                continue
            last = shift[-1]
            if last.kind == LOGOUT and rng.random() < _WITHDRAWN:
                withdrawn_at = last.ready + rng.randint(HOUR, 3 * DAY)
                if withdrawn_at < until:
                    struck.append(Struck(number, last.kind, last.at, withdrawn_at))
    batches = list(_batches(events, habits, rng, until))
    batches += _stuck(batches, rng, now)
    return Traffic(sorted(batches, key=attrgetter("received_at")), struck)


def began(now: datetime) -> datetime:
    """Midnight UTC of the first day."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=DAYS - 1)


def body(batch: Batch, drivers: list[Driver], habits: Habits) -> str:
    """The request's body, which reads back to the events."""
    items = [_item(event, drivers[event.driver], habits) for event in batch.events]
    return json.dumps(items if len(items) > 1 else items[0])


def _item(event: Sent, driver: Driver, habits: Habits) -> dict[str, str]:
    at = _spelt(event.at, habits)
    if habits.names_customers or event.is_ops:
        return {"policyId": driver.number, "timestamp": at}
    return {"driverId": driver.driver_id, "timestamp": at}


def _spelt(at: int, habits: Habits) -> str:
    if habits.spelling == "utc":
        return datetime.fromtimestamp(at, UTC).isoformat()[:-6] + "Z"
    local = datetime.fromtimestamp(at, habits.zone)
    is_ambiguous = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    if habits.spelling == "offset" or is_ambiguous:
        return local.isoformat()
    return local.replace(tzinfo=None).isoformat()


def _starts(driver: Driver, zone: ZoneInfo, rng: Random, now: datetime) -> Iterator[int]:
    """When each shift begins: one a day at most, so that the night before is over."""
    first = int(began(now).timestamp())
    for day in sorted(rng.sample(range(driver.first_day, driver.last_day), driver.shifts)):
        (hour,) = rng.choices(list(_STARTS), list(_STARTS.values()))
        midnight = first + day * DAY
        yield midnight - _offset(zone, midnight) + int((hour + rng.uniform(-1.2, 1.2)) * HOUR)


@lru_cache(maxsize=10_000)
def _offset(zone: ZoneInfo, at: int) -> int:
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    return int(offset.total_seconds()) if offset else 0


def _shift(driver: int, start: int, habits: Habits, rng: Random) -> Iterator[Sent]:
    """What is sent of one shift; the logout, if there is one, comes last."""
    fate = _fate(rng)
    length = int(min(max(rng.gauss(4.5, 1.6), 0.4), 9.4) * HOUR)
    end = start + (0 if fate == "no length" else length)
    told = list(_again(start, end, habits, rng)) if fate != "no length" else []
    if fate == "very long":
        told = [(LOGIN, start + HOUR // 2, MINUTE, False)]
        end = start + rng.randint(15, 20) * HOUR
    told += _told(start, end, fate, rng)
    for kind, at, delay, is_ops in told:
        yield Sent(at + habits.clock_error, at + delay, kind, driver, is_ops)


def _fate(rng: Random) -> str:
    if rng.random() > _FATEFUL:
        return ""
    return rng.choices(list(_FATES), list(_FATES.values()))[0]


def _told(start: int, end: int, fate: str, rng: Random) -> Iterator[tuple[str, int, int, bool]]:
    """(kind, instant, seconds until it can be received, whether the ops desk says it)."""
    soon = int(rng.expovariate(1 / 40))
    late = rng.randint(16 * HOUR, 40 * HOUR)
    if fate != "login lost":
        yield LOGIN, start, late if fate == "login late" else soon, False
    if fate == "ops added the logout":
        yield LOGOUT, end, late, True
    elif fate != "forgot to log out":
        yield LOGOUT, end, late if fate == "logout late" else soon, False


def _again(
    start: int, end: int, habits: Habits, rng: Random
) -> Iterator[tuple[str, int, int, bool]]:
    """What an app sends besides: the same once more, logins while on shift, logouts after it."""
    for _ in range(int(rng.expovariate(1 / habits.extra) + 0.5) if habits.extra > 0 else 0):
        chance = rng.random()
        if chance < habits.duplicates:
            kind, at = (LOGIN, start) if rng.random() < 0.5 else (LOGOUT, end)
            yield kind, at, rng.randint(0, 30 * MINUTE), False
        elif chance < 0.97:
            yield LOGIN, rng.randint(start + 1, end - 1), int(rng.expovariate(1 / 40)), False
        else:
            yield LOGOUT, end + rng.randint(1, 20 * MINUTE), MINUTE, False


def _batches(events: Iterable[Sent], habits: Habits, rng: Random, until: int) -> Iterator[Batch]:
    def same_request(event: Sent) -> tuple[bool, str]:
        return event.is_ops, event.kind

    for (is_ops, kind), group in groupby(sorted(events, key=same_request), same_request):
        ready = sorted(group, key=attrgetter("ready"))
        for received, cut in _cut(ready, 0 if is_ops else habits.patience, 1 if is_ops else BATCH):
            received_at = min(received, until - 1) + rng.random()
            yield Batch(kind, datetime.fromtimestamp(received_at, UTC), cut)


def _stuck(batches: list[Batch], rng: Random, now: datetime) -> Iterator[Batch]:
    """Some of these once more, which could not be digested, or not yet."""
    for batch in batches:
        if rng.random() < _FAILED and not batch.is_ops:
            yield batch._replace(status=FAILED)
    if batches and rng.random() < _PENDING:
        moment_ago = now - timedelta(seconds=rng.uniform(0.1, 2))
        yield batches[-1]._replace(received_at=moment_ago, status=PENDING)


def _cut(events: list[Sent], patience: int, most: int) -> Iterator[tuple[int, list[Sent]]]:
    """Full batches, and what waited long enough; each with when it is sent."""
    batch: list[Sent] = []
    for event in events:
        if batch and event.ready > batch[0].ready + patience:
            yield batch[0].ready + patience, batch
            batch = []
        batch.append(event)
        if len(batch) == most:
            yield event.ready, batch
            batch = []
    if batch:
        yield batch[0].ready + patience, batch
