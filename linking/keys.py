"""API keys: `zego_live_<id>_<secret>_<crc32>`.

256 random bits need no slow hash, and the checksum turns junk away before any query. A key is shown
once, when it is issued; the database holds the SHA-256 of the whole key.
"""

import hashlib
import hmac
import re
import secrets
import threading
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from cachetools import TTLCache
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.db.models.signals import post_save
from django.dispatch import receiver

from linking import desk
from linking.models import ApiKey, DeskAction, User, WorkProvider

# How long a key may still work after it was revoked; every process has a cache of its own.
CACHE_SECONDS = 5
_LAST_USED_GRAIN = timedelta(minutes=1)
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY = re.compile(r"(zego_(?:live|test)_([0-9A-Za-z]{12})_[0-9A-Za-z]{43})_([0-9a-f]{8})", re.ASCII)
_BEGINS_LIKE_A_KEY = re.compile(r"zego_(?:live|test)_(?:([0-9A-Za-z]{12})_)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What accepting a request needs to know of its key and work provider."""

    api_key_id: int
    secret_hash: bytes
    work_provider_id: int
    timezone: str
    max_future: timedelta
    expires_at: datetime | None
    is_authenticated: bool = True  # what DRF's IsAuthenticated asks of a "user"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a key was refused, for the ops desk; `row` only where it is that very key."""

    hint: str
    row: ApiKey | None = None


_cache: TTLCache[str, Credentials] = TTLCache(maxsize=10_000, ttl=CACHE_SECONDS)
_cache_lock = threading.Lock()


def issue(
    work_provider: WorkProvider, *, label: str = "", expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Make a key; returns its row and the key itself, which cannot be had again."""
    environment = "test" if work_provider.is_test else "live"
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(43))
    payload = f"zego_{environment}_{key_id}_{secret}"
    key = f"{payload}_{zlib.crc32(payload.encode()):08x}"
    row = ApiKey.objects.create(
        work_provider=work_provider,
        key_id=key_id,
        secret_hash=_digest(key),
        label=label,
        expires_at=expires_at,
    )
    return row, key


def hand_out(
    work_provider: WorkProvider,
    *,
    label: str,
    expires_at: datetime | None,
    actor: User,
    reason: str,
    now: datetime,
) -> tuple[ApiKey, str]:
    """`issue` by the ops desk, with who and why on record."""
    if expires_at is not None and expires_at <= now:
        raise ValidationError({"expires_at": "A key that has expired opens nothing."})
    with transaction.atomic():
        row, key = issue(work_provider, label=label, expires_at=expires_at)
        desk.record(
            DeskAction.Kind.ISSUE_KEY,
            actor=actor,
            reason=reason,
            now=now,
            work_provider=work_provider,
            details={"key_id": row.key_id, "label": label, "expires_at": _iso(expires_at)},
        )
    return row, key


def roll(
    old: ApiKey, *, lives_on: timedelta, actor: User, reason: str, now: datetime
) -> tuple[ApiKey, str]:
    """Issue the successor of a key, which dies after `lives_on`, or earlier if it was to anyway.

    Returns the new row and the new key, as `issue` does. Raises ValidationError when the old key is
    dead already, or has been rolled.
    """
    with transaction.atomic():
        old = _lock(old)
        if state_of(old, now) != "live":
            raise ValidationError("This key is dead already: issue a new one instead.")
        if _is_rolled(old):
            raise ValidationError("This key has been rolled already: roll its successor.")
        row, key = issue(old.work_provider, label=old.label)
        dies_at = now + lives_on
        old.expires_at = min(dies_at, old.expires_at or dies_at)
        old.save(update_fields=["expires_at"])
        _record_about(
            old,
            DeskAction.Kind.ROLL_KEY,
            actor=actor,
            reason=reason,
            now=now,
            details={"new_key_id": row.key_id, "expires_at": _iso(old.expires_at)},
        )
    return row, key


def revoke(row: ApiKey, *, actor: User, reason: str, now: datetime) -> ApiKey:
    """End a key at once: within CACHE_SECONDS no process takes it any more.

    Raises ValidationError when it has been revoked already.
    """
    with transaction.atomic():
        row = _lock(row)
        if row.revoked_at is not None:
            raise ValidationError("This key has been revoked already.")
        row.revoked_at = now
        row.save(update_fields=["revoked_at"])
        _record_about(row, DeskAction.Kind.REVOKE_KEY, actor=actor, reason=reason, now=now)
    return row


def state_of(row: ApiKey, now: datetime) -> str:
    """live, revoked or expired; whether the work provider is active is another question."""
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "live"


def verify(key: str, *, now: datetime) -> Credentials | None:
    """Whose key this is; None when it is unknown, revoked, expired or its work provider inactive."""
    key_id = _whole(key)
    if key_id is None:
        return None
    with _cache_lock:
        credentials = _cache.get(key_id)
    fetched = None if credentials else _fetch(key_id)
    if fetched:
        credentials = _credentials(fetched)
    if credentials is None or not hmac.compare_digest(credentials.secret_hash, _digest(key)):
        return None
    if credentials.expires_at is not None and credentials.expires_at <= now:
        return None
    if fetched:
        _note_use(fetched, now)
        with _cache_lock:
            _cache[key_id] = credentials
    return credentials


def why_refused(key: str, *, now: datetime) -> Refusal:
    """What was wrong with a key that `verify` did not take; junk costs no query."""
    found = _whole(key)
    if found is None:
        return Refusal(_wrong_form(key))
    row = ApiKey.objects.select_related("work_provider").filter(key_id=found).first()
    if row is None:
        return Refusal(f"No key of ours has the id {found}: made up, or of another installation.")
    if not hmac.compare_digest(bytes(row.secret_hash), _digest(key)):
        return Refusal(f"The key id {found} is ours, the rest is not: made up.")
    return Refusal(_why_dead(row, now), row)


def forget_cached() -> None:
    """Empty this process's cache, so that the next request sees the database's present state."""
    with _cache_lock:
        _cache.clear()


def _wrong_form(key: str) -> str:
    inside = _KEY.search(key)
    if inside is not None and _whole(inside[0]):
        return "A key of ours with something around it (a scheme, quotes): send the key alone."
    if key.startswith("zego_link_"):
        return "A link secret, which signs link URLs; it is no API key."
    begins = _BEGINS_LIKE_A_KEY.match(key)
    if begins is None:
        return "Not a key of ours by its form."
    which = f" (it begins with the id {begins[1]})" if begins[1] else ""
    return f"A key of ours copied incompletely or mistyped: its checksum is wrong{which}."


def _why_dead(row: ApiKey, now: datetime) -> str:
    if row.revoked_at is not None:
        return f"Key {row.key_id} was revoked on {row.revoked_at:%d %B %Y at %H:%M} UTC."
    if row.expires_at is not None and row.expires_at <= now:
        return f"Key {row.key_id} expired on {row.expires_at:%d %B %Y at %H:%M} UTC."
    if not row.work_provider.is_active:
        return f"Key {row.key_id} is good, but its work provider is not active."
    return f"Key {row.key_id} is good by now; it was not when it was sent."


def _whole(key: str) -> str | None:
    """The id in a key of the right form and checksum; None for junk."""
    match = _KEY.fullmatch(key)
    if match is None or f"{zlib.crc32(match[1].encode()):08x}" != match[3]:
        return None
    return match[2]


def _lock(row: ApiKey) -> ApiKey:
    locked = ApiKey.objects.select_for_update(of=("self",)).select_related("work_provider")
    return locked.get(pk=row.pk)


def _is_rolled(row: ApiKey) -> bool:
    return DeskAction.objects.filter(
        kind=DeskAction.Kind.ROLL_KEY,
        work_provider=row.work_provider_id,
        details__key_id=row.key_id,
    ).exists()


def _record_about(
    row: ApiKey,
    kind: DeskAction.Kind,
    *,
    actor: User,
    reason: str,
    now: datetime,
    details: dict[str, str | None] | None = None,
) -> None:
    desk.record(
        kind,
        actor=actor,
        reason=reason,
        now=now,
        work_provider=row.work_provider,
        details={"key_id": row.key_id, "label": row.label} | (details or {}),
    )


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _fetch(key_id: str) -> ApiKey | None:
    live = ApiKey.objects.filter(revoked_at__isnull=True, work_provider__is_active=True)
    return live.select_related("work_provider").filter(key_id=key_id).first()


def _credentials(row: ApiKey) -> Credentials:
    return Credentials(
        api_key_id=row.pk,
        secret_hash=bytes(row.secret_hash),
        work_provider_id=row.work_provider_id,
        timezone=row.work_provider.timezone,
        max_future=row.work_provider.max_future,
        expires_at=row.expires_at,
    )


def _note_use(row: ApiKey, now: datetime) -> None:
    """Only when a cached look-up has run out, and to the minute: accepting is to write one row."""
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - _LAST_USED_GRAIN)
    if row.last_used_at is None or row.last_used_at < now - _LAST_USED_GRAIN:
        ApiKey.objects.filter(stale, pk=row.pk).update(last_used_at=now)


@receiver(post_save, sender=ApiKey)
@receiver(post_save, sender=WorkProvider)
def _forget_after_save(**kwargs: object) -> None:
    forget_cached()
