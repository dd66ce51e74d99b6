"""The lists behind the front page's numbers: what each is, what to do about it, and a page of its rows.

Each query reads an index that holds little more than the list; nothing is counted but up to a limit.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Exists, Model, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, Lower
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone
from django.utils.safestring import SafeString

from linking.flows import TAKEN
from linking.models import Customer, DeskAction, LinkRequest, WorkProvider
from shifts.desk import charts
from shifts.desk.flow import instant_of
from shifts.desk.pages import PAGE, Paged, page, paged, show
from shifts.models import (
    ClockOffset,
    EndReason,
    Outcome,
    Reason,
    Seen,
    Shift,
    ShiftEvent,
    ShiftRevision,
    Standing,
    Submission,
    submission_of,
)
from shifts.rollup import CLOCK_DAYS, SLOT, slot_of

LATELY = timedelta(days=7)  # how far back the list of shifts closed automatically goes
AHEAD = timedelta(minutes=-5)
_Row = TypeVar("_Row", bound=Model)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a list was asked for: of one work provider or all; `everything`: what is settled as well."""

    request: HttpRequest
    work_provider: WorkProvider | None
    everything: bool
    now: datetime

    def of_work_provider(self, rows: QuerySet[_Row], path: str = "work_provider") -> QuerySet[_Row]:
        """Those rows of the work provider asked for; `path` leads to it."""
        return rows if self.work_provider is None else rows.filter(**{path: self.work_provider})


@dataclass(frozen=True, slots=True)
class Listing:
    """A list: its words, its template, and what gives the template its rows."""

    title: str
    what: str
    todo: str
    empty: str
    template: str
    rows: Callable[[Asked], dict[str, Any]]
    more: str = ""  # what `everything` adds
    kind: str = ""  # of Seen, where a row can be taken off


class Line(NamedTuple):
    """A row of a list, and what else is told about it."""

    row: Any
    request_id: uuid.UUID | None = None
    customer: Customer | None = None
    seen: DeskAction | None = None
    why: str = ""


@page("shifts.view_shift")
def listing(request: HttpRequest, name: str) -> HttpResponse:
    """One list; ?work_provider=, ?all=1 and ?after= say which part of it."""
    found = LISTS.get(name)
    if found is None:
        raise Http404
    wanted = request.GET.get("work_provider", "")
    providers = WorkProvider.objects.order_by(Lower("name")).only("name", "timezone")
    chosen = next((one for one in providers if str(one.pk) == wanted), None)
    asked = Asked(request, chosen, bool(found.more) and "all" in request.GET, timezone.now())
    return show(
        request,
        f"desk/list_{found.template}.html",
        title=found.title,
        list=found,
        asked=asked,
        work_providers=providers,
        unknown=bool(wanted) and chosen is None,
        **found.rows(asked),
    )


def up_to(rows: QuerySet[_Row], limit: int = 100) -> int:
    """How many there are; one more than `limit` stands for all beyond it."""
    return rows.order_by()[: limit + 1].count()


def in_order(asked: Asked, rows: QuerySet[_Row], column: str) -> Paged[_Row]:
    """A page of `rows`, the latest of an instant that need not be unique first (pages.paged)."""
    at, _, pk = asked.request.GET.get("after", "").partition("~")
    start = instant_of(at)
    if start is not None and _is_key(rows, pk):
        earlier = Q(**{f"{column}__lt": start}) | Q(**{column: start, "pk__lt": pk})
        # The first condition alone is what an index can begin at.
        rows = rows.filter(**{f"{column}__lte": start}).filter(earlier)
    found = list(rows.order_by(f"-{column}", "-pk")[: PAGE + 1])
    after = ""
    if len(found) > PAGE:
        last = found[PAGE - 1]
        after = f"{getattr(last, column).isoformat()}~{last.pk}"
    return _paged(asked, found[:PAGE], after)


def _is_key(rows: QuerySet[_Row], text: str) -> bool:
    try:
        rows.filter(pk=text)
    except (ValueError, ValidationError):
        return False
    return text != ""


def _paged(asked: Asked, rows: list[_Row], after: str) -> Paged[_Row]:
    """A page whose next begins after something; "" where it is the last."""
    query = asked.request.GET.copy()
    began = query.pop("after", None)
    first = f"?{query.urlencode()}" if began else ""
    query["after"] = after
    return Paged(rows, f"?{query.urlencode()}" if after else "", first)


