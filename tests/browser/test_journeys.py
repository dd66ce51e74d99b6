"""From a work provider's link to an insured driver, and every way not to get there."""

import hashlib
import hmac
import re
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tests.browser import records
from tests.browser.driver import LINKED, LOGIN, SIGNUP, Drive, Driver
from tests.browser.records import COURIER, links_of, shifts_of
from tests.browser.visitors import MOBILE
from tests.browser.watch import Watch
from tests.factories import PASSWORD
from tests.running import Service

pytestmark = pytest.mark.browser


# New drivers


def test_a_new_driver_is_linked_and_then_insured(drive: Drive, service: Service, key: str) -> None:
    driver = drive(records.newcomer(), MOBILE)
    driver.follow()
    driver.sees(SIGNUP)
    driver.reads(f"{COURIER} asks you to link your insurance")
    expect(driver.page.get_by_label("Email address").first).to_have_value(driver.person.email)
    driver.sign_up()
    driver.sees("Check your mail")
    driver.type_code()
    driver.sees_consent()
    hidden = driver.person.driver_id[:-2]
    expect(driver.page.get_by_role("main")).not_to_contain_text(hidden)
    expect(driver.fact("Your driver id there")).to_have_text(f"••••{driver.person.driver_id[-2:]}")
    driver.press("Agree and link")
    driver.sees(LINKED)
    (link,) = links_of(service, driver.person)
    expect(driver.fact("Your customer number")).to_have_text(link.customer_number)
    records.report(service, key, "login", driver.person, datetime.now(UTC))
    (shift,) = shifts_of(service, driver.person)
    assert shift.ended_at is None
    driver.go("Go to my account")
    driver.sees_that_they_are_insured()


def test_the_terms_are_there_to_be_read_before_signing_up(drive: Drive) -> None:
    driver = drive(records.newcomer())
    driver.follow()
    text = driver.page.get_by_text("Sample terms of a work provider")
    expect(text).not_to_be_visible()
    driver.page.get_by_text(re.compile("^Read Courier Ltd.s terms$")).click()
    expect(text).to_be_visible()


def test_signing_up_without_the_terms_is_refused(drive: Drive, service: Service) -> None:
    driver = drive(records.newcomer())
    driver.follow()
    driver.forget_required_fields()
    driver.fill("Choose a password", PASSWORD)
    driver.press("Create account")
    driver.is_refused("I have read and agree")
    assert not service.query("SELECT 1 FROM linking_user WHERE email = %s", driver.person.email)


def test_what_was_held_before_the_link_counts_from_the_agreement(
    drive: Drive, service: Service, key: str
) -> None:
    driver = drive(records.newcomer())
    logged_in = datetime.now(UTC) - timedelta(hours=2)
    records.report(service, key, "login", driver.person, logged_in)
    driver.follow()
    driver.sign_up()
    driver.type_code()
    driver.press("Agree and link")
    driver.sees(LINKED)
    (link,) = links_of(service, driver.person)
    (shift,) = shifts_of(service, driver.person)
    assert (shift.started_at, shift.ended_at) == (link.linked_at, None)
    assert shift.start_clipped
    driver.go("Go to my account")
    driver.reads("Insured from when you agreed; you had logged in at")


def test_without_javascript_a_new_driver_is_linked(drive: Drive, service: Service) -> None:
    driver = drive(records.newcomer(), javascript=False)
    driver.follow()
    driver.sign_up()
    driver.type_code()
    driver.press("Agree and link")
    driver.sees(LINKED)
    assert len(links_of(service, driver.person)) == 1


# Drivers with an account


def test_somebody_with_an_account_signs_in_and_agrees(drive: Drive, service: Service) -> None:
    driver = drive(records.member(service))
    driver.follow()
    driver.sees(LOGIN)
    driver.reads(f"{COURIER} asks you to link your insurance")
    expect(driver.page.get_by_label("Email address")).to_have_value(driver.person.email)
    driver.sign_in("not the password")
    driver.is_refused()
    expect(driver.page.get_by_label("Email address")).to_have_value(driver.person.email)
    driver.sign_in()
    driver.sees_consent()
    driver.agree()
    driver.sees(LINKED)
    assert len(links_of(service, driver.person)) == 1


