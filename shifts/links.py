"""What a link that begins, ends or changes does to events and shifts (linking announces it)."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.dispatch import receiver
from django.utils import timezone

from linking.models import Customer, DriverLink
from linking.resolve import resolver_for
from linking.signals import link_changed
from shifts import store
from shifts.digest import undecided
from shifts.models import ShiftEvent
from shifts.settle import Cause, resettle
from shifts.store import BEGINNING, StoredEvent, StreamKey


@receiver(link_changed)
def on_link_changed(*, link: DriverLink, **kwargs: object) -> None:
    """In the link's own transaction, so that link and shifts are never seen apart."""
    decide_again(link.work_provider_id, [link.driver_id], [link.customer_id], now=timezone.now())


def decide_again(
    work_provider_id: int, driver_ids: Iterable[str], customer_ids: Iterable[int], *, now: datetime
) -> None:
    """Decide again every event that a link of these drivers or customers may explain.

    Held events count, those after an unlinking count if the driver has linked anew, and what a link
    no longer holds is taken out; then the shifts of all streams concerned are projected afresh.
    Must run in a transaction.
    """
    store.lock_work_providers([work_provider_id], exclusive=True)
    ids = set(driver_ids)
    related = DriverLink.objects.filter(work_provider_id=work_provider_id)
    customers = {
        *customer_ids,
        *related.filter(driver_id__in=ids).values_list("customer_id", flat=True),
    }
    ids |= set(related.filter(customer_id__in=customers).values_list("driver_id", flat=True))
    keys = {(work_provider_id, customer_id) for customer_id in customers}
    streams = store.lock_streams(keys)
    numbers = Customer.objects.filter(pk__in=customers).values_list("number", flat=True)
    events = store.waiting_events(work_provider_id, ids, numbers)
    events += store.events_after({stream.id: BEGINNING for stream in streams.values()})
    _reattach(events, {key: stream.id for key, stream in streams.items()})
    resettle(keys, BEGINNING, Cause.LINK, now=now)


def _reattach(events: list[StoredEvent], stream_ids: Mapping[StreamKey, int]) -> None:
    """Move events to the stream that explains them now."""
    resolver = resolver_for(stored.identifier for stored in events)
    moves: dict[int, int | None] = {}
    decisions = {}
    for event, decision, identifier, stream_id in events:
        customer_id, reason = resolver.find(identifier, event.at)
        if customer_id is None:
            new_stream_id = None
            if decision != undecided(reason):
                decisions[event.id] = undecided(reason)
        else:
            new_stream_id = stream_ids[identifier.work_provider_id, customer_id]
        if new_stream_id != stream_id:
            moves[event.id] = new_stream_id
    store.move_events(moves)
    store.update_decisions(decisions)


def count_waiting(*, changed_since: datetime, now: datetime) -> int:
    """Decide again what a link explains and yet waits; returns how many links had such events.

    A link made behind the signal's back (in bulk, by SQL) leaves its events waiting; the sweeper calls
    this for links changed lately, and for all of them now and then.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT l.work_provider_id, l.driver_id, l.customer_id
            FROM linking_driverlink l JOIN linking_customer c ON c.id = l.customer_id
            WHERE l.updated_at >= %s AND l.unlinked_at IS DISTINCT FROM l.linked_at
              AND (EXISTS (
                SELECT FROM shifts_shiftevent e
                WHERE e.stream_id IS NULL AND e.work_provider_id = l.work_provider_id
                  AND e.driver_id = l.driver_id AND e.outcome IN ('HELD', 'IGNORED')
                  AND (l.unlinked_at IS NULL OR e.timestamp < l.unlinked_at)
              ) OR EXISTS (
                SELECT FROM shifts_shiftevent e
                WHERE e.stream_id IS NULL AND e.work_provider_id = l.work_provider_id
                  AND e.customer_number = c.number AND e.outcome IN ('HELD', 'IGNORED')
                  AND (l.unlinked_at IS NULL OR e.timestamp < l.unlinked_at)
              ))
            LIMIT 1000
            """,
            [changed_since],
        )
        found = cursor.fetchall()
    for work_provider_id, driver_id, customer_id in found:
        with transaction.atomic():
            decide_again(work_provider_id, [driver_id], [customer_id], now=now)
    return len(found)


def expire_held(*, now: datetime, after: timedelta | None = None) -> int:
    """Held events received longer ago than `after` become REJECTED/EXPIRED; returns how many."""
    cutoff = now - (settings.HELD_EXPIRES_AFTER if after is None else after)
    held = ShiftEvent.objects.filter(outcome="HELD", received_at__lt=cutoff)
    return held.update(outcome="REJECTED", reason="EXPIRED")
