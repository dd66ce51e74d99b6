"""Cover at an instant, with its evidence, for a claims file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple

from django import forms
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import ValidationError
from django.db.models import OuterRef
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone

from linking.models import Agreement, Customer, DriverLink, WorkProvider
from linking.resolve import Identifier, Resolver, Span
from shifts import cover as covers
from shifts import timeline
from shifts.cover import CoveringShift
from shifts.desk import find, history
from shifts.desk.addresses import address
from shifts.desk.customer import troubles
from shifts.desk.drawing import Drawing, draw
from shifts.desk.find import Hit
from shifts.desk.pages import DeskForm, InstantField, actor, page, show
from shifts.desk.words import ENDING_TAGS, ENDINGS, Clock, Tag, lateness, length, tag_of, told
from shifts.explain import Explanation, explain
from shifts.models import Outcome, Shift, ShiftEvent, Stream, Submission, submission_of

_NEAR, _DRAWN = timedelta(hours=24), timedelta(hours=12)
_EXPLAINED = 3  # shifts at one instant; more work providers at once are named, with a link
_LISTED = 30


# Whom it is about


@dataclass(frozen=True, slots=True)
class Who:
    """Whom somebody means: a customer, or a driver id whose link at the instant tells."""

    customer: Customer | None = None
    provider: WorkProvider | None = None
    driver_id: str = ""
    links: tuple[DriverLink, ...] = ()
    problem: str = ""
    choices: tuple[Hit, ...] = ()

    def at(self, instant: datetime) -> Customer | None:
        """The customer at an instant: by the link that holds it, else the next one, else the last."""
        if self.customer is not None or not self.links:
            return self.customer
        identifier = Identifier(self.links[0].work_provider_id, self.driver_id, None)
        spans = [Span(link.customer_id, link.linked_at, link.unlinked_at) for link in self.links]
        found, _ = Resolver({identifier: spans}, set()).find(identifier, instant)
        by_id = {link.customer_id: link.customer for link in self.links}
        return by_id.get(found or 0, self.links[-1].customer)


def who_is(text: str, provider: WorkProvider | None) -> Who:
    """Whom `text` means: a customer number, an email, or a driver id (at `provider`, or `at` one)."""
    if (customer := _customer(text)) is not None:
        return Who(customer, provider)
    hits = list(_driver_hits(text, provider))
    if len(hits) > 1:
        problem = "Several work providers know that driver id: choose the work provider too."
        return Who(provider=provider, problem=problem, choices=tuple(map(find.told, hits)))
    if not hits:
        return Who(provider=provider, problem="Nobody goes by that. Try the search first.")
    links = _held(hits[0].links)
    if not links:
        problem = (
            "Nobody was ever linked under that driver id, so it covers nobody. Its events wait."
        )
        return Who(provider=provider, problem=problem, choices=(find.told(hits[0]),))
    return Who(None, hits[0].work_provider, hits[0].driver_id, tuple(links))


def _customer(text: str) -> Customer | None:
    by_number = Customer.objects.filter(number=find.number_in(text) or "-").select_related("user")
    if (customer := by_number.first()) is not None or "@" not in text:
        return customer
    return Customer.objects.filter(user__email=text.lower()).select_related("user").first()


def _driver_hits(text: str, provider: WorkProvider | None) -> Iterable[find.DriverHit]:
    if provider is not None:
        return find.drivers(text, [provider.pk])
    return [*find.drivers(text)] or find.drivers_at(text)


def _held(links: Iterable[DriverLink]) -> list[DriverLink]:
    """Those that held at any time, in time order."""
    held = [link for link in links if link.unlinked_at != link.linked_at]
    return sorted(held, key=lambda link: link.linked_at)


# The form


class CoverForm(DeskForm):
    """Who, when, and as known when; sent by GET, so that an answer has an address."""

    customer = forms.CharField(
        label="Customer",
        max_length=300,
        help_text="A customer number, an email, or a driver id: 1686 at Courier Ltd.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    work_provider = forms.ModelChoiceField(
        WorkProvider.objects.order_by("name"),
        required=False,
        empty_label="Not said",
        help_text="For a driver id, and for the time zone.",
    )
    at = InstantField(label="Moment")
    known_at = InstantField(
        label="As known at",
        required=False,
        help_text="Optional: what the service would have answered then.",
    )

    def __init__(self, *args: Any, who: Who | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.who = who
        zone = who.provider.timezone if who and who.provider else "UTC"
        for name in ("at", "known_at"):
            moment = self.fields[name]
            assert isinstance(moment, InstantField)
            moment.zone = zone
        self.fields["at"].help_text = (
            f"Such as 2026-11-21 18:30, in {zone}; add Z for UTC."
            if who
            else "Such as 2026-11-21 18:30, in the work provider's zone; add Z for UTC."
        )

    def clean_customer(self) -> str:
        text: str = self.cleaned_data["customer"]
        if self.who is not None and self.who.problem:
            raise ValidationError(self.who.problem)
        return text

    def clean_known_at(self) -> datetime | None:
        known_at: datetime | None = self.cleaned_data["known_at"]
        if known_at is not None and known_at > timezone.now():
            raise ValidationError("What will be known then nobody can say: choose a past moment.")
        return known_at


# The answer


class KnownShift(NamedTuple):
    """A covering shift as it was known."""

    name: str
    zone: str
    start: datetime
    end: datetime | None
    ending: Tag
    opening: ShiftEvent | None
    closing: ShiftEvent | None
    opening_request: Submission | None
    closing_request: Submission | None


@dataclass(frozen=True, slots=True)
class Known:
    """One answer: what was known at a moment, or what stands now."""

    label: str
    moment: datetime | None
    is_covered: bool
    names: list[str]
    shifts: list[KnownShift]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A shift that covers, as it stands, with what it rests on."""

    found: Explanation
    shift: Shift
    zone: str
    end: datetime | None
    tag: Tag
    agreements: list[Agreement]
    start_known: str
    end_known: str


