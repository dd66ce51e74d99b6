"""What a link that begins, ends or changes does to events and shifts (linking announces it)."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.dispatch import receiver

from linking.models import Customer, DriverLink
from linking.resolve import resolver_for
from linking.signals import link_changed
from shifts import store
from shifts.digest import undecided
from shifts.models import ShiftEvent
from shifts.settle import Cause, resettle
from shifts.store import BEGINNING, StoredEvent, StreamKey
from shifts.timeline import WITHDRAWN
from zego_api.db import is_away

log = structlog.get_logger(__name__)


@receiver(link_changed)
def on_link_changed(*, link: DriverLink, **kwargs: object) -> None:
    """In the link's own transaction, so that link and shifts are never seen apart."""
    decide_again(link.work_provider_id, [link.driver_id], [link.customer_id])


def decide_again(
    work_provider_id: int, driver_ids: Iterable[str], customer_ids: Iterable[int]
) -> None:
    """Decide again every event that a link of these drivers or customers may explain.

    Held events count, those after an unlinking count if the driver has linked anew, and what a link
    no longer holds is taken out; then the shifts of all streams concerned are projected afresh.
    Must run in a transaction.
    """
    store.lock_work_providers([work_provider_id], exclusive=True)
    ids, customers = _related(work_provider_id, set(driver_ids), set(customer_ids))
    keys = {(work_provider_id, customer_id) for customer_id in customers}
    streams = store.lock_streams(keys)
    numbers = Customer.objects.filter(pk__in=customers).values_list("number", flat=True)
    events = store.waiting_events(work_provider_id, ids, numbers)
    events += store.events_after({stream.id: BEGINNING for stream in streams.values()})
    _reattach(events, {key: stream.id for key, stream in streams.items()})
    resettle(streams.values(), BEGINNING, Cause.LINK)


def _related(
    work_provider_id: int, driver_ids: set[str], customer_ids: set[int]
) -> tuple[set[str], set[int]]:
    """All drivers and customers that links tie together: an event of one may belong to any of them."""
    links = DriverLink.objects.filter(work_provider_id=work_provider_id)
    while True:
        tied = links.filter(Q(driver_id__in=driver_ids) | Q(customer_id__in=customer_ids))
        pairs = set(tied.values_list("driver_id", "customer_id"))
        ids = driver_ids | {driver_id for driver_id, _ in pairs}
        customers = customer_ids | {customer_id for _, customer_id in pairs}
        if (ids, customers) == (driver_ids, customer_ids):
            return ids, customers
        driver_ids, customer_ids = ids, customers


def _reattach(events: list[StoredEvent], stream_ids: Mapping[StreamKey, int]) -> None:
    """Move events to the stream that explains them now."""
    resolver = resolver_for(stored.identifier for stored in events)
    moves: dict[int, int | None] = {}
    decisions = {}
    for event, decision, identifier, stream_id in events:
        customer_id, reason = resolver.find(identifier, event.at)
        if customer_id is None:
            new_stream_id = None
            waits = WITHDRAWN if event.is_withdrawn else undecided(reason)
            if decision != waits:
                decisions[event.id] = waits
        else:
            new_stream_id = stream_ids[identifier.work_provider_id, customer_id]
        if new_stream_id != stream_id:
            moves[event.id] = new_stream_id
    store.move_events(moves)
    store.update_decisions(decisions)


def count_waiting(*, changed_since: datetime) -> None:
    """Decide again what a link explains and yet waits.

    A link made behind the signal's back (in bulk, by SQL) leaves its events waiting; the sweeper calls
    this for links changed lately, and for all of them now and then. One link's failure is logged and
    does not keep the others from their turn.
    """
    last = 0
    while found := _links_with_waiting_events(changed_since, last):
        for link_id, work_provider_id, driver_id, customer_id in found:
            try:
                with transaction.atomic():
                    decide_again(work_provider_id, [driver_id], [customer_id])
            except Exception as error:
                if is_away(error):
                    raise
                log.exception("link_not_counted", link_id=link_id)
        last = found[-1][0]


def _links_with_waiting_events(
    changed_since: datetime, after: int
) -> list[tuple[int, int, str, int]]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT l.id, l.work_provider_id, l.driver_id, l.customer_id
            FROM linking_driverlink l JOIN linking_customer c ON c.id = l.customer_id
            WHERE l.updated_at >= %s AND l.id > %s AND l.unlinked_at IS DISTINCT FROM l.linked_at
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
            ORDER BY l.id LIMIT 1000
            """,
            [changed_since, after],
        )
        found: list[tuple[int, int, str, int]] = cursor.fetchall()
    return found


def expire_held(*, now: datetime, limit: int = 5_000) -> None:
    """Held events received more than HELD_EXPIRES_AFTER ago become REJECTED/EXPIRED.

    Some at a time, and not those that somebody is just deciding again.
    """
    overdue = ShiftEvent.objects.filter(
        outcome="HELD", received_at__lt=now - settings.HELD_EXPIRES_AFTER
    ).select_for_update(skip_locked=True)
    expired = limit
    while expired == limit:
        with transaction.atomic():
            ids = list(overdue.values_list("pk", flat=True)[:limit])
            expired = ShiftEvent.objects.filter(pk__in=ids).update(
                outcome="REJECTED", reason="EXPIRED"
            )
