"""One example, or a few, for each rule of docs/domain.md, section 5.

A shift's maximum is 14 hours here unless a test says otherwise. Hours are counted from midnight of the
first day, so that `h(23)` is where a shift from `h(9)` closes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from shifts.timeline import (
    CLOSED,
    LOGIN,
    LOGOUT,
    Decision,
    Event,
    Link,
    Login,
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

MIDNIGHT = datetime(2026, 3, 28, tzinfo=UTC)
MAX = timedelta(hours=14)

APPLIED = ("APPLIED", "")
DUPLICATE = ("DUPLICATE", "")
WITHDRAWN = ("WITHDRAWN", "")
REPEATED_LOGIN = ("IGNORED", "REPEATED_LOGIN")
ZERO_LENGTH = ("IGNORED", "ZERO_LENGTH")
NO_OPEN_SHIFT = ("ORPHAN", "NO_OPEN_SHIFT")
BEYOND_MAX_LENGTH = ("ORPHAN", "BEYOND_MAX_LENGTH")
BEFORE_LINK = ("REJECTED", "BEFORE_LINK")


def h(hours: float) -> datetime:
    return MIDNIGHT + timedelta(hours=hours)


LONG_AGO, LATER = h(-1000), h(1000)
MOMENT = timedelta(microseconds=1)
ALWAYS = Link(1, LONG_AGO, None, LONG_AGO)
RULES = Rules(MAX)
NO_MAXIMUM = Rules(None)


class Stream:
    """Writes down events as a test tells them, and projects them all."""

    def __init__(
        self, *links: Link, rules: Rules = RULES, withdrawn: Sequence[tuple[str, datetime]] = ()
    ) -> None:
        self.links = links or (ALWAYS,)
        self.rules = rules
        self.withdrawn = frozenset(withdrawn)
        self.events: list[Event] = []

    def login(
        self, at: datetime, *, known_at: datetime | None = None, is_ops: bool = False
    ) -> Event:
        return self._add(LOGIN, at, known_at, is_ops)

    def logout(
        self, at: datetime, *, known_at: datetime | None = None, is_ops: bool = False
    ) -> Event:
        return self._add(LOGOUT, at, known_at, is_ops)

    def _add(self, kind: str, at: datetime, known_at: datetime | None, is_ops: bool) -> Event:
        event = Event(len(self.events) + 1, kind, at, known_at or at, is_ops)
        self.events.append(event)
        return event

    def project(self, as_of: datetime = LATER) -> Projection:
        return project(
            self.events,
            links=self.links,
            rules=self.rules,
            as_of=as_of,
            withdrawn=self.withdrawn,
        )

    def shifts(self, as_of: datetime = LATER) -> list[tuple[datetime, datetime | None, str]]:
        """What a driver would ask for: from, to, and why it ended."""
        return [
            (shift.started_at, shift.ended_at, shift.end_reason)
            for shift in self.project(as_of).shifts
        ]

    def outcomes(self, as_of: datetime = LATER) -> list[tuple[str, str]]:
        """The outcome and reason of each event, in the order in which they were told."""
        decisions = self.project(as_of).decisions
        assert len(decisions) == len(self.events)
        return [decisions[event.id][:2] for event in self.events]

    def only(self, as_of: datetime = LATER) -> Shift:
        [shift] = self.project(as_of).shifts
        return shift


def test_no_events_make_no_shift_and_leave_the_state_alone() -> None:
    assert Stream().project() == Projection([], {}, CLOSED)
    state = State(last_event_at=h(9))
    assert project([], links=[ALWAYS], rules=RULES, as_of=LATER, state=state).state == state


def test_r1_login_opens_a_shift() -> None:
    stream = Stream()
    login = stream.login(h(9), known_at=h(9.25))
    assert stream.only(as_of=h(10)) == Shift(
        link_id=ALWAYS.id,
        started_at=h(9),
        ended_at=None,
        end_reason="",
        start_clipped=False,
        is_continuation=False,
        login_at=h(9),
        closes_at=h(23),
        opened_by=login.id,
        ended_by=None,
        start_known_at=h(9.25),
        end_known_at=None,
    )
    assert stream.outcomes() == [APPLIED]
    assert stream.project().state == State(Login(h(9), login.id, h(9.25)), None, h(9))


def test_r2_logout_ends_it() -> None:
    stream = Stream()
    stream.login(h(9))
    logout = stream.logout(h(17), known_at=h(18))
    assert stream.shifts() == [(h(9), h(17), "LOGOUT")]
    assert stream.outcomes() == [APPLIED, APPLIED]
    assert (stream.only().ended_by, stream.only().end_known_at) == (logout.id, h(18))
    assert stream.project().state == State(None, None, h(17))


def test_r2_logout_exactly_at_the_maximum_is_the_work_providers_word() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.logout(h(23))
    assert stream.shifts() == [(h(9), h(23), "LOGOUT")]
    assert stream.outcomes() == [APPLIED, APPLIED]


@pytest.mark.parametrize("copies", [2, 3])
def test_r3_equal_events_are_duplicates(copies: int) -> None:
    stream = Stream()
    for _ in range(copies):
        stream.login(h(9))
    for _ in range(copies):
        stream.logout(h(17))
    assert stream.shifts() == [(h(9), h(17), "LOGOUT")]
    again = [DUPLICATE] * (copies - 1)
    assert stream.outcomes() == [APPLIED, *again, APPLIED, *again]


def test_r3_first_received_stands_whatever_the_order_given() -> None:
    stream = Stream()
    stream.login(h(9), known_at=h(12))
    first = stream.login(h(9), known_at=h(10))
    stream.login(h(9), known_at=h(11))
    assert stream.outcomes() == [DUPLICATE, APPLIED, DUPLICATE]
    assert (stream.only().opened_by, stream.only().start_known_at) == (first.id, h(10))


def test_r3_copies_of_an_event_without_a_shift_are_duplicates_too() -> None:
    stream = Stream()
    stream.logout(h(8))
    stream.logout(h(8))
    stream.login(h(9))
    stream.login(h(10))
    stream.login(h(10))
    assert stream.outcomes() == [NO_OPEN_SHIFT, DUPLICATE, APPLIED, REPEATED_LOGIN, DUPLICATE]


def test_r4_repeated_login_is_ignored() -> None:
    stream = Stream()
    opener = stream.login(h(9))
    again = stream.login(h(12))
    assert stream.outcomes() == [APPLIED, REPEATED_LOGIN]
    state = stream.project().state
    assert state.login == Login(h(9), opener.id, h(9))
    assert state.ignored == Login(h(12), again.id, h(12))
    stream.logout(h(17))
    assert stream.shifts() == [(h(9), h(17), "LOGOUT")]


def test_r4_login_just_before_the_maximum_is_repeated() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(23) - MOMENT)
    assert stream.shifts() == [(h(9), h(23), "AUTO_CLOSED")]
    assert stream.outcomes() == [APPLIED, REPEATED_LOGIN]


def test_r5_later_login_closes_at_the_maximum_and_opens() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(30))
    assert stream.shifts(as_of=h(0)) == [(h(9), h(23), "AUTO_CLOSED"), (h(30), None, "")]
    assert stream.outcomes() == [APPLIED, APPLIED]


def test_r5_later_logout_closes_at_the_maximum_and_is_an_orphan() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.logout(h(23) + MOMENT)
    assert stream.shifts(as_of=h(0)) == [(h(9), h(23), "AUTO_CLOSED")]
    assert stream.outcomes() == [APPLIED, BEYOND_MAX_LENGTH]
    assert stream.project().state == State(None, None, h(23) + MOMENT)


def test_r5_login_exactly_at_the_maximum_closes_and_opens() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(23))
    assert stream.shifts(as_of=h(0)) == [(h(9), h(23), "AUTO_CLOSED"), (h(23), None, "")]
    assert stream.outcomes() == [APPLIED, APPLIED]


def test_r5_login_and_logout_exactly_at_the_maximum_are_two_touching_shifts() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(23))
    stream.logout(h(23))
    assert stream.shifts(as_of=h(0)) == [(h(9), h(23), "LOGOUT"), (h(23), None, "")]
    assert stream.outcomes() == [APPLIED, APPLIED, APPLIED]


def test_r5_each_login_at_the_maximum_of_the_last_opens_another() -> None:
    stream = Stream()
    for number in range(3):
        stream.login(h(9) + number * MAX)
    assert stream.shifts() == [
        (h(9), h(23), "AUTO_CLOSED"),
        (h(23), h(37), "AUTO_CLOSED"),
        (h(37), h(51), "AUTO_CLOSED"),
    ]


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        (h(23) - MOMENT, (h(9), None, "")),
        (h(23), (h(9), h(23), "AUTO_CLOSED")),
        (h(23) + MOMENT, (h(9), h(23), "AUTO_CLOSED")),
        (h(999), (h(9), h(23), "AUTO_CLOSED")),
    ],
)
def test_r6_silence_closes_at_the_maximum(
    as_of: datetime, expected: tuple[datetime, datetime | None, str]
) -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(10))
    assert stream.shifts(as_of) == [expected]
    # The state does not know what time it is: the next event may still be a word about this shift.
    assert stream.project(as_of).state == stream.project(h(9)).state


def test_r6_decides_nothing_but_the_last_end() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(12))
    stream.logout(h(24))
    stream.login(h(40))
    early, late = stream.project(h(0)), stream.project(h(999))
    assert early.shifts[:-1] == late.shifts[:-1]
    assert early.decisions == late.decisions
    assert early.state == late.state


def test_r7_ignored_login_carries_on_after_the_maximum() -> None:
    stream = Stream()
    stream.login(h(9))
    ignored = stream.login(h(20), known_at=h(20.5))
    logout = stream.logout(h(26), known_at=h(27))
    assert stream.shifts() == [(h(9), h(23), "AUTO_CLOSED"), (h(23), h(26), "LOGOUT")]
    assert stream.outcomes() == [APPLIED, APPLIED, APPLIED]
    second = stream.project().shifts[1]
    assert second.is_continuation
    assert not second.start_clipped
    assert (second.login_at, second.closes_at) == (h(20), h(34))
    assert (second.opened_by, second.ended_by) == (ignored.id, logout.id)
    assert stream.project().state == State(None, None, h(26))


def test_r7_logout_exactly_at_the_ignored_logins_maximum_counts() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(20))
    stream.logout(h(34))
    assert stream.shifts() == [(h(9), h(23), "AUTO_CLOSED"), (h(23), h(34), "LOGOUT")]


def test_r7_logout_after_the_ignored_logins_maximum_goes_to_the_ops_desk() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(20))
    logout = stream.logout(h(34) + MOMENT)
    assert stream.shifts() == [(h(9), h(23), "AUTO_CLOSED")]
    assert stream.outcomes() == [APPLIED, REPEATED_LOGIN, BEYOND_MAX_LENGTH]
    assert stream.project().decisions[logout.id].after_ignored_login


def test_r7_without_an_ignored_login_there_is_nothing_to_look_at() -> None:
    stream = Stream()
    stream.login(h(9))
    logout = stream.logout(h(24))
    assert stream.project().decisions[logout.id] == Decision("ORPHAN", "BEYOND_MAX_LENGTH")


def test_r7_latest_ignored_login_decides() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(10))
    latest = stream.login(h(22))
    stream.login(h(22))
    stream.logout(h(35))
    assert stream.shifts() == [(h(9), h(23), "AUTO_CLOSED"), (h(23), h(35), "LOGOUT")]
    assert stream.project().shifts[1].opened_by == latest.id
    assert stream.outcomes() == [APPLIED, REPEATED_LOGIN, APPLIED, DUPLICATE, APPLIED]


def test_r7_only_the_first_logout_counts() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(20))
    stream.logout(h(26))
    stream.logout(h(27))
    assert stream.shifts() == [(h(9), h(23), "AUTO_CLOSED"), (h(23), h(26), "LOGOUT")]
    assert stream.outcomes()[-1] == NO_OPEN_SHIFT


@pytest.mark.parametrize("login_at", [h(23), h(25)])
def test_r7_login_in_between_takes_the_logout(login_at: datetime) -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(20))
    stream.login(login_at)
    stream.logout(h(26))
    assert stream.shifts() == [(h(9), h(23), "AUTO_CLOSED"), (login_at, h(26), "LOGOUT")]
    assert stream.outcomes() == [APPLIED, REPEATED_LOGIN, APPLIED, APPLIED]


def test_r7_login_ignored_in_an_earlier_shift_is_forgotten() -> None:
    stream = Stream()
    stream.login(h(0))
    stream.login(h(8))
    stream.logout(h(9))
    stream.login(h(9))
    logout = stream.logout(h(23.5))
    assert stream.shifts() == [(h(0), h(9), "LOGOUT"), (h(9), h(23), "AUTO_CLOSED")]
    assert not stream.project().decisions[logout.id].after_ignored_login


def test_r7_each_login_has_its_own_rule() -> None:
    shorter = Rules(MAX, [Rule(h(15), timedelta(hours=2))])
    stream = Stream(rules=shorter)
    stream.login(h(9))
    stream.login(h(22))
    stream.logout(h(24))
    assert stream.shifts() == [(h(9), h(23), "AUTO_CLOSED"), (h(23), h(24), "LOGOUT")]
    stream.events[-1] = Event(3, LOGOUT, h(24) + MOMENT, h(24))
    assert stream.shifts() == [(h(9), h(23), "AUTO_CLOSED")]


def test_r7_ignored_login_without_maximum_carries_on_for_any_time() -> None:
    stream = Stream(rules=Rules(MAX, [Rule(h(15), None)]))
    stream.login(h(9))
    stream.login(h(22))
    stream.logout(h(500))
    assert stream.shifts() == [(h(9), h(23), "AUTO_CLOSED"), (h(23), h(500), "LOGOUT")]
    assert stream.project().shifts[1].closes_at is None


def test_r7_second_shift_is_known_when_the_logout_proves_it() -> None:
    # From 23:00 until the logout is heard, the service says that the cover has ended. A start known at
    # 20:00 would turn cover reported after the fact into cover reported live.
    stream = Stream()
    stream.login(h(9))
    stream.login(h(20))
    stream.logout(h(26), known_at=h(27))
    second = stream.project().shifts[1]
    assert (second.start_known_at, second.end_known_at) == (h(27), h(27))


@pytest.mark.parametrize("has_ignored", [False, True])
def test_r7_login_at_the_instant_of_the_late_logout_opens(has_ignored: bool) -> None:
    # Yesterday's session was never ended; this morning the app ends it and begins another, within one
    # second. Taken as R12's pair of no length, the driver would have no cover all day.
    stream = Stream()
    stream.login(h(9))
    if has_ignored:
        stream.login(h(10))
    logout = stream.logout(h(32))
    stream.login(h(32))
    stream.logout(h(40))
    assert stream.shifts() == [(h(9), h(23), "AUTO_CLOSED"), (h(32), h(40), "LOGOUT")]
    assert stream.outcomes()[-3:] == [BEYOND_MAX_LENGTH, APPLIED, APPLIED]
    assert stream.project().decisions[logout.id].after_ignored_login == has_ignored


def test_r8_late_logout_replaces_the_estimate() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(30))
    assert stream.shifts() == [(h(9), h(23), "AUTO_CLOSED"), (h(30), h(44), "AUTO_CLOSED")]
    stream.logout(h(17), known_at=h(50))
    assert stream.shifts() == [(h(9), h(17), "LOGOUT"), (h(30), h(44), "AUTO_CLOSED")]
    assert stream.project().shifts[0].end_known_at == h(50)


def test_r8_late_logout_after_r7_takes_the_second_shift_away() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(20))
    stream.logout(h(26))
    stream.logout(h(21), known_at=h(50))
    assert stream.shifts() == [(h(9), h(21), "LOGOUT")]
    assert stream.outcomes() == [APPLIED, REPEATED_LOGIN, NO_OPEN_SHIFT, APPLIED]


def test_r9_logout_alone_invents_nothing_and_pairs_when_its_login_comes() -> None:
    stream = Stream()
    stream.logout(h(17))
    assert stream.shifts() == []
    assert stream.outcomes() == [NO_OPEN_SHIFT]
    stream.login(h(9), known_at=h(50))
    assert stream.shifts() == [(h(9), h(17), "LOGOUT")]
    assert stream.outcomes() == [APPLIED, APPLIED]
    assert (stream.only().start_known_at, stream.only().end_known_at) == (h(50), h(17))


def test_r10_first_logout_stands() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.logout(h(17))
    stream.logout(h(18))
    assert stream.shifts() == [(h(9), h(17), "LOGOUT")]
    assert stream.outcomes() == [APPLIED, APPLIED, NO_OPEN_SHIFT]


def test_r11_logout_comes_before_login_at_one_instant() -> None:
    for order in permutations([(LOGIN, h(9)), (LOGIN, h(12)), (LOGOUT, h(12)), (LOGOUT, h(17))]):
        stream = Stream()
        for kind, at in order:
            if kind == LOGIN:
                stream.login(at)
            else:
                stream.logout(at)
        assert stream.shifts() == [(h(9), h(12), "LOGOUT"), (h(12), h(17), "LOGOUT")]
        assert stream.outcomes() == [APPLIED] * 4


def test_r11_holds_after_r7() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(20))
    stream.logout(h(26))
    opener = stream.login(h(26))
    assert stream.shifts(as_of=h(0)) == [
        (h(9), h(23), "AUTO_CLOSED"),
        (h(23), h(26), "LOGOUT"),
        (h(26), None, ""),
    ]
    assert stream.outcomes() == [APPLIED] * 4
    assert stream.project().state == State(Login(h(26), opener.id, h(26)), None, h(26))


def test_r12_login_and_logout_at_one_instant_are_no_shift() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.logout(h(9))
    stream.logout(h(10))
    assert stream.shifts() == []
    assert stream.outcomes() == [ZERO_LENGTH, ZERO_LENGTH, NO_OPEN_SHIFT]
    assert stream.project().state == State(None, None, h(10))


def test_r12_copies_are_duplicates() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.logout(h(9))
    stream.login(h(9))
    stream.logout(h(9))
    assert stream.outcomes() == [ZERO_LENGTH, ZERO_LENGTH, DUPLICATE, DUPLICATE]


def test_r12_needs_a_closed_stream() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.logout(h(9))
    stream.login(h(8), known_at=h(50))
    assert stream.shifts(as_of=h(0)) == [(h(8), h(9), "LOGOUT"), (h(9), None, "")]
    assert stream.outcomes() == [APPLIED] * 3


def test_r13_earlier_login_moves_the_start() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.logout(h(17))
    opener = stream.login(h(7), known_at=h(50))
    assert stream.shifts() == [(h(7), h(17), "LOGOUT")]
    assert stream.outcomes() == [REPEATED_LOGIN, APPLIED, APPLIED]
    assert (stream.only().opened_by, stream.only().start_known_at) == (opener.id, h(50))
    assert stream.only().closes_at == h(21)


def test_r13_logout_in_between_keeps_them_apart() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(7))
    stream.logout(h(8))
    assert stream.shifts() == [(h(7), h(8), "LOGOUT"), (h(9), h(23), "AUTO_CLOSED")]


def test_r13_login_by_the_maximum_earlier_is_a_shift_of_its_own() -> None:
    stream = Stream()
    stream.login(h(23))
    stream.login(h(9))
    assert stream.shifts(as_of=h(0)) == [(h(9), h(23), "AUTO_CLOSED"), (h(23), None, "")]


def test_r13_earlier_login_leaves_a_logout_within_the_old_maximum_to_r7() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.logout(h(22))
    stream.login(h(7))
    assert stream.shifts() == [(h(7), h(21), "AUTO_CLOSED"), (h(21), h(22), "LOGOUT")]


def test_r14_logout_added_by_the_ops_desk() -> None:
    stream = Stream()
    stream.login(h(9))
    logout = stream.logout(h(17), known_at=h(40), is_ops=True)
    assert stream.shifts() == [(h(9), h(17), "OPS")]
    assert (stream.only().ended_by, stream.only().end_known_at) == (logout.id, h(40))


@pytest.mark.parametrize("provider_known_at", [h(30), h(50)])
def test_r14_work_providers_own_logout_goes_before_the_added_one(
    provider_known_at: datetime,
) -> None:
    stream = Stream()
    stream.login(h(9))
    stream.logout(h(17), known_at=h(40), is_ops=True)
    sent = stream.logout(h(17), known_at=provider_known_at)
    assert stream.shifts() == [(h(9), h(17), "LOGOUT")]
    assert stream.outcomes() == [APPLIED, DUPLICATE, APPLIED]
    assert stream.only().ended_by == sent.id
    # When it was first heard of is another matter than who is believed.
    assert stream.only().end_known_at == min(h(40), provider_known_at)


def test_r14_added_login_opens_a_shift_that_the_work_provider_ends() -> None:
    stream = Stream()
    stream.login(h(9), known_at=h(40), is_ops=True)
    stream.logout(h(17))
    assert stream.shifts() == [(h(9), h(17), "LOGOUT")]


def test_r14_added_logout_ends_the_second_shift_of_r7() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.login(h(20))
    stream.logout(h(26), is_ops=True)
    assert stream.shifts() == [(h(9), h(23), "AUTO_CLOSED"), (h(23), h(26), "OPS")]


def test_r14_withdrawal_strikes_every_copy() -> None:
    stream = Stream(withdrawn=[(LOGOUT, h(12))])
    stream.login(h(9))
    stream.logout(h(12))
    stream.logout(h(12), known_at=h(40))
    stream.logout(h(12), known_at=h(50), is_ops=True)
    stream.logout(h(17))
    assert stream.shifts() == [(h(9), h(17), "LOGOUT")]
    assert stream.outcomes() == [APPLIED, WITHDRAWN, WITHDRAWN, WITHDRAWN, APPLIED]


def test_r14_withdrawal_names_kind_and_instant() -> None:
    stream = Stream(withdrawn=[(LOGIN, h(12)), (LOGOUT, h(13))])
    stream.login(h(9))
    stream.logout(h(12))
    stream.login(h(12))
    stream.login(h(13))
    assert stream.shifts(as_of=h(0)) == [(h(9), h(12), "LOGOUT"), (h(13), None, "")]
    assert stream.outcomes() == [APPLIED, APPLIED, WITHDRAWN, APPLIED]


def test_r14_withdrawn_events_are_as_if_never_sent() -> None:
    stream = Stream(withdrawn=[(LOGIN, h(9)), (LOGIN, h(40))])
    stream.login(h(9))
    stream.login(h(10))
    stream.login(h(40))
    assert stream.shifts(as_of=h(11)) == [(h(10), None, "")]
    assert stream.project().state.last_event_at == h(10)


def test_no_maximum_never_closes() -> None:
    stream = Stream(rules=NO_MAXIMUM)
    stream.login(h(9))
    stream.login(h(500))
    assert stream.shifts() == [(h(9), None, "")]
    assert stream.only().closes_at is None
    stream.logout(h(900))
    assert stream.shifts() == [(h(9), h(900), "LOGOUT")]
    assert stream.outcomes() == [APPLIED, REPEATED_LOGIN, APPLIED]


@pytest.mark.parametrize(
    ("login_at", "closes_at"),
    [
        (h(9), h(23)),
        (h(10) - MOMENT, h(24) - MOMENT),
        (h(10), h(12)),
        (h(19), h(21)),
        (h(20), None),
        (h(30), h(31)),
    ],
)
def test_rules_count_for_logins_from_then_on(
    login_at: datetime, closes_at: datetime | None
) -> None:
    stream = Stream(
        rules=Rules(
            MAX,
            [
                Rule(h(30), timedelta(hours=1)),
                Rule(h(10), timedelta(hours=2)),
                Rule(h(20), None),
            ],
        )
    )
    stream.login(login_at)
    assert stream.only().closes_at == closes_at
    assert stream.only().ended_at == closes_at


def link(
    number: int, start: float, end: float | None = None, *, confirmed: float | None = None
) -> Link:
    return Link(
        number,
        h(start),
        None if end is None else h(end),
        h(start if confirmed is None else confirmed),
        None if end is None else h(end),
    )


def test_link_during_a_shift_clips_its_start() -> None:
    stream = Stream(link(1, 9.5))
    stream.login(h(9))
    stream.logout(h(17))
    shift = stream.only()
    assert (shift.started_at, shift.ended_at, shift.end_reason) == (h(9.5), h(17), "LOGOUT")
    assert shift.start_clipped
    assert shift.login_at == h(9)
    assert shift.start_known_at == h(9.5)
    assert stream.outcomes() == [APPLIED, APPLIED]


def test_maximum_still_runs_from_the_login_before_the_link() -> None:
    stream = Stream(link(1, 9.5))
    stream.login(h(9))
    assert stream.shifts() == [(h(9.5), h(23), "AUTO_CLOSED")]
    assert stream.only().closes_at == h(23)


def test_login_at_the_instant_of_the_link_is_not_clipped() -> None:
    stream = Stream(link(1, 9))
    stream.login(h(9))
    assert not stream.only().start_clipped


def test_consent_known_later_than_the_login_makes_the_start_known_later() -> None:
    # The link waited for its confirmation, and the login was held: whether or not the start is clipped.
    for login_at in (h(8), h(9), h(10)):
        stream = Stream(link(1, 9, confirmed=12))
        stream.login(login_at)
        assert stream.only().start_known_at == h(12)


def test_login_heard_of_after_the_link_makes_the_start_known_later() -> None:
    stream = Stream(link(1, 9))
    stream.login(h(8), known_at=h(30))
    assert stream.only().start_known_at == h(30)


def test_unlinking_ends_an_open_shift() -> None:
    stream = Stream(link(1, 0, 12))
    login = stream.login(h(9))
    shift = stream.only(as_of=h(12))
    assert (shift.started_at, shift.ended_at, shift.end_reason) == (h(9), h(12), "UNLINKED")
    assert (shift.opened_by, shift.ended_by) == (login.id, None)
    assert shift.end_known_at == h(12)


def test_unlinking_leaves_a_shift_that_had_ended() -> None:
    stream = Stream(link(1, 0, 12))
    stream.login(h(9))
    stream.logout(h(11))
    assert stream.shifts() == [(h(9), h(11), "LOGOUT")]


def test_unlinking_at_the_instant_of_the_logout_comes_first() -> None:
    # The link no longer holds that instant. Until the driver links again the logout is not of this
    # stream; when it is, it must not become the reason of an end that was written long ago.
    before, after = Stream(link(1, 0, 12)), Stream(link(1, 0, 12), link(2, 20))
    for stream in (before, after):
        stream.login(h(9))
    after.logout(h(12))
    assert before.shifts() == after.shifts() == [(h(9), h(12), "UNLINKED")]
    assert after.outcomes() == [APPLIED, BEFORE_LINK]


def test_unlinking_at_the_instant_of_the_maximum_leaves_nothing_open() -> None:
    stream = Stream(link(1, 0, 23))
    stream.login(h(9))
    assert stream.shifts(as_of=h(22)) == stream.shifts() == [(h(9), h(23), "UNLINKED")]


def test_unlinking_after_the_maximum_changes_nothing() -> None:
    stream = Stream(link(1, 0, 30))
    stream.login(h(9))
    assert stream.shifts(as_of=h(22)) == [(h(9), None, "")]
    assert stream.shifts() == [(h(9), h(23), "AUTO_CLOSED")]


def test_two_links_in_one_raw_shift_make_two_shifts() -> None:
    stream = Stream(link(1, 0, 12), link(2, 13))
    stream.login(h(9))
    stream.logout(h(17))
    first, second = stream.project().shifts
    assert (first.started_at, first.ended_at, first.end_reason) == (h(9), h(12), "UNLINKED")
    assert (second.started_at, second.ended_at, second.end_reason) == (h(13), h(17), "LOGOUT")
    assert (first.link_id, second.link_id) == (1, 2)
    assert (first.start_clipped, second.start_clipped) == (False, True)
    assert first.opened_by == second.opened_by
    assert first.login_at == second.login_at == h(9)


def test_touching_links_make_touching_shifts() -> None:
    stream = Stream(link(1, 0, 12), link(2, 12))
    stream.login(h(9))
    assert stream.shifts() == [(h(9), h(12), "UNLINKED"), (h(12), h(23), "AUTO_CLOSED")]


def test_maximum_runs_on_between_two_links() -> None:
    stream = Stream(link(1, 0, 12), link(2, 24))
    stream.login(h(9))
    assert stream.shifts() == [(h(9), h(12), "UNLINKED")]


def test_logout_between_two_links_ends_the_raw_shift() -> None:
    stream = Stream(link(1, 0, 12), link(2, 20))
    stream.login(h(9))
    stream.logout(h(13))
    assert stream.shifts() == [(h(9), h(12), "UNLINKED")]
    assert stream.outcomes() == [APPLIED, BEFORE_LINK]


def test_second_shift_of_r7_is_clipped_too() -> None:
    stream = Stream(link(1, 0, 10), link(2, 24))
    stream.login(h(9))
    stream.login(h(20))
    stream.logout(h(26))
    assert stream.shifts() == [(h(9), h(10), "UNLINKED"), (h(24), h(26), "LOGOUT")]
    second = stream.project().shifts[1]
    assert second.is_continuation
    assert second.start_clipped
    assert stream.outcomes() == [APPLIED, APPLIED, APPLIED]


def test_shift_before_its_link_is_rejected_whatever_else_its_events_would_be() -> None:
    stream = Stream(link(1, 30))
    stream.logout(h(8))
    stream.login(h(9))
    stream.login(h(9))
    stream.login(h(10))
    stream.logout(h(11))
    stream.login(h(12))
    stream.logout(h(12))
    assert stream.shifts() == []
    assert stream.outcomes() == [BEFORE_LINK] * 7


@pytest.mark.parametrize(("linked", "expected"), [(22.75, APPLIED), (23, BEFORE_LINK)])
def test_login_counts_while_its_shift_may_reach_the_link(
    linked: float, expected: tuple[str, str]
) -> None:
    stream = Stream(link(1, linked))
    stream.login(h(9))
    assert stream.outcomes(as_of=h(10)) == [expected]
    assert stream.outcomes() == [expected]


def test_repeated_login_before_the_link_of_a_shift_that_reaches_it() -> None:
    stream = Stream(link(1, 12))
    stream.login(h(9))
    stream.login(h(10))
    assert stream.outcomes() == [APPLIED, REPEATED_LOGIN]


def test_logout_at_the_instant_of_the_link_leaves_nothing() -> None:
    stream = Stream(link(1, 12))
    stream.login(h(9))
    stream.logout(h(12))
    assert stream.shifts() == []
    assert stream.outcomes() == [BEFORE_LINK, APPLIED]


def test_automatic_end_is_known_when_it_comes_or_when_the_login_is_heard_of() -> None:
    live, late = Stream(), Stream()
    live.login(h(9))
    late.login(h(9), known_at=h(50))
    assert live.only().end_known_at == h(23)
    assert late.only().end_known_at == h(50)


def test_end_is_known_when_first_heard_of() -> None:
    stream = Stream()
    stream.login(h(9))
    stream.logout(h(17), known_at=h(20))
    stream.logout(h(17), known_at=h(19))
    assert stream.only().end_known_at == h(19)


def test_fold_counts_the_ignored_login_that_the_state_remembers() -> None:
    stream = Stream()
    stream.login(h(9))
    ignored = stream.login(h(20))
    state = stream.project().state
    logout = Event(3, LOGOUT, h(26), h(26))
    folded = project([logout], links=[ALWAYS], rules=RULES, as_of=LATER, state=state)
    stream.events.append(logout)
    whole = stream.project()
    assert folded.shifts == whole.shifts
    assert folded.state == whole.state
    assert folded.decisions == {ignored.id: Decision("APPLIED"), logout.id: Decision("APPLIED")}


def test_state_at_restarts_after_the_login_of_a_stored_shift() -> None:
    stream = Stream()
    stream.login(h(0))
    stream.logout(h(5))
    opener = stream.login(h(9))
    stream.login(h(20))
    stream.logout(h(26))
    whole = stream.project()
    restarted = project(
        stream.events[3:],
        links=[ALWAYS],
        rules=RULES,
        as_of=LATER,
        state=state_at(h(9), opener.id, h(9)),
    )
    assert restarted.shifts == whole.shifts[1:]
    assert restarted.state == whole.state


def stored(*shifts: Shift) -> list[Stored]:
    return [Stored(f"stored {place}", shift) for place, shift in enumerate(shifts)]


def taken(old: Sequence[Stored], new: Sequence[Shift]) -> list[object]:
    """The identity of each projected shift; None for a new one."""
    return [None if found is None else found.id for found in match(old, new)]


def a_shift(start: float, end: float | None, opened_by: int, ended_by: int | None = None) -> Shift:
    return Shift(
        link_id=1,
        started_at=h(start),
        ended_at=None if end is None else h(end),
        end_reason="" if end is None else "LOGOUT" if ended_by else "AUTO_CLOSED",
        start_clipped=False,
        is_continuation=False,
        login_at=h(start),
        closes_at=h(start) + MAX,
        opened_by=opened_by,
        ended_by=ended_by,
        start_known_at=h(start),
        end_known_at=None if end is None else h(end),
    )


def test_identity_nothing_stored_is_all_new() -> None:
    assert taken([], [a_shift(9, None, 1), a_shift(30, None, 2)]) == [None, None]
    assert taken(stored(a_shift(9, None, 1)), []) == []


def test_identity_same_opening_event() -> None:
    old = stored(a_shift(0, 5, 1, 2), a_shift(9, None, 3))
    assert taken(old, [a_shift(9, 17, 3, 4), a_shift(0, 4, 1, 5)]) == ["stored 1", "stored 0"]


def test_identity_same_ending_event() -> None:
    old = stored(a_shift(9, 17, 1, 2))
    assert taken(old, [a_shift(7, 17, 3, 2)]) == ["stored 0"]


def test_identity_two_automatic_ends_are_not_the_same_ending_event() -> None:
    old = stored(a_shift(0, 14, 1))
    assert taken(old, [a_shift(20, 34, 2)]) == [None]


def test_identity_opener_goes_before_ender() -> None:
    # A late logout parts a shift: the later part has its ending event, the earlier one its opener.
    old = stored(a_shift(9, 17, 1, 2))
    assert taken(old, [a_shift(9, 11, 1, 3), a_shift(12, 17, 4, 2)]) == ["stored 0", None]
    assert taken(old, [a_shift(12, 17, 4, 2), a_shift(9, 11, 1, 3)]) == [None, "stored 0"]


def test_identity_ender_goes_before_overlap() -> None:
    old = stored(a_shift(9, 17, 1, 2))
    new = [a_shift(8, 16, 3, 4), a_shift(16.5, 17, 5, 2)]
    assert taken(old, new) == [None, "stored 0"]


def test_identity_most_overlap() -> None:
    old = stored(a_shift(0, 4, 1), a_shift(4, 10, 2), a_shift(10, 12, 3))
    assert taken(old, [a_shift(3, 11, 9)]) == ["stored 1"]
    assert taken(old, [a_shift(0, 3, 8), a_shift(3, 11, 9)]) == ["stored 0", "stored 1"]
    assert taken(old[:1], [a_shift(0, 1, 8), a_shift(1, 4, 9)]) == [None, "stored 0"]


def test_identity_touching_is_no_overlap() -> None:
    assert taken(stored(a_shift(0, 4, 1)), [a_shift(4, 8, 2)]) == [None]


def test_identity_open_shifts_overlap_up_to_their_maximum() -> None:
    old = stored(a_shift(9, None, 1))
    assert taken(old, [a_shift(7, None, 2)]) == ["stored 0"]
    assert taken(old, [a_shift(23, None, 2)]) == [None]


def test_identity_open_shifts_without_a_maximum_overlap() -> None:
    before, after = Stream(rules=NO_MAXIMUM), Stream(rules=NO_MAXIMUM)
    before.login(h(9))
    after.events = [Event(7, LOGIN, h(7), h(10)), *before.events]
    assert taken(stored(*before.project().shifts), after.project().shifts) == ["stored 0"]


def test_identity_of_two_pieces_with_one_opener_goes_by_link() -> None:
    stream = Stream(link(1, 0, 12), link(2, 13))
    stream.login(h(9))
    old = stored(*stream.project(as_of=h(14)).shifts)
    stream.logout(h(17))
    new = stream.project().shifts
    assert taken(old, new) == ["stored 0", "stored 1"]
    assert taken(old[::-1], new) == ["stored 0", "stored 1"]
    assert taken(old[1:], new) == [None, "stored 1"]
    assert taken(old, new[1:]) == ["stored 1"]


def test_identity_same_opener_holds_across_links() -> None:
    old = Stream(link(1, 0))
    new = Stream(link(2, 9.5))
    for stream in (old, new):
        stream.login(h(9))
    assert taken(stored(*old.project().shifts), new.project().shifts) == ["stored 0"]


def test_identity_same_opener_needs_no_overlap() -> None:
    old, new = a_shift(9, 12, 1), a_shift(9, 17, 1, 2)._replace(link_id=2, started_at=h(13))
    assert taken(stored(old), [new]) == ["stored 0"]


def test_identity_r13_is_kept_for_an_open_and_for_an_ended_shift() -> None:
    stream = Stream()
    stream.login(h(9))
    still_open = stored(*stream.project(as_of=h(10)).shifts)
    stream.login(h(7))
    assert taken(still_open, stream.project(as_of=h(10)).shifts) == ["stored 0"]

    ended = Stream()
    ended.login(h(9))
    ended.logout(h(17))
    before = stored(*ended.project().shifts)
    ended.login(h(7))
    assert taken(before, ended.project().shifts) == ["stored 0"]


def test_identity_r13_is_kept_for_each_piece() -> None:
    stream = Stream(link(1, 0, 12), link(2, 13))
    stream.login(h(9))
    stream.logout(h(17))
    before = stored(*stream.project().shifts)
    stream.login(h(8))
    assert taken(before, stream.project().shifts) == ["stored 0", "stored 1"]


def test_identity_r14_work_providers_copy_takes_over_the_added_login() -> None:
    stream = Stream()
    stream.login(h(9), is_ops=True)
    before = stored(*stream.project(as_of=h(10)).shifts)
    stream.login(h(9), known_at=h(11))
    assert taken(before, stream.project(as_of=h(12)).shifts) == ["stored 0"]


def test_a_whole_history_moved_by_a_little_keeps_every_identity() -> None:
    """Each shift has another opener and another end; with a search for each it would take hours."""
    count = 3_000

    def history(first_id: int, offset: float) -> list[Shift]:
        events = [
            Event(first_id + 2 * day + place, kind, h(24 * day + hour + offset), h(0))
            for day in range(count)
            for place, (kind, hour) in enumerate(((LOGIN, 9), (LOGOUT, 17)))
        ]
        return project(events, links=[ALWAYS], rules=RULES, as_of=LATER).shifts

    old = stored(*history(0, 0))
    assert match(old, history(10 * count, -1)) == list(old)
