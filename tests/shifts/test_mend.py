"""What the ops desk mends, one thing at a time: what it does, what it keeps, and what it refuses."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from linking.desk import record
from linking.models import (
    ApiKey,
    DeskAction,
    DriverLink,
    LinkPolicy,
    LinkRequest,
    User,
    WorkProvider,
)
from shifts import links, mend
from shifts.accept import keep
from shifts.cover import cover
from shifts.models import (
    Kind,
    Seen,
    Shift,
    ShiftEvent,
    ShiftRevision,
    Submission,
    Withdrawal,
)
from shifts.restate import reread, restate
from tests import factories
from tests.linking.threads import at_once
from tests.shifts.live import DAY, Driver, Platform, at, drain
from tests.shifts.test_history import assert_as_projected_in_full
from zego_api.models import OutgoingMail


def why() -> dict[str, Any]:
    staff = User.objects.get_or_create(username="ops", is_staff=True)[0]
    return {"actor": staff, "reason": "Told by telephone.", "now": timezone.now()}


def action(kind: DeskAction.Kind = DeskAction.Kind.STRIKE) -> DeskAction:
    return record(kind, **why())


def strike(*submissions: Submission) -> DeskAction:
    struck = action()
    with transaction_of_its_own():
        restate(struck, strike=[one.pk for one in submissions], now=timezone.now())
    return struck


def count(*submissions: Submission) -> None:
    with transaction_of_its_own():
        restate(action(), count=[one.pk for one in submissions], now=timezone.now())


def read_again(zone: str, *submissions: Submission) -> list[Submission]:
    with transaction_of_its_own():
        return reread([one.pk for one in submissions], zone, action(), now=timezone.now())


@contextmanager
def transaction_of_its_own() -> Iterator[None]:
    from django.db import transaction

    with transaction.atomic():
        yield


def send(
    platform: Platform,
    kind: str,
    driver: str,
    *times: str,
    key: ApiKey | None = None,
    zone: str = "",
    received_at: datetime | None = None,
) -> Submission:
    """One batch; times are as the work provider writes them."""
    return keep(
        Submission(
            work_provider=platform.work_provider,
            api_key=key,
            kind=kind,
            is_batch=True,
            body=json.dumps([{"driverId": driver, "timestamp": time} for time in times]).encode(),
            timezone=zone or platform.work_provider.timezone,
            received_at=received_at or timezone.now(),
        ),
        max_future=platform.work_provider.max_future,
    )


def outcomes(provider: WorkProvider) -> list[str]:
    events = ShiftEvent.objects.filter(work_provider=provider).order_by("pk")
    return [
        f"{event.outcome}/{event.reason}" if event.reason else event.outcome for event in events
    ]


def test_striking_one_of_two_equal_events_leaves_the_other_in_its_place(platform: Platform) -> None:
    driver = platform.driver()
    first = platform.accept(("login", driver.id, at("09:00")))
    platform.accept(("login", driver.id, at("09:00")))
    platform.accept(("logout", driver.id, at("17:00")))
    drain()
    before = driver.shift()
    strike(first)
    assert outcomes(platform.work_provider) == ["WITHDRAWN", "APPLIED", "APPLIED"]
    after = driver.shift()
    assert (after.pk, after.started_at, after.ended_at) == (before.pk, at("09:00"), at("17:00"))
    assert after.start_known_at > before.start_known_at
    assert driver.revisions() == []
    count(first)
    assert outcomes(platform.work_provider) == ["APPLIED", "DUPLICATE", "APPLIED"]
    assert driver.shift().start_known_at == before.start_known_at


def test_a_late_event_after_a_strike_does_not_bring_back_what_was_known_by_it(
    platform: Platform,
) -> None:
    driver = platform.driver()
    first = platform.accept(("login", driver.id, at("09:00")))
    second = platform.accept(("login", driver.id, at("09:00")))
    platform.accept(("logout", driver.id, at("17:00")))
    drain()
    strike(first)
    platform.accept(("logout", driver.id, at("12:00")))
    drain()
    assert driver.shift().start_known_at == second.received_at
    assert_as_projected_in_full(platform.work_provider)


def test_what_is_struck_before_its_digest_never_counts(platform: Platform) -> None:
    driver = platform.driver()
    pending = platform.accept(("login", driver.id, at("09:00")), ("login", "nobody", at("09:00")))
    strike(pending)
    drain()
    assert outcomes(platform.work_provider) == ["WITHDRAWN", "WITHDRAWN"]
    assert driver.shifts() == []
    count(pending)
    assert outcomes(platform.work_provider) == ["APPLIED", "HELD/UNKNOWN_ID"]


def test_what_counts_again_before_its_digest_is_digested_like_any_other(platform: Platform) -> None:
    driver = platform.driver()
    pending = platform.accept(("login", driver.id, at("09:00")))
    strike(pending)
    count(pending)
    drain()
    assert driver.outcomes() == ["login APPLIED"]


def test_a_held_event_that_is_struck_does_not_count_when_its_link_comes(platform: Platform) -> None:
    held = platform.accept(("login", "newcomer", at("09:00")))
    drain()
    strike(held)
    assert outcomes(platform.work_provider) == ["WITHDRAWN"]
    driver = platform.driver(driver_id="newcomer")
    assert driver.shifts() == []
    assert_as_projected_in_full(platform.work_provider)
    count(held)
    assert driver.shifts() == [(at("09:00"), at("23:00"), "AUTO_CLOSED")]


def test_held_events_that_count_again_wait_for_the_reason_they_waited_for(
    platform: Platform,
) -> None:
    left = platform.driver()
    left.link.unlinked_at = at("08:00")
    left.link.save()
    stranger = factories.customer()
    body = [
        {"driverId": "newcomer", "timestamp": at("09:00").isoformat()},
        {"driverId": left.id, "timestamp": at("09:00").isoformat()},
        {"policyId": stranger.number, "timestamp": at("09:00").isoformat()},
    ]
    sent = keep(
        Submission(
            work_provider=platform.work_provider,
            kind="login",
            is_batch=True,
            body=json.dumps(body).encode(),
            timezone="UTC",
            received_at=timezone.now(),
        ),
        max_future=timedelta(0),
    )
    drain()
    before = outcomes(platform.work_provider)
    assert before == ["HELD/UNKNOWN_ID", "IGNORED/AFTER_UNLINK", "HELD/NOT_LINKED"]
    strike(sent)
    assert outcomes(platform.work_provider) == ["WITHDRAWN"] * 3
    count(sent)
    assert outcomes(platform.work_provider) == before


@pytest.mark.parametrize("linked", [False, True])
def test_an_expired_event_stays_expired_when_it_counts_again(
    platform: Platform, linked: bool
) -> None:
    long_ago = timezone.now() - timedelta(days=31)
    sent = send(platform, "login", "newcomer", "2026-03-02T09:00", received_at=long_ago)
    drain()
    links.expire_held(now=timezone.now())
    if linked:
        platform.driver(driver_id="newcomer")
    strike(sent)
    count(sent)
    assert outcomes(platform.work_provider) == ["REJECTED/EXPIRED"]


def test_striking_twice_and_counting_twice_change_nothing_more(platform: Platform) -> None:
    driver = platform.driver()
    sent = platform.accept(("login", driver.id, at("09:00")))
    drain()
    strike(sent)
    strike(sent)
    assert sent.withdrawals.count() == 1
    count(sent)
    count(sent)
    assert sent.withdrawals.filter(undone_at=None).count() == 0
    assert driver.outcomes() == ["login APPLIED"]


def test_a_strike_of_a_whole_batch_is_one_settlement(platform: Platform) -> None:
    drivers = [platform.driver() for _ in range(3)]
    logins = platform.accept(*(("login", driver.id, at("09:00")) for driver in drivers))
    logouts = platform.accept(*(("logout", driver.id, at("17:00")) for driver in drivers))
    drain()
    strike(logins, logouts)
    assert [driver.shifts() for driver in drivers] == [[], [], []]
    assert [len(driver.revisions()) for driver in drivers] == [1, 1, 1]
    count(logins, logouts)
    assert {shift for driver in drivers for shift in driver.shifts()} == {
        (at("09:00"), at("17:00"), "LOGOUT")
    }


# Reading again


def test_times_without_an_offset_are_read_again_and_the_shift_keeps_its_identity(
    platform: Platform,
) -> None:
    driver = platform.driver()
    sent = [
        send(platform, "login", driver.id, "2026-07-01T09:00"),
        send(platform, "logout", driver.id, "2026-07-01T17:00"),
    ]
    drain()
    before = driver.shift()
    read_again("Europe/London", *sent)
    after = driver.shift()
    assert after.pk == before.pk
    assert (after.started_at, after.ended_at) == (
        before.started_at - timedelta(hours=1),
        before.ended_at - timedelta(hours=1),  # type: ignore[operator]
    )
    [revision] = driver.revisions()
    assert (revision.change, revision.cause) == ("AMENDED", "EVENT")
    assert driver.outcomes() == [
        "login APPLIED",
        "login WITHDRAWN",
        "logout APPLIED",
        "logout WITHDRAWN",
    ]
    assert not driver.events().filter(is_ops=True).exists()
    assert_as_projected_in_full(platform.work_provider)


def test_a_later_zone_does_not_pass_for_an_event_in_order(platform: Platform) -> None:
    """The new times come after all the stream has seen; what they replace must go all the same."""
    driver = platform.driver()
    sent = [
        send(platform, "login", driver.id, "2026-07-01T09:00"),
        send(platform, "logout", driver.id, "2026-07-01T10:00"),
    ]
    drain()
    read_again("America/New_York", *sent)
    assert driver.shifts() == [
        (
            datetime.fromisoformat("2026-07-01T13:00Z"),
            datetime.fromisoformat("2026-07-01T14:00Z"),
            "LOGOUT",
        )
    ]
    assert_as_projected_in_full(platform.work_provider)


@pytest.mark.parametrize(
    ("arrived", "instant"),
    [("2026-10-25T00:31Z", "2026-10-25T00:30Z"), ("2026-10-25T01:31Z", "2026-10-25T01:30Z")],
)
def test_the_night_the_clocks_go_back_is_read_by_when_it_first_arrived(
    platform: Platform, arrived: str, instant: str
) -> None:
    driver = platform.driver()
    received_at = datetime.fromisoformat(arrived)
    sent = send(platform, "login", driver.id, "2026-10-25T02:30", received_at=received_at)
    drain()
    read_again("Europe/Berlin", sent)
    assert driver.shift().started_at == datetime.fromisoformat(instant)


def test_what_has_an_offset_or_reads_the_same_is_left_alone(platform: Platform) -> None:
    driver = platform.driver()
    sent = [
        send(platform, "login", driver.id, "2026-07-01T09:00+02:00"),
        send(platform, "logout", driver.id, "2026-01-01T09:00"),  # winter: London is UTC
    ]
    drain()
    assert read_again("Europe/London", *sent) == []
    assert not Withdrawal.objects.filter(submission__in=sent).exists()


def test_a_reading_too_far_ahead_is_refused_and_the_first_one_stays(platform: Platform) -> None:
    now = timezone.now().replace(tzinfo=None)
    ahead = send(platform, "login", "somebody", (now + timedelta(hours=23)).isoformat())
    drain()
    with pytest.raises(ValidationError, match="future"):
        read_again("America/New_York", ahead)
    assert not Withdrawal.objects.filter(submission=ahead).exists()


def test_held_events_are_read_again_and_wait_on(platform: Platform) -> None:
    sent = send(platform, "login", "newcomer", "2026-07-01T09:00")
    drain()
    read_again("Europe/London", sent)
    assert outcomes(platform.work_provider) == ["WITHDRAWN", "HELD/UNKNOWN_ID"]
    driver = platform.driver(driver_id="newcomer")
    assert driver.shift().started_at == datetime.fromisoformat("2026-07-01T08:00Z")


def test_a_pending_submission_is_read_again_without_its_first_reading_ever_counting(
    platform: Platform,
) -> None:
    driver = platform.driver()
    sent = send(platform, "login", driver.id, "2026-07-01T09:00")
    read_again("Europe/London", sent)
    drain()
    assert driver.shift().started_at == datetime.fromisoformat("2026-07-01T08:00Z")
    assert driver.outcomes() == ["login APPLIED", "login WITHDRAWN"]


# What was known before and after


def test_each_mending_leaves_what_was_known_before_it(platform: Platform) -> None:
    driver = platform.driver()
    customer = driver.link.customer
    sent = send(platform, "login", driver.id, "2026-07-01T09:00")
    drain()
    noon = datetime.fromisoformat("2026-07-01T12:00Z")
    early = datetime.fromisoformat("2026-07-01T08:30Z")
    moments: list[tuple[str, datetime, bool, bool]] = []

    def note(name: str) -> None:
        moments.append(
            (
                name,
                timezone.now(),
                cover(customer, noon).is_covered,
                cover(customer, early).is_covered,
            )
        )

    note("as sent")
    added = mend.add_event(
        platform.work_provider,
        customer,
        Kind.LOGOUT,
        datetime.fromisoformat("2026-07-01T11:00Z"),
        **why(),
    )
    note("ended by the desk")
    assert added.action is not None
    mend.undo(added.action, **why())
    note("the end undone")
    [reading] = read_again("Europe/London", sent)
    note("read again")
    strike(reading)
    note("struck")
    count(reading)
    note("counts again")
    mend.withdraw(driver.stream, Kind.LOGIN, datetime.fromisoformat("2026-07-01T08:00Z"), **why())
    note("withdrawn")
    assert [(name, *stood) for name, _, *stood in moments] == [
        ("as sent", True, False),
        ("ended by the desk", False, False),
        ("the end undone", True, False),
        ("read again", True, True),
        ("struck", False, False),
        ("counts again", True, True),
        ("withdrawn", False, False),
    ]
    for _, known_at, at_noon, before_nine in moments:
        assert cover(customer, noon, known_at).is_covered is at_noon
        assert cover(customer, early, known_at).is_covered is before_nine


def test_an_ended_link_leaves_what_was_known_before(platform: Platform) -> None:
    driver = platform.driver()
    platform.accept(("login", driver.id, at("09:00")))
    drain()
    before = timezone.now()
    mend.end_link(driver.link, at("12:00"), **why())
    assert driver.shifts() == [(at("09:00"), at("12:00"), "UNLINKED")]
    assert cover(driver.link.customer, at("13:00"), before).is_covered
    assert not cover(driver.link.customer, at("13:00"), timezone.now()).is_covered


def test_an_end_that_is_moved_leaves_each_earlier_one_known(platform: Platform) -> None:
    driver = platform.driver()
    platform.accept(("login", driver.id, at("09:00")))
    drain()
    moments = [timezone.now()]
    for clock in ("12:00", "11:00", "10:00"):
        mend.end_link(driver.link, at(clock), **why())
        moments.append(timezone.now())
    ends = [
        [
            clock
            for clock in ("09:30", "10:30", "11:30", "12:30")
            if cover(driver.link.customer, at(clock), known_at).is_covered
        ][-1]
        for known_at in moments
    ]
    assert ends == ["12:30", "11:30", "10:30", "09:30"]


def test_a_link_that_never_held_leaves_what_was_known_though_its_events_have_expired(
    platform: Platform, settings: Settings
) -> None:
    settings.HELD_EXPIRES_AFTER = timedelta(hours=1)
    driver, received = platform.driver(), timezone.now() - timedelta(hours=2)
    DriverLink.objects.update(link_recorded_at=received)
    login = platform.accept(("login", driver.id, at("09:00")))
    Submission.objects.filter(pk=login.pk).update(received_at=received)
    drain()
    before = timezone.now()
    driver.link.refresh_from_db()
    mend.end_link(driver.link, driver.link.linked_at, **why())
    links.expire_held(now=timezone.now())
    assert driver.outcomes() == ["login REJECTED/EXPIRED"]
    assert cover(driver.link.customer, at("10:00"), before).is_covered
    assert not cover(driver.link.customer, at("10:00"), timezone.now()).is_covered


def test_what_expired_before_its_link_was_heard_of_was_not_known_to_be_cover(
    platform: Platform, settings: Settings
) -> None:
    settings.HELD_EXPIRES_AFTER = timedelta(hours=1)
    login = platform.accept(("login", "wanderer", at("09:00")))
    Submission.objects.filter(pk=login.pk).update(received_at=timezone.now() - timedelta(hours=2))
    drain()
    links.expire_held(now=timezone.now())
    driver = platform.driver(driver_id="wanderer")
    assert driver.outcomes() == ["login REJECTED/EXPIRED"]
    assert not cover(driver.link.customer, at("10:00"), timezone.now()).is_covered


# Undoing


def test_an_added_event_can_be_undone_once(platform: Platform) -> None:
    driver = platform.driver()
    platform.accept(("login", driver.id, at("09:00")))
    drain()
    customer = driver.link.customer
    added = mend.add_event(platform.work_provider, customer, Kind.LOGOUT, at("17:00"), **why())
    assert driver.shifts() == [(at("09:00"), at("17:00"), "OPS")]
    assert added.action is not None
    undoing = mend.undo(added.action, **why())
    assert driver.shifts() == [(at("09:00"), at("23:00"), "AUTO_CLOSED")]
    assert (undoing.undoes, undoing.customer) == (added.action, customer)
    with pytest.raises(ValidationError, match="already"):
        mend.undo(added.action, **why())


def test_an_undoing_leaves_the_same_event_that_the_work_provider_sent(platform: Platform) -> None:
    driver = platform.driver()
    platform.accept(("login", driver.id, at("09:00")))
    added = mend.add_event(
        platform.work_provider, driver.link.customer, Kind.LOGOUT, at("17:00"), **why()
    )
    platform.accept(("logout", driver.id, at("17:00")))
    drain()
    assert added.action is not None
    mend.undo(added.action, **why())
    assert driver.shifts() == [(at("09:00"), at("17:00"), "LOGOUT")]


def test_what_is_no_mending_of_events_cannot_be_undone_here(platform: Platform) -> None:
    for kind in (DeskAction.Kind.SEEN, DeskAction.Kind.STRIKE, DeskAction.Kind.UNDO):
        with pytest.raises(ValidationError, match="cannot be undone"):
            mend.undo(action(kind), **why())


def test_a_withdrawal_is_undone_by_one_of_two_who_try_at_once(platform: Platform) -> None:
    driver = platform.driver()
    platform.accept(("login", driver.id, at("09:00")))
    drain()
    withdrawal = mend.withdraw(driver.stream, Kind.LOGIN, at("09:00"), **why())
    reasons = why()

    def undo() -> bool:
        try:
            mend.undo(withdrawal.action, **reasons)
        except ValidationError:
            return False
        return True

    assert sorted(at_once(undo, undo)) == [False, True]
    assert driver.shifts() == [(at("09:00"), at("23:00"), "AUTO_CLOSED")]


def test_an_event_is_withdrawn_by_one_of_two_who_try_at_once(platform: Platform) -> None:
    driver = platform.driver()
    platform.accept(("login", driver.id, at("09:00")))
    drain()
    stream, reasons = driver.stream, why()

    def withdraw() -> bool:
        try:
            mend.withdraw(stream, Kind.LOGIN, at("09:00"), **reasons)
        except ValidationError:
            return False
        return True

    assert sorted(at_once(withdraw, withdraw)) == [False, True]


def test_whatever_needs_a_reason_does_nothing_without_one(platform: Platform) -> None:
    driver = platform.driver()
    platform.accept(("login", driver.id, at("09:00")))
    drain()
    silent = why() | {"reason": " \n"}
    stream, customer = driver.stream, driver.link.customer
    nameless: list[Any] = [
        partial(mend.add_event, platform.work_provider, customer, Kind.LOGOUT, at("10:00")),
        partial(mend.withdraw, stream, Kind.LOGIN, at("09:00")),
        partial(mend.replay, platform.work_provider, driver_id=driver.id),
        partial(mend.end_link, driver.link, at("10:00")),
    ]
    before = (driver.shifts(), DeskAction.objects.count(), Withdrawal.objects.count())
    for each in nameless:
        with pytest.raises(ValidationError, match="Say why"):
            each(**silent)
    assert (driver.shifts(), DeskAction.objects.count(), Withdrawal.objects.count()) == before


# Held events, failed submissions


def test_a_replay_counts_what_expired_before_its_link_came(platform: Platform) -> None:
    long_ago = timezone.now() - timedelta(days=31)
    send(platform, "login", "newcomer", "2026-03-02T09:00", received_at=long_ago)
    drain()
    links.expire_held(now=timezone.now())
    driver = platform.driver(driver_id="newcomer")
    assert driver.shifts() == []
    mend.replay(platform.work_provider, driver_id="newcomer", **why())
    assert driver.shifts() == [(at("09:00"), at("23:00"), "AUTO_CLOSED")]


def test_a_replay_by_customer_number_counts_those_sent_by_number(platform: Platform) -> None:
    customer = factories.customer()
    body = json.dumps({"policyId": customer.number, "timestamp": at("09:00").isoformat()})
    keep(
        Submission(
            work_provider=platform.work_provider,
            kind="login",
            is_batch=False,
            body=body.encode(),
            timezone="UTC",
            received_at=timezone.now() - timedelta(days=31),
        ),
        max_future=timedelta(0),
    )
    drain()
    links.expire_held(now=timezone.now())
    driver = platform.driver(customer=customer)
    mend.replay(platform.work_provider, customer=customer, **why())
    assert driver.shifts() == [(at("09:00"), at("23:00"), "AUTO_CLOSED")]


def test_a_replay_without_a_link_leaves_them_waiting(platform: Platform) -> None:
    platform.accept(("login", "nobody", at("09:00")))
    drain()
    mend.replay(platform.work_provider, driver_id="nobody", **why())
    assert outcomes(platform.work_provider) == ["HELD/UNKNOWN_ID"]


def failed(platform: Platform, driver: Driver) -> Submission:
    sent = platform.accept(("login", driver.id, at("09:00")))
    Submission.objects.filter(pk=sent.pk).update(
        failed_at=timezone.now(), attempts=5, failure="It broke."
    )
    return sent


def test_a_failed_submission_is_tried_again_and_its_failure_stays_on_record(
    platform: Platform,
) -> None:
    driver = platform.driver()
    sent = failed(platform, driver)
    retried = mend.retry_failed(sent, **why())
    sent.refresh_from_db()
    assert (sent.status, sent.attempts) == ("PENDING", 0)
    assert retried.details["failure"] == "It broke."
    drain()
    assert driver.outcomes() == ["login APPLIED"]
    with pytest.raises(ValidationError, match="not FAILED"):
        mend.retry_failed(sent, **why())


def test_a_discarded_submission_is_failed_no_more_and_can_be_taken_up_again(
    platform: Platform,
) -> None:
    sent = failed(platform, platform.driver())
    discarded = mend.discard_failed(sent, **why())
    sent.refresh_from_db()
    assert sent.status == "DISCARDED"
    for function in (mend.retry_failed, mend.discard_failed):
        with pytest.raises(ValidationError, match="not FAILED"):
            function(sent, **why())
    mend.undo(discarded, **why())
    sent.refresh_from_db()
    assert sent.status == "FAILED"


def test_a_failed_submission_is_either_tried_again_or_discarded(platform: Platform) -> None:
    sent, reasons = failed(platform, platform.driver()), why()

    def attempt(function: Any) -> bool:
        try:
            function(sent, **reasons)
        except ValidationError:
            return False
        return True

    done = at_once(partial(attempt, mend.retry_failed), partial(attempt, mend.discard_failed))
    assert sorted(done) == [False, True]


# Links


@pytest.mark.usefixtures("outbox")
def test_a_link_made_by_the_desk_holds_from_the_agreement_and_tells_the_driver(
    platform: Platform,
) -> None:
    platform.accept(("login", "van 1", at("09:00")))
    drain()
    customer = factories.driver("made@example.com").customer
    mend.make_link(platform.work_provider, customer, " van 1 ", agreed_at=at("10:00"), **why())
    shift = Shift.objects.get(stream__customer=customer)
    assert (shift.started_at, shift.link.driver_id) == (at("10:00"), "van 1")
    assert OutgoingMail.objects.filter(recipients="made@example.com").exists()


def test_a_link_that_cannot_be_is_refused_with_the_reason(platform: Platform) -> None:
    provider, driver = platform.work_provider, platform.driver()
    fresh = factories.customer()
    gone = factories.customer(erased_at=timezone.now())

    def make(*who: Any, agreed_at: datetime = DAY) -> None:
        mend.make_link(provider, *who, agreed_at=agreed_at, **why())

    with pytest.raises(ValidationError, match="linked at that time already"):
        make(fresh, driver.id)
    with pytest.raises(ValidationError, match="linked to this work provider already"):
        make(driver.link.customer, "another")
    with pytest.raises(ValidationError, match="future"):
        make(fresh, "new", agreed_at=timezone.now() + timedelta(minutes=1))
    with pytest.raises(ValidationError, match="deleted"):
        make(gone, "new")
    with pytest.raises(ValidationError, match="1 to 128"):
        make(fresh, "  ")
    WorkProvider.objects.filter(pk=provider.pk).update(is_active=False)
    provider.refresh_from_db()
    with pytest.raises(ValidationError, match="not active"):
        make(fresh, "new")


def test_two_links_of_one_driver_id_made_at_once_are_one(platform: Platform) -> None:
    provider, reasons = platform.work_provider, why()
    customers = [factories.customer(), factories.customer()]

    def make(index: int) -> bool:
        try:
            mend.make_link(provider, customers[index], "van", agreed_at=DAY, **reasons)
        except ValidationError:
            return False
        return True

    assert sorted(at_once(partial(make, 0), partial(make, 1))) == [False, True]


def test_a_link_ended_as_it_began_never_held(platform: Platform) -> None:
    driver = platform.driver(linked_at=at("08:00"))
    platform.accept(("login", driver.id, at("09:00")))
    drain()
    mend.end_link(driver.link, at("08:00"), **why())
    assert driver.shifts() == []
    assert driver.outcomes() == ["login HELD/UNKNOWN_ID"]
    driver.link.refresh_from_db()
    assert driver.link.ended_by == DriverLink.EndedBy.OPS


def test_a_link_ends_within_itself_and_not_ahead_of_now(platform: Platform) -> None:
    driver = platform.driver(linked_at=at("08:00"))
    for moment in (at("07:59"), timezone.now() + timedelta(minutes=1)):
        with pytest.raises(ValidationError, match="between its beginning and now"):
            mend.end_link(driver.link, moment, **why())
    mend.end_link(driver.link, at("12:00"), **why())
    with pytest.raises(ValidationError, match="ended by then already"):
        mend.end_link(driver.link, at("12:00"), **why())
    mend.end_link(driver.link, at("11:00"), **why())
    driver.link.refresh_from_db()
    assert driver.link.unlinked_at == at("11:00")


def waiting_request(platform: Platform) -> LinkRequest:
    provider = platform.work_provider
    provider.link_policy = LinkPolicy.CONFIRM
    provider.save()
    return LinkRequest.objects.create(
        work_provider=provider,
        customer=factories.driver().customer,
        driver_id="van 2",
        agreed_at=at("08:00"),
    )


@pytest.mark.usefixtures("outbox")
def test_a_waiting_link_is_confirmed_from_its_agreement_on_or_refused_once(
    platform: Platform,
) -> None:
    platform.accept(("login", "van 2", at("07:00")))
    drain()
    request = waiting_request(platform)
    link = mend.confirm_link(request, **why())
    assert link.linked_at == at("08:00")
    assert Shift.objects.get(stream__customer=request.customer).started_at == at("08:00")
    recorded = DeskAction.objects.get(kind="CONFIRM_LINK", work_provider=platform.work_provider)
    assert recorded.details["link"] == link.pk
    for again in (mend.confirm_link, mend.refuse_link):
        with pytest.raises(ValidationError, match="does not wait"):
            again(request, **why())


@pytest.mark.usefixtures("outbox")
def test_a_refused_link_says_why_to_the_desk_alone(platform: Platform) -> None:
    request = waiting_request(platform)
    OutgoingMail.objects.all().delete()
    mend.refuse_link(request, **why() | {"reason": "Not their driver id." + "x" * 300})
    request.refresh_from_db()
    assert request.state == LinkRequest.State.REFUSED
    assert request.reason.startswith("Not their driver id.")
    assert all("Not their" not in mail.text for mail in OutgoingMail.objects.all())


# What was looked at


def test_what_was_looked_at_is_marked_once_with_whose_it_is(platform: Platform) -> None:
    driver = platform.driver()
    platform.accept(("login", driver.id, at("09:00")))
    drain()
    platform.accept(("logout", driver.id, at("17:00")))
    drain()
    [revision] = driver.revisions()
    seen = mend.mark_seen(Seen.Kind.REVISION, revision.pk, **why())
    assert (seen.customer, seen.work_provider) == (driver.link.customer, platform.work_provider)
    assert Seen.objects.get(kind="REVISION", target=revision.pk).action == seen
    with pytest.raises(ValidationError, match="already"):
        mend.mark_seen(Seen.Kind.REVISION, revision.pk, **why())
    with pytest.raises(ValidationError, match="no such thing"):
        mend.mark_seen(Seen.Kind.ORPHAN, 1, **why())


# All of it at once


def test_digests_and_mendings_at_once_neither_deadlock_nor_lose_anything(
    platform: Platform,
) -> None:
    """Six hands on the same drivers; afterwards all is as one projection would give it."""
    deadlocks = deadlocks_so_far()
    hands = Hands(platform)
    at_once(
        hands.digest,
        hands.digest,
        hands.strike_and_count,
        hands.read_again,
        hands.add_and_undo,
        hands.withdraw_and_undo,
        hands.relink,
    )
    drain()
    assert_as_projected_in_full(platform.work_provider)
    assert deadlocks_so_far() == deadlocks


class Hands:
    """What goes on at one work provider in a busy minute."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.drivers = [platform.driver() for _ in range(6)]
        self.sent = [
            send(platform, kind, driver.id, f"2026-07-{day:02}T{hour}:00")
            for day in range(1, 6)
            for kind, hour in (("login", "09"), ("logout", "17"))
            for driver in self.drivers
        ]
        drain()
        self.tens = [self.sent[start : start + 10] for start in range(0, len(self.sent), 10)]
        self.why = why()

    def digest(self) -> None:
        """Batches that name the drivers in changing orders; late ones among them."""
        for day in range(6, 20):
            turned = self.drivers[day % 6 :] + self.drivers[: day % 6]
            for kind, hour, when in (("login", 9, day), ("logout", 12, day % 5 + 1)):
                self.platform.accept(*((kind, driver.id, july(when, hour)) for driver in turned))
            drain()

    def strike_and_count(self) -> None:
        for ten in self.tens:
            strike(*ten)
            count(*ten)

    def read_again(self) -> None:
        for ten in self.tens:
            read_again("Europe/London", *reversed(ten))

    def add_and_undo(self) -> None:
        for hour in range(10, 13):
            for driver in self.drivers:
                moment = july(3, hour)
                provider, customer = self.platform.work_provider, driver.link.customer
                added = mend.add_event(provider, customer, Kind.LOGOUT, moment, **self.why)
                assert added.action is not None
                mend.undo(added.action, **self.why)

    def withdraw_and_undo(self) -> None:
        for day in range(1, 6):
            for driver in self.drivers:
                stream = driver.stream
                withdrawal = mend.withdraw(stream, Kind.LOGIN, july(day, 9), **self.why)
                mend.undo(withdrawal.action, **self.why)

    def relink(self) -> None:
        for driver in self.drivers * 3:
            driver.link.unlinked_at = july(4)
            driver.link.save()
            driver.link.unlinked_at = None
            driver.link.save()


def july(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 7, day, hour, tzinfo=UTC)


def deadlocks_so_far() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        found: int = cursor.fetchone()[0]
    return found


def test_revisions_name_what_caused_them(platform: Platform) -> None:
    driver = platform.driver()
    sent = platform.accept(("login", driver.id, at("09:00")))
    drain()
    strike(sent)
    [revision] = ShiftRevision.objects.filter(stream=driver.stream)
    assert (revision.change, revision.cause) == ("REMOVED", "WITHDRAWAL")
    assert revision.shortens_cover
