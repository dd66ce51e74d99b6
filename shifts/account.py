"""What drivers see on their own page, read from their own rows alone; nothing here changes anything.

Instants are shown in the work provider's time zone and carry the exact UTC instant with them.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from zoneinfo import ZoneInfo

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, Q, QuerySet
from django.utils.dateformat import format as format_date
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from linking import identifiers, intents
from linking.models import (
    Agreement,
    Customer,
    DriverLink,
    LinkIntent,
    LinkRequest,
    Terms,
    TstzRange,
    User,
    WorkProvider,
)
from shifts.models import EndReason, Shift, Stream

SHOWN = 20
_OFFERS = 5  # anybody can open links with an email that they know
_LATELY = timedelta(days=1)
_ENDINGS = {
    "": "still open",
    EndReason.LOGOUT: "logged out",
    EndReason.AUTO_CLOSED: "closed automatically after the longest shift",
    EndReason.OPS: "ended by our team",
}
_UNLINKINGS = {
    "": "ended with the link",
    DriverLink.EndedBy.OPS: "ended when our team ended the link",
}
_BY_THE_DRIVER = "ended when you unlinked"


@dataclass(frozen=True, slots=True)
class Offer:
    """A link that somebody opened with this person's email, and that waits for their yes."""

    intent_id: uuid.UUID
    work_provider: str
    masked_driver_id: str


@dataclass(frozen=True, slots=True)
class LinkLine:
    """A link that holds, or will."""

    id: int
    work_provider: str
    driver_id: str
    when: SafeString


@dataclass(frozen=True, slots=True)
class RequestLine:
    """An agreement that waits to be confirmed."""

    id: int
    work_provider: str
    driver_id: str
    agreed: SafeString


@dataclass(frozen=True, slots=True)
class ShiftLine:
    """A shift as it reads now; `end` is empty while it is open."""

    work_provider: str
    start: SafeString
    end: SafeString
    length: str
    ending: str
    login: SafeString  # where the shift begins later than that: at the driver's agreement


@dataclass(frozen=True, slots=True)
class Closed:
    """A shift that nobody but the clock has ended: a driver who is still at work may not know."""

    work_provider: str
    when: SafeString


