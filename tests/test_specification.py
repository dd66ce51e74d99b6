"""The scripts that the API specification prints, run as they stand there.

tests/specification/ holds the specification and its earlier draft, unchanged. A script differs from what
is printed in one thing, the host; it is run by Python and the requests library, in the order of the
document, and must print what the document says it prints.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from tests.running import Service, wait_until

DOCUMENTS = ("zego-api.md", "earlier-draft.md")
HOSTS = re.compile(r"http://(?:www\.zegocover\.com|localhost:8000)(?=/)")
FENCED = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Script:
    """A script that posts, where it posts to, and the output printed below it."""

    path: str
    text: str
    output: list[str]


@dataclass(frozen=True)
class WorkProvider:
    """A work provider of the running service with the drivers 1686 and 1687."""

    id: int
    key: str
    timezone: str


def scripts_of(document: str) -> Iterator[Script]:
    """Every Python script of a document that posts, with the block that follows it."""
    text = (Path(__file__).parent / "specification" / document).read_text(encoding="utf-8")
    blocks = list(FENCED.finditer(text))
    for block, following in pairwise(blocks):
        if block["language"] == "python" and "requests.post" in block["text"]:
            address = HOSTS.search(block["text"])
            assert address
            path = block["text"][address.end() :].split("'")[0]
            yield Script(path, block["text"], following["text"].splitlines())


def link_block(contains: str) -> str:
    """The one block of the specification's section on links that contains a text."""
    text = (Path(__file__).parent / "specification" / "zego-api.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## link-work-provider")
    [found] = [block["text"] for block in FENCED.finditer(section) if contains in block["text"]]
    return found


SCRIPTS = [script for document in DOCUMENTS for script in scripts_of(document)]


def run(
    script: Script, service: Service, work_provider: WorkProvider, directory: Path
) -> list[str]:
    """What the script prints, run beside a settings.py on a machine in the work provider's zone."""
    (directory / "settings.py").write_text(f"AUTHORIZATION_CODE = {work_provider.key!r}\n")
    (directory / "script.py").write_text(HOSTS.sub(service.url, script.text), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=directory,
        env={"TZ": work_provider.timezone},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def end_shifts(service: Service, work_provider: WorkProvider) -> None:
    """Log both drivers out, as somebody else's test or this one may have left them logged in."""
    now = datetime.now(UTC).isoformat()
    body = [{"driverId": driver_id, "timestamp": now} for driver_id in ("1686", "1687")]
    headers = {"Authorization": work_provider.key}
    url = f"{service.url}/v1/batch/logout/"
    assert requests.post(url, json=body, headers=headers, timeout=10).status_code == 202


@pytest.fixture
def demo(service: Service) -> WorkProvider:
    """The demo work provider, whose time zone is UTC in tests."""
    key = service.demo_key()
    [(found,)] = service.query("SELECT id FROM linking_workprovider WHERE name = 'Courier Ltd'")
    assert isinstance(found, int)
    return WorkProvider(found, key, "UTC")


@pytest.fixture
def berlin(service: Service) -> WorkProvider:
    """Another work provider, in a time zone whose clocks are never those of UTC."""
    program = (
        "import json; from tests import factories\n"
        "provider = factories.work_provider(name='Kurier GmbH', timezone='Europe/Berlin')\n"
        "links = [factories.link(provider, driver_id) for driver_id in ('1686', '1687')]\n"
        "print(json.dumps([provider.pk, factories.key(provider)]))"
    )
    printed = service.manage("shell", "--verbosity", "0", "--command", program).stdout
    found, key = json.loads(printed)
    return WorkProvider(found, key, "Europe/Berlin")


def test_both_documents_are_read_whole() -> None:
    assert [script.path for script in SCRIPTS] == [
        "/v1/shift/login/",
        "/v1/shift/logout/",
        "/v1/batch/login/",
        "/v1/batch/logout/",
        "/v1/shift/login/",
    ]


@pytest.mark.parametrize("name", ["demo", "berlin"])
def test_the_scripts_print_what_the_specification_says_and_make_shifts(
    name: str, service: Service, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Timestamps without an offset land at the right instant, whatever the zone of the script."""
    work_provider: WorkProvider = request.getfixturevalue(name)
    end_shifts(service, work_provider)
    began: list[datetime] = []
    for script in SCRIPTS:
        began.append(datetime.now(UTC))
        assert run(script, service, work_provider, tmp_path) == script.output
    began.append(datetime.now(UTC))

    def during(instant: object, number: int) -> bool:
        """Whether an instant lies within the run of the script of that number."""
        assert isinstance(instant, datetime)
        return began[number] <= instant <= began[number + 1]

    def events() -> list[tuple[object, ...]]:
        return service.query(
            "SELECT kind, driver_id, outcome, timestamp FROM shifts_shiftevent"
            " WHERE work_provider_id = %s AND received_at > %s ORDER BY id",
            work_provider.id,
            began[0],
        )

    wait_until(lambda: len(events()) >= 7, what="the digest of the scripts")
    found = events()
    assert [event[:3] for event in found] == [
        ("login", "1686", "APPLIED"),
        ("logout", "1686", "APPLIED"),
        ("login", "1686", "APPLIED"),
        ("login", "1687", "APPLIED"),
        ("logout", "1686", "APPLIED"),
        ("logout", "1687", "APPLIED"),
        ("login", "1686", "APPLIED"),
    ]
    sent_by = [0, 1, 2, 2, 3, 3, 4]
    assert all(during(event[3], number) for event, number in zip(found, sent_by, strict=True))

    instants = {number: event[3] for event, number in zip(found, sent_by, strict=True)}
    shifts = service.query(
        "SELECT driver_id, started_at, ended_at, end_reason FROM shifts_shift"
        " JOIN linking_driverlink ON linking_driverlink.id = link_id"
        " WHERE work_provider_id = %s AND started_at > %s ORDER BY started_at, driver_id",
        work_provider.id,
        began[0] - timedelta(seconds=1),
    )
    assert shifts == [
        ("1686", instants[0], instants[1], "LOGOUT"),
        ("1686", instants[2], instants[3], "LOGOUT"),
        ("1687", instants[2], instants[3], "LOGOUT"),
        ("1686", instants[4], None, ""),
    ]
    end_shifts(service, work_provider)


def follow(url: str) -> tuple[int, str | None]:
    """The answer to a link's URL: its status, and where it leads."""
    answer = requests.get(url, timeout=10, allow_redirects=False)
    return answer.status_code, answer.headers.get("Location")


def test_the_script_that_builds_a_link_builds_one_that_works(
    service: Service, demo: WorkProvider, tmp_path: Path
) -> None:
    script = Script("", link_block("urlencode"), [])
    [url] = run(script, service, demo, tmp_path)
    assert url.startswith(f"{service.url}/link-work-provider?")
    assert follow(url) == (302, "/account/signup/")


@pytest.mark.parametrize("contains", ["wp=Courier%20Ltd", "wp=Courier+Ltd"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_links_that_are_printed_work(
    service: Service, demo: WorkProvider, contains: str, slash: str
) -> None:
    _, _, query = link_block(contains).strip().partition("?")
    url = f"{service.url}/link-work-provider{slash}?{query}"
    assert follow(url) == (302, "/account/signup/")
