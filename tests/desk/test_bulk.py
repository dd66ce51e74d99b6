"""Mending many at a time: what is told beforehand, what then goes on, and how far it is."""

import html
import json
import re
from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from linking import keys
from linking.models import ApiKey, DeskAction, DriverLink, WorkProvider
from shifts import bulk
from shifts.accept import keep
from shifts.desk import bulk as pages
from shifts.desk.flow import CHANGED
from shifts.models import Shift, Submission
from tests import factories
from tests.desk.test_front import page_of, staff, text_of
from tests.desk.test_mending import WHY, ask, fields_of, path, state
from tests.shifts.live import drain

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("outbox")]
LONDON = "Europe/London"


def july(clock: str, day: int = 1) -> datetime:
    return datetime.fromisoformat(f"2026-07-{day:02}T{clock}Z")


@pytest.fixture
def desk(client: Client) -> Client:
    client.force_login(staff("shifts.view_shift", "linking.mend", "linking.mend_in_bulk"))
    return client


@pytest.fixture
def provider() -> WorkProvider:
    return factories.work_provider(name="Courier Ltd", timezone=LONDON)


def linked(provider: WorkProvider, count: int = 3) -> list[DriverLink]:
    return [factories.link(provider, f"d{number}") for number in range(count)]


def send(
    provider: WorkProvider,
    kind: str,
    *rows: tuple[str, str],
    key: ApiKey | None = None,
    received_at: datetime | None = None,
) -> Submission:
    """One batch of (driver id, time as written)."""
    body = [{"driverId": driver, "timestamp": time} for driver, time in rows]
    sent = keep(
        Submission(
            work_provider=provider,
            api_key=key,
            kind=kind,
            is_batch=True,
            body=json.dumps(body).encode(),
            timezone=provider.timezone,
            received_at=received_at or timezone.now(),
        ),
        max_future=provider.max_future,
    )
    drain()
    return sent


def at_work(provider: WorkProvider, count: int = 3) -> list[DriverLink]:
    links = linked(provider, count)
    send(provider, "login", *((link.driver_id, "2026-07-01T09:00") for link in links))
    return links


def ends(links: list[DriverLink]) -> list[tuple[datetime | None, str]]:
    rows = Shift.objects.filter(link__in=links).order_by("link", "started_at")
    return list(rows.values_list("ended_at", "end_reason"))


def confirm(client: Client, address: str, preview: str) -> DeskAction:
    """Give the word; returns what is under way then."""
    answer = client.post(address, fields_of(preview))
    assert answer.status_code == 302, text_of(answer.content.decode())
    action = DeskAction.objects.get(finished_at=None)
    assert answer["Location"] == path("action", action.pk)
    return action


def carry_through() -> None:
    while bulk.carry_on(timezone.now()):
        pass


# Close-out


def test_everyone_is_closed_out_after_a_preview_of_the_first_and_a_count(
    desk: Client, provider: WorkProvider
) -> None:
    links = at_work(provider, 4)
    send(provider, "logout", ("d0", "2026-07-01T19:00"))
    before = state()
    address = path("close-out", work_provider=provider.pk)
    assert "Their system was down from" in text_of(page_of(desk, address))
    page = ask(
        desk,
        address,
        at="2026-07-01 18:30",
        down_from="2026-07-01 18:00",
        down_until="2026-07-01 20:00",
    )
    text = text_of(page)
    assert "3 shifts will end at 2026-07-01 18:30:00 BST 17:30:00 UTC" in text
    assert "1 sent a logout since" in text
    row = "1 Jul 2026 09:00 - 23:00 (closed automatically) 09:00 - 18:30 (ended by the desk)"
    assert text.count(row) == 3
    assert "Cover is shortened: 13:30:00" in text
    assert "Log 3 out at 1 Jul 2026 18:30" in text
    assert state() == before
    action = confirm(desk, address, page)
    assert (action.kind, action.reason) == ("CLOSE_OUT", WHY)
    assert action.details["outage"] == "2026-07-01T17:00:00+00:00 to 2026-07-01T19:00:00+00:00"
    carry_through()
    assert ends(links) == [(july("18:00"), "LOGOUT")] + [(july("17:30"), "OPS")] * 3


