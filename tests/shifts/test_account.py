"""The driver's own page: what it shows to whom, and what can be done there."""

import csv
import io
import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import strip_tags
from pytest_django import DjangoAssertNumQueries

from linking.models import Agreement, DriverLink, LinkRequest, User, WorkProvider
from shifts import account, account_exports
from shifts.account import length, moment, moment_near, overview
from shifts.models import Shift
from tests import factories
from tests.shifts.live import at, drain
from zego_api import spreadsheet

PAGE = "/account/"
CSV = "/account/shifts.csv"
DATA = "/account/data.json"
DELETE = "/account/delete/"
pytestmark = pytest.mark.django_db

LATER = at("12:00", day=30)  # when every shift below is over


@dataclass
class Worker:
    """A driver who is linked to one work provider, and what that reports of them."""

    user: User
    link: DriverLink
    key: str

    def login(self, *instants: datetime) -> "Worker":
        return self._report("login", instants)

    def logout(self, *instants: datetime) -> "Worker":
        return self._report("logout", instants)

    def shift(self, start: datetime, end: datetime) -> "Worker":
        return self.login(start).logout(end)

    def page(self, now: datetime) -> account.Overview:
        return overview(self.user, self.link.customer, now)

    def _report(self, kind: str, instants: tuple[datetime, ...]) -> "Worker":
        report(self.key, kind, self.link.driver_id, *instants)
        return self


def report(key: str, kind: str, driver_id: str, *instants: datetime) -> None:
    items = [{"driverId": driver_id, "timestamp": instant.isoformat()} for instant in instants]
    answer = Client().post(
        f"/v1/batch/{kind}/", json.dumps(items), "application/json", headers={"Authorization": key}
    )
    assert answer.status_code == 202
    drain()


def working_for(owner: WorkProvider, user: User, driver_id: str, **fields: Any) -> Worker:
    link = factories.link(owner, driver_id, customer=user.customer, **fields)
    return Worker(user, link, factories.key(owner))


@pytest.fixture(autouse=True)
def unlimited() -> None:
    cache.clear()


@pytest.fixture
def courier(db: None) -> WorkProvider:
    return factories.work_provider(name="Courier Ltd", timezone="Europe/London")


@pytest.fixture
def taxi(db: None) -> WorkProvider:
    return factories.work_provider(name="Taxi SARL", timezone="Europe/Paris")


@pytest.fixture
def driver(db: None) -> User:
    return factories.driver("driver@example.com")


@pytest.fixture
def worker(courier: WorkProvider, driver: User) -> Worker:
    return working_for(courier, driver, "cou-1")


@pytest.fixture
def client(driver: User) -> Client:
    return signed_in(driver)


def signed_in(user: User, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


def long_ago(client: Client) -> None:
    """Let the sign-in lie too far back for what asks for a recent one."""
    session = client.session
    session["signed_in_at"] = 0.0
    session.save()


def text(answer: Any) -> str:
    """What can be read on the page."""
    body = re.sub(r"<(head|header|footer)\b.*?</\1>", "", answer.content.decode(), flags=re.DOTALL)
    return " ".join(strip_tags(body).split())


def content(answer: Any) -> bytes:
    assert answer.status_code == 200
    body: bytes = answer.getvalue()
    assert len(body) == int(answer["Content-Length"])
    return body


def rows(answer: Any) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content(answer).decode("utf-8-sig"), newline="")))


# Now


def test_who_is_on_shift_reads_since_when_and_for_whom(worker: Worker) -> None:
    worker.login(at("09:12"))
    page = worker.page(at("10:00"))
    assert strip_tags(page.heading) == "You are insured now, since 09:12, for Courier Ltd"
    assert '<time datetime="2026-03-02T09:12:00Z">' in page.heading
    assert page.why_not == ""


def test_the_first_heading_says_it(worker: Worker, client: Client) -> None:
    start = timezone.now() - timedelta(minutes=1)
    worker.login(start)
    answer = client.get(PAGE)
    [heading] = re.findall(r"<h1[^>]*>(.*?)</h1>", answer.content.decode(), re.DOTALL)
    assert strip_tags(heading).startswith("You are insured now, since ")
    assert strip_tags(heading).endswith(", for Courier Ltd")
    assert f'datetime="{start:%Y-%m-%dT%H:%M:%SZ}"' in heading


def test_a_shift_since_yesterday_is_shown_with_its_date(worker: Worker) -> None:
    worker.login(at("21:40"))
    heading = strip_tags(worker.page(at("25:00")).heading)
    assert heading == "You are insured now, since 2 Mar 2026, 21:40, for Courier Ltd"


def test_today_is_the_work_providers_today(worker: Worker, taxi: WorkProvider) -> None:
    """At 23:30 in London it is half past midnight in Paris."""
    elsewhere = working_for(taxi, worker.user, "t-1")
    for one in (worker, elsewhere):
        one.login(at("22:30"))
    assert strip_tags(worker.page(at("23:30")).heading) == (
        "You are insured now: since 22:30 for Courier Ltd, and since 2 Mar 2026, 23:30 for Taxi SARL"
    )


