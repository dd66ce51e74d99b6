"""What a valid body is (docs/domain.md, "The wire"): bytes in, events or item errors out.

The digest reads a stored body with the same functions that accepted it, so what a 202 promised can be
read again. msgspec finds the fields; everything about their values is decided here. Its own date parser
is not used: Python's `datetime.fromisoformat` is the reference.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from django.conf import settings

from linking import identifiers
from zego_api.errors import ItemError

FIRST_YEAR, LAST_YEAR = 2000, 2100
MAX_DEPTH = 100
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_NAMES = ("policyId", "customerNumber", "driverId", "workProviderUserId", "timestamp")
_QUOTED_NAMES = tuple((name, f'"{name}"'.encode()) for name in _NAMES)


class Event(NamedTuple):
    """One event as read: exactly one of the two identifiers, and an aware instant in UTC."""

    driver_id: str | None
    customer_number: str | None
    at: datetime


class InvalidBody(Exception):  # noqa: N818 (it is no defect of ours)
    """The body is refused as a whole; `errors` names every bad item."""

    def __init__(self, errors: list[ItemError]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = errors


class _Item(msgspec.Struct, gc=False):
    policyId: Any = None  # noqa: N815
    customerNumber: Any = None  # noqa: N815
    driverId: Any = None  # noqa: N815
    workProviderUserId: Any = None  # noqa: N815
    timestamp: Any = None


class _Invalid(Exception):  # noqa: N818
    """One item is invalid; the index is added where it is caught."""

    def __init__(self, field: str | None, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


_decode_one = msgspec.json.Decoder(_Item).decode
_decode_batch = msgspec.json.Decoder(list[_Item]).decode
_decode_any = msgspec.json.Decoder().decode


def read(
    body: bytes,
    *,
    is_batch: bool,
    zone: str,
    received_at: datetime,
    max_future: timedelta | None = None,
) -> list[Event]:
    """The events of a body, in its order; raises InvalidBody.

    Timestamps without an offset are local time in `zone`. An event more than `max_future` after
    `received_at` is invalid; None (when a stored body is read again) leaves that unchecked.
    """
    items = _items(body, is_batch=is_batch)
    at_of = _timestamp_reader(ZoneInfo(zone), received_at)
    latest = None if max_future is None else received_at + max_future
    events: list[Event] = []
    errors: list[ItemError] = []
    for index, item in enumerate(items):
        try:
            events.append(_event(item, at_of, latest))
        except _Invalid as invalid:
            errors.append(ItemError(index if is_batch else None, invalid.field, invalid.reason))
    if errors:
        raise InvalidBody(errors)
    return events


def _items(body: bytes, *, is_batch: bool) -> list[Any]:
    """The body's items: an _Item each, or whatever stands where an object should."""
    if not body:
        raise _whole_body("The body is empty; send JSON.")
    try:
        text = body.decode()
        decoded: list[Any] = _decode_batch(body) if is_batch else [_decode_one(body)]
    except msgspec.ValidationError:
        decoded = _items_of_wrong_type(body, is_batch=is_batch)
    except UnicodeDecodeError:
        raise _whole_body("The body is not valid UTF-8.") from None
    except (msgspec.MsgspecError, RecursionError):
        raise _whole_body("The body is not valid JSON.") from None
    else:
        _refuse_wrong_count(len(decoded), is_batch=is_batch)
        _refuse_deep_nesting(body, flat=len(decoded) + is_batch)
        _refuse_repeated_names(text, body, decoded)
    return decoded


def _refuse_wrong_count(count: int, *, is_batch: bool) -> None:
    if is_batch and not 1 <= count <= settings.BATCH_MAX_EVENTS:
        raise _whole_body(
            f"A batch has 1 to {settings.BATCH_MAX_EVENTS} events; this one has {count}."
        )


