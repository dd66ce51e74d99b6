"""Leaving a server that failed alone for a while, instead of waiting for it again and again."""

import threading
import time

import structlog

log = structlog.get_logger(__name__)


class Breaker:
    """One process's memory of a server's last failure; any number of threads may share it."""

    def __init__(self, name: str, pause: float) -> None:
        """`name` is what the log calls the server, `pause` for how many seconds it is left alone."""
        self._name = name
        self._pause = pause
        self._lock = threading.Lock()
        self._until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the server is to be left alone now."""
        return time.monotonic() < self._until

    def trip(self, error: BaseException) -> None:
        """The server failed. Said once in the log, however many threads have noticed."""
        with self._lock:
            if self.is_open:
                return
            self._until = time.monotonic() + self._pause
        log.warning(
            "server_away", server=self._name, error=type(error).__name__, pause_seconds=self._pause
        )
