"""Work providers on the desk: one page to bring one in, its keys, and why its requests are refused."""

import ast
import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from linking import desk as record_of
from linking import keys, tokens
from linking.models import (
    ApiKey,
    DeskAction,
    DeskActionItem,
    LinkPolicy,
    LinkSecret,
    Terms,
    User,
    WorkProvider,
)
from shifts import mend, onboarding, payload
from shifts.desk import once, partner
from shifts.desk.advice import advice_on
from shifts.desk.audit import what_was_done
from shifts.desk.work_provider_forms import HoursField, in_hours
from shifts.models import Kind, RejectedRequest, ShiftRule, Standing, Submission
from tests import factories
from tests.desk import rights
from tests.running import Service
from zego_api import errors
from zego_api.ids import uuid7

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEY = re.compile(r"zego_(?:live|test)_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}_[0-9a-f]{8}")
ADD = {
    "name": "Courier Ltd",
    "timezone": "Europe/London",
    "link_policy": "OPEN",
    "max_future": "24",
    "max_shift_length": "14",
    "reason": "Contract 4711.",
}


@pytest.fixture
def admin(db: None) -> User:
    return rights.member(rights.ADMIN)


@pytest.fixture
def desk(client: Client, admin: User) -> Client:
    """Signed in as somebody who may add work providers and issue keys."""
    client.force_login(admin)
    return client


@pytest.fixture
def courier(db: None) -> WorkProvider:
    return factories.work_provider(name="Courier Ltd", timezone="Europe/London")


def url(name: str, *args: object) -> str:
    return reverse(f"desk:{name}", args=args)


def text_of(answer: Any) -> str:
    """The page's own words, without tags."""
    assert answer.status_code == 200, answer
    body = answer.content.decode().partition('class="d-desk"')[2]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def values_of(answer: Any) -> str:
    """The page as it was sent."""
    return str(answer.content.decode())


def key_on(answer: Any) -> str:
    found = KEY.findall(values_of(answer))
    assert len(found) == 1
    return str(found[0])


# The list


def test_the_list_says_how_each_stands(desk: Client, courier: WorkProvider) -> None:
    keys.issue(courier)
    ApiKey.objects.update(last_used_at=timezone.now() - 3 * HOUR)
    keys.issue(courier, expires_at=timezone.now() - DAY)
    Standing.objects.create(work_provider=courier, looked_at=NOW, held=412, silent_since=NOW)
    factories.work_provider(name="Another", is_active=False, is_test=True)
    page = text_of(desk.get(url("work-providers")))
    assert "Courier Ltd silent Europe/London Open 1 3 h ago 412 - -" in page
    assert "Another not active sandbox UTC Open 0 - - -" in page


def test_the_list_is_searched_by_name(desk: Client, courier: WorkProvider) -> None:
    factories.work_provider(name="Another")
    page = text_of(desk.get(url("work-providers"), {"q": "COUR"}))
    assert "Courier Ltd" in page
    assert "Another" not in page
    assert "No work provider has" in text_of(desk.get(url("work-providers"), {"q": "nobody"}))


