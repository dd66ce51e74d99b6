"""docker-compose.yml, as far as it can be proved without a container.

Each command runs here with the environment that the file gives it, only pointed at servers of this
machine, and is asked for its health by the file's own health check.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from tests.running import BASE, Process, answers, empty_redis, fresh_database, wait_until
from zego_api.local.binaries import valkey_server
from zego_api.local.servers import free_port

pytestmark = pytest.mark.compose

TEXT = (BASE / "docker-compose.yml").read_text()
FILE: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
APP = ("migrate", "web", "worker", "sweeper")
LONG_RUNNING = tuple(name for name in SERVICES if name != "migrate")
DEPLOYMENT = {
    "ALLOWED_HOSTS": "api.example.com,other.example.com",
    "CSRF_TRUSTED_ORIGINS": "https://api.example.com",
    "EMAIL_URL": "smtp+tls://zego:mail0password@mail.example.com",
    "MAIL_FROM": "Zego <no-reply@example.com>",
    "POSTGRES_PASSWORD": "database0password",
    "SUPPORT_EMAIL": "help@example.com",
    "SECRET_KEY": "k3Y-" + "aB7_xQ9z" * 8,
    "VALKEY_PASSWORD": "broker0password",
}
VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?:(?P<how>:[-?])(?P<rest>[^}]*))?\}")


def interpolate(text: str) -> str:
    """What `docker compose` makes of a value with the variables of DEPLOYMENT."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, how, rest = match["name"], match["how"], match["rest"]
        assert DEPLOYMENT.get(name) or how == ":-", f"{name} is required"
        return DEPLOYMENT.get(name) or rest

    return VARIABLE.sub(replace, text)


def environment(service: str) -> dict[str, str]:
    """The environment of a service's container."""
    return {name: interpolate(value) for name, value in SERVICES[service]["environment"].items()}


def read_by_settings() -> set[str]:
    """The variables that settings.py reads: the first argument of every `env.<type>(...)`."""
    tree = ast.parse((BASE / "zego_api" / "settings.py").read_text())
    return {
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "env"
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


# What the file says


@pytest.mark.parametrize("name", APP)
def test_each_process_gets_every_setting_and_nothing_else(name: str) -> None:
    assert set(SERVICES[name]["environment"]) == read_by_settings()


def test_no_value_is_anything_but_text() -> None:
    """Compose refuses a bare boolean, and YAML reads a bare number in its own way."""
    for service in SERVICES.values():
        for value in service.get("environment", {}).values():
            assert isinstance(value, str)


def test_the_example_names_every_variable_and_no_secret() -> None:
    example = (BASE / ".env.example").read_text()
    named = dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE))
    used = {match["name"] for match in VARIABLE.finditer(TEXT) if match["name"]}
    assert set(named) == used
    assert {name for name in named if "PASSWORD" in name or "KEY" in name} == {
        name for name, value in named.items() if not value
    }


@pytest.mark.parametrize(
    "name",
    [
        "ALLOWED_HOSTS",
        "EMAIL_URL",
        "MAIL_FROM",
        "SUPPORT_EMAIL",
        "POSTGRES_PASSWORD",
        "SECRET_KEY",
        "VALKEY_PASSWORD",
    ],
)
def test_what_nobody_can_guess_has_no_default(name: str) -> None:
    uses = [match for match in VARIABLE.finditer(TEXT) if match["name"] == name]
    assert uses
    assert {match["how"] for match in uses} == {":?"}


