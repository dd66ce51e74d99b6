"""Linking: every change of who is linked to whom, and every outcome of it by name (docs/domain.md).

Views, admin actions and commands each make one call into here. `now` is an aware datetime.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from allauth.account.models import EmailAddress
from allauth.account.utils import filter_users_by_email
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from linking import intents, mails, terms, tokens
from linking.models import (
    Customer,
    DeskAction,
    DriverLink,
    LinkIntent,
    LinkPolicy,
    LinkRequest,
    SpentSignature,
    Terms,
    User,
    WorkProvider,
)

TAKEN = "The driver id is linked to another customer."


class Outcome(Enum):
    """What became of following a link."""

    LINKED = auto()
    WAITING = auto()
    ALREADY_LINKED = auto()
    CANCELLED = auto()
    EXPIRED = auto()
    AGREED_BEFORE = auto()
    NOT_A_DRIVER = auto()
    UNVERIFIED = auto()
    SANDBOX = auto()
    INACTIVE = auto()
    UNSIGNED = auto()
    LAPSED = auto()
    SPENT = auto()
    OTHER_DRIVER_ID = auto()
    TAKEN = auto()


class Step(Enum):
    """Where a driver who opened a link goes next."""

    CONSENT = auto()
    LOGIN = auto()
    SIGNUP = auto()


@dataclass(frozen=True, slots=True)
class Followed:
    """A link that was found good: what its parameters say, cleaned."""

    work_provider: WorkProvider
    driver_id: str
    email: str
    signed: tokens.Signed | None


def open_intent(followed: Followed, now: datetime) -> LinkIntent:
    """Store that the link was opened; nothing else happens before somebody agrees."""
    signed = followed.signed
    return LinkIntent.objects.create(
        work_provider=followed.work_provider,
        driver_id=followed.driver_id,
        email=followed.email,
        signature=signed.digest if signed else None,
        signature_expires_at=signed.expires_at if signed else None,
        link_secret=signed.secret if signed else None,
        created_at=now,
    )


def next_step(user: object, email: str) -> Step:
    """The specification's redirect: by session, then by whether there is an account for the email.

    Active, unverified and disabled accounts are accounts alike. Without an email it is login.
    """
    if isinstance(user, User):
        return Step.CONSENT
    return Step.LOGIN if not email or filter_users_by_email(email) else Step.SIGNUP


def standing(intent: LinkIntent, user: User, now: datetime) -> Outcome | None:
    """How the intent stands for this user before they agree; None when they may agree to it.

    Whether the driver id is taken is not told here: it would tell strangers who is linked.
    """
    customer = customer_or_none(user)
    if customer is not None and (found := _made_before(intent, customer, now)):
        return found
    if intent.agreed_at is not None:
        return Outcome.AGREED_BEFORE
    if not intent.is_live(now):
        return Outcome.EXPIRED if intent.cancelled_at is None else Outcome.CANCELLED
    return _refusal_of_user(intent, user, customer) or _refusal_of_link(intent, now)


def agree(
    intent_id: uuid.UUID, user: User, agreed_terms: Iterable[Terms], *, now: datetime
) -> Outcome:
    """The driver's word: makes the link, or the request that waits; once, however often it is sent."""
    with transaction.atomic():
        intent = _lock_for_agreement(intent_id, user)
        if intent is None:
            return Outcome.EXPIRED
        if found := standing(intent, user, now):
            return found
        provider = intent.work_provider
        customer = customer_of(user, is_test=provider.is_test)
        if _is_taken(provider, intent.driver_id, customer, now):
            _put_before_ops(intent, customer, now)
            return Outcome.TAKEN
        _spend(intent)
        terms.agree(customer, agreed_terms, now)
        intent.agreed_at, intent.agreed_by = now, customer
        intent.save()
        if provider.link_policy == LinkPolicy.CONFIRM:
            LinkRequest.objects.create(
                work_provider=provider,
                customer=customer,
                driver_id=intent.driver_id,
                agreed_at=now,
            )
            tell(customer, provider, "waiting", agreed_at=now)
            return Outcome.WAITING
        make_link(provider, customer, intent.driver_id, agreed_at=now)
        return Outcome.LINKED


def cancel(intent: LinkIntent, *, now: datetime) -> None:
    """The driver's no: the intent can no longer be agreed to."""
    LinkIntent.objects.filter(
        pk=intent.pk, agreed_at__isnull=True, cancelled_at__isnull=True
    ).update(cancelled_at=now)


def make_link(
    provider: WorkProvider, customer: Customer, driver_id: str, *, agreed_at: datetime
) -> DriverLink:
    """The link itself, from the agreement on; its held events become shifts with it."""
    link = DriverLink(
        work_provider=provider, customer=customer, driver_id=driver_id, linked_at=agreed_at
    )
    link.save()
    tell(customer, provider, "linked", agreed_at=agreed_at)
    return link


