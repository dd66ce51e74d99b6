"""Shifts as a pure function of a stream's events (docs/domain.md, R1 to R14). No Django here.

`project` goes through the events of one stream in time order, opens and closes raw shifts, and
clips them to the stream's links. Started from nothing with every event, or from the `State` that an
earlier call returned with only the events after it, it gives the same shifts: a fold is a projection
that was interrupted. All instants are aware datetimes; every interval is half-open.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

LOGIN, LOGOUT = "login", "logout"
_FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


class Event(NamedTuple):
    """One login or logout as the projection sees it; `known_at` is when the service received it."""

    id: int
    kind: str
    at: datetime
    known_at: datetime
    is_ops: bool = False
    is_withdrawn: bool = False  # with its whole submission


class Link(NamedTuple):
    """An interval of consent, and when the service heard of its two ends."""

    id: int
    starts_at: datetime
    ends_at: datetime | None
    start_known_at: datetime
    end_known_at: datetime | None = None


class Rule(NamedTuple):
    """The longest shift for logins from `valid_from` on; None is no maximum."""

    valid_from: datetime
    max_shift_length: timedelta | None


class Rules:
    """A work provider's rules in force at each instant; `default` before the first of them."""

    def __init__(self, default: timedelta | None, rules: Iterable[Rule] = ()) -> None:
        ordered = sorted(rules, key=attrgetter("valid_from"))
        self._from = [rule.valid_from for rule in ordered]
        self._lengths = [default, *(rule.max_shift_length for rule in ordered)]

    def closes_at(self, login_at: datetime) -> datetime | None:
        """When a shift that a login at `login_at` opens ends by itself; None for never."""
        length = self._lengths[bisect_right(self._from, login_at)]
        return None if length is None else login_at + length


class Login(NamedTuple):
    """A login that the state remembers."""

    at: datetime
    event_id: int
    known_at: datetime


class State(NamedTuple):
    """What the next event is folded onto: the open login, if any, and the latest ignored since.

    A stream whose maximum has passed without a word stays open here: only the next event tells
    whether that was the end (R5) or the driver had logged in again (R7).
    """

    login: Login | None = None
    ignored: Login | None = None
    last_event_at: datetime | None = None


CLOSED = State()


class Decision(NamedTuple):
    """The outcome of one event and its reason ("" where it has none)."""

    outcome: str
    reason: str = ""
    after_ignored_login: bool = False


APPLIED = Decision("APPLIED")
DUPLICATE = Decision("DUPLICATE")
WITHDRAWN = Decision("WITHDRAWN")
REPEATED_LOGIN = Decision("IGNORED", "REPEATED_LOGIN")
ZERO_LENGTH = Decision("IGNORED", "ZERO_LENGTH")
NO_OPEN_SHIFT = Decision("ORPHAN", "NO_OPEN_SHIFT")
BEYOND_MAX_LENGTH = Decision("ORPHAN", "BEYOND_MAX_LENGTH")
COVER_MAY_BE_MISSING = Decision("ORPHAN", "BEYOND_MAX_LENGTH", after_ignored_login=True)
BEFORE_LINK = Decision("REJECTED", "BEFORE_LINK")


class Shift(NamedTuple):
    """A shift as it is stored: a raw shift clipped to one link."""

    link_id: int
    started_at: datetime
    ended_at: datetime | None
    end_reason: str
    start_clipped: bool
    is_continuation: bool
    login_at: datetime
    closes_at: datetime | None
    opened_by: int
    ended_by: int | None
    start_known_at: datetime
    end_known_at: datetime | None


def end_as_of(
    ended_at: datetime | None, end_reason: str, closes_at: datetime | None, now: datetime
) -> tuple[datetime | None, str]:
    """A shift's end and its reason as they read at `now`; (None, "") while it is open.

    One past its maximum reads as AUTO_CLOSED there, whether or not that has been written yet.
    """
    if ended_at is None and closes_at is not None and closes_at <= now:
        return closes_at, "AUTO_CLOSED"
    return ended_at, end_reason


