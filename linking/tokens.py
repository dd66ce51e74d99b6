"""Signed link URLs, and the undo links in mails.

A signed URL carries `expires` (Unix seconds) and `signature`: hex HMAC-SHA256, keyed with the link
secret's UTF-8 bytes, of five lines joined by a line feed, as UTF-8 and before any URL encoding:
`zego-link-v1`, wp, wp_id, email, expires. docs/linking.md has the recipe with a test vector.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from django.conf import settings
from django.core import signing
from django.core.exceptions import ValidationError

from linking.models import LinkPolicy, LinkSecret, SpentSignature, WorkProvider
from zego_api.secrecy import decrypt, encrypt

PATH = "/link-work-provider"
_LABEL = "zego-link-v1"
_UNDO = "linking.undo"
_EXPIRES = re.compile(r"[0-9]{1,12}", re.ASCII)


class BadSignature(Exception):  # noqa: N818 (it is no defect of ours)
    """The signature is missing, wrong, or not for this URL."""


class ExpiredSignature(BadSignature):
    """It was right, and its time is over."""


class SpentAlready(BadSignature):
    """It was right, and an agreement has used it up."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature found good: its SHA-256, when it ends, and which secret made it."""

    digest: bytes
    expires_at: datetime
    secret: LinkSecret


def sign(secret: str, *, wp: str, wp_id: str, email: str, expires: int) -> str:
    """The hex signature of these values, exactly as they stand in the URL once decoded."""
    message = "\n".join((_LABEL, wp, wp_id, email, str(expires)))
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()


def link_url(
    work_provider: WorkProvider, *, driver_id: str, email: str, now: datetime, lasts: timedelta
) -> str:
    """The URL to send to a driver, signed with the newest secret where the policy asks for it.

    Raises ValidationError when it does and there is no live secret.
    """
    query = {"wp": work_provider.name, "wp_id": driver_id, "email": email}
    if work_provider.link_policy == LinkPolicy.SIGNED:
        secret = work_provider.link_secrets.filter(revoked_at__isnull=True).order_by("-pk").first()
        if secret is None:
            raise ValidationError(f"{work_provider} has no live link secret to sign with.")
        expires = int((now + lasts).timestamp())
        signature = sign(decrypt(secret.encrypted), **query, expires=expires)
        query |= {"expires": str(expires), "signature": signature}
    return f"{settings.PUBLIC_URL}{PATH}?{urlencode(query)}"


def verify(
    work_provider: WorkProvider,
    *,
    wp: str,
    wp_id: str,
    email: str,
    expires: str,
    signature: str,
    now: datetime,
) -> Signed:
    """Check a URL's signature against every live secret; raises BadSignature or a kind of it."""
    if not _EXPIRES.fullmatch(expires) or "\n" in wp + wp_id + email:
        raise BadSignature
    ends = int(expires)
    given = signature.encode()
    # Every one is compared, so that the time taken does not tell which secret was near.
    found = [
        row
        for row in work_provider.link_secrets.filter(revoked_at__isnull=True)
        if hmac.compare_digest(
            sign(decrypt(row.encrypted), wp=wp, wp_id=wp_id, email=email, expires=ends).encode(),
            given,
        )
    ]
    if not found:
        raise BadSignature
    if ends > (now + settings.SIGNED_LINK_MAX_AGE).timestamp():
        raise BadSignature
    if ends <= now.timestamp():
        raise ExpiredSignature
    digest = hashlib.sha256(given).digest()
    if SpentSignature.objects.filter(signature=digest).exists():
        raise SpentAlready
    return Signed(digest, datetime.fromtimestamp(ends, UTC), found[0])


def issue_secret(work_provider: WorkProvider) -> tuple[LinkSecret, str]:
    """Make a link secret; returns its row and the secret, which is shown this once.

    Raises ValidationError when two are live already: the older one is to be revoked first.
    """
    secret = f"zego_link_{secrets.token_urlsafe(32)}"
    row = LinkSecret(work_provider=work_provider, encrypted=encrypt(secret))
    row.clean()
    row.save()
    return row, secret


class Agreed(NamedTuple):
    """Which agreement an undo link names."""

    customer_id: int
    work_provider_id: int
    at: datetime


def undo_token(customer_id: int, work_provider_id: int, agreed_at: datetime) -> str:
    """What stands in the mail's undo link: names one agreement, and cannot be made up."""
    return signing.dumps([customer_id, work_provider_id, agreed_at.isoformat()], salt=_UNDO)


def read_undo_token(token: str) -> Agreed | None:
    """The agreement that the token names; None if it is wrong or too old."""
    try:
        customer_id, work_provider_id, agreed_at = signing.loads(
            token, salt=_UNDO, max_age=settings.UNDO_LASTS
        )
    except signing.BadSignature:
        return None
    return Agreed(customer_id, work_provider_id, datetime.fromisoformat(agreed_at))
