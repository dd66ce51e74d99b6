"""How `make` finds a Python and makes `.venv`, and what it says when it cannot."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.running import BASE


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Only what the rules for `.venv` need; nothing gets installed from here."""
    for name in ("Makefile", "requirements-dev.txt"):
        shutil.copy(BASE / name, tmp_path)
    return tmp_path


def make(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("make")
    assert program
    return subprocess.run(
        [program, *arguments],
        cwd=checkout,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def only(checkout: Path, *programs: str) -> str:
    """A PATH on which nothing but these programs is found."""
    directory = checkout / "bin"
    directory.mkdir()
    for name in programs:
        found = shutil.which(name)
        assert found
        (directory / name).symlink_to(found)
    return str(directory)


def fake_python(checkout: Path, body: str) -> Path:
    path = checkout / "fake-python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_a_missing_python_is_named(checkout: Path) -> None:
    done = make(checkout, "run", PATH=only(checkout, "sh"))
    assert done.returncode != 0
    assert "No Python 3.11 or newer found." in done.stderr
    assert "PYTHON=" in done.stderr


def test_a_given_python_that_is_too_old_is_not_silently_replaced(checkout: Path) -> None:
    old = fake_python(checkout, "exit 1")
    done = make(checkout, "run", f"PYTHON={old}")
    assert done.returncode != 0
    assert f"{old} is not a Python 3.11 or newer." in done.stderr


def test_a_python_without_venv_is_told_what_to_install(checkout: Path) -> None:
    python = fake_python(checkout, 'case "$*" in *venv*) mkdir .venv; exit 1;; esac')
    done = make(checkout, "run", f"PYTHON={python}")
    assert done.returncode != 0
    assert "apt-get install python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def made(checkout: Path) -> Path:
    """An environment that looks finished."""
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho works\n")
    python.chmod(0o755)
    (checkout / ".venv" / "ready").touch()
    return python


def remakes(checkout: Path) -> bool:
    return "-m venv .venv" in make(checkout, "-n", "run").stdout


def test_a_finished_environment_is_used(checkout: Path) -> None:
    made(checkout)
    assert not remakes(checkout)


def test_an_interrupted_installation_is_done_again(checkout: Path) -> None:
    made(checkout)
    (checkout / ".venv" / "ready").unlink()
    assert remakes(checkout)


def test_an_environment_whose_python_has_gone_is_made_again(checkout: Path) -> None:
    made(checkout).unlink()
    assert remakes(checkout)


def test_new_requirements_make_a_new_environment(checkout: Path) -> None:
    made(checkout)
    os.utime(checkout / ".venv" / "ready", (0, 0))
    assert remakes(checkout)
