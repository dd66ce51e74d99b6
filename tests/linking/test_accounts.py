"""Sign-up, login and reset by way of a link, and what must not be possible on the way."""

import re
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings as configured
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from linking.models import Agreement, Customer, DriverLink, LinkIntent, User, WorkProvider
from tests import factories

EMAIL = "driver@example.com"
PASSWORD = factories.PASSWORD
HTML = {"Accept": "text/html"}


@pytest.fixture(autouse=True)
def unlimited() -> None:
    cache.clear()


@pytest.fixture
def courier(db: None) -> WorkProvider:
    return factories.work_provider(name="Courier Ltd")


@pytest.fixture
def client(courier: WorkProvider) -> Client:
    """Somebody who has just opened the link."""
    client = Client()
    query = {"wp": "Courier Ltd", "wp_id": "123456", "email": EMAIL}
    assert client.get("/link-work-provider", query).status_code == 302
    return client


def text(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def sign_up(client: Client, email: str = EMAIL, **fields: str) -> Any:
    return client.post(
        "/account/signup/", {"email": email, "password1": PASSWORD} | fields, follow=True
    )


def log_in(client: Client, password: str = PASSWORD, email: str = EMAIL, path: str = "") -> Any:
    return client.post(
        path or "/account/login/", {"login": email, "password": password}, follow=True, headers=HTML
    )


def code() -> str:
    """The code in the newest mail: a line of its own."""
    found = re.search(
        r"^\s*([A-Z0-9]{3,4}-?[A-Z0-9]{3,4})\s*$", str(mail.outbox[-1].body), re.MULTILINE
    )
    assert found, mail.outbox[-1].body
    return found[1]


def verify(client: Client) -> Any:
    return client.post("/account/confirm-email/", {"code": code()}, follow=True)


# Sign-up


def test_a_new_driver_gets_from_the_link_to_the_link(courier: WorkProvider, client: Client) -> None:
    zego, theirs = factories.terms(None, text="Ours."), factories.terms(courier, text="Theirs.")
    page = text(client.get("/account/signup/"))
    for said in ("Courier Ltd", EMAIL, "Ours.", "Theirs."):
        assert said in page

    answer = sign_up(client, agree="on", terms=f"{zego.pk},{theirs.pk}")
    assert answer.redirect_chain[-1][0] == "/account/confirm-email/"
    user = User.objects.get(email=EMAIL)
    agreements = Agreement.objects.filter(customer=user.customer)
    assert {each.terms_id for each in agreements} == {zego.pk, theirs.pk}
    assert re.fullmatch(r"[3-9AC-Y]{10}", user.customer.number)
    assert EMAIL.partition("@")[0] not in user.username

    answer = verify(client)
    assert answer.redirect_chain[-1][0] == "/link-work-provider/consent/"
    intent = LinkIntent.objects.get()
    client.post("/link-work-provider/consent/", {"intent": str(intent.pk)})
    assert DriverLink.objects.get().customer == user.customer


def test_without_the_terms_there_is_no_account(courier: WorkProvider, client: Client) -> None:
    terms = factories.terms(courier)
    answer = sign_up(client, terms=str(terms.pk))
    assert "Tick the box" in text(answer)
    assert not User.objects.exists()


def test_without_a_link_there_is_no_sign_up(courier: WorkProvider) -> None:
    stranger = Client()
    for answer in (stranger.get("/account/signup/"), sign_up(stranger)):
        assert "link" in text(answer)
        assert "password1" not in text(answer)
    assert not User.objects.exists()


def test_an_expired_link_closes_the_sign_up(courier: WorkProvider, client: Client) -> None:
    LinkIntent.objects.update(created_at=timezone.now() - configured.INTENT_LASTS)
    sign_up(client)
    assert not User.objects.exists()


def test_a_sandbox_makes_test_customers(courier: WorkProvider, client: Client) -> None:
    courier.is_test = True
    courier.save()
    sign_up(client)
    assert Customer.objects.get().is_test


def test_a_wrong_code_is_no_proof_and_three_are_the_end(
    courier: WorkProvider, client: Client
) -> None:
    sign_up(client)
    right = code()
    for _ in range(3):
        client.post("/account/confirm-email/", {"code": "WRONG1"})
    client.post("/account/confirm-email/", {"code": right})
    assert not EmailAddress.objects.get().verified
    assert not client.session.get("_auth_user_id")


def test_signing_up_with_a_known_address_tells_only_its_owner(
    courier: WorkProvider, client: Client
) -> None:
    factories.driver("known@example.com")
    answer = sign_up(client, "known@example.com")
    assert answer.redirect_chain[-1][0] == "/account/confirm-email/"
    assert User.objects.count() == 1
    assert mail.outbox[-1].to == ["known@example.com"]
    assert "http://testserver" not in str(mail.outbox[-1].body).replace(configured.PUBLIC_URL, "")


# Login and reset


def test_an_existing_driver_logs_in_and_goes_on(courier: WorkProvider, client: Client) -> None:
    factories.driver(EMAIL, password=PASSWORD)
    assert f'value="{EMAIL}"' in text(client.get("/account/login/"))
    answer = log_in(client)
    assert answer.redirect_chain[-1][0] == "/link-work-provider/consent/"


def test_a_forgotten_password_is_reset_on_the_way(courier: WorkProvider, client: Client) -> None:
    factories.driver(EMAIL, password=PASSWORD)
    assert f'value="{EMAIL}"' in text(client.get("/account/password/reset/"))
    client.post("/account/password/reset/", {"email": EMAIL})
    client.post("/account/password/reset/confirm/", {"code": code()})
    answer = client.post(
        "/account/password/reset/complete/",
        {"password1": "another horse 42", "password2": "another horse 42"},
        follow=True,
    )
    assert answer.redirect_chain[-1][0] == "/link-work-provider/consent/"


def test_a_reset_takes_an_account_back_from_whoever_made_it_unverified(
    courier: WorkProvider, client: Client
) -> None:
    """Somebody signs up with a stranger's address; the stranger's link leads to login."""
    factories.driver(EMAIL, verified=False, password="the squatter's own")
    client.post("/account/password/reset/", {"email": EMAIL})
    client.post("/account/password/reset/confirm/", {"code": code()})
    client.post(
        "/account/password/reset/complete/",
        {"password1": "another horse 42", "password2": "another horse 42"},
    )
    squatter = Client()
    log_in(squatter, "the squatter's own")
    assert not squatter.session.get("_auth_user_id")
    assert EmailAddress.objects.get(email=EMAIL).verified


def test_staff_sign_in_on_the_same_page_and_come_to_the_admin(db: None) -> None:
    factories.user("staff@example.com", password=PASSWORD, is_staff=True, is_superuser=True)
    staff = Client()
    assert staff.get("/admin/", follow=True).redirect_chain[-1][0].startswith("/account/login/")
    answer = log_in(staff, email="staff@example.com")
    assert answer.redirect_chain[-1][0] == "/admin/"


def test_a_driver_is_no_staff(db: None) -> None:
    factories.driver(EMAIL, password=PASSWORD)
    driver = Client()
    log_in(driver)
    assert driver.get("/admin/", follow=True).status_code == 403


def test_a_disabled_account_stays_out(courier: WorkProvider, client: Client) -> None:
    factories.driver(EMAIL, password=PASSWORD, is_active=False)
    log_in(client)
    assert not client.session.get("_auth_user_id")


# Attacks


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "///evil.example/",
        "https:evil.example",
        "/account/\r\nX: y",
        "javascript:alert(1)",
        "/somewhere/else/",
    ],
)
@pytest.mark.parametrize("page", ["login", "signup", "logout", "password/reset"])
def test_nobody_is_sent_elsewhere(
    courier: WorkProvider, client: Client, target: str, page: str
) -> None:
    factories.driver(EMAIL, password=PASSWORD)
    fields = {"login": EMAIL, "email": EMAIL, "password": PASSWORD, "next": target}
    answer = client.post(f"/account/{page}/?next={target}", fields, follow=True)
    for where, _ in answer.redirect_chain:
        assert where.startswith(("/account/", "/link-work-provider/"))
    assert not re.search(r'(href|action)="[^"]*evil', text(answer))


