"""A driver comes in while a server is away: a page that says so, nothing half done, and then on."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests import factories
from tests.conftest import PrivateService
from tests.running import Service, wait_until
from zego_api.local.servers import LocalValkey

pytestmark = [pytest.mark.outage, pytest.mark.slow]

LINK = "/link-work-provider?wp=Courier+Ltd&wp_id=123456&email=driver@example.com"
SIGNUP = "/account/signup/"
HTML = {"Accept": "text/html"}


class Browser:
    """As much of one as forms need."""

    def __init__(self, service: Service) -> None:
        self._session = requests.Session()
        self._session.headers.update(HTML)
        self._url = service.url
        self._fields: dict[str, str] = {}

    def get(self, path: str) -> requests.Response:
        answer = self._session.get(f"{self._url}{path}", timeout=20)
        hidden = r'<input type="hidden" name="(\w+)" value="([^"]*)"'
        self._fields = dict(re.findall(hidden, answer.text))
        return answer

    def send(self, path: str, **fields: str) -> requests.Response:
        """Post the form of the page that was last seen."""
        fields = self._fields | fields
        return self._session.post(f"{self._url}{path}", data=fields, timeout=20)

    def sign_up(self) -> requests.Response:
        return self.send(
            SIGNUP, email="driver@example.com", password1=factories.PASSWORD, agree="on"
        )


def people(service: Service) -> object:
    [(found,)] = service.query("SELECT count(*) FROM linking_user WHERE email LIKE 'driver@%%'")
    return found


@pytest.fixture
def service(private_service: PrivateService) -> Service:
    private_service.service.demo_key()
    return private_service.service


def test_a_database_that_goes_away_during_the_sign_up_costs_nothing(
    service: Service, private_service: PrivateService
) -> None:
    browser = Browser(service)
    assert browser.get(LINK).url.endswith(SIGNUP)

    private_service.postgres.stop()
    for answer in (
        browser.sign_up(),
        requests.get(f"{service.url}{LINK}", headers=HTML, timeout=20),
    ):
        assert answer.status_code == 503
        assert "We are away for a moment" in answer.text
        assert "Traceback" not in answer.text
    private_service.postgres.start()

    def again() -> Any:
        answer = browser.sign_up()
        assert answer.status_code in (200, 503)
        return answer if answer.status_code == 200 else None

    assert wait_until(again, what="the sign-up").url.endswith("/account/confirm-email/")
    assert people(service) == 1


@pytest.mark.parametrize("end", [LocalValkey.stop, LocalValkey.freeze])
def test_without_valkey_drivers_come_in_as_ever(
    service: Service, private_service: PrivateService, end: Callable[[LocalValkey], None]
) -> None:
    end(private_service.valkey)
    browser = Browser(service)
    assert browser.get(LINK).url.endswith(SIGNUP)
    assert browser.sign_up().url.endswith("/account/confirm-email/")
    mails = service.directory / "mail"
    wait_until(lambda: any(mails.glob("*.log")), what="the mail with the code")
