"""Sign-up, login and reset by way of a link, and what must not be possible on the way."""

import re
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP
from django.conf import settings as configured
from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from linking import people
from linking.desk import record
from linking.models import (
    Agreement,
    Customer,
    DeskAction,
    DriverLink,
    LinkIntent,
    User,
    WorkProvider,
)
from tests import factories
from tests.linking.threads import at_once

EMAIL = "driver@example.com"
PASSWORD = factories.PASSWORD
HTML = {"Accept": "text/html"}


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


def look(client: Client, path: str) -> Any:
    """The answer to a GET; what is downloaded is let go."""
    answer: Any = client.get(path)
    for close in answer._resource_closers:
        close()
    return answer


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
    session = client.session
    session["something"] = "of the first"
    session.save()
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


def test_mails_are_not_led_by_the_host_header(courier: WorkProvider, client: Client) -> None:
    factories.driver("known@example.com")
    fields = {"email": "known@example.com", "password1": PASSWORD}
    client.post("/account/signup/", fields, headers={"Host": "127.0.0.1"})
    body = str(mail.outbox[-1].body)
    assert configured.PUBLIC_URL in body
    assert "127.0.0.1" not in body


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


def with_the_link_open() -> Client:
    client = Client()
    query = {"wp": "Courier Ltd", "wp_id": "123456", "email": EMAIL}
    assert client.get("/link-work-provider", query).status_code == 302
    return client


@pytest.mark.django_db(transaction=True)
def test_a_double_click_signs_up_once_and_the_code_is_good() -> None:
    factories.work_provider(name="Courier Ltd")
    client = with_the_link_open()
    again = Client()
    again.cookies["sessionid"] = client.cookies["sessionid"].value
    at_once(lambda: sign_up(client), lambda: sign_up(again))
    assert User.objects.count() == Customer.objects.count() == 1
    assert len(mail.outbox) == 1
    answer = verify(client)
    assert answer.redirect_chain[-1][0] == "/link-work-provider/consent/"


@pytest.mark.django_db(transaction=True)
def test_two_sessions_with_one_address_make_one_account() -> None:
    factories.work_provider(name="Courier Ltd")
    one, other = with_the_link_open(), with_the_link_open()
    at_once(lambda: sign_up(one), lambda: sign_up(other))
    assert User.objects.count() == Customer.objects.count() == 1


def test_a_squatter_decides_nothing_for_the_owner(courier: WorkProvider) -> None:
    """Neither what was agreed to, nor whether it is a test."""
    courier.is_test = True
    courier.save()
    terms = factories.terms()
    sign_up(with_the_link_open(), agree="on", terms=str(terms.pk))
    assert Agreement.objects.count() == 1

    courier.is_test = False
    courier.save()
    owner = with_the_link_open()
    owner.post("/account/password/reset/", {"email": EMAIL})
    owner.post("/account/password/reset/confirm/", {"code": code()})
    passwords = {"password1": "another horse 42", "password2": "another horse 42"}
    answer = owner.post("/account/password/reset/complete/", passwords, follow=True)
    assert not Agreement.objects.exists()
    assert "Be kind." in text(answer)  # the terms are theirs to agree to
    fields = {"intent": str(LinkIntent.objects.latest("created_at").pk)}
    owner.post("/link-work-provider/consent/", fields | {"terms": str(terms.pk), "agree": "on"})
    assert DriverLink.objects.get().customer.is_test is False
    assert Agreement.objects.count() == 1


def test_a_later_reset_takes_nothing_away(courier: WorkProvider, client: Client) -> None:
    user = factories.driver(EMAIL, password=PASSWORD, last_login=timezone.now())
    Agreement.objects.create(
        customer=user.customer, terms=factories.terms(), agreed_at=timezone.now()
    )
    client.post("/account/password/reset/", {"email": EMAIL})
    client.post("/account/password/reset/confirm/", {"code": code()})
    passwords = {"password1": "another horse 42", "password2": "another horse 42"}
    client.post("/account/password/reset/complete/", passwords)
    assert Agreement.objects.get().customer == user.customer


def test_accounts_that_nobody_proved_are_forgotten(courier: WorkProvider) -> None:
    sign_up(with_the_link_open())
    factories.driver("proved@example.com")
    factories.user("staff@example.com", verified=False, is_staff=True)
    people.forget_unverified(timezone.now() + timedelta(days=6))
    assert User.objects.count() == 3
    people.forget_unverified(timezone.now() + timedelta(days=8))
    emails = User.objects.values_list("email", flat=True)
    assert sorted(emails) == ["proved@example.com", "staff@example.com"]


def test_an_account_that_the_audit_log_names_is_kept(courier: WorkProvider) -> None:
    sign_up(with_the_link_open())
    user = User.objects.get(email=EMAIL)
    record(
        DeskAction.Kind.CHANGE,
        actor=factories.user(is_staff=True),
        reason="Asked by telephone.",
        now=timezone.now(),
        customer=Customer.objects.get_or_create(user=user)[0],
    )
    people.forget_unverified(timezone.now() + timedelta(days=8))
    assert User.objects.filter(pk=user.pk).exists()


def test_the_secret_of_a_second_factor_is_not_stored_in_clear(db: None) -> None:
    TOTP.activate(factories.driver(), "JBSWY3DPEHPK3PXP")
    assert "JBSWY3DPEHPK3PXP" not in str(Authenticator.objects.get().data)


@pytest.mark.parametrize("path", ["/account/2fa/totp/activate/", "/account/data.json"])
def test_what_matters_asks_who_it_is_but_not_twice(db: None, path: str) -> None:
    client = Client()
    client.force_login(factories.driver(EMAIL, password=PASSWORD))
    assert look(client, path).status_code == 200
    session = client.session
    session["signed_in_at"] = 0.0
    session.save()
    assert client.get(path)["Location"].startswith("/account/reauthenticate/")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/account/",
        "/account/2fa/",
        "/account/2fa/totp/activate/",
        "/account/data.json",
        "/account/email/",
        "/account/password/change/",
        "/account/shifts.csv",
        "/admin/",
        "/link-work-provider/consent/",
        "/nowhere",
    ],
)
def test_no_page_is_kept_by_anybody(db: None, path: str) -> None:
    client = Client()
    client.force_login(factories.driver(EMAIL, is_staff=path == "/admin/"))
    assert "no-store" in look(client, path)["Cache-Control"]


def test_the_redirect_to_https_is_not_kept_either(client: Client, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    answer = Client().get("/link-work-provider", {"email": EMAIL})
    assert answer.status_code == 301
    assert "no-store" in answer["Cache-Control"]
