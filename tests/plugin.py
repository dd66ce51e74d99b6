"""Gives the tests their environment before Django reads its settings.

DATABASE_URL and REDIS_URL name servers to test on (in a `test_` database of their own); without
them, throw-away servers are started for the session. Every other setting is fixed here, so that
neither the shell's environment nor the `.local/env` of a running `make run` reaches a test.
"""

import contextlib
import os
import secrets
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from zego_api.local.servers import LocalPostgres, LocalValkey

SETTINGS = {
    "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
    "CSRF_TRUSTED_ORIGINS": "",
    "EMAIL_URL": "smtp://127.0.0.1:1",  # where nobody listens
    "HEARTBEAT_FILE": "",
    "HOST": "127.0.0.1",
    "INSECURE_HTTP": "true",
    "LOG_FORMAT": "console",
    "LOG_LEVEL": "INFO",
    "MAIL_FROM": "Zego <no-reply@zego.example>",
    "SUPPORT_EMAIL": "help@zego.example",
    "PORT": "8000",
    "PUBLIC_URL": "http://testserver",
    "SECRET_KEY_FALLBACKS": "",
    "TRUSTED_PROXY_COUNT": "0",
    "WEB_THREADS": "8",
    "WEB_WORKERS": "1",
    "WORKER_CONCURRENCY": "2",
}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Runs before pytest-django, which imports the settings in this very hook."""
    # A shell's background job ignores Ctrl-C, and so would every process that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(SETTINGS, SECRET_KEY=secrets.token_urlsafe(48))
    stack = contextlib.ExitStack()
    early_config.add_cleanup(stack.close)
    stack.enter_context(_servers())
    yield


@contextlib.contextmanager
def _servers() -> Iterator[None]:
    """Servers for whatever is not named. Parallel workers (xdist) are given the first one's."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zego-tests-")))
        if not os.environ.get("DATABASE_URL"):
            postgres = stack.enter_context(LocalPostgres(directory / "postgres"))
            os.environ["DATABASE_URL"] = postgres.url
        if not os.environ.get("REDIS_URL"):
            valkey = stack.enter_context(LocalValkey(directory / "valkey"))
            os.environ["REDIS_URL"] = valkey.url
        if worker := os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw"):
            os.environ["REDIS_URL"] = _database_of(int(worker), os.environ["REDIS_URL"])
        yield


def _database_of(worker: int, redis_url: str) -> str:
    """One of Redis' databases for each parallel worker: limits are counted there, by address."""
    parts = urlsplit(redis_url)
    number = int(parts.path.strip("/") or 0) + 4 * worker
    return parts._replace(path=f"/{number}").geturl()