def test_an_address_that_says_enough_shows_the_preview_at_once_and_asks_why_beside_it(
    desk: Client, provider: WorkProvider
) -> None:
    at_work(provider, 2)
    page = page_of(desk, path("close-out"))
    assert 'name="at"' in page
    address = path("close-out", work_provider=provider.pk, at="2026-07-01 18:30")
    before = state()
    page = page_of(desk, address)
    assert "2 shifts will end" in text_of(page)
    assert re.search(r"<textarea[^>]* name=\"reason\"", page)
    assert state() == before
    fields = fields_of(page)
    answer = desk.post(address, fields | {"reason": " "})
    assert "This field is required." in answer.content.decode()
    assert not DeskAction.objects.exists()
    answer = desk.post(address, fields | {"reason": "", "edit": "1"})
    assert 'value="2026-07-01 18:30"' in answer.content.decode()
    desk.post(address, fields | {"reason": WHY})
    assert DeskAction.objects.get().reason == WHY


def test_an_address_that_says_nonsense_shows_the_form_with_what_is_wrong(
    desk: Client, provider: WorkProvider
) -> None:
    page = page_of(desk, path("close-out", work_provider=provider.pk, at="yesterday"))
    assert "Write it as" in text_of(page)
    later = (timezone.now() + timedelta(days=1)).isoformat()
    page = page_of(desk, path("close-out", work_provider=provider.pk, at=later))
    assert "That moment has not passed yet." in text_of(page)


def test_only_the_first_twenty_are_shown(desk: Client, provider: WorkProvider) -> None:
    at_work(provider, 25)
    page = ask(desk, path("close-out", work_provider=provider.pk), at="2026-07-01 18:30")
    text = text_of(page)
    assert "25 shifts will end" in text
    assert "The first 20 of 25 drivers" in text
    assert text.count("(ended by the desk)") == 20
    assert "of these 20 alone: 90:00:00" in text


def test_nobody_to_close_out_is_said_and_nothing_is_offered(
    desk: Client, provider: WorkProvider
) -> None:
    address = path("close-out", work_provider=provider.pk)
    page = ask(desk, address, at="2026-07-01 18:30")
    assert "Nobody was on shift at" in text_of(page)
    assert "expected" not in fields_of(page)
    at_work(provider, 1)
    send(provider, "logout", ("d0", "2026-07-01T19:00"))
    page = ask(desk, address, at="2026-07-01 18:30")
    assert "has an end that stays" in text_of(page)


def test_a_moment_ahead_is_refused_in_the_form(desk: Client, provider: WorkProvider) -> None:
    at = (timezone.now() + timedelta(hours=1)).isoformat()
    page = ask(desk, path("close-out", work_provider=provider.pk), at=at)
    assert "That moment has not passed yet." in text_of(page)


def test_a_count_that_nobody_was_told_is_no_word_to_begin(
    desk: Client, provider: WorkProvider
) -> None:
    at_work(provider, 2)
    address = path("close-out", work_provider=provider.pk)
    data = {"at": "2026-07-01 18:30", "reason": WHY, "expected": "9" * 5000}
    assert "2 shifts will end" in text_of(desk.post(address, data).content.decode())
    assert not DeskAction.objects.exists()


def test_more_than_was_told_is_told_anew(desk: Client, provider: WorkProvider) -> None:
    at_work(provider, 2)
    address = path("close-out", work_provider=provider.pk)
    page = ask(desk, address, at="2026-07-01 18:30")
    factories.link(provider, "late")
    send(provider, "login", ("late", "2026-07-01T10:00"))
    again = desk.post(address, fields_of(page)).content.decode()
    assert CHANGED in html.unescape(again)
    assert "3 shifts will end" in text_of(again)
    assert not DeskAction.objects.exists()
    confirm(desk, address, again)


def test_fewer_than_was_told_is_no_reason_to_ask_again(
    desk: Client, provider: WorkProvider
) -> None:
    at_work(provider, 2)
    address = path("close-out", work_provider=provider.pk)
    page = ask(desk, address, at="2026-07-01 18:30")
    send(provider, "logout", ("d0", "2026-07-01T19:00"))
    action = confirm(desk, address, page)
    assert bulk.progress(action).total == 1


