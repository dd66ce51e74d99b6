"""A person at a browser: what they see on the service's pages, and what they do there."""

import re
from typing import Protocol

from playwright.sync_api import Locator, Page, expect

from tests.browser.looks import look_at
from tests.browser.mails import Inbox, code_in, text_of
from tests.browser.records import COURIER, Person
from tests.browser.visitors import Screen
from tests.factories import PASSWORD
from tests.running import Service

CONSENT = "Link your insurance to {}?"
LINKED = "You are linked"
LOGIN = "Sign in"
SIGNUP = "Create your account"


class Driver:
    """Somebody with a tab of their own, and with their mails at hand."""

    def __init__(self, person: Person, page: Page, service: Service) -> None:
        self.person = person
        self.page = page
        self.service = service
        self.inbox = Inbox(service, person.email)

    def sees(self, heading: str, picture: str = "") -> None:
        """Wait for the page of this heading; with a name for its picture, look at it closely."""
        expect(self.heading()).to_have_text(heading)
        if picture:
            look_at(self.page, picture)

    def sees_consent(self, work_provider: str = COURIER, picture: str = "") -> None:
        self.sees(CONSENT.format(work_provider), picture)

    def sees_that_they_are_insured(self, work_provider: str = COURIER, picture: str = "") -> None:
        insured = re.compile(f"^You are insured now, since .*{work_provider}$", re.DOTALL)
        expect(self.heading()).to_have_text(insured)
        if picture:
            look_at(self.page, picture)

    def heading(self) -> Locator:
        """A page has one."""
        return self.page.get_by_role("heading", level=1)

    def is_refused(self, label: str = "") -> None:
        """Wait for the list of problems; with a label, its first is read out with that field."""
        problems = self.page.get_by_role("alert")
        expect(problems).to_contain_text("There is a problem")
        expect(problems).to_be_focused()
        if label:
            field = self.page.get_by_label(label)
            expect(field).to_have_attribute("aria-invalid", "true")
            problem = problems.get_by_role("listitem").first.inner_text()
            expect(field).to_have_accessible_description(re.compile(re.escape(problem)))

    def reads(self, text: str) -> None:
        """Wait until the page says this somewhere."""
        expect(self.page.get_by_role("main")).to_contain_text(text)

    def fact(self, name: str) -> Locator:
        """What stands beside a name in a list of facts."""
        term = self.page.get_by_role("term").filter(has_text=re.compile(f"^{name}$"))
        return term.locator("xpath=following-sibling::dd")

    def press(self, button: str) -> None:
        """Every button sends a form; wait for what it leads to."""
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=button, exact=True).click()

    def go(self, link: str) -> None:
        self.page.get_by_role("link", name=link, exact=True).click()

    def fill(self, label: str, text: str) -> None:
        self.page.get_by_label(label, exact=True).fill(text)

    def follow(self, work_provider: str = COURIER) -> None:
        """Open the link that the work provider sent."""
        self.page.goto(self.person.link(work_provider))

    def sign_up(self) -> None:
        """The email is filled in already."""
        self.fill("Choose a password", PASSWORD)
        self.accept_terms()
        self.press("Create account")

    def type_code(self) -> None:
        """The code of the newest mail."""
        self.fill("Code from the mail", code_in(text_of(self.inbox.take("code"))))
        self.press("Go on")

    def sign_in(self, password: str = PASSWORD) -> None:
        """On the login page that a link leads to: the email is filled in already."""
        self.fill("Password", password)
        self.press("Sign in")

    def visit(self, password: str = PASSWORD) -> None:
        """Sign in without any link."""
        self.page.goto("/account/login/")
        self.fill("Email address", self.person.email)
        self.sign_in(password)

    def has_signed_in_long_ago(self) -> None:
        """As a session is after a lunch break."""
        [key] = [c["value"] for c in self.page.context.cookies() if c["name"] == "sessionid"]
        program = (
            "from django.contrib.sessions.backends.db import SessionStore\n"
            f"session = SessionStore({key!r})\n"
            "session['signed_in_at'] = 0.0\n"
            "session['account_authentication_methods'] = []\n"
            "session.save()"
        )
        self.service.manage("shell", "--verbosity", "0", "--command", program)

    def prove_it(self) -> None:
        """What matters asks for the password once more."""
        self.sees("Is it you?")
        self.fill("Password", PASSWORD)
        self.press("Go on")

    def accept_terms(self) -> None:
        self.page.get_by_label(re.compile("^I have read and agree")).check()

    def agree(self) -> None:
        """On the consent page of somebody who has not agreed to these terms before."""
        self.accept_terms()
        self.press("Agree and link")

    def forget_required_fields(self) -> None:
        """Be a browser that leaves it to the service to check forms."""
        self.page.locator("form").evaluate_all("all => all.forEach(one => one.noValidate = true)")


class Drive(Protocol):
    """Sits a person down at a browser of their own."""

    def __call__(
        self, person: Person, screen: Screen = ..., *, javascript: bool = ...
    ) -> Driver: ...
