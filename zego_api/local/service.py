"""The whole service on one machine: its servers, its processes, and a newcomer's first steps."""

import contextlib
import fcntl
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path
from zoneinfo import ZoneInfo

import tzlocal

from zego_api.local import processes
from zego_api.local.errors import LocalError
from zego_api.local.servers import LocalPostgres, LocalServer, LocalValkey, secret, write_private
from zego_api.local.supervisor import GRACE, Supervisor

PROCESSES = ("web", "worker", "sweeper")
DRIVER = {"wp": "Courier Ltd", "wp_id": "123456", "email": "driver@example.com"}
_SILENCE = 1.0  # seconds without a line: what they print while they start would bury the banner
_ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class Stopped(BaseException):
    """We were asked to end: Ctrl-C, `kill`, a closed terminal, or the end of the make above us."""


@dataclass(frozen=True)
class Address:
    """Where the web process listens, and how a browser on this machine calls that."""

    host: str
    port: int

    @property
    def url(self) -> str:
        host = _ANY_ADDRESS.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def check_free(self) -> None:
        """Raise LocalError if somebody listens there already, or nobody can."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            socket.create_server((self.host, self.port), family=family).close()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise LocalError(
                f"Cannot listen on port {self.port} of {self.host}: {reason}."
                " Another port can be given: make run PORT=8001"
            ) from None


class LocalService:
    """PostgreSQL, Valkey, web, worker and sweeper, with everything they keep in `.local/`."""

    def __init__(self, base: Path, environment: Mapping[str, str], out: TextIOBase) -> None:
        """`base` is the checkout; what `environment` names (DATABASE_URL, PORT, ...) is used."""
        self._base = base
        self._local = base / ".local"
        self._out = out
        self._environment = without_stale_values(environment, self._env_file)
        self._address = Address(
            self._environment.get("HOST", "127.0.0.1"), _port(self._environment.get("PORT", "8000"))
        )

    def run(self, parent: int | None = None) -> None:
        """Set everything up, run until told to stop, and leave nothing running.

        With `parent`, the end of that process is also a reason to stop. Raises LocalError with the
        one thing to say when a step fails.
        """
        _raise_stopped_on_signals()
        with contextlib.suppress(Stopped), contextlib.ExitStack() as stack:
            try:
                self._set_up_and_supervise(stack, parent)
            finally:
                _ignore_signals()

    @property
    def _env_file(self) -> Path:
        return self._local / "env"

    @property
    def _mail(self) -> Path:
        return self._local / "mail"

    def _set_up_and_supervise(self, stack: contextlib.ExitStack, parent: int | None) -> None:
        # Not listable, but PostgreSQL's stand-in for root has to get through to its data.
        self._local.mkdir(mode=0o711, exist_ok=True)
        self._mail.mkdir(mode=0o700, exist_ok=True)
        stack.enter_context(_only_one(self._local / "lock"))
        for name in PROCESSES:
            processes.reap(self._local / f"{name}.pid", signal.SIGTERM, GRACE)
        self._address.check_free()
        env = self._environment | self._own_settings(stack)
        self._write_env_file(env, stack)
        self._manage(env, "migrate", "--verbosity", "0")
        self._manage(env, "demo", "--into", str(self._local), "--timezone", local_timezone())
        self._supervise(env, parent)

    def _own_settings(self, stack: contextlib.ExitStack) -> dict[str, str]:
        """The settings that this start adds to what it was given."""
        ours = {
            "SECRET_KEY": secret(self._local / "secret-key"),
            "INSECURE_HTTP": "true",
            "LOG_FORMAT": "console",
            "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1]",
            "HOST": self._address.host,
            "PORT": str(self._address.port),
            "PUBLIC_URL": self._address.url,
            "EMAIL_URL": f"filemail://{urllib.parse.quote(str(self._mail))}",
            "HEARTBEAT_FILE": str(self._local / "heartbeat"),
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore",  # of no collected static files, and of running as root
        }
        given = {name for name in ours if self._environment.get(name)}
        settings = {name: value for name, value in ours.items() if name not in given}
        servers: dict[str, type[LocalServer]] = {
            "DATABASE_URL": LocalPostgres,
            "REDIS_URL": LocalValkey,
        }
        for name, server in servers.items():
            if not self._environment.get(name):
                settings[name] = self._start(server, stack)
        return settings

    def _start(self, kind: type[LocalServer], stack: contextlib.ExitStack) -> str:
        self._say(f"Starting {kind.name} ...")
        return stack.enter_context(kind(self._local / kind.name.lower())).url

    def _write_env_file(self, env: Mapping[str, str], stack: contextlib.ExitStack) -> None:
        """Let every other `manage.py` command in this checkout find the same servers."""
        names = (
            "ALLOWED_HOSTS",
            "DATABASE_URL",
            "EMAIL_URL",
            "HOST",
            "INSECURE_HTTP",
            "LOG_FORMAT",
            "PORT",
            "PUBLIC_URL",
            "REDIS_URL",
            "SECRET_KEY",
        )
        stack.callback(self._env_file.unlink, missing_ok=True)
        write_private(self._env_file, "".join(f"{name}='{env[name]}'\n" for name in names))

    def _manage(self, env: Mapping[str, str], command: str, *arguments: str) -> None:
        """Run a `manage.py` command to its end; LocalError, with what it said, if it fails."""
        self._say(f"Running manage.py {command} ...")
        process = processes.spawn(
            self._manage_py(command, *arguments),
            stop_signal=signal.SIGTERM,
            cwd=self._base,
            env=env,
            output=subprocess.PIPE,
        )
        try:
            said, _ = process.communicate()
        finally:
            processes.kill_tree(process.pid)
        if process.returncode != 0:
            text = said.decode(errors="replace").strip()
            raise LocalError(f"{text}\n\nmanage.py {command} failed; its output is above.")

    def _manage_py(self, command: str, *arguments: str) -> list[str]:
        return [sys.executable, str(self._base / "manage.py"), command, *arguments]

    def _supervise(self, env: Mapping[str, str], parent: int | None) -> None:
        supervisor = Supervisor(self._out, self._local, env, self._base)
        over = threading.Event()
        try:
            for name in PROCESSES:
                supervisor.start(name, self._manage_py(name))
            threading.Thread(target=self._announce, args=(supervisor, over), daemon=True).start()
            supervisor.run(should_stop=lambda: parent is not None and has_ended(parent))
        finally:
            _ignore_signals()
            over.set()
            supervisor.say("Stopping ...")
            supervisor.stop()

    def _announce(self, supervisor: Supervisor, over: threading.Event) -> None:
        """Say how to use the service once it can be used and its processes have fallen silent."""
        while not over.wait(0.1):
            if _answers(f"{self._address.url}/readyz"):
                supervisor.await_silence(_SILENCE, within=5.0)
                supervisor.say(self._banner())
                return

    def _banner(self) -> str:
        url = self._address.url
        key = _kept(self._local / "demo-key")
        password = _kept(self._local / "admin-password")
        body = """'{"driverId": "1686", "timestamp": "'$(date -u +%FT%TZ)'"}'"""
        login = f"curl -i {url}/v1/shift/login/ -H {shlex.quote(f'Authorization: {key}')} -d {body}"
        link = urllib.parse.urlencode(DRIVER)
        return f"""