def confirm(request: LinkRequest, *, by: User | None, now: datetime) -> DriverLink:
    """Make the link that waits, from its agreement on; by whom, unless the work provider did.

    Raises ValidationError when it does not wait any more, or the driver id or customer is linked
    otherwise by now.
    """
    with transaction.atomic():
        waiting = _lock_waiting(request)
        _refuse_conflicts(waiting)
        link = make_link(
            waiting.work_provider,
            waiting.customer,
            waiting.driver_id,
            agreed_at=waiting.agreed_at,
        )
        _decide(waiting, LinkRequest.State.CONFIRMED, by=by, now=now, link=link)
    return link


def refuse(request: LinkRequest, *, by: User | None, reason: str, now: datetime) -> None:
    """Say no to a request that waits; the driver is told, without the reason."""
    with transaction.atomic():
        waiting = _lock_waiting(request)
        _decide(waiting, LinkRequest.State.REFUSED, by=by, now=now, reason=reason)
        tell(waiting.customer, waiting.work_provider, "refused", agreed_at=waiting.agreed_at)


def cancel_request(request: LinkRequest, *, now: datetime) -> None:
    """The driver takes back what waits; nothing happens if it does not wait any more."""
    with transaction.atomic():
        waiting = LinkRequest.objects.select_for_update().get(pk=request.pk)
        if waiting.state == LinkRequest.State.WAITING:
            _decide(waiting, LinkRequest.State.CANCELLED, by=None, now=now)


def unlink(link: DriverLink, *, by: DriverLink.EndedBy, now: datetime) -> None:
    """End a link as of now, and with it an open shift; one that has ended stays as it is.

    The driver is told by mail, unless there is nobody left to be told.
    """
    with transaction.atomic():
        found = DriverLink.objects.select_for_update(no_key=True, of=("self",)).get(pk=link.pk)
        if found.unlinked_at is not None and found.unlinked_at <= now:
            return
        found.unlinked_at, found.ended_by = max(now, found.linked_at), by
        found.save()
        if by != DriverLink.EndedBy.ERASURE:
            tell(found.customer, found.work_provider, "unlinked")


def undo(agreed: tokens.Agreed, *, now: datetime) -> None:
    """Take back the one agreement that an undo link names: what waits of it, or the link it made."""
    mine = Q(customer=agreed.customer_id, work_provider=agreed.work_provider_id)
    with transaction.atomic():
        for request in LinkRequest.objects.filter(mine, agreed_at=agreed.at):
            cancel_request(request, now=now)
        for link in DriverLink.objects.filter(mine, linked_at=agreed.at):
            unlink(link, by=DriverLink.EndedBy.UNDO, now=now)


def customer_or_none(user: User) -> Customer | None:
    """The user's customer; asked anew each time, since another request may have made it."""
    return Customer.objects.filter(user=user).first()


def customer_of(user: User, *, is_test: bool) -> Customer:
    """The user's customer, who gets a number now if there was none.

    One who has not taken part yet becomes what the work provider is: a test, or not.
    """
    customer, _ = Customer.objects.get_or_create(user=user, defaults={"is_test": is_test})
    if customer.is_test != is_test and not _is_bound(customer):
        customer.is_test = is_test
        customer.save()
    return customer


def _lock_for_agreement(intent_id: uuid.UUID, user: User) -> LinkIntent | None:
    """The intent, with one agreement at a time to its work provider, so that what is checked holds.

    None when it, or the user, has been deleted meanwhile.
    """
    present = User.objects.select_for_update(no_key=True).filter(pk=user.pk, is_active=True)
    if present.first() is None:
        return None
    owner = LinkIntent.objects.filter(pk=intent_id).values("work_provider")
    provider = WorkProvider.objects.select_for_update(no_key=True).filter(pk__in=owner).first()
    intent = LinkIntent.objects.select_for_update().filter(pk=intent_id).first()
    if provider is None or intent is None:
        return None
    intent.work_provider = provider
    return intent


def _made_before(intent: LinkIntent, customer: Customer, now: datetime) -> Outcome | None:
    """Whether what the intent asks for is there already, or contradicts what is there."""
    link = (
        DriverLink.objects.not_ended(now)
        .filter(customer=customer, work_provider=intent.work_provider_id)
        .first()
    )
    if link is not None:
        same = link.driver_id == intent.driver_id
        return Outcome.ALREADY_LINKED if same else Outcome.OTHER_DRIVER_ID
    waiting = LinkRequest.objects.filter(
        customer=customer,
        work_provider=intent.work_provider_id,
        driver_id=intent.driver_id,
        state=LinkRequest.State.WAITING,
    )
    return Outcome.WAITING if waiting.exists() else None