def test_the_list_comes_in_pages_with_as_many_queries_for_each(
    desk: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    names = [f"Platform {number:03}" for number in range(120)]
    for name in names:
        keys.issue(factories.work_provider(name=name))
    path, seen = url("work-providers"), []
    while path:
        with django_assert_max_num_queries(8):
            answer = desk.get(path)
        seen += re.findall(r"Platform \d{3}", text_of(answer))
        more = re.search(r'href="(\?[^"]*after=[^"]*)">More', values_of(answer))
        path = url("work-providers") + html.unescape(more[1]) if more else ""
    assert seen == names


def test_an_empty_list_says_what_comes_first(desk: Client) -> None:
    assert "There is no work provider yet" in text_of(desk.get(url("work-providers")))


# Onboarding


def add(desk: Client, **fields: str) -> Any:
    return desk.post(url("add-work-provider"), ADD | fields, follow=True)


def test_a_work_provider_comes_in_by_one_form(desk: Client, admin: User) -> None:
    answer = add(
        desk,
        timezone="Europe/Paris",
        max_future="2:30",
        max_shift_length="10:15",
        is_test="on",
        terms_version="2026-11",
        terms_text="Be kind.",
        key_label="production",
    )
    made = WorkProvider.objects.get()
    assert (made.name, made.timezone, made.link_policy) == ("Courier Ltd", "Europe/Paris", "OPEN")
    assert made.max_future == timedelta(hours=2, minutes=30)
    assert (made.is_test, made.is_active) == (True, True)
    assert ShiftRule.objects.get().max_shift_length == timedelta(hours=10, minutes=15)
    assert Terms.objects.get().text == "Be kind."
    assert ApiKey.objects.get().label == "production"
    credentials = keys.verify(key_on(answer), now=timezone.now())
    assert credentials
    assert credentials.work_provider_id == made.pk
    added, issued = DeskAction.objects.order_by("kind")
    assert (added.kind, added.actor, added.reason) == ("ADD", admin, "Contract 4711.")
    assert added.details["changes"]["timezone"] == [None, "Europe/Paris"]
    assert (issued.kind, issued.work_provider) == ("ISSUE_KEY", made)


def test_one_whose_links_are_signed_gets_its_secret_too(desk: Client) -> None:
    page = values_of(add(desk, link_policy="SIGNED"))
    [secret] = re.findall(r"zego_link_[0-9A-Za-z_-]{43}", page)
    made = WorkProvider.objects.get()
    query = {"wp": made.name, "wp_id": "1686", "email": "driver@example.com"}
    expires = int((timezone.now() + DAY).timestamp())
    signature = tokens.sign(secret, **query, expires=expires)
    tokens.verify(made, **query, expires=str(expires), signature=signature, now=timezone.now())
    assert {action.kind for action in DeskAction.objects.all()} == {
        "ADD",
        "ISSUE_KEY",
        "ISSUE_LINK_SECRET",
    }


def test_there_may_be_no_longest_shift(desk: Client) -> None:
    add(desk, max_shift_length="", no_maximum="on")
    assert ShiftRule.objects.get().max_shift_length is None


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": ""}, "This field is required"),
        ({"name": "COURIER ltd"}, "There is a work provider of this name already."),
        ({"name": "Courier\nLtd"}, "no line ends"),
        ({"timezone": "Mars/Base"}, "is not a time zone. Use a name such as Europe/London."),
        ({"max_future": "soon"}, "Write hours, such as 14 or 14:30."),
        ({"max_future": "9000"}, "Between 0 and 366 days."),
        ({"max_shift_length": ""}, "Give the longest shift, or tick that there is none."),
        ({"no_maximum": "on"}, "Give the longest shift, or tick that there is none."),
        ({"max_shift_length": "0"}, "At least 0:01 h."),
        ({"terms_version": "1"}, "Terms have a version and a text"),
        ({"terms_text": "Be kind."}, "Terms have a version and a text"),
        ({"reason": "  "}, "This field is required"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_made(
    desk: Client, fields: dict[str, str], problem: str
) -> None:
    factories.work_provider(name="Courier LTD") if fields == {"name": "COURIER ltd"} else None
    before = WorkProvider.objects.count()
    assert problem in text_of(add(desk, **fields))
    assert WorkProvider.objects.count() == before
    assert not ApiKey.objects.exists()
    assert not DeskAction.objects.exists()


# Shown once


def test_a_key_is_shown_once(desk: Client, courier: WorkProvider) -> None:
    answer = desk.post(url("issue-key", courier.pk), {"reason": "Asked for."})
    assert answer.status_code == 302
    waiting = json.dumps(dict(desk.session.items()))
    assert not KEY.search(waiting)
    first = desk.get(answer["Location"])
    key = key_on(first)
    assert "no-store" in first["Cache-Control"]
    assert re.search(rf'<input[^>]*value="{key}"[^>]*readonly', values_of(first))
    assert "shown_once" not in desk.session
    second = desk.get(answer["Location"])
    assert not KEY.search(values_of(second))
    assert "has been shown" in text_of(second)


@pytest.mark.parametrize(
    "name", ["add-work-provider", "issue-key", "roll-key", "issue-link-secret"]
)
def test_a_second_click_shows_what_the_first_has_made(
    desk: Client, courier: WorkProvider, name: str
) -> None:
    row, _ = keys.issue(courier)
    args = {"add-work-provider": [], "roll-key": [row.pk]}.get(name, [courier.pk])
    fields = ADD | {"name": "New Ltd", "label": "new", "days": "7"}
    answers = [desk.post(url(name, *args), fields) for _ in range(2)]
    assert [answer["Location"] for answer in answers] == [url("shown-once")] * 2
    made = WorkProvider.objects.count(), ApiKey.objects.count(), LinkSecret.objects.count()
    assert made == {"add-work-provider": (2, 2, 0), "issue-link-secret": (1, 1, 1)}.get(
        name, (1, 2, 0)
    )
    shown = values_of(desk.get(url("shown-once")))
    assert KEY.search(shown) or re.search(r"zego_link_[0-9A-Za-z_-]{43}", shown)


def test_a_key_that_nobody_came_for_is_shown_no_more(
    desk: Client, courier: WorkProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = desk.post(url("issue-key", courier.pk), {"reason": "Asked for."})
    monkeypatch.setattr(once, "_SECONDS", -1)
    assert not KEY.search(values_of(desk.get(answer["Location"])))


# Keys


def test_a_key_may_have_an_end(desk: Client, courier: WorkProvider) -> None:
    desk.post(url("issue-key", courier.pk), {"reason": "Trial.", "label": "trial", "days": "30"})
    row = ApiKey.objects.get()
    assert row.expires_at
    assert abs(row.expires_at - timezone.now() - 30 * DAY) < timedelta(minutes=1)
    assert "trial live dying" in text_of(desk.get(url("work-provider", courier.pk)))


def test_rolling_shows_the_new_key_and_when_the_old_one_dies(
    desk: Client, courier: WorkProvider
) -> None:
    row, old = keys.issue(courier, label="app")
    form = desk.get(url("roll-key", row.pk))
    assert 'value="7"' in values_of(form)
    answer = desk.post(url("roll-key", row.pk), {"reason": "Yearly.", "days": "7"}, follow=True)
    new = key_on(answer)
    row.refresh_from_db()
    assert row.expires_at
    assert abs(row.expires_at - timezone.now() - 7 * DAY) < timedelta(minutes=1)
    assert f"The old key, {row.key_id} , dies on {row.expires_at:%Y-%m-%d}" in text_of(answer)
    for key in (old, new):
        assert keys.verify(key, now=timezone.now())
    again = desk.post(url("roll-key", row.pk), {"reason": "Again.", "days": "7"})
    assert "has been rolled already" in text_of(again)
    assert ApiKey.objects.count() == 2


def test_revoking_is_at_once_and_says_what_it_means(desk: Client, courier: WorkProvider) -> None:
    row, key = keys.issue(courier)
    assert "Within 5 seconds no server takes this key" in text_of(
        desk.get(url("revoke-key", row.pk))
    )
    answer = desk.post(url("revoke-key", row.pk), {"reason": "Leaked."}, follow=True)
    assert "State revoked" in text_of(answer)
    assert keys.verify(key, now=timezone.now()) is None
    assert DeskAction.objects.get().reason == "Leaked."
    again = desk.post(url("revoke-key", row.pk), {"reason": "Again."})
    assert "has been revoked already" in text_of(again)


def test_the_page_of_a_key_says_who_issued_it_and_what_it_sent(
    desk: Client, courier: WorkProvider, admin: User
) -> None:
    now = timezone.now().replace(second=0, microsecond=0)
    row, _ = keys.hand_out(
        courier, label="app", expires_at=None, actor=admin, reason="Contract.", now=now
    )
    other = keys.issue(courier)[0]
    sent = [
        submission(courier, row, now - age, events)
        for age, events in [(timedelta(0), 3), (30 * timedelta(minutes=1), 4), (20 * HOUR, 5)]
    ]
    submission(courier, other, now, 1000)
    submission(courier, row, now - 30 * HOUR, 2000)
    assert "it has never been used" in text_of(desk.get(url("key", row.pk)))
    ApiKey.objects.filter(pk=row.pk).update(last_used_at=now)
    page = text_of(desk.get(url("key", row.pk)))
    assert "issued an API key . Contract." in page
    assert [page.count(str(each.request_id)) for each in sent] == [1, 1, 0]
    assert page.count("What it sent") == 1
    assert "1000" not in page
    assert "2000" not in page
    assert f"{url('strike')}?key={row.pk}" in values_of(desk.get(url("key", row.pk)))


def submission(owner: WorkProvider, key: ApiKey, at: datetime, events: int) -> Submission:
    return Submission.objects.create(
        work_provider=owner,
        api_key=key,
        kind="login",
        is_batch=True,
        body=b"[]",
        timezone="UTC",
        event_count=events,
        received_at=at,
        digested_at=at,
    )


def test_link_secrets_are_issued_and_revoked(desk: Client, courier: WorkProvider) -> None:
    for _ in range(2):
        answer = desk.post(
            url("issue-link-secret", courier.pk), {"reason": "Asked for."}, follow=True
        )
        assert re.search(r"zego_link_[0-9A-Za-z_-]{43}", values_of(answer))
    third = desk.post(url("issue-link-secret", courier.pk), {"reason": "Asked for."})
    assert "Two link secrets are live already" in text_of(third)
    first = LinkSecret.objects.order_by("pk")[0]
    desk.post(url("revoke-link-secret", first.pk), {"reason": "Rolled."})
    first.refresh_from_db()
    assert first.revoked_at
    assert list(DeskAction.objects.order_by("pk").values_list("kind", "reason", "details")) == [
        ("ISSUE_LINK_SECRET", "Asked for.", {"link_secret": first.pk}),
        ("ISSUE_LINK_SECRET", "Asked for.", {"link_secret": first.pk + 1}),
        ("REVOKE_LINK_SECRET", "Rolled.", {"link_secret": first.pk}),
    ]
    desk.post(url("revoke-link-secret", first.pk), {"reason": "Again."})
    assert DeskAction.objects.count() == 3


# Its page


def test_its_page_has_all_about_it(
    desk: Client,
    courier: WorkProvider,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    Standing.objects.create(work_provider=courier, looked_at=NOW, held=412, pending=3)
    for number in range(30):
        keys.issue(courier, label=f"key {number}")
        factories.terms(courier)
        rejected(courier, received_at=NOW - number * HOUR)
    tokens.issue_secret(courier)
    with django_assert_max_num_queries(22):
        page = text_of(desk.get(url("work-provider", courier.pk)))
    for said in ("412 events held", "Longest shift 14:00 h", "key 29", "v", "Is no date."):
        assert said in page
    for name in ("close-out", "reread"):
        assert f"{url(name)}?work_provider={courier.pk}" in values_of(
            desk.get(url("work-provider", courier.pk))
        )


def test_its_page_says_that_no_link_works(desk: Client, courier: WorkProvider) -> None:
    courier.link_policy = LinkPolicy.SIGNED
    courier.save()
    assert "No link works" in text_of(desk.get(url("work-provider", courier.pk)))
    tokens.issue_secret(courier)
    assert "No link works" not in text_of(desk.get(url("work-provider", courier.pk)))


def test_a_reader_is_offered_nothing_that_they_may_not_do(
    client: Client, courier: WorkProvider
) -> None:
    row, _ = keys.issue(courier)
    client.force_login(rights.member(rights.READER))
    for path in (url("work-provider", courier.pk), url("key", row.pk), url("work-providers")):
        page = values_of(client.get(path))
        for name in ("change-work-provider", "issue-key", "issue-link-secret"):
            assert url(name, courier.pk) not in page
        for name in ("roll-key", "revoke-key"):
            assert url(name, row.pk) not in page
        assert url("add-work-provider") not in page
        assert f'href="{url("strike")}?key={row.pk}"' not in page


# Changing it


def change(desk: Client, row: WorkProvider, **fields: str) -> Any:
    """The form as it stands there, with some fields changed."""
    present = {
        "name": row.name,
        "timezone": row.timezone,
        "link_policy": row.link_policy,
        "max_future": "24",
        "max_shift_length": "14",
        "is_active": "on",
        "reason": "They asked.",
    }
    return desk.post(url("change-work-provider", row.pk), present | fields)


def seen_on(answer: Any) -> str:
    found = re.search(r'name="seen" value="(\w*)"', values_of(answer))
    assert found
    return found[1]


def test_what_would_change_is_shown_before_it_does(
    desk: Client, courier: WorkProvider, admin: User
) -> None:
    wanted = {"timezone": "Europe/Paris", "max_shift_length": "12"}
    shown = change(desk, courier, **wanted)
    page = text_of(shown)
    assert "Time zone Europe/London Europe/Paris" in page
    assert "What was accepted keeps the zone it was read in" in page
    assert f"{url('reread')}?work_provider={courier.pk}" in values_of(shown)
    courier.refresh_from_db()
    assert courier.timezone == "Europe/London"
    assert not DeskAction.objects.exists()

    done = change(desk, courier, **wanted, seen=seen_on(shown))
    assert done.status_code == 302
    courier.refresh_from_db()
    assert courier.timezone == "Europe/Paris"
    assert ShiftRule.objects.get().max_shift_length == timedelta(hours=12)
    action = DeskAction.objects.get()
    assert (action.kind, action.actor, action.reason) == ("CHANGE", admin, "They asked.")
    assert action.details["changes"] == {
        "timezone": ["Europe/London", "Europe/Paris"],
        "max_shift_length": ["14:00:00", "12:00:00"],
    }


def test_nobody_confirms_what_they_have_not_seen(desk: Client, courier: WorkProvider) -> None:
    """Neither other fields than were shown, nor on top of what somebody else has changed meanwhile."""
    seen = seen_on(change(desk, courier, name="Courier Limited"))
    other = change(desk, courier, name="Courier Limited", timezone="UTC", seen=seen)
    assert "What would change" in text_of(other)
    WorkProvider.objects.update(name="Courier GmbH")
    late = change(desk, courier, name="Courier Limited", seen=seen)
    assert "Courier GmbH Courier Limited" in text_of(late)
    assert WorkProvider.objects.get().name == "Courier GmbH"
    assert not DeskAction.objects.exists()


def test_a_change_between_look_and_lock_is_noticed(courier: WorkProvider, admin: User) -> None:
    seen = onboarding.settings_of(courier)
    WorkProvider.objects.update(timezone="UTC")
    with pytest.raises(ValidationError, match="meanwhile"):
        onboarding.change(courier, seen, seen, actor=admin, reason="Why.", now=NOW)


def test_a_change_of_nothing_is_none(desk: Client, courier: WorkProvider) -> None:
    assert "Nothing differs" in text_of(change(desk, courier))


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"name": "Courier Limited"}, "Links with the old name (wp) stop working"),
        ({"link_policy": "SIGNED"}, "No link will work until"),
        ({"max_shift_length": "", "no_maximum": "on"}, "counts for logins from now on"),
        ({"is_active": ""}, "Its keys and links are refused"),
    ],
)
def test_the_change_says_what_it_means(
    desk: Client, courier: WorkProvider, fields: dict[str, str], warning: str
) -> None:
    shown = change(desk, courier, **fields)
    assert warning in text_of(shown)
    assert change(desk, courier, **fields, seen=seen_on(shown)).status_code == 302


