"""The set-based SQL under a settlement: every function is one or two statements, whatever the size.

All of it runs in the caller's transaction. Arrays go in through `unnest`, rows through COPY, which
took a quarter of the time of multi-row INSERTs when 10,000 events were stored.
"""

import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection
from psycopg2.extras import execute_values

from linking.resolve import Identifier
from shifts.timeline import (
    Decision,
    Event,
    Link,
    Login,
    Rule,
    Rules,
    Shift,
    State,
    Stored,
    state_at,
)

# The first of the two numbers of an advisory lock: "the links and rules of a work provider".
_WORK_PROVIDER_LOCK = 1
BEGINNING = datetime(1, 1, 2, tzinfo=UTC)
StreamKey = tuple[int, int]  # (work provider id, customer id)

# timeline.Shift, column by column
SHIFT_COLUMNS = tuple(
    f"{name}_id" if name in {"opened_by", "ended_by"} else name for name in Shift._fields
)
_SHIFT_COLUMNS = ", ".join(SHIFT_COLUMNS)
_STATE_COLUMNS = (
    "login_at, login_event_id, login_known_at, ignored_at, ignored_event_id, ignored_known_at"
    ", last_event_at"
)


class StreamRow(NamedTuple):
    """A locked stream and the state its last settlement left."""

    id: int
    work_provider_id: int
    customer_id: int
    state: State


class StoredEvent(NamedTuple):
    """An event of the database, with the decision that stands there."""

    event: Event
    decision: Decision
    identifier: Identifier
    stream_id: int | None


def lock_work_providers(ids: Iterable[int], *, exclusive: bool = False) -> None:
    """Hold the links and rules of these work providers still until the transaction ends.

    A digest shares the lock with other digests; who changes a link or a rule takes it alone, and so
    sees every event that was decided without the change.
    """
    function = "pg_advisory_xact_lock" if exclusive else "pg_advisory_xact_lock_shared"
    with connection.cursor() as cursor:
        for work_provider_id in sorted(set(ids)):
            cursor.execute(f"SELECT {function}(%s, %s)", [_WORK_PROVIDER_LOCK, work_provider_id])


def clock() -> datetime:
    """The database's time now, whenever the transaction began; one clock for all processes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def lock_streams(keys: Iterable[StreamKey]) -> dict[StreamKey, StreamRow]:
    """Lock the streams in id order, making those that are new."""
    wanted = sorted(set(keys))
    if not wanted:
        return {}
    found = _lock_existing(wanted)
    missing = [key for key in wanted if key not in found]
    if missing:
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO shifts_stream (work_provider_id, customer_id)
                SELECT * FROM unnest(%s::bigint[], %s::bigint[]) ORDER BY 1, 2
                ON CONFLICT DO NOTHING
                """,
                [[provider for provider, _ in missing], [customer for _, customer in missing]],
            )
        # All ids are still taken in order: a row made just now is newer than any locked before it,
        # unless somebody else made it meanwhile; PostgreSQL breaks the deadlock that could come of it.
        found |= _lock_existing(missing)
    return found


