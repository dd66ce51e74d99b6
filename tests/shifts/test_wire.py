"""What work providers send and what they are answered: section 2 of the design, bullet by bullet.

A refusal is tested beside its success, by its exact body and by the rows that are there afterwards. What
the HTTP server itself has a say in goes over a socket to the running service.
"""

import http.client
import json
import random
import socket
import uuid
import zlib
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from linking.models import ApiKey, WorkProvider
from shifts import payload
from shifts.digest import digest_pending
from shifts.models import ShiftEvent, Submission
from tests import factories
from tests.running import Service

# WhiteNoise says so where `collectstatic` has not been run, and only pages need its files.

PATHS = ("/v1/shift/login/", "/v1/shift/logout/", "/v1/batch/login/", "/v1/batch/logout/")
LOGIN, BATCH_LOGIN = PATHS[0], PATHS[2]
METHODS = ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "NONSENSE")
MIB = 1024 * 1024
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
AT = "2026-06-01T10:00:00Z"
EVENT = {"driverId": "1686", "timestamp": AT}
PROBLEM = {"Accept": "application/problem+json"}
MICROSECOND = timedelta(microseconds=1)


def raw(field: str, value: str) -> bytes:
    """An event whose `field` is the given JSON text."""
    rest = '"driverId": "1686"' if field == "timestamp" else f'"timestamp": "{AT}"'
    return f'{{"{field}": {value}, {rest}}}'.encode()


@dataclass
class Api:
    """The API as one work provider sees it, and what has been stored for it."""

    client: Client
    provider: WorkProvider
    key: str

    def post(
        self, body: object = EVENT, path: str = LOGIN, *, key: str | None = None, **headers: str
    ) -> HttpResponse:
        """Post bytes as they are and anything else as JSON; without a Content-Type."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", path, content, {"Authorization": key or self.key} | headers)

    def send(
        self, method: str, path: str, content: bytes = b"", headers: dict[str, str] | None = None
    ) -> HttpResponse:
        answer: Any = self.client.generic(method, path, content, content_type="", headers=headers)
        assert isinstance(answer, HttpResponse)
        return answer

    def rows(self) -> list[Submission]:
        return list(Submission.objects.filter(work_provider=self.provider).order_by("id"))

    def read(self) -> list[payload.Event]:
        """The events of the latest submission, read as the digest reads them."""
        row = self.rows()[-1]
        return payload.read(
            bytes(row.body), is_batch=row.is_batch, zone=row.timezone, received_at=row.received_at
        )

    def accepts(self, body: object, path: str = LOGIN) -> list[payload.Event]:
        """Assert a 202 and one more row; returns its events."""
        before = len(self.rows())
        assert_pending(self.post(body, path))
        assert len(self.rows()) == before + 1
        return self.read()

    def refuses(self, body: object, path: str = LOGIN) -> list[dict[str, Any]]:
        """Assert a 400 and not one row more; returns errors[] of the problem details."""
        before = len(self.rows())
        assert_error(self.post(body, path), 400, "INVALID_DATA")
        problem = self.post(body, path, **PROBLEM)
        assert problem.status_code == 400
        assert len(self.rows()) == before
        errors: list[dict[str, Any]] = json.loads(problem.content)["errors"]
        return errors


def assert_pending(answer: HttpResponse) -> None:
    assert (answer.status_code, answer.content) == (202, b'{"status": "PENDING"}')
    assert answer["Content-Type"] == "application/json"
    uuid.UUID(answer["X-Request-Id"])


def assert_error(answer: HttpResponse, status: int, code: str) -> None:
    """Exactly this body and no other field in it, as JSON, with a request id."""
    assert (answer.status_code, answer.content) == (status, f'{{"error":"{code}"}}'.encode())
    assert answer["Content-Type"] == "application/json"
    uuid.UUID(answer["X-Request-Id"])


@pytest.fixture
def api(db: None, client: Client) -> Api:
    """A work provider in UTC."""
    provider = factories.work_provider()
    return Api(client, provider, factories.key(provider))


@pytest.fixture
def london(db: None, client: Client) -> Api:
    """A work provider whose clocks change."""
    provider = factories.work_provider(timezone="Europe/London")
    return Api(client, provider, factories.key(provider))


class Clock:
    """The service's clock, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        monkeypatch.setattr("django.utils.timezone.now", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


# Addresses


