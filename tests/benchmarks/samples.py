"""What to ask each page of the desk for: the busiest of everything that the database holds.

A page that takes arguments has to stand here; tests/benchmarks/desk.py says so of one that does not.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

from django.db.models import Count, Model, QuerySet

from linking.models import (
    ApiKey,
    Customer,
    DeskAction,
    DriverLink,
    LinkRequest,
    LinkSecret,
    WorkProvider,
)
from shifts.models import Kind, Shift, ShiftEvent, ShiftRevision, Standing, Stream, Submission
from shifts.reports import Kind as ReportKind

_Row = TypeVar("_Row", bound=Model)
_WHY = {"reason": "To measure how long it takes."}


class NoSample(Exception):  # noqa: N818 (it is no defect of ours)
    """The database lacks what a page is to be tried on."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One way to ask for a page: its arguments, its query, and what is posted, if anything is."""

    args: tuple[object, ...] = ()
    query: dict[str, Any] = field(default_factory=dict)
    post: dict[str, Any] | None = None
    note: str = ""


class Busiest:
    """The rows that give the pages the most to do; each is looked up once."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    @cached_property
    def work_provider(self) -> WorkProvider:
        standing = Standing.objects.filter(work_provider__is_test=False)
        busy = standing.select_related("work_provider").order_by("-open_shifts", "pk")
        return first(busy, "figures (Standing)").work_provider

    @cached_property
    def stream(self) -> Stream:
        streams = Stream.objects.filter(work_provider=self.work_provider, login_at__isnull=False)
        return first(
            streams.annotate(count=Count("shifts")).order_by("-count", "pk"), "open streams"
        )

    @cached_property
    def customer(self) -> Customer:
        return self.stream.customer

    @cached_property
    def link(self) -> DriverLink:
        links = DriverLink.objects.filter(
            work_provider=self.work_provider, customer=self.customer, unlinked_at__isnull=True
        )
        return first(links.order_by("-pk"), "links that hold")

    @cached_property
    def shift(self) -> Shift:
        shifts = Shift.objects.filter(stream=self.stream, ended_at__isnull=False)
        return first(shifts.order_by("-login_at"), "shifts")

    @cached_property
    def open_shift(self) -> Shift:
        """At a quiet hour, with little in the database, one that is over has to do."""
        shifts = Shift.objects.filter(ended_at__isnull=True, closes_at__gt=self.now)
        return shifts.order_by("closes_at").first() or self.shift

    @cached_property
    def logout(self) -> ShiftEvent:
        events = ShiftEvent.objects.filter(stream=self.stream, kind=Kind.LOGOUT, outcome="APPLIED")
        return first(events.order_by("timestamp"), "logouts")

    @cached_property
    def submission(self) -> Submission:
        """The largest of the latest."""
        latest = Submission.objects.defer("body").order_by("-pk")[:5_000]
        return max(latest, key=lambda row: row.event_count)

    @cached_property
    def failed(self) -> Submission:
        failed = Submission.objects.filter(failed_at__isnull=False, is_withdrawn=False)
        return first(failed.defer("body").order_by("-pk"), "failed submissions")

    @cached_property
    def waiting(self) -> LinkRequest:
        waiting = LinkRequest.objects.filter(state=LinkRequest.State.WAITING)
        return first(waiting.order_by("pk"), "link requests that wait")

    @cached_property
    def key(self) -> ApiKey:
        keys = ApiKey.objects.filter(work_provider=self.work_provider, revoked_at__isnull=True)
        return first(keys.order_by("pk"), "keys")

    @cached_property
    def secret(self) -> LinkSecret:
        return first(LinkSecret.objects.order_by("-pk"), "link secrets")

    @cached_property
    def held(self) -> ShiftEvent:
        events = ShiftEvent.objects.filter(
            work_provider=self.work_provider, stream__isnull=True, driver_id__isnull=False
        )
        return first(events.filter(outcome="HELD"), "held events")

    @cached_property
    def revision(self) -> ShiftRevision:
        shortened = ShiftRevision.objects.filter(shortens_cover=True)
        return first(shortened.order_by("-created_at"), "amendments that shortened cover")

    def action(self, kind: DeskAction.Kind) -> DeskAction:
        """The latest of a kind that has not been undone."""
        done = DeskAction.objects.filter(kind=kind, undone_by__isnull=True)
        return first(done.order_by("-created_at"), f"actions ({kind})")


def first(rows: "QuerySet[_Row]", what: str) -> _Row:
    """The first row; NoSample when there is none."""
    found = rows.first()
    if found is None:
        raise NoSample(f"The database has no {what}: seed it (tests/benchmarks/seed.py).")
    return found


LISTS = (
    "pending failed held open auto-closed silent clock waiting-links shortened orphans taken not-linked"
).split()


def samples(now: datetime) -> dict[str, list[Sample]]:
    """By the page's name; a page that is not named here is asked for as it is."""
    busy = Busiest(now)
    return _reading(busy) | _work_providers(busy) | _mending(busy) | _bulk(busy)