def _refusal_of_user(intent: LinkIntent, user: User, customer: Customer | None) -> Outcome | None:
    if user.is_staff:
        return Outcome.NOT_A_DRIVER
    if not intents.verified_emails(user):
        return Outcome.UNVERIFIED
    if customer is not None and _is_bound(customer):
        mixed = customer.is_test != intent.work_provider.is_test
        return Outcome.SANDBOX if mixed else None
    return None


def _is_bound(customer: Customer) -> bool:
    """Whether the customer has taken part as what they are: a test, or not."""
    return customer.links.exists() or customer.link_requests.exists()


def _refusal_of_link(intent: LinkIntent, now: datetime) -> Outcome | None:
    provider = intent.work_provider
    if not provider.is_active:
        return Outcome.INACTIVE
    if provider.link_policy != LinkPolicy.SIGNED:
        return None
    if intent.signature is None or intent.signature_expires_at is None:
        return Outcome.UNSIGNED
    secret = intent.link_secret
    if intent.signature_expires_at <= now or secret is None or secret.revoked_at is not None:
        return Outcome.LAPSED
    return Outcome.SPENT if _is_spent(intent) else None


def _is_spent(intent: LinkIntent) -> bool:
    return SpentSignature.objects.filter(signature=intent.signature).exists()


def _is_taken(provider: WorkProvider, driver_id: str, customer: Customer, now: datetime) -> bool:
    holders = DriverLink.objects.not_ended(now).filter(work_provider=provider, driver_id=driver_id)
    return holders.exclude(customer=customer).exists()


def _put_before_ops(intent: LinkIntent, customer: Customer, now: datetime) -> None:
    """One row in the ops desk's list, of the latest try; a new one when that has been looked at."""
    tried = {
        "work_provider": intent.work_provider,
        "customer": customer,
        "driver_id": intent.driver_id,
        "state": LinkRequest.State.REFUSED,
        "reason": TAKEN,
    }
    last = LinkRequest.objects.filter(**tried).order_by("pk").last()
    if last is None or _is_seen(last):
        last = LinkRequest(**tried)
    last.agreed_at = last.decided_at = now
    last.save()


def _is_seen(request: LinkRequest) -> bool:
    """Whether a member of staff has taken it off the list (shifts/mend.py: mark_seen)."""
    return DeskAction.objects.filter(
        kind=DeskAction.Kind.SEEN,
        customer=request.customer_id,
        details__contains={"kind": "LINK_REQUEST", "target": request.pk},
    ).exists()


def _spend(intent: LinkIntent) -> None:
    """Use the signature up, if there is one; where the policy asks for none it may be used already."""
    if intent.signature is not None and intent.signature_expires_at is not None:
        SpentSignature.objects.get_or_create(
            signature=bytes(intent.signature), defaults={"expires_at": intent.signature_expires_at}
        )


def _lock_waiting(request: LinkRequest) -> LinkRequest:
    WorkProvider.objects.select_for_update(no_key=True).get(pk=request.work_provider_id)
    waiting = (
        LinkRequest.objects.select_for_update(of=("self",))
        .select_related("work_provider", "customer__user")
        .get(pk=request.pk)
    )
    if waiting.state != LinkRequest.State.WAITING:
        raise ValidationError(f"This request does not wait any more: it is {waiting.state}.")
    return waiting


def _refuse_conflicts(waiting: LinkRequest) -> None:
    """Any link that reaches into the time from the agreement on is in the way; so is who has left."""
    if not waiting.work_provider.is_active:
        raise ValidationError("The work provider is not active: refuse this, or activate it.")
    if waiting.customer.user is None or not waiting.customer.user.is_active:
        raise ValidationError("The driver's account is closed: refuse this.")
    overlapping = DriverLink.objects.not_ended(waiting.agreed_at).filter(
        work_provider=waiting.work_provider
    )
    if overlapping.filter(driver_id=waiting.driver_id).exists():
        raise ValidationError("The driver id has been linked since. End that link or refuse this.")
    if overlapping.filter(customer=waiting.customer).exists():
        raise ValidationError("The customer has been linked since, under another driver id.")


def _decide(
    waiting: LinkRequest,
    state: LinkRequest.State,
    *,
    by: User | None,
    now: datetime,
    reason: str = "",
    link: DriverLink | None = None,
) -> None:
    waiting.state, waiting.decided_by, waiting.decided_at = state, by, now
    waiting.reason, waiting.link = reason, link
    waiting.save()


def tell(
    customer: Customer, provider: WorkProvider, template: str, *, agreed_at: datetime | None = None
) -> None:
    """Mail the account's verified address; with `agreed_at` the mail says how to undo it."""
    address = EmailAddress.objects.filter(user=customer.user, verified=True).order_by("-primary")
    if (to := address.values_list("email", flat=True).first()) is None:
        return
    token = tokens.undo_token(customer.pk, provider.pk, agreed_at) if agreed_at else ""
    mails.send(
        f"linking/mail/{template}", to, work_provider=provider, customer=customer, undo_token=token
    )
