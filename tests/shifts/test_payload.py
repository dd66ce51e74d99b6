"""Reading a body, tried on whatever chance makes up: events or InvalidBody, and never anything else."""

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db.models import CharField
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shifts.models import ShiftEvent
from shifts.payload import FIRST_YEAR, LAST_YEAR, Event, InvalidBody, read

NOW = datetime(2026, 10, 25, 1, 0, tzinfo=UTC)  # the clocks of Europe go back at this instant
DAY = timedelta(hours=24)
ZONES = ("UTC", "Europe/London", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia")
NAMES = ("policyId", "customerNumber", "driverId", "workProviderUserId", "timestamp")
GOOD = b'{"driverId": "1686", "timestamp": "2026-06-01T10:00:00Z"}'

# The same examples on every run: a red build is to be about the change, and can be run again.
settings.register_profile(
    "payload",
    derandomize=True,
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow],
)
profile = settings.get_profile("payload")


def event(**fields: str) -> bytes:
    """A valid event but for the fields given, each as JSON text."""
    valid = {"driverId": '"1686"', "timestamp": '"2026-06-01T10:00:00Z"'}
    pairs = (f'"{name}": {value}' for name, value in (valid | fields).items())
    return ("{" + ", ".join(pairs) + "}").encode()


KNOWN_BAD = (
    b"",
    b"null",
    b'"text"',
    b"[]",
    b"{}",
    b"[null]",
    b"\xff",
    b"\xef\xbb\xbf" + GOOD,
    GOOD + b"\x00",
    GOOD.decode().encode("utf-16"),
    b"[" * 100_000,
    b'{"a":' * 100_000,
    event(later="[" * 100_000 + "]" * 100_000),
    event(later='"x', driverId='"\\ud800"'),
    b'{"later": "\xff", ' + GOOD[1:],
    event(driverId='"\\u0000"'),
    event(driverId='"\\udc00\\ud800"'),
    event(driverId="NaN"),
    event(driverId="-Infinity"),
    event(driverId="1e400"),
    event(driverId="9" * 129),
    event(driverId="9" * 5_000),
    event(later="9" * 5_000, timestamp="9" * 5_000),
    event(later='{"driverId": 1, "driverId": 2}'),
    event(timestamp='"2026-06-01"'),
    event(timestamp='"2026-06-01T24:00:00Z"'),
    event(timestamp='"2026W231T100000Z"'),
    event(timestamp='"2000-01-01T00:00:00+23:59:59.999999"'),
    event(timestamp='"9999-12-31T23:59:59-23:59"'),
    event(timestamp='"0001-01-01T00:00:00+23:59"'),
    event(timestamp='"2026-06-01\\ud800T10:00:00Z"'),
    event(timestamp='"2026-06-01\\u000010:00:00Z"'),
    b'{"driverId": "1", ' + GOOD[1:],
    b'{"driver\\u0049d": "1", ' + GOOD[1:],
    b'{"policyId": "' + "ß".encode() * 128 + b'", "timestamp": "2026-06-01T10:00:00Z"}',
)


def known_bad(test: Callable[..., None]) -> Callable[..., None]:
    """Try each of KNOWN_BAD too: alone, and in a batch beside a good event."""
    for body in KNOWN_BAD:
        test = example(body, False, "UTC")(test)
        test = example(b"[" + GOOD + b"," + body + b"]", True, "UTC")(test)
    return test


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**126, max_value=10**130)
    | st.floats()
    | st.text(max_size=20)
    | st.text(min_size=120, max_size=135)
)
zones: st.SearchStrategy[Any] = st.none() | st.timezones() | st.just(UTC)
timestamps = st.datetimes(
    min_value=datetime(1999, 12, 31),  # noqa: DTZ001
    max_value=datetime(2101, 1, 2),  # noqa: DTZ001
    timezones=zones,
).map(lambda instant: instant.isoformat())
values = scalars | timestamps | st.sampled_from(["1686", " a ", "ß", "2026-10-25T01:30:00"])
names = st.sampled_from(NAMES) | st.text(max_size=10)
likely_events = st.fixed_dictionaries(
    {"timestamp": timestamps},
    optional={name: values for name in NAMES if name != "timestamp"} | {"later": values},
)
objects = likely_events | st.dictionaries(names, values, max_size=4)
json_values = st.recursive(
    values | objects,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)
