"""Digest: turn stored submissions into events and shifts, any number of workers at a time.

A claim is a short transaction of its own that counts an attempt and takes a lease, so that even a
submission that kills its worker is counted. The digest itself is one transaction: a worker killed at any
point leaves all of a claim's effects or none.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from django.db import Error, connection, transaction
from django.utils import timezone

from linking.resolve import AFTER_UNLINK, Identifier, resolver_for
from shifts import payload, rollup, store
from shifts.models import Submission, event_id
from shifts.rollup import Digested
from shifts.settle import Cause, Change, settle
from shifts.timeline import WITHDRAWN, Decision, Event
from zego_api.db import is_away, sqlstate

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 5
LEASE = timedelta(seconds=15)
EVENTS_PER_CLAIM = 5_000
# How many submissions are claimed together at their first, second and later attempts: what fails is
# soon tried on its own, and does not hold up the rest.
CLAIM_SIZES = (2_000, 50, 1)
_CLAIM_PAUSE = 0.02
_RELEASE_PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)
# Classes of SQLSTATE that say nothing against a submission's data: races lost, locks that did not come,
# a schema that is older or newer than the code, a server in trouble.
_NOT_ITS_FAULT = {"40", "42", "55", "F0", "XX"}


@dataclass(frozen=True, slots=True)
class Claim:
    """Submissions that this process may digest while its lease lasts; `attempts` counts this one."""

    token: uuid.UUID
    submission_ids: list[int]
    attempts: int


class _Row(NamedTuple):
    """A claimed submission, locked for its digest; local times are read as of `read_as_of`."""

    id: int
    work_provider_id: int
    kind: str
    is_batch: bool
    body: bytes
    timezone: str
    received_at: datetime
    read_as_of: datetime
    is_ops: bool
    is_withdrawn: bool

    @property
    def is_sent(self) -> bool:
        """Whether the work provider sent it, and not the ops desk."""
        return not self.is_ops and self.read_as_of == self.received_at


class _Parsed(NamedTuple):
    event: Event
    submission_id: int
    identifier: Identifier


def digest_pending(*, older_than: timedelta = timedelta(0)) -> bool:
    """Claim once and digest it; False when there was nothing to claim.

    A failure is kept with the submission and does not raise; a database that is away does.
    """
    claim = claim_pending(older_than=older_than)
    if claim is None:
        # Another worker may have locked more than it claims, for the few milliseconds of its claim.
        time.sleep(_CLAIM_PAUSE)
        claim = claim_pending(older_than=older_than)
    if claim is None:
        return False
    try:
        with transaction.atomic():
            count = digest_claim(claim, now=timezone.now())
    except Exception as error:
        _release(claim, error)
        if is_away(error):
            raise
    else:
        log.info("digested", submissions=len(claim.submission_ids), events=count)
    return True


def claim_pending(*, older_than: timedelta = timedelta(0)) -> Claim | None:
    """Lease the oldest pending submissions, up to EVENTS_PER_CLAIM events, all at the same attempt.

    One whose workers died MAX_ATTEMPTS times is set aside as FAILED. Instants are the database's.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, event_count, attempts FROM shifts_submission
            WHERE digested_at IS NULL AND failed_at IS NULL
              AND (leased_until IS NULL OR leased_until <= statement_timestamp())
              AND (next_attempt_at IS NULL OR next_attempt_at <= statement_timestamp())
              AND (%s = 0 OR received_at <= statement_timestamp() - make_interval(secs => %s))
            ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
            """,
            [*[older_than.total_seconds()] * 2, CLAIM_SIZES[0]],
        )
        rows = cursor.fetchall()
        worn_out = [row[0] for row in rows if row[2] >= MAX_ATTEMPTS]
        if worn_out:
            _fail(worn_out, f"Its worker died in each of {MAX_ATTEMPTS} attempts.")
        rows = [row for row in rows if row[2] < MAX_ATTEMPTS]
        if not rows:
            return claim_pending(older_than=older_than) if worn_out else None
        attempts: int = rows[0][2]
        claim = Claim(uuid.uuid4(), _together(rows, attempts), attempts + 1)
        cursor.execute(
            """
            UPDATE shifts_submission
            SET attempts = attempts + 1, claim = %s,
                leased_until = statement_timestamp() + make_interval(secs => %s)
            WHERE id = ANY(%s)
            """,
            [claim.token, LEASE.total_seconds(), claim.submission_ids],
        )
    return claim


def _together(rows: Sequence[tuple[int, int, int]], attempts: int) -> list[int]:
    """Ids of those at the same attempt, as many as are digested at once then; at least one."""
    ids: list[int] = []
    events = 0
    for submission_id, event_count, tried in rows:
        if tried != attempts:
            continue
        events += event_count
        if ids and events > EVENTS_PER_CLAIM:
            break
        ids.append(submission_id)
        if len(ids) == CLAIM_SIZES[min(attempts, len(CLAIM_SIZES) - 1)]:
            break
    return ids


def digest_claim(claim: Claim, *, now: datetime, doubts: Mapping[int, Change] | None = None) -> int:
    """Store the events of a claim and settle their streams; returns the number of events.

    Must run in a transaction. Submissions whose lease another worker has taken over are left out. What
    else is in doubt, by stream, is settled with them; those streams are locked already.
    """
    rows = _lock_claimed(claim)
    parsed = [one for row in rows for one in _parse(row)]
    store.lock_work_providers(row.work_provider_id for row in rows)
    resolver = resolver_for(one.identifier for one in parsed)
    streams = store.lock_streams(resolver.stream_keys)
    changes = dict(doubts or {})
    stream_of: dict[int, int] = {}
    decisions: dict[int, Decision] = {}
    for event, _, identifier in parsed:
        customer_id, reason = resolver.find(identifier, event.at)
        if customer_id is None:
            decisions[event.id] = WITHDRAWN if event.is_withdrawn else undecided(reason)
            continue
        stream = streams[identifier.work_provider_id, customer_id]
        changes.setdefault(stream.id, Change(stream)).events.append(event)
        stream_of[event.id] = stream.id
    decisions |= settle(list(changes.values()), cause=Cause.EVENT)
    store.insert_events(
        (
            event.id,
            submission_id,
            identifier.work_provider_id,
            stream_of.get(event.id),
            event.kind,
            event.at,
            event.known_at,
            identifier.driver_id,
            identifier.customer_number,
            event.is_ops,
            event.is_withdrawn,
            *decisions[event.id],
        )
        for event, submission_id, identifier in parsed
    )
    _mark_digested([row.id for row in rows], now)
    sent = {row.id for row in rows if row.is_sent}
    rollup.tally(
        (
            Digested(who.work_provider_id, decisions[event.id].outcome, event.known_at - event.at)
            for event, submission_id, who in parsed
            if submission_id in sent
        ),
        now=now,
    )
    return len(parsed)


def digest_at_once(
    submissions: Sequence[Submission],
    *,
    now: datetime,
    doubts: Mapping[int, Change] | None = None,
) -> None:
    """Digest what the same transaction has just stored: nobody else sees it before."""
    claim = Claim(uuid.uuid4(), [submission.pk for submission in submissions], 1)
    Submission.objects.filter(pk__in=claim.submission_ids).update(claim=claim.token, attempts=1)
    digest_claim(claim, now=now, doubts=doubts)


def undecided(reason: str) -> Decision:
    """The decision on an event that no link explains, for the reason that resolving it gave."""
    return Decision("IGNORED" if reason == AFTER_UNLINK else "HELD", reason)


def _lock_claimed(claim: Claim) -> list[_Row]:
    """Lock the claimed rows: while this transaction lives nobody else can claim them, lease or not."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT s.id, s.work_provider_id, s.kind, s.is_batch, s.body, s.timezone, s.received_at,
                   coalesce(original.received_at, s.received_at),
                   s.action_id IS NOT NULL AND s.reread_of_id IS NULL, s.is_withdrawn
            FROM shifts_submission s
            LEFT JOIN shifts_submission original ON original.id = s.reread_of_id
            WHERE s.id = ANY(%s) AND s.claim = %s AND s.digested_at IS NULL AND s.failed_at IS NULL
            ORDER BY s.id FOR UPDATE OF s
            """,
            [claim.submission_ids, claim.token],
        )
        return [_Row(*row) for row in cursor]


def _parse(row: _Row) -> list[_Parsed]:
    events = payload.read(
        bytes(row.body), is_batch=row.is_batch, zone=row.timezone, received_at=row.read_as_of
    )
    return [
        _Parsed(
            Event(
                event_id(row.id, position),
                row.kind,
                event.at,
                row.received_at,
                row.is_ops,
                row.is_withdrawn,
            ),
            row.id,
            Identifier(row.work_provider_id, event.driver_id, event.customer_number),
        )
        for position, event in enumerate(events)
    ]


def _mark_digested(submission_ids: list[int], now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE shifts_submission SET digested_at = %s, leased_until = NULL, claim = NULL,"
            " next_attempt_at = NULL, failure = '' WHERE id = ANY(%s)",
            [now, submission_ids],
        )


def _fail(submission_ids: list[int], failure: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE shifts_submission SET failed_at = statement_timestamp(), failure = %s,"
            " leased_until = NULL, claim = NULL WHERE id = ANY(%s)",
            [failure, submission_ids],
        )
    log.error("submissions_failed", count=len(submission_ids), submission_ids=submission_ids[:10])


def _release(claim: Claim, error: Exception) -> None:
    """Give a claim back after `error`. If the database stays away, the lease runs out by itself."""
    log.warning(
        "digest_failed",
        error=type(error).__name__,
        sqlstate=sqlstate(error),
        submissions=len(claim.submission_ids),
        submission_ids=claim.submission_ids[:10],
        attempts=claim.attempts,
    )
    away = False
    for pause in _RELEASE_PAUSES:
        time.sleep(pause)
        try:
            with transaction.atomic():
                _give_back(claim, error, away=away)
        except Error as again:
            if not is_away(again):
                raise
            away = True
            connection.close()
        else:
            return


def _give_back(claim: Claim, error: Exception, *, away: bool) -> None:
    """Back-off for one that failed on its own, FAILED after the last attempt; the rest go on at once.

    Only where the database was found to be `away` is the attempt not counted: a digest may also break
    its own connection. One that cannot be digested through no fault of its data is tried alone and
    ever more rarely, but never set aside.
    """
    attempts = claim.attempts
    if away:
        attempts -= 1
    elif (sqlstate(error) or "")[:2] in _NOT_ITS_FAULT:
        attempts = min(attempts, MAX_ATTEMPTS - 1)
    alone = len(claim.submission_ids) == 1
    failure = f"{type(error).__name__}: {error}"[:2_000]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE shifts_submission
            SET leased_until = NULL, claim = NULL, attempts = %s, failure = %s,
                next_attempt_at = statement_timestamp() + make_interval(secs => %s)
            WHERE id = ANY(%s) AND claim = %s AND digested_at IS NULL RETURNING id
            """,
            [
                attempts,
                failure,
                2**claim.attempts if alone and not away else 0,
                claim.submission_ids,
                claim.token,
            ],
        )
        given_back = [row[0] for row in cursor]
    if alone and attempts >= MAX_ATTEMPTS and given_back:
        _fail(given_back, failure)
