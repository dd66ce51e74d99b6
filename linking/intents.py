"""Link intents: which link somebody opened, and who may agree to it.

An intent belongs to the session that opened the link, so that it survives sign-up, verification, login
and a password reset there, and to any account that has verified the email in it.
"""

import uuid
from datetime import datetime, timedelta

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth import logout
from django.db.models import QuerySet
from django.http import HttpRequest

from linking.models import LinkIntent, SpentSignature, User

SESSION_KEY = "link_intents"
_REMEMBERED = 5  # tabs of one session that may each have a link open
_KEPT = timedelta(days=7)  # long enough to answer "I opened the link and nothing happened"


def remember(request: HttpRequest, intent: LinkIntent) -> None:
    """Tie the intent to this session, before those it has already."""
    request.session[SESSION_KEY] = [*_own_ids(request), str(intent.pk)][-_REMEMBERED:]


def remembered(request: HttpRequest, now: datetime) -> LinkIntent | None:
    """The newest live intent of this session."""
    for intent in _own(request).order_by("-created_at"):
        if intent.is_live(now):
            return intent
    return None


def current(request: HttpRequest, now: datetime) -> LinkIntent | None:
    """The live intent that this request is about: the session's newest, else one for its email."""
    if intent := remembered(request, now):
        return intent
    if isinstance(request.user, User):
        return next(iter(offered(request.user, now)), None)
    return None


def latest(request: HttpRequest) -> LinkIntent | None:
    """The session's newest intent, whether or not it can still be agreed to."""
    return _own(request).order_by("-created_at").first()


def find(request: HttpRequest, intent_id: uuid.UUID) -> LinkIntent | None:
    """The intent with this id, live or not, if this session or account may see it."""
    intent = LinkIntent.objects.select_related("work_provider").filter(pk=intent_id).first()
    if intent is None:
        return None
    mine = str(intent.pk) in _own_ids(request)
    if isinstance(request.user, User):
        mine = mine or intent.email in verified_emails(request.user)
    return intent if mine else None


def offered(user: User, now: datetime) -> list[LinkIntent]:
    """The live intents with an email that this user has verified, the newest first."""
    opened = LinkIntent.objects.filter(
        email__in=verified_emails(user),
        created_at__gt=now - settings.INTENT_LASTS,
        agreed_at__isnull=True,
        cancelled_at__isnull=True,
    )
    return list(opened.select_related("work_provider").order_by("-created_at"))


def verified_emails(user: User) -> list[str]:
    """The addresses that this user has proved to receive mail at; lower case."""
    addresses = EmailAddress.objects.filter(user=user, verified=True)
    return [email.lower() for email in addresses.values_list("email", flat=True)]


def sign_out(request: HttpRequest, intent: LinkIntent | None) -> None:
    """Sign out, which empties the session, and leave it its intents, and this one."""
    kept = _own_ids(request)
    logout(request)
    request.session[SESSION_KEY] = kept
    if intent is not None and str(intent.pk) not in kept:
        remember(request, intent)


def forget_old(now: datetime) -> None:
    """Delete intents a week after they were opened, and signatures that have expired by themselves."""
    LinkIntent.objects.filter(created_at__lt=now - _KEPT).delete()
    SpentSignature.objects.filter(expires_at__lt=now).delete()


def _own_ids(request: HttpRequest) -> list[str]:
    return list(request.session.get(SESSION_KEY, []))


def _own(request: HttpRequest) -> "QuerySet[LinkIntent]":
    return LinkIntent.objects.filter(pk__in=_own_ids(request)).select_related("work_provider")
