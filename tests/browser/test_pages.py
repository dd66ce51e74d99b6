"""Every page that a driver can meet, on each screen: no barriers, nothing cut off, and a picture."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.browser import records
from tests.browser.driver import LINKED, LOGIN, SIGNUP, Drive
from tests.browser.keyboard import reach
from tests.browser.mails import code_in, link_in, text_of
from tests.browser.records import COURIER
from tests.browser.totp import totp
from tests.browser.visitors import SCREENS, Screen
from tests.browser.watch import Watch
from tests.factories import PASSWORD
from tests.running import Service

pytestmark = pytest.mark.browser

every_screen = pytest.mark.parametrize("screen", SCREENS, ids=str)


@every_screen
def test_from_the_link_to_the_account(
    drive: Drive, service: Service, key: str, watch: Watch, screen: Screen
) -> None:
    watch.expect(400)
    driver = drive(records.newcomer(), screen)
    driver.page.goto("/")
    driver.sees("Insurance by the shift", "front")
    driver.page.goto("/link-work-provider?wp=Courier+Ltd")
    driver.sees("This link is not complete", "link-incomplete")
    driver.page.goto("/account/signup/")
    driver.sees("You need a link to create an account", "sign-up-closed")
    driver.follow()
    driver.page.locator("summary").evaluate_all("all => all.forEach(one => one.click())")
    driver.sees(SIGNUP, "sign-up-with-terms")
    driver.follow()
    driver.fill("Choose a password", "12345678")
    driver.accept_terms()
    driver.press("Create account")
    driver.is_refused("Choose a password")
    driver.sees(SIGNUP, "sign-up-refused")
    driver.sign_up()
    driver.sees("Check your mail", "sign-up-code")
    driver.fill("Code from the mail", "AAAA-AAAA")
    driver.press("Go on")
    driver.is_refused("Code from the mail")
    driver.sees("Check your mail", "sign-up-code-wrong")
    driver.type_code()
    driver.sees_consent(picture="consent")
    driver.press("Agree and link")
    driver.sees(LINKED, "linked")
    driver.go("Go to my account")
    driver.sees("You are not insured now", "account-new")
    undo = link_in(text_of(driver.inbox.take("You are linked")))
    records.report(service, key, "login", driver.person, datetime.now(UTC))
    driver.page.reload()
    driver.sees_that_they_are_insured(picture="account-insured")
    driver.page.goto(undo)
    driver.sees("Undo linking?", "undo")
    driver.press("Undo linking")
    driver.sees("You are not linked any more", "undone")


@every_screen
def test_from_a_forgotten_password_to_the_shifts(
    drive: Drive, service: Service, key: str, watch: Watch, screen: Screen
) -> None:
    watch.expect(404)
    driver = drive(records.linked(service), screen)
    for days in range(3):
        start = datetime.now(UTC) - timedelta(days=days, hours=6)
        records.report(service, key, "login", driver.person, start)
        records.report(service, key, "logout", driver.person, start + timedelta(hours=4))
    driver.page.goto("/nowhere/")
    driver.sees("There is no such page", "not-found")
    driver.visit("not the password")
    driver.is_refused()
    driver.sees(LOGIN, "login-refused")
    driver.go("Forgot your password?")
    driver.sees("Forgot your password?", "reset")
    driver.fill("Email address", driver.person.email)
    driver.press("Send a code")
    driver.sees("Check your mail", "reset-code")
    driver.type_code()
    driver.sees("Choose a new password", "reset-password")
    driver.fill("New password", PASSWORD)
    driver.fill("New password again", PASSWORD)
    driver.press("Save and sign in")
    driver.sees("You are not insured now", "account-shifts")
    driver.go(f"Unlink {COURIER}")
    driver.sees(f"Unlink {COURIER}?", "unlink")


@every_screen
def test_around_the_account(drive: Drive, service: Service, screen: Screen) -> None:
    driver = drive(records.member(service), screen)
    driver.visit()
    driver.sees("There is no insurance on this account", "account-without-insurance")
    driver.go("Change my email address")
    driver.sees("Your email address", "email")
    driver.has_signed_in_long_ago()
    driver.fill("New email address", records.newcomer().email)
    driver.press("Send a code there")
    driver.sees("Is it you?", "is-it-you")
    driver.prove_it()
    driver.sees("Check your mail", "email-code")
    driver.page.goto("/account/email/")
    driver.sees("Your email address", "email-not-verified")
    driver.page.goto("/account/password/change/")
    driver.sees("Change your password", "password")
    driver.page.goto("/account/logout/")
    driver.sees("Sign out?", "sign-out")
    driver.page.goto("/account/")
    driver.go("Delete my account")
    driver.sees("Delete my account", "delete")
    driver.fill("Type DELETE to confirm", "DELETE")
    driver.press("Delete my account")
    driver.sees("Your account is deleted", "deleted")


@every_screen
def test_around_the_second_factor(drive: Drive, service: Service, screen: Screen) -> None:
    driver = drive(records.member(service), screen)
    driver.visit()
    driver.page.goto("/account/2fa/")
    driver.sees("Two-step sign-in", "two-step-off")
    driver.go("Turn on")
    driver.sees("Turn on two-step sign-in", "two-step-turn-on")
    driver.fill("Code", "000000")
    driver.press("Turn on")
    driver.is_refused("Code")
    driver.sees("Turn on two-step sign-in", "two-step-turn-on-refused")
    secret = driver.page.get_by_text("Or type in this key").locator("strong").inner_text()
    driver.fill("Code", totp(secret))
    driver.press("Turn on")
    driver.sees("Your recovery codes", "two-step-recovery-codes")
    driver.go("Done")
    driver.sees("Two-step sign-in", "two-step-on")
    driver.go("Make new ones")
    driver.sees("Make new recovery codes?", "two-step-new-codes")
    driver.go("Cancel")
    driver.go("Turn off")
    driver.sees("Turn off two-step sign-in?", "two-step-turn-off")
    driver.press("Sign out")
    driver.sees(LOGIN, "login")
    driver.visit()
    driver.sees("Enter your code", "two-step-code")


@every_screen
def test_where_links_end_otherwise(
    drive: Drive, service: Service, watch: Watch, screen: Screen
) -> None:
    watch.expect(409)
    watch.expect(410)
    careful, taxi = records.work_provider(service, "CONFIRM"), records.work_provider(service)
    driver = drive(records.linked(service), screen)
    page, person = driver.page, driver.person
    driver.visit()
    page.goto("/link-work-provider/consent/")
    driver.sees("No link is open", "link-none")
    driver.follow()
    driver.sees("You are linked already", "link-already")
    page.goto(records.Person(person.email, "DRV9").link())
    driver.sees(f"You are linked to {COURIER} under another driver id", "link-other-driver-id")

    driver.follow(taxi)
    driver.press("Cancel")
    driver.sees("Nothing was linked", "link-cancelled")
    page.goto(records.Person("other@example.com", person.driver_id).link(taxi))
    driver.sees_consent(taxi, "consent-other-account")
    driver.forget_required_fields()
    driver.press("Agree and link")
    driver.is_refused()
    driver.sees_consent(taxi, "consent-refused")
    records.let_time_pass(service, person, minutes=31)
    driver.agree()
    driver.sees("This has taken too long", "link-expired")

    driver.follow(careful)
    page.goto("/account/")
    driver.sees("You are not insured now", "account-offered")
    driver.go(f"Go on with {careful}")
    driver.agree()
    driver.sees("Waiting to be confirmed", "link-waiting")
    driver.go("Go to my account")
    driver.sees("You are not insured now", "account-waiting")

    owner = records.linked(service, taxi)
    page.goto(records.Person(person.email, owner.driver_id).link(taxi))
    driver.press("Agree and link")
    driver.sees("We could not link this driver id", "link-taken")


def test_the_keyboard_alone_leads_from_the_link_to_the_insurance(
    drive: Drive, service: Service
) -> None:
    driver = drive(records.newcomer())
    page = driver.page
    driver.follow()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    reach(page, page.get_by_label("Choose a password"))
    page.keyboard.type(PASSWORD)
    terms = page.locator("summary").first
    reach(page, terms)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Sample terms, for trying the service out")).to_be_visible()
    reach(page, page.get_by_role("checkbox"))
    page.keyboard.press("Space")
    reach(page, page.get_by_role("button", name="Create account"))
    page.keyboard.press("Enter")
    driver.sees("Check your mail")
    reach(page, page.get_by_label("Code from the mail"))
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_focused()
    reach(page, page.get_by_label("Code from the mail"))
    page.keyboard.press("Control+A")
    page.keyboard.type(code_in(text_of(driver.inbox.take("code"))))
    page.keyboard.press("Enter")
    driver.sees_consent()
    reach(page, page.get_by_role("button", name="Agree and link"))
    page.keyboard.press("Space")
    driver.sees(LINKED)
    reach(page, page.get_by_role("link", name="Go to my account"))
    page.keyboard.press("Enter")
    driver.sees("You are not insured now")
    reach(page, page.get_by_role("button", name="Sign out"))
