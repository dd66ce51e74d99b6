"""What the API refused, kept for a week so that "we get 400" is answered in a minute.

Nothing of a request's values is kept: the reasons are the service's own words, and of the first bad
item there is only its form, with letters and digits masked. A row is written once the answer has left,
at most so many a sender, and whatever goes wrong with it is the log's business alone.
"""

import re
import threading
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import msgspec
import structlog
from cachetools import TTLCache
from django.db import transaction
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.request import Request

from linking import keys
from linking.keys import Credentials, Refusal
from shifts.authentication import sent_key
from shifts.models import RejectedRequest
from zego_api import limits
from zego_api.breaker import Breaker
from zego_api.db import is_outage
from zego_api.errors import INVALID_DATA, INVALID_KEY, MISSING_AUTH, TOO_LARGE, ApiError
from zego_api.middleware import request_id_of

log = structlog.get_logger(__name__)

KEPT = timedelta(days=7)
ERRORS_KEPT = 20
SAMPLE_LENGTH = 1000
PER_MINUTE = 60  # of a work provider, and of all unknown senders together
PER_HOUR = 1000
LOOK_UPS_PER_MINUTE = 600  # of keys in the right form, by one process
# Of several that are refused at one moment the others do not wait longer for the first one's row.
PATIENCE = 0.05

# As the specification spells them, and as people misspell them.
_FIELD_NAMES = {"policyid", "driverid", "customernumber", "workprovideruserid", "timestamp"}
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"(?P<colon>\s*:)?|true|false|null|.', re.DOTALL)
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode

_lock = threading.Lock()
_breaker = Breaker("database, for rejected requests", 5.0)
_counts: TTLCache[tuple[object, int], int] = TTLCache(maxsize=10_000, ttl=120)


@dataclass(frozen=True, slots=True)
class _Sender:
    """Who sent it, as far as that can be told, and what was wrong with the key."""

    work_provider_id: int | None = None
    api_key_id: int | None = None
    hint: str = ""


def keep_after(
    answer: HttpResponse, request: Request, error: ApiError, credentials: Credentials | None
) -> None:
    """Keep a record of a refused request as soon as `answer`, which refuses it, has left."""
    if error.problem.status < 500:
        keep = partial(_try_to_keep, request, error, credentials)
        answer._resource_closers.append(keep)  # type: ignore[attr-defined]  # noqa: SLF001


def forget_old(now: datetime) -> None:
    """Delete what has been kept for long enough."""
    RejectedRequest.objects.filter(received_at__lt=now - KEPT).delete()


def sample_of(body: bytes, index: int | None) -> str:
    """The form of one item of a body, or of the whole body: values masked, and not too long."""
    return mask(_item(body, index)[: 4 * SAMPLE_LENGTH].decode(errors="replace"))


def mask(text: str) -> str:
    """Letters as x, digits as 9; what JSON itself says and the specification's field names stay."""
    return "".join(_masked_token(match) for match in _TOKEN.finditer(text[:SAMPLE_LENGTH]))


def _try_to_keep(request: Request, error: ApiError, credentials: Credentials | None) -> None:
    """One at a time, so that a database that does not answer holds up one thread and no more."""
    if _breaker.is_open or not _lock.acquire(timeout=PATIENCE):
        return
    try:
        _keep(request, error, credentials, timezone.now())
    except Exception as problem:
        if not is_outage(problem):
            log.exception("rejected_request_not_kept")
        _breaker.trip(problem)
    finally:
        _lock.release()


def _keep(
    request: Request, error: ApiError, credentials: Credentials | None, now: datetime
) -> None:
    with transaction.atomic():
        sender = _sender(request, error, credentials, now)
        if sender is None or not _has_room(sender.work_provider_id, now):
            return
        meta = request.META
        RejectedRequest.objects.create(
            request_id=request_id_of(request._request),  # noqa: SLF001
            work_provider_id=sender.work_provider_id,
            api_key_id=sender.api_key_id,
            received_at=now,
            path=request.path[:100],
            status=error.problem.status,
            code=error.problem.code,
            hint=sender.hint[:200],
            errors=_errors(error),
            error_count=len(error.errors),
            sample=_sample(request, error),
            content_type=_printable(meta.get("CONTENT_TYPE", ""))[:100],
            user_agent=_printable(meta.get("HTTP_USER_AGENT", ""))[:200],
            body_bytes=_length(request),
        )