def _reading(busy: Busiest) -> dict[str, list[Sample]]:
    provider, customer = busy.work_provider.pk, busy.customer
    link, shift, noon = busy.link, busy.shift, busy.now - timedelta(days=8)
    return {
        "search": [
            Sample(note="empty"),
            Sample(query={"q": link.driver_id}, note="a driver id"),
            Sample(query={"q": customer.number}, note="a customer number"),
            Sample(query={"q": "driver.100@example.com"}, note="an email"),
            Sample(query={"q": busy.submission.request_id}, note="a request id"),
            Sample(query={"q": shift.pk}, note="a shift"),
            Sample(query={"q": "nobody at all"}, note="nobody"),
        ],
        "customer": [
            Sample((customer.pk,)),
            Sample((customer.pk,), {"work_provider": provider}, note="at one work provider"),
        ],
        "driver": [
            Sample((provider, link.driver_id)),
            Sample((provider, busy.held.driver_id), note="not linked"),
        ],
        "shift": [Sample((shift.pk,)), Sample((busy.open_shift.pk,), note="open")],
        "submission": [
            Sample((busy.submission.request_id,)),
            Sample((busy.failed.request_id,), note="failed"),
        ],
        "cover": [
            Sample(note="empty"),
            Sample(query=_cover(busy)),
            Sample(query=_cover(busy) | {"known_at": noon.isoformat()}, note="as known then"),
        ],
        "on-shift": [
            Sample(note="empty"),
            Sample(query={"work_provider": provider, "at": noon.isoformat()}),
        ],
        "list": [Sample((name,), note=name) for name in LISTS]
        + [Sample((name,), {"work_provider": provider}, note=f"{name}, of one") for name in LISTS],
        "reports": [
            Sample(note="empty"),
            *(Sample(query=_report(busy, kind), note=kind.value) for kind in ReportKind),
        ],
        "report-csv": [
            Sample(query=_report(busy, kind), note=f"{kind.value}, until its first rows")
            for kind in ReportKind
        ],
        "rejected": [Sample(), Sample(query={"work_provider": provider}, note="of one")],
        "actions": [Sample(), Sample(query={"work_provider": provider}, note="of one")],
        "action": [Sample((busy.action(DeskAction.Kind.ADD_EVENT).pk,))],
    }


def _cover(busy: Busiest) -> dict[str, Any]:
    at = busy.shift.started_at + timedelta(minutes=1)
    return {"customer": busy.customer.number, "at": at.isoformat()}


def _report(busy: Busiest, kind: ReportKind) -> dict[str, Any]:
    until = busy.now.date()
    return {"kind": kind.value, "since": until - timedelta(days=31), "until": until}


def _work_providers(busy: Busiest) -> dict[str, list[Sample]]:
    provider, key = (busy.work_provider.pk,), (busy.key.pk,)
    return {
        "work-provider": [Sample(provider)],
        "change-work-provider": [Sample(provider)],
        "partner": [Sample(provider)],
        "partner-text": [Sample(provider)],
        "issue-key": [Sample(provider)],
        "issue-link-secret": [Sample(provider)],
        "revoke-link-secret": [Sample((busy.secret.pk,))],
        "key": [Sample(key)],
        "roll-key": [Sample(key)],
        "revoke-key": [Sample(key)],
    }


def _mending(busy: Busiest) -> dict[str, list[Sample]]:
    subject = {"customer": busy.customer.pk, "work_provider": busy.work_provider.pk}
    struck = {
        "stream": busy.stream.pk,
        "kind": busy.logout.kind,
        "at": busy.logout.timestamp.isoformat(),
    }
    ended = _moment(busy.shift.started_at + timedelta(minutes=7))
    just_now = _moment(busy.now - timedelta(seconds=5))
    kinds = DeskAction.Kind
    held = {"work_provider": busy.work_provider.pk, "driver_id": busy.held.driver_id}
    return {
        "add-event": _form_and_preview((), subject, {"kind": "logout", "at": ended}),
        "withdraw": _form_and_preview((), struck, {}),
        "undo": _form_and_preview((busy.action(kinds.WITHDRAW).pk,), {}, {}),
        "end-shift": _form_and_preview((busy.open_shift.pk,), {}, {"at": just_now}),
        "replay": _form_and_preview((), held, {}),
        "retry": _form_and_preview((busy.failed.request_id,), {}, {}),
        "discard": _form_and_preview((busy.failed.request_id,), {}, {}),
        "confirm-link": _form_and_preview((busy.waiting.pk,), {}, {}),
        "refuse-link": _form_and_preview((busy.waiting.pk,), {}, {}),
        "make-link": _form_and_preview((), subject, {"driver_id": "new", "agreed_at": just_now}),
        "end-link": _form_and_preview((busy.link.pk,), {}, {"at": just_now}),
        "seen": [Sample(query={"kind": "REVISION", "target": busy.revision.pk})],
    }


def _bulk(busy: Busiest) -> dict[str, list[Sample]]:
    provider = {"work_provider": busy.work_provider.pk}
    week: dict[str, Any] = {"since": _moment(busy.now - timedelta(days=7))}
    return {
        "close-out": _form_and_preview(
            (), provider, {"at": _moment(busy.now - timedelta(seconds=5))}
        ),
        "strike": _form_and_preview((), {"key": busy.key.pk}, week),
        "reread": _form_and_preview((), provider, week | {"to_zone": "Asia/Tokyo"}),
    }


def _form_and_preview(
    args: tuple[object, ...], query: dict[str, Any], post: dict[str, Any]
) -> list[Sample]:
    return [Sample(args, query), Sample(args, query, post | _WHY, note="preview")]


def _moment(at: datetime) -> str:
    return at.replace(microsecond=0).isoformat()
