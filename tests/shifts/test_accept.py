"""Accept: one committed row a request, then a wake-up that nothing depends on."""

import contextlib
import json
import logging
import queue
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
import requests
import structlog
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from linking.models import ApiKey, WorkProvider
from shifts import wake
from shifts.models import Submission
from tests import factories
from tests.conftest import PrivateService
from tests.running import Service, wait_until
from zego_api.local.servers import LocalPostgres, LocalValkey, free_port
from zego_api.logs import configure

LOGIN, BATCH_LOGOUT = "/v1/shift/login/", "/v1/batch/logout/"
EVENT = {"driverId": "1686", "timestamp": "2026-06-01T10:00:00Z"}


@pytest.fixture
def provider(db: None) -> WorkProvider:
    return factories.work_provider(timezone="Europe/Berlin")


@pytest.fixture
def key(provider: WorkProvider) -> str:
    return factories.key(provider)


def send(client: Client, key: str, body: bytes, path: str = LOGIN) -> Any:
    return client.generic("POST", path, body, content_type="", headers={"Authorization": key})


# The row


def test_one_row_a_request_that_says_all_there_is_to_know(
    client: Client, provider: WorkProvider, key: str
) -> None:
    """The body to the byte: spaces, line ends, unknown fields and all."""
    body = (
        ' [{"driverId": "Ü",\t"timestamp": "2026-06-01T10:00:00", "x": 1e0},\r\n'
        '  {"policyId": "\\u0041b", "timestamp": "2026-06-01T10:00:01"}] \n'
    ).encode()
    before = datetime.now(UTC)
    answer = send(client, key, body, BATCH_LOGOUT)
    assert answer.status_code == 202
    row = Submission.objects.get()
    assert bytes(row.body) == body
    assert (row.kind, row.is_batch, row.event_count) == ("logout", True, 2)
    assert (row.work_provider, row.timezone) == (provider, "Europe/Berlin")
    assert row.api_key == ApiKey.objects.get(work_provider=provider)
    assert row.request_id == uuid.UUID(answer["X-Request-Id"])
    assert before <= row.received_at <= datetime.now(UTC)
    assert (row.status, row.attempts, row.action) == ("PENDING", 0, None)


@pytest.mark.parametrize("count", [1, 1_000])
def test_a_batch_costs_one_statement_whatever_its_size(
    client: Client, key: str, count: int
) -> None:
    """The first request looks the key up and notes its use; after that an accept is one INSERT."""
    body = json.dumps([EVENT] * count).encode()
    assert send(client, key, body, BATCH_LOGOUT).status_code == 202
    with CaptureQueriesContext(connection) as queries:
        assert send(client, key, body, BATCH_LOGOUT).status_code == 202
    assert [query["sql"].split("(")[0].strip() for query in queries] == [
        'INSERT INTO "shifts_submission"'
    ]


def test_the_same_request_twice_is_two_rows(client: Client, key: str) -> None:
    """What it amounts to is for the digest to find out."""
    ids = {send(client, key, json.dumps(EVENT).encode())["X-Request-Id"] for _ in range(2)}
    assert {str(row.request_id) for row in Submission.objects.all()} == ids
    assert len(ids) == 2


def test_live_a_202_is_said_after_the_commit(orm: Service) -> None:
    """Another connection sees the row as soon as the answer is there."""
    key = factories.key(factories.work_provider(name=f"Accept {uuid.uuid4()}"))
    for _ in range(20):
        answer = post(orm, key)
        assert answer.status_code == 202
        assert Submission.objects.filter(request_id=answer.headers["X-Request-Id"]).exists()


# What is not logged

CANARY = "CANARY7F3A"


def assert_no_canary(logs: str, key: str) -> None:
    """Neither an identifier of the body nor the secret of a key."""
    assert CANARY not in logs
    assert key.split("_")[3] not in logs


def test_live_bodies_and_keys_are_not_logged(orm: Service) -> None:
    """Neither accepted nor refused ones, nor where the digest tells what it did."""
    key = factories.key(factories.work_provider(name=f"Accept {uuid.uuid4()}"))
    event = {**EVENT, "driverId": CANARY}
    answer = post(orm, key, event)
    assert answer.status_code == 202
    assert post(orm, key, [event]).status_code == 400
    assert post(orm, key, {**event, "policyId": CANARY}).status_code == 400
    assert post(orm, f"{key}{CANARY}", event).status_code == 401
    row = Submission.objects.filter(request_id=answer.headers["X-Request-Id"])
    wait_until(row.filter(digested_at__isnull=False).exists, what="the digest")
    assert "digested" in orm.logs()
    assert_no_canary(orm.logs(), key)


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("broken", ["shifts.views.accept", "shifts.authentication.keys.verify"])
def test_a_traceback_shows_neither_body_nor_key(
    client: Client,
    key: str,
    broken: str,
    log_format: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    configured_logs: Callable[[str], None],
) -> None:
    """In the logs' own formats: a frame's local variables hold both."""

    def fail(*given: object, **named: object) -> None:
        raise RuntimeError("the defect")

    monkeypatch.setattr(broken, fail)
    configured_logs(log_format)
    answer = send(client, key, json.dumps({**EVENT, "driverId": CANARY}).encode())
    assert answer.status_code == 500
    logs = "".join(capsys.readouterr())
    assert "the defect" in logs
    assert answer["X-Request-Id"] in logs
    assert_no_canary(logs, key)