@dataclass(frozen=True, slots=True)
class Near:
    """Something near the moment, where there was no cover; `address` is empty for plain words."""

    at: datetime | None
    words: str
    zone: str = "UTC"
    address: str = ""


@dataclass(slots=True)
class _Case:
    """Everything that one answer is made of."""

    customer: Customer
    at: datetime
    now: datetime
    streams: list[Stream] = field(default_factory=list)
    links: list[DriverLink] = field(default_factory=list)
    providers: dict[int, WorkProvider] = field(default_factory=dict)
    past: history.History | None = None

    def zone(self, chosen: WorkProvider | None, shifts: Sequence[CoveringShift]) -> str:
        """In which the moment is told."""
        if chosen is not None:
            return chosen.timezone
        if shifts:
            return self.providers[shifts[0].work_provider_id].timezone
        return self.links[0].work_provider.timezone if self.links else "UTC"


@page("shifts.view_shift")
def cover(request: HttpRequest) -> HttpResponse:
    """Was this customer covered then, for whom, and was it known?"""
    asked = request.GET
    is_asked = "at" in asked
    chosen = provider_of(asked.get("work_provider", ""))
    text = find.readable(asked.get("customer", ""))
    who = who_is(text, chosen) if is_asked and text else None
    form = CoverForm(asked if is_asked else None, who=who, initial=_initial(asked))
    answer = {}
    if is_asked and form.is_valid() and who is not None:
        known_at = form.cleaned_data["known_at"]
        customer = who.at(form.cleaned_data["at"])
        if customer is not None:
            answer = _answer(customer, form.cleaned_data["at"], known_at, who.provider)
    return show(
        request,
        "desk/cover.html",
        title="Cover at an instant",
        form=form,
        choices=who.choices if who else (),
        who=who,
        asked_by=actor(request),
        **answer,
    )


def _initial(asked: Any) -> dict[str, str]:
    names = ("customer", "work_provider", "known_at")
    return {name: asked[name] for name in names if name in asked}


