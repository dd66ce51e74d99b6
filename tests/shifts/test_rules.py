"""R1 to R14 of docs/domain.md, over HTTP and through a real worker; each test names its rule."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from linking import keys
from linking.models import DeskAction, User
from shifts import bulk, mend, settle
from shifts.models import Kind, ShiftEvent
from tests.running import wait_until
from tests.shifts.live import Live, at


@pytest.fixture
def staff(orm: object) -> User:
    return User.objects.get_or_create(username="ops", is_staff=True)[0]


def minutes_ago(minutes: int) -> datetime:
    return timezone.now() - timedelta(minutes=minutes)


def test_r1_a_login_opens_a_shift(live: Live) -> None:
    driver, start = live.driver(), minutes_ago(30)
    live.login(driver, start)
    assert driver.shifts() == [(start, None, "")]
    assert driver.outcomes() == ["login APPLIED"]


def test_r2_a_logout_within_the_maximum_ends_it(live: Live) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"))
    live.logout(driver, at("23:00"))
    assert driver.shifts() == [(at("09:00"), at("23:00"), "LOGOUT")]
    assert driver.outcomes() == ["login APPLIED", "logout APPLIED"]


def test_r3_the_same_again_is_a_duplicate_also_by_policy(live: Live) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"), at("09:00"))
    live.post(
        "shift/login",
        {"policyId": driver.link.customer.number.lower(), "timestamp": at("09:00").isoformat()},
    )
    live.logout(driver, at("17:00"), at("17:00"))
    live.wait()
    assert driver.shifts() == [(at("09:00"), at("17:00"), "LOGOUT")]
    assert driver.outcomes() == [
        "login APPLIED",
        "login DUPLICATE",
        "login DUPLICATE",
        "logout APPLIED",
        "logout DUPLICATE",
    ]


def test_r4_a_login_while_open_is_ignored(live: Live) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"), at("22:59"))
    live.logout(driver, at("23:00"))
    assert driver.shifts() == [(at("09:00"), at("23:00"), "LOGOUT")]
    assert driver.outcomes()[1] == "login IGNORED/REPEATED_LOGIN"


def test_r5_anything_after_the_maximum_ends_it_there_first(live: Live) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"), at("23:00"))
    live.logout(driver, at("24:00"))
    assert driver.shifts() == [
        (at("09:00"), at("23:00"), "AUTO_CLOSED"),
        (at("23:00"), at("24:00"), "LOGOUT"),
    ]


def test_r5_at_the_maximum_a_logout_beside_the_login_comes_first(live: Live) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"), at("23:00"))
    live.logout(driver, at("23:00"), at("24:00"))
    assert driver.shifts() == [
        (at("09:00"), at("23:00"), "LOGOUT"),
        (at("23:00"), at("24:00"), "LOGOUT"),
    ]


def test_r6_without_a_word_it_ends_at_the_maximum(live: Live) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"))
    shift = driver.shift()
    assert (shift.ended_at, shift.end_reason) == (at("23:00"), "AUTO_CLOSED")
    assert shift.end_known_at == shift.start_known_at


def test_r7_a_logout_after_the_maximum_counts_for_the_login_ignored_before(live: Live) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"), at("12:00"), at("20:00"))
    live.logout(driver, at("34:00"))
    assert driver.shifts() == [
        (at("09:00"), at("23:00"), "AUTO_CLOSED"),
        (at("23:00"), at("34:00"), "LOGOUT"),
    ]
    assert driver.outcomes() == [
        "login APPLIED",
        "login IGNORED/REPEATED_LOGIN",
        "login APPLIED",
        "logout APPLIED",
    ]


@pytest.mark.parametrize("ignored", [True, False])
def test_r7_beyond_that_the_logout_is_an_orphan(live: Live, ignored: bool) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"), *([at("20:00")] if ignored else []))
    live.logout(driver, at("34:01"))
    assert driver.shifts() == [(at("09:00"), at("23:00"), "AUTO_CLOSED")]
    assert driver.outcomes()[-1] == "logout ORPHAN/BEYOND_MAX_LENGTH"
    assert driver.events().get(kind="logout").after_ignored_login is ignored


def test_r8_a_late_logout_takes_the_estimates_place(live: Live) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"))
    before = driver.shift()
    live.logout(driver, at("17:00"))
    after = driver.shift()
    assert (after.pk, after.ended_at, after.end_reason) == (before.pk, at("17:00"), "LOGOUT")
    (revision,) = driver.revisions()
    assert (revision.shift_id, revision.change, revision.cause) == (after.pk, "AMENDED", "EVENT")
    assert (revision.old_ended_at, revision.old_end_reason) == (at("23:00"), "AUTO_CLOSED")
    assert (revision.new_ended_at, revision.new_end_reason) == (at("17:00"), "LOGOUT")
    assert revision.shortens_cover
    assert revision.cause_event_id == driver.events().get(kind="logout").pk


def test_r9_a_logout_alone_invents_no_shift_and_pairs_when_its_login_arrives(live: Live) -> None:
    driver = live.driver()
    live.logout(driver, at("17:00"))
    assert driver.shifts() == []
    assert driver.outcomes() == ["logout ORPHAN/NO_OPEN_SHIFT"]
    live.login(driver, at("09:00"))
    assert driver.shifts() == [(at("09:00"), at("17:00"), "LOGOUT")]
    assert driver.outcomes() == ["login APPLIED", "logout APPLIED"]


def test_r10_the_first_logout_stands(live: Live) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"))
    live.logout(driver, at("17:00"), at("18:00"))
    assert driver.shifts() == [(at("09:00"), at("17:00"), "LOGOUT")]
    assert driver.outcomes()[-1] == "logout ORPHAN/NO_OPEN_SHIFT"


@pytest.mark.parametrize("first", ["login", "logout"])
def test_r11_logout_and_login_at_one_instant_make_touching_shifts(live: Live, first: str) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"))
    for kind in (first, "logout" if first == "login" else "login"):
        getattr(live, kind)(driver, at("12:00"))
    live.logout(driver, at("17:00"))
    assert driver.shifts() == [
        (at("09:00"), at("12:00"), "LOGOUT"),
        (at("12:00"), at("17:00"), "LOGOUT"),
    ]


def test_r12_login_and_logout_at_one_instant_make_no_shift(live: Live) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"))
    live.logout(driver, at("09:00"))
    assert driver.shifts() == []
    assert driver.outcomes() == ["login IGNORED/ZERO_LENGTH", "logout IGNORED/ZERO_LENGTH"]
    (revision,) = driver.revisions()
    assert revision.change == "REMOVED"


def test_r13_an_earlier_login_moves_the_start_and_keeps_the_identity(live: Live) -> None:
    driver = live.driver()
    live.login(driver, at("10:00"))
    live.logout(driver, at("17:00"))
    before = driver.shift()
    live.login(driver, at("09:00"))
    after = driver.shift()
    assert (after.pk, after.started_at, after.ended_at) == (before.pk, at("09:00"), at("17:00"))
    assert driver.outcomes() == [
        "login APPLIED",
        "login IGNORED/REPEATED_LOGIN",
        "logout APPLIED",
    ]
    revision = driver.revisions()[-1]
    assert (revision.old_started_at, revision.new_started_at) == (at("10:00"), at("09:00"))
    assert not revision.shortens_cover


def test_r14_an_added_logout_ends_the_shift_as_ops_until_the_provider_says_the_same(
    live: Live, staff: User
) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"))
    submission = mend.add_event(
        live.work_provider,
        driver.link.customer,
        Kind.LOGOUT,
        at("17:00"),
        actor=staff,
        reason="Told by telephone.",
        now=timezone.now(),
    )
    live.wait()
    assert driver.shifts() == [(at("09:00"), at("17:00"), "OPS")]
    assert ShiftEvent.objects.get(submission=submission).is_ops
    live.logout(driver, at("17:00"))
    assert driver.shifts() == [(at("09:00"), at("17:00"), "LOGOUT")]
    assert sorted(driver.outcomes())[1:] == ["logout APPLIED", "logout DUPLICATE"]


def test_r14_a_withdrawal_strikes_later_copies_too_and_can_be_undone(
    live: Live, staff: User
) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"), at("10:00"))
    live.logout(driver, at("17:00"))
    withdrawal = mend.withdraw(
        driver.stream,
        Kind.LOGIN,
        at("09:00"),
        actor=staff,
        reason="Sent by a leaked key.",
        now=timezone.now(),
    )
    assert driver.shifts() == [(at("10:00"), at("17:00"), "LOGOUT")]
    live.login(driver, at("09:00"))
    assert driver.shifts() == [(at("10:00"), at("17:00"), "LOGOUT")]
    assert driver.outcomes()[:2] == ["login WITHDRAWN", "login WITHDRAWN"]
    assert driver.revisions()[-1].shortens_cover
    mend.undo_withdrawal(withdrawal, actor=staff, reason="It was genuine.", now=timezone.now())
    assert driver.shifts() == [(at("09:00"), at("17:00"), "LOGOUT")]
    assert driver.outcomes()[:2] == ["login APPLIED", "login DUPLICATE"]


def test_r14_who_undid_a_withdrawal_first_stays_on_record(live: Live, staff: User) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"))
    withdrawal = mend.withdraw(
        driver.stream, Kind.LOGIN, at("09:00"), actor=staff, reason="Leaked.", now=timezone.now()
    )
    mend.undo_withdrawal(withdrawal, actor=staff, reason="Was not.", now=timezone.now())
    with pytest.raises(ValidationError):
        mend.undo_withdrawal(withdrawal, actor=staff, reason="Again.", now=timezone.now())
    withdrawal.refresh_from_db()
    assert withdrawal.undone_action is not None
    assert withdrawal.undone_action.reason == "Was not."


def test_r14_a_struck_submission_leaves_equal_events_and_counts_again_when_undone(
    live: Live, staff: User
) -> None:
    leaked = keys.issue(live.work_provider)[0]
    driver = live.driver()
    live.login(driver, at("09:00"), at("10:00"))
    live.work_provider.submission_set.update(api_key=leaked)
    live.login(driver, at("10:00"))
    live.logout(driver, at("17:00"))
    why: dict[str, Any] = {"actor": staff, "reason": "Sent by a leaked key."}
    action = bulk.strike(leaked, at("00:00"), timezone.now(), now=timezone.now(), **why)
    carry_through(action)
    assert driver.shifts() == [(at("10:00"), at("17:00"), "LOGOUT")]
    assert driver.outcomes() == [
        "login WITHDRAWN",
        "login WITHDRAWN",
        "login APPLIED",
        "logout APPLIED",
    ]
    carry_through(bulk.undo(action, now=timezone.now(), **why))
    assert driver.shifts() == [(at("09:00"), at("17:00"), "LOGOUT")]


def carry_through(action: DeskAction) -> None:
    """By the sweeper that runs, or here."""
    bulk.carry_on(timezone.now())
    wait_until(
        lambda: (
            bulk.carry_on(timezone.now()) is False
            and not DeskAction.objects.filter(pk=action.pk, finished_at=None).exists()
        )
    )


@pytest.mark.parametrize(("when", "why"), [("1999-12-31T12:00+00:00", "Typed."), ("", " ")])
def test_r14_what_could_not_be_digested_or_has_no_reason_is_not_added(
    live: Live, staff: User, when: str, why: str
) -> None:
    driver = live.driver()
    with pytest.raises(ValidationError):
        mend.add_event(
            live.work_provider,
            driver.link.customer,
            Kind.LOGIN,
            datetime.fromisoformat(when) if when else at("09:00"),
            actor=staff,
            reason=why,
            now=timezone.now(),
        )
    assert not live.work_provider.submission_set.exists()


def test_a_late_event_leaves_older_shifts_untouched(live: Live) -> None:
    driver = live.driver()
    for day in range(4):
        live.login(driver, at("09:00", day=day))
        live.logout(driver, at("17:00", day=day))
    before = driver._shifts().order_by("started_at").values_list("pk", flat=True)[:4]
    ids = list(before)
    live.logout(driver, at("12:00", day=2))
    assert driver.shifts()[2] == (at("09:00", day=2), at("12:00", day=2), "LOGOUT")
    assert list(driver._shifts().order_by("started_at").values_list("pk", flat=True)) == ids


def test_a_new_maximum_counts_for_logins_from_then_on(live: Live) -> None:
    old, new = live.driver(), live.driver()
    ahead = timezone.now() + timedelta(hours=2)
    live.login(old, at("09:00"))
    live.login(new, ahead)
    assert new.shift().closes_at == ahead + timedelta(hours=14)
    settle.change_rule(live.work_provider, timedelta(hours=1), now=timezone.now())
    assert new.shift().closes_at == ahead + timedelta(hours=1)
    live.logout(old, at("22:00"))
    assert old.shifts() == [(at("09:00"), at("22:00"), "LOGOUT")]


def test_no_maximum_leaves_a_shift_open_for_ever(live: Live) -> None:
    driver = live.driver()
    settle.change_rule(live.work_provider, None, now=at("00:00"))
    live.login(driver, at("09:00"))
    assert driver.shifts() == [(at("09:00"), None, "")]
    live.logout(driver, at("09:00", day=30))
    assert driver.shifts() == [(at("09:00"), at("09:00", day=30), "LOGOUT")]
