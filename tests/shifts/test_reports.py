"""Reports: what a shift counts, on which day, for whom, and how often."""

from datetime import UTC, date, datetime, timedelta
from itertools import chain
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from linking.models import Customer, DriverLink, WorkProvider
from shifts import reports
from shifts.models import Shift
from shifts.reports import LATE, Kind, Report, midnight
from tests import factories

pytestmark = pytest.mark.django_db

LONDON, PARIS = ZoneInfo("Europe/London"), ZoneInfo("Europe/Paris")
DAY = date(2026, 3, 2)
LATER = datetime(2026, 12, 1, tzinfo=UTC)  # when every shift below is over
HOUR = 3600


def at(clock: str, *, day: int = 0, zone: ZoneInfo | None = None) -> datetime:
    """A local time on a day counted from DAY; UTC unless a zone is given."""
    hours, minutes = clock.split(":")
    local = datetime(DAY.year, DAY.month, DAY.day, int(hours), int(minutes), tzinfo=zone or UTC)
    return (local + timedelta(days=day)).astimezone(UTC)


def shift(link: DriverLink, start: datetime, end: datetime | None, **fields: Any) -> Shift:
    return factories.shift(link.work_provider, start, ended_at=end, link=link, **fields)


def report(kind: Kind, *, days: int = 1, zone: str = "UTC", **fields: Any) -> Report:
    fields.setdefault("since", DAY)
    fields.setdefault("until", fields["since"] + timedelta(days=days))
    return Report(kind, zone=ZoneInfo(zone), **fields)


def rows(asked: Report, now: datetime = LATER) -> list[dict[str, str]]:
    """Each row by column; headings without their zone."""
    names = [name.partition(" (")[0] if "day" in name else name for name in asked.columns]
    found = chain.from_iterable(asked.parts(now))
    return [dict(zip(names, row, strict=True)) for row in found]


def only(asked: Report, now: datetime = LATER) -> dict[str, str]:
    (row,) = rows(asked, now)
    return row


def worked(asked: Report, now: datetime = LATER) -> list[int]:
    return [int(row["worked seconds"]) for row in rows(asked, now)]


@pytest.fixture
def courier() -> WorkProvider:
    return factories.work_provider(name="Courier Ltd", timezone="Europe/London")


@pytest.fixture
def taxi() -> WorkProvider:
    return factories.work_provider(name="Taxi SARL", timezone="Europe/Paris")


@pytest.fixture
def driver(courier: WorkProvider) -> DriverLink:
    return factories.link(courier, "1686", customer=factories.customer(number="ABC"))


@pytest.fixture
def driver_too(taxi: WorkProvider, driver: DriverLink) -> DriverLink:
    """The same customer at another work provider."""
    return factories.link(taxi, "T-7", customer=driver.customer)


# One shift a row


def test_a_row_says_all_about_a_shift(driver: DriverLink) -> None:
    made = shift(driver, at("22:00", day=-1), at("02:30"))
    row = only(report(Kind.SHIFTS, zone="Europe/Paris"))
    assert row == {
        "work provider": "Courier Ltd",
        "customer number": "ABC",
        "driver id": "1686",
        "shift": str(made.pk),
        "started (UTC)": "2026-03-01T22:00:00+00:00",
        "started (Europe/Paris)": "2026-03-01T23:00:00+01:00",
        "ended (UTC)": "2026-03-02T02:30:00+00:00",
        "ended (Europe/Paris)": "2026-03-02T03:30:00+01:00",
        "how it ended": "logged out",
        "end is estimated": "no",
        "worked seconds": str(int(4.5 * HOUR)),
        "worked seconds in the period": str(int(3.5 * HOUR)),
        "start reported late": "no",
        "end reported late": "no",
        "starts with the link": "no",
    }


def test_a_period_is_half_open(driver: DriverLink) -> None:
    shift(driver, at("20:00", day=-1), at("00:00"))
    inside = shift(driver, at("00:00"), at("00:01"))
    shift(driver, at("00:00", day=1), at("01:00", day=1))
    assert only(report(Kind.SHIFTS))["shift"] == str(inside.pk)


def test_an_automatic_end_is_marked_as_an_estimate(driver: DriverLink) -> None:
    shift(driver, at("01:00"), at("15:00"), end_reason="AUTO_CLOSED")
    row = only(report(Kind.SHIFTS))
    assert (row["how it ended"], row["end is estimated"]) == ("closed automatically", "yes")


