"""One customer, or one driver whom nobody knows yet: who it is, and what happened when."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import chain, groupby
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from allauth.account.models import EmailAddress
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Max, OuterRef
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import path, register_converter
from django.utils import timezone

from linking.models import Agreement, Customer, DriverLink, LinkRequest, WorkProvider
from shifts.account import groups
from shifts.desk import addresses, history
from shifts.desk.addresses import address
from shifts.desk.drawing import draw
from shifts.desk.history import Entry, History, Period
from shifts.desk.pages import PAGE, page, show
from shifts.desk.words import Tag, ended_by, link_state
from shifts.models import Shift, ShiftEvent, Standing, Stream

_DAY = timedelta(days=1)
_FIRST_YEAR, _LAST_YEAR = 2001, 2099
_SHOWN = 50  # links, and link requests
_SPANS = (1, 3, 14, 31, 92)


@dataclass(frozen=True, slots=True)
class LinkLine:
    """A link, how it stands, and what can be done about it."""

    link: DriverLink
    state: Tag
    ended_by: str
    is_live: bool


class Choice(NamedTuple):
    """One of several ways to look at the period."""

    label: str
    address: str
    is_current: bool = False


class DayOf(NamedTuple):
    """Entries of one day."""

    day: date
    entries: list[Entry]


@page("shifts.view_shift")
def customer(request: HttpRequest, pk: int) -> HttpResponse:
    """The timeline of one customer."""
    row = get_object_or_404(Customer.objects.select_related("user"), pk=pk)
    now = timezone.now()
    links = list(
        DriverLink.objects.filter(customer=row)
        .select_related("work_provider")
        .order_by("-linked_at")[:_SHOWN]
    )
    every = list(Stream.objects.filter(customer=row).select_related("work_provider", "customer"))
    chosen = _chosen(request, links, every)
    streams = [one for one in every if chosen is None or one.work_provider_id == chosen.pk]
    shown = [one for one in links if chosen is None or one.work_provider_id == chosen.pk]
    latest = _latest_shifts(every, now)
    zone = _zone(chosen, streams, shown)
    period = _asked_period(request, zone) or _default_period(row, streams, shown, zone, now)
    found = history.of_customer(
        row, streams, shown, period.start, period.end, now=now, work_provider=chosen
    )
    return show(
        request,
        "desk/customer.html",
        title=f"Customer {row.number}",
        customer=row,
        number_groups=groups(row.number),
        account=_account(row),
        agreements=_agreements(row),
        links=[_line(link, now) for link in links],
        requests=_requests(row),
        on_shift=[shift for shift in latest if _is_on(shift, now)],
        last_shift=latest[0] if latest else None,
        troubles=troubles({link.work_provider_id for link in links}),
        chosen=chosen,
        providers=_choices(request, links, every, chosen),
        now=now,
        **_timeline(request, found, period, now),
    )


def _timeline(
    request: HttpRequest, found: History, period: Period, now: datetime
) -> dict[str, Any]:
    """What the templates of the timeline need."""
    listed = history.moments(found, period.start, period.end)
    number = _page_number(request)
    here = [one.entry() for one in listed[(number - 1) * PAGE : number * PAGE]]
    lanes = history.lanes(found)
    return {
        "period": period,
        "spans": _spans(request, period, now),
        "drawing": _drawing(request, lanes, period, now) if lanes else None,
        "is_cut": found.is_cut,
        "total": len(listed),
        "days": _by_day(here, period.zone),
        "more": _query(request, page=number + 1) if len(listed) > number * PAGE else "",
        "newer": _query(request, page=number - 1 if number > 2 else None) if number > 1 else "",
    }


def _drawing(request: HttpRequest, lanes: list[Any], period: Period, now: datetime) -> Any:
    day = _query(request, page=None, **{"from": "DAY", "to": "DAY"}).replace("DAY", "{0}")
    address = "" if period.days == 1 else day
    return draw(lanes, period.start, period.end, zone=period.zone, now=now, day_address=address)


def _by_day(entries: Sequence[Entry], zone: str) -> list[DayOf]:
    there = ZoneInfo(zone)
    days = groupby(entries, key=lambda entry: entry.at.astimezone(there).date())
    return [DayOf(day, list(found)) for day, found in days]


def _query(request: HttpRequest, **changes: object) -> str:
    """The address of this page with some of its query changed; None takes one out."""
    query = request.GET.copy()
    for name, value in changes.items():
        query.pop(name, None)
        if value is not None:
            query[name] = str(value)
    return f"?{query.urlencode()}"


def _page_number(request: HttpRequest) -> int:
    text = request.GET.get("page", "")
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 5 else 1


def _chosen(
    request: HttpRequest, links: Sequence[DriverLink], streams: Sequence[Stream]
) -> WorkProvider | None:
    """The work provider that the page is about; None for all."""
    wanted = request.GET.get("work_provider", "")
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 10:
        known = _providers(links, streams).get(int(wanted))
        return known or WorkProvider.objects.filter(pk=int(wanted)).first()
    return None


def _providers(links: Sequence[DriverLink], streams: Sequence[Stream]) -> dict[int, WorkProvider]:
    mine = {link.work_provider_id: link.work_provider for link in links}
    return mine | {stream.work_provider_id: stream.work_provider for stream in streams}


def _choices(
    request: HttpRequest,
    links: Sequence[DriverLink],
    streams: Sequence[Stream],
    chosen: WorkProvider | None,
) -> list[Choice]:
    mine = _providers(links, streams) | ({chosen.pk: chosen} if chosen else {})
    every = Choice("All", _query(request, work_provider=None, page=None), chosen is None)
    each = [
        Choice(one.name, _query(request, work_provider=one.pk, page=None), one == chosen)
        for one in sorted(mine.values(), key=lambda one: one.name.lower())
    ]
    return [every, *each] if len(each) > 1 else []


def _zone(
    chosen: WorkProvider | None, streams: Sequence[Stream], links: Sequence[DriverLink]
) -> str:
    """The zone of the axis: of the work provider that is looked at, else of the one heard of last."""
    if chosen is not None:
        return chosen.timezone
    never = datetime.min.replace(tzinfo=UTC)
    last = max(streams, key=lambda stream: stream.last_event_at or never, default=None)
    if last is not None:
        return last.work_provider.timezone
    return links[0].work_provider.timezone if links else "UTC"


# The period


def _asked_period(request: HttpRequest, zone: str) -> Period | None:
    """The days of ?from= and ?to=, at most MOST_DAYS of them; one of the two stands for both."""
    first, last = _date(request.GET.get("from")), _date(request.GET.get("to"))
    first, last = first or last, last or first
    if first is None or last is None:
        return None
    first, last = min(first, last), max(first, last)
    return Period(max(first, last - (history.MOST_DAYS - 1) * _DAY), last, zone)


def _date(text: str | None) -> date | None:
    try:
        found = date.fromisoformat(text or "")
    except ValueError:
        return None
    return found if _FIRST_YEAR <= found.year <= _LAST_YEAR else None


def _default_period(
    row: Customer,
    streams: Sequence[Stream],
    links: Sequence[DriverLink],
    zone: str,
    now: datetime,
) -> Period:
    """The days up to the last on which something happened; up to today if that is not long ago."""
    seen = [stream.last_event_at for stream in streams if stream.last_event_at is not None]
    waiting = history.waiting_for(row, links).aggregate(last=Max("timestamp"))["last"]
    ends = [link.unlinked_at or link.linked_at for link in links]
    last = max([*seen, *([waiting] if waiting else []), *ends], default=now)
    if last > now - (history.DAYS - 1) * _DAY:
        last = max(last, now)
    return history.ending_on(last, zone)


def _spans(request: HttpRequest, period: Period, now: datetime) -> dict[str, Any]:
    """Ways to other periods: as long a one earlier or later, and longer or shorter ones."""

    def to(other: Period) -> str:
        days = {"from": other.first.isoformat(), "to": other.last.isoformat()}
        return _query(request, page=None, **days)

    earlier, later = period.moved(-1), period.moved(1)
    has_later = later.start <= now
    lengths = [
        Choice(
            "1 day" if days == 1 else f"{days} days",
            to(Period(period.last - (days - 1) * _DAY, period.last, period.zone)),
            period.days == days,
        )
        for days in _SPANS
    ]
    return {
        "earlier": to(earlier) if earlier.first.year >= _FIRST_YEAR else "",
        "later": to(later) if has_later else "",
        "lengths": lengths,
        "latest": _query(request, page=None, **{"from": None, "to": None}),
    }


# Who it is


def _account(row: Customer) -> Tag:
    """How the customer's account stands."""
    if row.erased_at is not None:
        return Tag("erased", "bad")
    if row.user is None:
        return Tag("no account", "warn")
    if not row.user.is_active:
        return Tag("disabled", "bad")
    verified = EmailAddress.objects.filter(user=row.user, email=row.user.email, verified=True)
    return Tag("active", "good") if verified.exists() else Tag("email not verified", "warn")


