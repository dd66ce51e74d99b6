"""Fixtures of the browser tests: one Chromium for all, a fresh profile for every visitor."""

import os
import shutil
from collections.abc import Iterator
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.driver import Drive, Driver
from tests.browser.limits import forget_limits
from tests.browser.records import Person
from tests.browser.visitors import DESKTOP, Screen, Visitors
from tests.browser.watch import Watch
from tests.running import Service, empty_redis, fresh_database, running

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


# Not for the whole session: while Playwright runs, its event loop runs in this thread, and there
# Django refuses every query, those of the tests that come after this directory included.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The browser itself. Tests take `drive`, `visitors` or `page`."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None) or no_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=SWITCHES)
        yield browser
        browser.close()


def no_browser() -> NoReturn:
    """A machine without a browser can run the other tests; in CI that would be a blind spot."""
    reason = f"NOTHING WAS TESTED IN A BROWSER: no {' or '.join(PROGRAMS)} on the PATH"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="package")
def key(service: Service) -> str:
    """The API key of Courier Ltd, which has terms, as has Zego."""
    return service.demo_key()


@pytest.fixture
def watch(service: Service) -> Iterator[Watch]:
    """What must not happen on any page; the test fails at its end if it did."""
    watching = Watch(service.url)
    yield watching
    watching.verify()


@pytest.fixture
def visitors(chromium: Browser, service: Service, watch: Watch) -> Iterator[Visitors]:
    """People with a browser each, who have not been here before and reach no limit."""
    forget_limits(service)
    visiting = Visitors(chromium, service.url, watch)
    yield visiting
    visiting.leave()
    forget_limits(service)


@pytest.fixture
def page(visitors: Visitors) -> Page:
    """The tab of one visitor, on a desktop."""
    return visitors.arrive()


@pytest.fixture
def drive(visitors: Visitors, service: Service, key: str) -> Drive:
    def sit_down(person: Person, screen: Screen = DESKTOP, *, javascript: bool = True) -> Driver:
        return Driver(person, visitors.arrive(screen, javascript=javascript), service)

    return sit_down


@pytest.fixture(scope="package")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of its own, with a week of work for the ops desk in it (tests/story.py)."""
    with (
        fresh_database(os.environ["DATABASE_URL"]) as database_url,
        empty_redis(os.environ["REDIS_URL"]) as redis_url,
        running(tmp_path_factory.mktemp("desk"), database_url, redis_url) as started,
    ):
        started.manage("shell", "--verbosity", "0", "-c", "from tests import story; story.write()")
        yield started


@pytest.fixture(scope="package")
def desk_key(desk: Service) -> str:
    """An API key of the story's Courier Ltd."""
    return (
        desk.manage("issue_key", "Courier Ltd", "--label", "test").stdout.strip().splitlines()[-1]
    )


@pytest.fixture
def staff_room(chromium: Browser, desk: Service) -> Iterator[Visitors]:
    """Members of staff with a browser each; the test fails if anything goes wrong in one."""
    watching = Watch(desk.url)
    forget_limits(desk)
    visiting = Visitors(chromium, desk.url, watching)
    yield visiting
    visiting.leave()
    watching.verify()
