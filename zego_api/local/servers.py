"""PostgreSQL and Valkey for one machine: the real servers, private to whoever starts them.

Both listen on a port of 127.0.0.1 and ask for a password, because a port is open to every user of
the machine. (A socket in a private directory would need no password, but its path may have 107
bytes at most, and checkouts lie deeper than that.) A server keeps its port and its password for as
long as its object lives, so that it can be stopped, killed, frozen and started at one address.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import psycopg2
import redis
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT

from zego_api.local import binaries, processes
from zego_api.local.errors import LocalError

_HOST = "127.0.0.1"
_START_WITHIN = 60.0  # seconds; about 1 is usual, recovery after a crash takes longer
_STOP_WITHIN = 20.0
# PostgreSQL's own words for "the last server on this data is not quite gone": a matter of seconds.
_STILL_GOING = ("pre-existing shared memory block", "lock file")
_BUILTIN_LOCALE_SINCE = 17


class LocalServer(ABC):
    """A server in a directory of its own: started and stopped here, dead when we are."""

    name: str
    stop_signal: signal.Signals

    def __init__(self, directory: Path) -> None:
        """Prepare to run in the directory; it is made by `start`, with the server's data in it."""
        self.directory = directory.resolve()
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect to, with the password in it."""

    @property
    def log(self) -> Path:
        """What the server has printed so far."""
        return self.directory / "log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start on what data there is, reaping a forgotten predecessor; return once it answers."""
        self.prepare()
        processes.reap(self._record, self.stop_signal, _STOP_WITHIN)
        deadline = time.monotonic() + _START_WITHIN
        while not self._answers_in_time(deadline):
            if not any(words in self._last_words for words in _STILL_GOING):
                raise LocalError(f"{self.name} did not start. It said:\n{self._last_words}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop in good order: clients are dropped, data is flushed."""
        if self._process is None:
            return
        self.thaw()
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
        self._forget()

    def kill(self) -> None:
        """Kill it, as a crash of the server would (SIGKILL, every process of it)."""
        if self._process is not None:
            processes.kill_tree(self._process.pid)
            self._process.wait()
            self._forget()

    def freeze(self) -> None:
        """Keep its connections open and answer none of them, as when a network eats packets."""
        processes.send(self._tree(), signal.SIGSTOP)

    def thaw(self) -> None:
        processes.send(self._tree(), signal.SIGCONT)

    def prepare(self) -> None:
        """Make what the server needs before it can start."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    @abstractmethod
    def command(self) -> list[str]:
        """The server's program, by its full path, and its arguments."""

    @abstractmethod
    def ping(self) -> bool:
        """Whether it takes connections."""

    @property
    def uid(self) -> int | None:
        """The user to run as; None is who we are."""
        return None

    @property
    def _record(self) -> Path:
        return self.directory / "pid"

    def _tree(self) -> list[psutil.Process]:
        return processes.tree(self._process.pid) if self._process else []

    def _forget(self) -> None:
        self._process = None
        self._record.unlink(missing_ok=True)

    def _answers_in_time(self, deadline: float) -> bool:
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = processes.spawn(
                self.command(),
                stop_signal=self.stop_signal,
                cwd=self.directory,
                env=server_environment(),
                output=log,
                uid=self.uid,
            )
        processes.record(self._process.pid, self._record)
        while self.running and time.monotonic() < deadline:
            if self.ping():
                return True
            time.sleep(0.02)
        self.kill()
        return False

    @property
    def _last_words(self) -> str:
        said = self.log.read_bytes()[self._log_start :].decode(errors="replace").strip()
        return "\n".join(said.splitlines()[-8:]) or "(nothing)"


class LocalPostgres(LocalServer):
    """PostgreSQL with one database, `zego`, and one user, `zego`, who owns everything."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast": does not wait for clients

    @property
    def url(self) -> str:
        return self.url_of("zego")

    def url_of(self, database: str) -> str:
        """The address of one database of this server, existing or not."""
        return f"postgres://zego:{self._password}@{_HOST}:{self.port}/{database}"

    def start(self) -> None:
        super().start()
        self.create_database("zego")

    def create_database(self, name: str) -> str:
        """Make a database unless it is there; returns its address."""
        with self._maintenance() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        with self._maintenance() as cursor:
            query = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            cursor.execute(query.format(sql.Identifier(name)))

    def prepare(self) -> None:
        super().prepare()
        if self.uid is not None:
            os.chown(self.directory, self.uid, pwd.getpwuid(self.uid).pw_gid)
        if not self._data.is_dir():
            self._initialise()
        self._check_version()
        self._clear_stale_lock()

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": _HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(binaries.postgres_directory() / "postgres"), "-D", str(self._data), *options]

    def ping(self) -> bool:
        try:
            psycopg2.connect(self.url_of("postgres"), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True

    @property
    def uid(self) -> int | None:
        """PostgreSQL refuses to run as root: then another user owns the data and runs it."""
        if os.getuid() != 0:
            return None
        owner = self.directory.stat().st_uid
        return owner or _stand_in_for_root()

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _password(self) -> str:
        return secret(self.directory / "password")

    @contextlib.contextmanager
    def _maintenance(self) -> Iterator["psycopg2.extensions.cursor"]:
        connection = psycopg2.connect(self.url_of("postgres"))
        try:
            connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def _initialise(self) -> None:
        """Make the data directory, whole or not at all: an interrupted one is thrown away."""
        unfinished = self.directory / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        password = self.directory / "password"
        secret(password)
        if self.uid is not None:
            os.chown(password, self.uid, -1)
        with self.log.open("wb") as log:
            initdb = processes.spawn(
                self._initdb(unfinished, password),
                stop_signal=signal.SIGTERM,
                cwd=self.directory,
                env=server_environment(),
                output=log,
                uid=self.uid,
            )
            if initdb.wait() != 0:
                said = self.log.read_text(errors="replace").strip()
                raise LocalError(f"PostgreSQL could not set its data directory up:\n{said}")
        unfinished.rename(self._data)

    def _initdb(self, data: Path, password: Path) -> list[str]:
        directory = binaries.postgres_directory()
        # The same order and the same capital letters on every machine, whatever libc is on it.
        locale = ["--locale=C.UTF-8"]
        if binaries.postgres_version(directory) >= _BUILTIN_LOCALE_SINCE:
            locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        return [
            str(directory / "initdb"),
            f"--pgdata={data}",
            "--username=zego",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            *locale,
        ]

    def _check_version(self) -> None:
        made_by = int((self._data / "PG_VERSION").read_text(encoding="ascii"))
        ours = binaries.postgres_version(binaries.postgres_directory())
        if made_by != ours:
            raise LocalError(
                f"The data in {self.directory} was made by PostgreSQL {made_by}, and this is"
                f" {ours}. Remove that directory to start with empty data."
            )

    def _clear_stale_lock(self) -> None:
        """Remove the lock of a killed server, in case another process has got its id since."""
        lock = self._data / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            if not self._is_server(int(lock.read_text().splitlines()[0])):
                lock.unlink()

    def _is_server(self, pid: int) -> bool:
        try:
            return Path(psutil.Process(pid).cwd()) == self._data
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


class LocalValkey(LocalServer):
    """Valkey, else an installed Redis. It keeps nothing on disk: a wake-up carries no data."""

    name = "Valkey"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        return f"redis://:{secret(self.directory / 'password')}@{_HOST}:{self.port}/0"

    def prepare(self) -> None:
        super().prepare()
        settings = {
            "bind": _HOST,
            "port": str(self.port),
            "requirepass": secret(self.directory / "password"),
            "save": '""',
            "appendonly": "no",
            "dir": f'"{self.directory}"',
        }
        text = "".join(f"{name} {value}\n" for name, value in settings.items())
        write_private(self._configuration, text)  # a password in the arguments shows in `ps`

    def command(self) -> list[str]:
        return [str(binaries.valkey_server()), str(self._configuration)]

    def ping(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    @property
    def _configuration(self) -> Path:
        return self.directory / "valkey.conf"


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens at this moment."""
    with socket.create_server((_HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def secret(path: Path) -> str:
    """The secret kept in the file, made at the first call; only the file's owner may read it."""
    if not path.is_file():
        write_private(path, secrets.token_urlsafe(48))
    return path.read_text(encoding="ascii").strip()


def write_private(path: Path, text: str) -> None:
    """Write a file (mode 0600) whole or not at all, so that an interrupted start leaves no half."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600, exist_ok=False)
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def server_environment() -> dict[str, str]:
    """What a server gets to see of our environment: no secrets, and no PG* variables."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _stand_in_for_root() -> int:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    raise LocalError(
        "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it"
        " as. Run this as a normal user, or set DATABASE_URL."
    )