def _items_of_wrong_type(body: bytes, *, is_batch: bool) -> list[Any]:
    """Valid JSON of a wrong shape, or with a number too long to read: find out which item."""
    try:
        value = _decode_any(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _whole_body("The body is not valid JSON, or has a number too long to read.") from None
    if is_batch and not isinstance(value, list):
        raise _whole_body("Send an array of objects to a batch address.")
    if not is_batch and not isinstance(value, dict):
        raise _whole_body("Send one object to a shift address; arrays go to /v1/batch/.")
    items = value if is_batch else [value]
    _refuse_wrong_count(len(items), is_batch=is_batch)
    return [msgspec.convert(item, _Item) if isinstance(item, dict) else item for item in items]


def _whole_body(reason: str) -> InvalidBody:
    return InvalidBody([ItemError(None, None, reason)])


def _refuse_deep_nesting(body: bytes, flat: int) -> None:
    """Refuse what only an emptier stack can read.

    How deep a reader gets depends on the stack under it, and what a web process accepted a worker must
    be able to read again. A body without nested values has `flat` brackets, and no depth to measure.
    """
    if body.count(b"{") + body.count(b"[") == flat:
        return
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(body):
        if token[0] in (b"[", b"{"):
            depth += 1
        elif token[0] in (b"]", b"}"):
            depth -= 1
        if depth > MAX_DEPTH:
            raise _whole_body(f"Values are nested more than {MAX_DEPTH} deep.")


def _refuse_repeated_names(text: str, body: bytes, items: list[_Item]) -> None:
    """A name that stands twice in one object names two drivers or two instants: refuse it.

    Counting is a filter that costs microseconds; only a body it cannot clear is read once more, by
    the slow reader that sees every pair. An escaped name would escape the count.
    """
    if "\\" not in text:
        for name, quoted in _QUOTED_NAMES:
            present = body.count(quoted)
            if present and present != sum(getattr(item, name) is not None for item in items):
                break
        else:
            return
    try:
        value = json.loads(text, object_pairs_hook=_Pairs, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        raise _whole_body("The body is not valid JSON.") from None
    errors = [
        ItemError(index if isinstance(value, list) else None, name, "Is given twice.")
        for index, pairs in enumerate(value if isinstance(value, list) else [value])
        for name in _NAMES
        if [key for key, _ in pairs.pairs].count(name) > 1
    ]
    if errors:
        raise InvalidBody(errors)


class _Pairs:
    """A JSON object as its pairs; not a list, so that arrays stay distinct."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def _event(item: Any, at_of: Callable[[Any], datetime], latest: datetime | None) -> Event:
    if not isinstance(item, _Item):
        raise _Invalid(None, "Must be an object.")
    number = _identifier(item, "policyId", "customerNumber", str.upper)
    driver_id = _identifier(item, "driverId", "workProviderUserId")
    if (number is None) is (driver_id is None):
        raise _Invalid(None, "Send exactly one of policyId and driverId.")
    at = at_of(item.timestamp)
    if latest is not None and at > latest:
        raise _Invalid("timestamp", "Is too far in the future.")
    return Event(driver_id, number, at)


def _identifier(
    item: _Item, name: str, later_name: str, normalise: Callable[[str], str] = str
) -> str | None:
    """The value under either spelling of one identifier, trimmed; None when neither is given."""
    value, later = getattr(item, name), getattr(item, later_name)
    if later is None:
        return None if value is None else _clean_id(name, value, normalise)
    cleaned = _clean_id(later_name, later, normalise)
    if value is not None and _clean_id(name, value, normalise) != cleaned:
        raise _Invalid(later_name, f"Differs from {name}; send one of them.")
    return cleaned


def _clean_id(name: str, given: Any, normalise: Callable[[str], str]) -> str:
    if type(given) is not int and not isinstance(given, str):
        raise _Invalid(name, "Must be a string.")
    try:
        return identifiers.clean(str(given), normalise)
    except ValueError as error:
        raise _Invalid(name, str(error)) from None


def _timestamp_reader(zone: ZoneInfo, received_at: datetime) -> Callable[[Any], datetime]:
    def read_timestamp(value: Any) -> datetime:
        found = _date_and_time(value)
        if not FIRST_YEAR <= found.year <= LAST_YEAR:
            raise _Invalid("timestamp", f"Must lie between {FIRST_YEAR} and {LAST_YEAR}.")
        if found.tzinfo is None:
            return _from_local(found, zone, received_at)
        return found.astimezone(UTC)

    return read_timestamp


def _date_and_time(value: Any) -> datetime:
    """What `datetime.fromisoformat` reads, less the forms that name no instant of the clock."""
    if not isinstance(value, str):
        raise _Invalid("timestamp", "Must be a string: an ISO-8601 date and time.")
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise _Invalid("timestamp", "Is not an ISO-8601 date and time.") from None
    date_length = 10 if value[4] == "-" else 8
    if len(value) <= date_length:
        raise _Invalid("timestamp", "Has no time of day.")
    if "W" in value[:date_length]:
        raise _Invalid("timestamp", "Must not be a week date.")
    if value[date_length + 1 : date_length + 3] == "24":  # newer Pythons read it as the next day
        raise _Invalid("timestamp", "Must not have the hour 24.")
    return found


def _from_local(local: datetime, zone: ZoneInfo, received_at: datetime) -> datetime:
    """The instant of a local time: of two readings the one nearer to its arrival.

    A local time that never existed is read as PEP 495 does, by the offset before the change.
    """
    first = local.replace(tzinfo=zone).astimezone(UTC)
    second = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if second > first and abs(second - received_at) < abs(first - received_at):
        return second
    return first