def test_a_wrong_password_is_told_beside_its_field(drive: Drive, service: Service) -> None:
    driver = drive(records.member(service))
    driver.follow()
    driver.sign_in("not the password")
    driver.is_refused("Password")


def test_a_forgotten_password_does_not_lose_the_link(drive: Drive, service: Service) -> None:
    driver = drive(records.member(service), MOBILE)
    driver.follow()
    driver.go("Forgot your password?")
    expect(driver.page.get_by_label("Email address")).to_have_value(driver.person.email)
    driver.press("Send a code")
    driver.type_code()
    driver.sees("Choose a new password")
    driver.fill("New password", "another horse altogether")
    driver.fill("New password again", "another horse altogether")
    driver.press("Save and sign in")
    driver.sees_consent()
    driver.agree()
    driver.sees(LINKED)


def test_who_is_signed_in_goes_straight_to_the_consent(drive: Drive, service: Service) -> None:
    driver = drive(records.member(service))
    driver.visit()
    driver.follow()
    driver.sees_consent()
    driver.agree()
    driver.sees(LINKED)


def test_who_is_signed_in_as_somebody_else_is_told_and_can_switch(
    drive: Drive, service: Service
) -> None:
    other, meant = drive(records.member(service)), records.member(service)
    other.visit()
    driver = Driver(meant, other.page, service)
    driver.follow()
    driver.sees_consent()
    driver.reads(f"You are signed in as {other.person.email}")
    driver.press("Use another account")
    driver.sees(LOGIN)
    expect(driver.page.get_by_label("Email address")).to_have_value(meant.email)
    driver.sign_in()
    driver.sees_consent()
    expect(driver.fact("Insured account")).to_have_text(meant.email)
    driver.agree()
    driver.sees(LINKED)


def test_on_another_device_the_link_is_offered(drive: Drive, service: Service) -> None:
    person = records.member(service)
    phone, desktop = drive(person, MOBILE), drive(person)
    phone.follow()
    phone.sees(LOGIN)
    desktop.visit()
    desktop.sees("There is no insurance on this account")
    desktop.reads(f"{COURIER} asks to link your insurance")
    desktop.page.get_by_role("link", name="Go on").click()
    desktop.sees_consent()
    desktop.agree()
    desktop.sees(LINKED)
    phone.sign_in()
    phone.page.goto("/account/")
    phone.sees("You are not insured now")
    expect(phone.page.get_by_text("Waiting for your answer")).not_to_be_visible()
    assert len(links_of(service, person)) == 1


def test_each_offer_leads_to_the_link_that_it_names(drive: Drive, service: Service) -> None:
    person, taxi = records.member(service), records.work_provider(service)
    phone, desktop = drive(person, MOBILE), drive(person)
    phone.follow()
    phone.follow(taxi)
    desktop.visit()
    desktop.go(f"Go on with {COURIER}")
    desktop.sees_consent(COURIER)
    desktop.page.go_back()
    desktop.go(f"Go on with {taxi}")
    desktop.sees_consent(taxi)


def test_signing_up_for_an_address_that_has_an_account_tells_only_its_owner(
    drive: Drive, service: Service
) -> None:
    driver = drive(records.member(service))
    driver.follow()
    driver.go("New here? Create an account")
    driver.sign_up()
    driver.sees("Check your mail")
    driver.inbox.take("You have a Zego account already")
    driver.press("Sign in instead")
    driver.sees(LOGIN)
    driver.sign_in()
    driver.sees_consent()