def test_a_shift_past_its_maximum_reads_as_closed_there_before_it_is_written(
    driver: DriverLink,
) -> None:
    shift(driver, at("01:00"), None)
    row = only(report(Kind.SHIFTS), now=at("20:00"))
    assert row["ended (UTC)"] == "2026-03-02T15:00:00+00:00"
    assert row["how it ended"] == "closed automatically"
    assert row["worked seconds"] == str(14 * HOUR)


def test_an_open_shift_counts_up_to_now_and_has_no_end(driver: DriverLink) -> None:
    shift(driver, at("09:00"), None)
    row = only(report(Kind.SHIFTS), now=at("12:00"))
    assert (row["ended (UTC)"], row["how it ended"]) == ("", "on shift")
    assert (row["worked seconds"], row["end is estimated"]) == (str(3 * HOUR), "yes")


def test_an_open_shift_of_a_work_provider_without_a_maximum_counts_up_to_now(
    driver: DriverLink,
) -> None:
    shift(driver, at("09:00"), None, closes_at=None)
    assert worked(report(Kind.WORK_PROVIDERS, days=3), now=at("09:00", day=2)) == [48 * HOUR]


def test_an_open_shift_that_has_not_begun_is_no_row(driver: DriverLink) -> None:
    shift(driver, at("13:00"), None)
    assert rows(report(Kind.SHIFTS), now=at("12:00")) == []
    assert rows(report(Kind.CUSTOMER_DAYS), now=at("12:00")) == []


def test_a_start_or_end_known_too_long_after_it_is_reported_late(driver: DriverLink) -> None:
    start, end = at("09:00"), at("17:00")
    moment = timedelta(microseconds=1)
    shift(driver, start, end, start_known_at=start + LATE, end_known_at=end + LATE + moment)
    row = only(report(Kind.SHIFTS))
    assert (row["start reported late"], row["end reported late"]) == ("no", "yes")
    Shift.objects.update(start_known_at=start + LATE + moment, end_known_at=end + LATE)
    row = only(report(Kind.SHIFTS))
    assert (row["start reported late"], row["end reported late"]) == ("yes", "no")


def test_an_estimated_end_is_not_reported_late(driver: DriverLink) -> None:
    end = at("15:00")
    shift(driver, at("01:00"), end, end_reason="AUTO_CLOSED", end_known_at=end + timedelta(days=1))
    assert only(report(Kind.SHIFTS))["end reported late"] == "no"
    assert only(report(Kind.WORK_PROVIDERS))["shifts whose end was reported late"] == "0"


def test_a_start_that_was_clipped_to_the_link_is_marked(driver: DriverLink) -> None:
    shift(driver, at("09:30"), at("17:00"), start_clipped=True, login_at=at("09:00"))
    assert only(report(Kind.SHIFTS))["starts with the link"] == "yes"


# Days


def test_a_shift_over_midnight_counts_on_both_days(driver: DriverLink) -> None:
    shift(driver, at("22:00"), at("03:00", day=1))
    found = rows(report(Kind.CUSTOMER_DAYS, days=3))
    assert [(row["day"], row["worked seconds"]) for row in found] == [
        ("2026-03-02", str(2 * HOUR)),
        ("2026-03-03", str(3 * HOUR)),
    ]


def test_a_shift_that_ends_at_midnight_is_not_on_the_next_day(driver: DriverLink) -> None:
    shift(driver, at("22:00"), at("00:00", day=1))
    assert worked(report(Kind.CUSTOMER_DAYS, days=3)) == [2 * HOUR]


def test_days_are_those_of_the_zone(driver: DriverLink) -> None:
    shift(driver, at("22:00"), at("23:30"))  # 23:00 to 00:30 in Paris
    found = rows(report(Kind.WORK_PROVIDER_DAYS, days=2, zone="Europe/Paris"))
    assert [(row["day"], row["worked seconds"]) for row in found] == [
        ("2026-03-02", str(HOUR)),
        ("2026-03-03", str(HOUR // 2)),
    ]


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)]
)
def test_days_on_which_the_clocks_change_have_23_or_25_hours(
    driver: DriverLink, day: date, hours: int
) -> None:
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    shift(driver, noon - timedelta(days=2), noon + timedelta(days=2), closes_at=None)
    whole = report(Kind.CUSTOMER_DAYS, since=day, zone="Europe/London")
    assert worked(whole) == [hours * HOUR]