def test_the_work_provider_is_asked_first_and_one_at_a_time(
    desk: Client, provider: WorkProvider
) -> None:
    at_work(provider)
    assert "Courier Ltd" in page_of(desk, path("close-out"))
    address = path("close-out", work_provider=provider.pk)
    action = confirm(desk, address, ask(desk, address, at="2026-07-01 18:30"))
    for other in (address, path("reread", work_provider=provider.pk)):
        page = page_of(desk, other)
        assert "under way" in text_of(page)
        assert path("action", action.pk) in page


# Strike


@pytest.fixture
def leaked(provider: WorkProvider) -> ApiKey:
    return keys.issue(provider, label="old server")[0]


def sent_lately(provider: WorkProvider, key: ApiKey) -> list[DriverLink]:
    links = linked(provider)
    send(provider, "login", *((link.driver_id, "2026-07-01T09:00") for link in links), key=key)
    send(provider, "login", ("d0", "2026-07-01T09:00"))
    send(provider, "logout", ("d1", "2026-07-01T17:00"), ("nobody", "2026-07-01T17:00"), key=key)
    return links


def an_hour_ago() -> str:
    return (timezone.now() - timedelta(hours=1)).isoformat()


def test_what_a_leaked_key_sent_is_shown_and_struck(
    desk: Client, provider: WorkProvider, leaked: ApiKey
) -> None:
    links = sent_lately(provider, leaked)
    address = path("strike", key=leaked.pk)
    form = page_of(desk, address)
    assert "old server" in text_of(form)
    assert path("revoke-key", leaked.pk) in form
    page = ask(desk, address, since=an_hour_ago())
    text = text_of(page)
    assert "2 submissions with 5 events will be withdrawn" in text
    assert "2 shifts go" in text
    assert "Events by outcome 4 counts 1 held" in text
    assert "Drivers named 4" in text
    assert "Customers 3" in text
    assert "Shifts that rest on it 3" in text
    assert "Withdraw 2 submissions" in text
    action = confirm(desk, address, page)
    carry_through()
    assert [shift.link for shift in Shift.objects.all()] == [links[0]]
    assert action.details["key_id"] == leaked.key_id
    undo = path("undo", action.pk)
    page = ask(desk, undo)
    assert "2 submissions will be as before" in text_of(page)
    undoing = confirm(desk, undo, page)
    carry_through()
    assert Shift.objects.count() == 3
    assert undoing.undoes == action
    assert "undone already" in text_of(page_of(desk, undo))


def test_the_key_is_revoked_in_the_same_step_by_who_may(
    client: Client, provider: WorkProvider, leaked: ApiKey
) -> None:
    sent_lately(provider, leaked)
    address = path("strike", key=leaked.pk)
    client.force_login(staff("linking.mend_in_bulk"))
    assert 'name="revoke"' not in page_of(client, address)
    client.force_login(staff("linking.mend_in_bulk", "linking.change_apikey"))
    assert 'name="revoke"' in page_of(client, address)
    page = ask(client, address, since=an_hour_ago(), revoke="on")
    assert "Revoke the key first yes" in text_of(page)
    assert "still works" not in text_of(page)
    confirm(client, address, page)
    leaked.refresh_from_db()
    assert leaked.revoked_at is not None
    kinds = set(DeskAction.objects.values_list("kind", flat=True))
    assert kinds == {"REVOKE_KEY", "STRIKE"}
    carry_through()
    assert "still works" not in page_of(client, address)


def test_a_key_is_not_revoked_where_there_is_nothing_to_strike(
    client: Client, provider: WorkProvider, leaked: ApiKey
) -> None:
    client.force_login(staff("linking.mend_in_bulk", "linking.change_apikey"))
    address = path("strike", key=leaked.pk)
    data = {"since": an_hour_ago(), "revoke": "on", "reason": WHY, "expected": "1"}
    page = client.post(address, data).content.decode()
    assert "There is nothing to do." in text_of(page)
    leaked.refresh_from_db()
    assert leaked.revoked_at is None


