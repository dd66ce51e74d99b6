"""What is refused leaves a trace that explains it: redacted, bounded, and never in the way."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from cachetools import TTLCache
from django.db import OperationalError, ProgrammingError
from django.test import Client
from django.utils import timezone

from linking import keys
from linking.models import ApiKey, User, WorkProvider
from shifts import rejected
from shifts.models import RejectedRequest
from tests import factories
from tests.conftest import PrivateService
from tests.running import Service, wait_until
from zego_api import limits
from zego_api.breaker import Breaker

LOGIN, BATCH = "/v1/shift/login/", "/v1/batch/login/"
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has been counted, and nothing has failed."""
    monkeypatch.setattr(rejected, "_counts", TTLCache(1000, 120))
    monkeypatch.setattr(rejected, "_breaker", Breaker("test", 60))
    monkeypatch.setattr(limits, "allow", lambda limit, *key: True)


@pytest.fixture
def provider(db: None) -> WorkProvider:
    return factories.work_provider()


@pytest.fixture
def key(provider: WorkProvider) -> str:
    return factories.key(provider)


def post(key: str | None, body: object, path: str = LOGIN, **headers: str) -> tuple[int, str]:
    """Status and code of the answer; without a key there is no Authorization header."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    if key is not None:
        headers["Authorization"] = key
    answer: Any = Client().generic("POST", path, content, content_type="", headers=headers)
    return answer.status_code, json.loads(answer.content).get("error", "")


def the_row() -> RejectedRequest:
    return RejectedRequest.objects.get()


# What is kept


def test_a_bad_body_is_kept_with_its_reasons_and_its_sender(
    provider: WorkProvider, key: str
) -> None:
    body = {"driverId": "1686", "timestamp": "01/02/26 10:00"}
    agent = {"User-Agent": "courier/1.0", "Content-Type": "application/json"}
    content = json.dumps(body).encode()
    answer = Client().generic(
        "POST", LOGIN, content, content_type="text/plain", headers={"Authorization": key, **agent}
    )
    row = the_row()
    assert (row.status, row.code, row.path) == (400, "INVALID_DATA", LOGIN)
    assert (row.work_provider, row.api_key) == (provider, ApiKey.objects.get())
    assert row.errors == [
        {"index": None, "field": "timestamp", "reason": "Is not an ISO-8601 date and time."}
    ]
    assert row.error_count == 1
    assert row.sample == '{"driverId": "9999", "timestamp": "99/99/99 99:99"}'
    assert str(row.request_id) == answer["X-Request-Id"]
    assert row.user_agent == "courier/1.0"
    assert row.body_bytes == len(content)
    assert timezone.now() - row.received_at < timedelta(minutes=1)


def test_of_a_batch_the_first_bad_item_is_shown_and_twenty_reasons(
    provider: WorkProvider, key: str
) -> None:
    good = {"driverId": "1", "timestamp": "2026-01-01T00:00:00Z"}
    bad = {"driverId": 1.5, "timestamp": "2026-01-01T00:00:00Z"}
    assert post(key, [good, *[bad] * 30], BATCH) == (400, "INVALID_DATA")
    row = the_row()
    assert row.error_count == 30
    assert [error["index"] for error in row.errors] == list(range(1, 21))
    assert row.sample == '{"driverId": 9.9, "timestamp": "9999-99-99x99:99:99x"}'


def test_an_accepted_request_leaves_none(provider: WorkProvider, key: str) -> None:
    body = {"driverId": "1686", "timestamp": "2026-01-01T00:00:00Z"}
    assert post(key, body) == (202, "")
    assert not RejectedRequest.objects.exists()


@pytest.mark.parametrize(
    ("headers", "hint"),
    [
        ({}, "No Authorization header."),
        ({"X-Api-Key": "zego_live_x"}, "The key came in X-Api-Key; it belongs into Authorization."),
        (
            {"Authorization": "  "},
            "The Authorization header is empty, or has characters beyond ASCII.",
        ),
    ],
)
def test_a_request_without_a_key(db: None, headers: dict[str, str], hint: str) -> None:
    assert post(None, {"driverId": "1686"}, **headers) == (401, "MISSING_AUTH")
    row = the_row()
    assert (row.work_provider, row.hint) == (None, hint)
    assert (row.errors, row.sample) == ([], "")


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda key: "secret", "Not a key of ours by its form."),
        (lambda key: f"Token {key}", "A key of ours with something around it"),
        (lambda key: f'"{key}"', "A key of ours with something around it"),
        (lambda key: "zego_link_abc", "A link secret"),
        (lambda key: key[:-1], "copied incompletely or mistyped: its checksum is wrong (it begins"),
        (lambda key: key[:14], "copied incompletely or mistyped: its checksum is wrong."),
    ],
)
def test_a_key_that_is_none(
    provider: WorkProvider, key: str, change: Callable[[str], str], hint: str
) -> None:
    """Nobody's: anybody can write down a work provider's key id."""
    assert post(change(key), {}) == (401, "INVALID_KEY")
    row = the_row()
    assert hint in row.hint
    assert (row.work_provider, row.api_key) == (None, None)


def test_a_right_form_alone_names_nobody(provider: WorkProvider, key: str) -> None:
    ApiKey.objects.update(secret_hash=b"another")
    keys.forget_cached()
    assert post(key, {}) == (401, "INVALID_KEY")
    assert "is ours, the rest is not" in the_row().hint
    assert the_row().work_provider is None


def test_a_key_never_issued(db: None) -> None:
    made_up = factories.key(factories.work_provider())
    ApiKey.objects.all().delete()
    keys.forget_cached()
    assert post(made_up, {}) == (401, "INVALID_KEY")
    assert the_row().hint.startswith("No key of ours has the id ")


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"revoked_at": NOW}, "was revoked on 01 June 2026 at 12:00 UTC."),
        ({"expires_at": NOW}, "expired on 01 June 2026 at 12:00 UTC."),
        ({}, "is good, but its work provider is not active."),
    ],
)
def test_a_key_that_was_one_names_its_owner(
    provider: WorkProvider, key: str, change: dict[str, datetime], hint: str
) -> None:
    ApiKey.objects.update(**change)
    WorkProvider.objects.update(is_active=bool(change))
    keys.forget_cached()
    assert post(f"Bearer {key}", {}) == (401, "INVALID_KEY")
    row = the_row()
    assert (row.work_provider, row.api_key) == (provider, ApiKey.objects.get())
    assert row.hint == f"Key {ApiKey.objects.get().key_id} {hint}"


def test_a_body_that_is_too_large_says_how_large(provider: WorkProvider, key: str) -> None:
    assert post(key, b" " * (5 * 1024 * 1024 + 1)) == (413, "TOO_LARGE")
    row = the_row()
    assert (row.work_provider, row.hint) == (provider, "The body has 5,242,881 bytes.")
    assert row.body_bytes == 5_242_881


def test_a_body_of_unknown_length(provider: WorkProvider, key: str) -> None:
    status = post(key, b"{}", **{"Transfer-Encoding": "chunked"})
    assert status == (411, "LENGTH_REQUIRED")
    assert (the_row().status, the_row().work_provider) == (411, provider)


def test_a_wrong_method_or_address_is_no_matter_of_these(provider: WorkProvider, key: str) -> None:
    Client().get(LOGIN, headers={"Authorization": key})
    Client().post("/v1/shift/start/", headers={"Authorization": key})
    assert not RejectedRequest.objects.exists()


# Redaction

PERSONAL = (
    "1686abc",
    "Jürgen",
    "jo.doe@example.com",
    "AB12 CDE",
    "+44 20 7946 0958",
    "秘密",
    "٣٤٥",
)


@pytest.mark.parametrize(
    "body",
    [
        {"driverId": PERSONAL[2], "name": PERSONAL[1], "timestamp": PERSONAL[3]},
        {PERSONAL[1]: PERSONAL[0], "timestamp": {"deep": [PERSONAL[4], PERSONAL[5], PERSONAL[6]]}},
        [{"driverId": list(PERSONAL)}],
        list(PERSONAL),
        PERSONAL[4],
        f'{{"driverId": "{PERSONAL[0]}", "timestamp": "{PERSONAL[2]}'.encode(),
        f"driverId={PERSONAL[0]}&timestamp={PERSONAL[2]}".encode(),
        "\N{BOM}".encode() + json.dumps({"driverId": PERSONAL[2]}).encode(),
        PERSONAL[1].encode("latin-1"),
        f'{{"driverId": "{PERSONAL[2]}", "driverId": "{PERSONAL[0]}"}}'.encode(),
    ],
)
@pytest.mark.parametrize("path", [LOGIN, BATCH])
def test_no_value_is_kept(provider: WorkProvider, key: str, body: object, path: str) -> None:
    assert post(key, body, path) == (400, "INVALID_DATA")
    row = the_row()
    assert row.sample
    kept = json.dumps([row.errors, row.sample, row.hint], ensure_ascii=False)
    letters = row.sample
    for word in ("driverId", "timestamp", "true", "false", "null"):
        letters = letters.replace(word, "")
    assert {each for each in letters if each.isalnum()} <= {"x", "9"}
    for value in PERSONAL:
        assert value not in kept


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"driverId": null, "ok": true}', '{"driverId": null, "xx": true}'),
        ('{"driver_id": 12, "Time-Stamp": -1.5e3}', '{"driver_id": 99, "Time-Stamp": -9.9x9}'),
        ('{"timestamp" : "timestamp"}', '{"timestamp" : "xxxxxxxxx"}'),
        ('{"policyId:Jo 1": 1, "timestamp: 2" : 3}', '{"xxxxxxxx:xx 9": 9, "xxxxxxxxx: 9" : 9}'),
        (r'{"driverId": "a\"b\u00e9"}', r'{"driverId": "x\"x\x99x9"}'),
        ('{"driverId": "never closed: null', '{"driverId": "xxxxx xxxxxx: null'),
        ("\x00\x1f\u200b\u0301é", "???" + "?x"),
        ("a" * 5000, "x" * 1000),
        ('"' + "\\" * 5000, '"' + "\\" * 999),
    ],
)
def test_a_mask_keeps_the_form(text: str, masked: str) -> None:
    assert rejected.mask(text) == masked


def test_what_came_as_headers_is_bounded_and_printable(provider: WorkProvider, key: str) -> None:
    post(key, {}, **{"User-Agent": "agent\t" * 100})
    assert the_row().user_agent == ("agent?" * 100)[:200]


# Bounds


def test_a_minute_has_room_for_so_many_of_each_sender(provider: WorkProvider, key: str) -> None:
    for _ in range(rejected.PER_MINUTE + 5):
        assert post(key, {}) == (400, "INVALID_DATA")
    assert RejectedRequest.objects.count() == rejected.PER_MINUTE
    other = factories.work_provider()
    post(factories.key(other), {})
    for _ in range(rejected.PER_MINUTE + 5):
        assert post("junk", {}) == (401, "INVALID_KEY")
    assert RejectedRequest.objects.filter(work_provider=other).count() == 1
    assert RejectedRequest.objects.filter(work_provider=None).count() == rejected.PER_MINUTE


def test_all_processes_together_have_no_more_room(
    provider: WorkProvider, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def deny(limit: str, *counted: str) -> bool:
        asked.append((limit, *counted))
        return False

    monkeypatch.setattr(limits, "allow", deny)
    assert post(key, {}) == (400, "INVALID_DATA")
    assert asked == [("60/minute", "rejected", str(provider.pk))]
    assert not RejectedRequest.objects.exists()


def test_the_next_minute_has_room_again() -> None:
    for _ in range(2):
        assert rejected._count_here(1, NOW, 2)
    assert not rejected._count_here(1, NOW, 2)
    assert rejected._count_here(1, NOW + timedelta(minutes=1), 2)


def test_a_flood_of_made_up_keys_is_not_looked_up_without_end(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected, "LOOK_UPS_PER_MINUTE", 1)
    for _ in range(3):
        post("junk", {})
    assert RejectedRequest.objects.count() == 1


def test_a_week_later_it_is_gone(provider: WorkProvider, key: str) -> None:
    post(key, {})
    received = the_row().received_at
    rejected.forget_old(received + 7 * DAY)
    assert RejectedRequest.objects.count() == 1
    rejected.forget_old(received + 7 * DAY + timedelta(microseconds=1))
    assert not RejectedRequest.objects.exists()


# Never in the way


@pytest.mark.parametrize("failure", [OperationalError, ProgrammingError, ValueError])
def test_what_cannot_be_kept_is_answered_all_the_same(
    provider: WorkProvider,
    key: str,
    failure: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And for a while nobody tries again."""
    tries = []

    def fail(**fields: object) -> None:
        tries.append(fields)
        raise failure

    monkeypatch.setattr(RejectedRequest.objects, "create", fail)
    for _ in range(3):
        assert post(key, {}) == (400, "INVALID_DATA")
    assert len(tries) == 1


