"""Cover never starts before consent, and never depends on whether event or link came first."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from linking.models import DriverLink
from shifts import links
from shifts.models import Shift, ShiftEvent
from tests.running import wait_until
from tests.shifts.live import Driver, Live, at


def end(driver: Driver, unlinked_at: object) -> None:
    driver.link.unlinked_at = unlinked_at  # type: ignore[assignment]
    driver.link.save()


def test_a_shift_is_clipped_to_the_start_of_its_link(live: Live) -> None:
    driver = live.driver(linked_at=at("09:30"))
    live.login(driver, at("09:00"))
    live.logout(driver, at("17:00"))
    shift = driver.shift()
    assert (shift.started_at, shift.ended_at) == (at("09:30"), at("17:00"))
    assert shift.start_clipped
    assert shift.login_at == at("09:00")
    assert shift.start_known_at == max(driver.link.link_recorded_at, shift.start_known_at)


def test_the_maximum_still_runs_from_the_login_before_the_link(live: Live) -> None:
    driver = live.driver(linked_at=at("09:30"))
    live.login(driver, at("09:00"))
    assert driver.shifts() == [(at("09:30"), at("23:00"), "AUTO_CLOSED")]


def test_events_whose_shift_does_not_reach_the_link_are_before_link(live: Live) -> None:
    driver = live.driver(linked_at=at("12:00"))
    live.login(driver, at("08:00"), at("08:30"))
    assert driver.shifts() == [(at("12:00"), at("22:00"), "AUTO_CLOSED")]
    live.logout(driver, at("09:00"))
    assert set(driver.outcomes()[0:3]) == {
        "login REJECTED/BEFORE_LINK",
        "logout REJECTED/BEFORE_LINK",
    }
    live.logout(driver, at("09:00"), at("10:00"))
    assert driver.shifts() == []
    assert {outcome.split()[1] for outcome in driver.outcomes()} == {"REJECTED/BEFORE_LINK"}


def test_held_events_become_shifts_when_their_link_comes(live: Live) -> None:
    live.login("newcomer", at("09:00"))
    live.logout("newcomer", at("17:00"))
    held = ShiftEvent.objects.filter(work_provider=live.work_provider)
    assert list(held.values_list("outcome", "reason")) == [("HELD", "UNKNOWN_ID")] * 2
    driver = live.driver(linked_at=at("09:30"), driver_id="newcomer")
    assert driver.shifts() == [(at("09:30"), at("17:00"), "LOGOUT")]
    assert driver.outcomes() == ["login APPLIED", "logout APPLIED"]


def test_the_same_shift_whichever_comes_first_link_or_events(live: Live) -> None:
    before = live.driver(linked_at=at("09:30"))
    live.login(before, at("09:00"))
    live.logout(before, at("17:00"))
    live.login("later", at("09:00"))
    live.logout("later", at("17:00"))
    after = live.driver(linked_at=at("09:30"), driver_id="later")
    assert before.shifts() == after.shifts()


def test_by_policy_not_linked_and_unknown_look_alike_but_the_desk_sees_which(live: Live) -> None:
    other = Live(live.service)
    customer = live.customer()
    other.driver(customer=customer)
    answers = [
        live.post("shift/login", {"policyId": number, "timestamp": at("09:00").isoformat()})
        for number in (customer.number, "NOBODY")
    ]
    live.wait()
    assert answers[0].text == answers[1].text
    events = ShiftEvent.objects.filter(work_provider=live.work_provider).order_by("id")
    assert list(events.values_list("outcome", "reason")) == [
        ("HELD", "NOT_LINKED"),
        ("HELD", "UNKNOWN_ID"),
    ]
    assert not Shift.objects.filter(stream__customer=customer).exists()
    driver = live.driver(customer=customer)
    assert driver.shifts() == [(at("09:00"), at("23:00"), "AUTO_CLOSED")]


def test_unlinking_ends_an_open_shift(live: Live) -> None:
    driver = live.driver()
    start = timezone.now() - timedelta(hours=1)
    live.login(driver, start)
    now = timezone.now()
    end(driver, now)
    assert driver.shifts() == [(start, now, "UNLINKED")]
    assert driver.shift().end_known_at == driver.link.unlink_recorded_at


def test_what_still_comes_after_an_unlinking_is_ignored_until_the_driver_links_anew(
    live: Live,
) -> None:
    driver = live.driver()
    live.login(driver, at("11:00"))
    end(driver, at("12:00"))
    live.logout(driver, at("17:00"))
    assert driver.shifts() == [(at("11:00"), at("12:00"), "UNLINKED")]
    assert driver.outcomes() == ["login APPLIED", "logout IGNORED/AFTER_UNLINK"]
    live.driver(linked_at=at("13:00"), customer=driver.link.customer, driver_id=driver.id)
    assert driver.shifts() == [
        (at("11:00"), at("12:00"), "UNLINKED"),
        (at("13:00"), at("17:00"), "LOGOUT"),
    ]
    assert driver.outcomes() == ["login APPLIED", "logout APPLIED"]


def test_events_after_an_unlinking_dated_back_leave_the_stream(live: Live) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"))
    live.logout(driver, at("17:00"))
    live.login(driver, at("18:00"))
    end(driver, at("12:00"))
    assert driver.shifts() == [(at("09:00"), at("12:00"), "UNLINKED")]
    assert driver.outcomes() == [
        "login APPLIED",
        "logout IGNORED/AFTER_UNLINK",
        "login IGNORED/AFTER_UNLINK",
    ]
    end(driver, None)
    assert driver.shifts()[0] == (at("09:00"), at("17:00"), "LOGOUT")


def test_a_driver_id_handed_on_belongs_to_whoever_had_it_then(live: Live) -> None:
    first = live.driver(driver_id="van 7")
    live.login(first, at("09:00"))
    end(first, at("12:00"))
    live.login("van 7", at("12:30"))
    second = live.driver(linked_at=at("13:00"), driver_id="van 7")
    live.logout("van 7", at("17:00"))
    assert first.shifts() == [(at("09:00"), at("12:00"), "UNLINKED")]
    assert second.shifts() == [(at("13:00"), at("17:00"), "LOGOUT")]


def test_two_work_providers_may_overlap(live: Live) -> None:
    driver = live.driver()
    other = Live(live.service)
    elsewhere = other.driver(customer=driver.link.customer)
    for platform, who in ((live, driver), (other, elsewhere)):
        platform.login(who, at("09:00"))
        platform.logout(who, at("17:00"))
    assert driver.shifts() == elsewhere.shifts() == [(at("09:00"), at("17:00"), "LOGOUT")]


def test_the_sweeper_counts_what_waits_in_spite_of_a_link_made_behind_its_back(live: Live) -> None:
    live.login("bulk", at("09:00"))
    DriverLink.objects.bulk_create(
        [
            DriverLink(
                work_provider=live.work_provider,
                customer=live.customer(),
                driver_id="bulk",
                linked_at=at("00:00"),
            )
        ]
    )
    driver = Driver(DriverLink.objects.get(work_provider=live.work_provider))
    wait_until(lambda: driver.outcomes() == ["login APPLIED"], what="the sweep")
    assert driver.shifts() == [(at("09:00"), at("23:00"), "AUTO_CLOSED")]


def test_links_that_tie_many_customers_together_are_counted_as_a_whole(live: Live) -> None:
    """Driver ids handed on in a chain, behind the signal's back; and one that has no part in it."""
    first = live.driver(driver_id="one")
    live.login("one", at("09:00"))
    end(first, at("10:00"))
    again = live.driver(linked_at=at("10:00"), customer=first.link.customer, driver_id="two")
    end(again, at("11:00"))
    for name in ("one", "two", "apart"):
        live.login(name, at("12:00"))
    DriverLink.objects.bulk_create(
        DriverLink(
            work_provider=live.work_provider,
            customer=live.customer(),
            driver_id=name,
            linked_at=at("11:30"),
        )
        for name in ("one", "two", "apart")
    )
    links.count_waiting(changed_since=timezone.now() - timedelta(hours=1))
    later = Shift.objects.filter(link__work_provider=live.work_provider, started_at=at("12:00"))
    assert set(later.values_list("link__driver_id", flat=True)) == {"one", "two", "apart"}