def test_the_times_zones_are_said_once_for_each_work_provider(
    worker: Worker, taxi: WorkProvider
) -> None:
    assert worker.page(LATER).zones == "All times are local times in Europe/London."
    elsewhere = working_for(taxi, worker.user, "t-1")
    for one in (worker, elsewhere):
        one.shift(at("08:00"), at("09:00")).shift(at("10:00"), at("11:00"))
    said = "Local times: Courier Ltd in Europe/London and Taxi SARL in Europe/Paris."
    assert worker.page(LATER).zones == said


@pytest.mark.parametrize(
    ("clock", "is_insured"), [("08:59", False), ("09:00", True), ("22:59", True), ("23:00", False)]
)
def test_nobody_is_insured_past_the_longest_shift(
    worker: Worker, clock: str, is_insured: bool
) -> None:
    worker.login(at("09:00"))
    heading = strip_tags(worker.page(at(clock)).heading)
    assert heading.startswith("You are insured now") is is_insured


def test_why_not_without_any_link(client: Client) -> None:
    page = text(client.get(PAGE))
    assert "You are not insured now You are not linked to any work provider." in page


def test_why_not_while_nobody_reports_a_login(worker: Worker, taxi: WorkProvider) -> None:
    said = "Courier Ltd has not told us that you are logged in."
    assert worker.page(LATER).why_not == said
    worker.shift(at("09:00"), at("10:00"))
    assert worker.page(LATER).why_not == said
    working_for(taxi, worker.user, "t-1")
    said = "None of your work providers has told us that you are logged in."
    assert worker.page(LATER).why_not == said


def test_why_not_while_an_agreement_waits(courier: WorkProvider, driver: User) -> None:
    waiting(courier, driver)
    said = "You are waiting for Courier Ltd to confirm that you drive for them."
    assert overview(driver, driver.customer, timezone.now()).why_not == said


def test_a_driver_whose_shift_was_closed_by_the_clock_is_told(
    worker: Worker, client: Client
) -> None:
    worker.login(timezone.now() - timedelta(hours=15))
    page = text(client.get(PAGE))
    assert "You are not insured now" in page
    assert "Your last shift for Courier Ltd was closed automatically" in page
    assert "log out there and in again" in page


@pytest.mark.parametrize("clock", ["21:00", "48:00"])
def test_nobody_is_told_so_while_on_shift_or_long_afterwards(worker: Worker, clock: str) -> None:
    worker.login(at("09:00"))
    assert worker.page(at("24:00")).last_closed is not None
    assert worker.page(at(clock)).last_closed is None


def test_nobody_is_told_so_after_an_unlinking(worker: Worker) -> None:
    worker.login(at("09:00"))
    worker.link.unlinked_at = at("23:30")
    worker.link.save()
    assert worker.page(at("24:00")).last_closed is None


def test_a_test_account_is_said_to_be_one() -> None:
    page = text(signed_in(factories.driver(is_test=True)).get(PAGE))
    assert "Nothing on this page is real insurance." in page


# Number, links, offers, requests


def test_the_number_is_shown_in_parts_and_copied_whole(client: Client, driver: User) -> None:
    page = client.get(PAGE).content.decode()
    number = driver.customer.number
    [shown] = re.findall(r'<p class="number">(.*?)</p>', page)
    assert strip_tags(shown) == number
    assert re.findall(r"<span>(.*?)</span>", shown) == [number[:3], number[3:6], number[6:]]


@pytest.mark.parametrize(
    ("number", "parts"),
    [("A", ["A"]), ("ABCD", ["ABCD"]), ("ABCDE", ["ABC", "DE"]), ("ABCDEF", ["ABC", "DEF"])],
)
def test_no_part_of_a_number_is_a_single_character(number: str, parts: list[str]) -> None:
    assert account.groups(number) == parts


def test_an_open_link_is_offered_to_the_verified_email(
    courier: WorkProvider, driver: User, client: Client
) -> None:
    for _ in range(2):
        factories.intent(courier, "123456", email=driver.email)
    answer = client.get(PAGE)
    said = "Courier Ltd asks to link your insurance to driver id ••••56."
    assert text(answer).count(said) == 1
    assert "123456" not in answer.content.decode()
    assert 'href="/link-work-provider/consent/?intent=' in answer.content.decode()


def test_what_is_linked_already_is_not_offered(worker: Worker, client: Client) -> None:
    factories.intent(worker.link.work_provider, "cou-1", email=worker.user.email)
    assert "asks to link" not in text(client.get(PAGE))


@pytest.mark.parametrize("email", ["other@example.com", "driver@example.com"])
def test_an_open_link_is_offered_to_nobody_else(courier: WorkProvider, email: str) -> None:
    factories.intent(courier, "123456", email="driver@example.com")
    stranger = factories.driver(email, verified=email == "other@example.com")
    assert "Courier Ltd" not in text(signed_in(stranger).get(PAGE))


