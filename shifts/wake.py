"""Waking a worker after an accept, without ever holding the request up.

A wake-up carries no data, so losing one loses nothing: the sweeper digests whatever stays pending. It
is therefore sent from a thread of its own, at most once every PAUSE seconds a process (a publish costs
about as much CPU as a third of an accept), and not at all for a while after the broker failed.
"""

import os
import threading
import time
from typing import Any

import structlog
from django.conf import settings
from kombu import Connection

from zego_api.celery import app

log = structlog.get_logger(__name__)

PAUSE = 0.05  # a submission waits for its wake-up no longer than this
BREAK = 5.0  # no publishing for so long after a failure
ENOUGH_QUEUED = 100  # with no worker alive the queue must not grow for ever
EXPIRES = 60  # seconds
DIGEST_TASK = "shifts.tasks.digest"

_TRANSPORT_OPTIONS = {
    "socket_timeout": 0.5,
    "socket_connect_timeout": 0.5,
    "retry_on_timeout": False,
    "max_retries": 0,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}


class Waker:
    """One process's wake-ups; the thread starts with the first one, and again after a fork."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._pid = 0
        self._connection: Connection | None = None  # the thread's own

    def wake(self) -> None:
        """Ask for a worker; returns at once and never raises."""
        self._wanted.set()
        if self._pid != os.getpid():
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            threading.Thread(target=self._run, name="waker", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            try:
                self._publish()
            except Exception as error:
                log.warning("wake_up_failed", error=type(error).__name__, pause_seconds=BREAK)
                self._connection = None
                time.sleep(BREAK)
            else:
                time.sleep(PAUSE)

    def _publish(self) -> None:
        if self._connection is None:
            self._connection = Connection(
                settings.CELERY_BROKER_URL, transport_options=_TRANSPORT_OPTIONS
            )
        channel: Any = self._connection.default_channel
        if channel.client.llen(settings.CELERY_TASK_DEFAULT_QUEUE) < ENOUGH_QUEUED:
            app.send_task(DIGEST_TASK, connection=self._connection, expires=EXPIRES, retry=False)


_waker = Waker()
wake = _waker.wake