@pytest.mark.parametrize("path", [*PATHS, *(path.rstrip("/") for path in PATHS)])
def test_each_address_with_and_without_the_final_slash(api: Api, path: str) -> None:
    family, kind = path.strip("/").split("/")[1:]
    assert_pending(api.post([EVENT] if family == "batch" else EVENT, path))
    [row] = api.rows()
    assert (row.kind, row.is_batch, row.event_count) == (kind, family == "batch", 1)


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v1/shift",
        "/v1/shift/login//",
        "/v1//shift/login/",
        "/v1/shift/login/1686",
        "/v1/Shift/Login/",
        "/v1/shift/login%0a",
        "/v1/shift/login/%00",
        "/v1/%ff",
        "/v1/shift/start/",
        "/v2/shift/login/",
    ],
)
def test_a_wrong_path_is_404_in_json_even_for_a_browser(api: Api, path: str) -> None:
    assert_error(api.post(EVENT, path), 404, "NOT_FOUND")
    if path.startswith("/v1"):
        assert_error(api.post(EVENT, path, Accept="text/html"), 404, "NOT_FOUND")
    assert api.rows() == []


@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_method_is_405_with_or_without_a_key(api: Api, method: str) -> None:
    for path in PATHS:
        for headers in ({"Authorization": api.key}, {}):
            answer = api.send(method, path, json.dumps(EVENT).encode(), headers)
            assert answer["Allow"] == "POST"
            if method == "HEAD":
                assert (answer.status_code, answer.content) == (405, b"")
            else:
                assert_error(answer, 405, "METHOD_NOT_ALLOWED")
    assert api.rows() == []


def test_never_by_redirect_not_even_where_pages_are(
    db: None, client: Client, settings: Settings
) -> None:
    """As in production; a redirect would turn a POST into a GET."""
    settings.SECURE_SSL_REDIRECT = True
    provider = factories.work_provider()
    api = Api(client, provider, factories.key(provider))
    assert api.send("GET", "/admin/").status_code == 301
    assert_pending(api.post(EVENT, LOGIN))
    assert_pending(api.post(EVENT, LOGIN.rstrip("/")))
    assert_error(api.post(EVENT, "/v1/nowhere"), 404, "NOT_FOUND")


# Content-Type


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "application/json; charset=latin-1",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "nonsense",
    ],
)
def test_the_body_is_json_whatever_content_type_says(api: Api, content_type: str) -> None:
    content = '{"driverId": "Ü & = %41", "timestamp": "2026-06-01T10:00:00Z"}'.encode()
    answer: Any = api.client.generic(
        "POST", LOGIN, content, content_type=content_type, headers={"Authorization": api.key}
    )
    assert_pending(answer)
    assert api.read()[0].driver_id == "Ü & = %41"


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*", "nonsense", ""])
def test_answers_are_json_whatever_accept_asks_for(api: Api, accept: str) -> None:
    assert_pending(api.post(EVENT, Accept=accept))
    assert_error(api.post(b"{}", Accept=accept), 400, "INVALID_DATA")


# Authorization


@pytest.mark.parametrize("headers", [{}, {"Authorization": ""}, {"Authorization": " \t "}])
def test_missing_auth_is_no_header_or_an_empty_one(api: Api, headers: dict[str, str]) -> None:
    answer = api.send("POST", LOGIN, json.dumps(EVENT).encode(), headers)
    assert_error(answer, 401, "MISSING_AUTH")
    assert api.rows() == []


@pytest.mark.parametrize("written", ["{}", "Bearer {}", "bearer   {} ", " {} "])
def test_the_key_comes_without_a_scheme_and_bearer_is_tolerated(api: Api, written: str) -> None:
    assert_pending(api.post(EVENT, key=written.format(api.key)))
    assert len(api.rows()) == 1


def forged(key: str) -> str:
    """The id of a real key with another secret, and a right checksum."""
    start, _, _ = key.rsplit("_", 2)
    unsigned = f"{start}_{'x' * 43}"
    return f"{unsigned}_{zlib.crc32(unsigned.encode()):08x}"


@pytest.mark.parametrize(
    "written",
    [
        "Basic {}",
        "Token {}",
        "Bearer",
        "Bearer Bearer {}",
        "{0},{0}",
        "{0} {0}",
        "{}x",
        "x{}",
        "zego_live",
        "schlüssel",
        "\x00",
        "k" * 100_000,
    ],
)
def test_invalid_key_is_what_is_no_key(api: Api, written: str) -> None:
    assert_error(api.post(EVENT, key=written.format(api.key)), 401, "INVALID_KEY")
    assert_pending(api.post(EVENT))
    assert len(api.rows()) == 1


def test_invalid_key_is_one_never_issued(api: Api) -> None:
    unknown = forged(api.key.replace(api.key.split("_")[2], "0" * 12))
    assert_error(api.post(EVENT, key=unknown), 401, "INVALID_KEY")
    assert api.rows() == []


