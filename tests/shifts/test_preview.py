"""A preview: what it tells, that nothing of it stays, and that the word given is for what it told."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from linking.desk import record
from linking.models import DeskAction, User
from shifts import mend, preview
from shifts.models import Kind, Shift, Submission
from shifts.restate import reread, restate
from shifts.settle import ShiftChange, watched
from shifts.timeline import Shift as Told
from tests import factories
from tests.shifts.live import DAY, Driver, Platform, at, drain
from tests.shifts.test_history import everything
from zego_api.models import OutgoingMail

NOW = at("24:00")


def why() -> dict[str, Any]:
    staff = User.objects.get_or_create(username="ops", is_staff=True)[0]
    return {"actor": staff, "reason": "Told by telephone.", "now": timezone.now()}


def told(changes: list[preview.Changed]) -> list[tuple[object, object]]:
    def brief(shift: Told | None) -> object:
        return shift and (shift.started_at, shift.ended_at, shift.end_reason)

    return [(brief(one.old), brief(one.new)) for one in changes]


@pytest.fixture
def driver(platform: Platform) -> Driver:
    made = platform.driver()
    platform.accept(("login", made.id, at("09:00")))
    drain()
    return made


def logout(driver: Driver, clock: str = "17:40") -> partial[Submission]:
    link = driver.link
    return partial(
        mend.add_event, link.work_provider, link.customer, Kind.LOGOUT, at(clock), **why()
    )


def test_it_tells_what_each_mending_would_change_and_leaves_nothing(
    platform: Platform, driver: Driver
) -> None:
    before = everything(platform.work_provider)
    ended = (at("09:00"), at("23:00"), "AUTO_CLOSED")
    stream, sent = driver.stream, platform.work_provider.submission_set.get()

    def strike() -> None:
        restate(record(DeskAction.Kind.STRIKE, **why()), strike=[sent.pk], now=timezone.now())

    for mending, expected in (
        (logout(driver), (ended, (at("09:00"), at("17:40"), "OPS"))),
        (partial(mend.withdraw, stream, Kind.LOGIN, at("09:00"), **why()), (ended, None)),
        (strike, (ended, None)),
        (
            partial(mend.end_link, driver.link, at("12:00"), **why()),
            (ended, (at("09:00"), at("12:00"), "UNLINKED")),
        ),
    ):
        _, changes = preview.preview(mending, now=NOW)
        assert told(changes) == [expected]
        assert (changes[0].customer_id, changes[0].work_provider_id) == (
            driver.link.customer_id,
            platform.work_provider.pk,
        )
        assert everything(platform.work_provider) == before


def test_what_a_mending_returns_is_returned(driver: Driver) -> None:
    result, _ = preview.preview(lambda: len(driver.outcomes()), now=NOW)
    assert result == 1


def test_what_a_mending_raises_is_raised_and_nothing_stays(
    platform: Platform, driver: Driver
) -> None:
    before = everything(platform.work_provider)

    def twice() -> None:
        logout(driver)()
        raise ValidationError("no")

    with pytest.raises(ValidationError):
        preview.preview(twice, now=NOW)
    assert everything(platform.work_provider) == before
    assert watched.get() is None


@pytest.mark.usefixtures("outbox")
def test_held_events_that_a_link_would_make_count_are_told_and_nobody_gets_a_mail(
    platform: Platform,
) -> None:
    platform.accept(("login", "newcomer", at("09:00")))
    drain()
    customer = factories.driver().customer
    mails = OutgoingMail.objects.count()
    make = partial(
        mend.make_link, platform.work_provider, customer, "newcomer", agreed_at=DAY, **why()
    )
    _, changes = preview.preview(make, now=NOW)
    assert told(changes) == [(None, (at("09:00"), at("23:00"), "AUTO_CLOSED"))]
    assert OutgoingMail.objects.count() == mails
    assert not Shift.objects.filter(stream__customer=customer).exists()


def test_no_worker_is_woken_and_after_the_word_one_is(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[int] = []
    monkeypatch.setattr("shifts.accept.wake", lambda: woken.append(1))
    _, changes = preview.preview(logout(driver), now=NOW)
    assert woken == []
    preview.carry_out(logout(driver), preview.fingerprint(changes, NOW), now=NOW)
    assert woken == [1]


def test_the_word_is_for_what_was_told_and_for_nothing_else(
    platform: Platform, driver: Driver
) -> None:
    _, changes = preview.preview(logout(driver), now=NOW)
    expected = preview.fingerprint(changes, NOW)
    platform.accept(("logout", driver.id, at("12:00")))
    drain()
    before = everything(platform.work_provider)
    with pytest.raises(preview.Differs) as differs:
        preview.carry_out(logout(driver), expected, now=NOW)
    assert differs.value.changes == []
    assert differs.value.result is not None
    assert everything(platform.work_provider) == before
    assert watched.get() is None


def test_what_looks_the_same_is_the_same(platform: Platform, driver: Driver) -> None:
    """Which copy of an event stands behind a shift is no change; nor is what the sweeper writes."""
    _, changes = preview.preview(logout(driver), now=NOW)
    expected = preview.fingerprint(changes, NOW)
    Shift.objects.filter(stream=driver.stream).update(
        ended_at=None, end_reason="", end_known_at=None
    )
    _, changes = preview.preview(logout(driver), now=NOW)
    assert preview.fingerprint(changes, NOW) == expected
    platform.accept(("login", driver.id, at("09:00")))
    drain()
    first = platform.work_provider.submission_set.earliest("pk")

    def strike() -> None:
        restate(record(DeskAction.Kind.STRIKE, **why()), strike=[first.pk], now=timezone.now())

    _, changes = preview.preview(strike, now=NOW)
    assert changes == []


def test_a_new_shift_has_the_same_fingerprint_each_time(platform: Platform) -> None:
    """Also where its stream is made with it."""
    driver = platform.driver()
    login = partial(
        mend.add_event,
        platform.work_provider,
        driver.link.customer,
        Kind.LOGIN,
        at("09:00"),
        **why(),
    )
    prints = {preview.fingerprint(preview.preview(login, now=NOW)[1], NOW) for _ in range(2)}
    assert len(prints) == 1
    preview.carry_out(login, prints.pop(), now=NOW)
    assert len(driver.shifts()) == 1


def test_another_driver_another_fingerprint(platform: Platform) -> None:
    prints = set()
    for driver in (platform.driver(), platform.driver()):
        platform.accept(("login", driver.id, at("09:00")))
        drain()
        prints.add(preview.fingerprint(preview.preview(logout(driver), now=NOW)[1], NOW))
    assert len(prints) == 2


def test_several_changes_of_one_shift_are_told_as_one(driver: Driver) -> None:
    def twice() -> None:
        logout(driver, "20:00")()
        logout(driver, "17:40")()

    _, changes = preview.preview(twice, now=NOW)
    assert told(changes) == [
        ((at("09:00"), at("23:00"), "AUTO_CLOSED"), (at("09:00"), at("17:40"), "OPS"))
    ]


def test_a_second_reading_is_told_as_a_change_of_the_same_shift(
    platform: Platform, driver: Driver
) -> None:
    from tests.shifts.test_mend import send

    other = platform.driver()
    sent = [
        send(platform, "login", other.id, "2026-07-01T09:00"),
        send(platform, "logout", other.id, "2026-07-01T17:00"),
    ]
    drain()

    def again() -> None:
        reread(
            [one.pk for one in sent],
            "Europe/London",
            record(DeskAction.Kind.REREAD, **why()),
            now=timezone.now(),
        )

    [change] = preview.preview(again, now=NOW)[1]
    assert change.old is not None
    assert change.new is not None
    assert change.old.started_at - change.new.started_at == timedelta(hours=1)


def test_a_preview_does_not_wait_long_for_a_digest(platform: Platform, driver: Driver) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '77s'")
        preview.preview(logout(driver), now=NOW)
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone()[0] == "77s"

    def see() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            return str(cursor.fetchone()[0])

    assert preview.preview(see, now=NOW)[0] == "3s"


def test_the_net_of_nothing_is_nothing() -> None:
    assert preview.net([], NOW) == []
    assert preview.net([ShiftChange(1, "a", None, None)], NOW) == []
