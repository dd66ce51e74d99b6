"""The page of one request: what was sent, and what became of it."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from linking.desk import record
from linking.models import DeskAction, User
from shifts import restate
from shifts.desk.addresses import address
from shifts.desk.submission import SHOWN_BYTES
from shifts.models import Kind, Submission
from tests import factories
from tests.desk.rights import OPS, READER, member
from tests.desk.sending import Sender, digest, listed, words
from tests.shifts.live import at
from zego_api.ids import uuid7

pytestmark = pytest.mark.django_db


@pytest.fixture
def sender() -> Sender:
    return Sender(name="Courier Ltd")


@pytest.fixture
def desk(client: Client) -> Client:
    client.force_login(member(READER))
    return client


@pytest.fixture
def jo() -> User:
    return factories.user("jo@zego.example", is_staff=True)


def page(submission: Submission, query: str = "") -> str:
    return reverse("desk:submission", args=[submission.request_id]) + query


def failed(sender: Sender, body: bytes, failure: str) -> Submission:
    now = timezone.now()
    return Submission.objects.create(
        work_provider=sender.work_provider,
        kind="login",
        is_batch=False,
        body=body,
        timezone="UTC",
        event_count=1,
        received_at=now,
        attempts=5,
        failed_at=now,
        failure=failure,
    )


def test_a_digested_one_with_its_events(desk: Client, sender: Sender) -> None:
    sender.link("1686")
    submission = sender.accept(
        "login",
        [("1686", at("09:00")), ("1686", at("12:00")), ("2001", at("09:30"))],
        received_at=at("12:30"),
    )
    digest()
    text = words(desk, page(submission))
    for fact in (
        "Status digested",
        "Courier Ltd",
        "Received 2026-03-02 12:30:00 UTC",
        f"key {sender.key.key_id}",
        "login, a batch of 3",
        "1 counted, 1 ignored, 1 held",
    ):
        assert fact in text, fact
    counts, ignored, held = listed(desk, page(submission))
    assert "Login, driver id 1686 counts It began a shift. R1 Arrived 3 h 30 min later." in counts
    assert "Number 1, event id" in counts
    assert "ignored A login while the driver was already on shift" in ignored
    assert "driver id 2001 held It waits" in held


def test_each_event_leads_to_its_timeline(desk: Client, sender: Sender) -> None:
    link = sender.link("1686")
    submission = sender.accept("login", [("1686", at("09:00")), ("2001", at("09:00"))])
    digest()
    source = desk.get(page(submission)).content.decode().replace("&amp;", "&")
    days = {"from": "2026-03-02", "to": "2026-03-02"}
    provider = sender.work_provider.pk
    assert address("customer", link.customer_id, work_provider=provider, **days) in source
    assert address("driver", provider, "2001", **days) in source


def test_a_pending_one_says_how_long_it_has_waited(desk: Client, sender: Sender) -> None:
    received_at = timezone.now() - timedelta(minutes=12)
    submission = sender.accept("login", [("1686", at("09:00"))], received_at=received_at)
    text = words(desk, page(submission))
    assert "It has waited for its digest for 12 min." in text
    assert "It has not been digested yet: its events appear here then." in text
    submission.attempts = 3
    submission.next_attempt_at = timezone.now() + timedelta(seconds=50)
    submission.failure = "OperationalError: no luck"
    submission.save()
    text = words(desk, page(submission))
    assert "3 of 5 attempts were made." in text
    assert "The next attempt is due in" in text
    assert "The last attempt ended with: OperationalError: no luck" in text


def test_a_failed_one_says_what_is_wrong_with_it_and_what_to_do(
    client: Client, sender: Sender
) -> None:
    submission = failed(sender, b'{"driverId": "1702"}', "InvalidBody: 1 errors")
    client.force_login(member(OPS))
    text = words(client, page(submission))
    assert "It was set aside after 5 attempts." in text
    assert "What was accepted once does not read as valid any more:" in text
    assert "timestamp: Must be a string: an ISO-8601 date and time." in text
    source = client.get(page(submission)).content.decode()
    assert address("retry", submission.request_id) in source
    assert address("discard", submission.request_id) in source


def test_one_that_this_release_can_read_says_so(desk: Client, sender: Sender) -> None:
    body = b'{"driverId": "1702", "timestamp": "2026-03-02T09:00:00Z"}'
    submission = failed(sender, body, "InvalidBody: 1 errors")
    text = words(desk, page(submission))
    assert "This release can read it: try it again." in text
    assert "Discard it" not in text


def test_a_discarded_one(desk: Client, sender: Sender, jo: User) -> None:
    submission = failed(sender, b"{}", "ValueError: no")
    Submission.objects.filter(pk=submission.pk).update(is_withdrawn=True)
    text = words(desk, page(submission))
    assert "Status discarded" in text
    assert "The ops desk discarded it" in text


def test_what_was_sent_is_shown_as_it_was_sent(desk: Client, sender: Sender) -> None:
    body = b'{"driverId":"<b>1\\u0041","timestamp":"2026-03-02T09:00:00Z","x":1.0e2,"y":[ ]}'
    submission = failed(sender, body, "")
    source = desk.get(page(submission)).content.decode()
    shown = source[source.index("<pre") : source.index("</pre>")]
    assert "&quot;driverId&quot;: &quot;&lt;b&gt;1\\u0041&quot;" in shown
    assert "1.0e2" in shown


@pytest.mark.parametrize("body", [b"\xff\xfe not json", b'{"a": ' + b'"x' * 9, b""])
def test_a_body_that_is_no_json_is_shown_too(desk: Client, sender: Sender, body: bytes) -> None:
    answer = desk.get(page(failed(sender, body, "")))
    assert answer.status_code == 200


def test_a_long_body_is_cut_and_says_so(desk: Client, sender: Sender) -> None:
    for size in (30_000, 400_000):
        body = json.dumps({"driverId": "1", "x": "y" * size}).encode()
        answer = desk.get(page(failed(sender, body, "")))
        assert "only its beginning is shown" in answer.content.decode()
        assert len(answer.context["body"].text) == SHOWN_BYTES


def test_many_events_come_in_pages_and_one_is_led_to(desk: Client, sender: Sender) -> None:
    first = at("09:00")
    submission = sender.accept(
        "login", [(f"d{place}", first) for place in range(120)], received_at=at("09:00")
    )
    digest()
    assert len(listed(desk, page(submission))) == 50
    event = submission.events.order_by("pk")[70]
    found = listed(desk, page(submission, f"?event={event.pk}"))
    assert "Number 51," in found[0]
    assert (
        f'id="event-{event.pk}"'
        in desk.get(page(submission, f"?event={event.pk}")).content.decode()
    )
    for nonsense in ("x", "-1", "9" * 30, "1"):
        assert len(listed(desk, page(submission, f"?event={nonsense}"))) == 50


def test_one_that_the_desk_added_says_who_and_why(desk: Client, sender: Sender, jo: User) -> None:
    link = sender.link("1686")
    sender.add(link.customer, Kind.LOGIN, "09:00", jo, "Told by telephone.")
    submission = Submission.objects.get(action__isnull=False)
    text = words(desk, page(submission))
    assert "jo@zego.example added a login or logout: “Told by telephone.”" in text
    assert "Sent by the ops desk" in text


def test_one_that_was_read_again_and_its_reading_lead_to_each_other(
    desk: Client, sender: Sender, jo: User
) -> None:
    sender.link("1686")
    original = sender.accept("login", [("1686", at("09:00").replace(tzinfo=None))])
    digest()
    now = timezone.now()
    action = record(DeskAction.Kind.REREAD, actor=jo, reason="Paris time.", now=now)
    [again] = restate.reread([original.pk], "Europe/Paris", action, now=now)
    text = words(desk, page(original))
    assert f"Read again as {again.request_id}, in Europe/Paris" in text
    assert "jo@zego.example withdrew it, “Paris time.”" in text
    assert "The ops desk withdrew everything that came by this request" in text
    text = words(desk, page(again))
    assert f"Reads again {original.request_id}, which was read in UTC" in text


def test_there_is_no_page_of_one_that_never_came_and_none_without_the_right(
    client: Client, sender: Sender
) -> None:
    client.force_login(member(READER))
    assert client.get(reverse("desk:submission", args=[uuid7()])).status_code == 404
    submission = sender.accept("login", [("1686", at("09:00"))])
    client.force_login(member())
    assert client.get(page(submission)).status_code == 403


def test_the_number_of_queries_does_not_depend_on_its_size(desk: Client, sender: Sender) -> None:
    one = sender.accept("login", [("1686", at("09:00"))])
    many = sender.accept("login", [(f"d{place}", at("09:00")) for place in range(60)])
    digest()
    counts = []
    for submission in (one, many):
        with CaptureQueriesContext(connection) as queries:
            desk.get(page(submission))
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 14
