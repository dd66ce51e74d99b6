"""What became of one stream: its shifts as they stand, and what changed on the way there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple
from uuid import UUID

from shifts import settle, timeline
from shifts.settle import Cause
from shifts.timeline import Event, Link, Projection, Rules, Shift, Stored

_LATE = timedelta(hours=4)  # what is received so long after it happened may change what was over


class Revision(NamedTuple):
    """A row of store.insert_revisions without its stream; `rest` is all after the event."""

    shift_id: object
    change: str
    cause: str
    event_id: int | None
    rest: tuple[object, ...]


class Outcome(NamedTuple):
    """The projection as of now, its shifts with their ids, and the revisions."""

    projection: Projection
    shifts: list[Stored]
    revisions: list[Revision]


@dataclass(slots=True)
class Past:
    """All that was ever received and struck of one stream."""

    events: list[Event]
    links: Sequence[Link]
    rules: Rules
    withdrawn: Mapping[tuple[str, datetime], datetime]
    struck: Mapping[int, datetime]  # when an event was struck with its whole submission

    def outcome(self, now: datetime, rng: Random) -> Outcome:
        """Where it stands now, by way of every moment at which something may have changed."""
        stored: list[Stored] = []
        revisions: list[Revision] = []
        for at, cause in sorted(self._turns(now).items()):
            before = _carried(stored, self._as_known(at - timedelta.resolution, at).shifts, rng)
            stored = _carried(before, self._as_known(at, at).shifts, rng)
            arrived = {event.id for event in self.events if event.known_at == at}
            revisions += _revisions(before, stored, at, cause, arrived)
        projection = self._as_known(now, now)
        return Outcome(projection, _carried(stored, projection.shifts, rng), revisions)

    def _turns(self, now: datetime) -> dict[datetime, Cause]:
        turns = {e.known_at: Cause.EVENT for e in self.events if e.known_at - e.at > _LATE}
        turns |= dict.fromkeys(self.withdrawn.values(), Cause.WITHDRAWAL)
        turns |= dict.fromkeys(self.struck.values(), Cause.WITHDRAWAL)
        return turns

    def _as_known(self, known_at: datetime, as_of: datetime) -> Projection:
        events = [event for event in self.events if event.known_at <= known_at]
        if self.struck:
            struck = {key for key, at in self.struck.items() if at <= known_at}
            events = [event._replace(is_withdrawn=event.id in struck) for event in events]
        return timeline.project(
            events,
            links=[link for link in self.links if link.start_known_at <= known_at],
            rules=self.rules,
            as_of=as_of,
            withdrawn={key for key, at in self.withdrawn.items() if at <= known_at},
        )


def uuid7(at: datetime, rng: Random) -> UUID:
    """As zego_api.ids makes them, of another time."""
    value = int(at.timestamp() * 1000) << 80 | rng.getrandbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


def _carried(stored: Sequence[Stored], shifts: Sequence[Shift], rng: Random) -> list[Stored]:
    """These shifts with the ids of those that they take over."""
    if not stored:
        return [Stored(uuid7(shift.start_known_at, rng), shift) for shift in shifts]
    taken = timeline.match(stored, shifts)
    return [
        Stored(old.id if old else uuid7(shift.start_known_at, rng), shift)
        for old, shift in zip(taken, shifts, strict=True)
    ]


def _revisions(
    before: Sequence[Stored],
    after: Sequence[Stored],
    at: datetime,
    cause: Cause,
    arrived: set[int],
) -> list[Revision]:
    """What a settlement at `at` would have written (settle._compare)."""
    ends = [settle._end_as_of(one.shift, at)[0] or at for one in after]
    cover = sorted(zip((one.shift.started_at for one in after), ends, strict=True))
    new_of = {one.id: one.shift for one in after}
    revisions: list[Revision] = []
    for old in before:
        new = new_of.get(old.id)
        start, (end, reason) = old.shift.started_at, settle._end_as_of(old.shift, at)
        new_end, new_reason = settle._end_as_of(new, at) if new else (None, "")
        same_start = new is not None and new.started_at == start
        if same_start and (end is None or (end, reason) == (new_end, new_reason)):
            continue
        new_start = new.started_at if new else None
        shortens = not settle._covers(cover, start, end or at)
        revisions.append(
            Revision(
                old.id,
                "AMENDED" if new else "REMOVED",
                cause.value,
                settle._cause_event(arrived, new),
                (start, end, reason, new_start, new_end, new_reason, shortens, at),
            )
        )
    return revisions
