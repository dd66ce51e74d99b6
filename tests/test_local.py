"""The service on one machine: the servers' launcher, and `make run` from start to Ctrl-C."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
import requests

from tests.plugin import SETTINGS
from tests.running import BASE, Process, answers, autocommit, wait_until
from zego_api.local import binaries, processes
from zego_api.local.errors import LocalError
from zego_api.local.servers import LocalPostgres, LocalValkey, free_port, secret
from zego_api.local.service import Address, local_timezone, without_stale_values

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can do this")


# The servers


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    """In a directory that only root may enter, with a path too long for a socket."""
    deep = tmp_path_factory.mktemp("private") / ("x" * 120) / "postgres"
    deep.parent.mkdir(mode=0o700)
    with LocalPostgres(deep) as server:
        yield server


def value(url: str, query: str) -> object:
    connection = autocommit(url)
    with connection.cursor() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
    connection.close()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SHOW server_encoding", "UTF8"),
        ("SHOW timezone", "UTC"),
        ("SHOW fsync", "on"),
        ("SHOW full_page_writes", "on"),
        ("SHOW synchronous_commit", "on"),
        ("SELECT upper('é')", "É"),
        ("SELECT current_user", "zego"),
        ("SELECT string_agg(c, '' ORDER BY c) FROM unnest('{a,B,é}'::text[]) AS c", "Baé"),
    ],
)
def test_postgres_is_the_same_everywhere(
    postgres: LocalPostgres, query: str, expected: str
) -> None:
    assert value(postgres.url, query) == expected


@pytest.mark.outage
def test_postgres_keeps_data_and_address_through_a_crash(postgres: LocalPostgres) -> None:
    url = postgres.url
    value(url, "CREATE TABLE kept (a int); INSERT INTO kept VALUES (1); SELECT 1")
    postgres.kill()
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(url)
    postgres.start()
    assert postgres.url == url
    assert value(url, "SELECT a FROM kept") == 1


@pytest.mark.outage
@pytest.mark.parametrize("kind", [LocalPostgres, LocalValkey])
def test_a_frozen_server_does_not_answer_until_it_thaws(
    kind: type[LocalPostgres | LocalValkey], tmp_path: Path
) -> None:
    with kind(tmp_path / "server") as server:
        server.freeze()
        assert not server.ping()
        server.thaw()
        assert server.ping()
        server.freeze()  # it can be stopped all the same


def test_nobody_gets_in_without_the_password(postgres: LocalPostgres) -> None:
    wrong = re.sub(":[^:@]+@", ":guess@", postgres.url)
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(wrong)
    assert (postgres.directory / "password").stat().st_mode & 0o77 == 0


def test_postgres_is_not_put_off_by_leftovers(tmp_path: Path) -> None:
    """A killed start leaves half a data directory, a killed server its lock; ids are used again."""
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "PG_VERSION").touch()
    server = LocalPostgres(tmp_path)
    server.prepare()
    (tmp_path / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}/data\n")
    with server:
        assert server.ping()
    assert not server.ping()


def test_data_of_another_version_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(LocalError, match="made by PostgreSQL 9"):
        LocalPostgres(tmp_path).start()


def test_a_server_that_cannot_start_is_quoted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = LocalValkey(tmp_path)
        server.port = taken.getsockname()[1]
        with pytest.raises(LocalError, match=r"(?s)Valkey did not start.*in use"):
            server.start()


def test_valkey_wants_its_password_and_keeps_nothing(tmp_path: Path) -> None:
    with LocalValkey(tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(b"PING\r\n")
            assert raw.recv(100).startswith(b"-NOAUTH")
        password = secret(tmp_path / "password")
        arguments = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert str(server.port) in str(arguments)
    assert password not in str(arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "password", "valkey.conf"]


@linux_only
@pytest.mark.outage
def test_servers_die_with_whoever_started_them(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from zego_api.local.servers import *\n"
        "for kind in (LocalPostgres, LocalValkey):\n"
        "    server = kind(Path(sys.argv[1]) / kind.name); server.start(); print(server.port)\n"
        "sys.stdout.flush(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], cwd=BASE, capture_output=True, check=False
    )
    ports = [int(line) for line in done.stdout.split()]
    assert len(ports) == 2, done.stderr
    for port in ports:
        wait_until(lambda port=port: not listens(port), what=f"the end of the server on {port}")  # type: ignore[misc]


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def sleeper(directory: Path) -> Process:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    return Process(command, dict(os.environ), directory / "log")


def test_a_forgotten_process_is_reaped(tmp_path: Path) -> None:
    process = sleeper(tmp_path)
    processes.record(process.popen.pid, tmp_path / "pid")
    processes.reap(tmp_path / "pid", signal.SIGTERM, grace=10)
    assert not process.running
    assert not (tmp_path / "pid").exists()


def test_another_process_with_a_forgotten_id_is_left_alone(tmp_path: Path) -> None:
    process = sleeper(tmp_path)
    (tmp_path / "pid").write_text(f"{process.popen.pid} 1000000000.00\n")
    processes.reap(tmp_path / "pid", signal.SIGTERM, grace=10)
    assert process.running
    process.kill()


# Their programs


def fake_program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_an_installed_server_is_used_where_there_is_no_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_program(tmp_path / "initdb", "")
    fake_program(tmp_path / "postgres", "postgres (PostgreSQL) 17.2")
    redis = fake_program(tmp_path / "redis-server", "Redis server v=7.0.15")
    monkeypatch.setattr(binaries, "_package", lambda name: None)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert binaries.postgres_directory() == tmp_path
    assert binaries.postgres_version(tmp_path) == 17
    assert binaries.valkey_server() == redis


def test_without_any_server_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_program(tmp_path / "initdb", "")
    fake_program(tmp_path / "postgres", "postgres (PostgreSQL) 14.9")
    monkeypatch.setattr(binaries, "_postgres_directories", lambda: iter([tmp_path]))
    monkeypatch.setattr(binaries, "_valkey_servers", lambda: iter([tmp_path / "missing"]))
    with pytest.raises(LocalError, match=r"Install PostgreSQL 15 or newer.*DATABASE_URL"):
        binaries.postgres_directory()
    with pytest.raises(LocalError, match=r"Install Valkey or Redis.*REDIS_URL"):
        binaries.valkey_server()


# `make run`


def test_values_left_by_a_killed_start_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("DATABASE_URL='gone'\nPORT='8000'\n")
    given = {"DATABASE_URL": "gone", "PORT": "9000", "HOME": "/"}
    assert without_stale_values(given, tmp_path / "env") == {"PORT": "9000", "HOME": "/"}


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104
        ("::", "http://[::1]:80"),
        ("localhost", "http://localhost:80"),
    ],
)
def test_the_url_is_one_a_browser_can_open(host: str, url: str) -> None:
    assert Address(host, 80).url == url


@pytest.mark.parametrize(
    ("name", "expected"), [("Europe/London", "Europe/London"), ("Not/There", "UTC")]
)
def test_the_time_zone_is_the_machines_own(
    name: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tzlocal.get_localzone_name", lambda: name)
    assert local_timezone() == expected


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout with no data yet; what runs in it is found by its path."""
    copy = tmp_path_factory.mktemp("make") / "checkout"
    ignored = shutil.ignore_patterns(".*", "staticfiles", "__pycache__")
    shutil.copytree(BASE, copy, ignore=ignored)
    return copy