def test_nobody_waits_for_somebody_elses_row(provider: WorkProvider, key: str) -> None:
    with rejected._lock:
        began = time.monotonic()
        assert post(key, {}) == (400, "INVALID_DATA")
        assert time.monotonic() - began < 1
    assert not RejectedRequest.objects.exists()


@pytest.fixture
def private(private_service: PrivateService) -> tuple[Service, PrivateService]:
    return private_service.service, private_service


@pytest.mark.outage
@pytest.mark.slow
def test_a_database_that_is_away_changes_no_refusal(
    private: tuple[Service, PrivateService],
) -> None:
    """Neither stopped nor frozen; and once it is back, refusals are kept again."""
    service, servers = private

    def refuse(authorization: str) -> tuple[int, str, float]:
        began = time.monotonic()
        answer = requests.post(
            f"{service.url}{LOGIN}",
            data="{}",
            headers={"Authorization": authorization},
            timeout=20,
        )
        return answer.status_code, answer.text, time.monotonic() - began

    def kept() -> object:
        [(count,)] = service.query("SELECT count(*) FROM shifts_rejectedrequest")
        return count

    refuse("junk")
    wait_until(lambda: kept() == 1, 10, "the row")
    servers.postgres.freeze()
    for _ in range(5):
        status, text, seconds = refuse("junk")
        assert (status, text) == (401, '{"error":"INVALID_KEY"}')
        assert seconds < 1
    servers.postgres.thaw()
    servers.postgres.stop()
    for _ in range(5):
        status, text, seconds = refuse("junk")
        assert (status, text) == (401, '{"error":"INVALID_KEY"}')
        assert seconds < 1
    servers.postgres.start()
    before = kept()

    def keeps_again() -> bool:
        refuse("junk")
        return kept() != before

    wait_until(keeps_again, 30, "a row again")


def test_who_is_signed_in_has_nothing_to_do_with_it(db: None) -> None:
    staff: User = factories.user(is_staff=True)
    client = Client()
    client.force_login(staff)
    client.post(LOGIN)
    assert the_row().work_provider is None