def test_links_that_hold_are_shown_and_those_that_ended_are_not(
    worker: Worker, taxi: WorkProvider, client: Client
) -> None:
    working_for(taxi, worker.user, "t-1", unlinked_at=at("09:00"))
    answer = client.get(PAGE)
    assert "Linked since 1 Jan 2017, 00:00, under driver id cou-1" in text(answer)
    assert "Unlink Courier Ltd" in text(answer)
    assert f'href="/account/unlink/{worker.link.pk}/"' in answer.content.decode()
    assert "Taxi SARL" not in text(answer)


def test_a_link_that_begins_or_ends_later_says_so(driver: User, courier: WorkProvider) -> None:
    working_for(courier, driver, "cou-1", linked_at=at("09:00"), unlinked_at=at("18:00"))
    [line] = overview(driver, driver.customer, at("08:00")).links
    assert strip_tags(line.when) == "from 2 Mar 2026, 09:00 until 2 Mar 2026, 18:00"


def waiting(owner: WorkProvider, user: User, driver_id: str = "cou-1") -> LinkRequest:
    return LinkRequest.objects.create(
        work_provider=owner, customer=user.customer, driver_id=driver_id, agreed_at=at("08:00")
    )


def test_an_agreement_that_waits_is_shown_with_a_way_back(
    courier: WorkProvider, driver: User, client: Client
) -> None:
    request = waiting(courier, driver)
    answer = client.get(PAGE)
    assert "Waiting for Courier Ltd to confirm you" in text(answer)
    assert "Cancel the request to Courier Ltd" in text(answer)
    assert f'action="/account/request/{request.pk}/cancel/"' in answer.content.decode()


# Shifts


def test_each_shift_has_its_times_length_work_provider_and_end(worker: Worker) -> None:
    worker.shift(at("09:12"), at("17:00"))
    [line] = worker.page(LATER).shifts
    assert strip_tags(line.start) == "2 Mar 2026, 09:12"
    assert strip_tags(line.end) == "17:00"
    assert (line.length, line.ending) == ("7 h 48 min", "logged out")
    assert line.work_provider == "Courier Ltd"
    assert line.login == ""


def test_an_open_shift_is_still_open(worker: Worker, client: Client) -> None:
    worker.login(timezone.now() - timedelta(minutes=95))
    page = text(client.get(PAGE))
    assert "still open" in page
    assert "1 h 35 min so far" in page


def test_an_open_shift_past_its_maximum_reads_as_closed(worker: Worker, client: Client) -> None:
    """Whether or not the sweeper has written it yet."""
    start = timezone.now() - timedelta(hours=13)
    worker.login(start)
    Shift.objects.update(closes_at=start + timedelta(hours=12))
    assert Shift.objects.get().ended_at is None
    page = text(client.get(PAGE))
    assert "closed automatically after the longest shift" in page
    assert "12 h 0 min" in page
    assert "still open" not in page
    assert rows(client.get(CSV))[1][4:] == ["43200", "closed automatically after the longest shift"]


def test_a_shift_that_an_unlinking_ended_says_who_unlinked(
    worker: Worker, courier: WorkProvider
) -> None:
    worker.login(at("09:00"))
    worker.link.unlinked_at = at("12:00")
    for by, said in [
        (DriverLink.EndedBy.DRIVER, "ended when you unlinked"),
        (DriverLink.EndedBy.UNDO, "ended when you unlinked"),
        (DriverLink.EndedBy.OPS, "ended when our team ended the link"),
    ]:
        worker.link.ended_by = by
        worker.link.save()
        assert [line.ending for line in worker.page(LATER).shifts] == [said]


def test_an_end_that_our_team_reported_says_so(worker: Worker) -> None:
    worker.shift(at("09:00"), at("12:00"))
    Shift.objects.update(end_reason="OPS")
    assert [line.ending for line in worker.page(LATER).shifts] == ["ended by our team"]


def test_a_start_later_than_the_login_is_explained(
    courier: WorkProvider, driver: User, client: Client
) -> None:
    late = working_for(courier, driver, "cou-1", linked_at=at("09:30"))
    late.shift(at("09:00"), at("12:00"))
    page = text(client.get(PAGE))
    assert "2 Mar 2026, 09:30" in page
    assert "Insured from when you agreed; you had logged in at 09:00." in page


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ((2025, 3, 29, 22), (2025, 3, 30, 6), ["22:00", "30 Mar 2025, 07:00", "8 h 0 min"]),
        ((2025, 10, 25, 21), (2025, 10, 26, 6), ["22:00", "26 Oct 2025, 06:00", "9 h 0 min"]),
    ],
)
def test_a_night_with_a_change_of_clocks_has_its_real_length(
    worker: Worker, start: tuple[int, ...], end: tuple[int, ...], said: list[str]
) -> None:
    worker.shift(datetime(*start, tzinfo=UTC), datetime(*end, tzinfo=UTC))  # type: ignore[misc,arg-type]
    [line] = worker.page(LATER).shifts
    assert [strip_tags(line.start)[-5:], strip_tags(line.end), line.length] == said


