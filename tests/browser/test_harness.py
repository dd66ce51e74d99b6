"""The watch sees what it is there for: a browser test that notices nothing proves nothing."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from tests.browser.looks import axe_check, fits_check, shoot
from tests.browser.visitors import SCREENS, Screen, Visitors
from tests.browser.watch import Watch

pytestmark = pytest.mark.browser

CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src *"


def fill(page: Page, body: str, status: int = 200, csp: str = CSP) -> None:
    """Let every address give this page, so that nothing leaves the machine."""
    html = f'<!doctype html><html lang="en"><title>Broken</title><main>{body}</main></html>'

    def answer(route: Route) -> None:
        route.fulfill(
            status=status,
            body=html,
            content_type="text/html",
            headers={"Content-Security-Policy": csp},
        )

    page.route("**/*", answer)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<h1>Hello</h1><p style="color: red">', "the CSP's style-src-attr refused inline"),
        ("<h1>Hello</h1><script>1</script>", "the CSP's script-src-elem refused inline"),
        ('<h1>Hello</h1><img src="https://elsewhere.example/x.png">', "another host"),
    ],
)
def test_a_broken_page_is_noticed(page: Page, watch: Watch, body: str, fault: str) -> None:
    fill(page, body)
    page.goto("/broken", wait_until="networkidle")
    assert fault in "\n".join(watch.faults)
    watch.faults.clear()


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("console.error('mind the gap')", "console: mind the gap"),
        ("throw new Error('mind the gap')", "uncaught: mind the gap"),
    ],
)
def test_an_error_of_a_script_is_noticed(page: Page, watch: Watch, script: str, fault: str) -> None:
    fill(page, f"<script>{script}</script>", csp="script-src 'unsafe-inline'")
    page.goto("/broken")
    assert fault in "\n".join(watch.faults)
    watch.faults.clear()


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_of_the_server_is_noticed(page: Page, watch: Watch, status: int) -> None:
    fill(page, "", status)
    page.goto("/broken")
    assert watch.faults == [f"{page.url}: answered {status}"]
    watch.faults.clear()


def test_an_expected_answer_is_no_fault(page: Page, watch: Watch) -> None:
    watch.expect(404)
    fill(page, "", 404)
    page.goto("/broken")
    assert watch.faults == []


def test_a_link_that_leaks_is_noticed(page: Page, watch: Watch) -> None:
    fill(page, '<a href="/next">Next</a>')
    page.goto("/link-work-provider?wp=Courier+Ltd&wp_id=1&email=a@example.com")
    page.get_by_role("link", name="Next").click()
    page.wait_for_url("**/next")
    watch.judge_requests()
    assert watch.faults == [f"{page.url}: the Referer sent has the query of the link"]
    watch.faults.clear()


def test_a_barrier_is_reported_with_its_rule_and_element(page: Page) -> None:
    fill(page, '<h1>Hello</h1><input id="email" type="email">')
    page.goto("/broken")
    with pytest.raises(pytest.fail.Exception, match=r"critical: label: .*\n.*#email: Fix any"):
        axe_check(page)


def test_a_page_that_is_too_wide_is_noticed(page: Page) -> None:
    fill(page, "<p>" + "wide" * 1000)
    page.goto("/broken")
    with pytest.raises(AssertionError, match="pixels wide"):
        fits_check(page)


@pytest.mark.parametrize("screen", SCREENS, ids=str)
def test_a_picture_is_named_after_its_screen(
    visitors: Visitors, screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visitors.arrive(screen)
    fill(page, "<h1>Hello</h1>")
    page.goto("/")
    monkeypatch.delenv("ZEGO_SCREENSHOTS", raising=False)
    shoot(page, "hello")
    monkeypatch.setenv("ZEGO_SCREENSHOTS", str(tmp_path))
    shoot(page, "hello")
    assert [path.name for path in tmp_path.iterdir()] == [f"hello-{screen}.png"]
