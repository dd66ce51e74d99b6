"""A customer's timeline: who, what happened, drawn and listed; and a driver whom nobody knows."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from linking import people
from linking.models import Agreement, Customer, DriverLink, LinkRequest, User
from shifts.desk.addresses import address
from shifts.models import Kind, Shift, Standing
from tests import factories
from tests.desk.rights import OPS, READER, member
from tests.desk.sending import Sender, digest, listed, words
from tests.factories import LINKED_AT
from tests.shifts.live import at

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
DAYS = "?from=2026-03-01&to=2026-03-04"


@pytest.fixture
def sender() -> Sender:
    return Sender(name="Courier Ltd")


@pytest.fixture
def desk(client: Client) -> Client:
    client.force_login(member(READER))
    return client


@pytest.fixture
def ops(client: Client) -> Client:
    client.force_login(member(OPS))
    return client


@pytest.fixture
def jo() -> User:
    return factories.user("jo@zego.example", is_staff=True)


def timeline(of: Customer | DriverLink, query: str = "") -> str:
    pk = of.customer_id if isinstance(of, DriverLink) else of.pk
    return reverse("desk:customer", args=[pk]) + query


def entries(client: Client, of: Customer | DriverLink, query: str = DAYS) -> list[str]:
    return listed(client, timeline(of, query))


def drawn(client: Client, path: str) -> str:
    page = client.get(path).content.decode()
    return page[page.index("<svg class") : page.index("</svg>")]


def test_who_it_is(desk: Client, sender: Sender) -> None:
    user = factories.driver("jo@example.com")
    sender.link("1686", customer=user.customer)
    terms = factories.terms(sender.work_provider, version="2026-11")
    Agreement.objects.create(customer=user.customer, terms=terms, agreed_at=LINKED_AT)
    page = words(desk, timeline(user.customer))
    for fact in (user.customer.number, "jo@example.com", "active", "Courier Ltd's terms 2026-11"):
        assert fact in page
    assert "holds Courier Ltd as 1686 since 2017-01-01" in page
    assert "not on shift, and never was" in page


def test_an_account_says_what_is_wrong_with_it(desk: Client) -> None:
    assert "no account" in words(desk, timeline(factories.customer()))
    unverified = factories.driver("a@example.com", verified=False)
    assert "email not verified" in words(desk, timeline(unverified.customer))
    disabled = factories.driver("b@example.com", is_active=False)
    assert "disabled" in words(desk, timeline(disabled.customer))
    erased = factories.driver("c@example.com")
    customer = erased.customer
    people.erase(erased, now=timezone.now())
    page = words(desk, timeline(customer))
    assert "had their data deleted" in page
    assert "c@example.com" not in page
    assert "sandbox" in words(desk, timeline(factories.customer(is_test=True)))


def test_links_say_how_they_stand_and_what_can_be_done(ops: Client, sender: Sender) -> None:
    link = sender.link("1686")
    link.unlinked_at, link.ended_by = at("12:00"), "DRIVER"
    link.save()
    again = sender.link("1687", customer=link.customer, linked_at=at("13:00"))
    request = LinkRequest.objects.create(
        work_provider=Sender(name="Meal Box").work_provider,
        customer=link.customer,
        driver_id="M1",
        agreed_at=LINKED_AT,
    )
    page = words(ops, timeline(link))
    assert "ended Courier Ltd as 1686" in page
    assert "ended by the driver, on the account page" in page
    assert "waiting Meal Box as M1" in page
    source = ops.get(timeline(link)).content.decode()
    assert address("end-link", again.pk) in source
    assert address("end-link", link.pk) not in source
    assert address("confirm-link", request.pk) in source
    assert address("refuse-link", request.pk) in source


def test_who_only_reads_is_offered_nothing_that_mends(desk: Client, sender: Sender) -> None:
    link = sender.link("1686")
    sender.login("1686", "09:00")
    page = words(desk, timeline(link, DAYS))
    for mending in ("End this link", "Make a link", "Withdraw", "Add a login or logout"):
        assert mending not in page


def test_what_happened_comes_the_newest_first_with_why(ops: Client, sender: Sender) -> None:
    link = sender.link("1686")
    sender.works("1686", "09:00", "17:00")
    sender.login("1686", "12:00")
    sender.logout("1686", "18:00", late=timedelta(hours=3, minutes=10))
    found = entries(ops, link)
    assert [entry.split(" UTC ")[1].split(" Courier")[0] for entry in found] == [
        "Logout, driver id 1686 orphan",
        "Logout, driver id 1686 counts",
        "Login, driver id 1686 ignored",
        "Login, driver id 1686 counts",
        "Shift 09:00 to 17:00 logged out",
    ]
    late, _, ignored, _, shift = found
    assert "Arrived 3 h 10 min later." in late
    assert "Add a login" in late
    assert "A login while the driver was already on shift changes nothing" in ignored
    assert "R4 Arrived at once. Request Withdraw" in ignored
    assert "8 h. Why?" in shift


def test_times_stand_in_the_work_providers_zone_and_in_utc(desk: Client) -> None:
    sender = Sender(timezone="Europe/Berlin")
    link = sender.link("1686")
    sender.login("1686", "09:00")
    login, shift = entries(desk, link)
    assert login.startswith("2026-03-02 10:00:00 CET 09:00:00 UTC Login")
    assert "Shift 10:00 to 3 Mar 2026 00:00" in shift
    assert "days of Europe/Berlin" in words(desk, timeline(link, DAYS))


def test_without_a_period_it_is_the_last_days_with_anything(desk: Client, sender: Sender) -> None:
    link = sender.link("1686")
    sender.works("1686", "09:00", "17:00")
    page = words(desk, timeline(link))
    assert "Tue 17 Feb 2026 to Mon 2 Mar 2026" in page
    assert len(entries(desk, link, "")) == 3


def test_of_a_driver_who_works_now_it_is_up_to_today(desk: Client, sender: Sender) -> None:
    link = sender.link("1686")
    now = timezone.now()
    sender.accept("login", [("1686", now - timedelta(hours=1))])
    digest()
    path = timeline(link)
    page = words(desk, path)
    assert "on shift for Courier Ltd since" in page
    assert f"to {now:%a} {now.day} {now:%b %Y}" in page
    assert ">now<" in drawn(desk, path)
    assert "t-open" in drawn(desk, path)
    assert "Later" not in page.split("What happened")[0].split("Earlier")[1][:20]


@pytest.mark.parametrize(
    ("query", "days"),
    [
        ("?from=2026-03-02", "Mon 2 Mar 2026"),
        ("?to=2026-03-02&from=2026-03-02", "Mon 2 Mar 2026"),
        ("?from=2026-03-05&to=2026-03-01", "Sun 1 Mar 2026 to Thu 5 Mar 2026"),
        ("?from=2020-01-01&to=2026-03-02", "Mon 1 Dec 2025 to Mon 2 Mar 2026"),
        ("?from=yesterday&to=2026-99-99", "to Mon 2 Mar 2026"),
        ("?from=0001-01-01&to=9999-12-31", "to Mon 2 Mar 2026"),
        ("?page=x&work_provider=x", "to Mon 2 Mar 2026"),
    ],
)
def test_whatever_period_is_asked_for_it_is_bounded(
    desk: Client, sender: Sender, query: str, days: str
) -> None:
    link = sender.link("1686")
    sender.works("1686", "09:00", "17:00")
    assert days in words(desk, timeline(link, query))


def test_earlier_and_later_are_as_long(desk: Client, sender: Sender) -> None:
    link = sender.link("1686")
    page = desk.get(timeline(link, "?from=2026-03-02&to=2026-03-04")).content.decode()
    assert 'href="?from=2026-02-27&amp;to=2026-03-01" rel="prev"' in page
    assert 'href="?from=2026-03-05&amp;to=2026-03-07" rel="next"' in page


def test_a_period_without_anything_says_so(desk: Client, sender: Sender) -> None:
    link = sender.link("1686")
    sender.works("1686", "09:00", "17:00")
    page = words(desk, timeline(link, "?from=2025-01-01&to=2025-01-03"))
    assert "Nothing happened in these days. Show the latest days with anything" in page


def test_each_work_provider_has_a_lane_and_can_be_looked_at_alone(
    desk: Client, sender: Sender
) -> None:
    other = Sender(name="Meal Box")
    link = sender.link("1686")
    other.link("M1", customer=link.customer)
    sender.works("1686", "09:00", "17:00")
    other.works("M1", "12:00", "18:00")
    both = drawn(desk, timeline(link, DAYS))
    assert both.count('class="t-name"') == 2
    assert both.count('class="t-bar t-logout"') == 2
    one = timeline(link, f"{DAYS}&work_provider={other.work_provider.pk}")
    assert drawn(desk, one).count('class="t-bar t-logout"') == 1
    assert all("Courier Ltd" not in entry for entry in listed(desk, one))


def test_shapes_tell_shifts_and_events_apart(desk: Client, sender: Sender, jo: User) -> None:
    link = sender.link("1686", linked_at=at("09:30"))
    sender.works("1686", "09:00", "12:00")
    sender.login("1686", "13:00", "13:30")
    sender.add(link.customer, Kind.LOGOUT, "14:00", jo, "Told by telephone.")
    sender.logout("1686", "15:00")
    sender.login("1686", "25:00")
    sender.withdraw(link, Kind.LOGOUT, "15:00", jo, "Wrong.")
    picture = drawn(desk, timeline(link, DAYS))
    for look in ("t-logout t-clipped", "t-desk", "t-auto"):
        assert f'class="t-bar {look}"' in picture, look
    for part in ("t-lead", "t-teeth", "t-flag", "t-guess", "t-changed", "t-ghost", "t-link-begins"):
        assert f'class="{part}"' in picture, part
    for look in ("t-applied", "t-ignored", "t-withdrawn"):
        assert f'class="t-tick {look}"' in picture, look
    for shift in sender.shifts(link):
        assert f'href="{address("shift", shift.pk)}"' in picture
    assert 'role="group"' in picture
    assert "<title>Shift of 2026-03-02 09:30 UTC: 09:30 to 12:00, logged out." in picture


def test_a_day_on_which_the_clocks_change_is_longer_and_says_so(desk: Client) -> None:
    sender = Sender(timezone="Europe/London")
    link = sender.link("1686")
    picture = drawn(desk, timeline(link, "?from=2026-10-25&to=2026-10-25"))
    assert "clocks back 60 min" in picture
    assert ">Sun 25 Oct<" in picture


def test_changes_withdrawals_and_what_the_desk_did_stand_between(
    ops: Client, sender: Sender, jo: User
) -> None:
    link = sender.link("1686")
    sender.works("1686", "09:00", "17:00")
    withdrawal = sender.withdraw(link, Kind.LOGOUT, "17:00", jo, "Sent by mistake.")
    sender.undo(withdrawal.action, jo, "It was right.")
    sender.add(link.customer, Kind.LOGIN, "08:00", jo, "Told by telephone.")
    today = f"?from={timezone.now():%Y-%m-%d}"
    told = " ".join(entries(ops, link, today))
    assert "Let the logout of 2 Mar 2026 17:00 count again" in told
    assert "Withdrew the logout of 2 Mar 2026 17:00 ops desk Courier Ltd" in told
    assert "jo@zego.example: “Sent by mistake.” R14 Record" in told
    assert "The ops desk added the login of 2 Mar 2026 08:00" in told
    assert "Was 09:00 to 17:00, logged out; now 09:00 to 23:00, closed automatically." in told
    assert told.count("“Sent by mistake.”") == 1
    then = " ".join(entries(ops, link))
    assert "Added by the ops desk (jo@zego.example: “Told by telephone.”)." in then


def test_a_withdrawn_event_offers_to_undo_it(ops: Client, sender: Sender, jo: User) -> None:
    link = sender.link("1686")
    sender.works("1686", "09:00", "17:00")
    withdrawal = sender.withdraw(link, Kind.LOGOUT, "17:00", jo, "Sent by mistake.")
    source = ops.get(timeline(link, DAYS)).content.decode()
    assert address("undo", withdrawal.action_id) in source
    [struck] = [entry for entry in entries(ops, link) if entry.startswith("2026-03-02 17:00")]
    assert "withdrawn" in struck
    assert "Withdraw" not in struck


def test_events_that_no_link_explains_are_there_too(ops: Client, sender: Sender) -> None:
    link = sender.link("1686")
    link.unlinked_at = at("12:00")
    link.save()
    sender.login("1686", "13:00")
    other = Sender(name="Meal Box")
    other.accept("login", [(link.customer.number, at("14:00"))], name="policyId")
    digest()
    by_number, after, *_ = entries(ops, link)
    assert f"Login, customer number {link.customer.number} held Meal Box" in by_number
    assert "who has no link to this work provider" in by_number
    assert "The link had ended by then." in after


def test_failed_submissions_of_their_work_provider_are_announced(
    desk: Client, sender: Sender
) -> None:
    link = sender.link("1686")
    Standing.objects.create(work_provider=sender.work_provider, looked_at=timezone.now(), failed=2)
    page = words(desk, timeline(link))
    assert "Courier Ltd has 2 failed submissions: an event that is missing here may be in" in page


def test_shifts_that_are_yet_to_come_do_not_hide_the_one_that_is(
    desk: Client, sender: Sender
) -> None:
    link, now = sender.link("1686"), timezone.now()
    for start in (-1, 2, 4):
        begins = now + timedelta(hours=start)
        factories.shift(sender.work_provider, begins, ended_at=begins + HOUR * 1.5, link=link)
    assert "on shift for Courier Ltd since" in words(desk, timeline(link))
    Shift.objects.filter(started_at__lt=now).update(ended_at=now - HOUR / 2)
    page = words(desk, timeline(link))
    assert f"the last one for Courier Ltd: {now - HOUR:%Y-%m-%d %H:%M}" in page


def test_a_long_list_comes_in_pages(desk: Client, sender: Sender) -> None:
    link = sender.link("1686")
    now = datetime(2026, 3, 2, 9, tzinfo=UTC)
    sender.accept("login", [("1686", now + timedelta(seconds=place)) for place in range(120)])
    digest()
    first = entries(desk, link)
    second = entries(desk, link, f"{DAYS}&page=2")
    third = entries(desk, link, f"{DAYS}&page=3")
    assert [len(first), len(second), len(third)] == [50, 50, 21]
    assert len({*first, *second, *third}) == 121
    assert "page=2#t-list-heading" in desk.get(timeline(link, DAYS)).content.decode()


def test_events_at_one_place_are_drawn_as_one_mark(desk: Client, sender: Sender) -> None:
    link = sender.link("1686")
    sender.login("1686", "09:00", *(f"09:00:{second:02}" for second in range(1, 20)))
    picture = drawn(desk, timeline(link, DAYS))
    assert picture.count("t-tick") == 1
    assert ">20</text>" in picture
    assert "and 8 more" in picture


def test_nothing_of_a_name_or_id_is_taken_for_markup(desk: Client) -> None:
    sender = Sender(name="<b>&" + "n" * 90)
    link = sender.link("<i>" + "d" * 120)
    sender.login("<i>" + "d" * 120, "09:00")
    page = desk.get(timeline(link, DAYS)).content.decode()
    assert "<b>" not in page
    assert "<i>" not in page


def test_the_number_of_queries_does_not_depend_on_how_much_there_is(
    desk: Client, sender: Sender, jo: User
) -> None:
    link = sender.link("1686")
    sender.works("1686", "09:00", "17:00")
    withdrawal = sender.withdraw(link, Kind.LOGOUT, "17:00", jo, "No.")
    with CaptureQueriesContext(connection) as few:
        desk.get(timeline(link, DAYS))
    sender.undo(withdrawal.action, jo, "Yes.")
    for number in range(4):
        other = Sender()
        other.link(f"M{number}", customer=link.customer)
        other.works(f"M{number}", "10:00", "16:00")
    with CaptureQueriesContext(connection) as many:
        desk.get(timeline(link, DAYS))
    assert len(many) == len(few) <= 28


def test_there_is_no_page_of_nobody_and_none_without_the_right(client: Client) -> None:
    customer = factories.customer()
    client.force_login(member(READER))
    assert client.get(reverse("desk:customer", args=[customer.pk + 99])).status_code == 404
    client.force_login(member())
    assert client.get(timeline(customer)).status_code == 403


# A driver id


def driver(sender: Sender, driver_id: str) -> str:
    return address("driver", sender.work_provider.pk, driver_id)


def test_a_driver_without_a_link_says_why_nothing_counts(ops: Client, sender: Sender) -> None:
    sender.login("2001", "09:00")
    sender.logout("2001", "17:00")
    page = words(ops, driver(sender, "2001"))
    assert "Nothing counts: no link." in page
    assert "2 events wait for a link, and count when it comes, from the agreement on." in page
    source = ops.get(driver(sender, "2001")).content.decode()
    make = f"{reverse('desk:make-link')}?work_provider={sender.work_provider.pk}&amp;driver_id=2001"
    assert make in source
    assert len(listed(ops, driver(sender, "2001"))) == 2


def test_a_driver_whose_link_waits_says_that(ops: Client, sender: Sender) -> None:
    customer = factories.customer()
    LinkRequest.objects.create(
        work_provider=sender.work_provider, customer=customer, driver_id="M1", agreed_at=LINKED_AT
    )
    page = words(ops, driver(sender, "M1"))
    assert "The driver has agreed, but the link waits to be confirmed." in page
    assert f"customer {customer.number}" in page
    assert "Confirm Refuse" in page


def test_a_driver_id_that_went_to_somebody_else_lists_both(desk: Client, sender: Sender) -> None:
    first = sender.link("1686")
    first.unlinked_at = at("12:00")
    first.save()
    second = sender.link("1686", linked_at=at("13:00"))
    page = words(desk, driver(sender, "1686"))
    assert f"customer {first.customer.number}" in page
    assert f"customer {second.customer.number}" in page


def test_a_driver_id_that_somebody_else_asks_for_does_not_lead_to_the_old_customer(
    desk: Client, sender: Sender
) -> None:
    old, new = sender.link("1686", unlinked_at=at("12:00")), factories.customer()
    LinkRequest.objects.create(
        work_provider=sender.work_provider, customer=new, driver_id="1686", agreed_at=at("13:00")
    )
    page = words(desk, driver(sender, "1686"))
    assert "belonged to one customer, and another has agreed to be insured under it" in page
    assert f"customer {new.number}" in page
    assert f"customer {old.customer.number}" in page


def test_a_link_that_never_held_is_no_link(desk: Client, sender: Sender) -> None:
    sender.link("1686", unlinked_at=LINKED_AT)
    page = words(desk, driver(sender, "1686"))
    assert "Nothing counts: no link." in page
    assert "several customers" not in page


def test_a_driver_whom_nobody_has_heard_of(desk: Client, sender: Sender) -> None:
    page = words(desk, driver(sender, "nobody"))
    assert "Nobody has agreed to be insured as driver id nobody at Courier Ltd yet." in page
    assert "Nothing happened in these days." in page
    missing = reverse("desk:driver", args=[sender.work_provider.pk + 99, "1686"])
    assert desk.get(missing).status_code == 404


def test_what_expired_says_that_it_can_be_replayed(ops: Client, sender: Sender) -> None:
    sender.login("2001", "09:00")
    event = sender.event("login", "09:00")
    event.outcome, event.reason = "REJECTED", "EXPIRED"
    event.save()
    page = words(ops, driver(sender, "2001"))
    assert "1 has waited too long and counts no more unless it is replayed." in page
    assert (
        address("replay", work_provider=sender.work_provider.pk, driver_id="2001").replace(
            "&", "&amp;"
        )
        in ops.get(driver(sender, "2001")).content.decode()
    )


def test_a_drivers_page_costs_the_same_however_many_events_wait(
    desk: Client, sender: Sender
) -> None:
    sender.login("2001", "09:00")
    with CaptureQueriesContext(connection) as few:
        desk.get(driver(sender, "2001"))
    now = datetime(2026, 3, 2, 10, tzinfo=UTC)
    sender.accept("login", [("2001", now + timedelta(minutes=place)) for place in range(60)])
    digest()
    with CaptureQueriesContext(connection) as many:
        desk.get(driver(sender, "2001"))
    assert len(many) == len(few) <= 14
    assert quote("2001") in driver(sender, "2001")