def test_an_hour_that_a_night_has_twice_is_told_apart() -> None:
    first, second = (datetime(2025, 10, 26, hour, 30, tzinfo=UTC) for hour in (0, 1))
    assert strip_tags(moment(first, "Europe/London")) == "26 Oct 2025, 01:30 BST"
    assert strip_tags(moment_near(second, "Europe/London", first)) == "01:30 GMT"
    assert strip_tags(moment(second, "UTC")) == "26 Oct 2025, 01:30"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1, "under 1 min"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (90_000, "25 h 0 min"),
    ],
)
def test_lengths_are_whole_minutes(seconds: int, said: str) -> None:
    assert length(at("00:00"), at("00:00") + timedelta(seconds=seconds)) == said


def test_overlapping_shifts_for_two_work_providers_both_count(
    worker: Worker, taxi: WorkProvider
) -> None:
    worker.shift(at("09:00"), at("12:00"))
    working_for(taxi, worker.user, "t-1").shift(at("10:00"), at("11:00"))
    lines = worker.page(LATER).shifts
    assert [(line.work_provider, line.length) for line in lines] == [
        ("Taxi SARL", "1 h 0 min"),
        ("Courier Ltd", "3 h 0 min"),
    ]


def test_the_last_twenty_of_all_work_providers_are_shown(
    worker: Worker, taxi: WorkProvider
) -> None:
    elsewhere = working_for(taxi, worker.user, "t-1")
    starts = [at("00:00") + timedelta(minutes=15 * number) for number in range(100)]
    for one, own in ((worker, starts[::3]), (elsewhere, starts[1::3] + starts[2::3])):
        one.login(*own).logout(*(start + timedelta(minutes=9) for start in own))
    shown = account.last_shifts(worker.link.customer)
    assert [shift.started_at for shift in shown] == starts[:-21:-1]


def test_two_shifts_of_one_login_are_both_shown(worker: Worker) -> None:
    """Who links anew while logged in has two, and both begin with the same login."""
    worker.login(at("09:00"))
    worker.link.unlinked_at = at("10:00")
    worker.link.save()
    working_for(worker.link.work_provider, worker.user, "cou-1", linked_at=at("11:00"))
    worker.logout(at("12:00"))
    lines = worker.page(LATER).shifts
    assert [strip_tags(line.start)[-5:] for line in lines] == ["11:00", "09:00"]