class Projection(NamedTuple):
    """Shifts in time order, the decision on each event given, and the state to fold onto next."""

    shifts: list[Shift]
    decisions: dict[int, Decision]
    state: State


class _Raw:
    """A shift before clipping; filled in when it closes."""

    __slots__ = (
        "closes_at",
        "end_known_at",
        "end_reason",
        "ended_at",
        "ended_by",
        "is_continuation",
        "login",
        "start_known_at",
        "started_at",
    )

    def __init__(
        self, login: Login, closes_at: datetime | None, started_at: datetime | None = None
    ) -> None:
        self.login = login
        self.closes_at = closes_at
        self.started_at = started_at or login.at
        self.start_known_at = login.known_at
        self.is_continuation = started_at is not None
        self.ended_at: datetime | None = None
        self.ended_by: int | None = None
        self.end_reason = ""
        self.end_known_at: datetime | None = None

    def log_out(self, side: "_Side") -> None:
        self.ended_at = side.event.at
        self.ended_by = side.event.id
        self.end_reason = "OPS" if side.event.is_ops else "LOGOUT"
        self.end_known_at = side.known_at

    def auto_close(self, at: datetime) -> None:
        self.ended_at = at
        self.end_reason = "AUTO_CLOSED"
        self.end_known_at = max(at, self.login.known_at)

    def reaches(self, instant: datetime) -> bool:
        """Whether it is still running at some instant after `instant`, at the latest possible."""
        end = self.ended_at or self.closes_at
        return end is None or end > instant


class _Side:
    """All copies of one kind of event at one instant; the first one received stands for them."""

    __slots__ = ("decision", "event", "ids", "known_at", "shift")

    def __init__(self, copies: list[Event]) -> None:
        if len(copies) > 1:
            copies.sort(key=lambda event: (event.is_ops, event.known_at, event.id))
        self.event = copies[0]
        self.ids = [event.id for event in copies]
        self.known_at = min(event.known_at for event in copies)
        self.decision = APPLIED
        self.shift: _Raw | None = None

    def login(self) -> Login:
        return Login(self.event.at, self.event.id, self.known_at)


class _Moment(NamedTuple):
    at: datetime
    login: _Side | None
    logout: _Side | None


def project(
    events: Iterable[Event],
    *,
    links: Sequence[Link],
    rules: Rules,
    as_of: datetime,
    state: State = CLOSED,
    withdrawn: Set[tuple[str, datetime]] = frozenset(),
) -> Projection:
    """Compute the shifts of one stream.

    `events` are all those after `state.last_event_at`, in any order; `links` are all of the
    stream's, in time order and without overlap; `withdrawn` holds (kind, instant). `as_of` decides
    R6 alone. The shifts returned begin with the one that is open in `state`.
    """
    decisions: dict[int, Decision] = {}
    moments = _moments(events, withdrawn, decisions)
    machine = _Machine(rules, state)
    for moment in moments:
        machine.step(moment)
    machine.run_out(as_of)
    for moment in moments:
        for side in (moment.login, moment.logout):
            if side is not None:
                _decide(side, links, decisions)
    if machine.counted is not None:
        decisions[machine.counted.event_id] = APPLIED
    shifts = [shift for raw in machine.raws for shift in _clip(raw, links)]
    return Projection(shifts, decisions, machine.state())


def state_at(login_at: datetime, event_id: int, known_at: datetime) -> State:
    """The state just after the login that opened a stored, unclipped shift.

    Whatever came before, that login left the stream open since then with nothing ignored: a late
    event after it needs no older history.
    """
    return State(Login(login_at, event_id, known_at), None, login_at)


def _moments(
    events: Iterable[Event],
    withdrawn: Set[tuple[str, datetime]],
    decisions: dict[int, Decision],
) -> list[_Moment]:
    """The events by instant; those withdrawn are decided here and take no part (R14)."""
    ordered = sorted(events, key=attrgetter("at"))
    struck = [e for e in ordered if e.is_withdrawn or (e.kind, e.at) in withdrawn]
    if struck:
        decisions.update((event.id, WITHDRAWN) for event in struck)
        ordered = [e for e in ordered if not e.is_withdrawn and (e.kind, e.at) not in withdrawn]
    moments = []
    for at, group in groupby(ordered, key=attrgetter("at")):
        copies = list(group)
        logins = [event for event in copies if event.kind == LOGIN]
        logouts = [event for event in copies if event.kind == LOGOUT]
        moments.append(
            _Moment(at, _Side(logins) if logins else None, _Side(logouts) if logouts else None)
        )
    return moments