def provider_of(text: str) -> WorkProvider | None:
    """The work provider of a number in a query."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return None
    return WorkProvider.objects.filter(pk=int(text)).first()


def _answer(
    customer: Customer, at: datetime, known_at: datetime | None, chosen: WorkProvider | None
) -> dict[str, Any]:
    now = timezone.now()
    case = _case(customer, at, now)
    standing = covers.cover(customer, at)
    answers = [_known("As it stands now", None, standing.shifts, case)]
    moments = [("At that moment itself", at)] if at <= now else []
    moments += [("As known at", known_at)] if known_at is not None else []
    for label, moment in moments:
        known = covers.cover(customer, at, moment)
        answers.append(_known(label, moment, known.shifts, case))
    evidence = _evidence(standing.shifts, case)
    return {
        "customer": customer,
        "at": at,
        "now": now,
        "known_at": known_at,
        "is_covered": standing.is_covered,
        "names": answers[0].names,
        "answers": answers,
        "evidence": evidence,
        "more": len(standing.shifts) - len(evidence),
        "near": [] if standing.is_covered else list(_near(case)),
        "links_then": _links_then(case),
        "troubles": troubles({link.work_provider_id for link in case.links}),
        "drawing": _drawing(case, case.zone(chosen, standing.shifts)),
        "zone": case.zone(chosen, standing.shifts),
        "verdict": _verdict(standing.is_covered, answers, at, now),
    }


def _case(customer: Customer, at: datetime, now: datetime) -> _Case:
    case = _Case(customer, at, now)
    case.streams = list(
        Stream.objects.filter(customer=customer).select_related("work_provider", "customer")
    )
    case.links = list(
        DriverLink.objects.filter(customer=customer)
        .select_related("work_provider")
        .order_by("-linked_at")[:100]
    )
    case.past = history.of_customer(
        customer, case.streams, case.links, at - _NEAR, at + _NEAR, now=now
    )
    case.providers = {one.work_provider_id: one.work_provider for one in case.streams}
    return case


def _verdict(is_covered: bool, answers: Sequence[Known], at: datetime, now: datetime) -> str:
    """Whether it was known then, in one sentence."""
    if at > now:
        return "That moment has not come yet: this is what would hold if nothing more arrived."
    then = answers[1].is_covered
    if is_covered and set(answers[0].names) <= set(answers[1].names):
        return "The service knew it at that moment."
    if is_covered and then:
        return (
            f"At that moment the service took the customer for covered, for "
            f"{' and for '.join(answers[1].names)}: what arrived later changed for whom."
        )
    if is_covered:
        return "The service did not know it at that moment: it was reported, or linked, afterwards."
    if then:
        return "At that moment it took the customer for covered; what arrived later changed that."
    return "At that moment the service did not take the customer for covered either."


def _known(
    label: str, moment: datetime | None, shifts: Sequence[CoveringShift], case: _Case
) -> Known:
    ids = [pk for one in shifts for pk in (one.shift.opened_by, one.shift.ended_by) if pk]
    events = ShiftEvent.objects.in_bulk(ids)
    requests = Submission.objects.filter(pk__in={submission_of(pk) for pk in ids}).defer("body")
    by_id = {request.pk: request for request in requests}
    known = [_known_shift(one, moment or case.now, events, by_id, case) for one in shifts]
    return Known(label, moment, bool(shifts), [one.name for one in known], known)


def _known_shift(
    one: CoveringShift,
    moment: datetime,
    events: dict[int, ShiftEvent],
    requests: dict[int, Submission],
    case: _Case,
) -> KnownShift:
    provider, shift = case.providers[one.work_provider_id], one.shift
    end, reason = timeline.end_as_of(shift.ended_at, shift.end_reason, shift.closes_at, moment)
    closing = shift.ended_by or 0
    return KnownShift(
        name=provider.name,
        zone=provider.timezone,
        start=shift.started_at,
        end=end,
        ending=ENDING_TAGS[reason],
        opening=events.get(shift.opened_by),
        closing=events.get(closing),
        opening_request=requests.get(submission_of(shift.opened_by)),
        closing_request=requests.get(submission_of(closing)),
    )


def _evidence(shifts: Sequence[CoveringShift], case: _Case) -> list[Evidence]:
    agreed = list(
        Agreement.objects.filter(customer=case.customer)
        .select_related("terms__work_provider")
        .defer("terms__text")
        .order_by("-agreed_at")[:200]
    )
    made = []
    for one in shifts[:_EXPLAINED]:
        found = explain(one.shift_id, now=case.now) if one.shift_id else None
        if found is not None and found.shift is not None:
            made.append(_evidence_of(found, found.shift, agreed, case))
    return made


def _evidence_of(
    found: Explanation, shift: Shift, agreed: Sequence[Agreement], case: _Case
) -> Evidence:
    end, reason = shift.end_as_of(case.now)
    return Evidence(
        found=found,
        shift=shift,
        zone=found.stream.work_provider.timezone,
        end=end,
        tag=ENDING_TAGS[reason],
        agreements=_agreed_by(agreed, found.stream.work_provider_id, case.at),
        start_known=_heard(shift.start_known_at, case.at),
        end_known=_heard(shift.end_known_at, case.at) if shift.end_known_at else "",
    )


def _agreed_by(agreed: Sequence[Agreement], work_provider_id: int, at: datetime) -> list[Agreement]:
    """The latest terms of Zego and of the work provider that were agreed to by then."""
    found: dict[int | None, Agreement] = {}
    for one in agreed:
        if one.agreed_at <= at and one.terms.work_provider_id in (None, work_provider_id):
            found.setdefault(one.terms.work_provider_id, one)
    return list(found.values())


def _heard(known_at: datetime, at: datetime) -> str:
    """When something became known, beside the moment asked about."""
    gap = length(known_at - at)
    if known_at <= at:
        return f"{gap} before the moment asked about, so it was known then"
    return f"{gap} after the moment asked about, so it was not known then"


def _links_then(case: _Case) -> list[DriverLink]:
    """Those that held at the moment."""
    return [
        link
        for link in case.links
        if link.linked_at <= case.at and (link.unlinked_at is None or case.at < link.unlinked_at)
    ]


# What was near, where there was no cover


def _near(case: _Case) -> Iterable[Near]:
    yield from _consent(case)
    before, after = _neighbours(case)
    if before is not None:
        yield _before(before, case)
    if after is not None:
        yield _after(after)
    if before is None and after is None:
        yield Near(None, "There is no shift of this customer, before or after.")
    yield from _uncounted(case)


def _consent(case: _Case) -> Iterable[Near]:
    if _links_then(case):
        return
    later = [link for link in case.links if link.linked_at > case.at]
    if not case.links:
        yield Near(None, "The customer was never linked to a work provider: nothing could count.")
    elif later:
        first = later[-1]
        words = f"the next link, to {first.work_provider.name}, began: none held before."
        yield Near(first.linked_at, words, first.work_provider.timezone)
    else:
        last = case.links[0]
        words = f"the last link, to {last.work_provider.name}, had ended: none held any more."
        yield Near(last.unlinked_at, words, last.work_provider.timezone)


def _neighbours(case: _Case) -> tuple[Shift | None, Shift | None]:
    """The last shift that had ended by then, and the first that began after it; by index."""
    of_stream = Shift.objects.filter(stream=OuterRef("pk"))
    before = of_stream.filter(login_at__lte=case.at).order_by("-login_at", "-started_at")
    after = of_stream.filter(login_at__gt=case.at).order_by("login_at", "started_at")
    streams = Stream.objects.filter(pk__in=[stream.pk for stream in case.streams])
    ids = streams.values_list(
        ArraySubquery(before.values("pk")[:3]), ArraySubquery(after.values("pk")[:1])
    )
    wanted = [pk for pair in ids for pk in chain(*pair)]
    found = Shift.objects.filter(pk__in=wanted).select_related("stream__work_provider")
    earlier = [shift for shift in found if shift.started_at <= case.at]
    later = [shift for shift in found if shift.started_at > case.at]
    return (
        max(earlier, key=lambda shift: shift.end_as_of(case.now)[0] or case.at, default=None),
        min(later, key=lambda shift: shift.started_at, default=None),
    )


def _before(shift: Shift, case: _Case) -> Near:
    end, reason = shift.end_as_of(case.now)
    provider = shift.stream.work_provider
    gap = length(case.at - end) if end else ""
    words = (
        f"the last shift before, for {provider.name}, had ended {gap} earlier: {ENDINGS[reason]}."
    )
    return Near(end, words, provider.timezone, address("shift", shift.pk))


def _after(shift: Shift) -> Near:
    provider = shift.stream.work_provider
    words = f"the next shift, for {provider.name}, began."
    return Near(shift.started_at, words, provider.timezone, address("shift", shift.pk))


def _uncounted(case: _Case) -> Iterable[Near]:
    """Events within a day of the moment that made no shift."""
    assert case.past is not None
    silent = (Outcome.APPLIED, Outcome.DUPLICATE)
    events = [event for event in case.past.events if event.outcome not in silent]
    for event in sorted(events, key=lambda event: abs(event.timestamp - case.at))[:_LISTED]:
        provider = case.past.providers[event.work_provider_id]
        request = case.past.submission(event)
        words = (
            f"{event.kind} for {provider.name}, {tag_of(event).word}. {told(event).words} It "
            f"{lateness(event.timestamp, event.received_at)}."
        )
        there = address("submission", request.request_id) if request else ""
        yield Near(event.timestamp, words, provider.timezone, there)


def _drawing(case: _Case, zone: str) -> Drawing | None:
    assert case.past is not None
    lanes = history.lanes(case.past)
    if not lanes:
        return None
    clock = Clock(zone, case.at)
    start, end = case.at - _DRAWN, case.at + _DRAWN
    return draw(
        lanes, start, end, zone=zone, now=case.now, marks=[(case.at, f"asked: {clock(case.at)}")]
    )


urlpatterns = [path("cover/", cover, name="cover")]