def test_the_number_of_queries_depends_on_nothing(
    worker: Worker,
    client: Client,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    worker.shift(at("09:00"), at("10:00"))
    with CaptureQueriesContext(connection) as bare:
        client.get(PAGE)
        queries = len(bare)
    now = timezone.now()
    for number in range(4):
        owner = factories.work_provider()
        more = working_for(owner, worker.user, f"more-{number}")
        starts = [now - timedelta(days=day, hours=1) for day in range(25)]
        more.login(*starts).logout(*(start + timedelta(minutes=30) for start in starts))
        more.login(now - timedelta(minutes=5))
        waiting(factories.work_provider(), worker.user)
        factories.intent(factories.work_provider(), email=worker.user.email)
        Agreement.objects.create(
            customer=worker.link.customer, terms=factories.terms(owner), agreed_at=now
        )
    with django_assert_max_num_queries(queries):
        answer = client.get(PAGE)
    assert queries <= 11
    assert answer.content.decode().count("<tr") == 1 + account.SHOWN


def test_ten_thousand_shifts_are_as_fast_as_ten(worker: Worker, client: Client) -> None:
    worker.shift(at("09:00"), at("10:00"))
    many_more(Shift.objects.get(), 10_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE shifts_shift")
    client.get(PAGE)
    began = time.monotonic()
    answer = client.get(PAGE)
    assert time.monotonic() - began < 0.5
    assert answer.content.decode().count("<tr") == 1 + account.SHOWN
    assert len(rows(client.get(CSV))) == 1 + 10_001


def many_more(shift: Shift, count: int) -> None:
    """Shifts before this one, an hour each, two hours apart."""
    ends = [shift.started_at - timedelta(hours=2 * number) for number in range(1, count + 1)]
    Shift.objects.bulk_create(
        Shift(
            stream_id=shift.stream_id,
            link_id=shift.link_id,
            started_at=end - timedelta(hours=1),
            ended_at=end,
            end_reason="LOGOUT",
            start_clipped=False,
            is_continuation=False,
            login_at=end - timedelta(hours=1),
            opened_by_id=shift.opened_by_id,
            ended_by_id=shift.ended_by_id,
            start_known_at=end,
            end_known_at=end,
        )
        for end in ends
    )


# Terms


def test_terms_agreed_to_are_listed_and_can_be_read(
    courier: WorkProvider, driver: User, client: Client
) -> None:
    agreed = factories.terms(courier, version="2026-11", text="Be kind.\n\n<b>Drive</b> safely.")
    Agreement.objects.create(customer=driver.customer, terms=agreed, agreed_at=at("09:00"))
    page = client.get(PAGE)
    assert "Courier Ltd's terms, version 2026-11, on 2 Mar 2026" in text(page).replace(
        "&#x27;", "'"
    )
    address = f"/account/terms/{agreed.pk}/"
    assert f'href="{address}"' in page.content.decode()
    body = client.get(address).content.decode()
    assert "<p>Be kind.</p>" in body
    assert "<p>&lt;b&gt;Drive&lt;/b&gt; safely.</p>" in body


def test_terms_not_agreed_to_are_not_found(courier: WorkProvider, client: Client) -> None:
    terms = factories.terms(courier, text="Secret for now.")
    stranger = factories.driver()
    Agreement.objects.create(customer=stranger.customer, terms=terms, agreed_at=at("09:00"))
    answer = client.get(f"/account/terms/{terms.pk}/")
    assert answer.status_code == 404
    assert b"Secret" not in answer.content
    assert client.get("/account/terms/").status_code == 302  # that one is linking's


# Unlinking and cancelling


def test_unlinking_asks_first(worker: Worker, client: Client) -> None:
    worker.login(timezone.now() - timedelta(minutes=5))
    answer = client.get(f"/account/unlink/{worker.link.pk}/")
    page = text(answer)
    for said in (
        "Unlink Courier Ltd?",
        "Your open shift for Courier Ltd ends now.",
        "free of charge",
        "by a new link from Courier Ltd",
    ):
        assert said in page
    worker.link.refresh_from_db()
    assert worker.link.unlinked_at is None


def test_unlinking_ends_the_link_and_the_open_shift(worker: Worker, client: Client) -> None:
    worker.login(timezone.now() - timedelta(minutes=5))
    answer = client.post(f"/account/unlink/{worker.link.pk}/", follow=True)
    assert answer.redirect_chain == [(PAGE, 302)]
    worker.link.refresh_from_db()
    assert worker.link.ended_by == DriverLink.EndedBy.DRIVER
    assert Shift.objects.get().ended_at == worker.link.unlinked_at
    page = text(answer)
    assert "You are not linked to Courier Ltd any more." in page
    assert "You are not insured now" in page
    assert "ended when you unlinked" in page
    assert [message.subject for message in mail.outbox] == [
        "You are no longer linked to Courier Ltd"
    ]


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_link_that_has_ended_is_not_ended_again(
    worker: Worker, client: Client, method: str
) -> None:
    worker.link.unlinked_at = at("09:00")
    worker.link.save()
    answer = getattr(client, method)(f"/account/unlink/{worker.link.pk}/", follow=True)
    assert answer.redirect_chain == [(PAGE, 302)]
    assert "You were not linked to Courier Ltd any more." in text(answer)
    worker.link.refresh_from_db()
    assert worker.link.unlinked_at == at("09:00")
    assert not mail.outbox


def test_cancelling_a_request_that_waits(
    courier: WorkProvider, driver: User, client: Client
) -> None:
    request = waiting(courier, driver)
    answer = client.post(f"/account/request/{request.pk}/cancel/", follow=True)
    assert "You will not be linked to Courier Ltd." in text(answer)
    request.refresh_from_db()
    assert request.state == LinkRequest.State.CANCELLED


def test_a_request_that_is_decided_stays_decided(
    courier: WorkProvider, driver: User, client: Client
) -> None:
    request = waiting(courier, driver)
    LinkRequest.objects.update(state="REFUSED", decided_at=timezone.now())
    answer = client.post(f"/account/request/{request.pk}/cancel/", follow=True)
    assert "Courier Ltd has decided already." in text(answer)
    request.refresh_from_db()
    assert request.state == LinkRequest.State.REFUSED


# Who


@pytest.fixture
def addresses(worker: Worker, taxi: WorkProvider) -> dict[str, str]:
    """Every address about the driver, by name."""
    agreed = factories.terms(worker.link.work_provider)
    Agreement.objects.create(customer=worker.link.customer, terms=agreed, agreed_at=at("09:00"))
    return {
        "page": PAGE,
        "csv": CSV,
        "json": DATA,
        "delete": DELETE,
        "unlink": f"/account/unlink/{worker.link.pk}/",
        "cancel": f"/account/request/{waiting(taxi, worker.user).pk}/cancel/",
        "terms": f"/account/terms/{agreed.pk}/",
    }


def test_without_a_sign_in_there_is_nothing_to_see(addresses: dict[str, str]) -> None:
    for method in ("get", "post"):
        for address in addresses.values():
            answer = getattr(Client(), method)(address)
            assert answer.status_code == 302
            assert answer["Location"] == f"/account/login/?next={address}"
            assert "no-store" in answer["Cache-Control"]


def test_nothing_is_cached(addresses: dict[str, str], client: Client) -> None:
    for name, address in addresses.items():
        answer = client.post(address) if name == "cancel" else client.get(address)
        assert answer.status_code in (200, 302)
        answer.getvalue()
        assert {"no-store", "private"} <= set(answer["Cache-Control"].split(", "))


def test_another_customer_finds_nothing(addresses: dict[str, str], worker: Worker) -> None:
    worker.shift(at("09:00"), at("10:00")).login(timezone.now() - timedelta(minutes=1))
    stranger = signed_in(factories.driver("stranger@example.com"))
    for name in ("unlink", "cancel", "terms"):
        for method in ("get", "post"):
            answer = getattr(stranger, method)(addresses[name])
            assert answer.status_code in (404, 405)
            assert b"Courier" not in answer.content
    for name in ("page", "csv", "json", "delete"):
        body = stranger.get(addresses[name]).getvalue().decode()
        for secret in ("Courier", "cou-1", "driver@example.com", worker.link.customer.number):
            assert secret not in body
    worker.link.refresh_from_db()
    assert worker.link.unlinked_at is None
    assert LinkRequest.objects.get().state == LinkRequest.State.WAITING


@pytest.mark.parametrize("path", ["unlink/{}/", "request/{}/cancel/", "terms/{}/"])
def test_a_number_of_nothing_is_not_found(client: Client, path: str) -> None:
    for number in (0, 10**30):
        address = PAGE + path.format(number)
        assert client.post(address).status_code in (404, 405)
        assert client.get(address).status_code in (404, 405)


def test_what_changes_something_needs_a_csrf_token(
    addresses: dict[str, str], worker: Worker
) -> None:
    client = signed_in(worker.user, enforce_csrf_checks=True)
    for name in ("unlink", "cancel", "delete"):
        answer = client.post(addresses[name], {"confirmation": "DELETE"})
        assert answer.status_code == 403
    worker.link.refresh_from_db()
    assert worker.link.unlinked_at is None
    assert LinkRequest.objects.get().state == LinkRequest.State.WAITING
    assert User.objects.get(pk=worker.user.pk).is_active


def test_methods_that_make_no_sense_are_refused(addresses: dict[str, str], client: Client) -> None:
    assert client.get(addresses["cancel"]).status_code == 405
    for name in ("page", "csv", "json", "terms"):
        assert client.post(addresses[name]).status_code == 405


def test_staff_are_led_to_the_admin() -> None:
    answer = signed_in(factories.user(is_staff=True)).get(PAGE)
    assert answer.status_code == 200
    assert "There is no insurance on this account" in text(answer)
    assert 'href="/admin/"' in answer.content.decode()
    assert DELETE not in answer.content.decode()


def test_somebody_who_is_no_customer_yet_is_told_how_to_become_one(courier: WorkProvider) -> None:
    user = factories.user()
    client = signed_in(user)
    factories.intent(courier, "123456", email=user.email)
    answer = client.get(PAGE)
    assert answer.status_code == 200
    assert "There is no insurance on this account" in text(answer)
    assert "Courier Ltd asks to link" in text(answer)
    assert "/admin/" not in answer.content.decode()
    assert rows(client.get(CSV)) == [account_exports.COLUMNS]
    assert json.loads(content(client.get(DATA)))["customer_number"] is None


def test_the_page_leads_to_everything_else(client: Client) -> None:
    page = client.get(PAGE).content.decode()
    for address in (DATA, DELETE, "/account/email/", "/account/password/change/", "/account/2fa/"):
        assert f'href="{address}"' in page


@pytest.mark.parametrize("name", ["page", "delete", "unlink", "terms"])
def test_pages_have_one_heading_of_the_first_rank_and_no_style_or_script(
    addresses: dict[str, str], worker: Worker, client: Client, name: str
) -> None:
    worker.shift(at("09:00"), at("10:00"))
    page = client.get(addresses[name]).content.decode()
    assert len(re.findall(r"<h1\b", page)) == 1
    ranks = [int(rank) for rank in re.findall(r"<h([1-6])\b", page)]
    assert all(after - before <= 1 for before, after in zip([0, *ranks], ranks, strict=False))
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=", page)
    assert page.count("<table") == page.count("<caption")


def test_names_are_escaped(driver: User, client: Client) -> None:
    owner = factories.work_provider(name="<i>Evil</i> & Sons")
    working_for(owner, driver, "<b>1</b>").login(timezone.now() - timedelta(minutes=1))
    page = client.get(PAGE).content.decode()
    assert "<i>" not in page
    assert "<b>" not in page
    assert "&lt;i&gt;Evil&lt;/i&gt; &amp; Sons" in page


# CSV


def test_the_csv_has_every_shift(worker: Worker, taxi: WorkProvider, client: Client) -> None:
    worker.shift(datetime(2025, 3, 29, 22, tzinfo=UTC), datetime(2025, 3, 30, 6, tzinfo=UTC))
    working_for(taxi, worker.user, "t-1").shift(at("10:00"), at("11:00:01"))
    worker.login(start := timezone.now().replace(microsecond=0) - timedelta(minutes=1))
    answer = client.get(CSV)
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="zego-shifts.csv"'
    *over, still_open = rows(answer)
    assert over == [
        ["work provider", "driver id", "started", "ended", "length in seconds", "how it ended"],
        [
            *("Courier Ltd", "cou-1", "2025-03-29T22:00:00+00:00", "2025-03-30T07:00:00+01:00"),
            *("28800", "logged out"),
        ],
        [
            *("Taxi SARL", "t-1", "2026-03-02T11:00:00+01:00", "2026-03-02T12:00:01+01:00"),
            *("3601", "logged out"),
        ],
    ]
    assert datetime.fromisoformat(still_open[2]) == start
    assert still_open[3:] == ["", "", "still open"]


def test_the_csv_is_read_by_excel(worker: Worker, client: Client) -> None:
    body = content(client.get(CSV))
    assert body.startswith(b"\xef\xbb\xbfwork provider,")
    assert body.endswith(b"\r\n")


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])  # noqa: RUF001
def test_no_cell_is_a_formula(sign: str) -> None:
    assert spreadsheet.harmless(f"{sign}1+1") == f"'{sign}1+1"
    assert spreadsheet.harmless(f"1{sign}1") == f"1{sign}1"
    assert spreadsheet.harmless("") == ""


