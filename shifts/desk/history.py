"""What happened to a customer, or to a driver whom nobody knows yet, in a period: to read and to draw.

Each source is read once for all work providers, up to a limit; so the number of queries depends on
nothing. Events, shifts, links, revisions, withdrawals and what the desk did become one list of entries,
the newest first, and the lanes of a drawing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from django.db.models import Q, QuerySet

from linking.models import Customer, DeskAction, DriverLink, TstzRange, WorkProvider
from shifts import explain
from shifts.desk import addresses
from shifts.desk.addresses import address
from shifts.desk.drawing import Band, Bar, Ghost, Lane, Tick
from shifts.desk.words import (
    ENDING_TAGS,
    ENDINGS,
    KINDS,
    Clock,
    Tag,
    identifier,
    lateness,
    length,
    tag_of,
    told,
)
from shifts.desk.words import ended_by as who_ended
from shifts.models import (
    EndReason,
    Kind,
    Outcome,
    Shift,
    ShiftEvent,
    ShiftRevision,
    Stream,
    Submission,
    Withdrawal,
    submission_of,
)
from shifts.reports import midnight

MOST = 1_000  # of each source in one period
DAYS, MOST_DAYS = 14, 92
_DAY = timedelta(days=1)
_Row = TypeVar("_Row")
_WEIGHTS = {"APPLIED": 1, "HELD": 5, "ORPHAN": 6, "REJECTED": 4, "WITHDRAWN": 3, "IGNORED": 2}


class Period(NamedTuple):
    """Whole days of a zone, the first and the last."""

    first: date
    last: date
    zone: str

    @property
    def start(self) -> datetime:
        """When the first day begins."""
        return midnight(self.first, ZoneInfo(self.zone))

    @property
    def end(self) -> datetime:
        """When the last day ends."""
        return midnight(self.last + _DAY, ZoneInfo(self.zone))

    @property
    def days(self) -> int:
        """How many there are."""
        return (self.last - self.first).days + 1

    def moved(self, places: int) -> "Period":
        """As long a period, so many lengths later."""
        return Period(
            self.first + self.days * places * _DAY, self.last + self.days * places * _DAY, self.zone
        )


def ending_on(at: datetime, zone: str, days: int = DAYS) -> Period:
    """So many days, the last of which holds an instant."""
    last = at.astimezone(ZoneInfo(zone)).date()
    return Period(last - (days - 1) * _DAY, last, zone)


class Leads(NamedTuple):
    """A link of an entry; `mends` for one that only those see who may mend."""

    label: str
    address: str
    mends: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the list."""

    at: datetime
    what: str
    title: str
    words: str
    work_provider: WorkProvider | None
    tag: Tag | None = None
    rule: str = ""
    note: str = ""
    leads: tuple[Leads, ...] = ()
    anchor: str = ""

    @property
    def zone(self) -> str:
        """In which its instants are shown."""
        return self.work_provider.timezone if self.work_provider else "UTC"


@dataclass(slots=True)
class History:
    """What was found in a period; `is_cut` says that a limit was reached."""

    now: datetime
    streams: dict[int, Stream] = field(default_factory=dict)
    links: list[DriverLink] = field(default_factory=list)
    events: list[ShiftEvent] = field(default_factory=list)
    shifts: list[Shift] = field(default_factory=list)
    revisions: list[ShiftRevision] = field(default_factory=list)
    withdrawals: list[Withdrawal] = field(default_factory=list)
    actions: list[DeskAction] = field(default_factory=list)
    submissions: dict[int, Submission] = field(default_factory=dict)
    providers: dict[int, WorkProvider] = field(default_factory=dict)

    @property
    def is_cut(self) -> bool:
        """Whether there is more of something than was read."""
        sources = (self.events, self.shifts, self.revisions, self.withdrawals, self.actions)
        return any(len(source) >= MOST for source in sources)

    def submission(self, event: ShiftEvent) -> Submission | None:
        """What an event came by."""
        return self.submissions.get(submission_of(event.pk))