def test_a_name_that_is_taken_is_said_at_the_end_too(desk: Client, courier: WorkProvider) -> None:
    factories.work_provider(name="Another")
    seen = seen_on(change(desk, courier, name="another"))
    answer = change(desk, courier, name="another", seen=seen)
    assert "There is a work provider of this name already" in text_of(answer)


@pytest.mark.parametrize(
    ("text", "hours"),
    [("14", 14.0), ("14:30", 14.5), ("0:30", 0.5), ("100", 100.0), ("1:00:36", 1.01)],
)
def test_hours_are_read_and_written_alike(text: str, hours: float) -> None:
    length = HoursField().clean(text)
    assert length == timedelta(hours=hours)
    assert HoursField().clean(in_hours(timedelta(hours=hours))) == length


# For the partner's engineer


@pytest.fixture
def environment(service: Service) -> tuple[dict[str, str], str]:
    """What a shell of the partner's has: the key of the demo work provider, on the running service."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("no curl on the PATH")
    return {"ZEGO_KEY": service.demo_key(), "PATH": os.environ["PATH"]}, service.url


@pytest.mark.parametrize("driver_id", ["1686", "o'Neill \"$HOME` \\ ünï", "a\\$NOW"])
@pytest.mark.parametrize("number", range(3))
def test_the_examples_do_what_they_say(
    environment: tuple[dict[str, str], str],
    service: Service,
    tmp_path: Path,
    driver_id: str,
    number: int,
) -> None:
    env, base_url = environment
    example = partner.examples(base_url, driver_id)[number]
    (tmp_path / "example.py").write_text(example.python, encoding="utf-8")
    in_python = run([sys.executable, "example.py"], env, tmp_path)
    assert in_python == example.printed
    in_shell = run(["bash", "-c", example.curl], env, tmp_path)
    assert in_shell == '{"status": "PENDING"}\n202'
    rows = service.query("SELECT body FROM shifts_submission ORDER BY id DESC LIMIT 2")
    for [body] in rows:
        [event] = payload.read(
            bytes(body),  # type: ignore[call-overload]
            is_batch="/batch/" in example.path,
            zone="UTC",
            received_at=timezone.now(),
        )
        assert event.driver_id == driver_id
        assert abs(event.at - timezone.now()) < timedelta(minutes=1)


def run(command: list[str], env: dict[str, str], directory: Path) -> str:
    done = subprocess.run(
        command, env=env, cwd=directory, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("policy", ["OPEN", "SIGNED"])
def test_the_link_script_prints_a_link_that_works(
    courier: WorkProvider, tmp_path: Path, policy: str
) -> None:
    courier.name, courier.link_policy = 'Courier & "Söhne"', policy
    courier.save()
    _, secret = tokens.issue_secret(courier)
    script = tmp_path / "link.py"
    script.write_text(partner.link_script("http://host", courier, "1686"), encoding="utf-8")
    link = urlsplit(run([sys.executable, str(script)], {"ZEGO_LINK_SECRET": secret}, tmp_path))
    query = {name: value for name, [value] in parse_qs(link.query).items()}
    assert (link.path, query["wp"], query["wp_id"]) == (tokens.PATH, courier.name, "1686")
    if policy == "SIGNED":
        tokens.verify(courier, **query, now=timezone.now())


@pytest.mark.parametrize("name", ["partner", "partner-text"])
def test_the_partners_page_has_what_is_theirs_and_no_key(
    desk: Client, courier: WorkProvider, name: str
) -> None:
    row, key = keys.issue(courier)
    factories.link(courier, "driver-77")
    answer = desk.get(url(name, courier.pk))
    page = html.unescape(values_of(answer))
    assert key not in page
    assert key.split("_")[3] not in page
    for said in (
        f"zego_live_{row.key_id}_",
        f"{settings.PUBLIC_URL}/v1/batch/logout/",
        "driver-77",
        "Europe/London",
        "wp=Courier%20Ltd&wp_id=driver-77",
        errors.INVALID_DATA.detail,
        "429" if name == "never" else "503",
    ):
        assert said in page


def test_the_partners_page_does_without_key_and_drivers(
    desk: Client, courier: WorkProvider
) -> None:
    courier.is_test = True
    courier.save()
    page = text_of(desk.get(url("partner", courier.pk)))
    assert "you have none yet" in page
    assert "it begins zego_test_" in page
    assert "replace 1686" in page
    assert "nobody is insured by them" in page


def test_the_plain_text_is_plain(desk: Client, courier: WorkProvider) -> None:
    courier.name = "Smith & Söhne <Ltd>"
    courier.save()
    answer = desk.get(url("partner-text", courier.pk))
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert "AS Smith & Söhne <Ltd>" in values_of(answer)


# Rejected requests


def rejected(owner: WorkProvider | None = None, **fields: Any) -> RejectedRequest:
    defaults = {
        "request_id": uuid7(),
        "received_at": timezone.now(),
        "path": "/v1/shift/login/",
        "status": 400,
        "code": "INVALID_DATA",
        "errors": [{"index": 3, "field": "timestamp", "reason": "Is no date."}],
        "error_count": 1,
        "sample": '{"timestamp": "99/99/99"}',
        "user_agent": "courier/1.0",
    }
    return RejectedRequest.objects.create(work_provider=owner, **defaults | fields)


def test_they_get_400s_and_this_is_why(desk: Client, courier: WorkProvider) -> None:
    """From the refused request to its explanation, by the real way in."""
    key = factories.key(courier)
    body = json.dumps([{"driverId": "1686", "timestamp": "22/11/26 18:30"}])
    refused = Client().post(
        "/v1/batch/login/", body, "application/json", headers={"Authorization": key}
    )
    page = text_of(desk.get(url("rejected"), {"work_provider": courier.pk}))
    assert "1 INVALID_DATA timestamp : Is not an ISO-8601 date and time. Send ISO 8601" in page
    assert '[{"driverId": "9999"' not in page
    assert '{"driverId": "9999", "timestamp": "99/99/99 99:99"}' in page
    assert "item 0: timestamp : Is not an ISO-8601" in page
    assert refused["X-Request-Id"] in page
    assert "/v1/batch/login/" in page


def test_refusals_are_narrowed_down(desk: Client, courier: WorkProvider) -> None:
    one = rejected(courier)
    other = rejected(factories.work_provider(name="Another"))
    stranger = rejected(
        status=401, code="INVALID_KEY", errors=[], hint="Not a key of ours by its form."
    )

    def shown(**query: Any) -> set[RejectedRequest]:
        page = text_of(desk.get(url("rejected"), query))
        return {each for each in (one, other, stranger) if str(each.request_id) in page}

    assert shown() == {one, other, stranger}
    assert shown(work_provider=courier.pk) == {one}
    assert shown(work_provider="unknown") == {stranger}
    assert shown(status=401) == {stranger}
    assert shown(code="INVALID_DATA") == {one, other}
    assert shown(request_id=str(other.request_id)) == {other}
    assert shown(status="x", code="y") == {one, other, stranger}
    assert shown(request_id="no id") == set()


def test_the_summary_counts_a_day_and_a_bounded_number(
    desk: Client, courier: WorkProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        rejected(courier)
    rejected(
        courier, errors=[{"index": None, "field": None, "reason": "The body is empty; send JSON."}]
    )
    rejected(courier, received_at=timezone.now() - 25 * HOUR)
    page = text_of(desk.get(url("rejected")))
    assert "3 INVALID_DATA timestamp : Is no date." in page
    assert "1 INVALID_DATA The body is empty; send JSON." in page
    monkeypatch.setattr("shifts.desk.rejected.SUMMED", 2)
    assert "Of the latest 2." in text_of(desk.get(url("rejected")))


def test_refusals_come_in_pages_with_as_many_queries_for_each(
    desk: Client, courier: WorkProvider, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    row, _ = keys.issue(courier)
    for number in range(60):
        rejected(courier, api_key=row, received_at=timezone.now() - number * HOUR)
    path, seen = url("rejected"), set()
    while path:
        with django_assert_max_num_queries(9):
            answer = desk.get(path)
        seen |= set(re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", text_of(answer)))
        more = re.search(r'href="(\?[^"]*after=[^"]*)">More', values_of(answer))
        path = url("rejected") + html.unescape(more[1]) if more else ""
    assert len(seen) == 60


def test_refusals_of_one_moment_are_all_shown(desk: Client, courier: WorkProvider) -> None:
    now = timezone.now()
    for _ in range(120):
        rejected(courier, received_at=now)
    path, seen = url("rejected"), set()
    while path:
        answer = desk.get(path)
        seen |= set(re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", text_of(answer)))
        more = re.search(r'href="(\?[^"]*after=[^"]*)">More', values_of(answer))
        path = url("rejected") + html.unescape(more[1]) if more else ""
    assert len(seen) == 120


@pytest.mark.parametrize("name", ["rejected", "actions", "work-providers"])
@pytest.mark.parametrize(
    "query",
    [
        "after=x",
        "after=%00",
        "after=2026-11-22T12:00:00",
        "after=2026-11-22T12:00:00~1",
        "after=0001-01-01T00:00:00%2B23:59~1",
        "after=9999-12-31T23:59:59-23:59~1",
        "after=" + "9" * 5000,
        "q=%00",
        "number=%00",
        "request_id=%00",
    ],
)
def test_an_address_that_says_nonsense_gives_a_page(
    desk: Client, courier: WorkProvider, name: str, query: str
) -> None:
    assert desk.get(f"{url(name)}?{query}").status_code == 200


MAKERS = {
    "shifts/payload.py": {"_Invalid", "_whole_body", "ItemError"},
    "shifts/views.py": {"ItemError"},
    "linking/identifiers.py": {"ValueError"},
    "linking/keys.py": {"Refusal", "_wrong_form", "_why_dead"},
    "shifts/rejected.py": {"_hint_about_missing_key"},
}


def words_made_by(path: str, makers: set[str]) -> Iterator[str]:
    """How each text begins that is given to one of these, or returned by it."""
    tree = ast.parse((Path(settings.BASE_DIR) / path).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in makers:
            yield from filter(None, map(beginning, node.args))
        if isinstance(node, ast.FunctionDef) and node.name in makers:
            for part in ast.walk(node):
                if isinstance(part, ast.Return) and part.value is not None:
                    yield from filter(None, [beginning(part.value)])


def beginning(node: ast.expr) -> str:
    """Of a text that is a sentence."""
    first = node.values[0] if isinstance(node, ast.JoinedStr) else node
    text = first.value if isinstance(first, ast.Constant) else ""
    return text if isinstance(text, str) and " " in text and text[0].isupper() else ""


@pytest.mark.parametrize(("path", "makers"), MAKERS.items())
def test_every_reason_that_can_be_given_has_its_advice(path: str, makers: set[str]) -> None:
    given = list(words_made_by(path, makers))
    assert given
    nothing = advice_on("Something new.", "INVALID_DATA")
    about_keys = ("Key ",)  # their rest decides: below
    assert [
        words for words in given if advice_on(words, "") == nothing and words not in about_keys
    ] == []


@pytest.mark.parametrize(
    "words",
    [
        "Key x was revoked on 1 May 2026 at 12:00 UTC.",
        "Key x expired on 1 May 2026 at 12:00 UTC.",
        "Key x is good, but its work provider is not active.",
        "Key x is good by now; it was not when it was sent.",
    ],
)
def test_every_state_of_a_key_has_its_advice(words: str) -> None:
    assert advice_on(words, "INVALID_KEY")


@pytest.mark.parametrize("code", ["LENGTH_REQUIRED", "TOO_LARGE"])
def test_every_code_has_its_advice(code: str) -> None:
    assert advice_on(code, code) != advice_on("Something new.", "INVALID_DATA")


# What the desk did


def test_an_action_says_who_did_what_when_and_why(
    desk: Client, courier: WorkProvider, admin: User
) -> None:
    link = factories.link(courier, "1686")
    mend.add_event(
        courier,
        link.customer,
        Kind.LOGIN,
        NOW - DAY,
        actor=admin,
        reason="The driver rang.",
        now=NOW,
    )
    action = DeskAction.objects.get()
    page = text_of(desk.get(url("action", action.pk)))
    for said in (admin.username, "added a login or logout", "The driver rang.", "Courier Ltd"):
        assert said in page
    assert link.customer.number in page
    assert "2026-11-21 12:00:00" in page
    assert url("undo", action.pk) in values_of(desk.get(url("action", action.pk)))
    undoing = mend.undo(action, actor=admin, reason="The wrong driver.", now=NOW + HOUR)
    page = text_of(desk.get(url("action", action.pk)))
    assert "Undone 2026-11-22 13:00:00 UTC by" in page
    assert url("undo", action.pk) not in values_of(desk.get(url("action", action.pk)))
    assert "This undoes what" in text_of(desk.get(url("action", undoing.pk)))


@pytest.mark.parametrize(
    ("kind", "table", "said"),
    [
        ("ADD", "linking.workprovider", "added a work provider"),
        ("CHANGE", "linking.customer", "changed a customer"),
        ("ADD", "linking.terms", "added terms"),
        ("CHANGE", "gone.table", "changed a gone.table"),
        ("ROLL_KEY", None, "rolled an API key"),
    ],
)
def test_what_was_done_is_said_in_words(kind: str, table: str | None, said: str) -> None:
    action = DeskAction(kind=kind, details={"table": table} if table else {})
    assert what_was_done(action) == said


def test_a_background_action_shows_its_progress_and_its_problems(
    desk: Client, courier: WorkProvider, admin: User
) -> None:
    customer = factories.customer()
    action = record_of.record(
        DeskAction.Kind.CLOSE_OUT,
        actor=admin,
        reason="An outage.",
        now=NOW,
        work_provider=courier,
        details={"at": NOW.isoformat(), "items": 3},
        in_background=True,
    )
    DeskActionItem.objects.create(action=action, target=customer.pk, done_at=NOW, problem="Gone.")
    for target in (10**6, 10**6 + 1):
        DeskActionItem.objects.create(action=action, target=target)
    page = text_of(desk.get(url("action", action.pk)))
    assert "1 of 3" in page
    assert f"{customer.number} Gone." in page
    assert url("undo", action.pk) not in values_of(desk.get(url("action", action.pk)))


@pytest.mark.parametrize("kind", DeskAction.Kind.values)
def test_an_action_of_each_kind_can_be_looked_at(
    desk: Client, courier: WorkProvider, admin: User, kind: str
) -> None:
    """Whatever its details hold, and however long they are."""
    details = {
        "at": NOW.isoformat(),
        "kind": "login",
        "key_id": "unknown",
        "request_id": str(uuid7()),
        "driver_id": "x" * 128,
        "items": 0,
        "label": None,
        "table": "linking.workprovider",
        "id": str(courier.pk),
        "changes": {"name": ["a", "b"], "email": [None, None]},
        "something_new": {"a": 1},
    }
    action = record_of.record(
        DeskAction.Kind(kind),
        actor=admin,
        reason="r" * 1000,
        now=NOW,
        work_provider=courier,
        details=details,
    )
    page = text_of(desk.get(url("action", action.pk)))
    assert "email not kept on record" in page
    assert "Something new" in page
    assert "x" * 128 in page


def test_actions_are_narrowed_down(desk: Client, courier: WorkProvider, admin: User) -> None:
    other, customer = rights.member(rights.OPS), factories.customer()
    why: dict[str, Any] = {"reason": "Why.", "now": NOW}
    kind = DeskAction.Kind
    first = record_of.record(kind.SEEN, actor=admin, work_provider=courier, **why)
    second = record_of.record(kind.REPLAY, actor=other, customer=customer, **why)

    def shown(**query: Any) -> set[DeskAction]:
        page = values_of(desk.get(url("actions"), query))
        return {each for each in (first, second) if url("action", each.pk) in page}

    assert shown() == {first, second}
    assert shown(work_provider=courier.pk) == {first}
    assert shown(actor=other.pk) == {second}
    assert shown(kind="REPLAY") == {second}
    assert shown(customer=customer.pk) == shown(number=customer.number.lower()) == {second}
    assert shown(number="NOBODY") == set()
    assert shown(work_provider="x", actor="9" * 30, kind="NONE") == {first, second}


def test_actions_come_in_pages_with_as_many_queries_for_each(
    desk: Client,
    courier: WorkProvider,
    admin: User,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(120):
        record_of.record(
            DeskAction.Kind.SEEN,
            actor=admin,
            reason=f"Number {number:03}.",
            now=NOW,
            work_provider=courier,
            customer=factories.customer(),
        )
    path, seen = url("actions"), []
    while path:
        with django_assert_max_num_queries(9):
            answer = desk.get(path)
        seen += re.findall(r"Number (\d{3})", text_of(answer))
        more = re.search(r'href="(\?[^"]*after=[^"]*)">More', values_of(answer))
        path = url("actions") + html.unescape(more[1]) if more else ""
    actions = DeskAction.objects.order_by("-pk")
    assert seen == [action.reason.removeprefix("Number ")[:3] for action in actions]
