"""Cover at an instant, for a claims file; and who was on shift at one."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from linking.models import Agreement, User
from shifts import settle
from shifts.desk.on_shift import count_at, shifts_at
from shifts.models import Kind, Shift, Standing
from tests import factories
from tests.desk.rights import ADMIN, READER, member
from tests.desk.sending import Sender, digest, words
from tests.factories import LINKED_AT
from tests.shifts.live import at

pytestmark = pytest.mark.django_db


@pytest.fixture
def sender() -> Sender:
    return Sender(name="Courier Ltd", timezone="Europe/Berlin")


@pytest.fixture
def desk(client: Client) -> Client:
    client.force_login(member(READER, email="reader@zego.example"))
    return client


@pytest.fixture
def jo() -> User:
    return factories.user("jo@zego.example", is_staff=True)


def path(**query: object) -> str:
    return reverse("desk:cover") + "?" + urlencode(query)


def asked(client: Client, customer: str, moment: str, **more: object) -> str:
    return words(client, path(customer=customer, at=moment, **more))


def test_the_empty_form(desk: Client) -> None:
    page = words(desk, reverse("desk:cover"))
    assert "Was there cover?" in page
    assert "Not covered" not in page
    assert "This field is required" not in page


def test_a_customer_can_be_filled_in_before_the_moment(desk: Client) -> None:
    answer = desk.get(reverse("desk:cover") + "?customer=QQQQ")
    assert 'value="QQQQ"' in answer.content.decode()
    assert "Not covered" not in answer.content.decode()


def test_covered_says_for_whom_and_on_what_it_rests(desk: Client, sender: Sender) -> None:
    link = sender.link("1686")
    terms = factories.terms(sender.work_provider, version="2026-11")
    Agreement.objects.create(customer=link.customer, terms=terms, agreed_at=LINKED_AT)
    later = factories.terms(sender.work_provider, version="2027-01")
    Agreement.objects.create(customer=link.customer, terms=later, agreed_at=at("20:00"))
    sender.works("1686", "09:00", "17:00")
    page = asked(desk, "1686 at Courier", "2026-03-02 11:00")
    for fact in (
        "Covered, for Courier Ltd",
        "At 2026-03-02 11:00:00 CET 10:00:00 UTC",
        "The service knew it at that moment.",
        "the login of 2026-03-02 10:00:00 CET 09:00:00 UTC, received 2026-03-02 10:00:02 CET",
        "the logout of 2026-03-02 18:00:00 CET",
        f"request {sender.event('login', '09:00').submission.request_id}",
        "linked as driver id 1686 from 2017-01-01",
        "Courier Ltd's, version 2026-11",
        "59 min before the moment asked about, so it was known then",
        "Changed since Never.",
        "Asked by reader@zego.example at",
        "R1",
        "R2",
    ):
        assert fact in page, fact
    assert "2027-01" not in page


@pytest.mark.parametrize("who", ["number", "email", "driver", "driver at", "spelt"])
def test_whoever_is_named_the_same_customer_is_found(
    desk: Client, sender: Sender, who: str
) -> None:
    user = factories.driver("jo.driver@example.com")
    sender.link("1686", customer=user.customer)
    sender.works("1686", "09:00", "17:00")
    number = user.customer.number
    text = {
        "number": number,
        "email": "Jo.Driver@example.com",
        "driver": "1686",
        "driver at": "1686 at courier ltd",
        "spelt": f"{number[:4]} {number[4:]}".lower(),
    }[who]
    page = asked(desk, text, "2026-03-02T10:00Z")
    assert "Covered, for Courier Ltd" in page
    assert number in page


def test_a_moment_is_local_time_of_the_work_provider_that_is_chosen(
    desk: Client, sender: Sender
) -> None:
    link = sender.link("1686")
    sender.works("1686", "09:00", "17:00")
    chosen = {"work_provider": sender.work_provider.pk}
    assert "Covered" in asked(desk, link.customer.number, "2026-03-02 10:00", **chosen)
    assert "Not covered" in asked(desk, link.customer.number, "2026-03-02 09:59", **chosen)
    page = asked(desk, link.customer.number, "2026-03-02 09:00")
    assert "Covered, for Courier Ltd" in page
    assert "Without a work provider a moment is read in UTC." in page


@pytest.mark.parametrize(
    ("who", "moment", "problem"),
    [
        ("nobody", "2026-03-02 10:00", "Nobody goes by that."),
        ("1686", "yesterday", "Write it as 2026-11-21 18:30."),
        ("1686", "", "This field is required."),
        ("", "2026-03-02 10:00", "This field is required."),
        ("2001", "2026-03-02 10:00", "Nobody was ever linked under that driver id"),
        ("1686 at Courier Ltd", "2026-10-25 02:30", "The clocks change at that time"),
    ],
)
def test_what_cannot_be_answered_says_why(
    desk: Client, sender: Sender, who: str, moment: str, problem: str
) -> None:
    sender.link("1686")
    sender.login("2001", "09:00")
    page = asked(desk, who, moment)
    assert problem in page
    assert "Not covered" not in page


def test_a_driver_id_at_several_work_providers_asks_for_which(desk: Client, sender: Sender) -> None:
    other = Sender(name="Meal Box")
    sender.link("1686")
    other.link("1686")
    sender.works("1686", "09:00", "17:00")
    page = asked(desk, "1686", "2026-03-02T10:00Z")
    assert "Several work providers know that driver id" in page
    assert "Driver 1686 at Meal Box" in page
    chosen = {"work_provider": sender.work_provider.pk}
    assert "Covered, for Courier Ltd" in asked(desk, "1686", "2026-03-02T10:00Z", **chosen)
    both = asked(desk, "1686", "2026-03-02T10:00Z", work_provider=other.work_provider.pk)
    assert "Not covered" in both


def test_a_driver_id_means_whoever_held_it_then(desk: Client, sender: Sender) -> None:
    first = sender.link("1686")
    first.unlinked_at = at("12:00")
    first.save()
    second = sender.link("1686", linked_at=at("13:00"))
    sender.works("1686", "09:00", "17:00")
    assert first.customer.number in asked(desk, "1686", "2026-03-02T10:00Z")
    assert second.customer.number in asked(desk, "1686", "2026-03-02T12:30Z")
    assert second.customer.number in asked(desk, "1686", "2026-03-02T14:00Z")


def test_not_covered_tells_what_was_near(desk: Client, sender: Sender) -> None:
    link = sender.link("1686")
    sender.works("1686", "09:00", "12:00")
    sender.works("1686", "18:00", "20:00")
    sender.logout("1686", "16:00")
    page = asked(desk, link.customer.number, "2026-03-02T15:00Z")
    for fact in (
        "Not covered",
        "At that moment the service did not take the customer for covered either.",
        "the last shift before, for Courier Ltd, had ended 3 h earlier: logged out.",
        "the next shift, for Courier Ltd, began.",
        "logout for Courier Ltd, orphan. No shift was open that it could end.",
        "Linked then: Courier Ltd as 1686.",
    ):
        assert fact in page, fact


def test_not_covered_without_consent_says_so(desk: Client, sender: Sender) -> None:
    link = sender.link("1686", linked_at=at("12:00"))
    number = link.customer.number
    before = asked(desk, number, "2026-03-02T10:00Z")
    assert "the next link, to Courier Ltd, began: none held before." in before
    assert "There is no shift of this customer" in before
    link.unlinked_at = at("13:00")
    link.save()
    after = asked(desk, number, "2026-03-02T14:00Z")
    assert "the last link, to Courier Ltd, had ended: none held any more." in after
    never = asked(desk, factories.customer().number, "2026-03-02T14:00Z")
    assert "The customer was never linked to a work provider" in never


def test_an_event_that_waits_is_among_what_was_near(desk: Client, sender: Sender) -> None:
    link = sender.link("1686", linked_at=at("08:00"))
    link.unlinked_at = at("09:00")
    link.save()
    sender.login("1686", "10:00")
    page = asked(desk, link.customer.number, "2026-03-02T11:00Z")
    assert "login for Courier Ltd, ignored. The link had ended by then." in page


def test_both_answers_stand_beside_each_other(desk: Client, sender: Sender) -> None:
    sender.link("1686")
    sender.login("1686", "09:00", late=timedelta(hours=5))
    sender.logout("1686", "12:00", late=timedelta(hours=5))
    page = asked(desk, "1686", "2026-03-02 11:00", known_at="2026-03-02 15:30")
    assert "Covered, for Courier Ltd" in page
    assert "The service did not know it at that moment: it was reported, or linked" in page
    assert "4 h after the moment asked about, so it was not known then" in page
    now, then, known = (
        page.split("As it stands now")[1].split("At that moment itself")[0],
        page.split("At that moment itself")[1].split("As known at 2026")[0],
        page.split("As known at 2026")[1].split("rests on")[0],
    )
    assert "covered for Courier Ltd" in now
    assert "13:00:00 CET 12:00:00 UTC logged out" in now
    assert "not covered" in then
    assert "covered for Courier Ltd" in known
    assert "on shift" in known


def test_what_was_taken_for_covered_and_is_not_any_more(desk: Client, sender: Sender) -> None:
    link = sender.link("1686")
    sender.login("1686", "09:00")
    sender.logout("1686", "10:00", late=timedelta(hours=9))
    page = asked(desk, link.customer.number, "2026-03-02T12:00Z")
    assert "Not covered" in page
    assert "At that moment it took the customer for covered; what arrived later" in page


def test_known_for_another_work_provider_is_not_known(desk: Client, sender: Sender) -> None:
    link, other = sender.link("1686"), Sender(name="Meal Box")
    other.link("M1", customer=link.customer)
    sender.login("1686", "09:00")
    sender.logout("1686", "10:00", late=timedelta(hours=9))
    other.login("M1", "11:00", late=timedelta(hours=9))
    page = asked(desk, link.customer.number, "2026-03-02T12:00Z")
    assert "Covered, for Meal Box" in page
    assert "The service knew it" not in page
    assert "took the customer for covered, for Courier Ltd: what arrived later changed" in page


def test_failed_submissions_are_told_beside_the_answer(desk: Client, sender: Sender) -> None:
    link = sender.link("1686")
    Standing.objects.create(work_provider=sender.work_provider, looked_at=timezone.now(), failed=1)
    page = asked(desk, link.customer.number, "2026-03-02T12:00Z")
    assert "Not covered" in page
    assert "Courier Ltd has 1 failed submission: an event that is missing here may be in it" in page


def test_what_will_be_known_nobody_can_say(desk: Client, sender: Sender) -> None:
    sender.link("1686")
    page = asked(desk, "1686", "2026-03-02 11:00", known_at="2099-01-01 00:00")
    assert "choose a past moment" in page
    ahead = f"{timezone.now() + timedelta(days=2):%Y-%m-%dT%H:%MZ}"
    assert "That moment has not come yet" in asked(desk, "1686", ahead)


def test_changes_since_and_the_desk_are_part_of_the_evidence(
    desk: Client, sender: Sender, jo: User
) -> None:
    link = sender.link("1686")
    sender.login("1686", "09:00")
    sender.add(link.customer, Kind.LOGOUT, "17:00", jo, "Told by telephone.")
    page = asked(desk, "1686", "2026-03-02 11:00")
    assert "became 10:00 to 18:00, ended by the desk" in page
    assert "jo@zego.example added a login or logout: “Told by telephone.”" in page


def test_two_work_providers_both_cover(desk: Client, sender: Sender) -> None:
    link, other = sender.link("1686"), Sender(name="Meal Box")
    other.link("M1", customer=link.customer)
    sender.works("1686", "09:00", "17:00")
    other.works("M1", "09:00", "17:00")
    page = asked(desk, link.customer.number, "2026-03-02T10:00Z")
    assert "Covered, for Courier Ltd and for Meal Box" in page
    assert "What the cover for Meal Box rests on" in page


def test_the_moment_is_drawn(desk: Client, sender: Sender) -> None:
    sender.link("1686")
    sender.works("1686", "09:00", "17:00")
    page = desk.get(path(customer="1686", at="2026-03-02 11:00")).content.decode()
    assert 'class="t-moment"' in page
    assert "asked: 11:00" in page


def test_it_is_for_staff_who_may_read(client: Client) -> None:
    client.force_login(member())
    assert client.get(reverse("desk:cover")).status_code == 403
    assert client.get(reverse("desk:on-shift")).status_code == 403


def test_the_number_of_queries_does_not_depend_on_how_much_there_is(
    desk: Client, sender: Sender
) -> None:
    link = sender.link("1686")
    sender.works("1686", "09:00", "17:00")
    query = {"customer": link.customer.number, "at": "2026-03-02T20:00Z"}
    with CaptureQueriesContext(connection) as few:
        desk.get(path(known_at="2026-03-03T20:00Z", **query))
    for number in range(4):
        other = Sender()
        other.link(f"M{number}", customer=link.customer)
        other.works(f"M{number}", "10:00", "16:00")
    with CaptureQueriesContext(connection) as many:
        desk.get(path(known_at="2026-03-03T20:00Z", **query))
    assert len(many) == len(few) <= 50


# Who was on shift


def on(client: Client, sender: Sender, moment: str = "", **more: object) -> str:
    query = urlencode({"work_provider": sender.work_provider.pk, "at": moment, **more})
    return words(client, f"{reverse('desk:on-shift')}?{query}")


def test_who_was_on_shift_with_from_and_to(desk: Client, sender: Sender) -> None:
    first, second = sender.link("1686"), sender.link("1687")
    sender.works("1686", "09:00", "17:00")
    sender.works("1687", "12:00", "20:00")
    page = on(desk, sender, "2026-03-02 12:30")
    assert "1 on shift for Courier Ltd" in page
    assert f"{first.customer.number} 1686 2026-03-02 10:00:00 CET 09:00:00 UTC" in page
    assert second.customer.number not in page
    assert "2 on shift" in on(desk, sender, "2026-03-02 13:00")
    assert "Nobody on shift for Courier Ltd" in on(desk, sender, "2026-03-02 09:00")


def test_without_a_moment_it_is_now(desk: Client, sender: Sender) -> None:
    sender.link("1686")
    sender.accept("login", [("1686", timezone.now() - timedelta(hours=1))])
    digest()
    page = on(desk, sender)
    assert "1 on shift for Courier Ltd Now," in page
    assert "on shift" in page


def test_nothing_is_asked_of_an_empty_form_and_nonsense_is_refused(
    desk: Client, sender: Sender
) -> None:
    assert "on shift for" not in words(desk, reverse("desk:on-shift"))
    assert "Write it as" in on(desk, sender, "noon")
    answer = desk.get(f"{reverse('desk:on-shift')}?work_provider=999999&at=")
    assert "Select a valid choice" in answer.content.decode()


def test_who_may_close_everybody_out_is_led_there(client: Client, sender: Sender) -> None:
    sender.link("1686")
    sender.works("1686", "09:00", "17:00")
    client.force_login(member(ADMIN))
    assert "Close everybody out then" in on(client, sender, "2026-03-02 12:00")


def test_the_list_comes_in_pages(desk: Client, sender: Sender) -> None:
    for number in range(60):
        sender.link(f"d{number}")
    sender.accept("login", [(f"d{number}", at("09:00")) for number in range(60)])
    digest()
    path = (
        f"{reverse('desk:on-shift')}?work_provider={sender.work_provider.pk}&at=2026-03-02T10:00Z"
    )
    first = desk.get(path)
    assert len(first.context["rows"]) == 50
    assert "60 on shift" in words(desk, path)
    with CaptureQueriesContext(connection) as queries:
        second = desk.get(f"{reverse('desk:on-shift')}{first.context['more']}")
    assert len(second.context["rows"]) == 10
    shown = {row.shift.pk for answer in (first, second) for row in answer.context["rows"]}
    assert len(shown) == 60
    assert len(queries) <= 14


def test_it_finds_the_same_as_reading_every_shift(sender: Sender) -> None:
    """Second shifts (R7), parts of one shift, open ones: at every quarter of an hour."""
    settle.change_rule(sender.work_provider, timedelta(hours=10), now=at("00:00"))
    again = sender.link("again")
    sender.login("again", "06:00", "12:00", "14:00")
    sender.logout("again", "21:00")
    parts = sender.link("parts")
    sender.works("parts", "08:00", "16:00")
    for begins, ends in (("09:00", "10:00"), ("11:00", "12:00"), ("13:00", "14:00")):
        parts.unlinked_at = at(begins)
        parts.save()
        parts = sender.link("parts", customer=parts.customer, linked_at=at(ends))
    sender.link("open")
    sender.login("open", "05:00", "16:00")
    sender.works(again.driver_id, "22:00", "23:00")
    moment, found = at("04:00"), 0
    while moment < at("26:00"):
        expected = set(
            Shift.objects.on_shift(moment)
            .filter(stream__work_provider=sender.work_provider)
            .values_list("pk", flat=True)
        )
        assert {one.pk for one in shifts_at(sender.work_provider, moment, limit=99)} == expected
        assert count_at(sender.work_provider, moment) == len(expected)
        found += len(expected)
        moment += timedelta(minutes=15)
    assert found > 100


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "0001-01-01 00:00"]
)
def test_a_moment_beyond_all_times_is_no_trouble(desk: Client, sender: Sender, moment: str) -> None:
    sender.link("1686")
    assert "Choose a moment between 2000 and 2100" in on(desk, sender, moment)
    assert "Choose a moment between" in asked(desk, "1686", moment)
    assert "Choose a moment between" in asked(desk, "1686", "2026-03-02 10:00", known_at=moment)
    assert "Nobody on shift" in on(desk, sender, "2001-01-01 00:00")
    assert shifts_at(sender.work_provider, datetime(9999, 1, 1, tzinfo=UTC), limit=1) == []