def of_customer(
    customer: Customer,
    streams: Iterable[Stream],
    links: Iterable[DriverLink],
    start: datetime,
    end: datetime,
    *,
    now: datetime,
    work_provider: WorkProvider | None = None,
) -> History:
    """What happened in `[start, end)` to a customer whose streams and links are given.

    Shifts count that touch the period; revisions that were made in it, or changed a shift in it.
    """
    found = History(now, {stream.pk: stream for stream in streams}, list(links))
    ids = list(found.streams)
    found.shifts = _shifts(ids, start, end)
    events = ShiftEvent.objects.filter(stream__in=ids, timestamp__gte=start, timestamp__lt=end)
    found.events = list(events.order_by("-timestamp", "-pk")[:MOST])
    waiting = waiting_for(customer, found.links, work_provider)
    waiting = waiting.filter(timestamp__gte=start, timestamp__lt=end)
    found.events += list(waiting.order_by("-timestamp", "-pk")[:MOST])
    found.revisions = _revisions(ids, start, end)
    found.withdrawals = _withdrawals(found, start, end)
    acted = DeskAction.objects.filter(customer=customer, created_at__gte=start, created_at__lt=end)
    if work_provider is not None:
        acted = acted.filter(work_provider=work_provider)
    found.actions = list(acted.select_related("actor").order_by("-created_at")[:MOST])
    _complete(found)
    return found


def of_driver(
    work_provider: WorkProvider, events: Iterable[ShiftEvent], *, now: datetime
) -> History:
    """The same of events that no link explains."""
    found = History(now, events=list(events))
    found.providers = {work_provider.pk: work_provider}
    _complete(found)
    return found


def waiting_for(
    customer: Customer, links: Iterable[DriverLink], work_provider: WorkProvider | None = None
) -> QuerySet[ShiftEvent]:
    """Events that no link explains, and that name the customer's number or one of their driver ids."""
    providers = WorkProvider.objects.all()
    if work_provider is not None:
        providers = providers.filter(pk=work_provider.pk)
    named = Q(
        work_provider__in=list(providers.values_list("pk", flat=True)),
        customer_number=customer.number,
    )
    for provider_id, driver_id in {(link.work_provider_id, link.driver_id) for link in links}:
        named |= Q(work_provider=provider_id, driver_id=driver_id)
    return ShiftEvent.objects.filter(named, stream__isnull=True)


def _shifts(stream_ids: Sequence[int], start: datetime, end: datetime) -> list[Shift]:
    """By the index that keeps shifts from overlapping: however long ago a login was."""
    rows = Shift.objects.filter(stream__in=stream_ids).select_related("link")
    touching = rows.annotate(span=TstzRange("started_at", "ended_at")).filter(
        span__overlap=(start, end)
    )
    return list(touching.order_by("-started_at")[:MOST])


def _revisions(stream_ids: Sequence[int], start: datetime, end: datetime) -> list[ShiftRevision]:
    within = Q(created_at__gte=start, created_at__lt=end)
    about = Q(old_started_at__lt=end) & (Q(old_ended_at__gt=start) | Q(old_started_at__gte=start))
    rows = ShiftRevision.objects.filter(within | about, stream__in=stream_ids)
    return list(rows.select_related("cause_event").order_by("-pk")[:MOST])


def _withdrawals(found: History, start: datetime, end: datetime) -> list[Withdrawal]:
    """Those of these streams' instants, and of whole submissions that brought one of the events."""
    of_instants = Q(stream__in=list(found.streams)) & (
        Q(withdrawn_at__gte=start, withdrawn_at__lt=end)
        | Q(timestamp__gte=start, timestamp__lt=end)
    )
    submissions = {submission_of(event.pk) for event in found.events}
    rows = Withdrawal.objects.filter(of_instants | Q(submission__in=submissions))
    return list(rows.select_related("action__actor", "undone_action__actor").order_by("-pk")[:MOST])


def _complete(found: History) -> None:
    """Who sent the events, and the names of the work providers."""
    found.submissions = explain.senders({submission_of(event.pk) for event in found.events})
    known = {stream.work_provider_id: stream.work_provider for stream in found.streams.values()}
    known |= {link.work_provider_id: link.work_provider for link in found.links} | found.providers
    ids = {event.work_provider_id for event in found.events} | {
        action.work_provider_id for action in found.actions if action.work_provider_id is not None
    }
    known |= WorkProvider.objects.in_bulk(ids - known.keys())
    found.providers = known


# The list


class Moment(NamedTuple):
    """A line of the list that is not worded yet: of a long list only one page is."""

    at: datetime
    what: str
    number: int
    entry: Callable[[], Entry]


def moments(found: History, start: datetime, end: datetime) -> list[Moment]:
    """Everything that happened in `[start, end)`, the newest first."""
    every = [
        *_each("event", found, found.events, "timestamp", _event_entry),
        *_each("shift", found, found.shifts, "started_at", _shift_entry),
        *_each("revision", found, found.revisions, "created_at", _revision_entry),
        *_each("action", found, _actions_to_tell(found), "created_at", _action_entry),
        *_link_moments(found),
        *_withdrawal_moments(found),
    ]
    mine = [one for one in every if start <= one.at < end]
    return sorted(mine, key=lambda one: (one.at, _ORDER[one.what], one.number), reverse=True)


