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
from tests.running import Service

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
