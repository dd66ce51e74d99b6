"""Processes that do not outlive their use: they die with us, else the next start reaps them."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

_LAUNCH = Path(__file__).with_name("launch.py")
_CLOCK_DRIFT = 5.0  # seconds: a start time is told from the boot, which moves when the clock is set


def spawn(
    command: Sequence[str],
    *,
    stop_signal: signal.Signals,
    cwd: Path,
    env: Mapping[str, str],
    output: int | IO[bytes],
    uid: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own (a Ctrl-C is ours to pass on), under `uid` if given.

    `command[0]` is a full path. If this process dies, the command gets `stop_signal` (Linux).
    """
    launch = [sys.executable, "-I", "-S", str(_LAUNCH), stop_signal.name, str(uid or "-"), *command]
    return subprocess.Popen(
        launch,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def tree(pid: int) -> list[psutil.Process]:
    """The process and all its descendants, parents first; empty once it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_tree(pid: int) -> None:
    """Kill the process and its descendants at once, as a crash would, and wait for their end."""
    processes = tree(pid)
    send(processes, signal.SIGKILL)
    gone(processes, within=10)


def record(pid: int, path: Path) -> None:
    """Remember a process in a file, for `reap`; its start time tells it from a later one."""
    path.write_text(f"{pid} {psutil.Process(pid).create_time():.2f}\n", encoding="ascii")


def reap(path: Path, stop_signal: signal.Signals, grace: float) -> None:
    """Stop the process that `record` left in the file, if it still runs; then forget it."""
    process = _recorded(path)
    if process is not None:
        send([process], stop_signal)
        if not gone([process], within=grace):
            kill_tree(process.pid)
    path.unlink(missing_ok=True)


def _recorded(path: Path) -> psutil.Process | None:
    try:
        pid, started = path.read_text(encoding="ascii").split()
        process = psutil.Process(int(pid))
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
    is_ours = abs(process.create_time() - float(started)) < _CLOCK_DRIFT
    return process if is_ours and _runs(process) else None


def gone(processes: Iterable[psutil.Process], within: float) -> bool:
    """Wait until none of them runs; false if one still does. The dead may still be listed."""
    deadline = time.monotonic() + within
    waiting = list(processes)
    while waiting := [process for process in waiting if _runs(process)]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each process that is still there."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
