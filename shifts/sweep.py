"""The sweeper: what must happen on time, with PostgreSQL and nothing else.

It digests whatever a lost wake-up has left pending, ends shifts whose maximum has run out, counts held
events whose link came unannounced, and lets held events expire. Any number may run.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from django.db import Error, close_old_connections
from django.utils import timezone

from shifts import links, settle, store
from shifts.digest import digest_pending
from zego_api.db import is_away

log = structlog.get_logger(__name__)

PAUSE = 1.0  # seconds between two rounds
LEFT_PENDING = timedelta(seconds=2)  # a worker that is awake has taken it by then
# A round must end, so that a long backlog does not keep the other chores waiting.
DIGEST_SECONDS = 10.0
LINKS_CHANGED_WITHIN = timedelta(hours=1)


def digest_left_pending(now: datetime) -> None:
    """Digest what has been pending for LEFT_PENDING or longer."""
    deadline = time.monotonic() + DIGEST_SECONDS
    while digest_pending(older_than=LEFT_PENDING) and time.monotonic() < deadline:
        pass


def close_overdue(now: datetime) -> None:
    """End every shift whose maximum has run out (R6)."""
    while settle.close_overdue(now=now):
        pass


def count_waiting_lately(now: datetime) -> None:
    """Count what waits in spite of a link that changed lately."""
    links.count_waiting(changed_since=now - LINKS_CHANGED_WITHIN)


def count_waiting_ever(now: datetime) -> None:
    """Count what waits in spite of any link."""
    links.count_waiting(changed_since=store.BEGINNING)


def expire_held(now: datetime) -> None:
    """Reject what has been held for too long."""
    links.expire_held(now=now)


@dataclass(slots=True)
class _Chore:
    run: Callable[[datetime], None]
    every: float  # seconds
    due: float = field(default=0.0)


def _chores() -> list[_Chore]:
    return [
        _Chore(digest_left_pending, 0),
        _Chore(close_overdue, 0),
        _Chore(count_waiting_lately, 5),
        _Chore(expire_held, 60),
        _Chore(count_waiting_ever, 3600),
    ]


def run_until(stop: threading.Event, heartbeat: Path | None = None) -> None:
    """Do each chore when it is due until `stop` is set; `heartbeat` is touched after every round."""
    chores = _chores()
    while not stop.is_set():
        for chore in chores:
            if chore.due <= time.monotonic() and not stop.is_set():
                _run(chore)
        if heartbeat is not None:
            heartbeat.touch()
        stop.wait(PAUSE)


def _run(chore: _Chore) -> None:
    """One chore's failure is logged and does not keep the others from running."""
    close_old_connections()
    try:
        chore.run(timezone.now())
    except Error as error:
        if is_away(error):
            log.warning("database_away", chore=chore.run.__name__)
        else:
            log.exception("chore_failed", chore=chore.run.__name__)
    except Exception:
        log.exception("chore_failed", chore=chore.run.__name__)
    chore.due = time.monotonic() + chore.every
