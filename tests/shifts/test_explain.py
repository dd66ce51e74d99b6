"""Every shift explains itself: the sentence for each rule, from what was really sent and digested."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from linking.models import DriverLink, User
from shifts import mend, settle
from shifts.explain import EventTold, Explanation, explain
from shifts.models import Kind, Shift, ShiftRevision
from tests import factories
from tests.desk.sending import Sender, digest
from tests.shifts.live import at
from zego_api.ids import uuid7

pytestmark = pytest.mark.django_db


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def link(sender: Sender) -> DriverLink:
    return sender.link()


@pytest.fixture
def jo() -> User:
    return factories.user("jo@zego.example", is_staff=True)


def explained(shift: Shift) -> Explanation:
    found = explain(shift.pk, now=timezone.now())
    assert found is not None
    return found


def start(shift: Shift) -> list[str]:
    return [f"{one.rule}: {one.words}" for one in explained(shift).start]


def end(shift: Shift) -> list[str]:
    return [f"{one.rule}: {one.words}" for one in explained(shift).end]


def told(shift: Shift) -> dict[str, str]:
    """`login 12:00` to what is said of it; of several the last."""
    return {
        f"{one.event.kind} {one.event.timestamp:%H:%M}": _sentence(one)
        for one in explained(shift).events
    }


def _sentence(one: EventTold) -> str:
    return f"{one.rule}: {one.words}" + (f" [{one.role}]" if one.role else "")


def changes(shift_id: object) -> list[str]:
    found = explain(shift_id, now=timezone.now())  # type: ignore[arg-type]
    assert found is not None
    return [f"{one.before} -> {one.after} | {one.rule}: {one.words}" for one in found.revisions]


def test_r1_and_r2_a_login_opened_it_and_a_logout_ended_it(
    sender: Sender, link: DriverLink
) -> None:
    sender.works("1686", "09:12", "17:40")
    [shift] = sender.shifts(link)
    assert start(shift) == [
        "R1: The driver logged in at 09:12 while no shift was open.",
        ": The service knew of this start at once.",
    ]
    assert end(shift) == [
        "R2: The driver logged out at 17:40, within 14 h of the login.",
        ": The service knew of this end at once.",
    ]
    assert told(shift) == {
        "login 09:12": "R1: It opened this shift. [opening]",
        "logout 17:40": "R2: It ended this shift. [ending]",
    }
    found = explained(shift)
    assert found.opening is not None
    assert found.ending is not None
    assert found.opening.submission is not None
    assert found.opening.submission.api_key == sender.key
    assert found.rule == "14 h (the default)"
    assert not found.revisions
    assert not found.actions


def test_r3_a_copy_names_when_the_first_was_received(sender: Sender, link: DriverLink) -> None:
    sender.login("1686", "09:00")
    sender.login("1686", "09:00", late=timedelta(minutes=5))
    [shift] = sender.shifts(link)
    assert [_sentence(one) for one in explained(shift).events] == [
        "R1: It opened this shift. [opening]",
        "R3: The same login was received at 09:00:02 already: it changes nothing.",
    ]


def test_r4_a_login_while_on_shift_changes_nothing(sender: Sender, link: DriverLink) -> None:
    sender.login("1686", "09:00", "12:00")
    [shift] = sender.shifts(link)
    assert told(shift)["login 12:00"] == (
        "R4: A login while the driver was already on shift changes nothing: the shift keeps its "
        "first login, 09:00."
    )


def test_r5_what_came_after_the_maximum_is_named(sender: Sender, link: DriverLink) -> None:
    sender.login("1686", "09:00", "23:30")
    first, second = sender.shifts(link)
    assert end(first)[0] == (
        "R6: No logout came within 14 h, so the shift was ended at its maximum: "
        "09:00 + 14 h = 23:00."
    )
    assert start(second)[0] == "R1: The driver logged in at 23:30 while no shift was open."


def test_r5_a_login_at_the_maximum_itself(sender: Sender, link: DriverLink) -> None:
    sender.login("1686", "09:00", "23:00")
    first, second = sender.shifts(link)
    assert end(first)[0] == (
        "R5: No logout came within 14 h, so the shift was ended at its maximum: "
        "09:00 + 14 h = 23:00. The next event, a login at 23:00, came after that."
    )
    assert start(second)[0] == (
        "R5: The shift before reached its maximum at 23:00, when this began."
    )


def test_r6_without_a_word_it_is_ended_at_the_sum(sender: Sender, link: DriverLink) -> None:
    sender.login("1686", "09:12")
    [shift] = sender.shifts(link)
    why, known = end(shift)
    assert why == (
        "R6: No logout came within 14 h, so the shift was ended at its maximum: "
        "09:12 + 14 h = 23:12."
    )
    assert known == ": The service knew of this end at once."


def test_r6_an_open_shift_says_when_it_will_end(sender: Sender, link: DriverLink) -> None:
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    sender.accept("login", [("1686", now)], received_at=now)
    digest()
    [shift] = sender.shifts(link)
    [only] = end(shift)
    assert only.startswith("R6: No logout has come. Without one it will end at ")
    assert f"{now:%H:%M} + 14 h = " in only


def test_the_rule_in_force_then_is_named(sender: Sender, link: DriverLink) -> None:
    settle.change_rule(sender.work_provider, timedelta(hours=10), now=at("00:00"))
    settle.change_rule(sender.work_provider, None, now=at("00:00", day=1))
    sender.login("1686", "09:12", "33:00")
    first, second = sender.shifts(link)
    assert explained(first).rule == "10 h (for logins from 00:00 on)"
    assert end(first)[0].endswith("09:12 + 10 h = 19:12.")
    assert explained(second).rule == "no maximum (for logins from 00:00 on)"
    assert end(second) == ["R1: No logout has come, and this work provider has no longest shift."]


def test_r7_a_second_shift_follows_without_a_gap(sender: Sender, link: DriverLink) -> None:
    sender.login("1686", "09:00", "20:00")
    sender.logout("1686", "33:00")
    first, second = sender.shifts(link)
    assert start(second)[0] == (
        "R7: The shift before had been ended at its maximum, but the driver had logged in again at "
        "20:00, and the logout that came after the maximum is within 14 h of that login. So a second "
        "shift follows the first without a gap."
    )
    assert end(second)[0] == "R7: The logout at 3 Mar 2026 09:00 ended it."
    assert told(first) == {
        "login 09:00": "R1: It opened this shift. [opening]",
        "login 20:00": "R7: It opened the shift from 23:00.",
        "logout 09:00": "R7: It ended the shift from 23:00.",
    }
    assert told(second)["login 20:00"] == "R7: It opened this shift. [opening]"
    assert told(second)["logout 09:00"] == "R7: It ended this shift. [ending]"
    assert end(first)[0].startswith("R5: No logout came within 14 h")


def test_r7_a_logout_after_the_maximum_leaves_the_end(sender: Sender, link: DriverLink) -> None:
    sender.login("1686", "09:00")
    sender.logout("1686", "23:40")
    [shift] = sender.shifts(link)
    assert told(shift)["logout 23:40"] == (
        "R7: The shift had been ended at its maximum, 23:00, before this logout: that end stays."
    )
    assert end(shift)[0].startswith("R5: ")


def test_r7_beyond_an_ignored_login_too_cover_may_be_missing(
    sender: Sender, link: DriverLink
) -> None:
    sender.login("1686", "09:00", "20:00")
    sender.logout("1686", "34:01")
    [shift] = sender.shifts(link)
    assert told(shift)["logout 10:01"] == (
        "R7: The shift had been ended at its maximum, 23:00, before this logout. The driver had "
        "logged in again at 20:00, but the logout is more than 14 h after that too: the end stays. "
        "The driver had logged in again meanwhile: cover may be missing here."
    )


def test_r8_a_late_logout_replaced_the_estimate(sender: Sender, link: DriverLink) -> None:
    sender.login("1686", "09:00")
    sender.logout("1686", "17:00", late=timedelta(hours=20))
    [shift] = sender.shifts(link)
    why, then, known = end(shift)
    assert why == "R2: The driver logged out at 17:00, within 14 h of the login."
    assert then == (
        "R8: Until that logout arrived the shift had been closed automatically: an estimate gives "
        "way to a fact."
    )
    assert known == ": The service first knew of this end 20 h after it."
    [change] = changes(shift.pk)
    assert change == (
        "09:00 to 23:00, closed automatically -> 09:00 to 17:00, logged out | R8: A logout at 17:00 "
        "arrived at 3 Mar 2026 13:00: an estimate gives way to a fact."
    )


def test_r10_the_first_logout_stands(sender: Sender, link: DriverLink) -> None:
    sender.login("1686", "09:00")
    sender.logout("1686", "17:00", "17:30")
    [shift] = sender.shifts(link)
    assert told(shift)["logout 17:30"] == (
        "R10: The driver had logged out at 17:00 already: the first logout stands."
    )


def test_r10_an_earlier_logout_that_came_late_stands(sender: Sender, link: DriverLink) -> None:
    sender.works("1686", "09:00", "17:00")
    sender.logout("1686", "12:00", late=timedelta(hours=8))
    [shift] = sender.shifts(link)
    [change] = changes(shift.pk)
    assert change == (
        "09:00 to 17:00, logged out -> 09:00 to 12:00, logged out | R10: A logout at 12:00 arrived "
        "at 20:00: the first logout stands."
    )
    assert told(shift)["logout 17:00"].startswith("R10: The driver had logged out at 12:00")


def test_r9_after_an_automatic_end_another_logout_finds_nothing_open(
    sender: Sender, link: DriverLink
) -> None:
    sender.login("1686", "09:00")
    sender.logout("1686", "23:40", "23:50")
    [shift] = sender.shifts(link)
    assert told(shift)["logout 23:50"] == (
        "R9: No shift was open any more: this one had ended at 23:00."
    )


def test_r11_logout_and_login_at_one_instant(sender: Sender, link: DriverLink) -> None:
    sender.login("1686", "09:00", "12:00")
    sender.logout("1686", "12:00", "17:00")
    first, second = sender.shifts(link)
    assert start(second)[0] == (
        "R11: The driver logged out and in again at 12:00: the logout goes first, and ends the "
        "shift before; the login opens this one."
    )
    assert told(first)["login 12:00"] == "R1: It opened the shift from 12:00."
    assert told(second)["logout 12:00"] == "R2: It ended the shift from 09:00."


def test_r12_a_shift_that_turned_out_to_have_no_length_is_explained_still(
    sender: Sender, link: DriverLink
) -> None:
    sender.login("1686", "09:00")
    [gone] = sender.shifts(link)
    sender.logout("1686", "09:00")
    assert sender.shifts(link) == []
    found = explained(gone)
    assert found.shift is None
    [change] = changes(gone.pk)
    assert change == (
        "09:00 to 23:00, closed automatically -> no shift any more | R12: A logout at 09:00 arrived "
        "at 09:00:02: login and logout are one."
    )
    assert told(gone)["login 09:00"] == (
        "R12: A login and a logout at one instant, with no shift open: there is no shift in it."
    )


def test_r13_an_earlier_login_moved_the_start(sender: Sender, link: DriverLink) -> None:
    sender.works("1686", "10:00", "17:00")
    sender.login("1686", "09:00", late=timedelta(hours=9))
    [shift] = sender.shifts(link)
    assert told(shift)["login 10:00"] == (
        "R13: The shift began with this login until an earlier one, at 09:00, arrived: it starts "
        "there now, and keeps its identity."
    )
    [change] = changes(shift.pk)
    assert change == (
        "10:00 to 17:00, logged out -> 09:00 to 17:00, logged out | R13: A login at 09:00 arrived "
        "at 18:00: the shift starts earlier, and keeps its identity."
    )
    assert start(shift)[1] == (
        ": The service first knew of this start 9 h after it, when its login arrived."
    )


def test_r14_an_added_logout_says_who_and_why(sender: Sender, link: DriverLink, jo: User) -> None:
    sender.login("1686", "09:00")
    sender.add(link.customer, Kind.LOGOUT, "17:00", jo, "Told by telephone.")
    [shift] = sender.shifts(link)
    assert end(shift)[0] == (
        "R14: The ops desk added the logout at 17:00 (jo@zego.example: “Told by telephone.”); the "
        "work provider has not sent it."
    )
    [change] = changes(shift.pk)
    assert change.endswith(
        "R14: A logout at 17:00 was added by the ops desk (jo@zego.example: “Told by telephone.”)."
    )
    [action] = explained(shift).actions
    assert (action.kind, action.actor) == ("ADD_EVENT", jo)


def test_r14_the_work_provider_then_says_the_same(
    sender: Sender, link: DriverLink, jo: User
) -> None:
    sender.login("1686", "09:00")
    sender.add(link.customer, Kind.LOGOUT, "17:00", jo, "Told by telephone.")
    sender.logout("1686", "17:00")
    [shift] = sender.shifts(link)
    assert changes(shift.pk)[0] == (
        "09:00 to 17:00, ended by the desk -> 09:00 to 17:00, logged out | R14: A logout at 17:00 "
        "arrived at 17:00:02: the work provider says itself what the ops desk had added."
    )


def test_r14_an_added_login_says_so_at_the_start(
    sender: Sender, link: DriverLink, jo: User
) -> None:
    sender.logout("1686", "17:00")
    sender.add(link.customer, Kind.LOGIN, "09:00", jo, "Their app had crashed.")
    [shift] = sender.shifts(link)
    assert start(shift)[1] == (
        "R14: The ops desk added that login (jo@zego.example: “Their app had crashed.”)."
    )


def test_r14_a_withdrawal_and_its_undoing_are_told_apart(
    sender: Sender, link: DriverLink, jo: User
) -> None:
    sender.works("1686", "09:00", "17:00")
    sender.login("1686", "10:00")
    [shift] = sender.shifts(link)
    withdrawal = sender.withdraw(link, Kind.LOGIN, "09:00", jo, "Never happened.")
    assert told(shift)["login 09:00"] == (
        "R14: The ops desk withdrew it (jo@zego.example: “Never happened.”)."
    )
    [struck] = explained(shift).events[:1]
    assert struck.withdrawal == withdrawal
    sender.undo(withdrawal.action, jo, "It did happen.")
    first, second = changes(shift.pk)
    assert second == (
        "09:00 to 17:00, logged out -> 10:00 to 17:00, logged out | R14: The ops desk withdrew the "
        "login at 09:00 (jo@zego.example: “Never happened.”)."
    )
    assert first == (
        "10:00 to 17:00, logged out -> 09:00 to 17:00, logged out | R14: The ops desk took back the "
        "withdrawal of the login at 09:00 (jo@zego.example: “It did happen.”)."
    )
    assert told(shift)["login 10:00"].startswith("R13: ")
    assert [action.kind for action in explained(shift).actions] == ["UNDO", "WITHDRAW"]


def test_r14_an_event_withdrawn_with_its_whole_request(
    sender: Sender, link: DriverLink, jo: User
) -> None:
    sender.login("1686", "09:00")
    sender.add(link.customer, Kind.LOGOUT, "17:00", jo, "Told by telephone.")
    [shift] = sender.shifts(link)
    [added] = explained(shift).actions
    sender.undo(added, jo, "Wrong driver.")
    assert told(shift)["logout 17:00"] == (
        "R14: The ops desk withdrew it with the whole request that it came by (jo@zego.example: "
        "“Wrong driver.”)."
    )
    assert changes(shift.pk)[0].endswith(
        "R14: The ops desk withdrew a whole request (jo@zego.example: “Wrong driver.”)."
    )


def test_cover_starts_with_consent_and_the_maximum_runs_from_the_login(sender: Sender) -> None:
    link = sender.link(linked_at=at("09:30"), link_recorded_at=at("09:30"))
    sender.login("1686", "09:00")
    sender.logout("1686", "17:00")
    [shift] = sender.shifts(link)
    assert start(shift)[1] == (
        "CONSENT: The driver had been at work since 09:00 and agreed to be insured at 09:30: cover "
        "never starts before consent. The maximum still runs from 09:00."
    )


def test_a_start_that_became_known_with_the_link_says_so(sender: Sender) -> None:
    sender.login("1686", "09:00")
    link = sender.link(linked_at=at("08:00"), link_recorded_at=at("12:00"))
    [shift] = sender.shifts(link)
    assert start(shift)[-1] == (
        ": The service first knew of this start 3 h after it, when the link was recorded."
    )


def test_an_unlinking_ends_cover_and_linking_again_begins_it(sender: Sender) -> None:
    link = sender.link()
    sender.login("1686", "09:00")
    link.unlinked_at, link.ended_by = at("12:00"), "DRIVER"
    link.save()
    again = sender.link(customer=link.customer, linked_at=at("13:00"))
    sender.logout("1686", "17:00")
    first, second = sender.shifts(link)
    assert end(first)[0] == (
        "CONSENT: The link ended at 12:00, ended by the driver, on the account page: cover ends with "
        "the agreement."
    )
    assert changes(first.pk)[0] == (
        "09:00 to 23:00, closed automatically -> 09:00 to 12:00, link ended | CONSENT: The link of "
        "driver id 1686 was ended, as of 12:00, by the driver, on the account page."
    )
    assert second.link == again
    assert "and linked again at 13:00" in start(second)[1]
    assert told(second)["logout 17:00"] == "R2: It ended this shift. [ending]"


def test_what_comes_after_an_unlinking(sender: Sender) -> None:
    link = sender.link()
    sender.login("1686", "09:00")
    link.unlinked_at = at("12:00")
    link.save()
    sender.logout("1686", "17:00")
    [shift] = sender.shifts(link)
    assert told(shift)["logout 17:00"] == (
        "AFTER_UNLINK: Sent for driver id 1686. The link had ended by then. It is decided again if "
        "the driver links anew."
    )


def test_what_falls_between_two_links(sender: Sender) -> None:
    link = sender.link()
    sender.works("1686", "09:00", "12:30")
    link.unlinked_at = at("12:00")
    link.save()
    sender.link(customer=link.customer, linked_at=at("20:00"))
    [shift] = sender.shifts(link)
    assert told(shift)["logout 12:30"] == (
        "BEFORE_LINK: The link had ended at 12:00, and the next began only at 20:00: no consent, no "
        "cover."
    )


def test_an_agreement_that_turned_out_later_removes_the_shift(sender: Sender) -> None:
    link = sender.link()
    sender.works("1686", "09:00", "17:00")
    [gone] = sender.shifts(link)
    link.linked_at = at("18:00")
    link.save()
    assert told(gone)["login 09:00"] == (
        "BEFORE_LINK: The driver agreed only at 18:00, and this shift does not reach that: cover "
        "never starts before consent."
    )
    [change] = changes(gone.pk)
    assert change.startswith("09:00 to 17:00, logged out -> no shift any more | CONSENT: ")


def test_another_maximum_is_named_as_the_cause(sender: Sender, link: DriverLink) -> None:
    now = timezone.now()
    ahead = now + timedelta(hours=2)
    sender.accept("login", [("1686", ahead)])
    sender.accept("logout", [("1686", ahead + timedelta(hours=3))])
    digest()
    [shift] = sender.shifts(link)
    settle.change_rule(sender.work_provider, timedelta(hours=1), now=timezone.now())
    [change] = changes(shift.pk)
    assert change.endswith(
        "RULE: The longest shift of this work provider was set to 1 h for logins from then on."
    )


def test_times_are_local_and_a_change_of_the_clocks_is_said() -> None:
    sender = Sender(timezone="Europe/London")
    link = sender.link()
    autumn = at("00:00").replace(
        month=10, day=24, hour=20
    )  # 21:00 BST, the night the clocks go back
    sender.accept("login", [("1686", autumn)], received_at=autumn)
    digest()
    [shift] = sender.shifts(link)
    assert end(shift)[0].endswith("21:00 + 14 h = 25 Oct 2026 10:00 GMT.")


def test_of_an_id_that_never_was_there_is_nothing_to_explain() -> None:
    assert explain(uuid7(), now=timezone.now()) is None


def test_a_link_made_by_the_desk_is_named_with_who_and_why(sender: Sender, jo: User) -> None:
    link = sender.link()
    sender.login("1686", "09:00")
    [shift] = sender.shifts(link)
    mend.end_link(link, at("12:00"), actor=jo, reason="They asked us to.", now=timezone.now())
    [change] = changes(shift.pk)
    assert change.endswith(
        "CONSENT: The link of driver id 1686 was ended, as of 12:00, by the ops desk "
        "(jo@zego.example: “They asked us to.”)."
    )


def test_the_number_of_queries_does_not_depend_on_what_happened(
    sender: Sender, link: DriverLink, jo: User
) -> None:
    sender.login("1686", "09:00")
    [shift] = sender.shifts(link)
    with CaptureQueriesContext(connection) as few:
        explained(shift)
    sender.login("1686", *(f"09:{minute:02}" for minute in range(1, 20)))
    sender.logout("1686", "17:00", late=timedelta(hours=9))
    for minute in range(20, 25):
        withdrawal = sender.withdraw(link, Kind.LOGIN, f"09:{minute - 15:02}", jo, "No.")
        sender.undo(withdrawal.action, jo, "Yes.")
    assert ShiftRevision.objects.filter(shift_id=shift.pk).exists()
    with CaptureQueriesContext(connection) as many:
        explained(shift)
    assert len(many) <= len(few) + 1  # causes outside of what is shown
    assert len(many) <= 15