def test_a_corrected_end_is_known_only_since_the_correction(live: Live) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"))
    end(driver, at("12:00"))
    before = driver.link.unlink_recorded_at
    driver.link.save()
    assert driver.link.unlink_recorded_at == before
    end(driver, at("11:00"))
    assert before is not None
    assert driver.link.unlink_recorded_at is not None
    assert driver.link.unlink_recorded_at > before
    assert driver.shift().end_known_at == driver.link.unlink_recorded_at


def test_held_events_expire_and_stay(live: Live) -> None:
    live.login("never linked", at("09:00"))
    event = ShiftEvent.objects.get(work_provider=live.work_provider)
    links.expire_held(now=event.received_at + timedelta(days=30))
    event.refresh_from_db()
    assert event.outcome == "HELD"
    # Only this one: other tests' held events are on the same database.
    ShiftEvent.objects.filter(pk=event.pk).update(
        received_at=event.received_at - timedelta(days=31)
    )
    links.expire_held(now=timezone.now())
    event.refresh_from_db()
    assert (event.outcome, event.reason) == ("REJECTED", "EXPIRED")
    driver = live.driver(driver_id="never linked")
    assert driver.shifts() == []


def test_the_sweeper_ends_an_open_shift_at_its_maximum(live: Live) -> None:
    driver = live.driver()
    nearly = timezone.now() - timedelta(hours=14) + timedelta(seconds=2)
    live.login(driver, nearly)
    assert driver.shifts() == [(nearly, None, "")]
    closes_at = nearly + timedelta(hours=14)
    assert not Shift.objects.on_shift(closes_at).filter(pk=driver.shift().pk).exists()
    wait_until(lambda: driver.shift().ended_at, what="the automatic end")
    assert driver.shifts() == [(nearly, closes_at, "AUTO_CLOSED")]
    assert driver.revisions() == []


@pytest.mark.parametrize("clash", ["overlap", "two open"])
def test_the_database_itself_refuses_overlapping_shifts(live: Live, clash: str) -> None:
    driver = live.driver()
    live.login(driver, at("09:00"))
    live.logout(driver, at("17:00"))
    shift = driver.shift()
    values = {
        name: getattr(shift, name)
        for name in (
            "stream_id link_id start_clipped is_continuation login_at opened_by_id start_known_at"
        ).split()
    }
    if clash == "two open":
        Shift.objects.create(started_at=at("18:00"), **values)
    with pytest.raises(Exception, match="shift_no_overlap"):
        Shift.objects.create(started_at=at("16:59" if clash == "overlap" else "20:00"), **values)
    assert connection.is_usable()
