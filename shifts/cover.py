"""Cover at an instant: was this customer on shift, for whom, and what was known of it when?"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import Q, QuerySet

from linking.models import Customer, DeskAction, DriverLink
from linking.resolve import Identifier, Resolver, Span
from shifts import store, timeline
from shifts.models import Shift, ShiftEvent, Stream, Withdrawal, submission_of
from shifts.store import StoredEvent
from shifts.timeline import Decision, Event, Link


class CoveringShift(NamedTuple):
    """A shift that held the instant, and for whom; its opening and ending events are the evidence.

    `shift_id` is that of the row, where it is a shift as it stands.
    """

    work_provider_id: int
    shift: timeline.Shift
    shift_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Cover:
    """The answer: covered exactly when there are `shifts`, at most one a work provider."""

    customer: Customer
    at: datetime
    known_at: datetime | None
    shifts: tuple[CoveringShift, ...]

    @property
    def is_covered(self) -> bool:
        return bool(self.shifts)


def cover(customer: Customer, at: datetime, known_at: datetime | None = None) -> Cover:
    """Whether `customer` was on shift at `at`: by what stands now, or as known at `known_at`.

    What the service knew is projected anew from what it had received by then: events, links,
    withdrawals and rules. Both instants are aware datetimes.
    """
    found = _standing(customer, at) if known_at is None else _known(customer, at, known_at)
    return Cover(customer, at, known_at, tuple(found))


def _standing(customer: Customer, at: datetime) -> Iterator[CoveringShift]:
    rows = Shift.objects.on_shift(at).filter(stream__customer=customer)
    for shift_id, provider, *shift in rows.order_by("stream__work_provider_id").values_list(
        "pk", "stream__work_provider_id", *store.SHIFT_COLUMNS
    ):
        yield CoveringShift(provider, timeline.Shift(*shift), shift_id)


def _known(customer: Customer, at: datetime, known_at: datetime) -> Iterator[CoveringShift]:
    for work_provider_id, shifts in _as_known(customer, known_at):
        for shift in shifts:
            end = shift.ended_at or shift.closes_at
            if shift.started_at <= at and (end is None or at < end):
                yield CoveringShift(work_provider_id, shift)


def _as_known(customer: Customer, known_at: datetime) -> Iterator[tuple[int, list[timeline.Shift]]]:
    """The shifts of each stream as a projection made at `known_at` would have given them.

    All streams are read together: the number of queries depends on nothing.
    """
    streams = dict(
        Stream.objects.filter(customer=customer)
        .order_by("work_provider_id")
        .values_list("work_provider_id", "pk")
    )
    own = DriverLink.objects.filter(customer=customer).order_by("linked_at")
    links = _links_known(own, known_at)
    events = _events_known(customer, streams, links, known_at)
    rules = store.rules_of(streams, known_at)
    withdrawn = _withdrawn_known(streams.values(), known_at)
    for work_provider_id, stream_id in streams.items():
        projection = timeline.project(
            events.get(work_provider_id, []),
            links=[
                Link(link.pk, link.linked_at, end, link.link_recorded_at, link.unlink_recorded_at)
                for link, end in links
                if link.work_provider_id == work_provider_id
            ],
            rules=rules[work_provider_id],
            as_of=known_at,
            withdrawn=withdrawn.get(stream_id, frozenset()),
        )
        yield work_provider_id, projection.shifts


def _withdrawals_known(known_at: datetime) -> QuerySet[Withdrawal]:
    not_undone = Q(undone_at__isnull=True) | Q(undone_at__gt=known_at)
    return Withdrawal.objects.filter(not_undone, withdrawn_at__lte=known_at)


def _withdrawn_known(
    stream_ids: Iterable[int], known_at: datetime
) -> dict[int, set[tuple[str, datetime]]]:
    """What had been struck from each stream by then, instant by instant."""
    rows = _withdrawals_known(known_at).filter(stream__in=list(stream_ids))
    withdrawn: dict[int, set[tuple[str, datetime]]] = {}
    for stream_id, kind, at in rows.values_list("stream_id", "kind", "timestamp"):
        if at is not None:
            withdrawn.setdefault(stream_id, set()).add((kind, at))
    return withdrawn


def _links_known(
    links: Iterable[DriverLink], known_at: datetime
) -> list[tuple[DriverLink, datetime | None]]:
    """Those recorded by then, with their ends as known then; one that ended as it began is left out."""
    known = [link for link in links if link.link_recorded_at <= known_at]
    ends = _ends_known(known, known_at)
    return [(link, ends.get(link.pk)) for link in known if ends.get(link.pk) != link.linked_at]


def _ends_known(links: Iterable[DriverLink], known_at: datetime) -> dict[int, datetime]:
    """By link the end heard of last; where that was later, one that the desk has moved since."""
    known: dict[int, datetime] = {}
    moved: list[DriverLink] = []
    for link in links:
        if link.unlinked_at is None or link.unlink_recorded_at is None:
            continue
        if link.unlink_recorded_at <= known_at:
            known[link.pk] = link.unlinked_at
        else:
            moved.append(link)
    for was in _moved_from(moved) if moved else ():
        if datetime.fromisoformat(was["was_known_at"]) <= known_at:
            known[was["link"]] = datetime.fromisoformat(was["was"])
    return known


def _moved_from(links: Iterable[DriverLink]) -> Iterable[dict[str, Any]]:
    """What mend.end_link has noted of the ends that these had before, in the order of its doing."""
    actions = DeskAction.objects.filter(
        kind=DeskAction.Kind.END_LINK,
        customer__in=[link.customer_id for link in links],
        details__link__in=[link.pk for link in links],
        details__has_key="was",
    )
    return actions.order_by("pk").values_list("details", flat=True)


def _events_known(
    customer: Customer,
    streams: Mapping[int, int],
    links: list[tuple[DriverLink, datetime | None]],
    known_at: datetime,
) -> dict[int, list[Event]]:
    """By work provider the events received by then that the links known by then tie to the customer.

    A link recorded later may have taken some out: to wait, or to another customer with the same
    driver id. So these are looked at too, and resolved by all the links known by then.
    """
    named = _named(customer, streams, links)
    others = list(DriverLink.objects.filter(named.links).exclude(customer=customer))
    resolver = _resolver(customer, [*links, *_links_known(others, known_at)])
    shared = {*streams.values(), *_streams_of(others)}
    events = store.events_after(dict.fromkeys(shared, store.BEGINNING))
    events += _waiting(named.events)
    found: dict[int, list[Event]] = {}
    for one in events:
        is_mine = resolver.find(one.identifier, one.event.at)[0] == customer.pk
        if is_mine and one.event.known_at <= known_at and not _came_too_late(one, links):
            found.setdefault(one.identifier.work_provider_id, []).append(one.event)
    return _struck_by_request(found, known_at)


def _came_too_late(one: StoredEvent, links: Iterable[tuple[DriverLink, datetime | None]]) -> bool:
    """Whether an event had expired before any link was heard of; one that a link lost had counted."""
    if one.decision.reason != "EXPIRED":
        return False
    expires_at = one.event.known_at + settings.HELD_EXPIRES_AFTER
    provider = one.identifier.work_provider_id
    return not any(
        link.work_provider_id == provider and link.link_recorded_at < expires_at
        for link, _ in links
    )


class _Named(NamedTuple):
    """What links and events of the customer's driver ids, and events of the number, have to match."""

    links: Q
    events: Q