@pytest.mark.parametrize("name", SERVICES)
def test_nobody_is_root_or_can_become_it(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not service.get("privileged")


def test_the_image_is_not_root_either() -> None:
    users = re.findall(r"^USER (\S+)$", (BASE / "Dockerfile").read_text(), re.MULTILINE)
    assert users == [SERVICES["web"]["user"]]


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_what_runs_for_long_is_watched_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["stop_grace_period"]


@pytest.mark.parametrize("name", ["web", "worker", "sweeper"])
def test_nothing_starts_on_an_old_schema(name: str) -> None:
    waits = SERVICES[name]["depends_on"]["migrate"]
    assert waits == {"condition": "service_completed_successfully"}
    assert SERVICES["migrate"]["restart"] == "no"


def test_only_web_is_published_and_only_to_the_proxy() -> None:
    assert [name for name in SERVICES if "ports" in SERVICES[name]] == ["web"]
    assert interpolate(SERVICES["web"]["ports"][0]) == "127.0.0.1:8000:8000"


def test_only_who_has_to_reaches_the_world() -> None:
    """web is called from there, and the sweeper calls the mail server."""
    assert FILE["networks"]["inside"] == {"internal": True}
    outside = {name for name in SERVICES if "outside" in SERVICES[name]["networks"]}
    assert outside == {"web", "sweeper"}
    assert all("inside" in service["networks"] for service in SERVICES.values())


# What it starts


@pytest.fixture(scope="module")
def here() -> Iterator[dict[str, str]]:
    """What differs outside a container: where the servers are, and what may be listened on."""
    with (
        fresh_database(os.environ["DATABASE_URL"]) as database_url,
        empty_redis(os.environ["REDIS_URL"]) as redis_url,
    ):
        yield {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "HOST": "127.0.0.1",
            "PORT": str(free_port()),
        }


@pytest.fixture(scope="module")
def migrated(here: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    process = start("migrate", here, tmp_path_factory.mktemp("migrate"))
    assert process.popen.wait(120) == 0, process.output


Start = Callable[..., Process]


@pytest.fixture
def started(here: dict[str, str], migrated: None, tmp_path: Path) -> Iterator[Start]:
    """Start a service of the file; killed at the end of the test."""
    running: list[Process] = []

    def start_here(name: str, **settings: str) -> Process:
        running.append(start(name, here | settings, tmp_path))
        return running[-1]

    yield start_here
    for process in running:
        process.kill()


def start(name: str, here: dict[str, str], directory: Path) -> Process:
    return Process(
        outside(SERVICES[name]["command"]), container(name, here, directory), log(directory)
    )


def container(name: str, here: dict[str, str], directory: Path) -> dict[str, str]:
    heartbeat = str(directory / "heartbeat")
    return environment(name) | {"HEARTBEAT_FILE": heartbeat} | here


def log(directory: Path) -> Path:
    return directory / "output.log"


def outside(command: list[str]) -> list[str]:
    """The image has `python` and `celery` on its PATH; here they are this environment's."""
    programs = {"python": [sys.executable], "celery": [sys.executable, "-m", "celery"]}
    return [*programs[command[0]], *(interpolate(argument) for argument in command[1:])]


def healthy(name: str, here: dict[str, str], directory: Path) -> bool:
    """Whether the file's own health check passes."""
    kind, *command = SERVICES[name]["healthcheck"]["test"]
    assert kind == "CMD"
    done = subprocess.run(
        outside(command),
        cwd=BASE,
        env=container(name, here, directory),
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def grace(name: str) -> float:
    """The seconds after which the container's engine would kill it."""
    number, unit = re.fullmatch(r"(\d+)([sm])", SERVICES[name]["stop_grace_period"]).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60}[unit]


@pytest.mark.parametrize("name", ["web", "worker", "sweeper"])
def test_each_process_starts_is_healthy_and_stops(
    name: str, started: Start, here: dict[str, str], tmp_path: Path
) -> None:
    assert not healthy(name, here, tmp_path)
    process = started(name)
    process.wait_for(lambda: healthy(name, here, tmp_path), f"{name} healthy", within=60)
    assert process.stop(within=grace(name)) == 0, process.output
    assert "Traceback" not in process.output


def test_web_is_healthy_only_with_its_database(
    started: Start, here: dict[str, str], tmp_path: Path
) -> None:
    away = {"DATABASE_URL": f"postgres://zego:x@127.0.0.1:{free_port()}/zego"}
    process = started("web", **away)
    url = f"http://127.0.0.1:{here['PORT']}/healthz"
    process.wait_for(lambda: answers(url, host="api.example.com"), "web alive")
    assert not healthy("web", here | away, tmp_path)


@pytest.mark.parametrize("name", ["web", "worker", "sweeper"])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SECRET_KEY", ""),
        ("SECRET_KEY", "too-short"),
        ("ALLOWED_HOSTS", ""),
        ("ALLOWED_HOSTS", "*"),
        ("SECRET_KEY_FALLBACKS", "too-short"),
        ("EMAIL_URL", ""),
        ("EMAIL_URL", "consolemail://"),
        ("PUBLIC_URL", "http://api.example.com"),
    ],
)
def test_an_insecure_start_is_refused(name: str, variable: str, value: str, started: Start) -> None:
    process = started(name, **{variable: value})
    assert process.popen.wait(60) != 0
    assert variable in process.output


def test_the_brokers_command_makes_a_broker_that_asks_for_a_password(tmp_path: Path) -> None:
    """Run as the image does, but on another port: the configuration comes out as meant."""
    port = free_port()
    shell, option, script = SERVICES["valkey"]["command"]
    script = interpolate(script).replace("<<EOF\n", f"<<EOF\nport {port}\nbind 127.0.0.1\n")
    program = tmp_path / "valkey-server"
    program.symlink_to(valkey_server())
    env = environment("valkey") | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = Process([f"/bin/{shell}", option, script], env, log(tmp_path))
    try:
        url = f"redis://:{DEPLOYMENT['VALKEY_PASSWORD']}@127.0.0.1:{port}"
        client = redis.Redis.from_url(url, decode_responses=True)
        wait_until(lambda: _pings(client), what="the broker")
        assert client.config_get("maxmemory*")["maxmemory-policy"] == "volatile-ttl"
        assert client.config_get("save") == {"save": ""}
        assert not _pings(redis.Redis(port=port))
        client.close()
    finally:
        assert process.stop() == 0


def _pings(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
