"""Ten questions that the ops desk is asked, each answered in at most three clicks."""

import re
from datetime import datetime, timedelta

import pytest
import requests
from playwright.sync_api import expect

from tests.browser.clerk import Clerk
from tests.browser.visitors import Visitors
from tests.running import Service, wait_until
from tests.story import COURIER, LONDON, MEALS

pytestmark = pytest.mark.browser

OPS, ADMIN = "ops@zego.example", "admin@zego.example"


@pytest.fixture
def clerk(staff_room: Visitors) -> Clerk:
    """Somebody of the ops group, at the front page."""
    sat_down = Clerk(staff_room.arrive())
    sat_down.sits_down(OPS)
    return sat_down


def day(days_ago: int) -> str:
    return f"{datetime.now(LONDON).date() - timedelta(days=days_ago)}"


def test_driver_1686_says_yesterday_evening_is_missing(clerk: Clerk) -> None:
    clerk.searches("1686")
    clerk.reads(f"{day(1)} 22:41:00", "orphan", "No shift was open that it could end.")
    clerk.opens("Add a login")
    assert clerk.clicks <= 3


def test_why_did_this_shift_end_at_23_12(clerk: Clerk) -> None:
    clerk.searches("1687")
    clerk.opens("Why?")
    clerk.reads("No logout came within 14 h", "09:12 + 14 h = 23:12", "R6")
    assert clerk.clicks <= 3


def test_courier_ltd_says_they_get_400s(clerk: Clerk, desk: Service, desk_key: str) -> None:
    answer = requests.post(
        f"{desk.url}/v1/shift/login/",
        data='{"driverId": "1686", "timestamp": "21/11/2026 18:30"}',
        headers={"Authorization": desk_key},
        timeout=30,
    )
    assert answer.status_code == 400
    clerk.menu("Rejected requests")
    clerk.reads(COURIER, "INVALID_DATA", "Is not an ISO-8601 date and time.", "99/99/9999 99:99")
    assert clerk.clicks <= 3


def test_which_drivers_are_sending_but_not_linked(clerk: Clerk) -> None:
    clerk.menu("Sending, not linked")
    clerk.reads(COURIER, "2001", "2005")
    assert clerk.clicks <= 3


def test_someone_changed_this_shift_who_and_why(clerk: Clerk) -> None:
    clerk.searches("1688")
    clerk.opens("Why?")
    clerk.reads(OPS, "Courier Ltd confirmed by telephone that the driver's app had crashed.")
    assert clerk.clicks <= 3


def test_roll_this_key(clerk: Clerk) -> None:
    clerk.searches(COURIER)
    clerk.opens(re.compile("^Roll"), clerk.row("production"))
    clerk.fills("Reason", "Courier Ltd asked for it.")
    clerk.presses(re.compile("^Roll"))
    clerk.reads("This is shown once.", "The old key")
    shown = clerk.page.get_by_label(re.compile(f"^API key of {COURIER}"))
    expect(shown).to_have_value(re.compile("^zego_live_"))
    assert clerk.clicks <= 3


def test_their_system_was_down_close_everyone_out_at_18_30(clerk: Clerk, desk: Service) -> None:
    clerk.opens("Close out a work provider")
    clerk.chooses("Work provider", MEALS)
    clerk.fills("Log everybody out at", f"{day(1)} 18:30")
    clerk.presses("Go on")
    clerk.reads("11 shifts will end", "3 sent a logout since", "What becomes of the shifts")
    clerk.fills("Reason", "Meal Box's system was down from 18:00 to 20:00.")
    clerk.presses(re.compile("^Log 11 out"))
    assert clerk.clicks <= 3
    clerk.reads("added missing logouts", "Meal Box's system was down")
    wait_until(lambda: ended_by_the_desk(desk) == 11, what="the logouts")


def ended_by_the_desk(desk: Service) -> int:
    [(found,)] = desk.query(
        """
        SELECT count(*) FROM shifts_shift JOIN linking_driverlink AS link ON link.id = link_id
        JOIN linking_workprovider AS provider ON provider.id = link.work_provider_id
        WHERE provider.name = %s AND end_reason = 'OPS'
        """,
        MEALS,
    )
    return int(str(found))


def test_was_1686_covered_on_the_14th_and_did_we_know_it_then(clerk: Clerk) -> None:
    clerk.menu("Cover at an instant")
    clerk.fills("Customer", f"1686 at {COURIER}")
    clerk.fills("Moment", f"{day(8)} 22:10")
    clerk.presses("Was there cover?")
    clerk.reads(f"Covered, for {COURIER}", "The service did not know it at that moment")
    assert clerk.clicks <= 3


def test_who_was_on_shift_for_courier_ltd_at_18_30(clerk: Clerk) -> None:
    clerk.menu("Who was on shift")
    clerk.chooses("Work provider", COURIER)
    clerk.fills("Moment", f"{day(3)} 18:30")
    clerk.presses(re.compile("Who"))
    clerk.reads("1701", "1712")
    assert clerk.clicks <= 3


def test_this_key_leaked_what_did_it_send_strike_it(clerk: Clerk, desk: Service) -> None:
    [(key_id,)] = desk.query("SELECT key_id FROM linking_apikey WHERE label = 'old server'")
    clerk.searches(str(key_id))
    clerk.reads("What it sent", "By the hour", f"{day(1)} 03:00:00")
    clerk.opens("Strike what it sent")
    clerk.reads("12 submissions")
    clerk.fills("Reason", "The key was found in a public repository.")
    clerk.presses("Withdraw 12 submissions")
    assert clerk.clicks <= 3
    clerk.reads("withdrew what an API key sent")
    struck = """
        SELECT count(*) FROM shifts_shiftevent AS event JOIN shifts_submission AS sent
          ON sent.id = submission_id JOIN linking_apikey AS key ON key.id = api_key_id
        WHERE key_id = %s AND outcome = 'WITHDRAWN'
    """
    wait_until(lambda: desk.query(struck, key_id) == [(12,)], what="the withdrawals")