class _Machine:
    """Opens and closes raw shifts, moment by moment (R1 to R12).

    R13 needs no code: it is what R1 and R4 give when the older login is among the events.
    """

    def __init__(self, rules: Rules, state: State) -> None:
        self.rules = rules
        self.raws: list[_Raw] = []
        self.open: _Raw | None = None
        self.ignored = state.ignored
        self.ignored_side: _Side | None = None  # None: ignored before this projection began
        self.counted: Login | None = None  # the state's ignored login, where R7 made it count
        self.last_event_at = state.last_event_at
        if state.login is not None:
            self._open(state.login)
            self.ignored = state.ignored

    def step(self, moment: _Moment) -> None:
        self.last_event_at = moment.at
        login, logout = moment.login, moment.logout
        limit = self._limit()
        if limit is not None and (moment.at > limit or (moment.at == limit and logout is None)):
            self._apply_past_maximum(limit, logout)
            logout = None
        elif self.open is not None:
            if logout is None:
                self._ignore(login)  # R4
                return
            self.open.log_out(logout)  # R2; a login at the same instant follows (R11)
            self.open = logout = None
        if login is not None and logout is not None:
            login.decision = logout.decision = ZERO_LENGTH  # R12
        elif login is not None:
            login.shift = self._open(login.login())  # R1
        elif logout is not None:
            logout.decision = NO_OPEN_SHIFT  # R9, R10

    def run_out(self, as_of: datetime) -> None:
        """R6, after the last moment; the state stays open."""
        limit = self._limit()
        if self.open is not None and limit is not None and as_of >= limit:
            self.open.auto_close(limit)

    def state(self) -> State:
        if self.open is None:
            return State(last_event_at=self.last_event_at)
        return State(self.open.login, self.ignored, self.last_event_at)

    def _open(self, login: Login) -> _Raw:
        self.open = _Raw(login, self.rules.closes_at(login.at))
        self.raws.append(self.open)
        self.ignored = self.ignored_side = None
        return self.open

    def _ignore(self, login: _Side | None) -> None:
        if login is not None:
            login.decision, login.shift = REPEATED_LOGIN, self.open
            self.ignored, self.ignored_side = login.login(), login

    def _limit(self) -> datetime | None:
        return None if self.open is None else self.open.closes_at

    def _apply_past_maximum(self, limit: datetime, logout: _Side | None) -> None:
        """R5, then R7.

        The work provider took the stream for open, so a login beside the logout opens a shift: it is
        no pair of no length (R12).
        """
        if self.open is not None:
            self.open.auto_close(limit)
        self.open = None
        if logout is None:
            return
        if self.ignored is not None:
            again_closes_at = self.rules.closes_at(self.ignored.at)
            if again_closes_at is None or logout.event.at <= again_closes_at:
                self._continue(self.ignored, limit, logout)
                return
        logout.decision = BEYOND_MAX_LENGTH if self.ignored is None else COVER_MAY_BE_MISSING

    def _continue(self, ignored: Login, started_at: datetime, logout: _Side) -> None:
        """R7: the driver had logged in again; a second shift follows the first without a gap."""
        second = _Raw(ignored, self.rules.closes_at(ignored.at), started_at)
        second.start_known_at = max(ignored.known_at, logout.known_at)  # only the logout proves it
        second.log_out(logout)
        self.raws.append(second)
        if self.ignored_side is None:
            self.counted = ignored
        else:
            self.ignored_side.decision, self.ignored_side.shift = APPLIED, second