def test_what_comes_until_the_word_is_struck_too_but_not_beyond_a_period_that_ends(
    desk: Client, provider: WorkProvider, leaked: ApiKey
) -> None:
    sent_lately(provider, leaked)
    address = path("strike", key=leaked.pk)
    page = ask(desk, address, since=an_hour_ago())
    until = timezone.now().isoformat()
    ended = ask(desk, address, since=an_hour_ago(), until=until)
    send(provider, "login", ("d2", "2026-07-02T09:00"), key=leaked)
    action = confirm(desk, address, page)
    assert bulk.progress(action).total == 3
    carry_through()
    undo = path("undo", action.pk)
    confirm(desk, undo, ask(desk, undo))
    carry_through()
    assert bulk.progress(confirm(desk, address, ended)).total == 2


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"since": "2026-07-02 00:00", "until": "2026-07-01 00:00"}, "It begins after its end."),
        ({"since": "2026-07-01 00:00", "until": "2026-08-02 00:00"}, "at most 31 days"),
        ({"since": "2020-07-01 00:00"}, "at most 31 days"),
        ({}, "This field is required."),
    ],
)
def test_a_period_that_makes_no_sense_is_refused(
    desk: Client, leaked: ApiKey, data: dict[str, str], error: str
) -> None:
    page = ask(desk, path("strike", key=leaked.pk), **data)
    assert error in text_of(page)


def test_a_key_that_sent_nothing_says_so(desk: Client, leaked: ApiKey) -> None:
    page = ask(desk, path("strike", key=leaked.pk), since=an_hour_ago())
    assert "the key sent nothing that counts" in text_of(page)
    assert "expected" not in fields_of(page)


def test_the_key_is_found_by_its_id(desk: Client, leaked: ApiKey) -> None:
    assert "Key id" in text_of(page_of(desk, path("strike")))
    page = page_of(desk, path("strike", key_id=f" {leaked.key_id} "))
    assert "old server" in text_of(page)
    page = page_of(desk, path("strike", key_id="NOSUCHKEY"))
    assert "There is no key of this id." in text_of(page)
    assert desk.get(path("strike", key=leaked.pk + 1)).status_code == 404