def test_the_link_takes_no_next(courier: WorkProvider) -> None:
    query = {"wp": "Courier Ltd", "wp_id": "1", "email": EMAIL, "next": "https://evil.example/"}
    assert Client().get("/link-work-provider", query)["Location"] == "/account/signup/"


def test_a_session_given_to_somebody_is_not_theirs_after_the_sign_in(
    courier: WorkProvider, client: Client
) -> None:
    """Session fixation: whoever planted the cookie is left with nothing."""
    factories.driver(EMAIL, password=PASSWORD)
    planted = client.cookies["sessionid"].value
    log_in(client)
    assert client.cookies["sessionid"].value != planted
    attacker = Client()
    attacker.cookies["sessionid"] = planted
    assert attacker.get("/account/").status_code == 302


def test_signing_in_as_another_forgets_the_first(courier: WorkProvider, client: Client) -> None:
    client.force_login(factories.driver("first@example.com"))
    client.session["something"] = "of the first"
    client.post("/link-work-provider/switch/", {})
    assert not client.session.get("_auth_user_id")
    assert "something" not in client.session
    assert client.session.get("link_intents")


@pytest.mark.parametrize(
    "path",
    [
        "/link-work-provider/consent/",
        "/link-work-provider/switch/",
        "/link-work-provider/undo/x/",
        "/account/terms/",
        "/account/login/",
        "/account/signup/",
    ],
)
def test_a_form_from_elsewhere_is_refused(courier: WorkProvider, path: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(factories.driver(EMAIL))
    answer = strict.post(path, {"intent": "x"}, headers=HTML)
    assert answer.status_code == 403
    assert "open for too long" in text(answer)


@pytest.mark.parametrize(
    "path",
    ["/", "/account/login/", "/account/signup/", "/link-work-provider", "/nowhere", "/account/"],
)
def test_no_page_can_be_framed_or_load_from_elsewhere(client: Client, path: str) -> None:
    answer = client.get(path, headers=HTML)
    assert answer["X-Frame-Options"] == "DENY"
    policy = answer["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_passwords_cannot_be_guessed_for_long(courier: WorkProvider) -> None:
    factories.driver(EMAIL, password=PASSWORD)
    for number in range(5):
        log_in(Client(REMOTE_ADDR=f"10.0.0.{number}"), "wrong")
    late = Client(REMOTE_ADDR="10.0.1.1")
    answer = log_in(late)
    assert "Too many" in text(answer)
    assert not late.session.get("_auth_user_id")


def test_one_address_cannot_try_many_accounts(courier: WorkProvider) -> None:
    answers = [log_in(Client(), email=f"{number}@example.com") for number in range(12)]
    assert "Too many" in text(answers[-1])


def test_reset_codes_cannot_be_guessed_for_long(courier: WorkProvider, client: Client) -> None:
    factories.driver(EMAIL, password=PASSWORD)
    client.post("/account/password/reset/", {"email": EMAIL})
    right = code()
    for _ in range(3):
        client.post("/account/password/reset/confirm/", {"code": "WRONG1"})
    answer = client.post("/account/password/reset/confirm/", {"code": right})
    assert answer["Location"] == "/account/login/"
    client.post(
        "/account/password/reset/complete/", {"password1": "x y z 42", "password2": "x y z 42"}
    )
    assert User.objects.get().check_password(PASSWORD)


def test_nor_asked_for_without_end(courier: WorkProvider) -> None:
    factories.driver(EMAIL, password=PASSWORD)
    for _ in range(7):
        answer = Client().post("/account/password/reset/", {"email": EMAIL}, headers=HTML)
    assert answer.status_code == 429
    assert "Too many attempts" in text(answer)
    assert len(mail.outbox) <= 5


def test_a_login_page_tells_nothing_about_accounts(courier: WorkProvider) -> None:
    factories.driver(EMAIL, password=PASSWORD)
    known = text(log_in(Client(), "wrong"))
    unknown = text(log_in(Client(), "wrong", email="nobody@example.com"))

    def without_tokens(page: str) -> str:
        page = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", page)
        return re.sub(r"[\w.]+@example.com|[0-9a-f]{8}-[0-9a-f-]{27}", "", page)

    assert without_tokens(known) == without_tokens(unknown)


def test_mails_are_not_led_by_the_host_header(courier: WorkProvider) -> None:
    factories.driver(EMAIL, password=PASSWORD)
    Client().post(
        "/account/password/reset/", {"email": "unknown@example.com"}, HTTP_HOST="127.0.0.1"
    )
    assert "127.0.0.1" not in str(mail.outbox[-1].body)


def test_a_proxy_that_says_too_little_breaks_nothing(
    courier: WorkProvider, settings: Settings
) -> None:
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 2
    factories.driver(EMAIL, password=PASSWORD)
    behind = Client(headers={"X-Forwarded-For": "10.0.0.1"})
    log_in(behind)
    assert behind.session.get("_auth_user_id")
    query = {"wp": "Courier Ltd", "wp_id": "1", "email": EMAIL}
    assert behind.get("/link-work-provider", query).status_code == 302
