"""Cover at an instant: was this customer on shift, for whom, and what was known of it when?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db.models import Q

from linking.models import Customer, DriverLink
from linking.resolve import Identifier, Resolver, Span
from shifts import store, timeline
from shifts.models import Shift, Stream, Withdrawal
from shifts.timeline import Event, Link


class CoveringShift(NamedTuple):
    """A shift that held the instant, and for whom; its opening and ending events are the evidence."""

    work_provider_id: int
    shift: timeline.Shift


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
    for provider, *shift in rows.order_by("stream__work_provider_id").values_list(
        "stream__work_provider_id", *store.SHIFT_COLUMNS
    ):
        yield CoveringShift(provider, timeline.Shift(*shift))


def _known(customer: Customer, at: datetime, known_at: datetime) -> Iterator[CoveringShift]:
    for stream in Stream.objects.filter(customer=customer).order_by("work_provider_id"):
        for shift in _as_known(stream, known_at):
            end = shift.ended_at or shift.closes_at
            if shift.started_at <= at and (end is None or at < end):
                yield CoveringShift(stream.work_provider_id, shift)


def _as_known(stream: Stream, known_at: datetime) -> list[timeline.Shift]:
    """The stream's shifts as a projection made at `known_at` would have given them."""
    links = DriverLink.objects.filter(
        work_provider=stream.work_provider_id,
        customer=stream.customer_id,
        link_recorded_at__lte=known_at,
    ).order_by("linked_at")
    known_links = _with_known_ends(links, known_at)
    return timeline.project(
        _events_known(stream, known_links, known_at),
        links=[
            Link(link.pk, link.linked_at, end, link.link_recorded_at, link.unlink_recorded_at)
            for link, end in known_links
        ],
        rules=store.rules_of([stream.work_provider_id], known_at)[stream.work_provider_id],
        as_of=known_at,
        withdrawn=set(
            Withdrawal.objects.filter(
                Q(undone_at__isnull=True) | Q(undone_at__gt=known_at),
                stream=stream,
                withdrawn_at__lte=known_at,
            ).values_list("kind", "timestamp")
        ),
    ).shifts


def _with_known_ends(
    links: Iterable[DriverLink], known_at: datetime
) -> list[tuple[DriverLink, datetime | None]]:
    """Each link with its end as known by then; those that ended as they began are left out."""
    ends = [
        link.unlinked_at
        if link.unlink_recorded_at is not None and link.unlink_recorded_at <= known_at
        else None
        for link in links
    ]
    return [(link, end) for link, end in zip(links, ends, strict=True) if end != link.linked_at]


def _events_known(
    stream: Stream, links: list[tuple[DriverLink, datetime | None]], known_at: datetime
) -> list[Event]:
    """Events received by then that the links known by then tie to this stream.

    A link recorded later may have taken some out: to wait, or to another customer with the same
    driver id. So these are looked at too, and resolved by all the links known by then.
    """
    provider = stream.work_provider_id
    driver_ids = {link.driver_id for link, _ in links}
    sharing = DriverLink.objects.filter(work_provider=provider, driver_id__in=driver_ids)
    known = sharing.filter(link_recorded_at__lte=known_at).exclude(customer=stream.customer_id)
    others = _with_known_ends(known, known_at)
    number = stream.customer.number
    spans: dict[Identifier, list[Span]] = {}
    for link, end in [*links, *others]:
        span = Span(link.customer_id, link.linked_at, end)
        spans.setdefault(Identifier(provider, link.driver_id, None), []).append(span)
        if link.customer_id == stream.customer_id:
            spans.setdefault(Identifier(provider, None, number), []).append(span)
    resolver = Resolver(spans, set())
    streams = Stream.objects.filter(
        work_provider=provider, customer__in=sharing.values("customer")
    ).values_list("pk", flat=True)
    stored = store.events_after(dict.fromkeys({stream.pk, *streams}, store.BEGINNING))
    stored += store.waiting_events(provider, driver_ids, [number])
    return [
        one.event
        for one in stored
        if one.event.known_at <= known_at
        and resolver.find(one.identifier, one.event.at)[0] == stream.customer_id
    ]