def test_invalid_key_is_a_right_id_with_a_wrong_secret(api: Api) -> None:
    """Before and after the real one has been seen."""
    assert_error(api.post(EVENT, key=forged(api.key)), 401, "INVALID_KEY")
    assert_pending(api.post(EVENT))
    assert_error(api.post(EVENT, key=forged(api.key)), 401, "INVALID_KEY")
    assert len(api.rows()) == 1


def test_invalid_key_is_a_revoked_one(api: Api) -> None:
    assert_pending(api.post(EVENT))
    row = ApiKey.objects.get(work_provider=api.provider)
    row.revoked_at = NOW
    row.save()
    assert_error(api.post(EVENT), 401, "INVALID_KEY")
    assert len(api.rows()) == 1


def test_invalid_key_is_an_expired_one_from_that_instant_on(api: Api, clock: Clock) -> None:
    key = factories.key(api.provider, expires_at=NOW)
    clock.now = NOW - MICROSECOND
    assert_pending(api.post(EVENT, key=key))
    clock.now = NOW
    assert_error(api.post(EVENT, key=key), 401, "INVALID_KEY")
    assert len(api.rows()) == 1


def test_invalid_key_is_one_of_an_inactive_work_provider(api: Api) -> None:
    assert_pending(api.post(EVENT))
    api.provider.is_active = False
    api.provider.save()
    assert_error(api.post(EVENT), 401, "INVALID_KEY")
    assert len(api.rows()) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b" " * (6 * MIB)])
def test_401_comes_before_400(api: Api, body: bytes) -> None:
    assert_error(api.send("POST", LOGIN, body), 401, "MISSING_AUTH")
    assert_error(api.post(body, key="nonsense"), 401, "INVALID_KEY")
    assert_error(
        api.post(body), *((413, "TOO_LARGE") if len(body) > MIB else (400, "INVALID_DATA"))
    )


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"true",
        b"1",
        b'"text"',
        b"{",
        b"{}x",
        b"{'driverId': '1'}",
        json.dumps(EVENT).encode() + b"\x00",
        json.dumps(EVENT).encode() * 2,
        json.dumps(EVENT).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(EVENT).encode(),
        b"\xff\xfe",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 5_000,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_object_or_array_is_invalid_at_every_address(api: Api, body: bytes) -> None:
    for path in PATHS:
        assert [error["index"] for error in api.refuses(body, path)] == [None]


@pytest.mark.parametrize(
    "value",
    [
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b'"\n"',
        b'"\x00"',
        b"01",
        b"[1,]",
        b"'a'",
    ],
    ids=lambda value: repr(value[:12]),
)
def test_an_unknown_field_cannot_carry_what_is_no_json(api: Api, value: bytes) -> None:
    body = b'{"later": ' + value + b', "driverId": "1686", "timestamp": "' + AT.encode() + b'"}'
    api.refuses(body)
    api.refuses(b"[" + body + b"]", BATCH_LOGIN)


@pytest.mark.parametrize(
    "value",
    [
        '"1686"',
        "null",
        "[[], {}, [{}]]",
        '{"driverId": 1, "driverId": 2, "timestamp": 3}',
        '"\\u0000"',
        "9" * 5_000,
        "1e999999",
        '"driverId"',
    ],
)
def test_unknown_fields_are_ignored(api: Api, value: str) -> None:
    body = f'{{"later": {value}, "later": 1, "driverId": "1686", "timestamp": "{AT}"}}'.encode()
    expected = [payload.Event("1686", None, datetime(2026, 6, 1, 10, tzinfo=UTC))]
    assert api.accepts(body) == expected
    assert api.accepts(b"[" + body + b"]", BATCH_LOGIN) == expected


@pytest.mark.parametrize(
    "body",
    [
        '{"driverId": "1", "driverId": "2", "timestamp": "%s"}',
        '{"driverId": "1", "driverId": "1", "timestamp": "%s"}',
        '{"driverId": "1", "driver\\u0049d": "2", "timestamp": "%s"}',
        '{"\\u0064river\\u0049d": "1", "driver\\u0049d": "2", "timestamp": "%s"}',
        '{"driverId": "1", "driverId": null, "timestamp": "%s"}',
        '{"driverId": "1", "timestamp": "%s", "timestamp": "2026-06-01T11:00:00Z"}',
    ],
)
def test_a_name_given_twice_is_invalid(api: Api, body: str) -> None:
    content = (body % AT).encode()
    api.refuses(content)
    good = json.dumps(EVENT).encode()
    [error] = api.refuses(b"[" + good + b"," + content + b"]", BATCH_LOGIN)
    assert error["index"] == 1
    assert error["field"] in ("driverId", "timestamp")