def _each(
    what: str,
    found: History,
    rows: Iterable[_Row],
    instant: str,
    entry: Callable[[_Row, History], Entry],
) -> Iterator[Moment]:
    for number, row in enumerate(reversed(list(rows))):
        yield Moment(getattr(row, instant), what, number, partial(entry, row, found))


_ORDER = {"link": 0, "shift": 1, "event": 2, "revision": 3, "withdrawal": 4, "action": 5}


def _event_entry(event: ShiftEvent, found: History) -> Entry:
    what = told(event)
    submission = found.submission(event)
    desk = submission.action if submission and event.is_ops else None
    words = what.words
    if desk is not None:
        words = f"Added by the ops desk ({_name(desk)}: “{desk.reason}”). {words}"
    leads = [Leads("Request", _submission_address(event, found))] if submission else []
    return Entry(
        at=event.timestamp,
        what="event",
        title=f"{KINDS[Kind(event.kind)]}, {identifier(event)}",
        words=words,
        work_provider=found.providers.get(event.work_provider_id),
        tag=tag_of(event),
        rule=what.rule,
        note=lateness(event.timestamp, event.received_at),
        leads=(*leads, *_event_leads(event, found)),
        anchor=f"event-{event.pk}",
    )


def _event_leads(event: ShiftEvent, found: History) -> Iterator[Leads]:
    """The shift that it made, and what can be done about it."""
    for shift in found.shifts:
        if event.pk in (shift.opened_by_id, shift.ended_by_id):
            yield Leads("Its shift", address("shift", shift.pk))
    stream = found.streams.get(event.stream_id or 0)
    if event.outcome == Outcome.WITHDRAWN:
        withdrawal = _standing(event, found)
        if withdrawal is not None:
            yield Leads("Undo", address("undo", withdrawal.action_id), mends=True)
        return
    if stream is None:
        yield Leads(
            "Make a link",
            address("make-link", work_provider=event.work_provider_id, driver_id=event.driver_id),
            mends=True,
        )
        return
    if event.outcome == Outcome.ORPHAN:
        yield Leads("Add a login", addresses.add_event(stream, "login"), mends=True)
    yield Leads("Withdraw", addresses.withdraw(event), mends=True)


def _standing(event: ShiftEvent, found: History) -> Withdrawal | None:
    instant = (event.stream_id, event.kind, event.timestamp)
    for one in found.withdrawals:
        same = (one.stream_id, one.kind, one.timestamp) == instant and one.stream_id is not None
        if one.undone_at is None and (same or one.submission_id == submission_of(event.pk)):
            return one
    return None


def _shift_entry(shift: Shift, found: History) -> Entry:
    stream = found.streams[shift.stream_id]
    clock = Clock(stream.work_provider.timezone, shift.started_at)
    end, reason = shift.end_as_of(found.now)
    words = _shift_words(shift, found.now, clock)
    leads = [Leads("Why?", address("shift", shift.pk))]
    if end is None:
        leads.append(Leads("End it", address("end-shift", shift.pk), mends=True))
    if reason == EndReason.AUTO_CLOSED:
        leads.append(Leads("Add a logout", addresses.add_event(stream, "logout"), mends=True))
    return Entry(
        at=shift.started_at,
        what="shift",
        title=f"Shift {clock.span(shift.started_at, end)}" if end else "Shift, still open",
        words=words,
        work_provider=stream.work_provider,
        tag=ENDING_TAGS[reason],
        leads=tuple(leads),
        anchor=f"shift-{shift.pk}",
    )


def _shift_words(shift: Shift, now: datetime, clock: Clock) -> str:
    end, _ = shift.end_as_of(now)
    parts = [length((end or now) - shift.started_at) + ("" if end else " so far")]
    if shift.start_clipped:
        parts.append(f"cover begins with the agreement; at work since {clock(shift.login_at)}")
    if shift.is_continuation:
        parts.append("goes on from a shift that had reached its maximum")
    if end is None and shift.closes_at is not None:
        parts.append(f"without a logout it ends at {clock(shift.closes_at)}")
    return "; ".join(parts) + "."


def _link_moments(found: History) -> Iterator[Moment]:
    for link in found.links:
        yield Moment(link.linked_at, "link", link.pk, partial(_link_entry, link))
        if (ended := link.unlinked_at) is not None:
            yield Moment(ended, "link", link.pk, partial(_unlink_entry, link, ended))