def test_a_day_whose_midnight_is_skipped_begins_when_the_clocks_change() -> None:
    santiago = ZoneInfo("America/Santiago")  # from 24:00 on 5 September to 01:00
    assert midnight(date(2026, 9, 6), santiago) == datetime(2026, 9, 6, 4, tzinfo=UTC)


def test_each_day_adds_up_to_the_period(driver: DriverLink, driver_too: DriverLink) -> None:
    rng = Random(7)
    for link in (driver, driver_too):
        cursor = at("00:00", day=-2)
        for _ in range(60):
            cursor += timedelta(seconds=rng.randint(60, 20 * HOUR), microseconds=rng.randint(0, 9))
            end = cursor + timedelta(seconds=rng.randint(60, 30 * HOUR))
            shift(link, cursor, end, closes_at=None)
            cursor = end
    for by_day, whole in (
        (Kind.CUSTOMER_DAYS, Kind.CUSTOMERS),
        (Kind.WORK_PROVIDER_DAYS, Kind.WORK_PROVIDERS),
        (Kind.DRIVER_DAYS, Kind.WORK_PROVIDERS),
    ):
        sums = [
            sum(float(row["worked seconds"]) for row in rows(report(kind, days=40, zone="UTC")))
            for kind in (by_day, whole)
        ]
        assert sums[0] == pytest.approx(sums[1], abs=1e-5)
        assert sums[0] > 0


# Counted once


def test_what_overlaps_at_two_work_providers_is_insured_once_and_worked_twice(
    driver: DriverLink, driver_too: DriverLink
) -> None:
    shift(driver, at("09:00"), at("12:00"))
    shift(driver_too, at("11:00"), at("14:00"))
    shift(driver_too, at("20:00"), at("21:00"))
    for kind in (Kind.CUSTOMER_DAYS, Kind.CUSTOMERS):
        row = only(report(kind))
        assert row["worked seconds"] == str(7 * HOUR)
        assert row["insured seconds, counted once"] == str(6 * HOUR)
        assert (row["work providers"], row["shifts"]) == ("2", "3")


def test_each_work_provider_has_its_own_time(driver: DriverLink, driver_too: DriverLink) -> None:
    shift(driver, at("09:00"), at("12:00"))
    shift(driver_too, at("11:00"), at("14:00"))
    for kind in (Kind.WORK_PROVIDERS, Kind.WORK_PROVIDER_DAYS, Kind.DRIVER_DAYS):
        found = rows(report(kind))
        assert [(row["work provider"], row["worked seconds"]) for row in found] == [
            ("Courier Ltd", str(3 * HOUR)),
            ("Taxi SARL", str(3 * HOUR)),
        ]


def test_overlaps_of_random_shifts_are_counted_once(
    driver: DriverLink, driver_too: DriverLink
) -> None:
    rng = Random(11)
    minutes: set[int] = set()
    for link in (driver, driver_too):
        last = 0
        while last < 2 * 24 * 60 - 400:
            start = last + rng.randint(1, 200)
            last = start + rng.randint(1, 200)
            first = at("00:00") + timedelta(minutes=start)
            shift(link, first, at("00:00") + timedelta(minutes=last))
            minutes |= set(range(start, last))
    insured = "insured seconds, counted once"
    assert int(only(report(Kind.CUSTOMERS, days=2))[insured]) == 60 * len(minutes)
    days = [int(row[insured]) for row in rows(report(Kind.CUSTOMER_DAYS, days=2))]
    first_day = {minute for minute in minutes if minute < 24 * 60}
    assert days == [60 * len(first_day), 60 * len(minutes - first_day)]


def test_a_work_providers_customers_are_counted_each_once_a_day(
    courier: WorkProvider, driver: DriverLink
) -> None:
    shift(driver, at("09:00"), at("10:00"))
    shift(driver, at("11:00"), at("12:00"))
    shift(factories.link(courier, "1687"), at("09:00"), at("10:00"))
    row = only(report(Kind.WORK_PROVIDER_DAYS))
    assert (row["customers"], row["shifts"], row["worked seconds"]) == ("2", "3", str(3 * HOUR))