def test_a_formula_for_a_name_or_driver_id_is_text(driver: User, client: Client) -> None:
    owner = factories.work_provider(name="=cmd|' /C calc'!A0")
    working_for(owner, driver, "@SUM(1,2)").shift(at("09:00"), at("10:00"))
    assert rows(client.get(CSV))[1][:2] == ["'=cmd|' /C calc'!A0", "'@SUM(1,2)"]


@pytest.mark.parametrize("path", [CSV, DATA])
def test_a_large_file_is_the_same_file(
    worker: Worker, client: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    worker.shift(at("09:00"), at("10:00"))
    in_memory = content(client.get(path))
    monkeypatch.setattr(account_exports, "_IN_MEMORY", 10)
    on_disk = content(client.get(path))
    made_at = re.compile(rb'"made_at": "[^"]+"')
    assert made_at.sub(b"", on_disk) == made_at.sub(b"", in_memory)


@pytest.mark.parametrize(("path", "row"), [(CSV, "_csv_row"), (DATA, "_shift")])
def test_a_database_that_goes_away_half_way_leaves_no_half_file(
    worker: Worker, client: Client, monkeypatch: pytest.MonkeyPatch, path: str, row: str
) -> None:
    worker.shift(at("09:00"), at("10:00")).shift(at("11:00"), at("12:00"))
    make_row = getattr(account_exports, row)

    def broken(shift: Shift, now: datetime) -> Any:
        if shift.started_at == at("11:00"):
            raise OperationalError("server closed the connection unexpectedly")
        return make_row(shift, now)

    monkeypatch.setattr(account_exports, row, broken)
    answer = client.get(path)
    assert answer.status_code == 503
    assert "Content-Disposition" not in answer
    assert b"cou-1" not in answer.content


# JSON


def test_the_json_has_everything(
    worker: Worker, courier: WorkProvider, taxi: WorkProvider, client: Client
) -> None:
    worker.shift(at("09:00"), at("10:00")).logout(at("11:00"))
    user, customer = worker.user, worker.link.customer
    LinkRequest.objects.create(
        work_provider=taxi,
        customer=customer,
        driver_id="t-1",
        agreed_at=at("08:00"),
        state="REFUSED",
        decided_at=at("08:01"),
        reason="Belongs to somebody else.",
    )
    agreed = factories.terms(None, version="2026-11")
    Agreement.objects.create(customer=customer, terms=agreed, agreed_at=at("07:00"))
    answer = client.get(DATA)
    assert answer["Content-Type"] == "application/json"
    assert answer["Content-Disposition"] == 'attachment; filename="zego-data.json"'
    data = json.loads(content(answer))
    assert data["account"]["email_addresses"] == [
        {"email": user.email, "verified": True, "primary": True}
    ]
    assert datetime.fromisoformat(data["account"]["joined"]) == user.date_joined
    assert data["account"]["last_login"] is not None
    assert data["customer_number"] == customer.number
    assert data["links"] == [
        {
            "work_provider": "Courier Ltd",
            "driver_id": "cou-1",
            "linked_at": "2017-01-01T00:00:00Z",
            "unlinked_at": None,
            "ended_by": "",
        }
    ]
    assert data["link_requests"] == [
        {
            "work_provider": "Taxi SARL",
            "driver_id": "t-1",
            "agreed_at": "2026-03-02T08:00:00Z",
            "state": "REFUSED",
            "decided_at": "2026-03-02T08:01:00Z",
        }
    ]
    assert data["agreements"] == [
        {"terms_of": "Zego", "version": "2026-11", "agreed_at": "2026-03-02T07:00:00Z"}
    ]
    [shift] = data["shifts"]
    assert shift["work_provider"] == "Courier Ltd"
    assert (shift["started_at"], shift["ended_at"], shift["how_it_ended"]) == (
        "2026-03-02T09:00:00Z",
        "2026-03-02T10:00:00Z",
        "logged out",
    )
    events = [(e["kind"], e["timestamp"], e["outcome"], e["reason"]) for e in data["events"]]
    assert events == [
        ("login", "2026-03-02T09:00:00Z", "APPLIED", ""),
        ("logout", "2026-03-02T10:00:00Z", "APPLIED", ""),
        ("logout", "2026-03-02T11:00:00Z", "ORPHAN", "NO_OPEN_SHIFT"),
    ]
    assert all(event["received_at"].endswith("Z") for event in data["events"])
    assert data["events_without_a_link"] == []


def test_the_json_has_what_names_the_number_without_a_link(
    worker: Worker, taxi: WorkProvider, client: Client
) -> None:
    number = worker.link.customer.number
    for named in (number, factories.customer().number):
        Client().post(
            "/v1/shift/login/",
            json.dumps({"policyId": named, "timestamp": at("09:00").isoformat()}),
            "application/json",
            headers={"Authorization": factories.key(taxi)},
        )
    drain()
    [event] = json.loads(content(client.get(DATA)))["events_without_a_link"]
    assert (event["work_provider"], event["customer_number"]) == ("Taxi SARL", number)
    assert event["outcome"] == "HELD"


def test_the_json_needs_a_recent_sign_in(courier: WorkProvider) -> None:
    driver = factories.driver(password=factories.PASSWORD)
    working_for(courier, driver, "cou-1")
    client = signed_in(driver)
    long_ago(client)
    answer = client.get(DATA)
    assert answer.status_code == 302
    assert answer["Location"] == "/account/reauthenticate/?next=%2Faccount%2Fdata.json"
    again = client.post(answer["Location"], {"password": factories.PASSWORD, "next": DATA})
    assert again["Location"] == DATA
    assert b"cou-1" in content(client.get(DATA))


# Deletion


def test_deleting_says_what_goes_and_what_stays(client: Client, driver: User) -> None:
    page = text(client.get(DELETE))
    for said in ("This cannot be undone.", "What goes at once", "What stays, and why"):
        assert said in page
    assert User.objects.get(pk=driver.pk).is_active


@pytest.mark.parametrize("typed", [None, "", "delete me", "DELET"])
def test_without_the_word_nothing_is_deleted(
    client: Client, driver: User, typed: str | None
) -> None:
    answer = client.post(DELETE, {} if typed is None else {"confirmation": typed})
    assert answer.status_code == 200
    assert "There is a problem" in text(answer)
    assert 'aria-invalid="true"' in answer.content.decode()
    assert User.objects.get(pk=driver.pk).is_active


@pytest.mark.parametrize("typed", ["DELETE", " delete "])
def test_with_the_word_the_account_is_gone(worker: Worker, client: Client, typed: str) -> None:
    other_device = signed_in(worker.user)
    worker.login(timezone.now() - timedelta(minutes=5))
    answer = client.post(DELETE, {"confirmation": typed}, follow=True)
    assert answer.redirect_chain == [("/account/deleted/", 302)]
    assert "Your account is deleted" in text(answer)
    assert "no-store" in answer["Cache-Control"]
    for each in (client, other_device):
        assert each.get(PAGE)["Location"] == f"/account/login/?next={PAGE}"
    worker.link.refresh_from_db()
    assert worker.link.ended_by == DriverLink.EndedBy.ERASURE
    assert Shift.objects.get().ended_at == worker.link.unlinked_at


def test_deleting_needs_a_recent_sign_in_and_goes_on_after_it() -> None:
    driver = factories.driver(password=factories.PASSWORD)
    client = signed_in(driver)
    long_ago(client)
    assert client.get(DELETE).status_code == 200
    answer = client.post(DELETE, {"confirmation": "DELETE"})
    assert answer["Location"].startswith("/account/reauthenticate/")
    assert User.objects.get(pk=driver.pk).is_active
    wrong = client.post(answer["Location"], {"password": "wrong", "next": DELETE})
    assert wrong.status_code == 200
    assert User.objects.get(pk=driver.pk).is_active
    again = client.post(answer["Location"], {"password": factories.PASSWORD, "next": DELETE})
    assert again["Location"] == "/account/deleted/"
    assert not User.objects.get(pk=driver.pk).is_active


@pytest.mark.parametrize("method", ["get", "post"])
def test_staff_accounts_cannot_be_deleted_here(method: str) -> None:
    staff = factories.user(is_staff=True)
    answer = getattr(signed_in(staff), method)(DELETE, {"confirmation": "DELETE"})
    assert answer.status_code == 403
    assert "Staff accounts are not deleted here" in text(answer)
    assert User.objects.get(pk=staff.pk).is_active


def test_goodbye_is_said_to_nobody_who_is_signed_in(client: Client) -> None:
    assert client.get("/account/deleted/")["Location"] == PAGE
    assert Client().get("/account/deleted/").status_code == 200