def test_many_events_are_counted_over_the_first_and_that_is_said(
    desk: Client, provider: WorkProvider, leaked: ApiKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shifts.desk.effects.MOST_EVENTS", 3)
    monkeypatch.setattr(pages, "LOOKED_AT_EVENTS", 4)
    sent_lately(provider, leaked)
    text = text_of(ask(desk, path("strike", key=leaked.pk), since=an_hour_ago()))
    assert "Counted over the first 3 events." in text
    assert "shifts go" not in text


# Reading again


def test_local_times_are_shown_before_and_after_and_read_again(
    desk: Client, provider: WorkProvider
) -> None:
    WorkProvider.objects.filter(pk=provider.pk).update(timezone="UTC")
    provider.refresh_from_db()
    links = at_work(provider)
    send(provider, "logout", ("d0", "2026-07-01T17:00"))
    send(provider, "logout", ("d1", "2026-07-01T17:00Z"))
    before = state()
    address = path("reread", work_provider=provider.pk)
    assert "Zone now UTC" in text_of(page_of(desk, address))
    page = ask(desk, address, since=an_hour_ago(), to_zone=LONDON)
    text = text_of(page)
    assert "At most 3 submissions will be read again in Europe/London" in text
    assert "2026-07-01 09:00:00 UTC 2026-07-01 09:00:00 BST 08:00:00 UTC" in text
    assert "3 shifts will change" in text
    assert "09:00 - 17:00 (logged out) becomes 08:00 - 16:00 (logged out)" in text
    assert "somebody who manages work providers must change its zone" in text
    assert state() == before
    action = confirm(desk, address, page)
    carry_through()
    starts = Shift.objects.filter(link__in=links).values_list("started_at", flat=True)
    assert set(starts) == {july("08:00")}
    page = page_of(desk, address)
    assert "has been read again in Europe/London" in text_of(page)
    assert path("action", action.pk) in page


def test_who_may_change_the_zone_is_led_there(client: Client, provider: WorkProvider) -> None:
    at_work(provider)
    client.force_login(staff("linking.mend_in_bulk", "linking.change_workprovider"))
    address = path("reread", work_provider=provider.pk)
    page = ask(client, address, since=an_hour_ago(), to_zone="Europe/Berlin")
    assert path("change-work-provider", provider.pk) in page
    page = ask(client, address, since=an_hour_ago(), to_zone=LONDON)
    assert "Nothing would be read again." in text_of(page)
    assert path("change-work-provider", provider.pk) not in page


def test_times_with_offsets_make_one_doubt_whether_the_zone_is_wrong(
    desk: Client, provider: WorkProvider
) -> None:
    linked(provider, 1)
    send(provider, "login", ("d0", "2026-07-01T09:00+01:00"))
    address = path("reread", work_provider=provider.pk)
    text = text_of(ask(desk, address, since=an_hour_ago(), to_zone="Europe/Berlin"))
    assert "None of the first ones has a time that reads differently" in text


def test_a_zone_that_is_none_is_refused(desk: Client, provider: WorkProvider) -> None:
    address = path("reread", work_provider=provider.pk)
    page = ask(desk, address, since=an_hour_ago(), to_zone="Europe/Londres")
    assert "Europe/Londres is not a time zone" in text_of(page)
    assert '<option value="Europe/London">' in page


# How far it is


def test_the_progress_fetches_itself_until_it_is_done(
    desk: Client, provider: WorkProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.template.loader import render_to_string

    monkeypatch.setattr(bulk, "PIECE", 1)
    at_work(provider, 2)
    address = path("close-out", work_provider=provider.pk)
    action = confirm(desk, address, ask(desk, address, at="2026-07-01 18:30"))

    def shown() -> str:
        action.refresh_from_db()
        return render_to_string("desk/bulk_progress.html", {"action": action})

    assert 'max="2" value="0"' in shown()
    assert f'hx-get="{path("action", action.pk)}"' in shown()
    bulk.carry_on(timezone.now())
    assert "1 of 2 done" in shown()
    action.items.filter(done_at=None).update(done_at=timezone.now(), problem="It could not be.")
    assert "1 could not be done" in shown()
    carry_through()
    assert "hx-get" not in shown()
    assert "Finished" in shown()


def test_what_was_done_at_once_shows_no_progress(provider: WorkProvider) -> None:
    from django.template.loader import render_to_string

    now = timezone.now()
    action = DeskAction.objects.create(
        kind="SEEN", actor=staff(), reason=WHY, created_at=now, finished_at=now
    )
    assert not render_to_string("desk/bulk_progress.html", {"action": action}).strip()


def test_what_is_under_way_is_not_undone(desk: Client, provider: WorkProvider) -> None:
    at_work(provider)
    address = path("close-out", work_provider=provider.pk)
    action = confirm(desk, address, ask(desk, address, at="2026-07-01 18:30"))
    assert "still going on" in text_of(page_of(desk, path("undo", action.pk)))


# Who may, and at what price


def test_only_who_may_mend_in_bulk_sees_or_sends_the_forms(
    client: Client, provider: WorkProvider, leaked: ApiKey
) -> None:
    client.force_login(staff("shifts.view_shift", "linking.mend"))
    for address in (path("close-out"), path("strike", key=leaked.pk), path("reread")):
        assert client.get(address).status_code == 403
        assert client.post(address, {"reason": WHY}).status_code == 403
    action = DeskAction.objects.create(
        kind="CLOSE_OUT",
        actor=staff(),
        reason=WHY,
        created_at=timezone.now(),
        finished_at=timezone.now(),
        work_provider=provider,
    )
    assert client.get(path("undo", action.pk)).status_code == 403


def test_a_preview_costs_the_same_number_of_queries_for_many(
    desk: Client, provider: WorkProvider, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    at_work(provider, 15)
    address = path("close-out", work_provider=provider.pk)
    with django_assert_max_num_queries(60):
        ask(desk, address, at="2026-07-01 18:30")


def test_every_reason_is_asked_for(desk: Client, provider: WorkProvider, leaked: ApiKey) -> None:
    at_work(provider)
    for address, data in (
        (path("close-out", work_provider=provider.pk), {"at": "2026-07-01 18:30"}),
        (path("strike", key=leaked.pk), {"since": an_hour_ago()}),
        (
            path("reread", work_provider=provider.pk),
            {"since": an_hour_ago(), "to_zone": "Europe/Berlin"},
        ),
    ):
        page = ask(desk, address, **data, reason="")
        assert "This field is required." in text_of(page)
        answer = desk.post(address, data | {"expected": "3", "reason": " "})
        assert answer.status_code == 200
    assert not DeskAction.objects.exists()