def test_new_terms_are_asked_for_at_the_next_sign_in(drive: Drive, service: Service) -> None:
    taxi = records.work_provider(service)
    records.publish_terms(service, taxi, "first")
    driver = drive(records.member(service))
    driver.follow(taxi)
    driver.sign_in()
    driver.agree()
    records.publish_terms(service, taxi, "second")
    driver.press("Sign out")
    driver.visit()
    driver.sees("There are new terms", "terms-changed")
    driver.go("Not now")
    driver.sees("You are not insured now")
    driver.press("Sign out")
    driver.visit()
    driver.accept_terms()
    driver.press("Agree")
    driver.sees("You are not insured now")
    driver.go(f"{taxi}'s terms, version second")
    driver.sees(f"{taxi}'s terms, version second", "terms")
    driver.press("Sign out")
    driver.visit()
    driver.sees("You are not insured now")


# Links that lead to none


def test_who_is_linked_already_is_told_so(drive: Drive, service: Service) -> None:
    driver = drive(records.linked(service))
    driver.follow()
    driver.sign_in()
    driver.sees("You are linked already")
    assert len(links_of(service, driver.person)) == 1


def test_a_link_that_was_opened_long_ago_says_how_to_start_again(
    drive: Drive, service: Service, watch: Watch
) -> None:
    driver = drive(records.member(service))
    driver.follow()
    driver.sign_in()
    driver.sees_consent()
    records.let_time_pass(service, driver.person, minutes=31)
    watch.expect(410)
    driver.agree()
    driver.sees("This has taken too long")
    driver.reads(f"Open the link from {COURIER} again")
    assert links_of(service, driver.person) == []
    driver.follow()
    driver.sees_consent()


def test_a_link_that_grew_old_during_the_sign_in_says_how_to_start_again(
    drive: Drive, service: Service, watch: Watch
) -> None:
    driver = drive(records.member(service))
    driver.follow()
    records.let_time_pass(service, driver.person, minutes=31)
    driver.sign_in()
    driver.sees("There is no insurance on this account")
    watch.expect(410)
    driver.page.goto("/link-work-provider/consent/")
    driver.sees("This has taken too long")


def test_a_driver_may_say_no(drive: Drive, service: Service, watch: Watch) -> None:
    driver = drive(records.member(service))
    driver.follow()
    driver.sign_in()
    driver.press("Cancel")
    driver.sees("Nothing was linked")
    assert links_of(service, driver.person) == []
    driver.page.goto("/account/")
    driver.sees("There is no insurance on this account")
    expect(driver.page.get_by_text("Waiting for your answer")).not_to_be_visible()


def test_a_driver_id_of_somebody_else_is_refused_in_neutral_words(
    drive: Drive, service: Service, watch: Watch
) -> None:
    owner, member = records.linked(service), records.member(service)
    driver = drive(records.Person(member.email, owner.driver_id))
    driver.follow()
    driver.sign_in()
    driver.sees_consent()
    watch.expect(409)
    driver.agree()
    driver.sees("We could not link this driver id")
    (link,) = links_of(service, owner)
    for secret in (owner.email, owner.driver_id, link.customer_number, "customer", "taken"):
        expect(driver.page.get_by_role("main")).not_to_contain_text(secret, ignore_case=True)


def test_who_opens_links_without_end_is_asked_to_wait(drive: Drive, watch: Watch) -> None:
    driver = drive(records.newcomer())
    for _ in range(30):
        driver.page.request.get(records.newcomer().link(), max_redirects=0)
    watch.expect(429)
    driver.follow()
    driver.sees("Too many attempts", "too-many")


# Two tabs


def test_agreeing_in_two_tabs_makes_one_link(drive: Drive, service: Service) -> None:
    first = drive(records.member(service))
    first.visit()
    second = Driver(first.person, first.page.context.new_page(), service)
    for tab in (first, second):
        tab.follow()
        tab.sees_consent()
    first.agree()
    first.sees(LINKED)
    second.agree()
    second.sees("You are linked already")
    assert len(links_of(service, first.person)) == 1


