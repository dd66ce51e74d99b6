"""A small seeded database, in which what is rare happens often enough to be looked at."""

import os
from collections.abc import Iterator
from datetime import datetime

import pytest
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from tests.benchmarks import traffic
from tests.benchmarks.filling import fill
from tests.benchmarks.world import Size
from tests.running import Service, fresh_database
from tests.shifts.conftest import pointed_at

SIZE = Size(events=20_000, shifts=2_000, work_providers=12)


@pytest.fixture(scope="module")
def now(
    tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker
) -> Iterator[datetime]:
    """When the seeding took place, on a database of its own, where Django is until the last test."""
    directory, redis_url = tmp_path_factory.mktemp("seeded"), os.environ["REDIS_URL"]
    with fresh_database(os.environ["DATABASE_URL"]) as url:
        Service(directory, url, redis_url).manage("migrate", "--verbosity", "0")
        with pointed_at(url, django_db_blocker):
            now = timezone.now()
            with pytest.MonkeyPatch.context() as patch:
                _more_of_what_is_rare(patch)
                fill(SIZE, now, say=lambda what: None)
            yield now


def _more_of_what_is_rare(patch: pytest.MonkeyPatch) -> None:
    often = {fate: max(chance, 0.005) for fate, chance in traffic._FATES.items()}
    patch.setattr(traffic, "_FATES", often)
    patch.setattr(traffic, "_FATEFUL", sum(often.values()))
    patch.setattr(traffic, "_WITHDRAWN", 0.005)
    patch.setattr(traffic, "_FAILED", 0.002)