def test_an_object_is_no_batch_and_an_array_no_event(api: Api) -> None:
    api.refuses([EVENT], LOGIN)
    api.refuses(EVENT, BATCH_LOGIN)
    assert len(api.accepts(EVENT, LOGIN)) == len(api.accepts([EVENT], BATCH_LOGIN)) == 1


# Identifiers

NAMES = {
    "policyId": "customer_number",
    "customerNumber": "customer_number",
    "driverId": "driver_id",
    "workProviderUserId": "driver_id",
}


@pytest.mark.parametrize("name", NAMES)
def test_either_identifier_under_either_name(api: Api, name: str) -> None:
    [event] = api.accepts({name: "AB12", "timestamp": AT})
    assert getattr(event, NAMES[name]) == "AB12"
    assert [event.customer_number, event.driver_id].count(None) == 1


@pytest.mark.parametrize(
    "identifiers",
    [
        {},
        {"driverId": None},
        {"policyId": None, "driverId": None, "customerNumber": None, "workProviderUserId": None},
        {"policyId": "1", "driverId": "1"},
        {"policyId": "1", "workProviderUserId": "1"},
        {"customerNumber": "1", "driverId": "1"},
        {"policyId": "1", "customerNumber": "1", "driverId": "1"},
        {"driverId": "1", "workProviderUserId": "2"},
        {"driverId": "a", "workProviderUserId": "A"},
        {"policyId": "1", "customerNumber": "2"},
        {"driverId": "1", "workProviderUserId": ""},
        {"driverId": "", "policyId": "1"},
    ],
)
def test_both_or_neither_identifier_is_invalid(api: Api, identifiers: dict[str, Any]) -> None:
    api.refuses({**identifiers, "timestamp": AT})


@pytest.mark.parametrize(
    "identifiers",
    [
        {"driverId": "1686", "policyId": None},
        {"driverId": "1686", "customerNumber": None, "workProviderUserId": None},
        {"workProviderUserId": "1686", "driverId": None},
        {"driverId": "1686", "workProviderUserId": "1686"},
        {"driverId": " 1686", "workProviderUserId": 1686},
    ],
)
def test_null_is_absent_and_both_spellings_may_agree(api: Api, identifiers: dict[str, Any]) -> None:
    [event] = api.accepts({**identifiers, "timestamp": AT})
    assert (event.driver_id, event.customer_number) == ("1686", None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1686", "1686"),
        ('"1686"', "1686"),
        ("0", "0"),
        ("-5", "-5"),
        ("9" * 128, "9" * 128),
        ('"' + "X" * 128 + '"', "X" * 128),
        ('"' + " " * 500 + "X" * 128 + '\\n"', "X" * 128),
        ('" \\t\\r\\n A B \\u00a0\\u3000"', "A B"),
    ],
)
def test_an_identifier_of_1_to_128_characters_after_trimming(
    api: Api, name: str, value: str, expected: str
) -> None:
    [event] = api.accepts(raw(name, value))
    assert getattr(event, NAMES[name]) == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value",
    [
        '""',
        '" \\t\\n\\u00a0"',
        '"' + "X" * 129 + '"',
        "9" * 129,
        "9" * 5_000,
        "true",
        "false",
        "1.0",
        "1e3",
        "1e400",
        "NaN",
        "Infinity",
        "[]",
        '["1"]',
        "{}",
        '"\\u0000"',
        '"a\\u0000b"',
        '"a\\tb"',
        '"\\u0007"',
        '"\\u007f"',
        '"\\u0085x"',
        '"\\u001cx"',
        '"\\ud800"',
        '"\\udc00\\ud800"',
    ],
    ids=lambda value: value[:12],
)
def test_an_invalid_identifier(api: Api, name: str, value: str) -> None:
    api.refuses(raw(name, value))
    api.refuses(b"[" + raw(name, value) + b"]", BATCH_LOGIN)


OPAQUE = [
    "aBc",
    "Ünïcode",
    "007",
    "\\N",
    "\\.",
    "\\",
    "a\\tb",
    '"',
    "'; --",
    "%s",
    "null",
    "a,b",
    "{}",
    "\u2028",
    "e\u0301",
    "\U0001f600" * 128,
]


