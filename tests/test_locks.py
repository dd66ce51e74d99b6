"""The locked packages: exact, hashed, the same for the tests as for the service, from anywhere."""

import re

import pytest

from tests.running import BASE

LOCKS = ("requirements.txt", "requirements-dev.txt", "requirements-newest.txt")
PIN = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^ ;\\]+)(?P<rest>(?:.*\\\n)*.*)$", re.MULTILINE)


def text(lock: str) -> str:
    return (BASE / lock).read_text()


def pins(lock: str) -> dict[str, str]:
    return {match["name"]: match["version"] for match in PIN.finditer(text(lock))}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_exact_and_hashed(lock: str) -> None:
    lines = [line for line in text(lock).splitlines() if line and line[0] not in " #"]
    found = list(PIN.finditer(text(lock)))  # one a package, or one for each of several Pythons
    assert len(lines) == len(found)
    assert all("--hash=sha256:" in match["rest"] for match in found)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_place(lock: str) -> None:
    """It installs from whatever index pip is set up for, on any machine."""
    assert not re.search(r"://|--index-url|--find-links|--extra-index-url|[ @]/", text(lock))


def test_the_tests_run_on_what_the_service_runs_on() -> None:
    assert pins("requirements.txt").items() <= pins("requirements-dev.txt").items()


def test_django_is_the_long_term_release_and_the_newest() -> None:
    assert pins("requirements.txt")["django"].startswith("5.2.")
    assert int(pins("requirements-newest.txt")["django"].split(".")[0]) >= 6


@pytest.mark.parametrize("lock", LOCKS)
def test_psycopg_3_is_not_there(lock: str) -> None:
    assert "psycopg2-binary" in pins(lock)
    assert "psycopg" not in pins(lock)