@pytest.fixture
def up(checkout: Path) -> Iterator[Callable[..., Process]]:
    """Start `manage.py up`, or what is given instead; killed at the end of the test."""
    started: list[Process] = []

    def start(*command: str, port: int) -> Process:
        arguments = command or (sys.executable, str(checkout / "manage.py"), "up")
        log = checkout.parent / f"{len(started)}.log"
        log.unlink(missing_ok=True)
        process = Process(arguments, environment(port), log, cwd=checkout)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def environment(port: int) -> dict[str, str]:
    """A shell in which nothing about the service is set but the port."""
    ours = {*SETTINGS, "DATABASE_URL", "REDIS_URL", "SECRET_KEY"}
    return {name: value for name, value in os.environ.items() if name not in ours} | {
        "PORT": str(port)
    }


def await_banner(process: Process) -> None:
    process.wait_for(lambda: "Ctrl-C stops it all" in process.output, "the banner", within=90)


def shifts(checkout: Path) -> object:
    return run_in(checkout, "SELECT count(*) FROM shifts_shift")


MAIL = """
INSERT INTO zego_api_outgoingmail (message_id, sender, recipients, subject, text, html, created_at,
                                   attempts, failure)
VALUES (gen_random_uuid(), 'a@example.com', 'b@example.com', 'Hello from here', '', '', now(), 0, '')
RETURNING id
"""


def run_in(checkout: Path, statement: str) -> object:
    """Run a statement in the database that `.local/env` names."""
    text = (checkout / ".local" / "env").read_text()
    found = re.search(r"DATABASE_URL='(.*)'", text)
    assert found
    return value(found[1], statement)


def line_with(process: Process, text: str) -> str:
    """The line of the banner with this in it."""
    return next(line for line in process.output.splitlines() if text in line)


