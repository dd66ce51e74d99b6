"""Whole submissions struck, counted again, or read in another zone; each in one settlement.

Always a part of an action on record (shifts/mend.py, shifts/bulk.py), in its transaction. Locks are
taken in the order of a digest: submissions, work providers, streams. Stored events are written only
under all three, so that none of this can deadlock with a digest.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from linking.models import DeskAction
from linking.resolve import UNKNOWN_ID, Identifier, Resolver, resolver_for
from shifts import payload, store
from shifts.accept import CLOCK_TROUBLE
from shifts.digest import digest_at_once, undecided
from shifts.models import ShiftEvent, Stream, Submission, Withdrawal, event_id
from shifts.settle import Cause, Change, settle
from shifts.store import StreamKey
from shifts.timeline import WITHDRAWN, Decision


def restate(
    action: DeskAction,
    *,
    strike: Collection[int] = (),
    count: Collection[int] = (),
    now: datetime,
) -> None:
    """Strike what came by some submissions, and let what came by others count again; ids of both.

    Equal events that came otherwise stay as they are, and so does a submission that is struck, or
    counts, already.
    """
    rows = list(_locked({*strike, *count}).defer("body"))
    struck = [row for row in rows if row.pk in strike and not row.is_withdrawn]
    again = [row for row in rows if row.pk in count and row.is_withdrawn]
    _note(struck, again, action, now)
    store.lock_work_providers(row.work_provider_id for row in rows)
    events = _events_of([*struck, *again])
    doubts = _doubts(events)
    _events_of(struck).update(is_withdrawn=True)
    _events_of(again).update(is_withdrawn=False)
    settle(list(doubts.values()), cause=Cause.WITHDRAWAL)
    _decide_waiting(events, now)


def reread(
    ids: Collection[int], zone: str, action: DeskAction, *, now: datetime
) -> list[Submission]:
    """Read the times without an offset in some submissions again, in `zone`; returns the new readings.

    The first reading is withdrawn and the same body kept once more, so that what was known before can
    still be told. One that is withdrawn, or in which nothing reads differently, stays as it is. Raises
    ValidationError for one that would then lie too far ahead of our clock.
    """
    rows = _locked(ids).select_related("work_provider")
    pairs = [(row, again) for row in rows if (again := _read_again(row, zone, action, now))]
    originals = [row for row, _ in pairs]
    _note(originals, [], action, now)
    readings = Submission.objects.bulk_create(again for _, again in pairs)
    store.lock_work_providers(row.work_provider_id for row in originals)
    events = _events_of(originals)
    doubts = _doubts(events, also=_streams_named_in(originals))
    events.update(is_withdrawn=True)
    digest_at_once(readings, now=now, doubts=doubts)
    _decide_waiting(events, now)
    return readings


def times(submission: Submission, zone: str) -> list[payload.Event]:
    """The events of a submission as it arrived, with times without an offset read in `zone`."""
    return payload.read(
        bytes(submission.body),
        is_batch=submission.is_batch,
        zone=zone,
        received_at=submission.received_at,
    )


def _locked(ids: Collection[int]) -> QuerySet[Submission]:
    """In id order, as a digest does."""
    return Submission.objects.select_for_update(of=("self",)).filter(pk__in=ids).order_by("pk")


def _note(
    struck: Iterable[Submission], again: Iterable[Submission], action: DeskAction, now: datetime
) -> None:
    """On the submissions, so that the digest of one that is pending knows it, and on record."""
    Withdrawal.objects.bulk_create(
        Withdrawal(submission=row, action=action, withdrawn_at=now) for row in struck
    )
    Withdrawal.objects.filter(
        submission__in=[row.pk for row in again], undone_at__isnull=True
    ).update(undone_at=now, undone_action=action)
    for rows, is_withdrawn in ((struck, True), (again, False)):
        ids = [row.pk for row in rows]
        Submission.objects.filter(pk__in=ids).update(is_withdrawn=is_withdrawn)


def _events_of(rows: Iterable[Submission]) -> QuerySet[ShiftEvent]:
    """By their ids: an event's submission carries no index."""
    return ShiftEvent.objects.filter(
        pk__in=[event_id(row.pk, place) for row in rows for place in range(row.event_count)]
    )


def _doubts(events: QuerySet[ShiftEvent], also: Collection[StreamKey] = ()) -> dict[int, Change]:
    """What is in doubt in each stream of these events, which is locked by this; and `also` others.

    Their work providers are locked, so no event changes its stream meanwhile.
    """
    first: dict[int, datetime] = {}
    for stream_id, at in events.values_list("stream", "timestamp"):
        if stream_id is not None:
            first[stream_id] = min(at, first.get(stream_id, at))
    keys = Stream.objects.filter(pk__in=first).values_list("work_provider_id", "customer_id")
    locked = store.lock_streams({*keys, *also})
    return {
        stream.id: Change(stream, doubt_from=first[stream.id])
        for stream in locked.values()
        if stream.id in first
    }


def _streams_named_in(rows: Iterable[Submission]) -> set[StreamKey]:
    """Every stream that their events could belong to, whenever they happened."""
    identifiers = {
        Identifier(row.work_provider_id, event.driver_id, event.customer_number)
        for row in rows
        for event in times(row, row.timezone)
    }
    return resolver_for(identifiers).stream_keys


def _decide_waiting(events: QuerySet[ShiftEvent], now: datetime) -> None:
    """The outcomes of those that no link explains; the others were settled."""
    waiting = list(events.filter(stream__isnull=True))
    resolver = resolver_for(_identifier(event) for event in waiting)
    store.update_decisions({event.pk: _decision(event, resolver, now) for event in waiting})


def _decision(event: ShiftEvent, resolver: Resolver, now: datetime) -> Decision:
    if event.is_withdrawn:
        return WITHDRAWN
    _, reason = resolver.find(_identifier(event), event.timestamp)
    # One that a link does explain had expired before its link came.
    decision = undecided(reason or UNKNOWN_ID)
    if decision.outcome == "HELD" and event.received_at < now - settings.HELD_EXPIRES_AFTER:
        return Decision("REJECTED", "EXPIRED")
    return decision


def _identifier(event: ShiftEvent) -> Identifier:
    return Identifier(event.work_provider_id, event.driver_id, event.customer_number)


def _read_again(
    original: Submission, zone: str, action: DeskAction, now: datetime
) -> Submission | None:
    """The submission that takes its place; None where nothing would read differently.

    Ahead of our clock counts from now, the clock trouble from when it was sent.
    """
    if original.is_withdrawn:
        return None
    events = times(original, zone)
    if events == times(original, original.timezone):
        return None
    _refuse_far_ahead(events, now + original.work_provider.max_future)
    sent_at = original.received_at
    return Submission(
        work_provider=original.work_provider,
        api_key_id=original.api_key_id,
        action=action,
        reread_of=original,
        kind=original.kind,
        is_batch=original.is_batch,
        body=bytes(original.body),
        timezone=zone,
        event_count=len(events),
        clock_ahead_count=sum(event.at > sent_at + CLOCK_TROUBLE for event in events),
        received_at=now,
    )


def _refuse_far_ahead(events: Sequence[payload.Event], latest: datetime) -> None:
    if max(event.at for event in events) > latest:
        raise ValidationError("Read in that zone, a time in it lies too far in the future.")
