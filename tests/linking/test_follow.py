"""GET /link-work-provider: the specification's 302s, and what a bad link is answered."""

import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings as configured
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from linking import tokens
from linking.models import LinkIntent, LinkPolicy, SpentSignature, User, WorkProvider
from tests import factories

EMAIL = "driver@example.com"
HTML = {"Accept": "text/html"}


@pytest.fixture
def courier(db: None) -> WorkProvider:
    return factories.work_provider(name="Courier Ltd")


def follow(client: Client, path: str = "/link-work-provider", **changes: Any) -> Any:
    query = {"wp": "Courier Ltd", "wp_id": "123456", "email": EMAIL} | changes
    sent = {name: value for name, value in query.items() if value is not None}
    return client.get(f"{path}?{urlencode(sent, doseq=True)}", headers=HTML)


PATHS = pytest.mark.parametrize("path", ["/link-work-provider", "/link-work-provider/"])


# The table


@PATHS
def test_without_an_account_it_leads_to_sign_up(
    courier: WorkProvider, client: Client, path: str
) -> None:
    answer = follow(client, path)
    assert (answer.status_code, answer["Location"]) == (302, "/account/signup/")


@PATHS
@pytest.mark.parametrize("state", ["active", "unverified", "disabled", "only the user's own"])
def test_with_any_account_it_leads_to_login(
    courier: WorkProvider, client: Client, path: str, state: str
) -> None:
    if state == "only the user's own":
        call_command("createsuperuser", "--no-input", username="a", email="Driver@Example.com")
    else:
        factories.user(EMAIL, verified=state != "unverified", is_active=state != "disabled")
    answer = follow(client, path, email="DRIVER@example.com")
    assert (answer.status_code, answer["Location"]) == (302, "/account/login/")


@PATHS
@pytest.mark.parametrize("who", ["the same", "another", "linked already", "staff"])
def test_signed_in_it_leads_to_linking(
    courier: WorkProvider, client: Client, path: str, who: str
) -> None:
    user = factories.driver("other@example.com" if who == "another" else EMAIL)
    if who == "staff":
        user = factories.user("staff@example.com", is_staff=True)
    if who == "linked already":
        factories.link(courier, "123456", customer=user.customer)
    client.force_login(user)
    answer = follow(client, path)
    assert (answer.status_code, answer["Location"]) == (302, "/link-work-provider/consent/")


def test_it_stores_nothing_but_an_intent(courier: WorkProvider, client: Client) -> None:
    follow(client, email=" Driver@Example.com ", wp="courier LTD", wp_id="\u2009x y\u2009")
    intent = LinkIntent.objects.get()
    assert (intent.work_provider, intent.driver_id, intent.email) == (courier, "x y", EMAIL)
    assert (intent.signature, intent.agreed_at, intent.cancelled_at) == (None, None, None)
    assert User.objects.count() == 0


# What it gives away


@pytest.mark.parametrize("wp_id", ["123456", None])
def test_nothing_is_cached_or_passed_on(
    courier: WorkProvider, client: Client, wp_id: str | None
) -> None:
    answer = follow(client, wp_id=wp_id)
    assert "no-store" in answer["Cache-Control"]
    assert answer["Referrer-Policy"] == "no-referrer"
    assert "?" not in answer.headers.get("Location", "")
    assert EMAIL not in answer.content.decode()


@pytest.mark.parametrize("wp", ["Courier Ltd", "Nobody Ltd", None])
def test_nothing_personal_is_logged(
    courier: WorkProvider, client: Client, caplog: pytest.LogCaptureFixture, wp: str | None
) -> None:
    caplog.set_level(logging.DEBUG)
    follow(client, wp=wp, wp_id="secret-driver")
    logged = [line for line in caplog.messages if not line.startswith("(0.0")]  # SQL at DEBUG
    assert not [line for line in logged if EMAIL in line or "secret-driver" in line]


# What is no link


