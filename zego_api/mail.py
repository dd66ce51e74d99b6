"""Mail: written into a table with whatever causes it, delivered by the sweeper.

So a mail leaves if and only if its transaction is committed, and no request waits for a mail server.
Delivery is at least once: after a crash between a sending and its commit the same mail, with the same
Message-ID, may leave twice. A claim is a short transaction that moves `next_attempt_at` ahead, so that
no lock is held while a server is talked to.
"""

import contextlib
import smtplib
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from email.utils import format_datetime, parseaddr
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import structlog
from django.conf import settings
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils.module_loading import import_string

from zego_api.breaker import Breaker
from zego_api.models import OutgoingMail

log = structlog.get_logger(__name__)

TIMEOUT = 10.0  # seconds, of each answer of a mail server
PAUSE = 10.0  # seconds in which a server that is away is left alone
CLAIM = 20  # mails
ROUND = 30.0  # seconds after which a round begins no other mail
LEASE = timedelta(minutes=2)  # longer than a round and its last mail
BACK_OFF = [timedelta(seconds=each) for each in (1, 5, 30, 120, 600, 3600)]
GIVE_UP_AFTER = timedelta(days=1)
KEPT = timedelta(days=30)

PENDING = Q(sent_at__isnull=True, failed_at__isnull=True)
_BACKENDS = "django.core.mail.backends"
# How the connection is encrypted, and the port of a URL that names none.
_SMTP: dict[str, dict[str, Any]] = {
    "smtp": {"use_tls": False, "use_ssl": False, "port": 25},
    "smtp+tls": {"use_tls": True, "use_ssl": False, "port": 587},
    "smtps": {"use_tls": False, "use_ssl": True, "port": 465},
}
# What a server says of one mail; anything else that goes wrong is the server's own trouble.
_ABOUT_THE_MAIL = (
    smtplib.SMTPRecipientsRefused,
    smtplib.SMTPDataError,
    smtplib.SMTPNotSupportedError,
)


class Outbox(BaseEmailBackend):
    """Django's EMAIL_BACKEND: keeps each mail as a row, in the caller's transaction."""

    def send_messages(self, email_messages: Iterable[EmailMessage]) -> int:
        """Write the mails down; ValueError for one that a row cannot hold."""
        rows = [_row(message) for message in email_messages if message.recipients()]
        return len(OutgoingMail.objects.bulk_create(rows))


def _row(message: EmailMessage) -> OutgoingMail:
    alternatives = getattr(message, "alternatives", [])
    rest = (message.attachments, message.cc, message.bcc, message.reply_to, message.extra_headers)
    types = [message.content_subtype, *(mimetype for _, mimetype in alternatives)]
    if any(rest) or types not in (["plain"], ["plain", "text/html"]):
        raise ValueError(
            "The outbox keeps sender, recipients (To), subject, a plain text and an HTML version; this"
            " mail has more (attachments, Cc, Bcc, Reply-To, headers), or another kind of body."
        )
    message.message()  # refuses a line break in a header now, while somebody can still tell why
    return OutgoingMail(
        sender=message.from_email,
        recipients="\n".join(message.to),
        subject=str(message.subject),
        text=str(message.body),
        html=alternatives[0][0] if alternatives else "",
    )


def transport(url: str) -> tuple[str, dict[str, Any]]:
    """The name of the backend for this EMAIL_URL, and its options; ValueError, in words, if none can."""
    parts = urlsplit(url)
    if parts.scheme in _SMTP and parts.hostname:
        return f"{_BACKENDS}.smtp.EmailBackend", _smtp_options(parts)
    if directory := mail_directory(url):
        return f"{_BACKENDS}.filebased.EmailBackend", {"file_path": directory}
    if parts.scheme == "consolemail":
        return f"{_BACKENDS}.console.EmailBackend", {}
    raise ValueError("it names no way to deliver mail")


def _smtp_options(parts: SplitResult) -> dict[str, Any]:
    options = _SMTP[parts.scheme] | {"host": parts.hostname, "timeout": TIMEOUT}
    try:
        options["port"] = parts.port or options["port"]
    except ValueError:  # whose own words may show a part of the password
        raise ValueError("its port is no number; is something in it not percent-encoded?") from None
    return options | {
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
    }


def backend(url: str) -> BaseEmailBackend:
    """What delivers by this EMAIL_URL, not connected yet."""
    name, options = transport(url)
    # Without an alias Django 6.1 completes the options from the settings; older ones ignore it.
    made: BaseEmailBackend = import_string(name)(alias="delivery", **options)
    return made


def mail_directory(url: str) -> Path | None:
    """The directory that a filemail:///directory URL names; None for any other."""
    parts = urlsplit(url)
    if parts.scheme != "filemail" or not parts.path.strip("/"):
        return None
    return Path("/", unquote(parts.path).lstrip("/"))


