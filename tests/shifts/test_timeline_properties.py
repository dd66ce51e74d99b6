"""What must hold for every stream, tried on streams that chance makes up.

Instants are few: some anchors, what lies within a maximum of them or a minute off it, and exactly a
maximum away, so that equal instants and the edges of the rules are the rule and not the lucky case.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from operator import attrgetter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shifts.timeline import (
    CLOSED,
    LOGIN,
    LOGOUT,
    Decision,
    Event,
    Link,
    Projection,
    Rule,
    Rules,
    Shift,
    State,
    Stored,
    match,
    project,
    state_at,
)
from tests.shifts.reference import Rulebook, reference

MIDNIGHT = datetime(2026, 3, 28, tzinfo=UTC)
HALF_HOUR, MINUTE, HOUR = timedelta(minutes=30), timedelta(minutes=1), timedelta(hours=1)
LENGTHS = (14 * HOUR, 2 * HOUR, HALF_HOUR, None)
# What happens at an instant: now and then both, in either order, and copies.
MOMENTS = (
    *([(LOGIN,)] * 6),
    *([()] * 5),
    *([(LOGOUT,)] * 3),
    (LOGIN, LOGOUT),
    (LOGIN, LOGIN),
    (LOGOUT, LOGOUT, LOGIN),
)
DELAYS = st.sampled_from([0, 0, -2, 1, 5, 40]).map(lambda hours: hours * HOUR)
IS_OPS = st.sampled_from([False, False, False, True])
IS_WITHDRAWN = st.sampled_from([False] * 7 + [True])
BEGINNING, BEYOND = MIDNIGHT - 9999 * HOUR, MIDNIGHT + 9999 * HOUR

# The same examples on every run: a red build is to be about the change, and can be run again.
settings.register_profile(
    "timeline",
    derandomize=True,
    deadline=None,
    max_examples=250,
    suppress_health_check=[HealthCheck.too_slow],
)
timeline = settings.get_profile("timeline")


@dataclass(frozen=True)
class World:
    """One stream and all that its shifts depend on."""

    events: tuple[Event, ...]
    links: tuple[Link, ...]
    rulebook: Rulebook
    withdrawn: frozenset[tuple[str, datetime]]
    as_of: datetime

    @property
    def rules(self) -> Rules:
        return Rules(self.rulebook.default, self.rulebook.rules)

    def project(
        self,
        events: Iterable[Event] | None = None,
        *,
        state: State = CLOSED,
        as_of: datetime | None = None,
        withdrawn: Set[tuple[str, datetime]] | None = None,
    ) -> Projection:
        return project(
            self.events if events is None else events,
            links=self.links,
            rules=self.rules,
            as_of=as_of or self.as_of,
            state=state,
            withdrawn=self.withdrawn if withdrawn is None else withdrawn,
        )

    def may_fold(self, state: State) -> bool:
        """Whether no event that is yet to come can change what the shifts of the past mean.

        A login before the last link may still turn out to reach it or not; one within it does.
        """
        if state.login is None:
            return True
        last = self.links[-1]
        return last.ends_at is None and last.starts_at <= state.login.at


@st.composite
def worlds(draw: st.DrawFn) -> World:
    slots = draw(st.lists(st.integers(0, 143), min_size=1, max_size=3, unique=True))
    anchors = [MIDNIGHT + slot * HALF_HOUR for slot in slots]
    changes = draw(st.just([]) | st.lists(st.sampled_from(anchors), max_size=2, unique=True))
    rulebook = Rulebook(
        draw(st.sampled_from(LENGTHS)),
        tuple(Rule(at, draw(st.sampled_from(LENGTHS))) for at in changes),
    )
    instants = sorted(around(anchors, rulebook))
    links = draw(some_links(instants))
    events = draw(some_events(instants, links))
    marks = sorted({(event.kind, event.at) for event in events})
    return World(
        events=events,
        links=links,
        rulebook=rulebook,
        withdrawn=frozenset(
            draw(st.just([]) | st.lists(st.sampled_from(marks), max_size=3)) if marks else []
        ),
        as_of=draw(st.sampled_from(sorted({*instants, *limits(instants, rulebook), BEYOND}))),
    )


def around(anchors: Iterable[datetime], rulebook: Rulebook) -> set[datetime]:
    """The anchors, half a maximum and a maximum after them, a minute off that, and all these again."""
    instants: set[datetime] = set()
    for anchor in anchors:
        length = rulebook.limit(anchor) - anchor
        half = min(length, 4 * HOUR) / 2
        instants |= {anchor, anchor + half, anchor + 2 * half}
        if length < 99 * HOUR:
            instants |= {anchor + length - MINUTE, anchor + length + MINUTE}
            instants |= limits(instants, rulebook)
    return instants


def limits(instants: Iterable[datetime], rulebook: Rulebook) -> set[datetime]:
    """Where shifts that open then would close."""
    return {limit for at in instants if (limit := rulebook.limit(at)) < BEYOND}


@st.composite
def some_links(draw: st.DrawFn, instants: Sequence[datetime]) -> tuple[Link, ...]:
    """None to three links in time order: they may touch, and the last may have no end."""
    start = MIDNIGHT - HOUR
    spans: list[tuple[datetime, datetime | None]] = [(start, None)]
    if draw(st.booleans()):
        size = min(4, len(instants))
        edges = st.lists(st.sampled_from(instants), min_size=1, max_size=size, unique=True)
        cuts = sorted([start, *draw(edges)][draw(st.integers(0, 1)) :])
        spans = [(one, other) for one, other in pairwise(cuts) if draw(st.integers(0, 3))]
        if draw(st.integers(0, 3)):
            spans.append((cuts[-1], None))
    delays = st.sampled_from([timedelta(0), 3 * HOUR])
    return tuple(
        Link(
            100 + place,
            start,
            end,
            start + draw(delays),
            None if end is None else end + draw(delays),
        )
        for place, (start, end) in enumerate(spans[-3:])
    )


@st.composite
def some_events(
    draw: st.DrawFn, instants: Sequence[datetime], links: Sequence[Link]
) -> tuple[Event, ...]:
    """Events that resolve: a link holds the instant, or begins after it."""
    until = (links[-1].ends_at or BEYOND) if links else MIDNIGHT - HOUR
    resolved = [at for at in instants if at < until]
    if not resolved:
        return ()
    happen = [(at, kind) for at in resolved for kind in draw(st.sampled_from(MOMENTS))]
    return tuple(
        Event(number, kind, at, at + draw(DELAYS), draw(IS_OPS), draw(IS_WITHDRAWN))
        for number, (at, kind) in enumerate(happen, start=1)
    )


@settings(timeline, max_examples=1000)
@given(worlds())
def test_agrees_with_the_reference(world: World) -> None:
    expected = reference(
        world.events,
        links=world.links,
        rulebook=world.rulebook,
        as_of=world.as_of,
        withdrawn=world.withdrawn,
    )
    found = world.project()
    assert found.shifts == expected[0]
    assert found.decisions == expected[1]


@timeline
@given(worlds(), st.data())
def test_any_order_of_arrival_gives_the_same(world: World, data: st.DataObject) -> None:
    assert world.project(data.draw(st.permutations(world.events))) == world.project()


@timeline
@given(worlds(), st.data())
def test_duplicates_change_no_shift(world: World, data: st.DataObject) -> None:
    before = world.project()
    if not world.events:
        return
    copied = data.draw(st.lists(st.sampled_from(world.events), max_size=5))
    copies = [
        event._replace(id=1000 + place, known_at=event.known_at + HOUR)
        for place, event in enumerate(copied)
    ]
    after = world.project(data.draw(st.permutations([*world.events, *copies])))
    assert after.shifts == before.shifts
    assert after.state == before.state
    assert {event.id: after.decisions[event.id] for event in world.events} == before.decisions
    for original, copy in zip(copied, copies, strict=True):
        is_first = before.decisions[original.id].outcome not in {"REJECTED", "WITHDRAWN"}
        expected = Decision("DUPLICATE") if is_first else before.decisions[original.id]
        assert after.decisions[copy.id] == expected


@timeline
@given(worlds())
def test_every_event_has_one_decision(world: World) -> None:
    found = world.project()
    assert found.decisions.keys() == {event.id for event in world.events}
    decided = {event.id: found.decisions[event.id].outcome for event in world.events}
    named = {shift.opened_by for shift in found.shifts} | {shift.ended_by for shift in found.shifts}
    assert {decided[event] for event in named if event is not None} <= {"APPLIED"}


@timeline
@given(worlds())
def test_shifts_never_overlap_and_only_the_last_may_be_open(world: World) -> None:
    shifts = world.project().shifts
    for one, next_one in pairwise(shifts):
        assert one.ended_at is not None
        assert one.ended_at <= next_one.started_at
    for shift in shifts:
        assert shift.ended_at is None or shift.started_at < shift.ended_at
        assert (shift.ended_at is None) == (shift.end_reason == "") == (shift.end_known_at is None)


@timeline
@given(worlds())
def test_no_shift_is_longer_than_its_maximum(world: World) -> None:
    for shift in world.project().shifts:
        closes_at = world.rules.closes_at(shift.login_at)
        assert shift.closes_at == closes_at
        if closes_at is None:
            continue
        assert shift.login_at <= shift.started_at < closes_at
        assert shift.ended_at is not None or world.as_of < closes_at
        assert shift.ended_at is None or shift.ended_at <= closes_at


@timeline
@given(worlds())
def test_cover_lies_within_the_link_it_names(world: World) -> None:
    links = {link.id: link for link in world.links}
    for shift in world.project().shifts:
        link = links[shift.link_id]
        assert link.starts_at <= shift.started_at
        assert shift.start_clipped <= (link.starts_at == shift.started_at)
        if link.ends_at is not None:
            end = shift.ended_at or shift.closes_at
            assert end is not None
            assert end <= link.ends_at


@timeline
@given(worlds())
def test_no_start_is_known_before_its_login_and_its_consent(world: World) -> None:
    links = {link.id: link for link in world.links}
    events = {event.id: event for event in world.events}
    for shift in world.project().shifts:
        opener = events[shift.opened_by]
        copies = [event for event in world.events if event[1:3] == opener[1:3]]
        assert shift.start_known_at >= links[shift.link_id].start_known_at
        assert shift.start_known_at >= min(event.known_at for event in copies)


@timeline
@given(worlds(), st.data())
def test_as_of_decides_the_last_automatic_end_alone(world: World, data: st.DataObject) -> None:
    later = world.as_of + data.draw(st.sampled_from([MINUTE, 2 * HOUR, 14 * HOUR, 99 * HOUR]))
    now, then = world.project(), world.project(as_of=later)
    assert then.decisions == now.decisions
    assert then.state == now.state
    read_later = [
        shift._replace(ended_at=None, end_reason="", end_known_at=None)
        if shift.ended_at == shift.closes_at and shift.login_at == last_login(now.state)
        else shift
        for shift in then.shifts
    ]
    for old, new, bare in zip(now.shifts, then.shifts, read_later, strict=True):
        assert old in (new, bare)


def last_login(state: State) -> datetime | None:
    return None if state.login is None else state.login.at


@timeline
@given(worlds())
def test_logout_without_an_open_shift_makes_no_difference(world: World) -> None:
    before = world.project()
    orphans = {
        (event.kind, event.at)
        for event in world.events
        if before.decisions[event.id] == Decision("ORPHAN", "NO_OPEN_SHIFT")
    }
    after = world.project(withdrawn=world.withdrawn | orphans)
    assert after.shifts == before.shifts
    assert after.state.login == before.state.login


def spliced(before: Sequence[Shift], state: State, after: Sequence[Shift]) -> list[Shift]:
    """The shifts once a fold onto `state` has replaced the one that was open."""
    opened = last_login(state)
    kept = [shift for shift in before if opened is None or shift.login_at < opened]
    return [*kept, *after]


def cut(events: Iterable[Event], cuts: Iterable[datetime]) -> list[list[Event]]:
    """The events in consecutive stretches of time; equal instants stay together."""
    edges = sorted(cuts)
    parts: list[list[Event]] = [[] for _ in range(len(edges) + 1)]
    for event in events:
        parts[bisect_right(edges, event.at)].append(event)
    return parts


@timeline
@given(worlds(), st.data())
def test_consecutive_folds_give_the_whole(world: World, data: st.DataObject) -> None:
    instants = [event.at for event in world.events] or [MIDNIGHT]
    cuts = data.draw(st.lists(st.sampled_from(instants), max_size=9, unique=True))
    whole = world.project()
    shifts: list[Shift] = []
    decisions: dict[int, Decision] = {}
    state = CLOSED
    seen: list[Event] = []
    may_fold = True
    for part in cut(world.events, cuts):
        may_fold = may_fold and (state.login is None or world.may_fold(state))
        seen += part
        found = world.project(part, state=state)
        shifts = spliced(shifts, state, found.shifts)
        decisions |= found.decisions
        if not may_fold:
            # The shifts do not need it, but a decision before the last link may change.
            decisions = world.project(seen).decisions
        state = found.state
    assert shifts == whole.shifts
    assert state == whole.state
    assert decisions == whole.decisions


@timeline
@given(worlds(), st.data())
def test_any_stored_login_restarts_it(world: World, data: st.DataObject) -> None:
    whole = world.project()
    starts = [shift for shift in whole.shifts if can_restart(shift)]
    if not starts:
        return
    start = data.draw(st.sampled_from(starts))
    rest = [event for event in world.events if event.at > start.login_at]
    found = world.project(rest, state=restart(start, world.events))
    # A withdrawn instant is no part of the state, so that an earlier one may be its last.
    assert found.state == whole.state
    assert found.shifts == [shift for shift in whole.shifts if shift.login_at >= start.login_at]
    assert found.decisions == {event.id: whole.decisions[event.id] for event in rest}


def can_restart(shift: Shift) -> bool:
    return not (shift.start_clipped or shift.is_continuation)


def restart(shift: Shift, events: Iterable[Event]) -> State:
    """The state after a stored shift's login, which may have been heard of before its consent was."""
    known_at = min(
        event.known_at
        for event in events
        if (event.kind, event.at) == (LOGIN, shift.login_at) and not event.is_withdrawn
    )
    return state_at(shift.login_at, shift.opened_by, known_at)