def _link_entry(link: DriverLink) -> Entry:
    late = link.link_recorded_at - link.linked_at
    return Entry(
        link.linked_at,
        "link",
        f"Linked as driver id {link.driver_id}",
        "The customer agreed to be insured while working here.",
        link.work_provider,
        Tag("link", "good"),
        "CONSENT",
        f"recorded {length(late)} later" if late >= timedelta(minutes=1) else "",
    )


def _unlink_entry(link: DriverLink, at: datetime) -> Entry:
    who = who_ended(link)
    words = f"Ended by {who}." if who else "Nothing says who ended it."
    return Entry(
        at,
        "link",
        f"Link as driver id {link.driver_id} ended",
        words,
        link.work_provider,
        Tag("link ended", "warn"),
        "CONSENT",
    )


def _revision_entry(revision: ShiftRevision, found: History) -> Entry:
    stream = found.streams[revision.stream_id]
    clock = Clock(stream.work_provider.timezone, revision.old_started_at)
    before, after = explain.said(revision, clock)
    return Entry(
        at=revision.created_at,
        what="revision",
        title="Shift removed" if revision.new_started_at is None else "Shift changed",
        words=f"Was {before}; now {after}. Cause: {revision.get_cause_display()}.",
        work_provider=stream.work_provider,
        tag=Tag("shortens cover", "bad") if revision.shortens_cover else Tag("changed", "warn"),
        leads=(Leads("What changed, and why", address("shift", revision.shift_id) + "#changes"),),
        anchor=f"revision-{revision.pk}",
    )


def _withdrawal_moments(found: History) -> Iterator[Moment]:
    for one in found.withdrawals:
        struck = partial(_withdrawal_entry, one, found)
        yield Moment(one.withdrawn_at, "withdrawal", one.pk, struck)
        if one.undone_at is not None:
            undone = partial(_undone_entry, one, found)
            yield Moment(one.undone_at, "withdrawal", one.pk, undone)


def _withdrawal_entry(one: Withdrawal, found: History) -> Entry:
    return _by_desk(one.withdrawn_at, f"Withdrew {_what_withdrawn(one, found)}", one, found)


def _undone_entry(one: Withdrawal, found: History) -> Entry:
    title = f"Let {_what_withdrawn(one, found)} count again"
    return _by_desk(one.undone_at or found.now, title, one, found)


def _by_desk(at: datetime, title: str, one: Withdrawal, found: History) -> Entry:
    undone = one.undone_action if at == one.undone_at else None
    action = undone or one.action
    return Entry(
        at,
        "withdrawal",
        title,
        f"{_name(action)}: “{action.reason}”",
        _provider_of(one, found),
        Tag("ops desk", "warn"),
        "R14",
        leads=(Leads("Record", address("action", action.pk)),),
        anchor=f"withdrawal-{one.pk}",
    )


def _what_withdrawn(one: Withdrawal, found: History) -> str:
    if one.timestamp is None:
        return "a whole request"
    zone = found.streams[one.stream_id or 0].work_provider.timezone
    return f"the {one.kind} of {Clock(zone, one.withdrawn_at)(one.timestamp)}"


def _provider_of(one: Withdrawal, found: History) -> WorkProvider | None:
    if one.stream_id is not None:
        return found.streams[one.stream_id].work_provider
    submission = found.submissions.get(one.submission_id or 0)
    return submission.work_provider if submission else None


def _actions_to_tell(found: History) -> list[DeskAction]:
    """But for those that are told by what they withdrew."""
    told_already = {one.action_id for one in found.withdrawals}
    told_already |= {one.undone_action_id for one in found.withdrawals if one.undone_action_id}
    return [action for action in found.actions if action.pk not in told_already]


def _action_entry(action: DeskAction, found: History) -> Entry:
    return Entry(
        at=action.created_at,
        what="action",
        title=f"The ops desk {_what_done(action, found)}",
        words=f"{_name(action)}: “{action.reason}”",
        work_provider=found.providers.get(action.work_provider_id or 0),
        tag=Tag("ops desk", "warn"),
        leads=(Leads("Record", address("action", action.pk)),),
        anchor=f"action-{action.pk}",
    )


def _what_done(action: DeskAction, found: History) -> str:
    done, details = action.get_kind_display(), action.details
    provider = found.providers.get(action.work_provider_id or 0)
    if action.kind == DeskAction.Kind.ADD_EVENT and provider is not None and "at" in details:
        clock = Clock(provider.timezone, action.created_at)
        return f"added the {details['kind']} of {clock(datetime.fromisoformat(details['at']))}"
    if "driver_id" in details:
        return f"{done}: driver id {details['driver_id']}"
    return done


def _name(action: DeskAction) -> str:
    return action.actor.email or action.actor.username