@pytest.fixture
def configured_logs() -> Iterator[Callable[[str], None]]:
    """Configure logging as a process of the service does, in the given format; undone at the end."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def set_up(log_format: str) -> None:
        configure({"level": "INFO", "format": log_format})

    yield set_up
    configure({"level": "INFO", "format": "console"})
    root.handlers[:] = handlers
    root.setLevel(level)


# The wake-up


def test_a_wake_up_is_asked_for_after_the_commit_of_a_202(
    client: Client, key: str, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks() as callbacks:
        assert send(client, key, json.dumps(EVENT).encode()).status_code == 202
    assert callbacks == [wake.wake]
    with django_capture_on_commit_callbacks() as callbacks:
        assert send(client, key, b"{}").status_code == 400
    assert callbacks == []


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[LocalValkey]:
    with LocalValkey(tmp_path / "valkey") as server:
        yield server


class Broker:
    """The queue of wake-ups on a real broker, and a waker of this test's own."""

    def __init__(self, valkey: LocalValkey, monkeypatch: pytest.MonkeyPatch) -> None:
        self.valkey = valkey
        self.waker = wake.Waker()
        self.pauses: queue.Queue[float] = queue.Queue()
        self.go_on: queue.Queue[None] = queue.Queue()
        monkeypatch.setattr(wake, "time", SimpleNamespace(sleep=self._sleep))

    def _sleep(self, seconds: float) -> None:
        """The waker sleeps until it is told to go on, and the test sees for how long it would have."""
        self.pauses.put(seconds)
        self.go_on.get()

    def wake(self) -> float:
        """Ask for a worker; returns how long the waker then rests."""
        self.waker.wake()
        return self.pauses.get(timeout=30)

    def queued(self) -> list[dict[str, Any]]:
        with contextlib.closing(redis.Redis.from_url(self.valkey.url)) as client:
            found: Any = client.lrange("digest", 0, -1)
            return [json.loads(message) for message in found]