@dataclass(frozen=True, slots=True)
class AgreementLine:
    """Terms that the customer agreed to."""

    terms: Terms
    agreed: SafeString


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole page of a driver who is a customer."""

    customer: Customer
    heading: SafeString
    why_not: str
    last_closed: Closed | None
    as_of: SafeString
    zones: str
    offers: list[Offer]
    links: list[LinkLine]
    requests: list[RequestLine]
    shifts: list[ShiftLine]
    agreements: list[AgreementLine]

    @property
    def number_groups(self) -> list[str]:
        """The customer number in parts that can be read out; together they are the number."""
        return groups(self.customer.number)


def overview(user: User, customer: Customer, now: datetime) -> Overview:
    """Everything on the page, by a number of queries that depends on nothing."""
    links = list(_links(customer, now))
    requests = list(_requests(customer))
    on_shift = list(_on_shift(customer, now))
    shifts = last_shifts(customer)
    owners = [shift.link.work_provider for shift in (*on_shift, *shifts)]
    owners += [link.work_provider for link in links]
    owners += [request.work_provider for request in requests]
    return Overview(
        customer=customer,
        heading=_heading(on_shift, now),
        why_not="" if on_shift else _why_not(links, requests, now),
        last_closed=None if on_shift else _last_closed(shifts, now),
        as_of=_as_of(owners, now),
        zones=_zones(owners),
        offers=offers(user, links, now),
        links=[_link_line(link, now) for link in links],
        requests=[_request_line(request) for request in requests],
        shifts=[_shift_line(shift, now) for shift in shifts],
        agreements=[_agreement_line(agreement) for agreement in agreements(customer)],
    )


def offers(user: User, links: Iterable[DriverLink], now: datetime) -> list[Offer]:
    """The open links of work providers that are not linked yet, each driver id once."""
    linked = {link.work_provider_id for link in links}
    asked: dict[tuple[int, str], LinkIntent] = {}
    for intent in intents.offered(user, now):
        asked.setdefault((intent.work_provider_id, intent.driver_id), intent)
    found = [
        Offer(intent.pk, intent.work_provider.name, identifiers.mask(intent.driver_id))
        for intent in asked.values()
        if intent.work_provider_id not in linked
    ]
    return found[:_OFFERS]


def last_shifts(customer: Customer) -> list[Shift]:
    """The customer's latest shifts, the newest first.

    In a stream the order of logins is the order of shifts, and there is an index on it: however many
    shifts there are, only the last few of each stream are read.
    """
    newest = Shift.objects.filter(stream=OuterRef("pk")).order_by("-login_at", "-started_at")
    ids = Stream.objects.filter(customer=customer).values_list(
        ArraySubquery(newest.values("pk")[:SHOWN]), flat=True
    )
    found = Shift.objects.filter(pk__in=list(chain.from_iterable(ids)))
    ordered = found.select_related("link__work_provider").order_by("-started_at", "-pk")
    return list(ordered[:SHOWN])


def agreements(customer: Customer) -> "QuerySet[Agreement]":
    """What the customer has agreed to, the latest first; without the texts, which may be long."""
    return (
        Agreement.objects.filter(customer=customer)
        .select_related("terms__work_provider")
        .defer("terms__text")
        .order_by("-agreed_at", "-pk")
    )


def open_shift(link: DriverLink, now: datetime) -> Shift | None:
    """The shift that an unlinking now would end."""
    return _on_shift(link.customer, now).filter(link=link).first()


def moment(at: datetime, zone: str) -> SafeString:
    """`22 Nov 2026, 21:40` for people, the UTC instant for programs."""
    return _time_element(at, format_date(_local(at, zone), "j M Y, H:i") + _which(at, zone))


def moment_near(at: datetime, zone: str, other: datetime) -> SafeString:
    """The time of day alone, where both instants lie on one day."""
    local = _local(at, zone)
    if local.date() != _local(other, zone).date():
        return moment(at, zone)
    return _time_element(at, format_date(local, "H:i") + _which(at, zone))


def length(start: datetime, end: datetime) -> str:
    """Whole minutes, as they went by on no clock that is put forward or back: `7 h 48 min`."""
    hours, minutes = divmod((end - start) // timedelta(minutes=1), 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else "under 1 min"


def ending(shift: Shift, reason: str) -> str:
    """How the shift ended, in plain words; the reason is as `end_as_of` gives it."""
    if reason == EndReason.UNLINKED:
        return _UNLINKINGS.get(shift.link.ended_by, _BY_THE_DRIVER)
    return _ENDINGS[reason]


def groups(number: str) -> list[str]:
    """Three at a time, and none alone at the end."""
    parts = [number[start : start + 3] for start in range(0, len(number), 3)]
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = ["".join(parts[-2:])]
    return parts


def _links(customer: Customer, now: datetime) -> "QuerySet[DriverLink]":
    """Those that hold, and those that begin later: the driver can end either."""
    return (
        DriverLink.objects.not_ended(now)
        .filter(customer=customer)
        .select_related("work_provider")
        .order_by("work_provider__name", "linked_at")
    )


def _requests(customer: Customer) -> "QuerySet[LinkRequest]":
    return (
        LinkRequest.objects.filter(customer=customer, state=LinkRequest.State.WAITING)
        .select_related("work_provider")
        .order_by("work_provider__name", "agreed_at")
    )


def _on_shift(customer: Customer, now: datetime) -> "QuerySet[Shift]":
    """As `on_shift` has it; the range says the same to the index that keeps shifts from overlapping."""
    return (
        Shift.objects.on_shift(now)
        .alias(span=TstzRange("started_at", "ended_at"))
        .filter(Q(span__contains=now), stream__customer=customer)
        .select_related("link__work_provider")
        .order_by("started_at", "pk")
    )


def _heading(on_shift: Sequence[Shift], now: datetime) -> SafeString:
    """The answer to the one question that everybody has who opens the page."""
    if not on_shift:
        return SafeString("You are not insured now")
    pairs = [
        (moment_near(shift.started_at, owner.timezone, now), owner.name)
        for shift in on_shift
        for owner in (shift.link.work_provider,)
    ]
    if len(pairs) == 1:
        return format_html("You are insured now, since {}, for {}", *pairs[0])
    return format_html(
        "You are insured now: {}", format_html_join(", and ", "since {} for {}", pairs)
    )


def _why_not(links: Sequence[DriverLink], requests: Sequence[LinkRequest], now: datetime) -> str:
    names = [link.work_provider.name for link in links if link.linked_at <= now]
    waiting = [request.work_provider.name for request in requests]
    if len(names) == 1:
        return f"{names[0]} has not told us that you are logged in."
    if names:
        return "None of your work providers has told us that you are logged in."
    if waiting:
        return f"You are waiting for {_listed(waiting)} to confirm that you drive for them."
    return (
        "You are not linked to any work provider. To be insured, open the link that your work "
        "provider sent you."
    )


def _listed(names: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    *most, last = dict.fromkeys(names)
    return f"{', '.join(most)} and {last}" if most else last


def _last_closed(shifts: Sequence[Shift], now: datetime) -> Closed | None:
    """The newest shift, if it was closed automatically not long ago and its link still holds."""
    if not shifts:
        return None
    link = shifts[0].link
    end, reason = shifts[0].end_as_of(now)
    if reason != EndReason.AUTO_CLOSED or end is None or now - end > _LATELY:
        return None
    if link.unlinked_at is not None and link.unlinked_at <= now:
        return None
    return Closed(link.work_provider.name, moment(end, link.work_provider.timezone))


def _as_of(owners: Sequence[WorkProvider], now: datetime) -> SafeString:
    zone = owners[0].timezone if owners else "UTC"
    return format_html("{} ({})", moment(now, zone), zone)


def _zones(owners: Iterable[WorkProvider]) -> str:
    """In which time zones the page's times are: each work provider's once, or the one of all."""
    zones = {owner.name: owner.timezone for owner in sorted(owners, key=str)}
    if not zones:
        return ""
    if len(set(zones.values())) == 1:
        return f"All times are local times in {next(iter(zones.values()))}."
    return f"Local times: {_listed([f'{name} in {zone}' for name, zone in zones.items()])}."


def _link_line(link: DriverLink, now: datetime) -> LinkLine:
    owner = link.work_provider
    begins = moment(link.linked_at, owner.timezone)
    when = format_html("{} {}", "since" if link.linked_at <= now else "from", begins)
    if link.unlinked_at is not None:
        when = format_html("{} until {}", when, moment(link.unlinked_at, owner.timezone))
    return LinkLine(link.pk, owner.name, link.driver_id, when)


def _request_line(request: LinkRequest) -> RequestLine:
    owner = request.work_provider
    agreed = moment(request.agreed_at, owner.timezone)
    return RequestLine(request.pk, owner.name, request.driver_id, agreed)


def _shift_line(shift: Shift, now: datetime) -> ShiftLine:
    owner = shift.link.work_provider
    zone, start = owner.timezone, shift.started_at
    end, reason = shift.end_as_of(now)
    lasted = length(start, end or now)
    return ShiftLine(
        work_provider=owner.name,
        start=moment(start, zone),
        end=moment_near(end, zone, start) if end else SafeString(""),
        length=lasted if end else f"{lasted} so far",
        ending=ending(shift, reason),
        login=moment_near(shift.login_at, zone, start) if shift.start_clipped else SafeString(""),
    )


def _agreement_line(agreement: Agreement) -> AgreementLine:
    owner = agreement.terms.work_provider
    at = agreement.agreed_at
    local = _local(at, owner.timezone if owner else "UTC")
    return AgreementLine(agreement.terms, _time_element(at, format_date(local, "j M Y")))


def _time_element(at: datetime, text: str) -> SafeString:
    exact = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return format_html('<time datetime="{}">{}</time>', exact, text)


def _local(at: datetime, zone: str) -> datetime:
    return at.astimezone(ZoneInfo(zone))


def _which(at: datetime, zone: str) -> str:
    """The zone's abbreviation in the hour that an autumn night has twice."""
    local = _local(at, zone)
    if local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset():
        return ""
    return f" {local:%Z}"
