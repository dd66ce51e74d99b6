"""The lists behind the front page: what is on each, in which order, a page at a time, and for whom."""

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from linking.desk import record
from linking.flows import TAKEN
from linking.models import DeskAction, LinkRequest, WorkProvider
from shifts.desk.lists import LISTS, apart, clock_words
from shifts.desk.pages import PAGE
from shifts.models import ClockOffset, Seen, ShiftRevision, Standing, event_id
from tests import factories
from tests.desk.test_front import page_of, staff, text_of

pytestmark = pytest.mark.django_db
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def desk(client: Client) -> Client:
    client.force_login(staff("shifts.view_shift", "linking.mend", "linking.mend_in_bulk"))
    return client


def path(name: str, **query: object) -> str:
    found = "&".join(f"{key}={value}" for key, value in query.items())
    return reverse("desk:list", args=[name]) + (f"?{found}" if found else "")


def rows(client: Client, name: str, **query: object) -> list[str]:
    """The text of each row."""
    return rows_of(page_of(client, path(name, **query)))


def rows_of(page: str) -> list[str]:
    body = re.search(r"<tbody>(.*)</tbody>", page, re.DOTALL)
    found = re.findall(r"<tr>(.*?)</tr>", body[1], re.DOTALL) if body else []
    return [" ".join(html.unescape(re.sub(r"<[^>]*>", " ", row)).split()) for row in found]


def all_pages(client: Client, name: str, **query: object) -> list[list[str]]:
    """The rows of every page, by way of its "More"."""
    pages, address = [], path(name, **query)
    while address:
        page = page_of(client, address)
        pages.append(rows_of(page))
        more = re.search(r'href="([^"]*)">More<', page)
        address = path(name) + html.unescape(more[1]) if more else ""
        assert ("From the start" in page) == (len(pages) > 1)
    return pages


def link_request(
    provider: WorkProvider, driver_id: str, now: datetime, **fields: Any
) -> LinkRequest:
    waiting = fields.get("state", "WAITING") == "WAITING"
    defaults = {"state": "WAITING", "decided_at": None if waiting else now, "agreed_at": now}
    return LinkRequest.objects.create(
        work_provider=provider,
        customer=factories.customer(),
        driver_id=driver_id,
        **defaults | fields,
    )


def revision(provider: WorkProvider, now: datetime, **fields: Any) -> ShiftRevision:
    shift = factories.shift(provider, now - DAY, ended_at=now - HOUR)
    defaults = {
        "change": "AMENDED",
        "cause": "WITHDRAWAL",
        "old_started_at": now - DAY,
        "old_ended_at": now,
        "old_end_reason": "LOGOUT",
        "new_started_at": now - DAY,
        "new_ended_at": now - HOUR,
        "new_end_reason": "LOGOUT",
        "shortens_cover": True,
        "created_at": now,
    }
    return ShiftRevision.objects.create(shift_id=shift.pk, stream=shift.stream, **defaults | fields)


def seen(kind: Seen.Kind, target: int, now: datetime, reason: str = "All right.") -> None:
    action = record(DeskAction.Kind.SEEN, actor=factories.user(), reason=reason, now=now)
    Seen.objects.create(kind=kind, target=target, action=action)


# All of them


@pytest.mark.parametrize("name", LISTS)
def test_an_empty_list_says_so_kindly(desk: Client, name: str) -> None:
    page = page_of(desk, path(name))
    assert LISTS[name].empty in text_of(page)
    assert LISTS[name].what in text_of(page)
    assert "<table" not in page
    provider = factories.work_provider(name="Courier Ltd")
    assert f"Courier Ltd: {LISTS[name].empty}" in text_of(
        page_of(desk, path(name, work_provider=provider.pk))
    )


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("wanted", ["0", "x", "99999999999999999999", "'"])
def test_a_work_provider_that_is_not_there_is_said(desk: Client, name: str, wanted: str) -> None:
    factories.work_provider()
    page = page_of(desk, path(name, work_provider=wanted))
    assert "There is no such work provider" in page