def test_driver_ids_are_opaque(api: Api) -> None:
    """They reach the table as they were sent, the shortest and the longest alike."""
    api.accepts([{"driverId": value, "timestamp": AT} for value in OPAQUE], BATCH_LOGIN)
    assert digest_pending()
    stored = ShiftEvent.objects.order_by("id").values_list("driver_id", "customer_number")
    assert list(stored) == [(value, None) for value in OPAQUE]


def test_customer_numbers_compare_without_case_and_driver_ids_with(api: Api) -> None:
    link = factories.link(api.provider, "aBc", customer=factories.customer(number="ABC123"))
    sent = ({"policyId": "abC123"}, {"driverId": "aBc"}, {"driverId": "abc"})
    times = (f"2026-06-01T1{hour}:00:00Z" for hour in range(3))
    body = [{**event, "timestamp": at} for event, at in zip(sent, times, strict=True)]
    api.accepts(body, BATCH_LOGIN)
    assert digest_pending()
    found = ShiftEvent.objects.order_by("id").values_list("stream__customer_id", "outcome")
    assert list(found) == [
        (link.customer_id, "APPLIED"),
        (link.customer_id, "IGNORED"),
        (None, "HELD"),
    ]


def test_a_number_that_grows_in_capital_letters_is_digested_or_refused(api: Api) -> None:
    """128 times "ß" is 256 letters in capitals; accepted and then set aside it must not be."""
    answer = api.post([EVENT, {"policyId": "ß" * 128, "timestamp": AT}], BATCH_LOGIN)
    digest_pending()
    assert answer.status_code == 400 or [row.status for row in api.rows()] == ["DIGESTED"]


# Batches


def test_a_batch_of_10000_is_one_row_and_one_more_event_is_too_many(api: Api) -> None:
    events = [{"driverId": str(number), "timestamp": AT} for number in range(10_001)]
    [error] = api.refuses(events, BATCH_LOGIN)
    assert "10001" in error["reason"]
    assert len(api.accepts(events[:-1], BATCH_LOGIN)) == 10_000
    assert [row.event_count for row in api.rows()] == [10_000]


def test_an_empty_batch_is_invalid(api: Api) -> None:
    [error] = api.refuses(b"[]", BATCH_LOGIN)
    assert error["index"] is None


@pytest.mark.parametrize(
    "bad",
    [None, 1, "text", [], [EVENT], {}, {**EVENT, "timestamp": "now"}, {**EVENT, "driverId": ""}],
)
def test_one_bad_item_refuses_the_whole_batch(api: Api, bad: object) -> None:
    """All or nothing; the problem details name the item."""
    [error] = api.refuses([EVENT, bad, EVENT], BATCH_LOGIN)
    assert error["index"] == 1
    assert len(api.accepts([EVENT, EVENT, EVENT], BATCH_LOGIN)) == 3


def padded(size: int) -> bytes:
    return json.dumps(EVENT).encode().ljust(size)


def test_a_body_of_5_mib_is_taken_and_one_more_byte_is_not(api: Api) -> None:
    assert_error(api.post(padded(5 * MIB + 1)), 413, "TOO_LARGE")
    assert api.rows() == []
    api.accepts(padded(5 * MIB))


# Timestamps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-06-01T10:00:00Z", "10:00:00"),
        ("2026-06-01T10:00:00+00:00", "10:00:00"),
        ("2026-06-01T10:00:00-00:00", "10:00:00"),
        ("2026-06-01T12:00:00+02:00", "10:00:00"),
        ("2026-06-01T12:00+0200", "10:00:00"),
        ("2026-06-01T12+02", "10:00:00"),
        ("2026-06-01T04:30:00-05:30", "10:00:00"),
        ("2026-06-01T12:00:30+02:00:30", "10:00:00"),
        ("2026-06-02T00:00:00+14:00", "10:00:00"),
        ("20260601T100000Z", "10:00:00"),
        ("20260601T10Z", "10:00:00"),
        ("2026-06-01 10:00:00Z", "10:00:00"),
        ("2026-06-01t10:00:00Z", "10:00:00"),
        ("2026-06-01T10:00:00.5Z", "10:00:00.500000"),
        ("2026-06-01T10:00:00,5Z", "10:00:00.500000"),
        ("2026-06-01T10:00:00.123456789Z", "10:00:00.123456"),
        ("2026-06-01T10:00:00", "10:00:00"),
        ("2026-06-01T10:00:00.000001", "10:00:00.000001"),
        ("2026-06-01T10", "10:00:00"),
    ],
)
def test_forms_of_timestamps(api: Api, text: str, expected: str) -> None:
    [event] = api.accepts({"driverId": "1686", "timestamp": text})
    assert event.at.isoformat() == f"2026-06-01T{expected}+00:00"
    assert event.at.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "2026-06-01",
        "20260601",
        "2026-W23",
        "2026-W23-1",
        "2026-W23-1T10:00:00Z",
        "2026W231T100000Z",
        "2026-W23T10:00:00Z",
        "2026-06-01T24:00:00Z",
        "20260601T240000Z",
        "2026-06-01T25:00:00Z",
        "2016-12-31T23:59:60Z",
        "2026-02-29T10:00:00Z",
        "2026-6-1T10:00:00Z",
        "2026-152T10:00:00Z",
        "2026-06-01T10:00:00+24:00",
        "2026-06-01T10:00:00 Europe/London",
        "Mon, 01 Jun 2026 10:00:00 GMT",
        "10:00:00",
        "1780308000",
        "",
        " ",
        "now",
        "\u0000",
        "1999-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "2101-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        1780308000,
        1780308000.5,
        True,
        None,
        [],
        {},
        [AT],
    ],
)
def test_invalid_timestamps(api: Api, value: object) -> None:
    [error] = api.refuses({"driverId": "1686", "timestamp": value})
    assert error["field"] == "timestamp"


