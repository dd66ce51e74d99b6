"""Who visits: the screens, the address, and a browser profile for each person."""

from dataclasses import dataclass, replace

from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.watch import Watch

PATIENCE_MS = 10_000


@dataclass(frozen=True)
class Screen:
    """What a page has to fit on, and how it is lit."""

    width: int
    height: int
    touch: bool = False
    dark: bool = False

    def __str__(self) -> str:
        return f"{self.width}-{'dark' if self.dark else 'light'}"

    @property
    def at_night(self) -> "Screen":
        return replace(self, dark=True)


DESKTOP = Screen(1280, 900)
MOBILE = Screen(360, 740, touch=True)
SCREENS = (DESKTOP, DESKTOP.at_night, MOBILE, MOBILE.at_night)


class Visitors:
    """Opens browsers, each with cookies of its own, and closes them all."""

    def __init__(self, browser: Browser, address: str, watch: Watch) -> None:
        self.address = address
        self._browser = browser
        self._watch = watch
        self._contexts: list[BrowserContext] = []

    def arrive(self, screen: Screen = DESKTOP, *, javascript: bool = True) -> Page:
        """A blank tab of somebody new; paths are taken as the service's."""
        context = self._browser.new_context(
            base_url=self.address,
            viewport={"width": screen.width, "height": screen.height},
            has_touch=screen.touch,
            is_mobile=screen.touch,
            color_scheme="dark" if screen.dark else "light",
            java_script_enabled=javascript,
            locale="en-GB",
        )
        context.set_default_timeout(PATIENCE_MS)
        self._contexts.append(context)
        self._watch.over(context)
        return context.new_page()

    def expect(self, status: int) -> None:
        """A status 4xx of pages that this test is about."""
        self._watch.expect(status)

    def leave(self) -> None:
        """Close every browser, once what they have sent is judged."""
        self._watch.judge_requests()
        for context in self._contexts:
            context.close()