AFTER = ["x", "~", "2026-11-22~", "2026-99-99T00:00:00Z~1", "~~1", "%00", "\0"]
AFTER += [f"2026-11-22T12:00:00Z~{key}" for key in ("", "x", "\0", "1", "9" * 30, "-1")]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("after", AFTER)
def test_an_address_that_was_cut_off_gives_a_page(desk: Client, name: str, after: str) -> None:
    provider = factories.work_provider()
    assert desk.get(path(name, after=after)).status_code == 200
    assert desk.get(path(name, after=after, work_provider=provider.pk)).status_code == 200


def test_a_list_that_is_not_there_is_not_found(desk: Client) -> None:
    assert desk.get(path("nothing")).status_code == 404


@pytest.mark.parametrize("name", LISTS)
def test_only_who_may_read_sees_a_list(client: Client, name: str) -> None:
    client.force_login(staff())
    assert client.get(path(name)).status_code == 403
    client.force_login(staff("shifts.view_shift"))
    assert client.get(path(name)).status_code == 200
    client.logout()
    assert client.get(path(name)).status_code == 302


def fill(provider: WorkProvider, now: datetime, count: int) -> None:
    """Something for every list."""
    for number in range(count):
        factories.submission(provider, now - MINUTE)
        factories.submission(provider, now - HOUR, failed_at=now, failure="Boom.")
        owner = factories.submission(provider, now - HOUR, digested_at=now)
        factories.event(
            provider, id=event_id(owner.pk, 0), customer_number=factories.customer().number
        )
        factories.event(provider, received_at=now - number * MINUTE)
        factories.shift(provider, now - HOUR)
        factories.shift(provider, now - DAY, ended_at=now, end_reason="AUTO_CLOSED")
        link_request(provider, f"waits {number}", now)
        refused = link_request(provider, f"taken {number}", now, state="REFUSED", reason=TAKEN)
        shortened = revision(provider, now)
        orphan = factories.event(
            provider, stream=shortened.stream, outcome="ORPHAN", after_ignored_login=True
        )
        if number % 2:
            seen(Seen.Kind.LINK_REQUEST, refused.pk, now)
            seen(Seen.Kind.REVISION, shortened.pk, now)
            seen(Seen.Kind.ORPHAN, orphan.pk, now)
        other = factories.work_provider()
        for one in (provider, other):
            Standing.objects.update_or_create(
                work_provider=one,
                defaults={"looked_at": now, "silent_since": now, "held": 2}
                | {"clock_cluster": -HOUR, "clock_median": -HOUR, "clock_cluster_on": now.date()},
            )
            ClockOffset.objects.get_or_create(
                work_provider=one, date=now.date(), step=-12, defaults={"events": 5}
            )


