"""What drivers do on their own page, and in the mails that lead there."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.browser import records
from tests.browser.driver import LINKED, LOGIN, Drive, Driver
from tests.browser.mails import link_in, text_of
from tests.browser.records import COURIER, links_of, shifts_of
from tests.browser.totp import totp
from tests.browser.visitors import MOBILE
from tests.factories import PASSWORD
from tests.running import Service

pytestmark = pytest.mark.browser

NEW_PASSWORD = "another horse altogether"


def test_unlinking_ends_the_open_shift_and_says_so(
    drive: Drive, service: Service, key: str
) -> None:
    driver = drive(records.linked(service), MOBILE)
    records.report(service, key, "login", driver.person, datetime.now(UTC))
    driver.visit()
    driver.sees_that_they_are_insured()
    driver.go(f"Unlink {COURIER}")
    driver.reads(f"Your open shift for {COURIER} ends now.")
    (shift,) = shifts_of(service, driver.person)
    assert shift.ended_at is None
    driver.press(f"Unlink {COURIER}")
    driver.reads(f"You are not linked to {COURIER} any more.")
    driver.sees("You are not insured now")
    (link,) = links_of(service, driver.person)
    (shift,) = shifts_of(service, driver.person)
    assert link.ended_by == "DRIVER"
    assert (shift.ended_at, shift.end_reason) == (link.unlinked_at, "UNLINKED")
    driver.inbox.take(f"You are no longer linked to {COURIER}")


def test_shifts_can_be_taken_away_as_a_table(drive: Drive, service: Service, key: str) -> None:
    driver = drive(records.linked(service))
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    records.report(service, key, "login", driver.person, start)
    records.report(service, key, "logout", driver.person, start + timedelta(hours=2))
    driver.visit()
    (row,) = csv.DictReader(io.StringIO(downloaded(driver, "Download all my shifts (CSV)")))
    assert row["work provider"] == COURIER
    assert row["driver id"] == driver.person.driver_id
    assert datetime.fromisoformat(row["started"]) == start
    assert row["length in seconds"] == "7200"


def test_everything_held_can_be_taken_away(drive: Drive, service: Service) -> None:
    driver = drive(records.linked(service))
    driver.visit()
    data = json.loads(downloaded(driver, "Download my data (JSON)"))
    (link,) = links_of(service, driver.person)
    assert data["customer_number"] == link.customer_number
    assert [held["driver_id"] for held in data["links"]] == [driver.person.driver_id]


def downloaded(driver: Driver, link: str) -> str:
    with driver.page.expect_download() as download:
        driver.go(link)
    return download.value.path().read_text(encoding="utf-8-sig")


def test_a_second_factor_is_set_up_and_then_asked_for(drive: Drive, service: Service) -> None:
    driver = drive(records.linked(service))
    driver.visit()
    driver.page.goto("/account/2fa/")
    driver.go("Turn on")
    secret = driver.page.get_by_text("Or type in this key").locator("strong").inner_text()
    driver.fill("Code", totp(secret))
    driver.press("Turn on")
    driver.sees("Your recovery codes")
    driver.press("Sign out")
    driver.sees(LOGIN)
    driver.visit()
    driver.sees("Enter your code")
    driver.fill("Code", "000000")
    driver.press("Sign in")
    driver.is_refused()
    driver.fill("Code", totp(secret, steps_ahead=1))
    driver.press("Sign in")
    driver.sees("You are not insured now")


def test_a_changed_password_is_the_one_that_counts(drive: Drive, service: Service) -> None:
    driver = drive(records.linked(service))
    driver.visit()
    driver.go("Change my password")
    driver.fill("Current password", PASSWORD)
    driver.fill("New password", NEW_PASSWORD)
    driver.fill("New password again", NEW_PASSWORD)
    driver.press("Change password")
    driver.sees("You are not insured now")
    driver.inbox.take("password")
    driver.press("Sign out")
    driver.visit()
    driver.is_refused()
    driver.visit(NEW_PASSWORD)
    driver.sees("You are not insured now")


def test_a_new_email_counts_once_its_code_is_typed_in(drive: Drive, service: Service) -> None:
    driver = drive(records.linked(service))
    new = Driver(records.newcomer(), driver.page, service)
    driver.visit()
    driver.go("Change my email address")
    driver.fill("New email address", new.person.email)
    driver.press("Send a code there")
    new.sees("Check your mail")
    new.type_code()
    driver.inbox.take("Your email address has been changed")
    new.page.goto("/account/")
    new.reads(f"You sign in as {new.person.email}")
    new.press("Sign out")
    new.visit()
    new.sees("You are not insured now")


def test_a_deleted_account_is_gone_and_its_links_have_ended(drive: Drive, service: Service) -> None:
    driver = drive(records.linked(service))
    driver.visit()
    driver.go("Delete my account")
    driver.fill("Type DELETE to confirm", "no")
    driver.press("Delete my account")
    driver.is_refused("Type DELETE to confirm")
    driver.fill("Type DELETE to confirm", "DELETE")
    driver.press("Delete my account")
    driver.sees("Your account is deleted")
    driver.inbox.take("Your Zego account is deleted")
    (link,) = links_of(service, driver.person)
    assert link.ended_by == "ERASURE"
    driver.visit()
    driver.is_refused()


def test_a_mail_undoes_what_was_agreed_but_never_by_being_opened(
    drive: Drive, service: Service
) -> None:
    driver = drive(records.member(service))
    driver.follow()
    driver.sign_in()
    driver.agree()
    driver.sees(LINKED)
    reader = drive(driver.person, MOBILE)
    reader.page.goto(link_in(text_of(driver.inbox.take("You are linked"))))
    reader.sees("Undo linking?")
    (link,) = links_of(service, driver.person)
    assert link.unlinked_at is None
    reader.press("Undo linking")
    reader.sees("You are not linked any more")
    (link,) = links_of(service, driver.person)
    assert link.ended_by == "UNDO"


def test_an_agreement_that_waits_can_be_taken_back(drive: Drive, service: Service) -> None:
    taxi = records.work_provider(service, "CONFIRM")
    driver = drive(records.member(service))
    driver.follow(taxi)
    driver.sign_in()
    driver.agree()
    driver.go("Go to my account")
    driver.press(f"Cancel the request to {taxi}")
    driver.reads(f"You will not be linked to {taxi}.")
    assert service.query(
        "SELECT state FROM linking_linkrequest WHERE driver_id = %s", driver.person.driver_id
    ) == [("CANCELLED",)]