documents = (json_values | objects | st.lists(objects, max_size=5)).flatmap(
    lambda value: st.booleans().map(
        lambda ascii_only: json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    )
)


def cut(body: bytes, place: int, inserted: bytes) -> bytes:
    """A body with a few bytes put over others somewhere."""
    return body[:place] + inserted + body[place + len(inserted) :]


broken = st.builds(cut, documents, st.integers(0, 60), st.binary(max_size=3))
bodies = documents | broken | st.binary(max_size=100)
arguments = (bodies, st.booleans(), st.sampled_from(ZONES))


def read_now(body: bytes, is_batch: bool, zone: str = "UTC") -> list[Event]:
    return read(body, is_batch=is_batch, zone=zone, received_at=NOW, max_future=DAY)


@known_bad
@profile
@given(*arguments)
def test_a_body_is_read_or_refused_and_nothing_else(body: bytes, is_batch: bool, zone: str) -> None:
    """What is read keeps every promise of the wire and fits its columns."""
    try:
        events = read_now(body, is_batch, zone)
    except InvalidBody as invalid:
        refused = [(error.index is None, bool(error.reason)) for error in invalid.errors]
    else:
        assert_promises_kept(events)
        assert is_batch or len(events) == 1
        return
    assert refused
    assert all(reason and (whole or is_batch) for whole, reason in refused)


def assert_promises_kept(events: list[Event]) -> None:
    for one in events:
        assert (one.driver_id is None) is not (one.customer_number is None)
        for column, value in (
            ("driver_id", one.driver_id),
            ("customer_number", one.customer_number),
        ):
            assert value is None or 1 <= len(value) <= width(column)
            assert not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", value or "")
        assert one.at.tzinfo is UTC
        assert one.at <= NOW + DAY


def width(column: str) -> int:
    """How many characters a column of the events takes."""
    field = ShiftEvent._meta.get_field(column)
    assert isinstance(field, CharField)
    assert field.max_length
    return field.max_length


@known_bad
@profile
@given(*arguments)
def test_what_was_accepted_is_read_again_the_same(body: bytes, is_batch: bool, zone: str) -> None:
    """The digest does not look at the clock, and need not: the accept did."""
    try:
        accepted = read_now(body, is_batch, zone)
    except InvalidBody:
        return
    again = read(body, is_batch=is_batch, zone=zone, received_at=NOW)
    assert again == accepted


@known_bad
@profile
@given(*arguments)
def test_what_is_read_is_json(body: bytes, is_batch: bool, zone: str) -> None:
    """Python's own reader, which checks every corner, agrees."""
    try:
        events = read_now(body, is_batch, zone)
    except InvalidBody:
        return
    value = json.loads(body.decode(), parse_constant=no_constant, parse_int=str)
    assert len(value if is_batch else [value]) == len(events)


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def test_the_good_event_is_good() -> None:
    """Without this the known bad ones might be refused for another reason."""
    expected = [Event("1686", None, datetime(2026, 6, 1, 10, tzinfo=UTC))]
    assert read_now(GOOD, is_batch=False) == expected
    assert read_now(b"[" + GOOD + b"]", is_batch=True) == expected


def readable(body: bytes, frames: int) -> bool:
    """Whether a body can be read that much further down the stack."""
    if frames:
        return readable(body, frames - 1)
    try:
        read_now(body, is_batch=False)
    except InvalidBody:
        return False
    return True


@pytest.mark.parametrize("later", ["later", "l\\u0061ter"])
def test_what_was_accepted_can_be_read_further_down_the_stack(later: str) -> None:
    """A worker's stack is deeper than a web process's, or may be one day."""
    nested = {depth: event(**{later: "[" * depth + "]" * depth}) for depth in range(5, 1_000, 5)}
    accepted = [depth for depth, body in nested.items() if readable(body, frames=0)]
    assert 10 in accepted
    assert [depth for depth in accepted if not readable(nested[depth], frames=100)] == []


# Names

spelled = st.sampled_from([*NAMES, "later"]).flatmap(
    lambda name: st.sampled_from([name, f"\\u{ord(name[0]):04x}{name[1:]}"])
)
field_values = st.sampled_from(
    ["null", '"1686"', '"driverId"', '"\\"driverId\\""', '{"driverId": 1, "driverId": 2}']
)
pairs = st.lists(st.tuples(spelled, field_values), max_size=5)


