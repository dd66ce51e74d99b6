"""Several processes as one: one output, and none of them goes on without the others."""

import contextlib
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from io import TextIOBase
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import IO

from zego_api.local import processes
from zego_api.local.errors import LocalError

_COLOURS = (36, 33, 35, 32)  # ANSI: cyan, yellow, magenta, green
GRACE = 20.0  # seconds; a worker finishes its digest first


class Supervisor:
    """Runs named commands until one of them ends or it is told to stop; then stops them all."""

    def __init__(self, out: TextIOBase, records: Path, env: Mapping[str, str], cwd: Path) -> None:
        """Lines go to `out`; `records` is a directory that remembers the processes for a reaper."""
        self._out = out
        self._records = records
        self._env = env
        self._cwd = cwd
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._readers: list[threading.Thread] = []
        self._lines: queue.Queue[tuple[str, str]] = queue.Queue()
        self._lock = threading.Lock()
        self._last_line_at = time.monotonic()

    def start(self, name: str, command: list[str]) -> None:
        process = processes.spawn(
            command, stop_signal=SIGTERM, cwd=self._cwd, env=self._env, output=subprocess.PIPE
        )
        self._running[name] = process
        processes.record(process.pid, self._record(name))
        if process.stdout is not None:
            reader = threading.Thread(target=self._read, args=(name, process.stdout), daemon=True)
            reader.start()
            self._readers.append(reader)

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Print what they say until `should_stop()`, asked several times a second.

        Raises LocalError when one of them ends by itself.
        """
        while not should_stop():
            self._print_lines(wait=0.2)
            for name, process in self._running.items():
                if process.poll() is not None:
                    self._print_lines(wait=0.5)
                    raise LocalError(f"{name} ended by itself ({_ending(process.returncode)}).")

    def say(self, text: str) -> None:
        """Print a text of our own between their lines; any thread may."""
        with self._lock:
            self._out.write(f"{text}\n")
            self._out.flush()

    def await_silence(self, seconds: float, within: float) -> None:
        """Wait until none of them has printed anything for some seconds, or `within` is over."""
        deadline = time.monotonic() + within
        while time.monotonic() < min(deadline, self._last_line_at + seconds):
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask all of them to end, print what they still say, and kill whoever takes too long."""
        trees = [tree for process in self._running.values() for tree in processes.tree(process.pid)]
        for process in self._running.values():
            process.terminate()
        processes.gone(trees, within=GRACE)
        for name, process in self._running.items():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, SIGKILL)  # also whom a crashed parent has left behind
            process.wait()
            self._record(name).unlink(missing_ok=True)
        for reader in self._readers:
            reader.join(timeout=2)
        self._print_lines(wait=0)
        self._running.clear()

    def _record(self, name: str) -> Path:
        return self._records / f"{name}.pid"

    def _read(self, name: str, output: IO[bytes]) -> None:
        for line in output:
            self._last_line_at = time.monotonic()
            self._lines.put((name, line.decode(errors="replace").rstrip()))

    def _print_lines(self, wait: float) -> None:
        for name, line in self._waiting_lines(wait):
            self.say(f"{self._prefix(name)} {line}")

    def _waiting_lines(self, wait: float) -> Iterator[tuple[str, str]]:
        try:
            yield self._lines.get(timeout=wait) if wait else self._lines.get_nowait()
            while True:
                yield self._lines.get_nowait()
        except queue.Empty:
            return

    def _prefix(self, name: str) -> str:
        text = f"{name:<{max(map(len, self._running))}} |"
        if not self._out.isatty() or "NO_COLOR" in os.environ:
            return text
        colour = _COLOURS[list(self._running).index(name) % len(_COLOURS)]
        return f"\x1b[{colour}m{text}\x1b[0m"


def _ending(status: int) -> str:
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