class Ledger:
    """What is stored of one stream, and how it is brought up to date as things come to be known."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.events: list[Event] = []
        self.withdrawn: set[tuple[str, datetime]] = set()
        self.shifts: list[Stored] = []
        self.decisions: dict[int, Decision] = {}
        self.state = CLOSED
        self.last_id = 0

    def digest(self, events: Sequence[Event], as_of: datetime) -> None:
        """Fold what is newer than all before it; for anything late, go back."""
        self.events += events
        last = self.state.last_event_at
        if self.world.may_fold(self.state) and (
            last is None or all(last < event.at for event in events)
        ):
            self._write(self.state, last_login(self.state), events, as_of)
            return
        instants = [event.at for event in events]
        if self.state.login is not None:
            instants.append(self.state.login.at)
        self.project_from(min(instants), as_of)

    def strike(self, mark: tuple[str, datetime], as_of: datetime) -> None:
        """Withdraw, or undo the withdrawal."""
        self.withdrawn ^= {mark}
        self.project_from(mark[1], as_of)

    def sweep(self, as_of: datetime) -> None:
        """Write what the clock alone has brought about."""
        self.digest([], as_of)

    def project_from(self, doubt_from: datetime, as_of: datetime) -> None:
        """Go back to the last login that surely opened a shift before anything that may change."""
        starts = [
            stored.shift
            for stored in self.shifts
            if can_restart(stored.shift) and stored.shift.login_at < doubt_from
        ]
        if starts:
            start = max(starts, key=attrgetter("login_at"))
            later = [event for event in self.events if event.at > start.login_at]
            self._write(restart(start, self.events), start.login_at, later, as_of)
        else:
            self._write(CLOSED, BEGINNING, self.events, as_of)

    def _write(
        self, state: State, since: datetime | None, events: Sequence[Event], as_of: datetime
    ) -> None:
        """Stored shifts whose login is at or after `since` give way to the projected ones."""
        found = self.world.project(events, state=state, as_of=as_of, withdrawn=self.withdrawn)
        kept: list[Stored] = []
        redone: list[Stored] = []
        for stored in self.shifts:
            is_kept = since is None or stored.shift.login_at < since
            (kept if is_kept else redone).append(stored)
        for old, shift in zip(match(redone, found.shifts), found.shifts, strict=True):
            if old is None:
                self.last_id += 1
            kept.append(Stored(self.last_id if old is None else old.id, shift))
        self.shifts = kept
        self.decisions |= found.decisions
        self.state = found.state


@st.composite
def arrivals(draw: st.DrawFn, world: World) -> list[list[Event]]:
    """The events in some order, mostly that of time, in batches of any size."""
    events = sorted(world.events, key=attrgetter("at"))
    if draw(st.booleans()):
        events = draw(st.permutations(events))
    elif len(events) > 1 and draw(st.booleans()):
        late = events.pop(draw(st.integers(0, len(events) - 1)))
        events.append(late)
    cuts = draw(st.sets(st.integers(0, len(events)), max_size=6) | st.just(range(len(events))))
    edges = sorted({0, *cuts, len(events)})
    return [events[start:end] for start, end in pairwise(edges)]


@settings(timeline, max_examples=400)
@given(worlds(), st.data())
def test_digest_as_it_comes_gives_the_whole(world: World, data: st.DataObject) -> None:
    batches = data.draw(arrivals(world))
    clocks = sorted(
        data.draw(
            st.lists(
                st.sampled_from([MIDNIGHT, world.as_of, *(event.at for event in world.events)]),
                min_size=len(batches),
                max_size=len(batches),
            )
        )
    )
    ledger = Ledger(world)
    for batch, clock in zip(batches, clocks, strict=True):
        ledger.digest(batch, min(clock, world.as_of))
        if data.draw(st.booleans()):
            ledger.sweep(min(clock, world.as_of))
        whole = world.project(ledger.events, withdrawn=frozenset())
        assert ledger.decisions == whole.decisions
        assert ledger.state == whole.state
    ledger.sweep(world.as_of)
    whole = world.project(withdrawn=frozenset())
    assert [stored.shift for stored in ledger.shifts] == whole.shifts
    assert len({stored.id for stored in ledger.shifts}) == len(ledger.shifts)


@timeline
@given(worlds(), st.data())
def test_withdrawals_as_they_come_give_the_whole(world: World, data: st.DataObject) -> None:
    ledger = Ledger(world)
    strikes: list[tuple[str, datetime]] = data.draw(st.permutations(sorted(world.withdrawn)))
    if data.draw(st.booleans()) and strikes:
        strikes = [*strikes, strikes[0], strikes[0]]
    for batch in data.draw(arrivals(world)):
        if data.draw(st.booleans()) and strikes:
            ledger.strike(strikes.pop(), world.as_of)
        ledger.digest(batch, world.as_of)
    for mark in reversed(strikes):
        ledger.strike(mark, world.as_of)
    ledger.sweep(world.as_of)
    whole = world.project()
    assert [stored.shift for stored in ledger.shifts] == whole.shifts
    assert ledger.decisions == whole.decisions
    assert ledger.state == whole.state


@timeline
@given(worlds(), st.data())
def test_identity_is_one_to_one_and_keeps_what_does_not_change(
    world: World, data: st.DataObject
) -> None:
    fewer = data.draw(st.lists(st.sampled_from(world.events), unique=True)) if world.events else []
    before, after = world.project(fewer).shifts, world.project().shifts
    stored = [Stored(place, shift) for place, shift in enumerate(before)]
    found = match(stored, after)
    assert len(found) == len(after)
    taken = [old for old in found if old is not None]
    assert len({old.id for old in taken}) == len(taken)
    for old, shift in zip(found, after, strict=True):
        if shift in before:
            assert old == stored[before.index(shift)]
    # What is left over on either side has nothing in common.
    gone = [old.shift for old in stored if old not in taken]
    new = [shift for old, shift in zip(found, after, strict=True) if old is None]
    for one in gone:
        for other in new:
            assert one.opened_by != other.opened_by
            assert one.ended_by is None or one.ended_by != other.ended_by
