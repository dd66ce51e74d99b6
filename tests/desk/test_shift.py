"""The page of one shift: it shows its explanation, and leads to what can be done."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from linking.models import DriverLink, User
from shifts.desk.addresses import address
from shifts.models import Kind, Shift
from tests import factories
from tests.desk.rights import OPS, READER, member
from tests.desk.sending import Sender, digest, listed, words
from tests.shifts.live import at
from zego_api.ids import uuid7

pytestmark = pytest.mark.django_db


@pytest.fixture
def sender() -> Sender:
    return Sender(name="Courier Ltd", timezone="Europe/Berlin")


@pytest.fixture
def link(sender: Sender) -> DriverLink:
    return sender.link("1686")


@pytest.fixture
def desk(client: Client) -> Client:
    client.force_login(member(READER))
    return client


@pytest.fixture
def jo() -> User:
    return factories.user("jo@zego.example", is_staff=True)


def page(shift: Shift) -> str:
    return reverse("desk:shift", args=[shift.pk])


def source(client: Client, shift: Shift) -> str:
    return client.get(page(shift)).content.decode()


def test_it_says_what_it_is_in_both_zones(desk: Client, sender: Sender, link: DriverLink) -> None:
    sender.works("1686", "09:12", "17:40")
    [shift] = sender.shifts(link)
    text = words(desk, page(shift))
    assert "From 2026-03-02 10:12:00 CET 09:12:00 UTC" in text
    assert "To 2026-03-02 18:40:00 CET 17:40:00 UTC logged out" in text
    assert "Length 8:28:00" in text
    assert "driver id 1686" in text
    assert "The driver logged in at 10:12 while no shift was open. R1" in text
    assert "Times in sentences are local times in Europe/Berlin." in text
    assert "neither its start nor an end, once set, was ever changed" in text
    assert "Shift of 2 Mar 2026, 10:12 to 18:40" in source(desk, shift)


def test_each_event_leads_to_its_request_and_key(
    desk: Client, sender: Sender, link: DriverLink
) -> None:
    sender.works("1686", "09:12", "17:40")
    [shift] = sender.shifts(link)
    html = source(desk, shift)
    for kind, clock in (("login", "09:12"), ("logout", "17:40")):
        event = sender.event(kind, clock)
        assert f"#event-{event.pk}" in html
    assert address("key", sender.key.pk) in html
    opening, ending = listed(desk, page(shift))
    assert "Login counts It opened this shift. R1 Arrived at once" in opening
    assert "Logout counts It ended this shift. R2" in ending


def test_an_open_shift_can_be_ended(client: Client, sender: Sender, link: DriverLink) -> None:
    sender.accept("login", [("1686", timezone.now() - timedelta(hours=1))])
    digest()
    [shift] = sender.shifts(link)
    client.force_login(member(OPS))
    text = words(client, page(shift))
    assert "It is open No logout has come." in text
    assert "so far" in text
    html = source(client, shift)
    assert address("end-shift", shift.pk) in html
    assert reverse("desk:add-event") in html


def test_its_buttons_lead_to_cover_at_a_moment_of_it_and_to_mending(
    client: Client, sender: Sender, link: DriverLink
) -> None:
    sender.works("1686", "09:12", "17:40")
    [shift] = sender.shifts(link)
    client.force_login(member(OPS))
    html = source(client, shift).replace("&amp;", "&")
    there = address(
        "cover",
        customer=link.customer.number,
        work_provider=sender.work_provider.pk,
        at=at("17:39"),
    )
    assert there in html
    assert "Covered, for Courier Ltd" in words(client, there)
    stream = sender.stream(link).pk
    assert address("withdraw", stream=stream, kind="logout", at=at("17:40")) in html


def test_who_only_reads_is_offered_nothing_that_mends(
    desk: Client, sender: Sender, link: DriverLink
) -> None:
    sender.works("1686", "09:12", "17:40")
    [shift] = sender.shifts(link)
    html = source(desk, shift)
    for name in ("withdraw", "add-event"):
        assert reverse(f"desk:{name}") not in html


def test_what_changed_says_who_and_why(
    desk: Client, sender: Sender, link: DriverLink, jo: User
) -> None:
    sender.login("1686", "09:00")
    sender.add(link.customer, Kind.LOGOUT, "16:00", jo, "Told by telephone.")
    [shift] = sender.shifts(link)
    text = words(desk, page(shift))
    assert "What changed later" in text
    assert "became 10:00 to 17:00, ended by the desk" in text
    assert "jo@zego.example added a login or logout" in text
    assert "“Told by telephone.”" in text


def test_a_change_that_shortened_cover_is_marked(
    desk: Client, sender: Sender, link: DriverLink
) -> None:
    sender.login("1686", "09:00")
    sender.logout("1686", "12:00", late=timedelta(days=2))
    [shift] = sender.shifts(link)
    assert "shortens cover" in words(desk, page(shift))


def test_a_removed_shift_keeps_its_page(desk: Client, sender: Sender, link: DriverLink) -> None:
    sender.login("1686", "09:00")
    [shift] = sender.shifts(link)
    sender.logout("1686", "09:00")
    text = words(desk, page(shift))
    assert "This shift is no more." in text
    assert "became no shift any more" in text
    assert "R12" in text
    assert "Removed shift of 2 Mar 2026" in source(desk, shift)


def test_a_withdrawn_event_offers_to_undo_it(
    client: Client, sender: Sender, link: DriverLink, jo: User
) -> None:
    sender.works("1686", "09:00", "17:00")
    withdrawal = sender.withdraw(link, Kind.LOGOUT, "17:00", jo, "Sent by mistake.")
    [shift] = sender.shifts(link)
    client.force_login(member(OPS))
    html = source(client, shift)
    assert address("undo", withdrawal.action_id) in html
    assert "The ops desk withdrew it (jo@zego.example: “Sent by mistake.”). R14" in words(
        client, page(shift)
    )


def test_it_is_drawn_with_what_is_beside_it(desk: Client, sender: Sender, link: DriverLink) -> None:
    sender.login("1686", "09:00")
    sender.logout("1686", "17:00", late=timedelta(hours=9))
    [shift] = sender.shifts(link)
    html = source(desk, shift)
    picture = html[html.index("<svg class") : html.index("</svg>")]
    assert 'class="t-bar t-logout t-marked"' in picture
    assert 'class="t-ghost"' in picture
    assert picture.count("t-tick") == 2


def test_very_many_events_are_cut_and_it_says_so(
    desk: Client, sender: Sender, link: DriverLink
) -> None:
    first = at("09:00")
    sender.accept("login", [("1686", first + timedelta(seconds=place)) for place in range(250)])
    digest()
    [shift] = sender.shifts(link)
    assert len(listed(desk, page(shift))) == 200
    assert "Only the first of them are shown." in words(desk, page(shift))


def test_there_is_no_page_of_a_shift_that_never_was(client: Client) -> None:
    client.force_login(member(READER))
    assert client.get(reverse("desk:shift", args=[uuid7()])).status_code == 404


def test_it_is_for_staff_who_may_read(client: Client, sender: Sender, link: DriverLink) -> None:
    sender.login("1686", "09:00")
    [shift] = sender.shifts(link)
    client.force_login(member())
    assert client.get(page(shift)).status_code == 403


def test_the_number_of_queries_does_not_depend_on_what_happened(
    desk: Client, sender: Sender, link: DriverLink
) -> None:
    sender.login("1686", "09:00")
    [shift] = sender.shifts(link)
    with CaptureQueriesContext(connection) as few:
        desk.get(page(shift))
    sender.login("1686", *(f"09:{minute:02}" for minute in range(1, 20)))
    sender.logout("1686", "17:00", "18:00", late=timedelta(hours=9))
    with CaptureQueriesContext(connection) as many:
        desk.get(page(shift))
    assert len(many) == len(few) <= 22
