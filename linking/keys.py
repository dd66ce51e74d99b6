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
from django.db.models import Q
from django.db.models.signals import post_save
from django.dispatch import receiver

from linking.models import ApiKey, WorkProvider

# How long a key may still work after it was revoked; every process has a cache of its own.
CACHE_SECONDS = 5
_LAST_USED_GRAIN = timedelta(minutes=1)
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY = re.compile(r"(zego_(?:live|test)_([0-9A-Za-z]{12})_[0-9A-Za-z]{43})_([0-9a-f]{8})", re.ASCII)


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


def verify(key: str, *, now: datetime) -> Credentials | None:
    """Whose key this is; None when it is unknown, revoked, expired or its work provider inactive."""
    match = _KEY.fullmatch(key)
    if match is None or f"{zlib.crc32(match[1].encode()):08x}" != match[3]:
        return None
    key_id = match[2]
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


def forget_cached() -> None:
    """Empty this process's cache, so that the next request sees the database's present state."""
    with _cache_lock:
        _cache.clear()


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
