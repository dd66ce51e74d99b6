"""A person's data: deleting it, and what of it has to stay."""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from allauth.account.models import EmailAddress
from allauth.account.signals import password_reset
from allauth.mfa.models import Authenticator
from django.db import transaction
from django.db.models import Q
from django.dispatch import receiver

from linking import flows, intents, mails
from linking.models import Agreement, Customer, DriverLink, LinkIntent, LinkRequest, User
from zego_api.models import OutgoingMail

_UNVERIFIED_KEPT = timedelta(days=7)


def erase(user: User, *, now: datetime) -> None:
    """Close the account and empty the person; whoever did this is signed out everywhere.

    Links end, and open shifts with them. What was insured when, for whom, and on which word stays:
    customer number, links, agreements, events and shifts. Driver ids and submission bodies are kept
    for the claims period.
    """
    with transaction.atomic():
        # One deletion of a person at a time, and as the row stands now.
        user.refresh_from_db(from_queryset=User.objects.select_for_update(no_key=True))
        verified = intents.verified_emails(user)
        addresses = {*verified, user.email.lower()} - {""}
        customer = flows.customer_or_none(user)
        _forget_intents(user, addresses)  # first, as an agreement locks them before it makes a link
        if customer is not None:
            _end_everything(customer, now)
        _forget_mails(addresses)
        for address in verified:
            mails.send("linking/mail/erased", address)
        _empty(user)


@receiver(password_reset)
def _begin_afresh(user: User, **kwargs: object) -> None:
    """A first reset by mail is the first proof of whose address it is.

    Whoever signed up with it before may have been somebody else: what they agreed to is not this
    person's word, and a sandbox that they came from is not this person's.
    """
    if user.last_login is None:
        Agreement.objects.filter(customer__user=user).delete()
        Customer.objects.filter(
            user=user, links=None, link_requests=None, desk_actions=None
        ).delete()


def forget_unverified(now: datetime) -> None:
    """Delete accounts that nobody has proved to be theirs within a week of the sign-up."""
    unproved = User.objects.filter(
        date_joined__lt=now - _UNVERIFIED_KEPT,
        last_login=None,
        is_staff=False,
        customer__links=None,
        customer__link_requests=None,
        customer__desk_actions=None,  # the audit log names them
        emailaddress__verified=False,
    ).exclude(emailaddress__verified=True)
    for user in unproved.distinct():
        with transaction.atomic():
            Agreement.objects.filter(customer__user=user).delete()
            Customer.objects.filter(user=user).delete()
            user.delete()


def _end_everything(customer: Customer, now: datetime) -> None:
    """Requests first: one that is being confirmed is waited for, and its link ends with the rest."""
    for request in LinkRequest.objects.filter(customer=customer, state=LinkRequest.State.WAITING):
        flows.cancel_request(request, now=now)
    held = DriverLink.objects.not_ended(now).filter(customer=customer)
    for link in held.order_by("work_provider"):  # the order in which a digest locks them
        flows.unlink(link, by=DriverLink.EndedBy.ERASURE, now=now)
    Customer.objects.filter(pk=customer.pk, erased_at__isnull=True).update(erased_at=now)


def _forget_intents(user: User, addresses: Iterable[str]) -> None:
    LinkIntent.objects.filter(Q(email__in=addresses) | Q(agreed_by__user=user)).delete()


def _forget_mails(addresses: Iterable[str]) -> None:
    """Empty mails that have left, or never will, of the address; one that still has to leave needs it.

    What a mail server said of the address goes too.
    """
    for address in addresses:
        OutgoingMail.objects.filter(
            Q(sent_at__isnull=False) | Q(failed_at__isnull=False), recipients__iexact=address
        ).update(recipients="", failure="")


def _empty(user: User) -> None:
    EmailAddress.objects.filter(user=user).delete()
    Authenticator.objects.filter(user=user).delete()
    user.username, user.email = uuid.uuid4().hex, ""
    user.first_name = user.last_name = ""
    user.last_login = None
    user.is_active = False
    user.set_unusable_password()  # which ends every session of theirs
    user.save()
