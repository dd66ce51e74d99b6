"""Cover at an instant, as it stands and as it was known."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from linking.models import User
from shifts import mend
from shifts.cover import cover
from shifts.models import Kind
from tests.shifts.live import Live, at


@pytest.mark.parametrize(
    ("instant", "covered"),
    [("08:59:59", False), ("09:00", True), ("16:59:59", True), ("17:00", False)],
)
def test_a_shift_covers_its_half_open_interval(live: Live, instant: str, covered: bool) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"))
    live.logout(driver, at("17:00"))
    answer = cover(driver.link.customer, at(instant))
    assert answer.is_covered is covered
    if covered:
        [(work_provider_id, shift, shift_id)] = answer.shifts
        events = driver.events()
        assert work_provider_id == live.work_provider.pk
        assert shift_id == driver.shift().pk
        assert shift.opened_by == events.get(kind="login").pk
        assert shift.ended_by == events.get(kind="logout").pk


def test_an_open_shift_covers_up_to_its_maximum_and_no_further(live: Live) -> None:
    driver = live.driver()
    start = timezone.now() - timedelta(hours=1)
    live.login(driver, start)
    assert cover(driver.link.customer, timezone.now()).is_covered
    assert cover(driver.link.customer, start + timedelta(hours=13, minutes=59)).is_covered
    assert not cover(driver.link.customer, start + timedelta(hours=14)).is_covered


def test_two_work_providers_both_cover(live: Live) -> None:
    driver = live.driver()
    other = Live(live.service)
    elsewhere = other.driver(customer=driver.link.customer)
    live.login(driver, at("09:00"))
    other.login(elsewhere, at("09:00"))
    assert len(cover(driver.link.customer, at("10:00")).shifts) == 2


def test_what_was_known_before_and_after_a_late_logout(live: Live) -> None:
    driver = live.driver()
    customer = driver.link.customer
    before_all = timezone.now()
    live.login(driver, at("09:00"))
    with_login = timezone.now()
    live.logout(driver, at("12:00"))
    assert not cover(customer, at("15:00")).is_covered
    known = cover(customer, at("15:00"), with_login)
    assert known.shifts[0].shift.ended_at == at("23:00")
    assert known.shifts[0].shift.end_reason == "AUTO_CLOSED"
    assert not cover(customer, at("15:00"), before_all).is_covered
    assert not cover(customer, at("15:00"), timezone.now()).is_covered


def test_what_was_known_of_links_and_unlinkings(live: Live) -> None:
    live.login("wanderer", at("09:00"))
    before_link = timezone.now()
    driver = live.driver(driver_id="wanderer")
    customer = driver.link.customer
    linked = timezone.now()
    driver.link.unlinked_at = at("08:00")
    driver.link.save()
    assert not cover(customer, at("10:00")).is_covered
    assert cover(customer, at("10:00"), linked).is_covered
    assert not cover(customer, at("10:00"), before_link).is_covered


def test_what_was_known_before_the_driver_id_went_to_somebody_else(live: Live) -> None:
    first = live.driver(driver_id="van 9")
    live.login(first, at("10:00"))
    live.logout(first, at("12:00"))
    then = timezone.now()
    first.link.unlinked_at = at("09:00")
    first.link.save()
    second = live.driver(linked_at=at("09:00"), driver_id="van 9")
    assert second.shifts() == [(at("10:00"), at("12:00"), "LOGOUT")]
    old, new = first.link.customer, second.link.customer
    assert not cover(old, at("11:00")).is_covered
    assert cover(old, at("11:00"), then).is_covered
    assert cover(new, at("11:00")).is_covered
    assert not cover(new, at("11:00"), then).is_covered


def test_what_was_known_of_withdrawals(live: Live) -> None:
    driver = live.driver()
    customer = driver.link.customer
    staff = User.objects.get_or_create(username="ops", is_staff=True)[0]
    live.login(driver, at("09:00"))
    before = timezone.now()
    withdrawal = mend.withdraw(
        driver.stream, Kind.LOGIN, at("09:00"), actor=staff, reason="Leaked.", now=timezone.now()
    )
    withdrawn = timezone.now()
    mend.undo_withdrawal(withdrawal, actor=staff, reason="Was not.", now=timezone.now())

    def covered(known_at: datetime | None) -> bool:
        return cover(customer, at("10:00"), known_at).is_covered

    assert [covered(known) for known in (before, withdrawn, None)] == [True, False, True]


def test_cover_reported_after_the_fact_can_be_told_from_cover_reported_live(live: Live) -> None:
    driver = live.driver()
    live.logout(driver, at("17:00"))
    live.login(driver, at("09:00"))
    shift = driver.shift()
    received = dict(driver.events().values_list("kind", "received_at"))
    assert shift.start_known_at == received["login"]
    assert shift.end_known_at == received["logout"]
