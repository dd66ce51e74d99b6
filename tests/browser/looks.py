"""How a page looks: to assistive technology, to a narrow screen, and on a picture."""

import os
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
AXE_OPTIONS = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
UNACCEPTABLE = ("serious", "critical")


def look_at(page: Page, name: str) -> None:
    """Everything below; `name` is the picture's."""
    shoot(page, name)
    axe_check(page)
    fits_check(page)


def axe_check(page: Page) -> None:
    """Fail on what axe-core holds to be a serious or critical barrier."""
    page.evaluate(AXE)  # by way of the debugger, which no CSP holds up
    result = page.evaluate("options => axe.run(document, options)", AXE_OPTIONS)
    found = [rule for rule in result["violations"] if rule["impact"] in UNACCEPTABLE]
    if found:
        pytest.fail("\n".join([f"axe on {page.url}:", *map(described, found)]), pytrace=False)


def described(rule: dict[str, Any]) -> str:
    """The rule, and each element with what it lacks."""
    lines = [f"{rule['impact']}: {rule['id']}: {rule['help']} ({rule['helpUrl']})"]
    for node in rule["nodes"]:
        summary = " ".join(node["failureSummary"].split())
        lines.append(f"  {' '.join(map(str, node['target']))}: {summary}\n    {node['html']}")
    return "\n".join(lines)


def fits_check(page: Page) -> None:
    """Fail if the page must be scrolled sideways."""
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= width_of(page), f"{page.url} is {width} pixels wide"


def shoot(page: Page, name: str) -> None:
    """A picture of the whole page in the directory ZEGO_SCREENSHOTS; nothing without it."""
    if directory := os.environ.get("ZEGO_SCREENSHOTS"):
        dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        file = f"{name}-{width_of(page)}-{'dark' if dark else 'light'}.png"
        page.screenshot(path=Path(directory) / file, full_page=True, animations="disabled")


def width_of(page: Page) -> int:
    size = page.viewport_size
    assert size is not None
    return size["width"]