# Submissions


def pending_rows(asked: Asked) -> dict[str, Any]:
    """The oldest first: the digest takes them in this order."""
    rows = Submission.objects.filter(digested_at__isnull=True, failed_at__isnull=True)
    return {"page": paged(asked.request, _submissions(asked, rows), by="pk")}


def failed_rows(asked: Asked) -> dict[str, Any]:
    rows = Submission.objects.filter(failed_at__isnull=False)
    if not asked.everything:
        rows = rows.filter(is_withdrawn=False)
    return {"page": paged(asked.request, _submissions(asked, rows))}


def _submissions(asked: Asked, rows: QuerySet[Submission]) -> QuerySet[Submission]:
    """Without the bodies, which may be megabytes each."""
    return asked.of_work_provider(rows).select_related("work_provider").defer("body")


# Held events and who sends them


class Sender(NamedTuple):
    """Whom a work provider reports without a link: by driver id, or by customer number."""

    driver_id: str | None
    customer_number: str | None
    events: int
    first: datetime
    latest: datetime
    reasons: list[str]
    customer: Customer | None = None

    @property
    def why(self) -> list[str]:
        """The reasons in words."""
        return [WHY[reason] for reason in self.reasons]


WHY: dict[str, str] = {
    Reason.UNKNOWN_ID: "nobody is linked under this id",
    Reason.NOT_LINKED: "a customer, but not linked to this work provider",
    Reason.AFTER_UNLINK: "the link has ended",
}


def held_rows(asked: Asked) -> dict[str, Any]:
    """The work providers that have any; of one, the events."""
    groups, owner = _holding(asked)
    if owner is None:
        return {"groups": groups}
    rows = ShiftEvent.objects.filter(work_provider=owner, outcome=Outcome.HELD)
    found = paged(asked.request, rows)
    ids = request_ids(found.rows)
    customers = _customers(event.customer_number for event in found.rows)
    lines = [
        Line(
            event,
            request_id=ids.get(event.pk),
            customer=customers.get(event.customer_number or ""),
            why=WHY[event.reason],
        )
        for event in found.rows
    ]
    return {"owner": owner, "page": found, "lines": lines}


def not_linked_rows(asked: Asked) -> dict[str, Any]:
    """The work providers that have any; of one, the drivers, those that sent last first."""
    groups, owner = _holding(asked)
    if owner is None:
        return {"groups": groups}
    return {"owner": owner, "page": _senders(asked, owner)}


def _holding(asked: Asked) -> tuple[list[Standing], WorkProvider | None]:
    """Who holds the most events, and whose to show: those of the one asked for, or of the only one."""
    if asked.work_provider is not None:
        return [], asked.work_provider
    rows = Standing.objects.filter(held__gt=0).select_related("work_provider")
    groups = list(rows.order_by("-held", "pk")[:PAGE])
    return groups, groups[0].work_provider if len(groups) == 1 else None


_SENDERS = """
SELECT driver_id, customer_number, count(*), min(received_at), max(received_at),
       array_agg(DISTINCT reason)
FROM shifts_shiftevent
WHERE work_provider_id = %(owner)s AND stream_id IS NULL AND outcome IN ('HELD', 'IGNORED')
GROUP BY driver_id, customer_number
HAVING max(received_at) > %(since)s AND (%(at)s::timestamptz IS NULL
   OR (max(received_at), coalesce('d' || driver_id, 'n' || customer_number)) < (%(at)s, %(key)s))
ORDER BY max(received_at) DESC, coalesce('d' || driver_id, 'n' || customer_number) DESC
LIMIT %(limit)s
"""


