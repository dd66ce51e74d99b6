"""Fixtures of the shift tests."""

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from shifts.models import Submission, Withdrawal
from tests.running import Service, empty_redis, fresh_database
from tests.shifts.live import Live, Platform


@pytest.fixture
def orm(service: Service, django_db_blocker: DjangoDbBlocker) -> Iterator[Service]:
    """Django in this process, on the running service's own database, with real commits."""
    with pointed_at(service.env["DATABASE_URL"], django_db_blocker):
        yield service


@pytest.fixture(scope="session")
def idle_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on a migrated database of its own, of which nothing runs until a test starts it."""
    directory = tmp_path_factory.mktemp("idle")
    with (
        fresh_database(os.environ["DATABASE_URL"]) as database_url,
        empty_redis(os.environ["REDIS_URL"]) as redis_url,
    ):
        service = Service(directory, database_url, redis_url)
        service.manage("migrate", "--verbosity", "0")
        yield service


@pytest.fixture
def quiet(idle_service: Service, django_db_blocker: DjangoDbBlocker) -> Iterator[Service]:
    """Django in this process on a database that nobody else digests; empty of submissions."""
    with pointed_at(idle_service.env["DATABASE_URL"], django_db_blocker):
        Withdrawal.objects.exclude(submission=None).delete()
        Submission.objects.exclude(reread_of=None).delete()
        Submission.objects.all().delete()
        try:
            yield idle_service
        finally:
            idle_service.kill()


@pytest.fixture
def platform(quiet: Service) -> Platform:
    """A work provider on the quiet database."""
    return Platform(quiet)


@pytest.fixture
def live(orm: Service) -> Live:
    """A work provider on the running service."""
    return Live(orm)


class pointed_at:  # noqa: N801 (reads as the context manager it is)
    """Point Django's connection at another database of the same kind, and back."""

    def __init__(self, url: str, blocker: DjangoDbBlocker) -> None:
        parts = urlsplit(url)
        self.there = {
            "NAME": parts.path.lstrip("/"),
            "HOST": parts.hostname or "",
            "PORT": str(parts.port or ""),
            "USER": parts.username or "",
            "PASSWORD": parts.password or "",
        }
        self.blocker = blocker

    def __enter__(self) -> None:
        self.here = {name: connection.settings_dict[name] for name in self.there}
        self.unblocked = self.blocker.unblock()
        self.unblocked.__enter__()
        self._go(self.there)

    def __exit__(self, *exc: object) -> None:
        self._go(self.here)
        self.unblocked.__exit__(None, None, None)

    def _go(self, there: dict[str, str]) -> None:
        connection.close()
        connection.settings_dict.update(there)