def _submission_address(event: ShiftEvent, found: History) -> str:
    submission = found.submission(event)
    if submission is None:
        return ""
    return address("submission", submission.request_id) + f"#event-{event.pk}"


# The drawing


def lanes(found: History, *, marked: object = None) -> list[Lane]:
    """One for each work provider that has anything, by name; the shift `marked` stands out."""
    made: dict[int, Lane] = {}

    def lane(work_provider: WorkProvider) -> Lane:
        return made.setdefault(work_provider.pk, Lane(work_provider.name))

    for link in found.links:
        if link.unlinked_at != link.linked_at:
            lane(link.work_provider).bands.append(_band(link))
    changed = {revision.shift_id for revision in found.revisions}
    for shift in found.shifts:
        bar = _bar(shift, found, is_changed=shift.pk in changed, is_marked=shift.pk == marked)
        lane(found.streams[shift.stream_id].work_provider).bars.append(bar)
    for revision in found.revisions:
        lane(found.streams[revision.stream_id].work_provider).ghosts.append(_ghost(revision, found))
    for event in found.events:
        lane(found.providers[event.work_provider_id]).ticks.append(_tick(event, found))
    return sorted(made.values(), key=lambda lane: lane.name.lower())


def _band(link: DriverLink) -> Band:
    clock = Clock(link.work_provider.timezone, link.linked_at)
    until = f" to {clock(link.unlinked_at)}" if link.unlinked_at else ", holds"
    text = f"Linked as {link.driver_id}, {_dated(link.linked_at, link.work_provider)}{until}"
    return Band(link.linked_at, link.unlinked_at, text)


def _dated(at: datetime, work_provider: WorkProvider) -> str:
    local = at.astimezone(ZoneInfo(work_provider.timezone))
    return f"{local:%Y-%m-%d %H:%M} {local:%Z}"


def _bar(shift: Shift, found: History, *, is_changed: bool, is_marked: bool) -> Bar:
    provider = found.streams[shift.stream_id].work_provider
    clock = Clock(provider.timezone, shift.started_at)
    end, reason = shift.end_as_of(found.now)
    span = clock.span(shift.started_at, end)
    utc = _utc_span(shift.started_at, end)
    title = (
        f"Shift of {_dated(shift.started_at, provider)}: {span}, {ENDINGS[reason]}. "
        f"{_shift_words(shift, found.now, clock)} {utc}"
    )
    return Bar(
        start=shift.started_at,
        end=end or max(found.now, shift.started_at + timedelta(minutes=1)),
        ending=reason,
        title=title + (" Changed later." if is_changed else ""),
        text=_times(shift.started_at, end, provider.timezone),
        address=address("shift", shift.pk),
        clipped_from=shift.login_at if shift.start_clipped else None,
        closes_at=shift.closes_at,
        is_continuation=shift.is_continuation,
        is_changed=is_changed,
        is_marked=is_marked,
    )


def _times(start: datetime, end: datetime | None, zone: str) -> str:
    """What fits on a bar."""
    there = ZoneInfo(zone)
    ends = f"{end.astimezone(there):%H:%M}" if end else ""
    return f"{start.astimezone(there):%H:%M}-{ends}"


def _utc_span(start: datetime, end: datetime | None) -> str:
    ends = f"{end.astimezone(UTC):%H:%M}" if end else "open"
    return f"{start.astimezone(UTC):%H:%M} to {ends} UTC."


def _ghost(revision: ShiftRevision, found: History) -> Ghost:
    zone = found.streams[revision.stream_id].work_provider.timezone
    before, after = explain.said(revision, Clock(zone, revision.old_started_at))
    end = revision.old_ended_at or revision.new_ended_at or revision.created_at
    return Ghost(
        revision.old_started_at,
        max(end, revision.old_started_at + timedelta(minutes=1)),
        f"Was {before}; now {after}. {revision.get_cause_display()}",
        address("shift", revision.shift_id) + "#changes",
    )


def _tick(event: ShiftEvent, found: History) -> Tick:
    provider = found.providers[event.work_provider_id]
    text = (
        f"{KINDS[Kind(event.kind)]} {_dated(event.timestamp, provider)} "
        f"({event.timestamp.astimezone(UTC):%H:%M} UTC), {tag_of(event).word}: "
        f"{told(event).words} It {lateness(event.timestamp, event.received_at)}."
    )
    look = "missing" if event.after_ignored_login else event.outcome.lower()
    return Tick(
        event.timestamp,
        event.kind,
        look,
        _WEIGHTS.get(event.outcome, 0),
        text,
        _submission_address(event, found),
    )