def _decide(side: _Side, links: Sequence[Link], decisions: dict[int, Decision]) -> None:
    """Write the decision on every copy of a side (R3)."""
    if _is_before_link(side, links):
        decisions.update(dict.fromkeys(side.ids, BEFORE_LINK))
        return
    decisions[side.ids[0]] = side.decision
    for copy in side.ids[1:]:
        decisions[copy] = DUPLICATE


def _is_before_link(side: _Side, links: Sequence[Link]) -> bool:
    at = side.event.at
    for link in links:
        if link.ends_at is None or at < link.ends_at:  # the link that holds it, else the next one
            if link.starts_at <= at:
                return False
            return side.shift is None or not side.shift.reaches(link.starts_at)
    return True


def _clip(raw: _Raw, links: Sequence[Link]) -> Iterable[Shift]:
    """The parts of a raw shift that lie within links."""
    for link in links:
        if raw.ended_at is not None and raw.ended_at <= link.starts_at:
            return
        start = max(raw.started_at, link.starts_at)
        if not raw.reaches(start) or (link.ends_at is not None and link.ends_at <= start):
            continue
        end, reason, ended_by = raw.ended_at, raw.end_reason, raw.ended_by
        end_known_at = raw.end_known_at
        latest = raw.ended_at or raw.closes_at
        if link.ends_at is not None and (latest is None or link.ends_at <= latest):
            end, reason, ended_by, end_known_at = link.ends_at, "UNLINKED", None, link.end_known_at
        yield Shift(
            link_id=link.id,
            started_at=start,
            ended_at=end,
            end_reason=reason,
            start_clipped=link.starts_at > raw.started_at,
            is_continuation=raw.is_continuation,
            login_at=raw.login.at,
            closes_at=raw.closes_at,
            opened_by=raw.login.event_id,
            ended_by=ended_by,
            start_known_at=max(raw.start_known_at, link.start_known_at),
            end_known_at=end_known_at,
        )


class Stored(NamedTuple):
    """A shift in the database: its identity and what it says now."""

    id: object
    shift: Shift


# In order of preference, what a stored and a projected shift may have in common.
_AGREEMENTS: list[Callable[[Shift], object]] = [
    lambda shift: (shift.opened_by, shift.link_id),
    attrgetter("opened_by"),
    attrgetter("ended_by"),
]


def match(stored: Sequence[Stored], shifts: Sequence[Shift]) -> list[Stored | None]:
    """Which stored shift each of `shifts` takes over, None for a new one.

    The one with the same opening event, else with the same ending event, else the one it overlaps
    most. Stored shifts that nobody takes over are no longer yielded. Both come in time order; a
    driver's whole history, moved by an hour, must not take longer than its length.
    """
    taken: list[Stored | None] = [None] * len(shifts)
    free = dict(enumerate(stored))
    for value in _AGREEMENTS:
        by_value: dict[object, list[int]] = {}
        for old in reversed(free):
            by_value.setdefault(value(free[old].shift), []).append(old)
        by_value.pop(None, None)
        for new, shift in enumerate(shifts):
            if taken[new] is None and (candidates := by_value.get(value(shift))):
                taken[new] = free.pop(candidates.pop())
    unmatched = [new for new, found in enumerate(taken) if found is None]
    for _, new, old in sorted(_overlapping(free, shifts, unmatched)):
        if taken[new] is None and old in free:
            taken[new] = free.pop(old)
    return taken


def _overlapping(
    free: Mapping[int, Stored], shifts: Sequence[Shift], unmatched: Sequence[int]
) -> Iterator[tuple[timedelta, int, int]]:
    """(minus the overlap, index into `shifts`, key in `free`) of each pair that overlaps."""
    olds = list(free)
    first = 0
    for new in unmatched:
        shift = shifts[new]
        while first < len(olds) and _end(free[olds[first]].shift) <= shift.started_at:
            first += 1
        for old in olds[first:]:
            if free[old].shift.started_at >= _end(shift):
                break
            yield -_overlap(free[old].shift, shift), new, old


def _end(shift: Shift) -> datetime:
    return shift.ended_at or shift.closes_at or _FOREVER


def _overlap(one: Shift, other: Shift) -> timedelta:
    return min(_end(one), _end(other)) - max(one.started_at, other.started_at)