@pytest.mark.parametrize(
    "changes",
    [
        {"wp": None},
        {"wp_id": None},
        {"email": None},
        {"wp": ""},
        {"wp_id": " "},
        {"wp_id": "a\x00b"},
        {"wp_id": "x" * 129},
        {"email": "nobody"},
        {"email": "a@b@example.com"},
        {"email": "x" * 250 + "@example.com"},
        {"email": "a\x00@example.com"},
        {"wp": ["Courier Ltd", "Courier Ltd"]},
        {"wp_id": ["1", "2"]},
        {"wp": "Nobody Ltd"},
        {"wp": "Courier\x00Ltd"},
    ],
)
def test_a_bad_link_gets_a_page_that_says_what_to_do(
    courier: WorkProvider, client: Client, changes: dict[str, Any]
) -> None:
    answer = follow(client, **changes)
    assert answer.status_code == 400
    assert answer["Content-Type"].startswith("text/html")
    assert "work provider" in answer.content.decode()
    assert LinkIntent.objects.count() == 0


def test_an_inactive_work_provider_is_an_unknown_one(courier: WorkProvider, client: Client) -> None:
    courier.is_active = False
    courier.save()
    assert follow(client).status_code == 400


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_it_is_only_read(courier: WorkProvider, client: Client, method: str) -> None:
    assert getattr(client, method)("/link-work-provider?wp=Courier").status_code == 405


# SIGNED


@pytest.fixture
def signing(courier: WorkProvider) -> WorkProvider:
    courier.link_policy = LinkPolicy.SIGNED
    courier.save()
    tokens.issue_secret(courier)
    return courier


def signed_path(provider: WorkProvider, lasts: timedelta = timedelta(days=1)) -> str:
    url = tokens.link_url(
        provider, driver_id="123456", email=EMAIL, now=timezone.now(), lasts=lasts
    )
    return url.removeprefix(configured.PUBLIC_URL)


def test_a_signed_link_is_followed(signing: WorkProvider, client: Client) -> None:
    answer = client.get(signed_path(signing))
    assert (answer.status_code, answer["Location"]) == (302, "/account/signup/")
    assert len(bytes(LinkIntent.objects.get().signature or b"")) == 32


def test_under_signed_a_forged_driver_id_is_refused(signing: WorkProvider, client: Client) -> None:
    forged = signed_path(signing).replace("wp_id=123456", "wp_id=999999")
    answer = client.get(forged)
    assert answer.status_code == 400
    assert b"cannot be trusted" in answer.content
    assert follow(client).status_code == 400  # no signature at all


def test_an_expired_signature_says_so(signing: WorkProvider, client: Client) -> None:
    answer = client.get(signed_path(signing, timedelta(seconds=-1)))
    assert answer.status_code == 400
    assert b"has expired" in answer.content


def test_a_spent_signature_says_so(signing: WorkProvider, client: Client) -> None:
    path = signed_path(signing)
    client.get(path)
    intent = LinkIntent.objects.get()
    assert intent.signature is not None
    SpentSignature.objects.create(signature=intent.signature, expires_at=timezone.now())
    answer = client.get(path)
    assert answer.status_code == 400
    assert b"has been used" in answer.content


# Limits


def statuses(clients: Iterable[Client], email: str) -> list[int]:
    """The answers up to the first 429."""
    found: list[int] = []
    for number, client in enumerate(clients):
        found.append(follow(client, email=email.format(number)).status_code)
        if found[-1] == 429:
            break
    return found


def test_one_address_cannot_probe_for_accounts(courier: WorkProvider) -> None:
    found = statuses((Client() for _ in range(70)), "{}@example.com")
    assert found[-1] == 429
    assert len(found) > 30
    assert LinkIntent.objects.count() == len(found) - 1
    assert follow(Client(), email="account@example.com")["Retry-After"]


def test_one_email_cannot_be_pestered_nor_shut_out(courier: WorkProvider) -> None:
    found = statuses((Client(REMOTE_ADDR="10.0.0.1") for _ in range(30)), "Driver@example.com")
    assert found[-1] == 429
    assert len(found) > 10
    assert follow(Client(REMOTE_ADDR="10.0.0.2"), email="driver@example.com").status_code == 302


def test_a_work_provider_counts_only_links_that_are_good(
    signing: WorkProvider, settings: Settings
) -> None:
    settings.LINK_LIMITS = settings.LINK_LIMITS | {"work_provider": "1/minute"}
    for _ in range(3):
        assert follow(Client()).status_code == 400
    assert Client().get(signed_path(signing)).status_code == 302
    assert Client().get(signed_path(signing)).status_code == 429
