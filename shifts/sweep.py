"""The sweeper: what must happen on time. For shifts it needs PostgreSQL and nothing else.

It digests whatever a lost wake-up has left pending, ends shifts whose maximum has run out, counts held
events whose link came unannounced, and lets held events expire. A thread of its own keeps house: it
delivers mail and deletes what has served its time, so that a slow mail server never delays a shift; and
one keeps the desk's figures and does what the desk asked for in bulk. Any number of sweepers may run.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path

import structlog
from django.conf import settings
from django.db import Error, close_old_connections, connections
from django.utils import timezone

from linking import intents, people
from shifts import bulk, links, rejected, rollup, settle, store
from shifts.digest import digest_pending
from zego_api import mail
from zego_api.db import is_away

log = structlog.get_logger(__name__)

PAUSE = 1.0  # seconds between two rounds
LEFT_PENDING = timedelta(seconds=2)  # a worker that is awake has taken it by then
# A round must end, so that a long backlog does not keep the other chores waiting.
DIGEST_SECONDS = 10.0
MENDING_SECONDS = 10.0
LINKS_CHANGED_WITHIN = timedelta(hours=1)
FIGURES_EVERY = 15.0  # seconds


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


def mend_in_bulk(now: datetime) -> None:
    """Go on with what the ops desk has asked for many at a time."""
    deadline = time.monotonic() + MENDING_SECONDS
    while bulk.carry_on(timezone.now()) and time.monotonic() < deadline:
        pass


def forget_sessions(now: datetime) -> None:
    """Delete the sessions that have expired."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()


@dataclass(slots=True)
class _Chore:
    run: Callable[[datetime], None]
    every: float  # seconds
    due: float = field(default=0.0)


def _shift_chores() -> list[_Chore]:
    return [
        _Chore(digest_left_pending, 0),
        _Chore(close_overdue, 0),
        _Chore(count_waiting_lately, 5),
        _Chore(expire_held, 60),
        _Chore(count_waiting_ever, 3600),
    ]


def _house_chores(stop: threading.Event) -> list[_Chore]:
    def deliver_mail(now: datetime) -> None:
        mail.deliver_pending(now, should_stop=stop.is_set)

    return [
        _Chore(deliver_mail, 0),
        _Chore(mail.forget_sent, 3600),
        _Chore(forget_sessions, 3600),
        _Chore(intents.forget_old, 3600),
        _Chore(people.forget_unverified, 3600),
        _Chore(rejected.forget_old, 3600),
    ]


def _desk_chores() -> list[_Chore]:
    return [
        _Chore(mend_in_bulk, 0),
        _Chore(rollup.keep_up, FIGURES_EVERY),
        _Chore(rollup.watch_clocks, 300),
        _Chore(rollup.forget_old, 3600),
    ]


def run_until(stop: threading.Event, heartbeat: Path | None = None) -> None:
    """Do each chore when it is due until `stop` is set; `heartbeat` is touched after every round.

    A mail in hand is finished first. If one of the threads cannot go on, the others stop as well and
    the error is raised: a part of a sweeper must not pass for a whole one.
    """
    lists = [_house_chores(stop), _desk_chores()]
    with ThreadPoolExecutor(len(lists), "sweeper") as executor:
        threads = [executor.submit(_do_aside, chores, stop) for chores in lists]
        for thread in threads:
            thread.add_done_callback(lambda _: stop.set())
        try:
            _do(_shift_chores(), stop, heartbeat)
        finally:
            stop.set()
    for thread in threads:
        thread.result()


def _do_aside(chores: list[_Chore], stop: threading.Event) -> None:
    try:
        _do(chores, stop)
    finally:
        connections.close_all()  # this thread's own


def _do(chores: list[_Chore], stop: threading.Event, heartbeat: Path | None = None) -> None:
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
