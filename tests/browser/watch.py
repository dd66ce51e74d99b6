"""What must not happen on any page of any test, noted while it happens."""

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Request, Response, WebError

# The browser says it on the console as well, in words of its own that may change.
REPORT_CSP = """
document.addEventListener("securitypolicyviolation", (event) => console.error(
    `the CSP's ${event.effectiveDirective} refused ${event.blockedURI} ${event.sample}`));
"""
# Of a page that answers 4xx; the answers are judged by themselves.
ABOUT_ANSWERS = "Failed to load resource: the server responded with a status of"
# Its query names a driver and an email address.
PRIVATE_QUERY = "/link-work-provider?"


class Watch:
    """Watches browsers, and fails the test if anything in them went wrong."""

    def __init__(self, address: str) -> None:
        self.faults: list[str] = []
        self._host = urlsplit(address).netloc
        self._expected: set[int] = set()
        self._requests: list[Request] = []

    def expect(self, status: int) -> None:
        """A status 4xx of pages that this test is about."""
        self._expected.add(status)

    def over(self, context: BrowserContext) -> None:
        """Watch every page that this browser opens."""
        context.add_init_script(REPORT_CSP)
        context.on("console", self._on_console)
        context.on("weberror", self._on_error)
        context.on("request", self._on_request)
        context.on("response", self._on_response)

    def judge_requests(self) -> None:
        """Look at the headers as sent, which are known once a request is done."""
        for request in self._requests:
            if PRIVATE_QUERY in (request.header_value("referer") or ""):
                self._note(request.url, "the Referer sent has the query of the link")
        self._requests.clear()

    def verify(self) -> None:
        """Fail with everything that went wrong."""
        if self.faults:
            pytest.fail("In the browser:\n" + "\n".join(self.faults), pytrace=False)

    def _note(self, url: str, fault: str) -> None:
        self.faults.append(f"{url}: {fault}")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(ABOUT_ANSWERS):
            page = message.page.url if message.page else ""
            self._note(message.location["url"] or page, f"console: {message.text}")

    def _on_error(self, error: WebError) -> None:
        self._note(error.page.url if error.page else "", f"uncaught: {error.error}")

    def _on_request(self, request: Request) -> None:
        self._requests.append(request)
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != self._host:
            self._note(request.url, "a request to another host")

    def _on_response(self, response: Response) -> None:
        is_page = response.request.resource_type == "document"
        if response.status >= 400 and not (is_page and response.status in self._expected):
            self._note(response.url, f"answered {response.status}")