def test_a_timestamp_is_required(api: Api) -> None:
    [error] = api.refuses({"driverId": "1686"})
    assert error["field"] == "timestamp"


def test_any_age_from_2000_on_is_accepted(api: Api) -> None:
    [event] = api.accepts({"driverId": "1686", "timestamp": "2000-01-01T00:00:00Z"})
    assert event.at == datetime(2000, 1, 1, tzinfo=UTC)


def ahead(by: timedelta) -> dict[str, str]:
    return {"driverId": "1686", "timestamp": (NOW + by).isoformat()}


@pytest.mark.parametrize("limit", [timedelta(hours=24), timedelta(0), timedelta(days=3)])
def test_more_than_the_work_providers_limit_ahead_is_invalid(
    client: Client, db: None, clock: Clock, limit: timedelta
) -> None:
    """24 hours unless set. Exactly that far ahead is accepted, as it was sent."""
    provider = factories.work_provider(**{} if limit.days == 1 else {"max_future": limit})
    api = Api(client, provider, factories.key(provider))
    [error] = api.refuses(ahead(limit + MICROSECOND))
    assert error["field"] == "timestamp"
    [event] = api.accepts(ahead(limit))
    assert event.at == NOW + limit


def test_more_than_5_minutes_ahead_is_counted_as_clock_trouble(api: Api, clock: Clock) -> None:
    steps = (timedelta(minutes=5), timedelta(minutes=5) + MICROSECOND, timedelta(hours=24))
    api.accepts([ahead(step) for step in steps], BATCH_LOGIN)
    api.accepts(ahead(timedelta(minutes=5)))
    assert [row.clock_ahead_count for row in api.rows()] == [2, 0]


@pytest.mark.parametrize(
    ("arrival", "expected"),
    [
        ("2026-10-25T00:30:05", "2026-10-25T00:30:00"),
        ("2026-10-25T00:59:00", "2026-10-25T00:30:00"),
        ("2026-10-25T01:01:00", "2026-10-25T01:30:00"),
        ("2026-10-25T01:30:05", "2026-10-25T01:30:00"),
        ("2026-10-26T09:00:00", "2026-10-25T01:30:00"),
        ("2026-10-24T20:00:00", "2026-10-25T00:30:00"),
    ],
)
def test_an_hour_that_comes_twice_is_read_nearest_to_its_arrival(
    london: Api, clock: Clock, arrival: str, expected: str
) -> None:
    """The clocks of London went back from 02:00 to 01:00 at 01:00 UTC."""
    clock.now = datetime.fromisoformat(arrival + "+00:00")
    [event] = london.accepts({"driverId": "1686", "timestamp": "2026-10-25T01:30:00"})
    assert event.at == datetime.fromisoformat(expected + "+00:00")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "2026-03-29T01:30:00",
            "01:30",
        ),  # it never was: PEP 495 takes the offset before the change
        ("2026-03-29T00:30:00", "00:30"),
        ("2026-03-29T02:30:00", "01:30"),
        ("2026-03-29T02:30:00Z", "02:30"),
    ],
)
def test_a_local_time_is_read_in_the_work_providers_zone(
    london: Api, text: str, expected: str
) -> None:
    [event] = london.accepts({"driverId": "1686", "timestamp": text})
    assert event.at == datetime.fromisoformat(f"2026-03-29T{expected}:00+00:00")