def _agreements(row: Customer) -> list[Agreement]:
    """The latest ones, without the texts."""
    agreed = Agreement.objects.filter(customer=row).select_related("terms__work_provider")
    return list(agreed.defer("terms__text").order_by("-agreed_at", "-pk")[:5])


def _line(link: DriverLink, now: datetime) -> LinkLine:
    is_live = link.unlinked_at is None or link.unlinked_at > now
    return LinkLine(link, link_state(link, now), ended_by(link), is_live)


def _requests(row: Customer) -> list[LinkRequest]:
    """Agreements that made no link: those that wait, and what was refused or cancelled lately."""
    asked = LinkRequest.objects.filter(customer=row).exclude(state=LinkRequest.State.CONFIRMED)
    return list(asked.select_related("work_provider", "decided_by").order_by("-agreed_at")[:_SHOWN])


def _latest_shifts(streams: Sequence[Stream], now: datetime) -> list[Shift]:
    """The last two of every stream that have begun, the latest first; read by index."""
    begun = Shift.objects.filter(stream=OuterRef("pk"), login_at__lte=now, started_at__lte=now)
    newest = begun.order_by("-login_at", "-started_at")
    ids = Stream.objects.filter(pk__in=[stream.pk for stream in streams]).values_list(
        ArraySubquery(newest.values("pk")[:2]), flat=True
    )
    found = Shift.objects.filter(pk__in=list(chain.from_iterable(ids)))
    return list(found.select_related("stream__work_provider").order_by("-started_at"))