The Zego shift service runs at {url}

  Report that driver 1686 of the demo work provider "Courier Ltd" starts a shift (paste this):

{login}

  See the shift:   {url}/admin/desk/search/?q=1686
  Sign in as:      admin@example.com, password {password}
  API key:         {key}

  Be a new driver of Courier Ltd, whom its app sends here:

{url}/link-work-provider?{link}

  Their mails:     {url}/inbox/

  Kept in .local/: the key (demo-key), the password (admin-password), the mails (mail), the data.
  Ctrl-C stops it all.
"""

    def _say(self, text: str) -> None:
        self._out.write(f"{text}\n")
        self._out.flush()


def without_stale_values(environment: Mapping[str, str], env_file: Path) -> dict[str, str]:
    """The environment as we were given it.

    A start that was killed leaves its `.local/env` behind, and the settings module has by now put
    its values, which name servers that are gone, into the environment.
    """
    text = env_file.read_text(encoding="utf-8") if env_file.is_file() else ""
    stale = dict(re.findall(r"^(\w+)='(.*)'$", text, re.MULTILINE))
    return {name: value for name, value in environment.items() if stale.get(name) != value}


def local_timezone() -> str:
    """The machine's own time zone, or UTC where it does not name one that Python knows."""
    try:
        return ZoneInfo(tzlocal.get_localzone_name()).key
    except (OSError, ValueError, LookupError, TypeError):
        return "UTC"


def has_ended(parent: int) -> bool:
    """Whether the make that runs us is gone, or would be if it did not wait for us.

    A make that gets SIGINT or SIGHUP by itself passes neither on; it blocks the signal and waits.
    Linux shows that in /proc. On a terminal none of this matters: Ctrl-C reaches us as well.
    """
    if os.getppid() != parent:
        return True
    try:
        status = Path(f"/proc/{parent}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    blocked = int(fields.get("SigBlk", "0"), 16)
    return any(blocked & 1 << number - 1 for number in (signal.SIGINT, signal.SIGHUP))


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**16:
        raise LocalError(f"PORT is {text!r}, and must be a number from 1 to 65535.")
    return int(text)


def _kept(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return f"(not found: {path.name})"


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold the lock of this checkout; it is free again when this process ends, however it ends."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(
                "The service already runs in this checkout. Stop that one first (Ctrl-C there)."
            ) from None
        yield


def _raise_stopped_on_signals() -> None:
    def stop(number: int, frame: object) -> None:
        _ignore_signals()
        raise Stopped

    for number in _STOPPING:
        signal.signal(number, stop)


def _ignore_signals() -> None:
    """Clean up once, undisturbed: the second Ctrl-C of an impatient person changes nothing."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)


_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