def _sender(
    request: Request, error: ApiError, credentials: Credentials | None, now: datetime
) -> _Sender | None:
    """None when there have been too many keys to look up."""
    if credentials is not None:
        hint = _hint_about_body(request, error)
        return _Sender(credentials.work_provider_id, credentials.api_key_id, hint)
    if error.problem == MISSING_AUTH:
        return _Sender(hint=_hint_about_missing_key(request))
    if error.problem != INVALID_KEY:
        return _Sender()
    if not _count_here("look-ups", now, LOOK_UPS_PER_MINUTE):
        return None
    refusal = keys.why_refused(sent_key(request), now=now)
    return _sender_of_key(refusal)


def _sender_of_key(refusal: Refusal) -> _Sender:
    row = refusal.row
    if row is None:
        return _Sender(hint=refusal.hint)
    return _Sender(row.work_provider_id, row.pk, refusal.hint)


def _hint_about_missing_key(request: Request) -> str:
    for name in ("X-Api-Key", "Api-Key", "X-Authorization"):
        if name in request.headers:
            return f"The key came in {name}; it belongs into Authorization."
    if "Authorization" in request.headers:
        return "The Authorization header is empty, or has characters beyond ASCII."
    return "No Authorization header."


def _hint_about_body(request: Request, error: ApiError) -> str:
    if error.problem == TOO_LARGE:
        length = _length(request)
        return f"The body has {length:,} bytes." if length else "The body is longer than it said."
    return ""


def _errors(error: ApiError) -> list[dict[str, object]]:
    return [
        {"index": item.index, "field": item.field, "reason": item.reason}
        for item in error.errors[:ERRORS_KEPT]
    ]


def _sample(request: Request, error: ApiError) -> str:
    """Of a body that was read, and only where an item of it is at fault."""
    if error.problem != INVALID_DATA or not error.errors:
        return ""
    return sample_of(request._request.body, error.errors[0].index)  # noqa: SLF001


def _item(body: bytes, index: int | None) -> bytes:
    if index is None:
        return body
    try:
        return bytes(_decode_items(body)[index])
    except (msgspec.MsgspecError, RecursionError, IndexError):
        return body


def _masked_token(match: re.Match[str]) -> str:
    token = match[0]
    if token in ("true", "false", "null"):
        return token
    if match["colon"] and _is_field_name(token[:-1].rstrip()):
        return token
    return "".join(map(_masked, token))


def _is_field_name(quoted: str) -> bool:
    return re.sub(r"[\"_ -]", "", quoted).lower() in _FIELD_NAMES


def _masked(character: str) -> str:
    """Letters and digits of any script; what is neither, nor punctuation, may still say something."""
    if character.isalpha():
        return "x"
    if character.isnumeric():
        return "9"
    kept = character in "\t\r\n" or unicodedata.category(character)[0] in "PSZ"
    return character if kept else "?"


def _has_room(work_provider_id: int | None, now: datetime) -> bool:
    """Counted in this process too: while Redis is away it lets everything through."""
    return _count_here(work_provider_id, now, PER_MINUTE) and all(
        limits.allow(limit, "rejected", str(work_provider_id))
        for limit in (f"{PER_MINUTE}/minute", f"{PER_HOUR}/hour")
    )


def _count_here(what: object, now: datetime, most: int) -> bool:
    """One more in this minute of this process; False when there have been `most`. Under the lock."""
    key = (what, int(now.timestamp()) // 60)
    count = _counts.get(key, 0)
    _counts[key] = count + 1
    return count < most


def _length(request: Request) -> int | None:
    length = request.META.get("CONTENT_LENGTH") or ""
    return int(length) if length.isdecimal() and len(length) < 10 else None


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
