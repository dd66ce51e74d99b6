"""What this service changes about django-allauth."""

import time
import uuid
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.signals import authentication_step_completed
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.core.mail import EmailMessage
from django.dispatch import receiver
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from linking import flows, intents, mails, terms
from linking.models import User
from zego_api import limits, secrecy

# Where ?next= may lead: the pages that ask for a sign-in themselves. There is none from the outside.
_OWN_PATHS = ("/account/", "/admin/", "/link-work-provider/")
_WRONG_CODE = "This is not the code from the newest mail."
_SIGNED_IN_AT = "signed_in_at"


@receiver(user_logged_in)
@receiver(authentication_step_completed)
def _note_sign_in(request: HttpRequest, **kwargs: object) -> None:
    request.session[_SIGNED_IN_AT] = time.time()


def user_of(request: HttpRequest) -> User:
    """The user of a request to a page for those who are signed in."""
    assert isinstance(request.user, User)
    return request.user


def signed_in_recently(request: HttpRequest) -> bool:
    """Whether this session's user gave their password, or more, within settings.RECENT_LOGIN."""
    since = time.time() - float(request.session.get(_SIGNED_IN_AT, 0.0))
    return request.user.is_authenticated and since < settings.RECENT_LOGIN.total_seconds()


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Accounts of drivers: made by a work provider's link, and led back to it after a sign-in."""

    error_messages = DefaultAccountAdapter.error_messages | {
        "account_inactive": "This account is closed.",
        "duplicate_email": "This is your address already.",
        "email_password_mismatch": "Email address or password is wrong.",
        "email_taken": "There is an account with this address already.",
        "enter_current_password": "This is not your current password.",
        "incorrect_code": _WRONG_CODE,
        "incorrect_password": "This is not your password.",
        "rate_limited": "Too many attempts. Wait a moment, then try again.",
        "too_many_login_attempts": "Too many attempts. Wait a few minutes, or reset your password.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Only for whoever has a work provider's link open."""
        return intents.remembered(request, timezone.now()) is not None

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        """The link that is open, else new terms to agree to, else one's own page."""
        now = timezone.now()
        user = request.user
        if intents.remembered(request, now):
            return reverse("link-consent")
        if isinstance(user, User) and user.is_staff:
            return reverse("admin:index")
        customer = flows.customer_or_none(user) if isinstance(user, User) else None
        if customer is not None and terms.changed_for(customer, now):
            return reverse("terms-changed")
        return reverse("account")

    def get_signup_redirect_url(self, request: HttpRequest) -> str:
        """The same as after a login."""
        return self.get_login_redirect_url(request)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """Back to one's own page."""
        return reverse("account")

    def get_client_ip(self, request: HttpRequest) -> str:
        """What limits count by; requests whose address cannot be told share one count."""
        try:
            return str(super().get_client_ip(request))
        except (ImproperlyConfigured, PermissionDenied):
            return limits.UNKNOWN

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Not of somebody who has only just signed in."""
        required = super().is_reauthentication_required(app=app, **kwargs)
        return bool(required) and not signed_in_recently(context.request)

    def is_safe_url(self, url: str | None) -> bool:
        """Whether ?next= may lead there: to our own pages, by path alone."""
        plain = bool(url) and "\\" not in str(url) and str(url).isprintable()
        return plain and str(url).startswith(_OWN_PATHS)

    def populate_username(self, request: HttpRequest, user: AbstractBaseUser) -> None:
        """Nobody sees it, so it says nothing about the person."""
        assert isinstance(user, User)
        user.username = uuid.uuid4().hex

    def render_mail(
        self,
        template_prefix: str,
        email: str | list[str],
        context: dict[str, Any],
        headers: dict[str, str] | None = None,
    ) -> EmailMessage:
        """In the design that all mails have."""
        assert isinstance(email, str)
        return mails.render(template_prefix, email, context)


class MfaAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Second factors: their secrets are stored encrypted."""

    error_messages = DefaultMFAAdapter.error_messages | {
        "incorrect_code": "This is not the code that your app shows now.",
    }

    def encrypt(self, text: str) -> str:
        return secrecy.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return secrecy.decrypt(encrypted_text)