def unescaped(name: str) -> str:
    found: str = json.loads(f'"{name}"')
    return found


@profile
@given(st.lists(pairs, min_size=1, max_size=3))
def test_a_name_given_twice_is_found_however_it_is_written(
    items: list[list[tuple[str, str]]],
) -> None:
    """Among names in values, in unknown objects, and beside items that lack them."""
    texts = ("{" + ",".join(f'"{name}":{value}' for name, value in item) + "}" for item in items)
    twice = {
        (index, name)
        for index, item in enumerate(items)
        for name, times in Counter(unescaped(name) for name, _ in item).items()
        if times > 1 and name in NAMES
    }
    with pytest.raises(InvalidBody) as caught:  # as no value is a timestamp
        read_now(f"[{','.join(texts)}]".encode(), is_batch=True)
    errors = caught.value.errors
    found = {(error.index, error.field) for error in errors if error.reason == "Is given twice."}
    assert found == twice


# Timestamps


def as_event(text: str) -> bytes:
    return json.dumps({"driverId": "1686", "timestamp": text}).encode()


def reference(text: str) -> datetime | None:
    """The instant that `datetime.fromisoformat` reads; None where the design refuses the form."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    form = re.match(r"\d{4}-?\d\d-?\d\d.(?!24)", text, re.DOTALL)
    if not form or not FIRST_YEAR <= found.year <= LAST_YEAR:
        return None
    return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)


written = st.builds(
    lambda date, separator, time, offset: date + separator + time + offset,
    st.sampled_from(["2026-06-01", "20260601", "2026-W23-1", "2026W231", "2026-W23", "1999-12-31"])
    | st.text("0123456789-W", min_size=7, max_size=10),
    st.sampled_from(["T", " ", "", "t", "_", "\U0001f600"]),
    st.sampled_from(["10", "10:00", "1000", "100000", "24:00", "2400", "10:00:00.5", "10:00:60"])
    | st.text("0123456789:.,", max_size=15),
    st.sampled_from(["", "Z", "+02:00", "-0530", "+02", "+02:00:30", "+24:00", "z", " Z"]),
)


@example("2026-06-01T10:00:00.123456789Z")
@example("2026-06-01")
@example("2026W231")
@example("2000-01-01T00:00:00+14:00")
@profile
@given(timestamps | written | st.text(max_size=30))
def test_fromisoformat_is_the_reference_for_timestamps(text: str) -> None:
    expected = reference(text)
    try:
        [found] = read(as_event(text), is_batch=False, zone="UTC", received_at=NOW)
    except InvalidBody:
        assert expected is None
    else:
        assert found.at == expected


# Where and when clocks change: forward and back, by half an hour too, and once by a whole day.
CHANGES = (
    ("Europe/London", datetime(2026, 3, 29, 1)),  # noqa: DTZ001
    ("Europe/London", datetime(2026, 10, 25, 1)),  # noqa: DTZ001
    ("America/St_Johns", datetime(2026, 11, 1, 1)),  # noqa: DTZ001
    ("Australia/Lord_Howe", datetime(2026, 4, 5, 1, 30)),  # noqa: DTZ001
    ("Australia/Lord_Howe", datetime(2026, 10, 4, 2)),  # noqa: DTZ001
    ("Pacific/Apia", datetime(2011, 12, 30)),  # noqa: DTZ001
)
quarters = st.integers(-12, 12).map(lambda number: timedelta(minutes=15 * number))


@profile
@given(st.sampled_from(CHANGES), quarters, quarters)
def test_a_local_time_is_an_instant_at_which_the_clocks_there_showed_it(
    change: tuple[str, datetime], since: timedelta, after: timedelta
) -> None:
    """Of two such instants none is nearer to the arrival; of none, PEP 495's reading holds."""
    zone, local = change[0], change[1] + since
    there = ZoneInfo(zone)
    readings = [local.replace(tzinfo=there, fold=fold).astimezone(UTC) for fold in (0, 1)]
    received_at = readings[0] + after
    body = as_event(local.isoformat())
    [found] = read(body, is_batch=False, zone=zone, received_at=received_at)
    shown = [at for at in readings if at.astimezone(there).replace(tzinfo=None) == local]
    if shown:
        assert abs(found.at - received_at) == min(abs(at - received_at) for at in shown)
    else:
        assert found.at == readings[0]
