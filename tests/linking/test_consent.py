"""The driver's yes: what it makes, once; who may give it; and how it is taken back."""

import uuid
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.conf import settings
from django.core import mail
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from linking import flows, people, tokens
from linking.flows import Outcome
from linking.models import (
    Agreement,
    Customer,
    DriverLink,
    LinkIntent,
    LinkPolicy,
    LinkRequest,
    SpentSignature,
    Terms,
    User,
    WorkProvider,
)
from shifts import mend
from shifts.desk import lists
from shifts.models import Seen
from tests import factories
from tests.linking.threads import at_once

CONSENT = "/link-work-provider/consent/"


@pytest.fixture
def courier(db: None) -> WorkProvider:
    return factories.work_provider(name="Courier Ltd")


@pytest.fixture
def driver(db: None) -> User:
    return factories.driver("driver@example.com")


def opened(client: Client, provider: WorkProvider, driver_id: str = "123456") -> LinkIntent:
    """The intent of a link that this client has followed."""
    query = {"wp": provider.name, "wp_id": driver_id, "email": "driver@example.com"}
    answer = client.get("/link-work-provider", query)
    assert answer.status_code == 302
    return LinkIntent.objects.order_by("-created_at").first() or pytest.fail("no intent")


def signed_in(user: User, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


def say_yes(client: Client, intent: LinkIntent, **fields: str) -> Any:
    return client.post(CONSENT, {"intent": str(intent.pk), **fields}, follow=True)


def text(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


# Yes


def test_the_page_says_what_is_agreed_to(courier: WorkProvider, driver: User) -> None:
    client = signed_in(driver)
    intent = opened(client, courier)
    page = text(client.get(CONSENT))
    for said in ("Courier Ltd", "••••56", "driver@example.com", driver.customer.number):
        assert said in page
    assert "123456" not in page
    assert str(intent.pk) in page


def test_yes_makes_the_link_and_says_so(courier: WorkProvider, driver: User) -> None:
    client = signed_in(driver)
    answer = say_yes(client, opened(client, courier))
    link = DriverLink.objects.get()
    assert (link.work_provider, link.customer, link.driver_id) == (
        courier,
        driver.customer,
        "123456",
    )
    assert LinkIntent.objects.get().agreed_at == link.linked_at <= link.link_recorded_at
    assert driver.customer.number in text(answer)
    [message] = mail.outbox
    assert message.to == ["driver@example.com"]
    assert "Courier Ltd" in message.body
    assert "123456" not in message.body


@pytest.mark.parametrize("method", ["get", "head"])
def test_looking_at_the_page_agrees_to_nothing(
    courier: WorkProvider, driver: User, method: str
) -> None:
    client = signed_in(driver)
    intent = opened(client, courier)
    getattr(client, method)(CONSENT, {"intent": str(intent.pk), "agree": "on"})
    assert not DriverLink.objects.exists()


def test_agreeing_twice_is_agreeing_once(courier: WorkProvider, driver: User) -> None:
    client = signed_in(driver)
    intent = opened(client, courier)
    for _ in range(3):
        answer = say_yes(client, intent)
        assert answer.status_code == 200
    assert DriverLink.objects.count() == 1
    assert len(mail.outbox) == 1


def test_the_same_post_after_an_unlinking_links_nobody(courier: WorkProvider, driver: User) -> None:
    client = signed_in(driver)
    intent = opened(client, courier)
    say_yes(client, intent)
    flows.unlink(DriverLink.objects.get(), by=DriverLink.EndedBy.DRIVER, now=timezone.now())
    answer = say_yes(client, intent)
    assert answer.status_code == 410
    assert DriverLink.objects.filter(unlinked_at__isnull=True).count() == 0

    say_yes(client, opened(client, courier))  # but the link opened anew does
    assert DriverLink.objects.filter(unlinked_at__isnull=True).count() == 1


def test_each_of_two_tabs_agrees_to_what_it_shows(courier: WorkProvider, driver: User) -> None:
    client = signed_in(driver)
    first = opened(client, courier)
    second = opened(client, factories.work_provider(name="Taxi Ltd"), "T-9")
    say_yes(client, first)
    assert [(link.work_provider.name) for link in DriverLink.objects.all()] == ["Courier Ltd"]
    say_yes(client, second)
    assert DriverLink.objects.get(driver_id="T-9").work_provider.name == "Taxi Ltd"


@pytest.mark.django_db(transaction=True)
def test_many_yeses_at_once_make_one_link() -> None:
    courier = factories.work_provider(name="Courier Ltd")
    user = factories.user("driver@example.com")  # whose customer number is still to come
    intents = [factories.intent(courier, email=user.email) for _ in range(4)]

    def agree(intent: LinkIntent) -> Outcome:
        return flows.agree(intent.pk, User.objects.get(pk=user.pk), [], now=timezone.now())

    outcomes = at_once(*(partial(agree, intent) for intent in intents * 2))
    assert outcomes.count(Outcome.LINKED) == 1
    assert outcomes.count(Outcome.ALREADY_LINKED) == 7
    assert DriverLink.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_customers_cannot_both_get_one_driver_id() -> None:
    courier = factories.work_provider(name="Courier Ltd")
    users = [factories.driver() for _ in range(4)]

    def agree(user: User) -> Outcome:
        intent = factories.intent(courier, email=user.email)
        return flows.agree(intent.pk, user, [], now=timezone.now())

    outcomes = at_once(*(partial(agree, user) for user in users))
    assert sorted(each.name for each in outcomes) == ["LINKED", "TAKEN", "TAKEN", "TAKEN"]
    assert LinkRequest.objects.filter(state="REFUSED", reason=flows.TAKEN).count() == 3


def test_a_person_who_is_gone_agrees_to_nothing(courier: WorkProvider, driver: User) -> None:
    intent = factories.intent(courier)
    people.erase(User.objects.get(pk=driver.pk), now=timezone.now())
    assert flows.agree(intent.pk, driver, [], now=timezone.now()) == Outcome.EXPIRED
    assert flows.agree(uuid.uuid4(), factories.driver(), [], now=timezone.now()) == Outcome.EXPIRED
    assert not DriverLink.objects.exists()


# Terms


def test_the_versions_agreed_to_are_kept(courier: WorkProvider, driver: User) -> None:
    zego, theirs = factories.terms(None, text="Ours."), factories.terms(courier, text="Theirs.")
    client = signed_in(driver)
    intent = opened(client, courier)
    page = text(client.get(CONSENT))
    assert "Ours." in page
    assert "Theirs." in page
    ids = f"{zego.pk},{theirs.pk}"

    assert "Tick the box" in text(say_yes(client, intent, terms=ids))
    assert not DriverLink.objects.exists()
    say_yes(client, intent, terms=ids, agree="on")
    assert {row.terms_id for row in Agreement.objects.filter(customer=driver.customer)} == {
        zego.pk,
        theirs.pk,
    }
    assert DriverLink.objects.exists()


def test_nobody_agrees_to_a_text_they_have_not_seen(courier: WorkProvider, driver: User) -> None:
    seen = factories.terms(courier, published_at=timezone.now() - timedelta(days=2))
    client = signed_in(driver)
    intent = opened(client, courier)
    newer = factories.terms(courier, text="New and worse.", published_at=timezone.now())
    answer = say_yes(client, intent, terms=str(seen.pk), agree="on")
    assert "have changed" in text(answer)
    assert "New and worse." in text(answer)
    assert " checked" not in text(answer)
    assert not Agreement.objects.exists()
    say_yes(client, intent, terms=str(newer.pk), agree="on")
    assert Agreement.objects.get().terms == newer


def test_terms_of_tomorrow_do_not_count_today(courier: WorkProvider, driver: User) -> None:
    factories.terms(courier, published_at=timezone.now() + timedelta(days=1))
    client = signed_in(driver)
    say_yes(client, opened(client, courier))
    assert DriverLink.objects.exists()


def test_new_terms_are_asked_at_the_next_sign_in_and_end_nothing(courier: WorkProvider) -> None:
    user = factories.driver(password=factories.PASSWORD)
    link = factories.link(courier, "123456", customer=user.customer)
    old = factories.terms(courier)
    Agreement.objects.create(customer=user.customer, terms=old, agreed_at=timezone.now())
    new = factories.terms(courier, text="What is new.", published_at=timezone.now())
    client = Client()
    answer = client.post(
        "/account/login/", {"login": user.email, "password": factories.PASSWORD}, follow=True
    )
    assert answer.redirect_chain[-1][0] == "/account/terms/"
    assert "What is new." in text(answer)
    client.post("/account/terms/", {"terms": str(new.pk), "agree": "on"})
    assert Agreement.objects.filter(customer=user.customer, terms=new).exists()
    link.refresh_from_db()
    assert link.unlinked_at is None
    assert client.get("/account/terms/").status_code == 302


# No


def test_cancelling_ends_it(courier: WorkProvider, driver: User) -> None:
    factories.terms(courier)
    client = signed_in(driver)
    intent = opened(client, courier)
    answer = say_yes(client, intent, cancel="")
    assert "Nothing was linked" in text(answer)
    assert "Nothing was linked" in text(say_yes(client, intent, agree="on"))
    assert not DriverLink.objects.exists()


def test_half_an_hour_later_it_says_how_to_start_again(courier: WorkProvider, driver: User) -> None:
    client = signed_in(driver)
    intent = opened(client, courier)
    LinkIntent.objects.update(created_at=timezone.now() - settings.INTENT_LASTS)
    for answer in (client.get(CONSENT), say_yes(client, intent)):
        assert answer.status_code == 410
        assert "Open the link from Courier Ltd again" in text(answer)
    assert not DriverLink.objects.exists()


def test_without_a_link_there_is_nothing_to_agree_to(driver: User) -> None:
    client = signed_in(driver)
    assert client.get(CONSENT).status_code == 410
    assert client.post(CONSENT, {"intent": "nonsense"}).status_code == 410
    assert client.post(CONSENT, {"intent": str(uuid.uuid4())}).status_code == 410


# Who


def test_whoever_is_signed_in_as_somebody_else_is_told_and_can_switch(
    courier: WorkProvider, driver: User
) -> None:
    client = signed_in(factories.driver("other@example.com"))
    intent = opened(client, courier)
    page = text(client.get(CONSENT))
    assert "other@example.com" in page
    assert "driver@example.com" not in page
    assert "Use another account" in page
    answer = client.post("/link-work-provider/switch/", {"intent": str(intent.pk)})
    assert answer["Location"] == "/account/login/"
    assert "driver@example.com" in text(client.get("/account/login/"))
    client.force_login(driver)
    say_yes(client, intent)
    assert DriverLink.objects.get().customer == driver.customer


def test_a_staff_account_counts_as_another_account(courier: WorkProvider) -> None:
    client = signed_in(factories.user("driver@example.com", is_staff=True))
    intent = opened(client, courier)
    for answer in (client.get(CONSENT), say_yes(client, intent)):
        assert answer.status_code == 403
        assert "staff account" in text(answer)
        assert "Use another account" in text(answer)
    assert not DriverLink.objects.exists()
    assert not Customer.objects.exists()


@pytest.mark.parametrize(("is_test", "provider_is_test"), [(True, False), (False, True)])
def test_tests_and_live_never_mix(db: None, is_test: bool, provider_is_test: bool) -> None:
    provider = factories.work_provider(is_test=provider_is_test)
    user = factories.driver("driver@example.com", is_test=is_test)
    factories.link(factories.work_provider(is_test=is_test), "1", customer=user.customer)
    client = signed_in(user)
    answer = say_yes(client, opened(client, provider))
    assert answer.status_code == 403
    assert not DriverLink.objects.filter(work_provider=provider).exists()


@pytest.mark.parametrize("is_test", [True, False])
def test_who_has_taken_part_in_nothing_is_not_bound_yet(db: None, is_test: bool) -> None:
    user = factories.driver("driver@example.com", is_test=not is_test)
    client = signed_in(user)
    say_yes(client, opened(client, factories.work_provider(is_test=is_test)))
    assert DriverLink.objects.get().customer == user.customer
    assert Customer.objects.get().is_test is is_test


def test_an_unverified_account_links_nobody(courier: WorkProvider) -> None:
    client = signed_in(factories.driver("driver@example.com", verified=False))
    answer = say_yes(client, opened(client, courier))
    assert answer.status_code == 403
    assert not DriverLink.objects.exists()


def test_a_work_provider_that_left_meanwhile_links_nobody(
    courier: WorkProvider, driver: User
) -> None:
    client = signed_in(driver)
    intent = opened(client, courier)
    courier.is_active = False
    courier.save()
    assert say_yes(client, intent).status_code == 410
    assert not DriverLink.objects.exists()


def test_a_driver_id_of_somebody_else_is_refused_in_neutral_words(
    courier: WorkProvider, driver: User
) -> None:
    theirs = factories.link(courier, "123456")
    client = signed_in(driver)
    intent = opened(client, courier)
    assert client.get(CONSENT).status_code == 200
    for _ in range(2):
        answer = say_yes(client, intent)
        assert answer.status_code == 409
        assert theirs.customer.number not in text(answer)
    assert DriverLink.objects.get() == theirs
    [request] = LinkRequest.objects.all()
    assert (request.state, request.reason) == ("REFUSED", flows.TAKEN)


def test_a_new_try_at_a_driver_id_that_is_taken_is_shown_again_once_it_was_looked_at(
    courier: WorkProvider, driver: User
) -> None:
    factories.link(courier, "123456")

    def tries() -> list[LinkRequest]:
        intent = factories.intent(courier, email=driver.email)
        assert flows.agree(intent.pk, driver, [], now=timezone.now()) == Outcome.TAKEN
        return list(lists.unseen(lists.taken(), Seen.Kind.LINK_REQUEST))

    staff = factories.user(is_staff=True)
    [first] = tries()
    assert tries() == [first]
    mend.mark_seen(
        Seen.Kind.LINK_REQUEST, first.pk, actor=staff, reason="A typo.", now=timezone.now()
    )
    [second] = tries()
    assert second.agreed_at > first.agreed_at
    assert tries() == [second]
    assert lists.taken().count() == 2


def test_a_driver_id_set_free_can_be_linked(courier: WorkProvider, driver: User) -> None:
    factories.link(courier, "123456", unlinked_at=timezone.now() - timedelta(seconds=1))
    client = signed_in(driver)
    say_yes(client, opened(client, courier))
    assert DriverLink.objects.get(customer=driver.customer).driver_id == "123456"


def test_one_customer_has_one_driver_id_at_a_work_provider(
    courier: WorkProvider, driver: User
) -> None:
    factories.link(courier, "old", customer=driver.customer)
    client = signed_in(driver)
    answer = say_yes(client, opened(client, courier, "new"))
    assert answer.status_code == 409
    assert "another driver id" in text(answer)
    assert DriverLink.objects.get().driver_id == "old"


def test_already_linked_is_said(courier: WorkProvider, driver: User) -> None:
    factories.link(courier, "123456", customer=driver.customer)
    client = signed_in(driver)
    opened(client, courier)
    answer = client.get(CONSENT)
    assert answer.status_code == 200
    assert "You are linked already" in text(answer)


def test_on_another_device_it_is_offered_to_the_verified_email(
    courier: WorkProvider, driver: User
) -> None:
    intent = opened(Client(), courier)
    elsewhere = signed_in(driver)
    assert "Courier Ltd" in text(elsewhere.get("/account/"))
    assert str(intent.pk) in text(elsewhere.get(CONSENT))
    say_yes(elsewhere, intent)
    assert DriverLink.objects.get().customer == driver.customer


def test_each_offer_leads_to_what_it_offers(courier: WorkProvider, driver: User) -> None:
    first = opened(Client(), courier)
    opened(Client(), factories.work_provider(name="Taxi Ltd"), "T-9")
    elsewhere = signed_in(driver)
    assert f"?intent={first.pk}" in text(elsewhere.get("/account/"))
    assert "Courier Ltd" in text(elsewhere.get(CONSENT, {"intent": str(first.pk)}))


@pytest.mark.parametrize("email", ["other@example.com", "driver@example.com"])
def test_nobody_else_can_touch_an_intent(courier: WorkProvider, email: str) -> None:
    """Not with another address, and not with the same one while it is unverified."""
    intent = opened(Client(), courier)
    stranger = factories.driver(email, verified=email == "other@example.com")
    client = signed_in(stranger)
    assert client.get(CONSENT).status_code == 410
    for fields in ({}, {"cancel": ""}):
        assert say_yes(client, intent, **fields).status_code == 410
    assert client.get(f"/link-work-provider/done/{intent.pk}/").status_code == 410
    intent.refresh_from_db()
    assert intent.is_live(timezone.now())


def test_a_sign_in_of_long_ago_is_not_enough(courier: WorkProvider, driver: User) -> None:
    driver.set_password(factories.PASSWORD)
    driver.save()
    client = signed_in(driver)
    session = client.session
    session["signed_in_at"] -= settings.RECENT_LOGIN.total_seconds()
    session.save()
    intent = opened(client, courier)
    answer = client.get(CONSENT)
    assert answer["Location"].startswith("/account/reauthenticate/")
    posted = client.post(CONSENT, {"intent": str(intent.pk)})
    assert posted["Location"] == f"{CONSENT}?intent={intent.pk}"
    assert not DriverLink.objects.exists()
    again = client.post(answer["Location"], {"password": factories.PASSWORD}, follow=True)
    assert again.status_code == 200
    assert not DriverLink.objects.exists()  # proving who one is agrees to nothing
    say_yes(client, intent)
    assert DriverLink.objects.exists()


# CONFIRM


@pytest.fixture
def confirming(courier: WorkProvider) -> WorkProvider:
    courier.link_policy = LinkPolicy.CONFIRM
    courier.save()
    return courier


def agreed_to(user: User, provider: WorkProvider) -> LinkRequest:
    intent = factories.intent(provider, email=user.email)
    assert flows.agree(intent.pk, user, [], now=timezone.now()) == Outcome.WAITING
    return LinkRequest.objects.get(customer__user=user)


def test_under_confirm_the_agreement_waits(confirming: WorkProvider, driver: User) -> None:
    client = signed_in(driver)
    intent = opened(client, confirming)
    answer = say_yes(client, intent)
    assert "confirms new drivers" in text(answer)
    assert not DriverLink.objects.exists()
    assert LinkRequest.objects.get().state == "WAITING"
    assert say_yes(client, intent).status_code == 200
    assert LinkRequest.objects.count() == 1


def test_once_confirmed_it_holds_from_the_agreement_on(
    confirming: WorkProvider, driver: User
) -> None:
    request = agreed_to(driver, confirming)
    later = request.agreed_at + timedelta(hours=3)
    staff = factories.user(is_staff=True)
    link = flows.confirm(request, by=staff, now=later)
    assert link.linked_at == request.agreed_at
    assert link.link_recorded_at > request.agreed_at  # what was known before then stays as it was
    request.refresh_from_db()
    assert (request.state, request.decided_by, request.decided_at, request.link) == (
        "CONFIRMED",
        staff,
        later,
        link,
    )
    with pytest.raises(ValidationError, match="does not wait any more"):
        flows.confirm(request, by=staff, now=later)


def test_what_waits_reserves_nothing(confirming: WorkProvider) -> None:
    first, second = factories.driver(), factories.driver()
    requests = [agreed_to(user, confirming) for user in (first, second)]
    flows.confirm(requests[1], by=None, now=timezone.now())
    with pytest.raises(ValidationError, match="linked since"):
        flows.confirm(requests[0], by=None, now=timezone.now())
    assert DriverLink.objects.get().customer == second.customer


def test_a_refusal_is_told_and_a_cancelled_one_cannot_be_confirmed(
    confirming: WorkProvider, driver: User
) -> None:
    request = agreed_to(driver, confirming)
    flows.refuse(request, by=None, reason="No such driver.", now=timezone.now())
    assert mail.outbox[-1].to == ["driver@example.com"]
    assert "No such driver" not in mail.outbox[-1].body

    again = factories.driver()
    waiting = agreed_to(again, confirming)
    flows.cancel_request(waiting, now=timezone.now())
    with pytest.raises(ValidationError, match="CANCELLED"):
        flows.confirm(waiting, by=None, now=timezone.now())


# SIGNED


@pytest.fixture
def signing(courier: WorkProvider) -> WorkProvider:
    courier.link_policy = LinkPolicy.SIGNED
    courier.save()
    tokens.issue_secret(courier)
    return courier


def test_an_agreement_spends_the_signature(signing: WorkProvider, driver: User) -> None:
    url = tokens.link_url(
        signing,
        driver_id="123456",
        email="driver@example.com",
        now=timezone.now(),
        lasts=timedelta(days=1),
    )
    path = url.removeprefix(settings.PUBLIC_URL)
    thief = signed_in(factories.driver("thief@example.com"))
    client = signed_in(driver)
    for each in (thief, client):
        assert each.get(path).status_code == 302
    first, second = LinkIntent.objects.order_by("created_at")
    say_yes(client, second)
    assert DriverLink.objects.get().customer == driver.customer
    assert SpentSignature.objects.count() == 1
    assert say_yes(thief, first).status_code == 410
    assert client.get(path).status_code == 400


def test_an_intent_from_before_the_policy_is_not_enough(
    courier: WorkProvider, driver: User
) -> None:
    client = signed_in(driver)
    intent = opened(client, courier)
    courier.link_policy = LinkPolicy.SIGNED
    courier.save()
    assert say_yes(client, intent).status_code == 410
    assert not DriverLink.objects.exists()


@pytest.mark.parametrize("how", ["expired", "revoked"])
def test_a_signature_has_to_be_good_when_it_counts(
    signing: WorkProvider, driver: User, how: str
) -> None:
    lasts = timedelta(minutes=1)
    now = timezone.now()
    url = tokens.link_url(
        signing, driver_id="123456", email="driver@example.com", now=now, lasts=lasts
    )
    client = signed_in(driver)
    client.get(url.removeprefix(settings.PUBLIC_URL))
    intent = LinkIntent.objects.get()
    if how == "revoked":
        signing.link_secrets.update(revoked_at=now)
        assert flows.agree(intent.pk, driver, [], now=now) == Outcome.LAPSED
    else:
        assert flows.agree(intent.pk, driver, [], now=now + lasts) == Outcome.LAPSED
    assert not DriverLink.objects.exists()


def test_without_a_need_for_signatures_a_used_one_is_no_hindrance(
    signing: WorkProvider, driver: User
) -> None:
    now = timezone.now()
    url = tokens.link_url(
        signing, driver_id="1", email="driver@example.com", now=now, lasts=timedelta(days=1)
    )
    for _ in range(2):
        signed_in(driver).get(url.removeprefix(settings.PUBLIC_URL))
    signing.link_policy = LinkPolicy.OPEN
    signing.save()
    for intent in LinkIntent.objects.all():
        assert flows.agree(intent.pk, driver, [], now=timezone.now()) == Outcome.LINKED
        link = DriverLink.objects.latest("pk")
        flows.unlink(link, by=DriverLink.EndedBy.DRIVER, now=timezone.now())


@pytest.mark.parametrize("gone", ["work provider", "driver"])
def test_who_has_left_cannot_be_confirmed(
    confirming: WorkProvider, driver: User, gone: str
) -> None:
    request = agreed_to(driver, confirming)
    left: WorkProvider | User = confirming if gone == "work provider" else driver
    left.is_active = False
    left.save()
    with pytest.raises(ValidationError, match="refuse this"):
        flows.confirm(request, by=None, now=timezone.now())


# Undo


def undo_path() -> str:
    body = str(mail.outbox[0].body)
    return next(word for word in body.split() if "/undo/" in word).removeprefix(settings.PUBLIC_URL)


def test_the_mail_undoes_it_without_a_sign_in(courier: WorkProvider, driver: User) -> None:
    client = signed_in(driver)
    say_yes(client, opened(client, courier))
    path = undo_path()
    anybody = Client()
    assert anybody.get(path).status_code == 200
    assert DriverLink.objects.get().unlinked_at is None  # a mail scanner's GET does nothing
    assert "You are not linked any more" in text(anybody.post(path))
    link = DriverLink.objects.get()
    assert link.unlinked_at is not None
    assert link.ended_by == DriverLink.EndedBy.UNDO
    ended_at = link.unlinked_at
    anybody.post(path)
    link.refresh_from_db()
    assert link.unlinked_at == ended_at


def test_the_mail_undoes_what_waits(confirming: WorkProvider, driver: User) -> None:
    agreed_to(driver, confirming)
    Client().post(undo_path())
    assert LinkRequest.objects.get().state == "CANCELLED"


def test_it_undoes_no_later_link(courier: WorkProvider, driver: User) -> None:
    client = signed_in(driver)
    say_yes(client, opened(client, courier))
    path = undo_path()
    Client().post(path)
    say_yes(client, opened(client, courier))
    Client().post(path)
    assert DriverLink.objects.filter(unlinked_at__isnull=True).count() == 1


@pytest.mark.parametrize("path", ["/link-work-provider/undo/x/", "/link-work-provider/undo/a:b:c/"])
def test_a_made_up_undo_link_does_nothing(db: None, client: Client, path: str) -> None:
    for answer in (client.get(path), client.post(path)):
        assert answer.status_code == 410


def test_terms_are_never_changed(courier: WorkProvider, admin_client: Client) -> None:
    terms = factories.terms(courier, text="As agreed.")
    admin_client.post(f"/admin/linking/terms/{terms.pk}/change/", {"text": "Other."})
    assert Terms.objects.get().text == "As agreed."
