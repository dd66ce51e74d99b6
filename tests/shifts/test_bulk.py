"""Mending in bulk: what is counted and what is done, also when it is interrupted, and back again."""

import json
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from linking import keys
from linking.models import ApiKey, DeskAction, DeskActionItem, User
from shifts import bulk, mend, restate
from shifts.accept import keep
from shifts.cover import cover
from shifts.models import Kind, Shift, ShiftEvent, Submission, Withdrawal
from tests.linking.threads import at_once
from tests.running import wait_until
from tests.shifts.live import Driver, Platform, at, drain
from tests.shifts.test_history import assert_as_projected_in_full

EVER = datetime(2017, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def nothing_under_way(platform: Platform) -> None:
    """The database is shared, and what is under way is anybody's."""
    DeskAction.objects.filter(finished_at__isnull=True).update(finished_at=timezone.now())


def why() -> dict[str, Any]:
    staff = User.objects.get_or_create(username="ops", is_staff=True)[0]
    return {"actor": staff, "reason": "Their system was down.", "now": timezone.now()}


def carry_through() -> None:
    while bulk.carry_on(timezone.now()):
        pass


def problems(action: DeskAction) -> list[str]:
    return [item.problem for item in action.items.order_by("target") if item.problem]


def send(
    platform: Platform, kind: str, *rows: tuple[str, str], key: ApiKey | None = None, zone: str = ""
) -> Submission:
    """One batch of (driver id, time as written)."""
    return keep(
        Submission(
            work_provider=platform.work_provider,
            api_key=key,
            kind=kind,
            is_batch=True,
            body=json.dumps([{"driverId": who, "timestamp": when} for who, when in rows]).encode(),
            timezone=zone or platform.work_provider.timezone,
            received_at=timezone.now(),
        ),
        max_future=platform.work_provider.max_future,
    )


def issue(platform: Platform) -> ApiKey:
    return keys.issue(platform.work_provider)[0]


def strike(key: ApiKey, **options: Any) -> DeskAction:
    return bulk.strike(key, EVER, timezone.now(), **why() | options)


def reread(platform: Platform, zone: str, **options: Any) -> DeskAction:
    return bulk.reread(platform.work_provider, EVER, timezone.now(), zone, **why() | options)


def close_out(platform: Platform, moment: datetime, **options: Any) -> DeskAction:
    return bulk.close_out(platform.work_provider, moment, **why() | options)


def at_work(platform: Platform, count: int = 3) -> list[Driver]:
    drivers = [platform.driver() for _ in range(count)]
    platform.accept(*(("login", driver.id, at("09:00")) for driver in drivers))
    drain()
    return drivers


# Close-out


def test_everybody_still_on_shift_then_is_logged_out_then(platform: Platform) -> None:
    drivers = at_work(platform)
    action = close_out(platform, at("18:30"))
    assert bulk.unfinished(platform.work_provider).get() == action
    assert bulk.progress(action) == (0, 0, 3)
    assert drivers[0].shifts() == [(at("09:00"), at("23:00"), "AUTO_CLOSED")]
    carry_through()
    action.refresh_from_db()
    assert action.finished_at is not None
    assert bulk.progress(action) == (3, 0, 3)
    for driver in drivers:
        assert driver.shifts() == [(at("09:00"), at("18:30"), "OPS")]
    assert Submission.objects.get(action=action).event_count == 3


def test_who_has_logged_out_since_or_was_not_there_is_left_alone(platform: Platform) -> None:
    out, unlinked, early, late, there = (platform.driver() for _ in range(5))
    for driver, start in (
        (out, "09:00"),
        (unlinked, "09:00"),
        (early, "01:00"),
        (late, "18:30"),
        (there, "09:00"),
    ):
        platform.accept(("login", driver.id, at(start)))
    platform.accept(("logout", out.id, at("19:00")))
    drain()
    unlinked.link.unlinked_at = at("19:00")
    unlinked.link.save()
    before = [driver.shifts() for driver in (out, unlinked, early, late)]
    action = close_out(platform, at("18:30"))
    carry_through()
    assert [driver.shifts() for driver in (out, unlinked, early, late)] == before
    assert there.shifts() == [(at("09:00"), at("18:30"), "OPS")]
    assert [item.target for item in action.items.all()] == [there.link.customer_id]


def test_who_logged_out_of_the_second_shift_of_r7_has_logged_out(platform: Platform) -> None:
    driver = platform.driver()
    platform.accept(("login", driver.id, at("09:00")), ("login", driver.id, at("20:00")))
    platform.accept(("logout", driver.id, at("30:00")))
    drain()
    assert len(driver.shifts()) == 2
    with pytest.raises(ValidationError, match="nothing to do"):
        close_out(platform, at("18:30"))


def test_who_logged_in_again_after_the_outage_starts_a_new_shift_there(platform: Platform) -> None:
    driver = platform.driver()
    platform.accept(("login", driver.id, at("09:00")), ("login", driver.id, at("20:05")))
    drain()
    close_out(platform, at("18:30"))
    carry_through()
    assert driver.shifts() == [
        (at("09:00"), at("18:30"), "OPS"),
        (at("20:05"), at("34:05"), "AUTO_CLOSED"),
    ]


def test_open_shifts_are_closed_out_and_a_moment_ahead_is_refused(platform: Platform) -> None:
    driver, now = platform.driver(), timezone.now()
    platform.accept(("login", driver.id, now - timedelta(hours=2)))
    ahead = platform.driver()
    platform.accept(("login", ahead.id, now + timedelta(hours=1)))
    drain()
    with pytest.raises(ValidationError, match="passed"):
        close_out(platform, now + timedelta(hours=2))
    action = close_out(platform, now - timedelta(hours=1))
    carry_through()
    assert driver.shift().end_reason == "OPS"
    assert ahead.shift().ended_at is None
    assert bulk.progress(action).total == 1


def test_a_logout_that_comes_before_its_piece_keeps_its_word(platform: Platform) -> None:
    drivers = at_work(platform, 2)
    close_out(platform, at("18:30"))
    platform.accept(("logout", drivers[0].id, at("20:00")))
    drain()
    carry_through()
    assert drivers[0].shifts() == [(at("09:00"), at("20:00"), "LOGOUT")]
    assert drivers[1].shifts() == [(at("09:00"), at("18:30"), "OPS")]


def test_a_logout_that_is_being_digested_with_the_piece_keeps_its_word(
    platform: Platform,
) -> None:
    for _ in range(5):
        drivers = at_work(platform, 30)
        close_out(platform, at("18:30"))
        platform.accept(*(("logout", driver.id, at("20:00")) for driver in reversed(drivers)))
        at_once(drain, carry_through)
        ends = {driver.shift().ended_at for driver in drivers}
        # All at once, whoever came first: what the desk said first, the work provider's word follows.
        assert ends in ({at("20:00")}, {at("18:30")})
        assert_as_projected_in_full(platform.work_provider)


def test_a_close_out_is_undone_as_a_whole(platform: Platform) -> None:
    drivers = at_work(platform)
    before = [driver.shifts() for driver in drivers]
    action = close_out(platform, at("18:30"))
    carry_through()
    undoing = bulk.undo(action, **why())
    carry_through()
    assert [driver.shifts() for driver in drivers] == before
    assert bulk.progress(undoing).problems == 0
    assert_as_projected_in_full(platform.work_provider)


def test_many_are_closed_out_in_pieces(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PIECE", 2)
    drivers = at_work(platform, 5)
    action = close_out(platform, at("18:30"))
    seen = []
    while bulk.carry_on(timezone.now()):
        seen.append(bulk.progress(action).done)
    assert seen == [2, 4, 5, 5]
    assert {driver.shift().end_reason for driver in drivers} == {"OPS"}
    assert Submission.objects.filter(action=action).count() == 3


# Strike


def test_all_that_a_key_sent_in_a_period_is_struck_and_nothing_else(platform: Platform) -> None:
    leaked, other = issue(platform), issue(platform)
    driver = platform.driver()
    send(platform, "login", (driver.id, "2026-03-01T09:00"), key=leaked)
    since = timezone.now()
    send(platform, "login", (driver.id, "2026-03-02T09:00"), key=leaked)
    send(platform, "login", (driver.id, "2026-03-02T09:00"), key=other)
    send(platform, "logout", (driver.id, "2026-03-02T10:00"), key=leaked)
    drain()
    until = timezone.now()
    send(platform, "logout", (driver.id, "2026-03-02T11:00"), key=leaked)
    drain()
    action = bulk.strike(leaked, since, until, **why())
    carry_through()
    assert bulk.progress(action) == (2, 0, 2)
    assert driver.shifts()[1:] == [(at("09:00"), at("11:00"), "LOGOUT")]
    assert_as_projected_in_full(platform.work_provider)


def test_what_is_pending_or_failed_is_struck_too(platform: Platform) -> None:
    leaked, driver = issue(platform), platform.driver()
    pending = send(platform, "login", (driver.id, "2026-03-02T09:00"), key=leaked)
    failed = send(platform, "login", (driver.id, "2026-03-03T09:00"), key=leaked)
    Submission.objects.filter(pk=failed.pk).update(failed_at=timezone.now())
    action = strike(leaked)
    carry_through()
    drain()
    assert driver.shifts() == []
    for row in (pending, failed):
        row.refresh_from_db()
    assert (pending.status, failed.status) == ("DIGESTED", "DISCARDED")
    bulk.undo(action, **why())
    carry_through()
    assert len(driver.shifts()) == 1
    failed.refresh_from_db()
    assert failed.status == "FAILED"


def test_what_the_desk_has_read_again_since_is_struck_with_its_key(platform: Platform) -> None:
    leaked, driver = issue(platform), platform.driver()
    send(platform, "login", (driver.id, "2026-07-01T09:00"), key=leaked)
    drain()
    until = timezone.now()
    read_again = reread(platform, "Europe/London")
    carry_through()
    assert len(driver.shifts()) == 1
    action = bulk.strike(leaked, EVER, until, **why())
    carry_through()
    assert driver.shifts() == []
    with pytest.raises(ValidationError, match="undo that first"):
        bulk.undo(read_again, **why())
    bulk.undo(action, **why())
    carry_through()
    bulk.undo(read_again, **why())
    carry_through()
    assert driver.shift().started_at == datetime(2026, 7, 1, 9, tzinfo=UTC)
    assert_as_projected_in_full(platform.work_provider)


def test_a_strike_is_undone_and_can_be_done_again(platform: Platform) -> None:
    leaked, driver = issue(platform), platform.driver()
    send(platform, "login", (driver.id, "2026-03-02T09:00"), key=leaked)
    drain()
    before = driver.shifts()
    for _ in range(2):
        action = strike(leaked)
        carry_through()
        assert driver.shifts() == []
        bulk.undo(action, **why())
        carry_through()
        assert driver.shifts() == before


def test_a_strike_is_undone_only_after_a_later_one_that_means_some_of_the_same(
    platform: Platform,
) -> None:
    """Which has left out what was struck already: it would count again, and nobody meant it to."""
    leaked, driver = issue(platform), platform.driver()
    send(platform, "login", (driver.id, "2026-03-02T09:00"), key=leaked)
    drain()
    first = strike(leaked)
    carry_through()
    send(platform, "login", (driver.id, "2026-03-02T08:00"), key=leaked)
    drain()
    second = strike(leaked)
    carry_through()
    with pytest.raises(ValidationError, match="A later action withdraws some of the same"):
        bulk.undo(first, **why())
    assert driver.shifts() == []
    for action in (second, first):
        bulk.undo(action, **why())
        carry_through()
    assert driver.shift().started_at == at("08:00")


def test_what_was_known_before_a_strike_stays_known(platform: Platform) -> None:
    leaked, driver = issue(platform), platform.driver()
    send(platform, "login", (driver.id, "2026-03-02T09:00"), key=leaked)
    drain()
    sent = timezone.now()
    action = strike(leaked)
    carry_through()
    struck = timezone.now()
    bulk.undo(action, **why())
    carry_through()
    undone = timezone.now()
    known = [
        cover(driver.link.customer, at("10:00"), moment).is_covered
        for moment in (sent, struck, undone)
    ]
    assert known == [True, False, True]


# Reading again


def test_a_period_is_read_again_in_the_right_zone_and_back(platform: Platform) -> None:
    drivers = [platform.driver() for _ in range(3)]
    send(platform, "login", *((driver.id, "2026-07-01T09:00") for driver in drivers))
    send(platform, "logout", *((driver.id, "2026-07-01T17:00") for driver in drivers))
    send(platform, "login", (drivers[0].id, "2026-07-02T09:00+02:00"))
    drain()
    before = [driver.shifts() for driver in drivers]
    action = reread(platform, "Europe/London")
    assert bulk.progress(action).total == 3
    carry_through()
    for driver in drivers:
        assert driver.shifts()[0][:2] == (
            datetime(2026, 7, 1, 8, tzinfo=UTC),
            datetime(2026, 7, 1, 16, tzinfo=UTC),
        )
    assert Submission.objects.filter(action=action).count() == 2
    bulk.undo(action, **why())
    carry_through()
    assert [driver.shifts() for driver in drivers] == before
    assert_as_projected_in_full(platform.work_provider)


def test_what_was_read_again_is_read_yet_again_only_after_an_undoing(platform: Platform) -> None:
    driver = platform.driver()
    send(platform, "login", (driver.id, "2026-07-01T09:00"))
    drain()
    action = reread(platform, "Europe/London")
    carry_through()
    with pytest.raises(ValidationError, match="nothing to do"):
        reread(platform, "Europe/Berlin")
    bulk.undo(action, **why())
    carry_through()
    reread(platform, "Europe/Berlin")
    carry_through()
    assert driver.shift().started_at == datetime(2026, 7, 1, 7, tzinfo=UTC)


def test_a_batch_of_ten_thousand_is_read_again(platform: Platform) -> None:
    driver = platform.driver()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = [(start + timedelta(minutes=30 * n)).replace(tzinfo=None) for n in range(10_000)]
    send(platform, "login", *((driver.id, time.isoformat()) for time in times[::2]))
    send(platform, "logout", *((driver.id, time.isoformat()) for time in times[1::2]))
    drain()
    assert Shift.objects.filter(stream=driver.stream).count() == 5_000
    reread(platform, "Europe/London")
    carry_through()
    assert_as_projected_in_full(platform.work_provider)
    assert not problems(DeskAction.objects.order_by("-pk")[0])


# How it is carried on


def test_more_than_was_told_is_not_begun(platform: Platform) -> None:
    leaked, driver = issue(platform), platform.driver()
    for _ in range(2):
        send(platform, "login", (driver.id, "2026-03-02T09:00"), key=leaked)
    before = DeskAction.objects.count()
    with pytest.raises(bulk.Grown):
        strike(leaked, told=1)
    assert DeskAction.objects.count() == before
    strike(leaked, told=3)


def test_too_many_at_once_are_refused(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MAX_ITEMS", 1)
    leaked = issue(platform)
    for _ in range(2):
        send(platform, "login", ("somebody", "2026-03-02T09:00"), key=leaked)
    with pytest.raises(ValidationError, match="shorter period"):
        strike(leaked)


def test_one_work_provider_has_one_under_way(platform: Platform) -> None:
    leaked, driver = issue(platform), platform.driver()
    send(platform, "login", (driver.id, "2026-03-02T09:00"), key=leaked)
    drain()
    assert sorted(at_once(*[partial(begun, partial(strike, leaked))] * 2)) == [False, True]
    with pytest.raises(ValidationError, match="under way"):
        close_out(platform, at("18:30"))
    carry_through()
    assert Withdrawal.objects.filter(submission__api_key=leaked).count() == 1


def begun(start: Any) -> bool:
    try:
        start()
    except ValidationError:
        return False
    return True


def test_nothing_is_undone_before_it_has_finished_or_twice(platform: Platform) -> None:
    at_work(platform)
    action = close_out(platform, at("18:30"))
    with pytest.raises(ValidationError, match="Wait until"):
        bulk.undo(action, **why())
    carry_through()
    reasons = why()
    undo = partial(begun, partial(bulk.undo, action, **reasons))
    assert sorted(at_once(undo, undo)) == [False, True]
    carry_through()
    with pytest.raises(ValidationError, match="undone already"):
        bulk.undo(action, **reasons)
    undoing = DeskAction.objects.get(undoes=action)
    with pytest.raises(ValidationError, match="cannot be undone"):
        bulk.undo(undoing, **reasons)
    with pytest.raises(ValidationError, match="cannot be undone"):
        mend.undo(action, **reasons)


def test_an_item_that_cannot_be_done_says_why_and_the_rest_goes_on(
    platform: Platform,
) -> None:
    now = timezone.now().replace(tzinfo=None)
    driver = platform.driver()
    good = send(platform, "login", (driver.id, "2026-07-01T09:00"))
    ahead = send(platform, "login", (driver.id, (now + timedelta(hours=23)).isoformat()))
    more = send(platform, "logout", (driver.id, "2026-07-01T17:00"))
    drain()
    action = reread(platform, "America/New_York")
    carry_through()
    action.refresh_from_db()
    assert action.finished_at is not None
    assert bulk.progress(action) == (3, 1, 3)
    [item] = action.items.exclude(problem="")
    assert item.target == ahead.pk
    assert "future" in item.problem
    assert {row.reread_of_id for row in Submission.objects.filter(action=action)} == {
        good.pk,
        more.pk,
    }
    assert_as_projected_in_full(platform.work_provider)


def test_a_defect_in_one_item_is_told_apart_and_the_rest_goes_on(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaked, driver = issue(platform), platform.driver()
    rows = [send(platform, "login", (driver.id, "2026-03-02T09:00"), key=leaked) for _ in range(3)]
    drain()
    real = restate.restate

    def broken(action: DeskAction, *, strike: list[int], now: datetime) -> None:
        real(action, strike=strike, now=now)
        if rows[1].pk in strike:
            raise RuntimeError("of all things")

    monkeypatch.setattr(restate, "restate", broken)
    action = strike(leaked)
    carry_through()
    assert problems(action) == ["RuntimeError: tell the developers the id of this action."]
    assert [
        row.is_withdrawn for row in Submission.objects.filter(api_key=leaked).order_by("pk")
    ] == [
        True,
        False,
        True,
    ]


def test_a_lock_that_does_not_come_in_time_is_no_problem_of_the_item(platform: Platform) -> None:
    [driver] = at_work(platform, 1)
    action = close_out(platform, at("18:30"))
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT FROM shifts_stream WHERE id = %s FOR UPDATE", [stream])
            held.set()
            let_go.wait(30)

    def attempt() -> None:
        held.wait(30)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '100ms'")
            with pytest.raises(DatabaseError):
                bulk.carry_on(timezone.now())
        finally:
            let_go.set()

    stream = driver.stream.pk
    at_once(hold, attempt)
    assert bulk.progress(action) == (0, 0, 1)
    carry_through()
    assert bulk.progress(action) == (1, 0, 1)


def test_a_sweeper_that_is_killed_in_a_piece_leaves_it_to_another(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PIECE", 1)
    drivers = at_work(platform)
    action = close_out(platform, at("18:30"))
    assert bulk.carry_on(timezone.now())
    real = mend.add_events

    def killed(*args: Any, **options: Any) -> Submission:
        real(*args, **options)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        raise AssertionError("unreachable")

    with monkeypatch.context() as patch:
        patch.setattr(mend, "add_events", killed)
        with pytest.raises(DatabaseError):
            bulk.carry_on(timezone.now())
    connection.close()
    assert bulk.progress(action) == (1, 0, 3)
    carry_through()
    assert {driver.shift().end_reason for driver in drivers} == {"OPS"}
    assert ShiftEvent.objects.filter(submission__action=action).count() == 3


@pytest.mark.outage
def test_a_sweeper_that_is_killed_for_real_loses_and_repeats_nothing(platform: Platform) -> None:
    drivers = [platform.driver() for _ in range(600)]
    platform.accept(*(("login", driver.id, at("09:00")) for driver in drivers))
    drain()
    action = close_out(platform, at("18:30"))
    service = platform.service
    kills = 0
    while bulk.progress(action).done < 600:
        before = bulk.progress(action).done
        service.start("sweeper")
        wait_until(partial(has_gone_on, action, before))
        service.kill("sweeper")
        kills += 1
    carry_through()
    assert kills > 1
    added = ShiftEvent.objects.filter(submission__action=action)
    assert added.count() == added.values("stream").distinct().count() == 600
    assert bulk.progress(action) == (600, 0, 600)
    assert_as_projected_in_full(platform.work_provider)


def has_gone_on(action: DeskAction, done: int) -> bool:
    return bulk.progress(action).done > done


def test_two_sweepers_share_the_work_and_do_each_item_once(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PIECE", 2)
    other = Platform(platform.service)
    drivers = at_work(platform, 9) + at_work(other, 9)
    actions = [close_out(each, at("18:30")) for each in (platform, other)]
    while DeskAction.objects.filter(finished_at=None).exists():
        at_once(carry_through, carry_through)
    assert {driver.shift().end_reason for driver in drivers} == {"OPS"}
    for action in actions:
        assert bulk.progress(action) == (9, 0, 9)
        assert ShiftEvent.objects.filter(submission__action=action).count() == 9


def test_a_piece_has_not_too_many_events(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PIECE_EVENTS", 5)
    leaked, driver = issue(platform), platform.driver()
    for count in (2, 3, 1, 9, 1):
        send(platform, "login", *[(driver.id, "2026-03-02T09:00")] * count, key=leaked)
    action = strike(leaked)
    seen = []
    while bulk.carry_on(timezone.now()):
        seen.append(bulk.progress(action).done)
    assert seen == [1, 2, 4, 5, 5]  # the latest first


def test_progress_is_one_query(platform: Platform) -> None:
    from django.test.utils import CaptureQueriesContext

    at_work(platform)
    action = close_out(platform, at("18:30"))
    with CaptureQueriesContext(connection) as queries:
        assert bulk.progress(action) == (0, 0, 3)
    assert len(queries) == 1


def test_items_name_what_is_to_be_done(platform: Platform) -> None:
    leaked = issue(platform)
    sent = send(platform, "login", ("somebody", "2026-03-02T09:00"), key=leaked)
    action = strike(leaked)
    assert list(DeskActionItem.objects.filter(action=action).values_list("target", flat=True)) == [
        sent.pk
    ]
    assert action.details["items"] == 1


def test_a_single_action_of_the_desk_is_not_in_the_way(platform: Platform) -> None:
    [driver] = at_work(platform, 1)
    mend.add_event(platform.work_provider, driver.link.customer, Kind.LOGOUT, at("17:00"), **why())
    with pytest.raises(ValidationError, match="nothing to do"):
        close_out(platform, at("18:30"))