def test_marks_are_counted(driver: DriverLink) -> None:
    day = timedelta(days=1)
    shift(driver, at("01:00"), at("02:00"), start_known_at=at("01:00") + day)
    shift(driver, at("03:00"), at("04:00"), end_known_at=at("04:00") + day)
    shift(driver, at("05:00"), at("06:00"), end_reason="AUTO_CLOSED")
    shift(driver, at("07:00"), None)
    for kind in set(Kind) - {Kind.SHIFTS}:
        row = only(report(kind), now=at("08:00"))
        assert row["shifts"] == "4"
        assert row["shifts with an estimated end"] == "2"
        assert row["shifts whose start was reported late"] == "1"
        assert row["shifts whose end was reported late"] == "1"


# Of whom


@pytest.mark.parametrize("kind", list(Kind))
def test_a_report_of_one_work_provider_has_no_other(
    driver: DriverLink, driver_too: DriverLink, kind: Kind
) -> None:
    shift(driver, at("09:00"), at("12:00"))
    shift(driver_too, at("11:00"), at("14:00"))
    row = only(report(kind, work_provider=driver.work_provider))
    assert row["worked seconds"] == str(3 * HOUR)
    assert row.get("insured seconds, counted once", str(3 * HOUR)) == str(3 * HOUR)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_report_of_one_customer_has_no_other(
    courier: WorkProvider, driver: DriverLink, kind: Kind
) -> None:
    shift(driver, at("09:00"), at("12:00"))
    shift(factories.link(courier, "1687"), at("09:00"), at("10:00"))
    assert worked(report(kind, customer=driver.customer)) == [3 * HOUR]


@pytest.mark.parametrize("kind", list(Kind))
def test_sandboxes_are_left_out_unless_asked_for(driver: DriverLink, kind: Kind) -> None:
    sandbox = factories.work_provider(is_test=True)
    tester = factories.link(sandbox, "test-1")
    shift(driver, at("09:00"), at("10:00"))
    shift(tester, at("09:00"), at("11:00"))
    assert worked(report(kind)) == [HOUR]
    assert sorted(worked(report(kind, with_sandboxes=True))) == [HOUR, 2 * HOUR]
    assert worked(report(kind, work_provider=sandbox)) == [2 * HOUR]
    assert worked(report(kind, customer=tester.customer)) == [2 * HOUR]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_period_in_which_nobody_worked_has_no_rows(driver: DriverLink, kind: Kind) -> None:
    shift(driver, at("09:00"), at("12:00"))
    assert rows(report(kind, since=DAY + timedelta(days=5))) == []


@pytest.mark.parametrize("kind", list(Kind))
def test_nobody_is_lost_or_counted_twice_where_one_portion_ends(
    courier: WorkProvider, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    monkeypatch.setattr(reports, "_FIRST_PORTION", 2)
    monkeypatch.setattr(reports, "_PORTION", 3)
    for number in range(9):
        shift(factories.link(courier, f"d{number}"), at("09:00"), at("10:00"))
    assert sum(worked(report(kind))) == 9 * HOUR
    for row in rows(report(kind)):
        assert row.get("customers", "9") == "9"
    found = [row["customer number"] for row in rows(report(kind)) if "customer number" in row]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("kind", list(Kind))
def test_who_reads_a_report_may_stop_after_each_portion_of_streams(
    courier: WorkProvider,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    kind: Kind,
) -> None:
    monkeypatch.setattr(reports, "_FIRST_PORTION", 1)
    monkeypatch.setattr(reports, "_PORTION", 1)
    for number in range(9):
        shift(factories.link(courier, f"d{number}"), at("09:00"), at("10:00"))
    with django_assert_max_num_queries(3):
        next(report(kind).parts(LATER))


def test_the_number_of_queries_depends_on_portions_alone(
    courier: WorkProvider, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(30):
        link = factories.link(courier, f"d{number}")
        for day in range(3):
            shift(link, at("09:00", day=day), at("10:00", day=day))
    for kind in Kind:
        with django_assert_max_num_queries(9):
            rows(report(kind, days=3))


def test_the_parts_of_a_large_report_come_one_by_one(
    courier: WorkProvider, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(30):
        shift(factories.link(courier, f"d{number}"), at("09:00"), at("10:00"))
    with django_assert_max_num_queries(3):
        assert len(next(report(Kind.SHIFTS).parts(timezone.now()))) == 20


def test_an_erased_customer_is_still_in_the_report(driver: DriverLink) -> None:
    shift(driver, at("09:00"), at("10:00"))
    Customer.objects.filter(pk=driver.customer_id).update(user=None, erased_at=at("12:00"))
    assert only(report(Kind.SHIFTS))["customer number"] == "ABC"