def test_each_tab_links_the_work_provider_that_it_shows(drive: Drive, service: Service) -> None:
    first = drive(records.member(service))
    taxi = records.work_provider(service)
    first.visit()
    second = Driver(first.person, first.page.context.new_page(), service)
    first.follow()
    second.follow(taxi)
    first.sees_consent()
    second.sees_consent(taxi)
    first.agree()
    first.sees(LINKED)
    expect(first.fact("Work provider")).to_have_text(COURIER)
    assert [link.work_provider for link in links_of(service, first.person)] == [COURIER]
    second.agree()
    second.sees(LINKED)
    expect(second.fact("Work provider")).to_have_text(taxi)
    assert [link.work_provider for link in links_of(service, first.person)] == [COURIER, taxi]


# Work providers that do not trust a bare link


def test_an_agreement_waits_until_the_ops_desk_confirms_it(drive: Drive, service: Service) -> None:
    taxi = records.work_provider(service, "CONFIRM")
    key = service.manage("issue_key", taxi).stdout.strip()
    driver = drive(records.member(service))
    driver.follow(taxi)
    driver.sign_in()
    driver.agree()
    driver.sees("Waiting to be confirmed")
    logged_in = datetime.now(UTC)
    records.report(service, key, "login", driver.person, logged_in)
    assert links_of(service, driver.person) == []
    driver.go("Go to my account")
    driver.reads(f"Waiting for {taxi} to confirm")
    confirm(drive, service, driver)
    (link,) = links_of(service, driver.person)
    assert link.linked_at < logged_in
    (shift,) = shifts_of(service, driver.person)
    assert shift.started_at == logged_in
    driver.inbox.take("You are linked to")
    driver.page.reload()
    driver.sees_that_they_are_insured(taxi)


def confirm(drive: Drive, service: Service, driver: Driver) -> None:
    """As the ops desk does it."""
    password = (service.directory / "admin-password").read_text().strip()
    ops = drive(records.Person("admin@example.com", ""))
    ops.page.goto("/admin/desk/list/waiting-links/")
    ops.fill("Email address", ops.person.email)
    ops.sign_in(password)
    row = ops.page.get_by_role("row").filter(has_text=driver.person.driver_id)
    row.get_by_role("link", name="Confirm").click()
    ops.fill("Reason", "The work provider confirmed it.")
    ops.press("Show what would change")
    expect(ops.page.get_by_text("A new shift").first).to_be_visible()
    ops.press("Confirm the link")


def test_a_signed_link_works_once_and_only_as_it_was_made(
    drive: Drive, service: Service, watch: Watch
) -> None:
    watch.expect(400)
    taxi = records.work_provider(service, "SIGNED")
    secret = service.manage("issue_link_secret", taxi).stdout.strip()
    driver = drive(records.member(service))
    who = ("--wp-id", driver.person.driver_id, "--email", driver.person.email)
    url = service.manage("make_link", taxi, *who).stdout.strip()
    driver.follow(taxi)
    driver.sees("This link is not complete")
    driver.page.goto(url.replace(driver.person.driver_id, "DRV1"))
    driver.sees("This link cannot be trusted")
    driver.page.goto(signed(secret, driver.person, taxi, expires=int(time.time()) - 60))
    driver.sees("This link has expired")
    driver.page.goto(url)
    driver.sign_in()
    driver.agree()
    driver.sees(LINKED)
    driver.page.goto(url)
    driver.sees("This link has been used")


def signed(secret: str, person: records.Person, work_provider: str, *, expires: int) -> str:
    """By the recipe in docs/linking.md."""
    link = {
        "wp": work_provider,
        "wp_id": person.driver_id,
        "email": person.email,
        "expires": str(expires),
    }
    message = "\n".join(["zego-link-v1", *link.values()])
    link["signature"] = hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()
    return f"/link-work-provider?{urlencode(link)}"