def _lock_existing(keys: Sequence[StreamKey]) -> dict[StreamKey, StreamRow]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT s.id, s.work_provider_id, s.customer_id, {_STATE_COLUMNS}
            FROM shifts_stream s
            JOIN unnest(%s::bigint[], %s::bigint[]) AS wanted (work_provider_id, customer_id)
              USING (work_provider_id, customer_id)
            ORDER BY s.id FOR UPDATE OF s
            """,  # noqa: S608
            [[provider for provider, _ in keys], [customer for _, customer in keys]],
        )
        return {
            (row[1], row[2]): StreamRow(row[0], row[1], row[2], _state(row[3:])) for row in cursor
        }


def _state(columns: Sequence[Any]) -> State:
    login = Login(*columns[0:3]) if columns[0] is not None else None
    ignored = Login(*columns[3:6]) if columns[3] is not None else None
    return State(login, ignored, columns[6])


def links_of(streams: Sequence[StreamRow]) -> dict[int, list[Link]]:
    """Each stream's links in time order; those that ended as they began are left out."""
    links: dict[int, list[Link]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT wanted.stream_id, l.id, l.linked_at, l.unlinked_at,
                   l.link_recorded_at, l.unlink_recorded_at
            FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[])
                 AS wanted (stream_id, work_provider_id, customer_id)
            JOIN linking_driverlink l USING (work_provider_id, customer_id)
            WHERE l.unlinked_at IS DISTINCT FROM l.linked_at
            ORDER BY l.linked_at
            """,
            [
                [stream.id for stream in streams],
                [stream.work_provider_id for stream in streams],
                [stream.customer_id for stream in streams],
            ],
        )
        for stream_id, *link in cursor:
            links[stream_id].append(Link(*link))
    return links


def rules_of(
    work_provider_ids: Iterable[int], known_at: datetime | None = None
) -> dict[int, Rules]:
    """The rules of each work provider, the default where it has none.

    With `known_at` those recorded by then: a rule is recorded at the instant from which it holds.
    """
    ids = set(work_provider_ids)
    rules: dict[int, list[Rule]] = {work_provider_id: [] for work_provider_id in ids}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT work_provider_id, valid_from, max_shift_length FROM shifts_shiftrule"
            " WHERE work_provider_id = ANY(%s) AND valid_from <= coalesce(%s::timestamptz, 'infinity')",
            [list(ids), known_at],
        )
        for work_provider_id, valid_from, length in cursor:
            rules[work_provider_id].append(Rule(valid_from, length))
    return {key: Rules(settings.DEFAULT_MAX_SHIFT_LENGTH, value) for key, value in rules.items()}


def withdrawn_of(stream_ids: Sequence[int]) -> dict[int, set[tuple[str, datetime]]]:
    """What the ops desk has struck from each stream: (kind, instant)."""
    withdrawn: dict[int, set[tuple[str, datetime]]] = defaultdict(set)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT stream_id, kind, timestamp FROM shifts_withdrawal"
            " WHERE stream_id = ANY(%s) AND undone_at IS NULL",
            [list(stream_ids)],
        )
        for stream_id, kind, at in cursor:
            withdrawn[stream_id].add((kind, at))
    return withdrawn


def restarts(before: Mapping[int, datetime]) -> dict[int, State]:
    """For each stream the state at its latest stored login strictly before an instant.

    Only the login of an unclipped first shift will do: timeline.state_at says why. A stream without
    one has to start from its first event.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT wanted.stream_id, found.login_at, found.opened_by_id, first.received_at
            FROM unnest(%s::bigint[], %s::timestamptz[]) AS wanted (stream_id, before)
            CROSS JOIN LATERAL (
                SELECT login_at, opened_by_id FROM shifts_shift
                WHERE stream_id = wanted.stream_id AND login_at < wanted.before
                  AND NOT start_clipped AND NOT is_continuation
                ORDER BY login_at DESC LIMIT 1
            ) AS found
            CROSS JOIN LATERAL (
                SELECT min(received_at) AS received_at FROM shifts_shiftevent
                WHERE stream_id = wanted.stream_id AND timestamp = found.login_at AND kind = 'login'
                  AND NOT is_withdrawn
            ) AS first
            """,
            [list(before), list(before.values())],
        )
        return {stream_id: state_at(*login) for stream_id, *login in cursor}


_EVENT_COLUMNS = (
    "id, kind, timestamp, received_at, is_ops, is_withdrawn, outcome, reason, after_ignored_login,"
    " work_provider_id, driver_id, customer_number, stream_id"
)


def _stored_events(sql: str, params: Sequence[Any]) -> list[StoredEvent]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return [
            StoredEvent(Event(*row[0:6]), Decision(*row[6:9]), Identifier(*row[9:12]), row[12])
            for row in cursor
        ]


def events_after(
    after: Mapping[int, datetime], *, with_settled_strikes: bool = True
) -> list[StoredEvent]:
    """The events of each stream strictly after an instant.

    Those that were struck with their submission, and decided so, take no part in a projection; they
    can be left out.
    """
    return _stored_events(
        f"""
        SELECT {_EVENT_COLUMNS}
        FROM unnest(%s::bigint[], %s::timestamptz[]) AS wanted (stream_id, after)
        JOIN shifts_shiftevent USING (stream_id)
        WHERE timestamp > after AND (%s OR NOT is_withdrawn OR outcome <> 'WITHDRAWN')
        """,  # noqa: S608
        [list(after), list(after.values()), with_settled_strikes],
    )


def waiting_events(
    work_provider_id: int, driver_ids: Iterable[str], numbers: Iterable[str]
) -> list[StoredEvent]:
    """Events of these identifiers that no link explains: HELD, after an unlinking, or withdrawn."""
    return _stored_events(
        f"""
        SELECT {_EVENT_COLUMNS} FROM shifts_shiftevent
        WHERE stream_id IS NULL AND outcome IN ('HELD', 'IGNORED', 'WITHDRAWN')
          AND work_provider_id = %s
          AND (driver_id = ANY(%s) OR customer_number = ANY(%s))
        """,  # noqa: S608
        [work_provider_id, list(driver_ids), list(numbers)],
    )


def shifts_since(since: Mapping[int, datetime]) -> dict[int, list[Stored]]:
    """Each stream's stored shifts whose login is at or after an instant, in time order."""
    stored: dict[int, list[Stored]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT stream_id, id, {_SHIFT_COLUMNS}
            FROM unnest(%s::bigint[], %s::timestamptz[]) AS wanted (stream_id, since)
            JOIN shifts_shift USING (stream_id)
            WHERE login_at >= since ORDER BY started_at
            """,  # noqa: S608
            [list(since), list(since.values())],
        )
        for stream_id, shift_id, *shift in cursor:
            stored[stream_id].append(Stored(shift_id, Shift(*shift)))
    return stored


def insert_shifts(rows: Iterable[tuple[object, int, Shift]]) -> None:
    """Rows are (id, stream id, shift)."""
    copy(
        "shifts_shift",
        f"id, stream_id, {_SHIFT_COLUMNS}",
        ((shift_id, stream_id, *shift) for shift_id, stream_id, shift in rows),
    )


def update_shifts(rows: Sequence[Stored]) -> None:
    """Give each row what its projected shift says now."""
    _values(
        f"UPDATE shifts_shift s SET {_assignments(_SHIFT_COLUMNS)}"  # noqa: S608
        f" FROM (VALUES %s) AS v (id, {_SHIFT_COLUMNS}) WHERE s.id = v.id",
        "uuid bigint timestamptz timestamptz text bool bool timestamptz timestamptz bigint bigint"
        " timestamptz timestamptz",
        [(row.id, *row.shift) for row in rows],
    )


def delete_shifts(ids: Sequence[object]) -> None:
    """Remove shifts that are no longer yielded; their last revision keeps their id."""
    if ids:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM shifts_shift WHERE id = ANY(%s::uuid[])", [list(ids)])


def update_decisions(decisions: Mapping[int, Decision]) -> None:
    """Write changed outcomes on events."""
    _values(
        "UPDATE shifts_shiftevent e SET outcome = v.outcome, reason = v.reason,"
        " after_ignored_login = v.after_ignored_login"
        " FROM (VALUES %s) AS v (id, outcome, reason, after_ignored_login) WHERE e.id = v.id",
        "bigint text text bool",
        [(event_id, *decision) for event_id, decision in decisions.items()],
    )


def move_events(stream_ids: Mapping[int, int | None]) -> None:
    """Attach events to the stream that explains them now, or to none."""
    _values(
        "UPDATE shifts_shiftevent e SET stream_id = v.stream_id"
        " FROM (VALUES %s) AS v (id, stream_id) WHERE e.id = v.id",
        "bigint bigint",
        list(stream_ids.items()),
    )


def save_states(states: Mapping[int, State]) -> None:
    """Write the state that the next event of each stream is folded onto."""
    nobody = (None, None, None)
    _values(
        f"UPDATE shifts_stream s SET {_assignments(_STATE_COLUMNS)}"  # noqa: S608
        f" FROM (VALUES %s) AS v (id, {_STATE_COLUMNS}) WHERE s.id = v.id",
        "bigint timestamptz bigint timestamptz timestamptz bigint timestamptz timestamptz",
        [
            (stream_id, *(state.login or nobody), *(state.ignored or nobody), state.last_event_at)
            for stream_id, state in states.items()
        ],
    )


def insert_events(rows: Iterable[Sequence[Any]]) -> None:
    """Store the events of a digest; the columns are those named here."""
    copy(
        "shifts_shiftevent",
        "id, submission_id, work_provider_id, stream_id, kind, timestamp, received_at, driver_id,"
        " customer_number, is_ops, is_withdrawn, outcome, reason, after_ignored_login",
        rows,
    )


def insert_revisions(rows: Iterable[Sequence[Any]]) -> None:
    """Store what changed; the columns are those named here."""
    copy(
        "shifts_shiftrevision",
        "shift_id, stream_id, change, cause, cause_event_id, old_started_at, old_ended_at,"
        " old_end_reason, new_started_at, new_ended_at, new_end_reason, shortens_cover, created_at",
        rows,
    )


def _assignments(columns: str) -> str:
    return ", ".join(f"{name} = v.{name}" for name in columns.split(", "))


def _values(sql: str, types: str, rows: Sequence[Sequence[Any]]) -> None:
    """Run a statement whose one `%s` is a VALUES list of `rows`, each column cast to its type."""
    if not rows:
        return
    template = "(" + ", ".join(f"%s::{name}" for name in types.split()) + ")"
    with connection.cursor() as cursor, connection.wrap_database_errors:
        execute_values(cursor.cursor, sql, rows, template, page_size=len(rows))


def copy(table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
    """COPY rows into a table; text, numbers, booleans, instants, UUIDs and None."""
    buffer = io.StringIO()
    for row in rows:
        buffer.write("\t".join(map(_copy_text, row)))
        buffer.write("\n")
    if buffer.tell():
        buffer.seek(0)
        with connection.cursor() as cursor, connection.wrap_database_errors:
            cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", buffer)


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _copy_text(value: Any) -> str:
    if value is None:
        return "\\N"
    return value.translate(_ESCAPES) if isinstance(value, str) else str(value)
