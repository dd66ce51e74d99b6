"""The service as real processes, for tests that need to see it run.

Everything here works on a database of its own with real commits; pytest-django's `test_` database
is another one, rolled back around each test.
"""

import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import TypeVar
from urllib.parse import urlsplit

import psycopg2
import redis
import requests
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection

from tests.plugin import SETTINGS
from zego_api.local import processes
from zego_api.local.servers import free_port

BASE = Path(__file__).resolve().parent.parent
Result = TypeVar("Result")
NAMES = ("web", "worker", "sweeper")


def wait_until(question: Callable[[], Result], within: float = 30.0, what: str = "it") -> Result:
    """Ask until the answer is true, and return it; AssertionError after `within` seconds."""
    deadline = time.monotonic() + within
    while not (answer := question()):
        assert time.monotonic() < deadline, f"{what} did not happen within {within} s"
        time.sleep(0.05)
    return answer


class Process:
    """One process of the service, with its output in a file."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path = BASE
    ) -> None:
        self._log = log
        self._began = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self.popen = processes.spawn(
                command, stop_signal=SIGTERM, cwd=cwd, env=env, output=output
            )

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    @property
    def output(self) -> str:
        """What this process (not an earlier one with the same log) has printed so far."""
        return self._log.read_bytes()[self._began :].decode(errors="replace")

    def stop(self, within: float = 30.0) -> int:
        """Ask it to end; returns its exit status. TimeoutExpired if it does not end in time."""
        self.popen.send_signal(SIGTERM)
        try:
            return self.popen.wait(within)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it and all its descendants with SIGKILL, in the middle of whatever they do."""
        processes.kill_tree(self.popen.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, SIGKILL)
        self.popen.wait()

    def wait_for(self, ready: Callable[[], object], what: str, within: float = 30.0) -> None:
        """Wait until it is ready; if it ends instead, fail with what it said."""

        def answer() -> bool:
            assert self.running, f"it ended instead of {what}"
            return bool(ready())

        try:
            wait_until(answer, within, what)
        except AssertionError as error:
            raise AssertionError(f"{error}. It said:\n{self.output[-4000:]}") from None


class Service:
    """Web, worker and sweeper on one database and one broker.

    `processes` holds what was started, by name. A process can be stopped or killed and started
    again; web keeps its port, so `url` stays what it is.
    """

    def __init__(self, directory: Path, database_url: str, redis_url: str, **settings: str) -> None:
        """Logs, mails, the heartbeat and the demo's files go into the directory."""
        self.directory = directory
        self.processes: dict[str, Process] = {}
        self.env = self._environment(database_url, redis_url) | settings

    def _environment(self, database_url: str, redis_url: str) -> dict[str, str]:
        outside = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        port = free_port()
        return (
            outside
            | SETTINGS
            | {
                "DATABASE_URL": database_url,
                "REDIS_URL": redis_url,
                "SECRET_KEY": secrets.token_urlsafe(48),
                "EMAIL_URL": f"filemail://{self.directory}/mail",
                "HEARTBEAT_FILE": str(self.directory / "heartbeat"),
                "PORT": str(port),
                "PUBLIC_URL": f"http://127.0.0.1:{port}",
                "PYTHONUNBUFFERED": "1",
            }
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.env['PORT']}"

    def start(self, *names: str) -> None:
        """Start processes (all unless named) and wait until each does its work."""
        started = {name: self._start(name) for name in names or NAMES}
        for name, process in started.items():
            process.wait_for(self._sign_of_life(name), what=f"{name} at work")

    def stop(self, *names: str) -> None:
        """Stop processes (all unless named) in good order."""
        for name in names or list(self.processes):
            self.processes.pop(name).stop()

    def kill(self, *names: str) -> None:
        """Kill processes (all unless named), with their descendants, by SIGKILL."""
        for name in names or list(self.processes):
            self.processes.pop(name).kill()

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a `manage.py` command on this service's database; AssertionError if it fails."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=BASE,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def demo_key(self) -> str:
        """The API key of the demo work provider, which has the drivers 1686 and 1687."""
        self.manage("demo", "--into", str(self.directory), "--timezone", "UTC")
        return (self.directory / "demo-key").read_text(encoding="ascii").strip()

    def logs(self) -> str:
        """Everything that the processes have printed, earlier ones of the same name included."""
        return "".join(
            path.read_text(encoding="utf-8", errors="replace")
            for path in sorted(self.directory.glob("*.log"))
        )

    @contextlib.contextmanager
    def connect(self) -> Iterator[connection]:
        """A connection to this service's database; each statement commits by itself."""
        with contextlib.closing(autocommit(self.env["DATABASE_URL"])) as opened:
            yield opened

    def query(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """The rows that a statement gives in this service's database."""
        with self.connect() as opened, opened.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall()

    def _start(self, name: str) -> Process:
        if name == "sweeper":
            Path(self.env["HEARTBEAT_FILE"]).unlink(missing_ok=True)
        command = [sys.executable, "manage.py", name]
        process = Process(command, self.env, self.directory / f"{name}.log")
        self.processes[name] = process
        return process

    def _sign_of_life(self, name: str) -> Callable[[], object]:
        signs: dict[str, Callable[[], object]] = {
            "web": lambda: answers(f"{self.url}/healthz"),
            "worker": lambda: " ready." in self.processes["worker"].output,
            "sweeper": Path(self.env["HEARTBEAT_FILE"]).exists,
        }
        return signs[name]


def answers(url: str, host: str | None = None) -> bool:
    """Whether a GET of the URL, by the name `host` if given, gives 200."""
    headers = {"Host": host} if host else {}
    try:
        response = requests.get(url, headers=headers, timeout=5, allow_redirects=False)
        return response.status_code == 200
    except requests.RequestException:
        return False


@contextlib.contextmanager
def running(
    directory: Path, database_url: str, redis_url: str, **settings: str
) -> Iterator[Service]:
    """A service on a migrated database, all three processes at work; killed at the end."""
    directory.mkdir(parents=True, exist_ok=True)
    service = Service(directory, database_url, redis_url, **settings)
    service.manage("migrate", "--verbosity", "0")
    try:
        service.start()
        yield service
    finally:
        service.kill()


@contextlib.contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """A new, empty database in the server that the URL names; dropped at the end."""
    name = f"zego_live_{secrets.token_hex(4)}"
    server = urlsplit(server_url)
    maintenance = server._replace(path="/postgres").geturl()
    _administer(maintenance, "CREATE DATABASE {}", name)
    try:
        yield server._replace(path=f"/{name}").geturl()
    finally:
        _administer(maintenance, "DROP DATABASE {} WITH (FORCE)", name)


@contextlib.contextmanager
def empty_redis(server_url: str) -> Iterator[str]:
    """A database of the Redis server that holds nothing; emptied again at the end."""
    server = urlsplit(server_url)
    first = int(server.path.strip("/") or 0) + 1
    for number in range(first, 16):
        url = server._replace(path=f"/{number}").geturl()
        with contextlib.closing(redis.Redis.from_url(url)) as client:
            if client.dbsize() == 0:
                try:
                    yield url
                finally:
                    client.flushdb()
                return
    raise AssertionError(f"the Redis server has no empty database from {first} to 15")


def autocommit(url: str) -> connection:
    """A connection on which each statement commits by itself."""
    opened = psycopg2.connect(url)
    opened.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    return opened


def _administer(url: str, statement: str, name: str) -> None:
    with contextlib.closing(autocommit(url)) as opened, opened.cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(sql.Identifier(name)))