def _is_on(shift: Shift, now: datetime) -> bool:
    end, _ = shift.end_as_of(now)
    return end is None or end > now


def troubles(work_provider_ids: Iterable[int]) -> list[Standing]:
    """Those that have failed submissions: an event that is missed may be in one of them."""
    stuck = Standing.objects.filter(work_provider__in=work_provider_ids, failed__gt=0)
    return list(stuck.select_related("work_provider")[:_SHOWN])


# A driver id


@page("shifts.view_shift")
def driver(request: HttpRequest, pk: int, driver_id: str) -> HttpResponse:
    """The customer behind a driver id, unless somebody else asks for it; without one, what waits."""
    work_provider = get_object_or_404(WorkProvider, pk=pk)
    links = list(
        DriverLink.objects.filter(work_provider=work_provider, driver_id=driver_id)
        .select_related("customer__user", "work_provider")
        .order_by("-linked_at")[:_SHOWN]
    )
    customers = {link.customer_id for link in links if link.unlinked_at != link.linked_at}
    asked = list(_asked_as(work_provider, driver_id))
    waiting_for = {one.customer_id for one in asked if one.state == LinkRequest.State.WAITING}
    if len(customers) == 1 and waiting_for <= customers:
        return redirect(address("customer", customers.pop(), work_provider=pk))
    now = timezone.now()
    waiting = ShiftEvent.objects.filter(
        work_provider=work_provider, driver_id=driver_id, stream__isnull=True
    )
    events = list(waiting.order_by("-timestamp", "-pk")[: history.MOST])
    period = _driver_period(request, events, work_provider.timezone, now)
    within = [one for one in events if period.start <= one.timestamp < period.end]
    return show(
        request,
        "desk/driver.html",
        title=f"Driver {driver_id} at {work_provider}",
        work_provider=work_provider,
        driver_id=driver_id,
        links=[_line(link, now) for link in links],
        requests=asked,
        held_by=len(customers),
        waits_for=bool(waiting_for),
        waiting=len(events),
        counts=_counted(events),
        make_link=address("make-link", work_provider=pk, driver_id=driver_id),
        replay=address("replay", work_provider=pk, driver_id=driver_id),
        now=now,
        **_timeline(request, history.of_driver(work_provider, within, now=now), period, now),
    )


def _driver_period(
    request: HttpRequest, events: Sequence[ShiftEvent], zone: str, now: datetime
) -> Period:
    last = events[0].timestamp if events else now
    return _asked_period(request, zone) or history.ending_on(last, zone)


def _asked_as(work_provider: WorkProvider, driver_id: str) -> Any:
    """Agreements under a driver id that made no link."""
    asked = LinkRequest.objects.filter(work_provider=work_provider, driver_id=driver_id)
    return (
        asked.exclude(state=LinkRequest.State.CONFIRMED)
        .select_related("customer__user", "work_provider", "decided_by")
        .order_by("-agreed_at")[:_SHOWN]
    )


def _counted(events: Sequence[ShiftEvent]) -> dict[str, int]:
    """How many wait, and how many will not count any more."""
    held = sum(event.outcome == "HELD" for event in events)
    expired = sum(event.reason == "EXPIRED" for event in events)
    return {"held": held, "expired": expired}


register_converter(addresses.DriverIdConverter, "driver_id")
urlpatterns = [
    path("customer/<int:pk>/", customer, name="customer"),
    path("driver/<int:pk>/<driver_id:driver_id>/", driver, name="driver"),
]
