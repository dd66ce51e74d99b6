"""Mending many at a time: each page asks, tells how many and shows some of them, and then begins."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import path
from django.utils import timezone
from django.utils.html import format_html

from linking import keys
from linking.desk import record
from linking.models import ApiKey, Customer, DeskAction, WorkProvider, validate_timezone
from shifts import bulk, mend, preview, restate
from shifts.desk.addresses import address
from shifts.desk.bulk_flow import BulkMending, Told, conduct
from shifts.desk.changes import Summary, as_row, summary
from shifts.desk.effects import effects_of
from shifts.desk.flow import (
    Fact,
    MendForm,
    Why,
    facts_of,
    filled,
    nothing,
    when,
)
from shifts.desk.pages import page, show
from shifts.desk.subjects import CloseOutChoice, KeyForm, WorkProviderForm, is_pk
from shifts.models import Kind, Submission
from shifts.preview import Changed
from shifts.templatetags.desk import both

SHOWN = 20
LOOKED_AT = 5  # submissions whose new reading is shown
LOOKED_AT_EVENTS = 1_000
LONGEST = timedelta(days=31)  # a period; submissions carry no index but by time
Do = DeskAction.Kind


class CloseOutForm(MendForm):
    """When everybody is taken to have logged out, and why it is not known."""

    moments = {
        "at": "Log everybody out at",
        "down_from": "Their system was down from, if you know",
        "down_until": "And until",
    }
    may_be_empty = ("down_from", "down_until")
    order = ("at", "down_from", "down_until")


class PeriodForm(MendForm):
    """A period of arrivals, not too long; without an end it lasts until the word is given."""

    moments = {"since": "Received from", "until": "Received before"}
    may_be_empty = ("until",)
    order: Sequence[str] = ("since", "until")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["until"].help_text = "Empty: until you confirm."

    def clean(self) -> dict[str, Any]:
        """A period with a beginning before its end."""
        data = super().clean() or {}
        since, until = data.get("since"), data.get("until") or timezone.now()
        if since and since >= until:
            raise ValidationError({"since": "It begins after its end."})
        if since and until - since > LONGEST:
            raise ValidationError({"since": f"Choose at most {LONGEST.days} days at a time."})
        return data


class StrikeForm(PeriodForm):
    """What to strike of a key."""

    revoke = forms.BooleanField(
        label="Revoke the key first",
        required=False,
        help_text="Otherwise it goes on, and what it sends from now on counts.",
    )
    order = ("since", "until", "revoke")


class RereadForm(PeriodForm):
    """What to read again, and in which zone."""

    to_zone = forms.CharField(
        label="Read in the zone",
        max_length=64,
        validators=[validate_timezone],
        widget=forms.TextInput(attrs={"list": "zones", "autocomplete": "off"}),
        help_text="Such as Europe/London. Times with an offset stay as they are.",
    )
    order = ("since", "until", "to_zone")


@page("linking.mend_in_bulk")
def close_out(request: HttpRequest) -> HttpResponse:
    """Everybody at a work provider logged out at one moment, where an outage has lost their logouts."""
    provider = _work_provider(request, "Close everyone out", CloseOutChoice)
    if isinstance(provider, HttpResponse):
        return provider

    def start(data: dict[str, Any], why: Why, told: int) -> DeskAction:
        outage = [
            moment.isoformat() for moment in (data["down_from"], data["down_until"]) if moment
        ]
        return bulk.close_out(provider, data["at"], outage=outage, told=told, **why._asdict())

    return conduct(
        request,
        BulkMending(
            title="Close everyone out",
            form=filled(CloseOutForm, request, provider.timezone),
            tell=partial(_tell_close_out, provider),
            start=start,
            submit=lambda data, count: (
                f"Log {count:,} out at {when(data['at'], provider.timezone)}"
            ),
            about=_about(provider),
            intro="A logout is added for everybody who was on shift at that moment and has sent "
            "no logout since. Each shift then ends there instead of at its maximum. It can "
            "be undone as a whole.",
            zone=provider.timezone,
            back=address("work-provider", provider.pk),
        ),
    )


def _tell_close_out(provider: WorkProvider, data: dict[str, Any], why: Why) -> Told:
    at: datetime = data["at"]
    bulk.refuse_ahead(at, why.now)
    running = mend.running_at(provider, at)
    count = running.count()
    first = list(running.values_list("stream__customer", flat=True).order_by("stream")[:SHOWN])
    changes = _if_closed_out(provider, first, at, why) if first else []
    return Told(
        count,
        "desk/bulk_close_out.html",
        {
            "rows": _rows(changes, provider, why.now),
            "shown": len(first),
            "lost": summary(changes, why.now).lost,
            "left_out": _left_out(provider, at, count),
            "at": at,
        },
    )


def _if_closed_out(
    provider: WorkProvider, customer_ids: Sequence[int], at: datetime, why: Why
) -> list[Changed]:
    """What becomes of the shifts of some customers."""
    numbers = Customer.objects.filter(pk__in=customer_ids).values_list("number", flat=True)

    def mending() -> None:
        action = record(Do.CLOSE_OUT, **why._asdict())
        mend.add_events(action, provider, list(numbers), Kind.LOGOUT, at, now=why.now)

    return preview.preview(mending, now=why.now)[1]


def _rows(
    changes: Sequence[Changed], provider: WorkProvider, now: datetime
) -> list[tuple[Customer, str, str, str]]:
    customers = Customer.objects.in_bulk({one.customer_id for one in changes})
    return [(customers[one.customer_id], *as_row(one, provider.timezone, now)) for one in changes]


def _left_out(provider: WorkProvider, at: datetime, count: int) -> list[tuple[int, str]]:
    """Who was on shift then and keeps their end: how many, and why."""
    ends = Counter(mend.there_at(provider, at).values_list("end_reason", flat=True))
    by_themselves = ends.pop("", 0) + ends.pop("AUTO_CLOSED", 0) - count
    left = [(number, _WHY_LEFT_OUT[reason]) for reason, number in ends.most_common()]
    if by_themselves > 0:
        left.append(
            (by_themselves, "logged out later, in a second shift that follows without a gap")
        )
    return left


_WHY_LEFT_OUT = {
    "LOGOUT": "sent a logout since: the work provider's word stands",
    "UNLINKED": "ended their link",
    "OPS": "were ended by the desk already",
}


@page("linking.mend_in_bulk")
def strike(request: HttpRequest) -> HttpResponse:
    """What a leaked key sent in a period."""
    key = _key(request)
    if isinstance(key, HttpResponse):
        return key
    provider, now = key.work_provider, timezone.now()
    form = filled(StrikeForm, request, provider.timezone)
    is_live = keys.state_of(key, now) == "live"
    if not is_live or not request.user.has_perm("linking.change_apikey"):
        del form.fields["revoke"]

    @transaction.atomic
    def start(data: dict[str, Any], why: Why, told: int) -> DeskAction:
        if data.get("revoke"):
            keys.revoke(key, **why._asdict())
        return bulk.strike(key, *_period(data, why), told=_told(data, told), **why._asdict())

    return conduct(
        request,
        BulkMending(
            title="Withdraw what a key sent",
            form=form,
            tell=partial(_tell_strike, key),
            start=start,
            submit=lambda data, count: f"Withdraw {count:,} {_plural(count, 'submission')}",
            about=[
                *_about(provider),
                Fact("Key", key.key_id, address("key", key.pk)),
                Fact("For", key.label or "-"),
                Fact("Issued", both(key.created_at, provider.timezone)),
                Fact("Last used", both(key.last_used_at, provider.timezone)),
            ],
            intro="What came by this key in the period counts for nothing any more, and stays on "
            "record. Equal events that came by another key stay. It can be undone as a "
            "whole.",
            notices=[_still_live(key)] if is_live else [],
            zone=provider.timezone,
            back=address("key", key.pk),
        ),
    )


def _period(data: dict[str, Any], why: Why) -> tuple[datetime, datetime]:
    return data["since"], data["until"] or why.now


def _told(data: dict[str, Any], count: int) -> int | None:
    """The count that must not grow; what comes until the word is given is wanted too."""
    return count if data["until"] else None


def _still_live(key: ApiKey) -> str:
    return format_html(
        'This key still works: <a href="{}">revoke it</a> first, or what it sends after the '
        "period counts.",
        address("revoke-key", key.pk),
    )


def _tell_strike(key: ApiKey, data: dict[str, Any], why: Why) -> Told:
    since, until = _period(data, why)
    bulk.refuse_ahead(until, why.now)
    sent = bulk.sent_by(key, since, until)
    found = list(sent.order_by("pk").values_list("pk", "event_count")[: bulk.MAX_ITEMS + 1])
    bulk.refuse_too_many(len(found))
    events = sum(count for _, count in found)
    first = Submission.objects.filter(pk__in=[pk for pk, _ in found[:SHOWN]]).defer("body")
    return Told(
        len(found),
        "desk/bulk_strike.html",
        {
            "events": events,
            "effects": effects_of(found) if found else None,
            "submissions": first.order_by("pk"),
            "summary": _if_struck([pk for pk, _ in found], why)
            if 0 < events <= LOOKED_AT_EVENTS
            else None,
        },
    )


def _if_struck(ids: Sequence[int], why: Why) -> Summary:
    def mending() -> None:
        restate.restate(record(Do.STRIKE, **why._asdict()), strike=ids, now=why.now)

    return summary(preview.preview(mending, now=why.now)[1], why.now)


@page("linking.mend_in_bulk")
def reread(request: HttpRequest) -> HttpResponse:
    """Times without an offset that were read in the wrong zone."""
    provider = _work_provider(request, "Read times again")
    if isinstance(provider, HttpResponse):
        return provider

    def start(data: dict[str, Any], why: Why, told: int) -> DeskAction:
        period = (*_period(data, why), data["to_zone"])
        return bulk.reread(provider, *period, told=_told(data, told), **why._asdict())

    return conduct(
        request,
        BulkMending(
            title="Read times again",
            form=filled(RereadForm, request, provider.timezone),
            tell=partial(_tell_reread, provider),
            start=start,
            submit=lambda data, count: f"Read {count:,} {_plural(count, 'submission')} again",
            about=[*_about(provider), Fact("Zone now", provider.timezone)],
            intro="For a work provider that sends local times without an offset, and whose zone "
            "was set wrong. Each submission is read again in the right zone, and its first "
            "reading withdrawn. It can be undone as a whole.",
            notices=_earlier_readings(provider),
            zone=provider.timezone,
            back=address("work-provider", provider.pk),
        ),
    )


def _earlier_readings(provider: WorkProvider) -> list[str]:
    """Those that stand: what they have read again is read yet again only once they are undone."""
    standing = DeskAction.objects.filter(
        work_provider=provider, kind=Do.REREAD, undone_by__isnull=True
    ).order_by("-pk")
    return [
        format_html(
            '<a href="{}">What was received from {} to {}</a> has been read again in {}. Undo '
            "that first to read it in yet another zone.",
            address("action", action.pk),
            _day_and_time(action.details["since"], provider),
            _day_and_time(action.details["until"], provider),
            action.details["zone"],
        )
        for action in standing[:3]
    ]


def _tell_reread(provider: WorkProvider, data: dict[str, Any], why: Why) -> Told:
    since, until = _period(data, why)
    bulk.refuse_ahead(until, why.now)
    zone = data["to_zone"]
    sent = bulk.sent_in_zone(provider, since, until, zone)
    # All of them and no order: else the table might be read by its key, up to the period.
    found = list(sent.order_by().values_list("pk", flat=True)[: bulk.MAX_ITEMS + 1])
    bulk.refuse_too_many(len(found))
    looked_at = _that_read_differently(sorted(found)[: 10 * LOOKED_AT], zone)
    return Told(
        len(found),
        "desk/bulk_reread.html",
        {
            "readings": [_reading(row, zone) for row in looked_at],
            "summary": _if_read_again([row.pk for row in looked_at], zone, why)
            if looked_at
            else None,
            "to_zone": zone,
            "change_zone": "" if zone == provider.timezone else _change_zone(provider),
        },
    )


def _change_zone(provider: WorkProvider) -> str:
    return address("change-work-provider", provider.pk)


def _that_read_differently(ids: Sequence[int], zone: str) -> list[Submission]:
    """The first few of these submissions, of not too many events together."""
    rows = Submission.objects.filter(pk__in=ids, event_count__lte=LOOKED_AT_EVENTS)
    found: list[Submission] = []
    events = 0
    for row in rows.order_by("pk"):
        if restate.times(row, zone) != restate.times(row, row.timezone):
            events += row.event_count
            if len(found) == LOOKED_AT or events > LOOKED_AT_EVENTS:
                break
            found.append(row)
    return found


class Reading(NamedTuple):
    """A submission, and the first of its times that reads differently: before and after."""

    submission: Submission
    before: datetime
    after: datetime


def _reading(row: Submission, zone: str) -> Reading:
    pairs = zip(restate.times(row, row.timezone), restate.times(row, zone), strict=True)
    before, after = next((old.at, new.at) for old, new in pairs if old.at != new.at)
    return Reading(row, before, after)


def _if_read_again(ids: Sequence[int], zone: str, why: Why) -> Summary:
    def mending() -> None:
        restate.reread(ids, zone, record(Do.REREAD, **why._asdict()), now=why.now)

    return summary(preview.preview(mending, now=why.now)[1], why.now)


@page("linking.mend_in_bulk")
def undo_bulk(request: HttpRequest, action: DeskAction) -> HttpResponse:
    """A bulk action taken back as a whole."""
    there = address("action", action.pk)
    if action.finished_at is None:
        words = "It is still going on: wait until it has finished, then undo it."
        return nothing(request, "Undo", words, ("How far it is", there))
    zone = action.work_provider.timezone if action.work_provider else "UTC"
    return conduct(
        request,
        BulkMending(
            title="Undo",
            form=filled(MendForm, request, zone),
            tell=lambda data, why: Told(
                bulk.what_it_left(action).count(), "desk/bulk_undo.html", {}
            ),
            start=lambda data, why, told: bulk.undo(action, **why._asdict()),
            submit=lambda data, count: "Undo it",
            about=facts_of(action, zone),
            intro="What was added counts no more, and what was withdrawn counts again. Both stay "
            "on record.",
            zone=zone,
            back=there,
        ),
    )


def _work_provider(
    request: HttpRequest, title: str, choice: type[WorkProviderForm] = WorkProviderForm
) -> WorkProvider | HttpResponse:
    """The work provider of the address, which nothing is under way for; or a page instead."""
    form = choice(request.GET or None)
    if not form.is_valid():
        return show(request, "desk/mend_choose.html", title=title, form=form)
    provider: WorkProvider = form.cleaned_data["work_provider"]
    return _under_way(request, title, provider) or provider


def _key(request: HttpRequest) -> ApiKey | HttpResponse:
    title = "Withdraw what a key sent"
    pk = request.GET.get("key", "")
    if is_pk(pk):
        key = get_object_or_404(ApiKey.objects.select_related("work_provider"), pk=pk)
    else:
        form = KeyForm(request.GET or None)
        if not form.is_valid():
            return show(request, "desk/mend_choose.html", title=title, form=form)
        key = form.cleaned_data["key_id"]
    return _under_way(request, title, key.work_provider) or key


def _under_way(request: HttpRequest, title: str, provider: WorkProvider) -> HttpResponse | None:
    action = bulk.unfinished(provider).first()
    if action is None:
        return None
    words = f"Another bulk action for {provider.name} is under way: wait until it has finished."
    return nothing(request, title, words, ("How far it is", address("action", action.pk)))


def _about(provider: WorkProvider) -> list[Fact]:
    return [Fact("Work provider", provider.name, address("work-provider", provider.pk))]


def _day_and_time(iso: str, provider: WorkProvider) -> str:
    return both(datetime.fromisoformat(iso), provider.timezone)


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


urlpatterns = [
    path("close-out/", close_out, name="close-out"),
    path("strike/", strike, name="strike"),
    path("reread/", reread, name="reread"),
]
