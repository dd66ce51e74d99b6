"""The admin's site: its policy, its one way in, and the second factor that staff need."""

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.test import Client
from pytest_django import Settings

from linking.models import User
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> User:
    return factories.user(is_staff=True, is_superuser=True)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_only_the_admin_runs_scripts_that_make_functions(staff: User) -> None:
    admin = signed_in(staff).get("/admin/linking/customer/")["Content-Security-Policy"]
    driver = signed_in(staff).get("/account/")["Content-Security-Policy"]
    assert "script-src 'self' 'unsafe-eval'" in admin
    assert "style-src 'self' 'unsafe-inline'" in admin
    assert "'unsafe" not in driver
    for policy in (admin, driver):
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("path", ["/admin/", "/admin/linking/customer/", "/admin/desk/search/"])
def test_staff_without_a_second_factor_are_led_to_it_where_it_is_demanded(
    path: str, staff: User, settings: Settings
) -> None:
    settings.STAFF_NEED_TWO_FACTOR = True
    answer = signed_in(staff).get(path, follow=True)
    assert answer.redirect_chain == [("/account/2fa/", 302)]
    assert "Staff need two-step sign-in" in answer.content.decode()


def test_staff_with_a_second_factor_come_in(staff: User, settings: Settings) -> None:
    settings.STAFF_NEED_TWO_FACTOR = True
    TOTP.activate(staff, generate_totp_secret())
    assert signed_in(staff).get("/admin/linking/customer/").status_code == 200


def test_a_local_set_up_does_without(staff: User, settings: Settings) -> None:
    assert not settings.STAFF_NEED_TWO_FACTOR
    assert signed_in(staff).get("/admin/linking/customer/").status_code == 200


def test_whoever_is_signed_in_and_no_staff_is_refused() -> None:
    answer = signed_in(factories.driver()).get("/admin/", follow=True)
    assert answer.status_code == 403


def test_signing_in_leads_back_to_the_page_asked_for() -> None:
    answer = Client().get("/admin/linking/customer/?q=1", follow=True)
    address, status = answer.redirect_chain[-1]
    assert status == 302
    assert address.startswith("/account/login/?next=")
    assert "customer" in address


def test_a_password_is_changed_on_ones_own_pages(staff: User) -> None:
    answer = signed_in(staff).get("/admin/password_change/")
    assert answer["Location"] == "/account/password/change/"