def _named(
    customer: Customer,
    streams: Mapping[int, int],
    links: Iterable[tuple[DriverLink, datetime | None]],
) -> _Named:
    drivers = Q(pk__in=[])
    for provider, driver_id in {(link.work_provider_id, link.driver_id) for link, _ in links}:
        drivers |= Q(work_provider=provider, driver_id=driver_id)
    number = Q(work_provider__in=list(streams), customer_number=customer.number)
    return _Named(drivers, drivers | number)


def _resolver(customer: Customer, links: Iterable[tuple[DriverLink, datetime | None]]) -> Resolver:
    spans: dict[Identifier, list[Span]] = {}
    for link, end in links:
        provider, span = link.work_provider_id, Span(link.customer_id, link.linked_at, end)
        spans.setdefault(Identifier(provider, link.driver_id, None), []).append(span)
        if link.customer_id == customer.pk:
            spans.setdefault(Identifier(provider, None, customer.number), []).append(span)
    return Resolver(spans, set())


def _streams_of(links: Iterable[DriverLink]) -> Iterable[int]:
    wanted = Q(pk__in=[])
    for provider, customer in {(link.work_provider_id, link.customer_id) for link in links}:
        wanted |= Q(work_provider=provider, customer=customer)
    return Stream.objects.filter(wanted).values_list("pk", flat=True)


def _waiting(named: Q) -> list[StoredEvent]:
    """Those that no link explains now."""
    rows = ShiftEvent.objects.filter(named, stream__isnull=True)
    return [
        StoredEvent(
            Event(row.pk, row.kind, row.timestamp, row.received_at, row.is_ops, row.is_withdrawn),
            Decision(row.outcome, row.reason),
            Identifier(row.work_provider_id, row.driver_id, row.customer_number),
            None,
        )
        for row in rows
    ]


def _struck_by_request(
    events: dict[int, list[Event]], known_at: datetime
) -> dict[int, list[Event]]:
    """The same, each marked if everything that came by its request had been struck by then."""
    submissions = {submission_of(event.id) for found in events.values() for event in found}
    struck = set(
        _withdrawals_known(known_at)
        .filter(submission__in=submissions)
        .values_list("submission_id", flat=True)
    )
    return {
        provider: [
            event._replace(is_withdrawn=submission_of(event.id) in struck) for event in found
        ]
        for provider, found in events.items()
    }
