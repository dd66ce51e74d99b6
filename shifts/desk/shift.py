"""One shift, which explains itself; one that was removed too."""

import uuid
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone

from linking.models import DriverLink
from shifts.desk import addresses, history
from shifts.desk.addresses import address
from shifts.desk.drawing import Drawing, draw
from shifts.desk.on_shift import on_shift
from shifts.desk.pages import page, show
from shifts.desk.words import ENDING_TAGS, Clock, Tag, day, lateness, tag_of
from shifts.explain import EventTold, Explanation, explain
from shifts.models import EndReason, Shift

_AROUND = timedelta(hours=2)
_SHORTEST = timedelta(hours=12)


class EventLine(NamedTuple):
    """An event beside the shift, as the page shows it."""

    told: EventTold
    tag: Tag
    late: str
    withdraw: str


@page("shifts.view_shift")
def shift(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Why it is as it is."""
    now = timezone.now()
    found = explain(pk, now=now)
    if found is None:
        raise Http404
    provider = found.stream.work_provider
    return show(
        request,
        "desk/shift.html",
        title=_title(found, now),
        found=found,
        shift=found.shift,
        provider=provider,
        zone=provider.timezone,
        customer=found.stream.customer,
        events=[_event_line(told) for told in found.events],
        others=[_other(one, found) for one in found.instead],
        drawing=_drawing(found, now),
        timeline=_timeline(found),
        now=now,
        **(_of_standing(found.shift, now) if found.shift else {}),
    )


def _title(found: Explanation, now: datetime) -> str:
    zone = found.stream.work_provider.timezone
    start = found.shift.started_at if found.shift else found.since
    on = day(start.astimezone(ZoneInfo(zone)))
    if found.shift is None:
        return f"Removed shift of {on}"
    return f"Shift of {on}, {Clock(zone, start).span(start, found.shift.end_as_of(now)[0])}"


def _of_standing(shift: Shift, now: datetime) -> dict[str, Any]:
    """What only a shift that stands has: an end, a state, and what can be done about it."""
    end, reason = shift.end_as_of(now)
    at = end - timedelta(minutes=1) if end else now
    return {
        "end": end,
        "tag": ENDING_TAGS[reason],
        "length": (end or now) - shift.started_at,
        "is_open": end is None,
        "is_estimate": reason == EndReason.AUTO_CLOSED,
        "driver_id": shift.link.driver_id,
        "cover": addresses.at_moment(
            shift.stream.customer, max(at, shift.started_at), shift.stream.work_provider_id
        ),
        "add_login": addresses.add_event(shift.stream, "login"),
        "add_logout": addresses.add_event(shift.stream, "logout"),
    }


def _event_line(told: EventTold) -> EventLine:
    event = told.event
    late = lateness(event.timestamp, event.received_at)
    is_struck = told.withdrawal is not None or event.outcome == "WITHDRAWN"
    return EventLine(told, tag_of(event), late, "" if is_struck else addresses.withdraw(event))


def _other(shift: Shift, found: Explanation) -> tuple[Shift, str]:
    clock = Clock(found.stream.work_provider.timezone, found.since)
    return shift, clock.span(shift.started_at, shift.ended_at)


def _timeline(found: Explanation) -> str:
    """The customer's timeline of those days, at this work provider."""
    zone = found.stream.work_provider.timezone
    days = history.ending_on(found.until, zone, 3)
    return address(
        "customer",
        found.stream.customer_id,
        work_provider=found.stream.work_provider_id,
        **{"from": days.first.isoformat(), "to": days.last.isoformat()},
    )


def _drawing(found: Explanation, now: datetime) -> Drawing:
    """The shift with what is beside it; at least half a day."""
    start, end = found.since - _AROUND, found.until + _AROUND
    spare = max(_SHORTEST - (end - start), timedelta(0)) / 2
    lanes = history.lanes(_history(found, now), marked=found.shift_id)
    zone = found.stream.work_provider.timezone
    return draw(lanes, start - spare, end + spare, zone=zone, now=now)


def _history(found: Explanation, now: datetime) -> history.History:
    """What the explanation has read already, in the form that is drawn."""
    standing = [found.shift] if found.shift else []
    told = found.events
    return history.History(
        now,
        streams={found.stream.pk: found.stream},
        links=_links(found),
        events=[one.event for one in told],
        shifts=[*standing, *found.instead],
        revisions=[one.revision for one in found.revisions],
        submissions={one.submission.pk: one.submission for one in told if one.submission},
        providers={found.stream.work_provider_id: found.stream.work_provider},
    )


def _links(found: Explanation) -> list[DriverLink]:
    for link in found.links:
        link.work_provider = found.stream.work_provider
    return found.links


urlpatterns = [
    path("shift/<uuid:pk>/", shift, name="shift"),
    path("on-shift/", on_shift, name="on-shift"),
]
