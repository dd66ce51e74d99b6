"""Moving about with the keyboard alone, always seeing where one is."""

from playwright.sync_api import Locator, Page

MOST_STOPS = 40
HAS_FOCUS = "element => element === document.activeElement"
IS_SHOWN = """() => {
    const element = document.activeElement;
    const style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    return element === document.body || (style.outlineStyle !== "none"
        && parseFloat(style.outlineWidth) >= 2 && box.bottom > 0 && box.top < innerHeight);
}"""


def reach(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus; each stop on the way must show that it has it."""
    for _ in range(MOST_STOPS):
        if target.evaluate(HAS_FOCUS):
            return
        page.keyboard.press("Tab")
        assert page.evaluate(IS_SHOWN), f"the focus cannot be seen on the way to {target}"
    raise AssertionError(f"{MOST_STOPS} times Tab do not lead to {target}")
