"""Search: what the caller says leads to what is meant, or says what to try."""

import uuid
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from linking import keys
from linking.models import LinkRequest, WorkProvider
from shifts.desk import find
from shifts.desk.addresses import address
from shifts.models import Kind, RejectedRequest, ShiftEvent
from tests import factories
from tests.desk.rights import READER, member
from tests.desk.sending import Sender, digest, listed, words
from tests.factories import LINKED_AT
from tests.shifts.live import at

pytestmark = pytest.mark.django_db


@pytest.fixture
def sender() -> Sender:
    return Sender(name="Courier Ltd", timezone="Europe/London")


@pytest.fixture
def desk(client: Client) -> Client:
    client.force_login(member(READER))
    return client


def search(q: str) -> str:
    return reverse("desk:search") + f"?q={quote(q)}"


def led(client: Client, q: str) -> str:
    """Where a search leads at once."""
    answer = client.get(search(q))
    assert answer.status_code == 302, answer.content.decode()[-2000:]
    return str(answer["Location"])


def hits(client: Client, q: str) -> list[tuple[str, str]]:
    """(what, where) of each hit, where there are several."""
    answer = client.get(search(q))
    assert answer.status_code == 200
    return [(hit.what, hit.address) for hit in answer.context["hits"]]


def test_without_a_question_it_shows_what_can_be_asked(desk: Client) -> None:
    page = words(desk, reverse("desk:search"))
    for example, _ in find.EXAMPLES:
        assert example in page
    assert "Nothing goes by" not in page


@pytest.mark.parametrize("q", ["1686", "  1686\t"])
def test_a_driver_id_leads_to_its_customer(desk: Client, sender: Sender, q: str) -> None:
    link = sender.link("1686")
    landed = desk.get(led(desk, q))
    customer = reverse("desk:customer", args=[link.customer_id])
    assert landed["Location"] == f"{customer}?work_provider={sender.work_provider.pk}"


def test_a_driver_id_with_any_sign_in_it_is_led_to(desk: Client, sender: Sender) -> None:
    for driver_id in ("a/b c?", "..", "%2F", "Ünï#1", "x&y=z"):
        link = sender.link(driver_id)
        there = led(desk, driver_id)
        assert str(link.customer_id) in str(desk.get(there)["Location"]), driver_id


def test_driver_ids_count_with_their_case(desk: Client, sender: Sender) -> None:
    sender.link("abc")
    assert hits(desk, "ABC") == []


def test_one_driver_id_at_two_work_providers_is_told_apart(desk: Client, sender: Sender) -> None:
    other = Sender(name="Meal Box")
    first, second = sender.link("1686"), other.link("1686")
    page = words(desk, search("1686"))
    assert f"Driver 1686 at Courier Ltd customer {first.customer.number}, since 2017-01-01" in page
    assert f"Driver 1686 at Meal Box customer {second.customer.number}, since 2017-01-01" in page
    assert led(desk, "1686 at meal") == address("driver", other.work_provider.pk, "1686")
    assert led(desk, "1686@Courier Ltd") == address("driver", sender.work_provider.pk, "1686")


def test_a_driver_who_sends_without_a_link_is_found(desk: Client, sender: Sender) -> None:
    sender.login("2001", "09:00")
    assert led(desk, "2001") == address("driver", sender.work_provider.pk, "2001")


def test_a_link_that_never_held_does_not_name_a_customer(desk: Client, sender: Sender) -> None:
    link = sender.link("1686", unlinked_at=LINKED_AT)
    Sender(name="Meal Box").link("1686")
    page = words(desk, search("1686"))
    assert "Driver 1686 at Courier Ltd not linked" in page
    assert link.customer.number not in page


def test_a_driver_whose_link_waits_is_found_before_any_event(desk: Client, sender: Sender) -> None:
    customer = factories.customer()
    LinkRequest.objects.create(
        work_provider=sender.work_provider, customer=customer, driver_id="M1", agreed_at=LINKED_AT
    )
    assert led(desk, "M1") == address("driver", sender.work_provider.pk, "M1")


@pytest.mark.parametrize("spell", [str, str.lower, lambda number: f"{number[:4]} {number[4:]}"])
def test_a_customer_number_in_any_spelling(desk: Client, spell: object) -> None:
    customer = factories.customer()
    q = spell(customer.number)  # type: ignore[operator]
    assert led(desk, q) == reverse("desk:customer", args=[customer.pk])


def test_the_beginning_of_a_customer_number(desk: Client) -> None:
    one = factories.customer(number="QQQQ7AAAAA")
    factories.customer(number="XQQQ7AAAAA")
    assert led(desk, "qqqq7") == reverse("desk:customer", args=[one.pk])


def test_an_email_in_any_case(desk: Client) -> None:
    user = factories.driver("jo@example.com")
    assert led(desk, "Jo@Example.com") == reverse("desk:customer", args=[user.customer.pk])


def test_an_email_of_somebody_who_only_opened_the_link(desk: Client, sender: Sender) -> None:
    factories.intent(sender.work_provider, "77", email="late@example.com")
    there = led(desk, "late@example.com")
    assert there == address("driver", sender.work_provider.pk, "77")
    assert "Nobody has agreed to be insured as driver id 77" in words(desk, there)