def deliver_pending(now: datetime, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Try every mail that is due, once; stop after ROUND, or when the mail server is away.

    With `should_stop()` true the mail in hand is finished and no other begun. Any number of
    processes may do this at once.
    """
    _Round(now, should_stop).run()


def forget_sent(now: datetime) -> None:
    """Delete what was sent or given up long ago: who was written to when is personal too."""
    before = now - KEPT
    OutgoingMail.objects.filter(Q(sent_at__lt=before) | Q(failed_at__lt=before)).delete()


@cache
def breaker(url: str) -> Breaker:
    """What this process knows about the mail server's health."""
    return Breaker("mail", PAUSE)


class _Round:
    """One round of deliveries, over one connection while that holds."""

    def __init__(self, now: datetime, should_stop: Callable[[], bool]) -> None:
        self._now = now
        self._should_stop = should_stop
        self._until = time.monotonic() + ROUND
        self._breaker = breaker(settings.EMAIL_URL)
        self._connection: BaseEmailBackend | None = None

    def run(self) -> None:
        try:
            while not self._is_over and (mails := _claim(self._now)):
                while mails and not self._is_over:
                    self._deliver(mails.pop(0))
                _give_back(mails)
        finally:
            self._close()

    @property
    def _is_over(self) -> bool:
        return self._breaker.is_open or self._should_stop() or time.monotonic() > self._until

    def _deliver(self, mail: OutgoingMail) -> None:
        try:
            self._open().send_messages([_message(mail)])
        except Exception as error:
            if isinstance(error, OSError) and not isinstance(error, _ABOUT_THE_MAIL):
                self._breaker.trip(error)
            self._close()
            _failed(mail, error, self._now)
        else:
            _finish(mail, sent_at=self._now, failure="")
            log.info("mail_sent", mail_id=mail.pk)

    def _open(self) -> BaseEmailBackend:
        if self._connection is None:
            self._connection = backend(settings.EMAIL_URL)
            self._connection.open()
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None


def _claim(now: datetime) -> list[OutgoingMail]:
    """Take mails that are due for LEASE; what failed before comes after what never did."""
    due = OutgoingMail.objects.filter(PENDING).exclude(next_attempt_at__gt=now)
    with transaction.atomic():
        first = due.order_by("attempts", "id").select_for_update(skip_locked=True)[:CLAIM]
        mails = list(first)
        OutgoingMail.objects.filter(pk__in=[mail.pk for mail in mails]).update(
            attempts=F("attempts") + 1, next_attempt_at=now + LEASE
        )
    for mail in mails:
        mail.attempts += 1
    return mails


def _claimed(mail: OutgoingMail) -> QuerySet[OutgoingMail]:
    """The mail's row, unless it is done or another process has claimed it since."""
    return OutgoingMail.objects.filter(PENDING, pk=mail.pk, attempts=mail.attempts)


def _give_back(mails: Iterable[OutgoingMail]) -> None:
    """Undo the claim of mails that were not tried."""
    for mail in mails:
        _claimed(mail).update(attempts=F("attempts") - 1, next_attempt_at=None)


def _failed(mail: OutgoingMail, error: Exception, now: datetime) -> None:
    """Put the mail off, or give it up: after a day, and at once where the recipient is refused."""
    failure = f"{type(error).__name__}: {error}"[:2_000]
    if _is_refused(error) or now - mail.created_at >= GIVE_UP_AFTER:
        _finish(mail, failed_at=now, failure=failure)
        said, event = log.error, "mail_failed"
    else:
        pause = BACK_OFF[min(mail.attempts, len(BACK_OFF)) - 1]
        _claimed(mail).update(next_attempt_at=now + pause, failure=failure)
        said, event = log.warning, "mail_put_off"
    said(event, mail_id=mail.pk, attempts=mail.attempts, error=type(error).__name__)


def _finish(mail: OutgoingMail, **outcome: Any) -> None:
    """There is nothing more to do for it, so what it said is blanked."""
    done = {"text": "", "html": "", "next_attempt_at": None}
    OutgoingMail.objects.filter(PENDING, pk=mail.pk).update(**done, **outcome)


def _is_refused(error: Exception) -> bool:
    """Whether the server will never take mail for these recipients."""
    return isinstance(error, smtplib.SMTPRecipientsRefused) and all(
        500 <= code < 600 for code, _ in error.recipients.values()
    )


def _message(mail: OutgoingMail) -> EmailMessage:
    """The mail, the same at every attempt."""
    domain = parseaddr(mail.sender)[1].rpartition("@")[2] or "localhost"
    message = EmailMultiAlternatives(
        mail.subject,
        mail.text,
        mail.sender,
        mail.recipients.split("\n"),
        headers={
            "Message-ID": f"<{mail.message_id}@{domain}>",
            "Date": format_datetime(mail.created_at),
            "Auto-Submitted": "auto-generated",  # keeps answers of the "out of office" kind away
        },
    )
    if mail.html:
        message.attach_alternative(mail.html, "text/html")
    return message