@pytest.mark.parametrize("everything", ["", "1"])
@pytest.mark.parametrize("name", LISTS)
def test_the_queries_are_few_however_long_the_list_is(
    desk: Client,
    now: datetime,
    name: str,
    everything: str,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    provider = factories.work_provider()
    fill(provider, now, 2)
    query = {"work_provider": provider.pk} | ({"all": 1} if everything else {})
    assert rows(desk, name, **query)
    with django_assert_max_num_queries(11) as few:
        rows(desk, name, **query)
    fill(provider, now, 5)
    with django_assert_max_num_queries(len(few)):
        rows(desk, name, **query)
    with django_assert_max_num_queries(11):
        rows(desk, name)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_one_work_provider_has_no_others(desk: Client, now: datetime, name: str) -> None:
    provider, other = factories.work_provider(), factories.work_provider()
    fill(provider, now, 2)
    Standing.objects.update_or_create(work_provider=other, defaults={"looked_at": now})
    Standing.objects.filter(work_provider=other).update(
        held=0, silent_since=None, clock_cluster=None
    )
    Standing.objects.filter(work_provider=other).update(clock_median=None)
    assert rows(desk, name, work_provider=provider.pk)
    assert rows(desk, name, work_provider=other.pk) == []


def test_a_reader_is_offered_no_mending(client: Client, now: datetime) -> None:
    provider = factories.work_provider()
    fill(provider, now, 2)
    failed = factories.submission(provider, now, failed_at=now)
    waiting = link_request(provider, "x", now)
    ways = [
        reverse("desk:retry", args=[failed.request_id]),
        reverse("desk:discard", args=[failed.request_id]),
        reverse("desk:confirm-link", args=[waiting.pk]),
        reverse("desk:refuse-link", args=[waiting.pk]),
        *(reverse(f"desk:{name}") for name in "make-link add-event seen reread close-out".split()),
    ]

    def offered() -> list[str]:
        pages = [page_of(client, path(name, work_provider=provider.pk)) for name in LISTS]
        return [way for way in ways if any(f'"{way}' in page for page in pages)]

    client.force_login(staff("shifts.view_shift"))
    assert offered() == []
    client.force_login(staff("shifts.view_shift", "linking.mend", "linking.mend_in_bulk"))
    assert offered() == ways


# Submissions


def test_pending_submissions_are_the_oldest_first(desk: Client, now: datetime) -> None:
    provider = factories.work_provider()
    first, second = (
        factories.submission(provider, now - HOUR, 7),
        factories.submission(provider, now - MINUTE),
    )
    factories.submission(provider, now, digested_at=now)
    factories.submission(provider, now, failed_at=now)
    found = rows(desk, "pending")
    assert [row.split()[0] for row in found] == [str(first.request_id), str(second.request_id)]
    assert "login, batch 7" in found[0]


def test_failed_submissions_say_why_and_the_discarded_are_hidden(
    desk: Client, now: datetime
) -> None:
    provider = factories.work_provider()
    failed = factories.submission(
        provider, now, failed_at=now, failure="InvalidBody: " + "x" * 5000
    )
    factories.submission(provider, now, failed_at=now, failure="Poison", is_withdrawn=True)
    page = page_of(desk, path("failed"))
    assert reverse("desk:submission", args=[failed.request_id]) in page
    assert reverse("desk:retry", args=[failed.request_id]) in page
    assert reverse("desk:discard", args=[failed.request_id]) in page
    assert len(rows_of(page)) == 1
    assert "InvalidBody: xxx" in page
    assert len(page) < 60_000
    discarded = rows(desk, "failed", all=1)[0]
    assert "discarded Poison" in discarded
    assert "Try again" not in discarded


def test_the_bodies_stay_where_they_are(
    desk: Client, now: datetime, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    factories.submission(factories.work_provider(), now)
    with django_assert_max_num_queries(11) as captured:
        rows(desk, "pending")
    queries = [query["sql"] for query in captured.captured_queries]
    assert not [sql for sql in queries if '"shifts_submission"."body"' in sql]


@pytest.mark.parametrize("name", ["pending", "failed"])
def test_pages_of_submissions_hold_all_of_them_once(desk: Client, now: datetime, name: str) -> None:
    provider = factories.work_provider()
    for _ in range(2 * PAGE + 1):
        factories.submission(provider, now, failed_at=now if name == "failed" else None)
    pages = all_pages(desk, name, work_provider=provider.pk)
    assert [len(page) for page in pages] == [PAGE, PAGE, 1]
    assert len({row for page in pages for row in page}) == 2 * PAGE + 1


# Held, and not linked


def test_held_events_are_told_by_work_provider_and_then_one_by_one(
    desk: Client, now: datetime
) -> None:
    one, two = factories.work_provider(name="One Ltd"), factories.work_provider(name="Two Ltd")
    for provider, held in ((one, 3), (two, 1200)):
        Standing.objects.create(
            work_provider=provider, looked_at=now, held=held, oldest_held_at=now - DAY
        )
    groups = rows(desk, "held")
    assert [group.split(" Ltd")[0] for group in groups] == ["Two", "One"]
    assert "1,200" in groups[0]
    owner = factories.submission(one, now)
    factories.event(one, id=event_id(owner.pk, 0), driver_id="a/b c?", timestamp=now)
    customer = factories.customer()
    factories.event(one, customer_number=customer.number, reason="NOT_LINKED")
    factories.event(one, outcome="REJECTED", reason="EXPIRED")
    factories.event(two)
    page = page_of(desk, path("held", work_provider=one.pk))
    newest, oldest = rows_of(page)
    assert f"customer {customer.number}" in newest
    assert "a customer, but not linked to this work provider" in newest
    assert newest.endswith("not kept")
    assert "a/b c?" in oldest
    assert "nobody is linked under this id" in oldest
    assert oldest.endswith(str(owner.request_id))
    assert reverse("desk:driver", args=[one.pk, "a/b c?"]) in page
    assert reverse("desk:customer", args=[customer.pk]) in page


def test_of_many_work_providers_the_fifty_that_hold_the_most_are_told(
    desk: Client, now: datetime
) -> None:
    for held in range(1, 53):
        Standing.objects.create(work_provider=factories.work_provider(), looked_at=now, held=held)
    page = page_of(desk, path("held"))
    assert len(rows_of(page)) == 50
    assert "choose any other above" in page
    assert [row.split()[-5] for row in rows_of(page)][:2] == ["52", "51"]


@pytest.mark.parametrize("name", ["held", "not-linked"])
def test_the_only_work_provider_that_holds_any_is_shown_at_once(
    desk: Client, now: datetime, name: str
) -> None:
    provider, other = factories.work_provider(), factories.work_provider()
    Standing.objects.create(work_provider=provider, looked_at=now, held=1)
    Standing.objects.create(work_provider=other, looked_at=now, held=0)
    factories.event(provider, driver_id="D-1", received_at=now)
    [row] = rows(desk, name)
    assert row.startswith("D-1 ")


def test_who_sends_without_being_linked(desk: Client, now: datetime) -> None:
    provider = factories.work_provider(name="Courier Ltd", timezone="Europe/London")
    stream = factories.shift(provider, now).stream
    customer = factories.customer()
    for days, fields in (
        (9, {"driver_id": "often"}),
        (1, {"driver_id": "often"}),
        (5, {"driver_id": "often"}),
        (2, {"driver_id": "has left", "outcome": "IGNORED", "reason": "AFTER_UNLINK"}),
        (3, {"customer_number": customer.number, "reason": "NOT_LINKED"}),
        (4, {"customer_number": "NOBODY"}),
        (1, {"driver_id": "expired", "outcome": "REJECTED", "reason": "EXPIRED"}),
        (1, {"driver_id": "linked", "outcome": "IGNORED", "stream": stream}),
        (31, {"driver_id": "long ago", "outcome": "IGNORED", "reason": "AFTER_UNLINK"}),
    ):
        factories.event(provider, received_at=now - days * DAY, **fields)
    factories.event(factories.work_provider(), driver_id="of another", received_at=now)
    page = page_of(desk, path("not-linked", work_provider=provider.pk))
    found = rows_of(page)
    assert [row.split(" 2")[0] for row in found] == [
        "often nobody is linked under this id 3",
        "has left the link has ended 1",
        f"customer {customer.number} a customer, but not linked to this work provider 1",
        "customer number NOBODY nobody is linked under this id 1",
    ]
    assert re.search(rf"3 {now - 9 * DAY:%Y-%m-%d} .*{now - DAY:%Y-%m-%d} ", found[0])
    assert [row.endswith("Link") for row in found] == [True, True, True, False]
    assert found[3].endswith("no such customer")
    link = reverse("desk:make-link")
    assert f"{link}?work_provider={provider.pk}&amp;driver_id=has%20left" in page
    assert f"{link}?work_provider={provider.pk}&amp;customer={customer.pk}" in page


def test_pages_of_those_who_are_not_linked_hold_all_of_them_once(
    desk: Client, now: datetime
) -> None:
    provider = factories.work_provider()
    for number in range(PAGE + 5):
        factories.event(provider, driver_id=f"same {number:03}", received_at=now)
    for number in range(PAGE):
        factories.event(
            provider, customer_number=f"SAME{number:03}", received_at=now - number // 5 * HOUR
        )
    pages = all_pages(desk, "not-linked", work_provider=provider.pk)
    assert [len(page) for page in pages] == [PAGE, PAGE, 5]
    assert len({row for page in pages for row in page}) == 2 * PAGE + 5


# Shifts


def test_open_shifts_are_those_that_read_as_open(desk: Client, now: datetime) -> None:
    provider = factories.work_provider(timezone="Europe/Paris")
    begun: dict[str, dict[str, Any]] = {
        "old": {"started_at": now - 3 * HOUR},
        "new": {"started_at": now - HOUR},
        "endless": {"started_at": now - 2 * HOUR, "closes_at": None},
        "overdue": {"started_at": now - DAY, "closes_at": now - MINUTE},
        "later": {"started_at": now + HOUR},
        "ended": {"started_at": now - DAY, "ended_at": now - HOUR},
    }
    numbers = {
        name: factories.shift(provider, **fields).stream.customer.number
        for name, fields in begun.items()
    }
    found = rows(desk, "open")
    assert [row.split()[0] for row in found] == [
        numbers[name] for name in ("new", "endless", "old")
    ]
    assert "only by a logout" in found[1]
    assert "by itself at" in found[0]


def test_shifts_closed_automatically_are_those_that_read_so(desk: Client, now: datetime) -> None:
    provider = factories.work_provider()
    begun: dict[str, dict[str, Any]] = {
        "written": {
            "started_at": now - DAY,
            "ended_at": now - 2 * HOUR,
            "end_reason": "AUTO_CLOSED",
        },
        "not yet written": {"started_at": now - DAY, "closes_at": now - HOUR},
        "long ago": {
            "started_at": now - 9 * DAY,
            "ended_at": now - 8 * DAY,
            "end_reason": "AUTO_CLOSED",
        },
        "by logout": {"started_at": now - DAY, "ended_at": now - HOUR},
        "open": {"started_at": now - HOUR},
    }
    numbers = {
        name: factories.shift(provider, **fields).stream.customer.number
        for name, fields in begun.items()
    }
    found = rows(desk, "auto-closed")
    assert [row.split()[0] for row in found] == [numbers["not yet written"], numbers["written"]]


@pytest.mark.parametrize("name", ["open", "auto-closed"])
def test_pages_of_shifts_hold_all_of_them_once(desk: Client, now: datetime, name: str) -> None:
    """Many of them begin and end at the same instant."""
    provider = factories.work_provider()
    end = {"ended_at": now - HOUR, "end_reason": "AUTO_CLOSED"} if name == "auto-closed" else {}
    for number in range(2 * PAGE + 1):
        factories.shift(provider, now - DAY + number // 70 * HOUR, closes_at=now + DAY, **end)
    pages = all_pages(desk, name)
    assert [len(page) for page in pages] == [PAGE, PAGE, 1]
    assert len({row for page in pages for row in page}) == 2 * PAGE + 1


# Work providers


def test_the_silent_are_told_since_when(desk: Client, now: datetime) -> None:
    provider = factories.work_provider(name="Quiet Ltd", timezone="Asia/Kolkata")
    Standing.objects.create(
        work_provider=provider, looked_at=now, silent_since=datetime(2026, 11, 22, 8, tzinfo=UTC)
    )
    Standing.objects.create(work_provider=factories.work_provider(), looked_at=now)
    [row] = rows(desk, "silent")
    assert "Quiet Ltd 2026-11-22 13:30:00 IST 08:00:00 UTC" in row


def test_clocks_in_trouble_are_drawn_and_said_in_words(desk: Client, now: datetime) -> None:
    early, ahead, fine = (factories.work_provider(name=name) for name in ("Early", "Ahead", "Fine"))
    Standing.objects.create(
        work_provider=early,
        looked_at=now,
        clock_median=-HOUR,
        clock_cluster=-HOUR,
        clock_cluster_percent=98,
        clock_cluster_on=now.date(),
    )
    Standing.objects.create(work_provider=ahead, looked_at=now, clock_median=-5 * MINUTE)
    Standing.objects.create(work_provider=fine, looked_at=now, clock_median=timedelta(0))
    for step in (-13, -12, -11, 0):
        ClockOffset.objects.create(work_provider=early, date=now.date(), step=step, events=10)
    page = page_of(desk, path("clock"))
    found = rows_of(page)
    assert [row.split()[0] for row in found] == ["Early", "Ahead"]
    assert "60 minutes early: local time sent as UTC? 98% of the events of" in found[0]
    assert page.count('class="f-odd"') == 1
    assert page.count('class="f-even"') == 1, "three steps of one quarter of an hour are one bar"
    assert f"{reverse('desk:reread')}?work_provider={early.pk}" in page
    assert len(rows(desk, "clock", all=1)) == 3


@pytest.mark.parametrize(
    ("minutes", "zone", "words"),
    [
        (-60, "UTC", "60 minutes early: local time sent as UTC?"),
        (60, "UTC", "60 minutes late: local time sent as UTC?"),
        (
            60,
            "Europe/London",
            "60 minutes late: local time sent as UTC, or UTC read as Europe/London time?",
        ),
        (-120, "UTC", "2 hours early: local time sent as UTC?"),
        (-330, "UTC", "5 hours 30 minutes early: local time sent as UTC?"),
        (300, "UTC", "5 hours late: local time sent as UTC?"),
    ],
)
def test_a_cluster_in_words(minutes: int, zone: str, words: str) -> None:
    summer = datetime(2026, 7, 1, tzinfo=UTC)
    standing = Standing(
        work_provider=WorkProvider(name="x", timezone=zone), clock_cluster=minutes * MINUTE
    )
    assert clock_words(standing, summer) == words


@pytest.mark.parametrize(
    ("median", "words"),
    [
        (None, "nothing in the last seven days"),
        (-5, "5 minutes early: is their clock ahead?"),
        (0, "on time"),
        (5, "5 minutes late"),
        (720, "12 hours late"),
    ],
)
def test_a_median_in_words(median: int | None, words: str) -> None:
    standing = Standing(
        work_provider=WorkProvider(name="x"),
        clock_median=None if median is None else median * MINUTE,
    )
    assert clock_words(standing, datetime(2026, 7, 1, tzinfo=UTC)) == words


def test_an_offset_is_told_by_its_size() -> None:
    assert [apart(n * MINUTE) for n in (30, -90, 120, -345)] == [
        "30 minutes",
        "90 minutes",
        "2 hours",
        "5 hours 45 minutes",
    ]


# Links


def test_links_that_wait_are_the_oldest_first_with_what_to_decide(
    desk: Client, now: datetime
) -> None:
    provider = factories.work_provider(name="Careful Ltd")
    first = link_request(provider, "D/1", now - 2 * DAY)
    link_request(provider, "D2", now)
    link_request(provider, "D3", now, state="REFUSED", reason="No.")
    page = page_of(desk, path("waiting-links"))
    found = rows_of(page)
    assert [row.split()[2] for row in found] == ["D/1", "D2"]
    assert first.customer.number in found[0]
    for way in ("confirm-link", "refuse-link"):
        assert reverse(f"desk:{way}", args=[first.pk]) in page


def test_driver_ids_taken_lead_to_whose_they_are(desk: Client, now: datetime) -> None:
    provider = factories.work_provider()
    refused = link_request(provider, "D1", now, state="REFUSED", reason=TAKEN)
    link_request(provider, "D2", now, state="REFUSED", reason="Not them.")
    link_request(provider, "D3", now)
    page = page_of(desk, path("taken"))
    [row] = rows_of(page)
    assert refused.customer.number in row
    assert reverse("desk:driver", args=[provider.pk, "D1"]) in page
    assert seen_forms(page) == [("LINK_REQUEST", str(refused.pk))]


# What to look at


def seen_forms(page: str) -> list[tuple[str, str]]:
    """(kind, target) of each form that takes a row off the list."""
    return re.findall(
        r'name="kind" value="(\w+)">\s*<input type="hidden" name="target" value="(\d+)"', page
    )


def test_cover_that_was_shortened_until_it_is_seen(desk: Client, now: datetime) -> None:
    provider = factories.work_provider(timezone="Europe/Paris")
    older = revision(provider, now, created_at=now - DAY)
    newer = revision(
        provider, now, change="REMOVED", new_started_at=None, new_ended_at=None, new_end_reason=""
    )
    revision(provider, now, shortens_cover=False)
    page = page_of(desk, path("shortened"))
    found = rows_of(page)
    assert seen_forms(page) == [("REVISION", str(newer.pk)), ("REVISION", str(older.pk))]
    assert "removed" in found[0]
    assert "an event withdrawn, or a withdrawal undone" in found[0]
    assert reverse("desk:shift", args=[older.shift_id]) in page
    seen(Seen.Kind.REVISION, newer.pk, now, "The driver agreed that it was a mistake.")
    assert len(rows(desk, "shortened")) == 1
    everything = page_of(desk, path("shortened", all=1))
    assert "The driver agreed that it was a mistake." in rows_of(everything)[0]
    assert seen_forms(everything) == [("REVISION", str(older.pk))]


def test_logouts_where_cover_may_be_missing_until_they_are_seen(
    desk: Client, now: datetime
) -> None:
    provider = factories.work_provider()
    stream = factories.shift(provider, now - DAY).stream
    owner = factories.submission(provider, now)
    orphan = factories.event(
        provider,
        id=event_id(owner.pk, 3),
        kind="logout",
        stream=stream,
        outcome="ORPHAN",
        reason="BEYOND_MAX_LENGTH",
        after_ignored_login=True,
    )
    factories.event(provider, kind="logout", outcome="ORPHAN", reason="BEYOND_MAX_LENGTH")
    page = page_of(desk, path("orphans"))
    [row] = rows_of(page)
    assert row.startswith(stream.customer.number)
    assert reverse("desk:submission", args=[owner.request_id]) in page
    assert (
        f"{reverse('desk:add-event')}?customer={stream.customer_id}"
        f"&amp;work_provider={provider.pk}&amp;kind=logout" in page
    )
    assert seen_forms(page) == [("ORPHAN", str(orphan.pk))]
    seen(Seen.Kind.ORPHAN, orphan.pk, now)
    assert rows(desk, "orphans") == []


@pytest.mark.parametrize("name", ["taken", "shortened", "orphans"])
def test_what_was_looked_at_is_off_the_list_with_what_came_of_it(
    desk: Client, now: datetime, name: str
) -> None:
    fill(factories.work_provider(), now, 1)
    page = page_of(desk, path(name))
    [(kind, target)] = seen_forms(page)
    fields = {
        "kind": kind,
        "target": target,
        "reason": "They said it is right.",
        "next": path(name),
    }
    answer = desk.post(reverse("desk:seen"), fields)
    assert (answer.status_code, answer["Location"]) == (302, path(name))
    assert rows(desk, name) == []
    [row] = rows(desk, name, all=1)
    assert row.endswith(": They said it is right.")


@pytest.mark.parametrize("name", ["shortened", "orphans", "taken", "waiting-links", "held"])
def test_pages_of_the_rest_hold_all_of_them_once(desk: Client, now: datetime, name: str) -> None:
    provider = factories.work_provider()
    for number in range(PAGE + 20):
        revision(provider, now, created_at=now - number // 30 * HOUR)
        factories.event(provider, outcome="ORPHAN", after_ignored_login=True, driver_id=f"{number}")
        factories.event(provider, driver_id=f"{number}")
        link_request(provider, f"{number}", now, state="REFUSED", reason=TAKEN)
        link_request(provider, f"{number}", now)
    pages = all_pages(desk, name, work_provider=provider.pk)
    assert [len(page) for page in pages] == [PAGE, 20]
    assert len({row for page in pages for row in page}) == PAGE + 20


def test_names_that_are_long_or_look_like_markup_are_shown_as_they_are(
    desk: Client, now: datetime
) -> None:
    name = ("<b>" + "Wörk " * 30)[:99]
    provider = factories.work_provider(name=name)
    fill(provider, now, 2)
    for one in LISTS:
        page = page_of(desk, path(one, work_provider=provider.pk))
        assert "<b>W" not in page
        assert "&lt;b&gt;W" in page
