"""Mending one thing at a time: who may, what the form asks, what the preview says, what then happens."""

import html
import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection, connections
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from linking.models import Customer, DeskAction, DriverLink, LinkRequest, WorkProvider
from shifts import mend
from shifts.accept import keep
from shifts.desk.flow import AT_ONCE, BUSY, CHANGED, typed
from shifts.models import (
    Kind,
    Seen,
    Shift,
    ShiftEvent,
    ShiftRevision,
    Stream,
    Submission,
    Withdrawal,
)
from tests import factories
from tests.desk.test_front import page_of, staff, text_of
from tests.shifts.live import drain
from zego_api.models import OutgoingMail

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("outbox")]
LONDON = "Europe/London"
WHY = "The driver called."
EVERYTHING: list[type[Model]] = [
    DeskAction,
    DriverLink,
    LinkRequest,
    OutgoingMail,
    Seen,
    Shift,
    ShiftEvent,
    ShiftRevision,
    Stream,
    Submission,
    Withdrawal,
]


def july(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-07-01T{clock}Z")


@pytest.fixture
def desk(client: Client) -> Client:
    client.force_login(staff("shifts.view_shift", "linking.mend"))
    return client


@pytest.fixture
def provider() -> WorkProvider:
    return factories.work_provider(name="Courier Ltd", timezone=LONDON)


@pytest.fixture
def link(provider: WorkProvider) -> DriverLink:
    return factories.link(provider, "1686", customer=factories.driver("jo@example.com").customer)


def send(
    provider: WorkProvider,
    kind: str,
    at: datetime,
    *,
    driver_id: str = "1686",
    received_at: datetime | None = None,
) -> Submission:
    body = json.dumps({"driverId": driver_id, "timestamp": at.isoformat()}).encode()
    sent = keep(
        Submission(
            work_provider=provider,
            kind=kind,
            is_batch=False,
            body=body,
            timezone=provider.timezone,
            received_at=received_at or timezone.now(),
        ),
        max_future=provider.max_future,
    )
    drain()
    return sent


def path(name: str, *args: object, **query: object) -> str:
    return reverse(f"desk:{name}", args=args) + (f"?{urlencode(query)}" if query else "")


def fields_of(page: str) -> dict[str, str]:
    """What the page's own form would send."""
    page = page[page.index('class="d-desk"') :]
    found = re.findall(r"<input type=\"hidden\" name=\"(\w+)\" value=\"([^\"]*)\"", page)
    return {name: html.unescape(value) for name, value in found if name != "csrfmiddlewaretoken"}


def ask(client: Client, address: str, **data: object) -> str:
    """The preview."""
    answer = client.post(address, {"reason": WHY, **data})
    assert answer.status_code == 200
    return answer.content.decode()


def confirm(client: Client, address: str, preview: str) -> str:
    """Give the word; returns where it leads."""
    fields = fields_of(preview)
    assert "expected" in fields, text_of(preview)
    answer = client.post(address, fields)
    assert answer.status_code == 302, text_of(answer.content.decode())
    return answer["Location"]


def state() -> dict[str, list[tuple[Any, ...]]]:
    return {
        model.__name__: list(model._default_manager.order_by("pk").values_list())
        for model in EVERYTHING
    }


def shifts(link: DriverLink) -> list[tuple[datetime, datetime | None, str]]:
    rows = Shift.objects.filter(stream__customer=link.customer_id).order_by("started_at")
    return list(rows.values_list("started_at", "ended_at", "end_reason"))


def titled(page: str) -> str:
    found = re.search(r"<title>(.*?)</title>", page, re.DOTALL)
    assert found
    return found[1]


# An event added


def test_a_missing_logout_is_previewed_in_both_zones_and_then_added(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    send(provider, "login", july("08:12"))
    before = state()
    address = path("add-event", customer=link.customer.pk, work_provider=provider.pk)
    assert "1 Jul" not in page_of(desk, address)
    page = ask(desk, address, kind="logout", at="2026-07-01 17:40")
    text = text_of(page)
    assert "1 shift will change" in text
    assert (
        "1 Jul 2026 09:12 - 23:12 (closed automatically) becomes 09:12 - 17:40 (ended by the desk) BST"
    ) in text
    assert "08:12 - 22:12 becomes 08:12 - 16:40 UTC" in text
    assert "Cover is shortened: 5:32:00" in text
    assert ">Add the logout of 1 Jul 2026 17:40 BST<" in page or "Add the logout of" in text
    assert WHY in text
    assert state() == before
    where = confirm(desk, address, page)
    assert shifts(link) == [(july("08:12"), july("16:40"), "OPS")]
    assert where == path("shift", Shift.objects.get().pk)
    action = DeskAction.objects.get()
    assert (action.kind, action.reason, action.customer) == ("ADD_EVENT", WHY, link.customer)
    assert action.actor.is_staff


def test_the_first_event_of_a_customer_is_previewed_and_added(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    """Its stream is made with it, anew each time."""
    address = path("add-event", customer=link.customer.pk, work_provider=provider.pk)
    page = ask(desk, address, kind="login", at="2026-07-01 09:12")
    assert "1 shift is new" in text_of(page)
    assert "a new shift, 09:12 - 23:12 (closed automatically)" in text_of(page)
    confirm(desk, address, page)
    assert shifts(link) == [(july("08:12"), july("22:12"), "AUTO_CLOSED")]


@pytest.mark.parametrize(
    ("kind", "at", "why"),
    [
        ("login", "2026-07-01 10:00", "while the driver was already on shift changes nothing"),
        ("login", "2026-07-01 09:12", "The same had been received already"),
        ("logout", "2026-07-02 12:00", "had been ended at its maximum before"),
        ("logout", "2026-07-01 08:00", "No shift was open that it could end"),
    ],
)
def test_an_event_that_would_change_nothing_says_why(
    desk: Client, provider: WorkProvider, link: DriverLink, kind: str, at: str, why: str
) -> None:
    send(provider, "login", july("08:12"))
    address = path("add-event", customer=link.customer.pk, work_provider=provider.pk)
    text = text_of(ask(desk, address, kind=kind, at=at))
    assert "No shift changes." in text
    assert why in text


def test_an_event_of_somebody_who_is_not_linked_would_wait(
    desk: Client, provider: WorkProvider
) -> None:
    stranger = factories.customer()
    address = path("add-event", customer=stranger.pk, work_provider=provider.pk)
    text = text_of(ask(desk, address, kind="login", at="2026-07-01 10:00"))
    assert "no link to this work provider" in text


def test_an_event_that_the_desk_has_withdrawn_is_not_added_but_undone(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    send(provider, "login", july("08:12"))
    mend.withdraw(
        Stream.objects.get(),
        Kind.LOGIN,
        july("08:12"),
        actor=staff(),
        reason=WHY,
        now=timezone.now(),
    )
    address = path("add-event", customer=link.customer.pk, work_provider=provider.pk)
    text = text_of(ask(desk, address, kind="login", at="2026-07-01 09:12"))
    assert "undo that instead" in text


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"reason": " "}, "This field is required."),
        ({"at": "yesterday"}, "Write it as"),
        ({"at": "2026-10-25 01:30"}, "The clocks change at that time"),
        ({"at": ""}, "This field is required."),
        ({"kind": "lunch"}, "Select a valid choice"),
        ({"at": "1999-12-31 12:00"}, "between 2000 and 2100"),
        ({"at": "2099-12-31 12:00"}, "too far in the future"),
    ],
)
def test_what_is_wrong_is_said_beside_the_form_and_what_was_typed_stays(
    desk: Client, provider: WorkProvider, link: DriverLink, data: dict[str, str], error: str
) -> None:
    address = path("add-event", customer=link.customer.pk, work_provider=provider.pk)
    page = ask(desk, address, **{"kind": "logout", "at": "2026-07-01 17:40", **data})
    assert error in text_of(page)
    assert "Show what would change" in page
    assert not DeskAction.objects.exists()
    if "reason" not in data:
        assert WHY in page