@pytest.fixture
def broker(valkey: LocalValkey, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Broker:
    """It may take its time: this machine may have others to serve."""
    for name in ("socket_timeout", "socket_connect_timeout"):
        monkeypatch.setitem(wake._TRANSPORT_OPTIONS, name, 10)
    settings.CELERY_BROKER_URL = valkey.url
    return Broker(valkey, monkeypatch)


def test_a_wake_up_goes_to_the_digest_queue_without_data(broker: Broker) -> None:
    assert broker.wake() == wake.PAUSE
    [message] = broker.queued()
    assert message["headers"]["task"] == wake.DIGEST_TASK
    assert message["headers"]["expires"]
    assert message["headers"]["argsrepr"] == "()"
    assert message["headers"]["kwargsrepr"] == "{}"


def test_a_burst_is_one_more_wake_up(broker: Broker) -> None:
    """None is lost either: one that is asked for while the waker rests is sent when it has rested."""
    broker.wake()
    for _ in range(1_000):
        broker.waker.wake()
    broker.go_on.put(None)
    broker.pauses.get(timeout=30)
    assert len(broker.queued()) == 2


def test_with_nobody_at_work_the_queue_does_not_grow_for_ever(broker: Broker) -> None:
    with contextlib.closing(redis.Redis.from_url(broker.valkey.url)) as client:
        client.rpush("digest", *["{}"] * wake.ENOUGH_QUEUED)
        assert broker.wake() == wake.PAUSE
        assert len(broker.queued()) == wake.ENOUGH_QUEUED
        client.lpop("digest")
        broker.go_on.put(None)
        assert broker.wake() == wake.PAUSE
        assert len(broker.queued()) == wake.ENOUGH_QUEUED


@pytest.mark.outage
def test_a_broker_that_fails_is_left_alone_for_a_while_and_then_tried_again(broker: Broker) -> None:
    broker.valkey.stop()
    with structlog.testing.capture_logs() as logs:
        assert broker.wake() == wake.BREAK
    assert [entry["event"] for entry in logs] == ["wake_up_failed"]
    broker.valkey.start()
    broker.go_on.put(None)
    assert broker.wake() == wake.PAUSE
    assert len(broker.queued()) == 1


@pytest.mark.outage
def test_a_frozen_broker_is_given_up_within_moments(
    valkey: LocalValkey, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections and never answers; the waker's thread waits for it, and nobody else."""
    settings.CELERY_BROKER_URL = valkey.url
    valkey.freeze()
    began = time.monotonic()
    assert Broker(valkey, monkeypatch).wake() == wake.BREAK
    assert time.monotonic() - began < 10


@pytest.mark.django_db(transaction=True)
def test_accepting_does_not_care_about_a_closed_port(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real commit, and so a real wake-up; its failure is a line in the log."""
    settings.CELERY_BROKER_URL = f"redis://127.0.0.1:{free_port()}/0"
    monkeypatch.setattr("shifts.accept.wake", wake.Waker().wake)
    failed = queue.Queue[str]()
    monkeypatch.setattr(wake.log, "warning", lambda event, **fields: failed.put(event))
    key = factories.key()
    for _ in range(10):
        assert send(client, key, json.dumps(EVENT).encode()).status_code == 202
    assert failed.get(timeout=30) == "wake_up_failed"
    assert Submission.objects.count() == 10


# Outages


def post(service: Service, key: str, body: object = EVENT, path: str = LOGIN) -> requests.Response:
    """Post JSON to a running service; an outage must not hold the answer up for long."""
    headers = {"Authorization": key}
    return requests.post(f"{service.url}{path}", json=body, headers=headers, timeout=20)


def login(driver_id: str) -> dict[str, str]:
    return {"driverId": driver_id, "timestamp": datetime.now(UTC).isoformat()}


@pytest.mark.outage
@pytest.mark.slow
@pytest.mark.parametrize("end", [LocalPostgres.stop, LocalPostgres.kill])
def test_without_the_database_503_and_never_a_202(
    private_service: PrivateService, end: Callable[[LocalPostgres], None]
) -> None:
    """What was said 202 before is there afterwards, and of what was said 503 there is nothing."""
    service = private_service.service
    seen_key = service.demo_key()
    new_key = service.manage("issue_key", "Courier Ltd").stdout.strip()
    kept = {post(service, seen_key, login("1686")).headers["X-Request-Id"] for _ in range(20)}

    end(private_service.postgres)
    for key in (seen_key, new_key):
        began = time.monotonic()
        answer = post(service, key)
        assert time.monotonic() - began < 10
        assert (answer.status_code, answer.content) == (503, b'{"error":"UNAVAILABLE"}')
        assert answer.headers["Content-Type"] == "application/json"
        assert int(answer.headers["Retry-After"]) > 0
        uuid.UUID(answer.headers["X-Request-Id"])
    assert post(service, seen_key, []).status_code == 400
    assert post(service, "nonsense").status_code == 401

    private_service.postgres.start()
    for key in (seen_key, new_key):
        kept.add(accepted_again(service, key).headers["X-Request-Id"])
    stored = service.query("SELECT request_id::text FROM shifts_submission")
    assert {row[0] for row in stored} == kept
    wait_until(lambda: everything_digested(service), what="the digest")


def accepted_again(service: Service, key: str) -> requests.Response:
    """The first 202 after an outage; until then there may be 503s."""

    def attempt() -> requests.Response | None:
        answer = post(service, key, login("1687"))
        assert answer.status_code in (202, 503)
        return answer if answer.status_code == 202 else None

    answer = wait_until(attempt, what="a 202")
    assert answer is not None
    return answer


def everything_digested(service: Service) -> bool:
    [(pending,)] = service.query("SELECT count(*) FROM shifts_submission WHERE digested_at IS NULL")
    return pending == 0


@pytest.mark.outage
@pytest.mark.slow
@pytest.mark.parametrize("end", [LocalValkey.stop, LocalValkey.freeze])
def test_without_the_broker_202s_go_on_and_shifts_appear_within_10_seconds(
    private_service: PrivateService, end: Callable[[LocalValkey], None]
) -> None:
    """The sweeper needs only the database."""
    service = private_service.service
    key = service.demo_key()
    assert post(service, key, login("1686")).status_code == 202
    wait_until(lambda: open_shifts(service) == 1, what="the shift")

    end(private_service.valkey)
    began = time.monotonic()
    for _ in range(50):
        assert post(service, key, login("1686")).status_code == 202
    assert post(service, key, login("1687")).status_code == 202
    assert time.monotonic() - began < 10  # 50 that each waited for the broker would take longer
    wait_until(lambda: open_shifts(service) == 2, within=10, what="the second shift")


def open_shifts(service: Service) -> object:
    [(found,)] = service.query("SELECT count(*) FROM shifts_shift WHERE ended_at IS NULL")
    return found
