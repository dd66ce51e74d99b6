"""Deleting a person: what goes, what stays, and that nobody comes back by the old account."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core import mail
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from linking import flows, mails, people
from linking.models import (
    Agreement,
    Customer,
    DriverLink,
    LinkIntent,
    LinkRequest,
    User,
    WorkProvider,
)
from shifts.models import Shift
from tests import factories
from tests.running import wait_until
from zego_api.models import OutgoingMail

EMAIL = "driver@example.com"
GOODBYE = "Your Zego account is deleted"


@pytest.fixture
def courier(db: None) -> WorkProvider:
    return factories.work_provider(name="Courier Ltd")


@pytest.fixture
def driver(db: None) -> User:
    return factories.driver(EMAIL, first_name="Jo", last_name="Doe")


def erase(user: User) -> None:
    people.erase(user, now=timezone.now())


def waiting(owner: WorkProvider, customer: Customer, driver_id: str = "123456") -> LinkRequest:
    return LinkRequest.objects.create(
        work_provider=owner, customer=customer, driver_id=driver_id, agreed_at=timezone.now()
    )


def subjects() -> list[str]:
    return [str(message.subject) for message in mail.outbox]


# What goes


def test_nothing_in_the_account_tells_who_it_was(driver: User) -> None:
    driver.last_login = timezone.now()
    driver.save()
    EmailAddress.objects.create(user=driver, email="new@example.com", verified=False)
    Authenticator.objects.create(user=driver, type="totp", data={"secret": "x"})
    erase(driver)
    user = User.objects.get(pk=driver.pk)
    assert (user.email, user.first_name, user.last_name, user.last_login) == ("", "", "", None)
    assert "user" not in user.username
    assert not user.is_active
    assert not user.has_usable_password()
    assert not EmailAddress.objects.exists()
    assert not Authenticator.objects.exists()


def test_opened_links_go_and_those_of_others_stay(courier: WorkProvider, driver: User) -> None:
    factories.intent(courier, email=EMAIL)
    factories.intent(courier, agreed_by=driver.customer, agreed_at=timezone.now())
    theirs = factories.intent(courier)
    erase(driver)
    assert LinkIntent.objects.get() == theirs


def test_links_end_also_one_that_would_begin_later(courier: WorkProvider, driver: User) -> None:
    now = timezone.now()
    before, later = now - timedelta(days=1), now + timedelta(days=1)
    other, third = factories.work_provider(), factories.work_provider()
    factories.link(third, "over", customer=driver.customer, unlinked_at=before)
    factories.link(courier, "held", customer=driver.customer)
    factories.link(other, "ending", customer=driver.customer, unlinked_at=later)
    factories.link(third, "to come", customer=driver.customer, linked_at=later)
    factories.link(courier, "theirs")
    people.erase(driver, now=now)
    found = {link.driver_id: (link.unlinked_at, link.ended_by) for link in DriverLink.objects.all()}
    assert found == {
        "over": (before, ""),
        "held": (now, "ERASURE"),
        "ending": (now, "ERASURE"),
        "to come": (later, "ERASURE"),
        "theirs": (None, ""),
    }


def test_what_waits_is_cancelled_and_what_is_decided_stays(
    courier: WorkProvider, driver: User
) -> None:
    request = waiting(courier, driver.customer)
    refused = waiting(courier, driver.customer, "other")
    flows.refuse(refused, by=None, reason="No.", now=timezone.now())
    theirs = waiting(courier, factories.customer())
    erase(driver)
    states = [LinkRequest.objects.get(pk=each.pk).state for each in (request, refused, theirs)]
    assert states == ["CANCELLED", "REFUSED", "WAITING"]


def test_mails_that_have_left_forget_the_address(driver: User, outbox: None) -> None:
    now = timezone.now()

    def outgoing(to: str, **fields: Any) -> OutgoingMail:
        return OutgoingMail.objects.create(sender="z", recipients=to, subject="Hello", **fields)

    sent = outgoing(EMAIL.capitalize(), sent_at=now)
    failed = outgoing(EMAIL, failed_at=now, failure=f"SMTPRecipientsRefused: {EMAIL}")
    pending = outgoing(EMAIL, text="Soon.")
    theirs = outgoing(f"x{EMAIL}", sent_at=now, failure="once")
    erase(driver)
    for gone in (sent, failed):
        gone.refresh_from_db()
        assert (gone.recipients, gone.failure, gone.subject) == ("", "", "Hello")
    theirs.refresh_from_db()
    assert (theirs.recipients, theirs.failure) == (f"x{EMAIL}", "once")
    still_to_leave = OutgoingMail.objects.filter(sent_at=None, failed_at=None).order_by("pk")
    assert [(row.recipients, row.subject) for row in still_to_leave] == [
        (EMAIL, pending.subject),
        (EMAIL, GOODBYE),
    ]


def test_goodbye_is_said_once_and_only_to_an_address_that_is_theirs(
    courier: WorkProvider, driver: User
) -> None:
    factories.link(courier, "123456", customer=driver.customer)
    EmailAddress.objects.create(user=driver, email="unverified@example.com", verified=False)
    erase(driver)
    assert [(message.subject, message.to) for message in mail.outbox] == [(GOODBYE, [EMAIL])]


def test_without_the_goodbye_nothing_is_deleted(
    courier: WorkProvider, driver: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = factories.link(courier, "123456", customer=driver.customer)

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(mails, "send", broken)
    with pytest.raises(RuntimeError):
        erase(driver)
    link.refresh_from_db()
    assert link.unlinked_at is None
    assert User.objects.get(pk=driver.pk).email == EMAIL
    assert EmailAddress.objects.filter(user=driver).exists()


# What stays


def test_what_was_insured_and_why_stays(courier: WorkProvider, driver: User) -> None:
    customer = driver.customer
    link = factories.link(courier, "123456", customer=customer)
    terms = factories.terms(courier)
    agreement = Agreement.objects.create(customer=customer, terms=terms, agreed_at=timezone.now())
    now = timezone.now()
    people.erase(driver, now=now)
    customer.refresh_from_db()
    assert (customer.user, customer.erased_at) == (driver, now)
    link.refresh_from_db()
    assert (link.customer, link.driver_id) == (customer, "123456")
    assert Agreement.objects.get() == agreement


def test_what_staff_have_noted_stays(driver: User) -> None:
    staff = factories.user(is_staff=True)
    entry = LogEntry.objects.create(
        user=staff,
        content_type=ContentType.objects.get_for_model(User),
        object_id=str(driver.pk),
        object_repr=str(driver),
        action_flag=CHANGE,
    )
    erase(driver)
    assert LogEntry.objects.get() == entry


def test_deleting_twice_is_deleting_once(driver: User) -> None:
    erase(driver)
    first = Customer.objects.get(user=driver).erased_at
    erase(driver)
    assert Customer.objects.get(user=driver).erased_at == first
    assert subjects() == [GOODBYE]


def test_somebody_who_was_never_a_customer_can_go_too(db: None) -> None:
    user = factories.user()
    erase(user)
    assert not Customer.objects.exists()
    assert subjects() == [GOODBYE]


def test_nobody_else_is_touched(courier: WorkProvider, driver: User) -> None:
    other = factories.driver("other@example.com")
    Authenticator.objects.create(user=other, type="totp", data={"secret": "x"})
    erase(driver)
    other.refresh_from_db()
    assert other.is_active
    assert other.email == "other@example.com"
    assert EmailAddress.objects.get().user == other
    assert Authenticator.objects.get().user == other


# Nobody comes back


def test_every_session_ends(driver: User) -> None:
    clients = [Client() for _ in range(2)]
    for client in clients:
        client.force_login(driver)
        assert client.get("/account/").status_code == 200
    erase(driver)
    for client in clients:
        assert client.get("/account/")["Location"] == "/account/login/?next=/account/"


def test_nobody_signs_in_or_resets_the_password(db: None) -> None:
    user = factories.driver(EMAIL, password=factories.PASSWORD)
    erase(user)
    mail.outbox.clear()
    client = Client()
    answer = client.post("/account/login/", {"login": EMAIL, "password": factories.PASSWORD})
    assert answer.status_code == 200
    assert "_auth_user_id" not in client.session
    client.post("/account/password/reset/", {"email": EMAIL})
    assert not EmailAddress.objects.exists()
    assert all("code" not in message.subject.lower() for message in mail.outbox)


def test_signing_up_again_makes_a_new_customer(courier: WorkProvider, driver: User) -> None:
    link = factories.link(courier, "123456", customer=driver.customer)
    erase(driver)
    client = Client()
    query = {"wp": "Courier Ltd", "wp_id": "123456", "email": EMAIL}
    assert client.get("/link-work-provider", query)["Location"] == "/account/signup/"
    client.post("/account/signup/", {"email": EMAIL, "password1": factories.PASSWORD})
    again = Customer.objects.get(user__email=EMAIL)
    assert again != link.customer
    assert again.number != link.customer.number
    assert again.user != driver


# At the same time


def in_thread(work: Any) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def somebody_waits_for_us() -> bool:
    """Whether another connection wants a lock that this one holds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks"
            " WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_a_link_that_is_confirmed_meanwhile_ends_as_well() -> None:
    driver = factories.driver()
    request = waiting(factories.work_provider(), driver.customer)
    with transaction.atomic():
        flows.confirm(request, by=None, now=timezone.now())
        thread = in_thread(lambda: erase(User.objects.get(pk=driver.pk)))
        wait_until(somebody_waits_for_us, what="the deletion's wait")
    thread.join()
    assert DriverLink.objects.get().ended_by == DriverLink.EndedBy.ERASURE
    assert not User.objects.get(pk=driver.pk).is_active


@pytest.mark.django_db(transaction=True)
def test_two_deletions_at_once_are_one() -> None:
    driver = factories.driver()
    factories.link(factories.work_provider(), "123456", customer=driver.customer)
    users = [User.objects.get(pk=driver.pk) for _ in range(2)]
    threads = [in_thread(lambda user=user: erase(user)) for user in users]
    for thread in threads:
        thread.join()
    assert subjects() == [GOODBYE]
    assert not Shift.objects.exists()