def test_a_request_a_rejected_one_and_a_shift_by_their_ids(desk: Client, sender: Sender) -> None:
    link = sender.link("1686")
    submission = sender.accept("login", [("1686", at("09:00"))])
    digest()
    assert led(desk, str(submission.request_id)) == address("submission", submission.request_id)
    assert led(desk, submission.request_id.hex) == address("submission", submission.request_id)
    [shift] = sender.shifts(link)
    assert led(desk, str(shift.pk)) == address("shift", shift.pk)
    rejected = RejectedRequest.objects.create(
        request_id=uuid.uuid4(), received_at=timezone.now(), path="/v1/", status=400, code="BAD"
    )
    assert led(desk, str(rejected.request_id)) == address(
        "rejected", request_id=rejected.request_id
    )


def test_a_shift_that_was_removed_is_found_by_its_id(desk: Client, sender: Sender) -> None:
    link = sender.link("1686")
    sender.login("1686", "09:00")
    [shift] = sender.shifts(link)
    sender.logout("1686", "09:00")
    assert sender.shifts(link) == []
    assert led(desk, str(shift.pk)) == address("shift", shift.pk)


def test_an_event_leads_to_its_place_in_its_request(desk: Client, sender: Sender) -> None:
    sender.link("1686")
    submission = sender.accept("login", [("1686", at("09:00"))])
    digest()
    event = sender.event("login", "09:00")
    there = address("submission", submission.request_id, event=event.pk)
    assert led(desk, str(event.pk)) == f"{there}#event-{event.pk}"


def test_an_action_of_the_desk(desk: Client, sender: Sender) -> None:
    link, jo = sender.link("1686"), factories.user("jo@zego.example", is_staff=True)
    sender.add(link.customer, Kind.LOGIN, "09:00", jo, "Told by telephone.")
    [action] = link.customer.desk_actions.all()
    assert led(desk, str(action.pk)) == address("action", action.pk)


def test_a_key_by_its_id_and_a_whole_key_without_its_secret(desk: Client) -> None:
    row, key = keys.issue(factories.work_provider())
    assert led(desk, row.key_id) == address("key", row.pk)
    assert led(desk, key) == address("key", row.pk)
    unknown = key.replace(row.key_id, "0" * 12)
    page = desk.get(search(unknown)).content.decode()
    assert unknown[18:60] not in page.replace(quote(unknown), "")


def test_a_work_provider_by_its_name_or_a_part_of_it(desk: Client, sender: Sender) -> None:
    Sender(name="Courier Ltd of York")
    assert led(desk, "courier ltd") == address("work-provider", sender.work_provider.pk)
    assert [what for what, _ in hits(desk, "cour")] == [
        "Work provider Courier Ltd",
        "Work provider Courier Ltd of York",
    ]


def test_what_nobody_knows_says_what_to_try(desk: Client) -> None:
    page = words(desk, search("nobody"))
    assert "Nothing goes by “nobody”" in page
    assert "Rejected requests" in page


@pytest.mark.parametrize("q", ["\0", "x" * 5000, "'; drop table", "%", "<b>", "١٢٣", "9" * 40, "@"])
def test_nothing_that_can_be_typed_breaks_it(desk: Client, q: str) -> None:
    answer = desk.get(reverse("desk:search"), {"q": q})
    assert answer.status_code in (200, 302)
    assert "<b>" not in answer.content.decode().split('id="s-q"')[-1]


def test_it_is_for_staff_who_may_read(client: Client) -> None:
    assert client.get(search("1686")).status_code == 302  # to sign in
    client.force_login(member())
    assert client.get(search("1686")).status_code == 403


def test_it_costs_the_same_however_many_there_are(desk: Client, sender: Sender) -> None:
    sender.link("1686")
    other = Sender()
    other.link("1686")
    with CaptureQueriesContext(connection) as few:
        assert len(hits(desk, "1686")) == 2
    for _ in range(10):
        Sender().link("1686")
    with CaptureQueriesContext(connection) as many:
        assert len(hits(desk, "1686")) == 12
    assert len(many) == len(few) <= 16


def test_a_driver_id_that_very_many_know_is_told_right_and_told_to_be_cut(desk: Client) -> None:
    first = Sender(name="A first one")
    first.link("1", linked_at=LINKED_AT - timedelta(days=1))
    first.login("1", "09:00")
    ShiftEvent.objects.update(stream=None, outcome="IGNORED", reason="AFTER_UNLINK")
    for place in range(101):
        factories.link(factories.work_provider(name=f"Provider {place}"), "1")
    page = words(desk, search("1"))
    assert "Driver 1 at A first one customer" in page
    assert "not linked" not in page
    assert "There may be more than are shown." in page
    assert "Driver 1 at Provider 100 customer" in words(desk, search("1 at Provider 10"))


def test_long_names_and_ids_are_listed(desk: Client) -> None:
    for place in range(2):
        Sender(name=f"{place}" + "n" * 99).link("d" * 128)
    assert listed(desk, search("d" * 128)) == []
    assert len(hits(desk, "d" * 128)) == 2
    assert WorkProvider.objects.count() == 2