def test_a_local_time_that_never_was_does_not_depend_on_its_arrival(
    london: Api, clock: Clock
) -> None:
    """There are no two readings to choose from."""
    for arrival in ("2026-03-28T20:00:00", "2026-03-29T00:30:00", "2026-03-29T12:00:00"):
        clock.now = datetime.fromisoformat(arrival + "+00:00")
        [event] = london.accepts({"driverId": "1686", "timestamp": "2026-03-29T01:30:00"})
        assert event.at == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


def test_what_was_sent_keeps_the_zone_it_was_sent_in(london: Api) -> None:
    """A work provider that moves to another zone changes what comes, not what came."""
    body = {"driverId": "1686", "timestamp": "2026-06-01T10:00:00"}
    [before] = london.accepts(body)
    assert before.at == datetime(2026, 6, 1, 9, tzinfo=UTC)
    london.provider.timezone = "Asia/Tokyo"
    london.provider.save()
    assert london.read() == [before]
    [after] = london.accepts(body)
    assert after.at == datetime(2026, 6, 1, 1, tzinfo=UTC)


# Headers and problem details


def test_x_request_id_is_ours_and_leads_to_the_row(api: Api) -> None:
    answer = api.post(EVENT, **{"X-Request-Id": "00000000-0000-7000-8000-000000000000"})
    [row] = api.rows()
    assert answer["X-Request-Id"] == str(row.request_id) != "00000000-0000-7000-8000-000000000000"


def test_problem_details_name_each_bad_item(api: Api) -> None:
    bad = [EVENT, {"timestamp": AT}, {**EVENT, "driverId": True}, 7, {**EVENT, "timestamp": 1}]
    answer = api.post(bad, BATCH_LOGIN, **PROBLEM)
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    problem = json.loads(answer.content)
    assert list(problem) == ["type", "title", "status", "detail", "error", "requestId", "errors"]
    assert (problem["status"], problem["error"]) == (400, "INVALID_DATA")
    assert problem["requestId"] == answer["X-Request-Id"]
    errors = problem["errors"]
    assert [(error["index"], error["field"]) for error in errors] == [
        (1, None),
        (2, "driverId"),
        (3, None),
        (4, "timestamp"),
    ]
    assert all(set(error) == {"index", "field", "reason"} and error["reason"] for error in errors)


@pytest.mark.parametrize(
    ("method", "path", "key", "expected"),
    [
        ("POST", LOGIN, "", (401, "MISSING_AUTH")),
        ("POST", LOGIN, "nonsense", (401, "INVALID_KEY")),
        ("POST", "/v1/nowhere", "", (404, "NOT_FOUND")),
        ("GET", LOGIN, "", (405, "METHOD_NOT_ALLOWED")),
    ],
)
def test_every_error_can_be_had_as_problem_details(
    api: Api, method: str, path: str, key: str, expected: tuple[int, str]
) -> None:
    answer = api.send(method, path, b"", {"Authorization": key, **PROBLEM})
    problem = json.loads(answer.content)
    assert answer["Content-Type"] == "application/problem+json"
    assert (answer.status_code, problem["status"]) == (expected[0], expected[0])
    assert (problem["error"], problem["errors"]) == (expected[1], [])
    assert_error(api.send(method, path, b"", {"Authorization": key}), *expected)


def test_a_defect_of_ours_is_500_in_json(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_pending(api.post(EVENT))
    monkeypatch.setattr("shifts.views.accept", lambda *given, **named: 1 / 0)
    assert_error(api.post(EVENT), 500, "SERVER_ERROR")


# Over a socket


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


@dataclass
class Wire:
    """The running service, spoken to without a library that puts requests in order."""

    service: Service
    provider: WorkProvider
    key: str

    def post(
        self,
        body: bytes = b"",
        *,
        headers: Iterable[tuple[str, bytes]] = (),
        key: bytes | None = None,
        chunked: bool = False,
    ) -> Answer:
        """Post with exactly these headers, Host and the key besides."""
        address = urlsplit(self.service.url).netloc
        with closing(http.client.HTTPConnection(address, timeout=30)) as connection:
            connection.putrequest("POST", LOGIN, skip_accept_encoding=True)
            connection.putheader("Authorization", self.key.encode() if key is None else key)
            for name, value in headers:
                connection.putheader(name, value)
            with suppress(BrokenPipeError, ConnectionResetError):  # answered before it was all read
                connection.endheaders(iter([body]) if chunked else body, encode_chunked=chunked)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def post_whole(self, body: bytes, *, key: bytes | None = None) -> Answer:
        """Post with the length of the body."""
        return self.post(body, headers=[("Content-Length", b"%d" % len(body))], key=key)

    def bodies(self) -> list[bytes]:
        rows = Submission.objects.filter(work_provider=self.provider).order_by("id")
        return [bytes(row.body) for row in rows]


@pytest.fixture
def wire(orm: Service) -> Wire:
    provider = factories.work_provider(name=f"Wire {uuid.uuid4()}")
    return Wire(orm, provider, factories.key(provider))


WHOLE = json.dumps(EVENT).encode()


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.body) == (status, f'{{"error":"{code}"}}'.encode())
    assert answer.headers["Content-Type"] == "application/json"
    uuid.UUID(answer.headers["X-Request-Id"])