def _senders(asked: Asked, owner: WorkProvider) -> Paged[Any]:
    """An index holds all that this asks of the events that no link explains."""
    at, _, key = asked.request.GET.get("after", "").partition("~")
    values: dict[str, Any] = {
        "owner": owner.pk,
        "since": asked.now - settings.HELD_EXPIRES_AFTER,
        "at": instant_of(at),
        "key": key.replace("\0", ""),
        "limit": PAGE + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(_SENDERS, values)
        found = [Sender(*row) for row in cursor]
    customers = _customers(sender.customer_number for sender in found)
    rows = [one._replace(customer=customers.get(one.customer_number or "")) for one in found[:PAGE]]
    after = ""
    if len(found) > PAGE:
        last = rows[-1]
        name = f"n{last.customer_number}" if last.driver_id is None else f"d{last.driver_id}"
        after = f"{last.latest.isoformat()}~{name}"
    return _paged(asked, rows, after)


def _customers(numbers: Iterable[str | None]) -> dict[str, Customer]:
    wanted = {number for number in numbers if number is not None}
    rows = Customer.objects.filter(number__in=wanted) if wanted else []
    return {row.number: row for row in rows}


def request_ids(events: Iterable[ShiftEvent]) -> dict[int, uuid.UUID]:
    """By event id, the request id of the submission that it came by, as long as that is kept."""
    by_submission = {event.pk: submission_of(event.pk) for event in events}
    kept = dict(
        Submission.objects.filter(pk__in=set(by_submission.values())).values_list(
            "pk", "request_id"
        )
    )
    return {pk: kept[owner] for pk, owner in by_submission.items() if owner in kept}


# Shifts


def open_rows(asked: Asked) -> dict[str, Any]:
    rows = Shift.objects.filter(
        Q(closes_at__isnull=True) | Q(closes_at__gt=asked.now),
        ended_at__isnull=True,
        started_at__lte=asked.now,
    )
    return {"page": in_order(asked, _shifts(asked, rows), "started_at")}


def auto_closed_rows(asked: Asked) -> dict[str, Any]:
    """Open rows past their maximum read as closed there, whether or not the sweeper has written it."""
    since = asked.now - LATELY
    written = Q(end_reason=EndReason.AUTO_CLOSED, ended_at__gt=since, ended_at__lte=asked.now)
    overdue = Q(ended_at__isnull=True, closes_at__gt=since, closes_at__lte=asked.now)
    rows = Shift.objects.annotate(end=Coalesce("ended_at", "closes_at")).filter(written | overdue)
    return {"page": in_order(asked, _shifts(asked, rows), "end")}


def _shifts(asked: Asked, rows: QuerySet[Shift]) -> QuerySet[Shift]:
    related = ("stream__customer", "stream__work_provider", "link")
    return asked.of_work_provider(rows, "stream__work_provider").select_related(*related)


# Work providers


class ClockLine(NamedTuple):
    """How a work provider's clock stands: in words, and drawn over the last week."""

    standing: Standing
    words: str
    median: str
    drawing: SafeString


def silent_rows(asked: Asked) -> dict[str, Any]:
    rows = Standing.objects.filter(silent_since__isnull=False).select_related("work_provider")
    return {"page": in_order(asked, asked.of_work_provider(rows), "silent_since")}


def clock_rows(asked: Asked) -> dict[str, Any]:
    """Those in trouble, or everybody."""
    rows = Standing.objects.select_related("work_provider")
    if not asked.everything:
        rows = rows.filter(CLOCK_TROUBLE)
    found = paged(asked.request, asked.of_work_provider(rows), by="pk")
    slots = _slots([row.pk for row in found.rows], asked.now)
    lines = [
        ClockLine(
            row,
            clock_words(row, asked.now),
            usual(row.clock_median) if row.clock_median is not None else "",
            charts.offsets(
                slots.get(row.pk, {}),
                row.clock_cluster // SLOT if row.clock_cluster is not None else None,
            ),
        )
        for row in found.rows
    ]
    return {"page": found, "lines": lines}


CLOCK_TROUBLE = Q(clock_cluster__isnull=False) | Q(clock_median__lte=AHEAD)


def _slots(work_provider_ids: list[int], now: datetime) -> Mapping[int, Mapping[int, int]]:
    """Events of the last week by work provider and quarter of an hour (rollup.slot_of)."""
    since = now.date() - timedelta(days=CLOCK_DAYS - 1)
    steps = (
        ClockOffset.objects.filter(work_provider__in=work_provider_ids, date__gte=since)
        .values_list("work_provider", "step")
        .annotate(events=Sum("events"))
    )
    slots: dict[int, dict[int, int]] = {}
    for work_provider_id, step, events in steps:
        found = slots.setdefault(work_provider_id, {})
        found[slot_of(step)] = found.get(slot_of(step), 0) + events
    return slots


def clock_words(standing: Standing, now: datetime) -> str:
    """What is wrong with a work provider's clock, or how late its events come, in words."""
    cluster, median = standing.clock_cluster, standing.clock_median
    if cluster is not None:
        early = cluster < timedelta(0)
        words = f"{apart(cluster)} {'early' if early else 'late'}: local time sent as UTC"
        zone = standing.work_provider.timezone
        if not early and now.astimezone(ZoneInfo(zone)).utcoffset() == cluster:
            words += f", or UTC read as {zone} time"
        return f"{words}?"
    if median is None:
        return "nothing in the last seven days"
    return f"{usual(median)}: is their clock ahead?" if median <= AHEAD else usual(median)


def usual(median: timedelta) -> str:
    """How late events come as a rule: "on time", "10 minutes early", "3 hours late"."""
    if timedelta(0) <= median < timedelta(minutes=5):
        return "on time"
    return f"{apart(median)} {'early' if median < timedelta(0) else 'late'}"


def apart(offset: timedelta) -> str:
    """The size of an offset: "60 minutes", "5 hours", "5 hours 30 minutes"."""
    minutes = abs(offset) // timedelta(minutes=1)
    if minutes <= 90:
        return f"{minutes} minutes"
    hours = f"{minutes // 60} hours"
    return f"{hours} {minutes % 60} minutes" if minutes % 60 else hours


# Links


def waiting_link_rows(asked: Asked) -> dict[str, Any]:
    """The oldest first."""
    rows = LinkRequest.objects.filter(state=LinkRequest.State.WAITING)
    rows = asked.of_work_provider(rows).select_related("work_provider", "customer")
    return {"page": paged(asked.request, rows, by="pk")}


def taken() -> QuerySet[LinkRequest]:
    """Agreements that the service refused, since the driver id is another customer's."""
    return LinkRequest.objects.filter(
        state=LinkRequest.State.REFUSED, decided_by__isnull=True, reason=TAKEN
    )


def taken_rows(asked: Asked) -> dict[str, Any]:
    rows = asked.of_work_provider(taken()).select_related("work_provider", "customer")
    return _to_look_at(asked, rows, Seen.Kind.LINK_REQUEST, lambda some: paged(asked.request, some))


# What to look at


def unseen(rows: QuerySet[_Row], kind: Seen.Kind) -> QuerySet[_Row]:
    """Those that the ops desk has not looked at yet."""
    return rows.filter(~Exists(Seen.objects.filter(kind=kind, target=OuterRef("pk"))))


def _to_look_at(
    asked: Asked,
    rows: QuerySet[_Row],
    kind: Seen.Kind,
    turn: Callable[[QuerySet[_Row]], Paged[_Row]],
) -> dict[str, Any]:
    found = turn(rows if asked.everything else unseen(rows, kind))
    targets = [row.pk for row in found.rows]
    looked = Seen.objects.filter(kind=kind, target__in=targets).select_related("action__actor")
    seen = {row.target: row.action for row in looked}
    return {"page": found, "lines": [Line(row, seen=seen.get(row.pk)) for row in found.rows]}


def shortened() -> QuerySet[ShiftRevision]:
    """Amendments that took cover away."""
    return ShiftRevision.objects.filter(shortens_cover=True)


def shortened_rows(asked: Asked) -> dict[str, Any]:
    rows = asked.of_work_provider(shortened(), "stream__work_provider")
    rows = rows.select_related("stream__customer", "stream__work_provider")
    kind = Seen.Kind.REVISION
    return _to_look_at(asked, rows, kind, lambda some: in_order(asked, some, "created_at"))


def orphans() -> QuerySet[ShiftEvent]:
    """Logouts that end no shift although the driver had logged in again: cover may be missing."""
    return ShiftEvent.objects.filter(after_ignored_login=True)


def orphan_rows(asked: Asked) -> dict[str, Any]:
    rows = asked.of_work_provider(orphans()).select_related("work_provider", "stream__customer")
    kind = Seen.Kind.ORPHAN
    context = _to_look_at(asked, rows, kind, lambda some: paged(asked.request, some))
    ids = request_ids(context["page"].rows)
    lines = [line._replace(request_id=ids.get(line.row.pk)) for line in context["lines"]]
    return context | {"lines": lines}


LISTS = {
    "pending": Listing(
        "Pending submissions",
        "Accepted requests that have not been digested yet, the oldest first.",
        "Nothing, as long as they are a few seconds old. If they grow old, see that the workers and the "
        "sweeper run; one that failed is tried again by itself.",
        "Nothing is pending: digesting keeps up.",
        "submissions",
        pending_rows,
    ),
    "failed": Listing(
        "Failed submissions",
        "Accepted requests that could not be digested in five attempts. What they report does not "
        "count yet.",
        "Read the failure. Once its cause is mended, try again; discard only what must never count.",
        "Nothing has failed.",
        "submissions",
        failed_rows,
        more="Discarded ones too",
    ),
    "held": Listing(
        "Held events",
        "Events that no link explains yet. They count as soon as the driver links, and expire 30 days "
        "after they arrived.",
        "Usually nothing. If drivers should be linked by now, see who sends without being linked.",
        "No events are held.",
        "held",
        held_rows,
    ),
    "not-linked": Listing(
        "Sending, not linked",
        "Drivers whom a work provider reports and who are not insured, since they have not agreed or "
        "have ended their link. Of the last 30 days.",
        "Ask the work provider to send them its link. Link a driver yourself only when you hold the "
        "agreement.",
        "Every driver that is reported is linked.",
        "not_linked",
        not_linked_rows,
    ),
    "open": Listing(
        "On shift now",
        "Shifts that have begun and not ended, the latest first.",
        "Nothing. One that never ends closes by itself at the work provider's longest shift.",
        "Nobody is on shift.",
        "shifts",
        open_rows,
    ),
    "auto-closed": Listing(
        "Closed automatically",
        "Shifts that no logout ended: they end at the work provider's longest shift, which is an "
        "estimate. Of the last seven days.",
        "Many of one work provider on one evening: its logouts got lost. Ask for them, or close "
        "everybody out at the right time.",
        "No shift was closed automatically in the last seven days.",
        "shifts",
        auto_closed_rows,
    ),
    "silent": Listing(
        "Gone silent",
        "Work providers of whom nothing comes although at this time they normally send: ten requests "
        "or more a week ago, and on at least four of the six days since.",
        "Ask them. What they send later still counts for the time at which it happened.",
        "Everybody who normally sends now does.",
        "silent",
        silent_rows,
    ),
    "clock": Listing(
        "Clock trouble",
        "Work providers whose events arrive a whole number of hours or half hours before or after "
        "their own time, or before it as a rule. Shifts are then insured at the wrong times.",
        "Ask what they send. If their times carry no offset, set their time zone right and read what "
        "came so far again; if they carry a wrong one, only they can mend it.",
        "All clocks are right.",
        "clock",
        clock_rows,
        more="All work providers",
    ),
    "waiting-links": Listing(
        "Links to confirm",
        "Drivers who agreed at a work provider whose links need a confirmation. Nothing counts before; "
        "once confirmed, a link holds from the agreement on.",
        "Ask the work provider whether the driver id is this person's, then confirm or refuse.",
        "No link waits.",
        "waiting_links",
        waiting_link_rows,
    ),
    "taken": Listing(
        "Driver id taken",
        "Somebody agreed to be linked under a driver id that is another customer's. Nothing was "
        "linked or moved.",
        "Ask the work provider whose it is. If it has passed on, end the old link; the driver then "
        "follows the work provider's link again.",
        "Nobody has asked for another's driver id.",
        "taken",
        taken_rows,
        more="Those looked at too",
        kind=Seen.Kind.LINK_REQUEST,
    ),
    "shortened": Listing(
        "Cover shortened",
        "Shifts that were changed so that some time is not covered any more that was before.",
        "See what changed it and whether it is right: somebody may have been told otherwise.",
        "No cover was shortened.",
        "shortened",
        shortened_rows,
        more="Those looked at too",
        kind=Seen.Kind.REVISION,
    ),
    "orphans": Listing(
        "Cover may be missing",
        "Logouts that end no shift, though the driver had logged in again: the first shift was closed "
        "automatically, and this logout is too far from that second login. The time between is not "
        "covered.",
        "Ask the work provider when the driver stopped and began again; add the login or logout that "
        "is missing.",
        "No cover seems to be missing.",
        "orphans",
        orphan_rows,
        more="Those looked at too",
        kind=Seen.Kind.ORPHAN,
    ),
}

urlpatterns = [path("list/<slug:name>/", listing, name="list")]