def left_running(checkout: Path) -> list[list[str]]:
    """Command line and directory of all processes that have to do with the copy."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        arguments = [*(process.info["cmdline"] or []), process.info["cwd"] or ""]
        if process.info["status"] != psutil.STATUS_ZOMBIE and str(checkout) in " ".join(arguments):
            found.append(arguments)
    return found


def assert_all_gone(checkout: Path, port: int) -> None:
    assert left_running(checkout) == []
    assert not listens(port)
    assert not (checkout / ".local" / "env").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_make_run_from_nothing_to_a_shift_and_back(
    checkout: Path, up: Callable[..., Process]
) -> None:
    port = free_port()
    first = up(port=port)
    await_banner(first)

    banner_curl = next(line for line in first.output.splitlines() if line.startswith("curl "))
    if shutil.which("curl"):
        pasted = subprocess.run(banner_curl, shell=True, capture_output=True, text=True, check=True)  # noqa: S602
        assert pasted.stdout.startswith("HTTP/1.1 202 ")
        wait_until(lambda: shifts(checkout) == 1, what="the shift")
    url = f"http://127.0.0.1:{port}"
    admin = requests.get(f"{url}/admin/shifts/shift/", timeout=5)
    assert admin.url == f"{url}/account/login/?next=%2Fadmin%2Fshifts%2Fshift%2F"
    assert requests.get(line_with(first, "/link-work-provider?"), timeout=5).status_code == 200
    assert (checkout / ".local" / "env").stat().st_mode & 0o77 == 0
    assert (checkout / ".local" / "mail").stat().st_mode & 0o77 == 0
    run_in(checkout, MAIL)
    inbox = line_with(first, "/inbox/").split()[-1]
    wait_until(lambda: "Hello from here" in requests.get(inbox, timeout=5).text, what="the mail")
    before = shifts(checkout)

    other = up(port=free_port())
    assert other.popen.wait(60) == 1
    assert "already runs in this checkout" in other.output

    os.killpg(first.popen.pid, signal.SIGINT)
    assert first.popen.wait(60) == 0, first.output
    assert "Traceback" not in first.output
    assert_all_gone(checkout, port)

    second = up(port=port)
    await_banner(second)
    assert shifts(checkout) == before
    assert banner_curl in second.output
    second.popen.send_signal(signal.SIGTERM)
    assert second.popen.wait(60) == 0, second.output
    assert_all_gone(checkout, port)


@linux_only
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_to_make_alone_stops_everything(
    number: signal.Signals, checkout: Path, up: Callable[..., Process]
) -> None:
    port = free_port()
    (checkout / "Makefile.test").write_text(
        f"run:\n\t@exec {sys.executable} {checkout}/manage.py up --stop-with-parent\n"
    )
    make = shutil.which("make")
    assert make
    process = up(make, "-f", "Makefile.test", "run", port=port)
    await_banner(process)
    process.popen.send_signal(number)
    process.popen.wait(60)
    wait_until(lambda: not left_running(checkout), what="the end of all processes")
    assert_all_gone(checkout, port)


@linux_only
@pytest.mark.slow
@pytest.mark.outage
@pytest.mark.timeout(300)
def test_after_a_kill_nothing_is_left_and_the_next_start_works(
    checkout: Path, up: Callable[..., Process]
) -> None:
    port = free_port()
    first = up(port=port)
    await_banner(first)
    first.popen.kill()
    wait_until(lambda: not left_running(checkout), what="the end of all processes")
    second = up(port=port)
    await_banner(second)
    second.popen.send_signal(signal.SIGINT)
    assert second.popen.wait(60) == 0, second.output


@pytest.mark.slow
@pytest.mark.outage
@pytest.mark.timeout(300)
def test_when_one_process_dies_all_stop(checkout: Path, up: Callable[..., Process]) -> None:
    port = free_port()
    process = up(port=port)
    await_banner(process)
    for child in psutil.Process(process.popen.pid).children():
        if child.cmdline()[-1:] == ["sweeper"]:
            child.kill()
    assert process.popen.wait(60) == 1
    assert "sweeper ended by itself (killed by signal 9)" in process.output
    assert "Traceback" not in process.output
    assert_all_gone(checkout, port)


@pytest.mark.slow
def test_a_port_in_use_is_named_before_anything_starts(
    checkout: Path, up: Callable[..., Process]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = up(port=port)
        assert process.popen.wait(60) == 1
    assert f"port {port} of 127.0.0.1: Address already in use" in process.output
    assert "make run PORT=" in process.output
    assert "Traceback" not in process.output
    assert "Starting" not in process.output


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_given_servers_are_used(
    checkout: Path, postgres: LocalPostgres, up: Callable[..., Process]
) -> None:
    """DATABASE_URL names a server: no other one is started, and that one is left running."""
    port = free_port()
    url = postgres.create_database("given")
    process = up(
        "/usr/bin/env", f"DATABASE_URL={url}", sys.executable, f"{checkout}/manage.py", "up",
        port=port,
    )  # fmt: skip
    await_banner(process)
    assert answers(f"http://127.0.0.1:{port}/readyz")
    assert "Starting PostgreSQL" not in process.output
    process.popen.send_signal(signal.SIGINT)
    assert process.popen.wait(60) == 0, process.output
    assert postgres.running