def test_live_a_202_and_its_row(wire: Wire) -> None:
    answer = wire.post_whole(WHOLE)
    assert (answer.status, answer.body) == (202, b'{"status": "PENDING"}')
    assert answer.headers["Content-Type"] == "application/json"
    row = Submission.objects.get(request_id=answer.headers["X-Request-Id"])
    assert (row.work_provider, bytes(row.body)) == (wire.provider, WHOLE)


def test_live_a_body_of_unknown_length_is_411(wire: Wire) -> None:
    chunked = wire.post(WHOLE, headers=[("Transfer-Encoding", b"chunked")], chunked=True)
    assert_refused(chunked, 411, "LENGTH_REQUIRED")
    assert wire.bodies() == []


def test_live_no_length_is_no_body(wire: Wire) -> None:
    assert_refused(wire.post(), 400, "INVALID_DATA")
    assert_refused(wire.post(headers=[("Content-Length", b"0")]), 400, "INVALID_DATA")
    assert wire.bodies() == []


def test_live_6_mib_are_413_and_5_are_not(wire: Wire) -> None:
    """With the requests library, as a work provider would see it."""
    headers = {"Authorization": wire.key}
    for size, expected in ((6 * MIB, 413), (5 * MIB, 202)):
        answer = requests.post(
            wire.service.url + LOGIN, data=WHOLE.ljust(size), headers=headers, timeout=30
        )
        assert answer.status_code == expected
    assert [len(body) for body in wire.bodies()] == [5 * MIB]


@pytest.mark.parametrize("body", [b"\xff", WHOLE[:-1] + b', "later": "\xff"}', WHOLE + b"\x00"])
def test_live_bytes_that_are_no_text_are_400(wire: Wire, body: bytes) -> None:
    assert_refused(wire.post_whole(body), 400, "INVALID_DATA")
    assert wire.bodies() == []


def test_live_a_key_of_100_kb_is_an_invalid_key(wire: Wire) -> None:
    assert_refused(wire.post_whole(WHOLE, key=b"k" * 100_000), 401, "INVALID_KEY")
    assert wire.bodies() == []


@pytest.mark.parametrize("key", ["schlüssel".encode(), "schlüssel".encode("latin-1"), b"\x80\xff"])
def test_live_a_key_with_bytes_beyond_ascii_is_no_key(wire: Wire, key: bytes) -> None:
    """HTTP knows no such header; the server hands it on as an empty one."""
    assert_refused(wire.post_whole(WHOLE, key=key), 401, "MISSING_AUTH")
    assert wire.bodies() == []


def test_live_a_body_that_breaks_off_is_invalid(wire: Wire) -> None:
    """It may read as JSON all the same; but it is not what the client meant to send."""
    address = urlsplit(wire.service.url)
    head = (
        f"POST {LOGIN} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: {wire.key}\r\n"
        f"Content-Length: {len(WHOLE) + 9}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=30) as client:
        client.sendall(head.encode() + WHOLE)
        client.shutdown(socket.SHUT_WR)
        answer = client.makefile("rb").read()
    assert answer == b"" or b"INVALID_DATA" in answer
    assert wire.bodies() == []


def test_live_a_header_longer_than_the_server_takes_is_a_4xx(wire: Wire) -> None:
    """It may be empty, and the next request is served as if nothing had been."""
    answer = wire.post_whole(WHOLE, key=b"k" * (2 * MIB))
    assert answer.status // 100 == 4
    assert b"<" not in answer.body
    assert wire.post_whole(WHOLE).status == 202
    assert wire.bodies() == [WHOLE]


def test_live_noise_is_never_an_error_of_ours(wire: Wire) -> None:
    """Bodies of bytes that chance put together are 400, all on one database and none of them kept."""
    chance = random.Random(1686)
    for _ in range(100):
        noise = chance.randbytes(chance.randrange(1, 200))
        assert_refused(wire.post_whole(noise), 400, "INVALID_DATA")
    assert wire.bodies() == []