def test_a_change_in_between_shows_the_preview_anew(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    send(provider, "login", july("08:12"))
    address = path("add-event", customer=link.customer.pk, work_provider=provider.pk)
    page = ask(desk, address, kind="logout", at="2026-07-01 17:40")
    send(provider, "logout", july("16:00"))
    answer = desk.post(address, fields_of(page))
    again = answer.content.decode()
    assert answer.status_code == 200
    assert CHANGED in html.unescape(again)
    assert "No shift changes." in text_of(again)
    assert shifts(link) == [(july("08:12"), july("16:00"), "LOGOUT")]
    confirm(desk, address, again)
    assert DeskAction.objects.count() == 1


def test_a_shift_that_the_sweeper_has_meanwhile_written_as_it_read_is_no_change(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    send(provider, "login", july("08:12"))
    Shift.objects.update(ended_at=None, end_reason="", end_known_at=None)
    address = path("add-event", customer=link.customer.pk, work_provider=provider.pk)
    page = ask(desk, address, kind="logout", at="2026-07-01 17:40")
    Shift.objects.update(
        ended_at=july("22:12"), end_reason="AUTO_CLOSED", end_known_at=july("22:12")
    )
    confirm(desk, address, page)


def test_the_preview_leads_back_to_the_form_with_what_was_typed(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    address = path("add-event", customer=link.customer.pk, work_provider=provider.pk)
    page = ask(desk, address, kind="logout", at="2026-07-01 17:40")
    answer = desk.post(address, fields_of(page) | {"edit": "1"})
    form = answer.content.decode()
    assert "Show what would change" in form
    assert 'value="2026-07-01 17:40"' in form
    assert WHY in form


def test_whom_it_is_about_is_asked_first(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    page = page_of(desk, path("add-event", kind="logout", at="2026-07-01T16:40:00+00:00"))
    assert "who is it about" in text_of(page)
    assert "This field is required" not in text_of(page)
    number = link.customer.number
    spaced = f"{number[:4].lower()} {number[4:]}"
    query = {**fields_of(page), "number": spaced, "work_provider": provider.pk}
    page = page_of(desk, path("add-event", **query))
    assert 'value="2026-07-01 17:40:00"' in page
    assert '<option value="logout" selected>' in page
    page = page_of(desk, path("add-event", number="NOBODY", work_provider=provider.pk))
    assert "There is no customer of this number." in text_of(page)
    page = page_of(desk, path("add-event", customer=link.customer.pk))
    assert f'value="{number}"' in page


def test_an_open_shift_is_ended_now_unless_said_otherwise(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    start = timezone.now() - timedelta(hours=2)
    send(provider, "login", start)
    shift = Shift.objects.get()
    address = path("end-shift", shift.pk)
    page = page_of(desk, address)
    assert "on shift" in text_of(page)
    [prefilled] = re.findall(r'name="at" value="([^"]+)"', page)
    page = ask(desk, address, at=prefilled)
    assert "- now (on shift) becomes" in text_of(page)
    assert "Cover is shortened" not in text_of(page) or "0:00:0" in text_of(page)
    assert confirm(desk, address, page) == path("shift", shift.pk)
    shift.refresh_from_db()
    assert shift.end_reason == "OPS"


def test_a_shift_that_is_no_more_cannot_be_ended(desk: Client) -> None:
    page = page_of(desk, path("end-shift", "019ab3f2-0000-7000-8000-000000000000"))
    assert "This shift is no more." in text_of(page)


# Withdrawn, and undone


def withdrawing(at: datetime, kind: str = "login") -> str:
    return path("withdraw", stream=Stream.objects.get().pk, kind=kind, at=at.isoformat())


def test_an_event_is_withdrawn_with_its_copies_and_counts_again_when_undone(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    for _ in range(2):
        send(provider, "login", july("08:12"))
    before = shifts(link)
    page = page_of(desk, withdrawing(july("08:12")))
    assert text_of(page).count("driver id 1686") == 2
    preview = ask(desk, withdrawing(july("08:12")))
    assert "1 shift goes" in text_of(preview)
    assert "09:12 - 23:12 (closed automatically) goes" in text_of(preview)
    assert "Withdraw the login of 1 Jul 2026 09:12" in text_of(preview)
    where = confirm(desk, withdrawing(july("08:12")), preview)
    assert where == path("customer", link.customer.pk)
    assert shifts(link) == []
    action = DeskAction.objects.get()
    again = page_of(desk, withdrawing(july("08:12")))
    assert path("undo", action.pk) in again
    undo = path("undo", action.pk)
    assert WHY in text_of(page_of(desk, undo))
    preview = ask(desk, undo)
    assert "1 shift is new" in text_of(preview)
    confirm(desk, undo, preview)
    assert shifts(link) == before
    assert "undone already" in text_of(page_of(desk, undo))


def test_an_event_that_made_no_shift_says_so_before_it_is_withdrawn(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    send(provider, "login", july("08:12"))
    send(provider, "login", july("09:00"))
    text = text_of(ask(desk, withdrawing(july("09:00"))))
    assert "No shift changes." in text
    assert "It made no shift: A login while the driver was already on shift" in text


def test_what_never_came_or_makes_no_sense_is_not_withdrawn(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    send(provider, "login", july("08:12"))
    assert "No such event has come" in text_of(page_of(desk, withdrawing(july("08:13"))))
    stream = Stream.objects.get().pk
    for query in (
        {},
        {"stream": stream, "kind": "login"},
        {"stream": stream, "kind": "x", "at": "2026-07-01T08:12Z"},
        {"stream": "9" * 40, "kind": "login", "at": "2026-07-01T08:12Z"},
        {"stream": stream, "kind": "login", "at": "2026-07-01T08:12"},
    ):
        assert desk.get(path("withdraw", **query)).status_code == 404


def test_a_plus_sign_that_nobody_quoted_is_understood(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    send(provider, "login", july("08:12"))
    stream = Stream.objects.get().pk
    raw = f"{path('withdraw')}?stream={stream}&kind=login&at=2026-07-01T08:12:00+00:00"
    assert "Withdraw" in titled(page_of(desk, raw))


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_moment_that_no_calendar_holds_is_no_moment(
    desk: Client, provider: WorkProvider, link: DriverLink, at: str
) -> None:
    send(provider, "login", july("08:12"))
    stream, customer = Stream.objects.get().pk, link.customer_id
    assert desk.get(path("withdraw", stream=stream, kind="login", at=at)).status_code == 404
    address = path("add-event", customer=customer, work_provider=provider.pk, at=at)
    assert at in html.unescape(page_of(desk, address))


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("UNDO", "do again what was undone"),
        ("SEEN", "cannot be undone"),
        ("REPLAY", "cannot be undone"),
        ("REVOKE_KEY", "cannot be undone"),
    ],
)
def test_what_cannot_be_undone_says_what_to_do_instead(
    desk: Client, provider: WorkProvider, kind: str, advice: str
) -> None:
    now = timezone.now()
    action = DeskAction.objects.create(
        kind=kind, actor=staff(), reason=WHY, created_at=now, finished_at=now
    )
    assert advice in text_of(page_of(desk, path("undo", action.pk)))


def test_a_link_that_was_made_is_ended_rather_than_undone(
    desk: Client, provider: WorkProvider
) -> None:
    link = mend.make_link(
        provider,
        factories.customer(),
        "1",
        agreed_at=july("08:00"),
        actor=staff(),
        reason=WHY,
        now=timezone.now(),
    )
    page = page_of(desk, path("undo", DeskAction.objects.get().pk))
    assert path("end-link", link.pk) in page


# Held events, failed submissions


def test_held_events_are_decided_again_where_a_link_explains_them(
    desk: Client, provider: WorkProvider
) -> None:
    send(provider, "login", july("08:12"), driver_id="van/9 ü")
    ShiftEvent.objects.update(outcome="REJECTED", reason="EXPIRED")
    address = path("replay", work_provider=provider.pk, driver_id="van/9 ü")
    text = text_of(ask(desk, address))
    assert "No shift changes." in text
    assert "No link explains them yet" in text
    link = factories.link(provider, "van/9 ü")
    page = page_of(desk, address)
    assert "1 rejected (expired)" in text_of(page)
    preview = ask(desk, address)
    assert "1 of 1 events find a link." in text_of(preview)
    where = confirm(desk, address, preview)
    assert len(shifts(link)) == 1
    assert where == path("shift", Shift.objects.get().pk)


def test_a_replay_asks_whose_events_and_says_when_there_are_none(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    page = page_of(desk, path("replay", work_provider=provider.pk))
    assert "Driver id" in text_of(page)
    for query in ({"driver_id": "1686"}, {"number": link.customer.number}):
        page = page_of(desk, path("replay", work_provider=provider.pk, **query))
        assert "No event of theirs waits" in text_of(page)
    both = {"driver_id": "1", "number": link.customer.number}
    page = page_of(desk, path("replay", work_provider=provider.pk, **both))
    assert "Give a driver id or a customer number." in text_of(page)


def failed(provider: WorkProvider) -> Submission:
    sent = send(provider, "login", july("08:12"))
    ShiftEvent.objects.all().delete()
    Shift.objects.all().delete()
    Submission.objects.filter(pk=sent.pk).update(
        digested_at=None, failed_at=timezone.now(), attempts=5, failure="ValueError: it broke"
    )
    return sent


def test_a_failed_submission_is_tried_again(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    sent = failed(provider)
    address = path("retry", sent.request_id)
    assert "ValueError: it broke" in text_of(page_of(desk, address))
    preview = ask(desk, address)
    assert "it becomes pending again" in text_of(preview)
    where = confirm(desk, address, preview)
    sent.refresh_from_db()
    assert (sent.status, where) == ("PENDING", path("submission", sent.request_id))
    assert "not FAILED any more: it is PENDING" in text_of(page_of(desk, address))


def test_a_failed_submission_is_discarded_and_taken_up_again(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    sent = failed(provider)
    address = path("discard", sent.request_id)
    preview = ask(desk, address)
    assert "It was never digested" in text_of(preview)
    confirm(desk, address, preview)
    sent.refresh_from_db()
    assert sent.status == "DISCARDED"
    undo = path("undo", DeskAction.objects.get().pk)
    confirm(desk, undo, ask(desk, undo))
    sent.refresh_from_db()
    assert sent.status == "FAILED"


# Links


def waiting(provider: WorkProvider) -> LinkRequest:
    return LinkRequest.objects.create(
        work_provider=provider,
        customer=factories.driver("new@example.com").customer,
        driver_id="van 2",
        agreed_at=july("08:00"),
    )


def test_a_confirmed_link_shows_the_shifts_that_appear_with_it(
    desk: Client, provider: WorkProvider
) -> None:
    send(provider, "login", july("07:00"), driver_id="van 2")
    send(provider, "logout", july("16:00"), driver_id="van 2")
    request = waiting(provider)
    address = path("confirm-link", request.pk)
    assert "new@example.com" in text_of(page_of(desk, address))
    before = state()
    preview = ask(desk, address)
    text = text_of(preview)
    assert "1 shift is new" in text
    assert "a new shift, 09:00 - 17:00 (logged out)" in text
    assert "Cover is gained: 8:00:00" in text
    assert "told by mail" in text
    assert state() == before
    confirm(desk, address, preview)
    request.refresh_from_db()
    assert request.state == "CONFIRMED"
    assert OutgoingMail.objects.filter(recipients="new@example.com").count() == 1
    assert "does not wait any more: it is confirmed" in text_of(page_of(desk, address))


def test_a_refused_link_is_gone_from_the_list_and_the_driver_is_told(
    desk: Client, provider: WorkProvider
) -> None:
    request = waiting(provider)
    address = path("refuse-link", request.pk)
    preview = ask(desk, address)
    assert not OutgoingMail.objects.exists()
    assert confirm(desk, address, preview) == path("list", "waiting-links")
    request.refresh_from_db()
    assert (request.state, request.reason) == ("REFUSED", WHY)
    assert OutgoingMail.objects.count() == 1


def test_a_link_that_cannot_be_confirmed_says_why(desk: Client, provider: WorkProvider) -> None:
    request = waiting(provider)
    factories.link(provider, "van 2")
    page = ask(desk, path("confirm-link", request.pk))
    assert "The driver id has been linked since." in text_of(page)


def test_a_link_is_made_for_who_agreed_elsewhere(desk: Client, provider: WorkProvider) -> None:
    send(provider, "login", july("07:00"), driver_id="van 2")
    customer = factories.driver("made@example.com").customer
    address = path("make-link", work_provider=provider.pk, driver_id="van 2")
    assert "who is it about" in text_of(page_of(desk, address))
    address = path("make-link", work_provider=provider.pk, driver_id="van 2", customer=customer.pk)
    assert 'value="van 2"' in page_of(desk, address)
    preview = ask(desk, address, driver_id=" van 2", agreed_at="2026-07-01 09:00")
    assert "a new shift, 09:00 - 22:00 (closed automatically)" in text_of(preview)
    confirm(desk, address, preview)
    assert DriverLink.objects.get().linked_at == july("08:00")


def test_a_link_that_is_in_the_way_is_named(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    other = factories.customer()
    address = path("make-link", work_provider=provider.pk, customer=other.pk)
    page = ask(desk, address, driver_id="1686", agreed_at="2026-07-01 09:00")
    assert "This driver id is linked at that time already." in text_of(page)
    page = ask(desk, address, driver_id="new", agreed_at="2099-07-01 09:00")
    assert "Nobody has agreed in the future" in text_of(page)
    page = ask(desk, address, driver_id="a\x01b", agreed_at="2026-07-01 09:00")
    assert "control characters" in text_of(page)


def test_a_link_is_ended_now_or_as_if_it_had_never_held(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    send(provider, "login", july("08:12"))
    address = path("end-link", link.pk)
    page = page_of(desk, address)
    never = re.search(r'href="([^"]+)">It never held', page)
    assert never
    lead = html.unescape(never[1])
    assert 'value="2017-01-01 00:00:00"' in page_of(desk, lead)
    preview = ask(desk, lead, at="2017-01-01 00:00:00")
    assert "1 shift goes" in text_of(preview)
    confirm(desk, lead, preview)
    assert shifts(link) == []
    assert "it never held" in text_of(page_of(desk, address))


def test_a_link_that_ended_can_be_ended_earlier(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    send(provider, "login", july("08:12"))
    link.unlinked_at = july("12:00")
    link.save()
    address = path("end-link", link.pk)
    assert "ended by then already" in text_of(ask(desk, address, at="2026-07-01 14:00"))
    preview = ask(desk, address, at="2026-07-01 12:00")
    assert "09:12 - 13:00 (link ended) becomes 09:12 - 12:00 (link ended)" in text_of(preview)
    confirm(desk, address, preview)
    assert shifts(link) == [(july("08:12"), july("11:00"), "UNLINKED")]


# Looked at


def test_what_was_looked_at_is_off_the_list_with_what_came_of_it(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    send(provider, "login", july("08:12"))
    send(provider, "logout", july("12:00"))
    [revision] = ShiftRevision.objects.all()
    data: dict[str, object] = {"kind": "REVISION", "target": revision.pk}
    page = page_of(desk, path("seen", **data))
    assert "Say what came of it" in text_of(page)
    answer = desk.post(path("seen"), data | {"reason": ""})
    assert "This field is required." in answer.content.decode()
    back = path("list", "shortened") + "?work_provider=1"
    answer = desk.post(path("seen"), data | {"reason": WHY, "next": back})
    assert (answer.status_code, answer["Location"]) == (302, back)
    assert Seen.objects.get().action.reason == WHY
    answer = desk.post(path("seen"), data | {"reason": WHY})
    assert "Somebody has looked at this already." in answer.content.decode()


def test_seen_leads_nowhere_else(desk: Client, provider: WorkProvider, link: DriverLink) -> None:
    send(provider, "login", july("08:12"))
    send(provider, "logout", july("12:00"))
    data = {
        "kind": "REVISION",
        "target": ShiftRevision.objects.get().pk,
        "reason": WHY,
        "next": "https://elsewhere.example/",
    }
    assert desk.post(path("seen"), data)["Location"] == path("list", "shortened")
    for wrong in ({"kind": "X", "target": "1"}, {"kind": "ORPHAN", "target": "one"}):
        assert desk.post(path("seen"), wrong).status_code == 404


# Who may, and what stands in the way


def addresses(provider: WorkProvider, link: DriverLink) -> list[str]:
    send(provider, "login", july("08:12"))
    action = DeskAction.objects.create(
        kind="SEEN", actor=staff(), reason=WHY, created_at=timezone.now()
    )
    request = waiting(provider)
    return [
        path("add-event"),
        path("end-shift", Shift.objects.get().pk),
        withdrawing(july("08:12")),
        path("undo", action.pk),
        path("replay"),
        path("retry", Submission.objects.get().request_id),
        path("discard", Submission.objects.get().request_id),
        path("confirm-link", request.pk),
        path("refuse-link", request.pk),
        path("make-link"),
        path("end-link", link.pk),
        path("seen", kind="REVISION", target=1),
    ]


def test_only_who_may_mend_sees_or_sends_the_forms(
    client: Client, provider: WorkProvider, link: DriverLink
) -> None:
    every = addresses(provider, link)
    client.force_login(staff("shifts.view_shift", "linking.mend_in_bulk"))
    for address in every:
        assert client.get(address).status_code == 403
        assert client.post(address, {"reason": WHY}).status_code == 403
    client.force_login(staff("linking.mend"))
    for address in every:
        assert client.get(address).status_code == 200


@pytest.fixture
def long_digest() -> Iterator[Any]:
    """Another session, to hold locks with."""
    other = connections.create_connection("default")
    yield other
    other.close()


@pytest.mark.django_db(transaction=True)
def test_a_digest_that_takes_long_is_said_and_the_form_kept(
    desk: Client, provider: WorkProvider, link: DriverLink, long_digest: Any
) -> None:
    send(provider, "login", july("08:12"))
    address = path("add-event", customer=link.customer.pk, work_provider=provider.pk)
    with long_digest.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT FROM shifts_stream FOR UPDATE")
        page = ask(desk, address, kind="logout", at="2026-07-01 17:40")
        cursor.execute("ROLLBACK")
    assert BUSY in html.unescape(page)
    assert 'value="2026-07-01 17:40"' in page
    assert "1 shift will change" in text_of(
        ask(desk, address, kind="logout", at="2026-07-01 17:40")
    )


@pytest.mark.django_db(transaction=True)
def test_a_preview_wakes_nobody_and_its_word_does(
    desk: Client, provider: WorkProvider, link: DriverLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(provider, "login", july("08:12"))
    woken: list[int] = []
    monkeypatch.setattr("shifts.accept.wake", lambda: woken.append(1))
    address = path("add-event", customer=link.customer.pk, work_provider=provider.pk)
    page = ask(desk, address, kind="logout", at="2026-07-01 17:40")
    assert woken == []
    confirm(desk, address, page)
    assert woken == [1]


def test_an_index_that_refuses_is_told_as_somebody_elses_change(
    desk: Client, provider: WorkProvider, link: DriverLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*args: object, **options: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO shifts_stream SELECT * FROM shifts_stream")

    send(provider, "login", july("08:12"))
    monkeypatch.setattr(mend, "withdraw", taken)
    assert AT_ONCE in html.unescape(ask(desk, withdrawing(july("08:12"))))


def test_what_is_typed_is_shown_as_it_is_and_not_run(
    desk: Client, provider: WorkProvider, link: DriverLink
) -> None:
    send(provider, "login", july("08:12"))
    nasty = "<script>alert(1)</script>\n\"quoted\" & 'more'"
    address = withdrawing(july("08:12"))
    page = ask(desk, address, reason=nasty)
    assert "<script>alert" not in page
    confirm(desk, address, page)
    assert DeskAction.objects.get().reason.replace("\r\n", "\n") == nasty


def test_a_name_of_a_hundred_characters_has_room(desk: Client) -> None:
    provider = factories.work_provider(name="W" * 100)
    link = factories.link(provider, "x" * 128)
    send(provider, "login", july("08:12"), driver_id="x" * 128)
    page = ask(desk, path("end-link", link.pk), at="2026-07-01 12:00:00Z")
    assert "W" * 100 in page


@pytest.mark.parametrize(
    ("at", "zone", "text"),
    [
        ("2026-07-01T16:40:00+00:00", LONDON, "2026-07-01 17:40:00"),
        ("2026-10-25T00:30:00+00:00", LONDON, "2026-10-25 01:30:00+01:00"),
        ("2026-10-25T01:30:00+00:00", LONDON, "2026-10-25 01:30:00+00:00"),
        ("2026-07-01T16:40:00.123456+00:00", "UTC", "2026-07-01 16:40:00.123456"),
    ],
)
def test_a_prefilled_moment_reads_back_as_itself(at: str, zone: str, text: str) -> None:
    from shifts.desk.pages import InstantField

    moment = datetime.fromisoformat(at)
    assert typed(moment, zone) == text
    assert InstantField(zone=zone).clean(text) == moment


def test_customers_are_found_however_their_number_is_read_out() -> None:
    from shifts.desk.subjects import SubjectForm

    customer = factories.customer()
    provider = factories.work_provider()
    spelled = " ".join(customer.number.lower())
    form = SubjectForm({"number": spelled, "work_provider": provider.pk})
    assert form.is_valid()
    found: Customer = form.cleaned_data["number"]
    assert found == customer
