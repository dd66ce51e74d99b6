"""Fixtures for all tests. The environment itself comes from tests/plugin.py."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.running import Service, empty_redis, fresh_database, running
from zego_api.local.servers import LocalPostgres, LocalValkey


@dataclass(frozen=True)
class PrivateService:
    """A service whose servers belong to one test, which may kill and freeze them."""

    service: Service
    postgres: LocalPostgres
    valkey: LocalValkey


@pytest.fixture
def outbox(settings: Settings) -> None:
    """Mails become rows as in the service; pytest-django has put another backend in its place."""
    if hasattr(settings, "MAILERS"):
        settings.MAILERS = {"default": {"BACKEND": "zego_api.mail.Outbox"}}
    else:
        settings.EMAIL_BACKEND = "zego_api.mail.Outbox"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Web, worker and sweeper, running, on a database of their own. Shared: leave them running."""
    directory = tmp_path_factory.mktemp("service")
    with (
        fresh_database(os.environ["DATABASE_URL"]) as database_url,
        empty_redis(os.environ["REDIS_URL"]) as redis_url,
        running(directory, database_url, redis_url) as started,
    ):
        yield started


@pytest.fixture
def private_service(tmp_path: Path) -> Iterator[PrivateService]:
    """Web, worker and sweeper on servers of their own, for tests that break things."""
    with (
        LocalPostgres(tmp_path / "postgres") as postgres,
        LocalValkey(tmp_path / "valkey") as valkey,
        running(tmp_path / "service", postgres.url, valkey.url) as started,
    ):
        yield PrivateService(started, postgres, valkey)
