"""A member of staff at the ops desk: what they click, and how often."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.looks import look_at
from tests.story import PASSWORD


class Clerk:
    """Somebody at the desk with a tab of their own, who counts every click and every search."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = 0

    def sits_down(self, email: str) -> None:
        """Sign in, and come to the front page."""
        self.page.goto("/admin/")
        self.page.get_by_label("Email address", exact=True).fill(email)
        self.page.get_by_label("Password", exact=True).fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in", exact=True).click()
        self.page.wait_for_url("**/admin/")
        self.clicks = 0

    def searches(self, text: str) -> None:
        """In the box that stands on every page; Enter counts as a click."""
        self.page.get_by_role("banner").or_(self.page.locator("#header-inner")).first.get_by_role(
            "searchbox"
        ).fill(text)
        self._leads_on(lambda: self.page.keyboard.press("Enter"))

    def opens(self, link: str | re.Pattern[str], within: Locator | None = None) -> None:
        """Follow the first link of that name."""
        found = (
            (within or self.page).get_by_role("link", name=link, exact=isinstance(link, str)).first
        )
        self._leads_on(found.click)

    def menu(self, entry: str) -> None:
        """Choose from the sidebar."""
        self.opens(re.compile(rf"(^|\s){re.escape(entry)}$"), self.page.locator("#nav-sidebar"))

    def presses(self, button: str | re.Pattern[str]) -> None:
        """Send a form."""
        found = self.page.get_by_role("main").or_(self.page.locator("#content")).first
        self._leads_on(found.get_by_role("button", name=button).first.click)

    def fills(self, label: str | re.Pattern[str], text: str) -> None:
        """A field; typing is no click."""
        self.page.locator("#content").get_by_label(label).first.fill(text)

    def chooses(self, label: str | re.Pattern[str], option: str) -> None:
        """An entry of a list in a form."""
        self.page.locator("#content").get_by_label(label).first.select_option(label=option)

    def reads(self, *texts: str | re.Pattern[str]) -> None:
        """Wait until the page says all of these."""
        for text in texts:
            expect(self.page.locator("#content")).to_contain_text(text)

    def row(self, text: str) -> Locator:
        """The row of a table that says this."""
        return self.page.get_by_role("row").filter(has_text=text)

    def looks(self, picture: str) -> None:
        """For barriers and what is cut off; and leave a picture, if asked to."""
        look_at(self.page, picture)

    def _leads_on(self, click: object) -> None:
        with self.page.expect_navigation():
            click()  # type: ignore[operator]
        self.clicks += 1
