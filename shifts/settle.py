"""Settle: bring the stored shifts of some streams in line with their events, links and rules.

Whatever changes a shift comes through here: a digest, a link, the ops desk, the clock. A stream whose
new events are all later than its last one is folded onto its state; any other is projected again from
the last login that the change cannot touch. Both ways give the same shifts (shifts/timeline.py).
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence, Set
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from operator import itemgetter
from typing import NamedTuple

from django.db import transaction

from linking.models import WorkProvider
from shifts import store, timeline
from shifts.models import ShiftRevision, ShiftRule, Stream
from shifts.store import BEGINNING, StoredEvent, StreamRow
from shifts.timeline import Decision, Event, Link, Shift, State, Stored
from zego_api.ids import uuid7

Cause = ShiftRevision.Cause


@dataclass(slots=True)
class Change:
    """What is to be settled in one stream: events not stored yet, or a doubt from an instant on.

    `doubt_from` is the earliest instant at which anything but the new events may have changed:
    BEGINNING for all of it, None for nothing.
    """

    stream: StreamRow
    events: list[Event] = field(default_factory=list)
    doubt_from: datetime | None = None


class ShiftChange(NamedTuple):
    """A shift before and after; None where there was none, or is none any more."""

    stream_id: int
    shift_id: object
    old: Shift | None
    new: Shift | None


# Where the changes of a preview, or of a mending, are noted while it runs (shifts/preview.py).
watched: ContextVar[list[ShiftChange] | None] = ContextVar("watched", default=None)


@dataclass(slots=True)
class _Plan:
    """From which state a stream is projected, and with which stored events besides the new ones."""

    state: State
    stored_after: datetime | None  # None: fold, without reading any history

    @property
    def shifts_since(self) -> datetime | None:
        """Stored shifts from this login on are yielded again; None: none are."""
        if self.state.login is not None:
            return self.state.login.at
        return None if self.stored_after is None else BEGINNING


@dataclass(slots=True)
class _Writes:
    new: list[tuple[object, int, Shift]] = field(default_factory=list)
    changed: list[Stored] = field(default_factory=list)
    gone: list[object] = field(default_factory=list)
    revisions: list[tuple[object, ...]] = field(default_factory=list)
    decisions: dict[int, Decision] = field(default_factory=dict)
    states: dict[int, State] = field(default_factory=dict)


def settle(changes: Sequence[Change], *, cause: Cause) -> dict[int, Decision]:
    """Write the shifts, revisions, outcomes and states that follow from `changes`.

    The streams must be locked, and their work providers too (store.lock_work_providers). Returns the
    decisions on the events that are not stored yet; the caller stores them. `as_of` is the database's
    clock, read while the locks are held: an instant from before the wait could reopen what another
    process has meanwhile seen run out.
    """
    if not changes:
        return {}
    now = store.clock()
    streams = [change.stream for change in changes]
    links = store.links_of(streams)
    rules = store.rules_of(stream.work_provider_id for stream in streams)
    withdrawn = store.withdrawn_of([stream.id for stream in streams])
    plans = _plans(changes, links)
    events = _stored_events(plans)
    stored_shifts = store.shifts_since(
        {key: since for key, plan in plans.items() if (since := plan.shifts_since) is not None}
    )
    new_decisions: dict[int, Decision] = {}
    writes = _Writes()
    for change in changes:
        stream = change.stream
        old_events = events.get(stream.id, [])
        projection = timeline.project(
            [*(old.event for old in old_events), *change.events],
            links=links.get(stream.id, []),
            rules=rules[stream.work_provider_id],
            as_of=now,
            state=plans[stream.id].state,
            withdrawn=withdrawn.get(stream.id, frozenset()),
        )
        decisions = projection.decisions
        new_decisions |= {event.id: decisions.pop(event.id) for event in change.events}
        known = {old.event.id: old.decision for old in old_events}
        writes.decisions |= {
            key: decision for key, decision in decisions.items() if known.get(key) != decision
        }
        if projection.state != stream.state:
            writes.states[stream.id] = projection.state
        _compare(change, stored_shifts.get(stream.id, []), projection.shifts, writes, cause, now)
    _write(writes)
    return new_decisions


def _plans(changes: Iterable[Change], links: Mapping[int, list[Link]]) -> dict[int, _Plan]:
    plans: dict[int, _Plan] = {}
    redo: dict[int, datetime] = {}
    for change in changes:
        stream = change.stream
        if _can_fold(change, links.get(stream.id, [])):
            plans[stream.id] = _Plan(stream.state, None)
        else:
            instants = [event.at for event in change.events]
            if change.doubt_from is not None:
                instants.append(change.doubt_from)
            elif stream.state.login is not None:
                instants.append(stream.state.login.at)
            redo[stream.id] = min(instants)
    found = store.restarts({key: at for key, at in redo.items() if at != BEGINNING}) if redo else {}
    for stream_id in redo:
        state = found.get(stream_id, timeline.CLOSED)
        plans[stream_id] = _Plan(state, state.last_event_at or BEGINNING)
    return plans


def _can_fold(change: Change, links: Sequence[Link]) -> bool:
    """Whether the state says all that the new events need to know of the past.

    Not when one of them is not later than all before it; and not when the open login lies outside the
    last link, or that has ended: then events already decided may turn out to come before a link.
    """
    state = change.stream.state
    if change.doubt_from is not None:
        return False
    if state.last_event_at is not None and any(
        event.at <= state.last_event_at for event in change.events
    ):
        return False
    if state.login is None:
        return True
    return bool(links) and links[-1].ends_at is None and links[-1].starts_at <= state.login.at


def _stored_events(plans: Mapping[int, _Plan]) -> dict[int, list[StoredEvent]]:
    after = {key: plan.stored_after for key, plan in plans.items() if plan.stored_after is not None}
    events: dict[int, list[StoredEvent]] = {}
    if after:
        for stored in store.events_after(after, with_settled_strikes=False):
            if stored.stream_id is not None:
                events.setdefault(stored.stream_id, []).append(stored)
    return events


def _compare(
    change: Change,
    stored: Sequence[Stored],
    shifts: Sequence[Shift],
    writes: _Writes,
    cause: Cause,
    now: datetime,
) -> None:
    """Find out which rows are new, changed and gone, and what is worth a revision."""
    stream_id = change.stream.id
    taken = timeline.match(stored, shifts)
    new_ids = {event.id for event in change.events}
    cover = sorted((shift.started_at, _end_as_of(shift, now)[0] or now) for shift in shifts)

    def revise(old: Stored, new: Shift | None) -> None:
        old_end, old_reason = _end_as_of(old.shift, now)
        new_end, new_reason = _end_as_of(new, now) if new else (None, "")
        same_start = new is not None and new.started_at == old.shift.started_at
        if same_start and (old_end is None or (old_end, old_reason) == (new_end, new_reason)):
            return
        writes.revisions.append(
            (
                old.id,
                stream_id,
                "AMENDED" if new else "REMOVED",
                cause.value,
                _cause_event(new_ids, new),
                old.shift.started_at,
                old_end,
                old_reason,
                new.started_at if new else None,
                new_end,
                new_reason,
                not _covers(cover, old.shift.started_at, old_end or now),
                now,
            )
        )

    kept = {old.id for old in taken if old is not None}
    gone = [(old, None) for old in stored if old.id not in kept]
    for old, new in [*zip(taken, shifts, strict=True), *gone]:
        if old is None or old.shift != new:
            shift_id = _change(stream_id, old, new, writes)
            _watch(ShiftChange(stream_id, shift_id, old.shift if old else None, new))
            if old is not None:
                revise(old, new)


def _change(stream_id: int, old: Stored | None, new: Shift | None, writes: _Writes) -> object:
    """Note one row to write; returns its id."""
    if old is None:
        assert new is not None
        writes.new.append((shift_id := uuid7(), stream_id, new))
        return shift_id
    if new is None:
        writes.gone.append(old.id)
    else:
        writes.changed.append(Stored(old.id, new))
    return old.id


def _watch(change: ShiftChange) -> None:
    if (seen := watched.get()) is not None:
        seen.append(change)


def _end_as_of(shift: Shift, now: datetime) -> tuple[datetime | None, str]:
    return timeline.end_as_of(shift.ended_at, shift.end_reason, shift.closes_at, now)


def _covers(cover: Sequence[tuple[datetime, datetime]], start: datetime, end: datetime) -> bool:
    """Whether the intervals, in order, hold all of `[start, end)`."""
    first = bisect_right(cover, start, key=itemgetter(0)) - 1
    for begins, ends in islice(cover, max(first, 0), None):
        if begins > start or start >= end:
            break
        start = max(start, ends)
    return start >= end


def _cause_event(new_ids: Set[int], shift: Shift | None) -> int | None:
    """The new event that opened or ended the shift, else the last one that arrived."""
    named = new_ids & {shift.opened_by, shift.ended_by} if shift else None
    return max(named or new_ids, default=None)


def _write(writes: _Writes) -> None:
    store.delete_shifts(writes.gone)
    store.update_shifts(writes.changed)
    store.insert_shifts(writes.new)
    store.insert_revisions(writes.revisions)
    store.update_decisions(writes.decisions)
    store.save_states(writes.states)


def close_overdue(*, now: datetime, limit: int = 1000) -> bool:
    """R6 for open shifts past their maximum, some at a time; returns whether there may be more."""
    overdue = Stream.objects.filter(
        shifts__ended_at__isnull=True, shifts__closes_at__lte=now
    ).values_list("work_provider_id", "customer_id")[:limit]
    with transaction.atomic():
        keys = list(overdue)
        store.lock_work_providers(provider for provider, _ in keys)
        streams = store.lock_streams(keys)
        settle([Change(stream) for stream in streams.values()], cause=Cause.CLOCK)
    return len(keys) == limit


def change_rule(
    work_provider: WorkProvider, max_shift_length: timedelta | None, *, now: datetime
) -> ShiftRule:
    """Set the longest shift for logins from `now` on; earlier ones keep the rule they had."""
    with transaction.atomic():
        store.lock_work_providers([work_provider.pk], exclusive=True)
        rule = ShiftRule.objects.create(
            work_provider=work_provider, max_shift_length=max_shift_length, valid_from=now
        )
        # Events ahead of the clock have been projected already, by the old rule.
        ahead = Stream.objects.filter(work_provider=work_provider, last_event_at__gte=now)
        streams = store.lock_streams(ahead.values_list("work_provider_id", "customer_id"))
        resettle(streams.values(), now, Cause.RULE)
    return rule


def resettle(streams: Iterable[StreamRow], doubt_from: datetime, cause: Cause) -> None:
    """Project some streams again from an instant on; they and their work providers are locked."""
    settle([Change(stream, doubt_from=doubt_from) for stream in streams], cause=cause)
