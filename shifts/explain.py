"""Why a shift is as it is: which events, rules, links and people made it, in plain words.

Everything is read from what is stored: the outcomes that the projection gave, the rules and links in
force, revisions and the desk's record. Sentences name the rules of docs/domain.md, and give local times
of the work provider's zone. The number of queries depends on nothing.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

from django.conf import settings
from django.db.models import Q

from linking.models import DeskAction, DriverLink, TstzRange
from shifts.desk.words import (
    COVER_MAY_BE_MISSING,
    ENDINGS,
    LIVE,
    Clock,
    Told,
    ended_by,
    identifier,
    length,
    told,
)
from shifts.models import (
    EndReason,
    Kind,
    Outcome,
    Reason,
    Shift,
    ShiftEvent,
    ShiftRevision,
    ShiftRule,
    Stream,
    Submission,
    Withdrawal,
    submission_of,
)

MOST_EVENTS = 200
_AFTERWARDS = timedelta(hours=24)
# A change and its revision carry clocks of two machines, and a lock may have been waited for between.
_SKEW, _LATEST = timedelta(seconds=5), timedelta(minutes=10)
_LINK_ACTIONS = ("MAKE_LINK", "END_LINK", "CONFIRM_LINK", "REFUSE_LINK")
Cause = ShiftRevision.Cause
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class EventTold:
    """An event, what it did to the shift, by which rule, and the request that it came by."""

    event: ShiftEvent
    role: str  # "opening", "ending" or ""
    rule: str
    words: str
    submission: Submission | None
    withdrawal: Withdrawal | None


@dataclass(frozen=True, slots=True)
class RevisionTold:
    """A change to a shift: what it was before, what it became, and what caused it."""

    revision: ShiftRevision
    before: str
    after: str
    rule: str
    words: str
    event: ShiftEvent | None
    submission: Submission | None
    action: DeskAction | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that can be said of one shift; `shift` is None for one that was removed.

    `instead` are the shifts that stand in its stream where it was, or touch it.
    """

    shift_id: uuid.UUID
    shift: Shift | None
    stream: Stream
    start: list[Told]
    end: list[Told]
    events: list[EventTold]
    is_cut: bool
    revisions: list[RevisionTold]
    actions: list[DeskAction]
    instead: list[Shift]
    links: list[DriverLink]
    rule: str
    since: datetime
    until: datetime

    @property
    def opening(self) -> EventTold | None:
        """The login that opened it."""
        return next((one for one in self.events if one.role == "opening"), None)

    @property
    def ending(self) -> EventTold | None:
        """The logout that ended it, if one did."""
        return next((one for one in self.events if one.role == "ending"), None)


class _Hull(NamedTuple):
    """From when to when this shift ever reached."""

    since: datetime
    until: datetime


@dataclass(slots=True)
class _Facts:
    """What is stored about one shift and its surroundings."""

    stream: Stream
    shift: Shift | None
    revisions: list[ShiftRevision]
    now: datetime
    clock: Clock
    hull: _Hull
    links: list[DriverLink] = field(default_factory=list)
    rules: list[ShiftRule] = field(default_factory=list)
    shifts: list[Shift] = field(default_factory=list)
    events: list[ShiftEvent] = field(default_factory=list)
    causes: dict[int, ShiftEvent] = field(default_factory=dict)
    submissions: dict[int, Submission] = field(default_factory=dict)
    withdrawals: list[Withdrawal] = field(default_factory=list)
    link_actions: list[DeskAction] = field(default_factory=list)

    @property
    def end(self) -> tuple[datetime | None, str]:
        """The shift's end and its reason as they read now."""
        return self.shift.end_as_of(self.now) if self.shift else (None, "")

    def previous(self) -> Shift | None:
        """The shift before this one in its stream, as far as it was looked for."""
        if self.shift is None:
            return None
        before = [one for one in self.shifts if one.started_at < self.shift.started_at]
        return max(before, key=lambda one: one.started_at, default=None)

    def withdrawal_of(self, event: ShiftEvent) -> Withdrawal | None:
        """What strikes an event now."""
        instant = (self.stream.pk, event.kind, event.timestamp)
        for one in self.withdrawals:
            same = (one.stream_id, one.kind, one.timestamp) == instant
            if one.undone_at is None and (same or one.submission_id == event.submission_id):
                return one
        return None


def explain(shift_id: uuid.UUID, *, now: datetime) -> Explanation | None:
    """Explain one shift as it reads at `now`; None if there never was one of this id."""
    shift = (
        Shift.objects.filter(pk=shift_id)
        .select_related("stream__work_provider", "stream__customer", "link")
        .first()
    )
    revisions = list(
        ShiftRevision.objects.filter(shift_id=shift_id)
        .select_related("stream__work_provider", "stream__customer")
        .order_by("pk")
    )
    if shift is None and not revisions:
        return None
    facts = _gather(shift, revisions, now)
    return Explanation(
        shift_id=shift_id,
        shift=shift,
        stream=facts.stream,
        start=list(_why_it_starts(facts)),
        end=list(_why_it_ends(facts)),
        events=[_tell(event, facts) for event in facts.events[:MOST_EVENTS]],
        is_cut=len(facts.events) > MOST_EVENTS,
        revisions=[_tell_revision(one, facts) for one in reversed(revisions)],
        actions=_actions(facts),
        instead=_instead(facts),
        links=facts.links,
        rule=_rule_in_force(facts),
        since=facts.hull.since,
        until=facts.hull.until,
    )


def _gather(shift: Shift | None, revisions: list[ShiftRevision], now: datetime) -> _Facts:
    stream = shift.stream if shift else revisions[0].stream
    hull = _hull(shift, revisions, now)
    near = shift.started_at if shift else hull.since
    clock = Clock(stream.work_provider.timezone, near)
    facts = _Facts(stream, shift, revisions, now, clock, hull)
    facts.links = list(
        DriverLink.objects.filter(
            work_provider=stream.work_provider_id, customer=stream.customer_id
        ).order_by("linked_at")
    )
    facts.rules = list(
        ShiftRule.objects.filter(work_provider=stream.work_provider_id).order_by("valid_from")
    )
    facts.shifts = _shifts_around(facts)
    facts.events = _events_around(facts)
    _gather_senders(facts)
    return facts


def _gather_senders(facts: _Facts) -> None:
    """Who sent and who withdrew what the events and revisions speak of."""
    wanted = {one.cause_event_id for one in facts.revisions if one.cause_event_id is not None}
    facts.causes = {event.pk: event for event in facts.events}
    missing = wanted - facts.causes.keys()
    facts.causes |= ShiftEvent.objects.in_bulk(missing)
    ids = {submission_of(pk) for pk in facts.causes}
    facts.submissions = senders(ids)
    facts.withdrawals = list(
        Withdrawal.objects.filter(
            Q(stream=facts.stream, timestamp__in={e.timestamp for e in facts.causes.values()})
            | Q(submission__in=ids)
        )
        .select_related("action__actor", "undone_action__actor")
        .order_by("pk")
    )
    facts.link_actions = list(
        DeskAction.objects.filter(
            customer=facts.stream.customer_id,
            work_provider=facts.stream.work_provider_id,
            kind__in=_LINK_ACTIONS,
        )
        .select_related("actor")
        .order_by("-created_at")[:100]
    )


def senders(submission_ids: Iterable[int]) -> dict[int, Submission]:
    """Submissions by id, without their bodies, with the key or the action of the desk behind them."""
    rows = Submission.objects.filter(pk__in=list(submission_ids)).defer("body")
    return {row.pk: row for row in rows.select_related("api_key", "action__actor", "work_provider")}


def _hull(shift: Shift | None, revisions: Iterable[ShiftRevision], now: datetime) -> _Hull:
    instants = [
        at
        for one in revisions
        for at in (one.old_started_at, one.old_ended_at, one.new_started_at, one.new_ended_at)
        if at is not None
    ]
    if shift is not None:
        end = shift.end_as_of(now)[0] or now
        instants += [shift.login_at, shift.started_at, max(end, shift.started_at)]
    return _Hull(min(instants), max(instants))


def _shifts_around(facts: _Facts) -> list[Shift]:
    """The stream's shifts within a day of the hull, and the last two before it; in time order."""
    rows = Shift.objects.filter(stream=facts.stream).select_related("link")
    reach = (facts.hull.since, facts.hull.until + _AFTERWARDS)
    around = rows.annotate(span=TstzRange("started_at", "ended_at")).filter(span__overlap=reach)
    before = rows.filter(login_at__lte=facts.hull.since).order_by("-login_at", "-started_at")
    found = {one.pk: one for one in [*around[:MOST_EVENTS], *before[:2]]}
    return sorted(found.values(), key=lambda one: one.started_at)


def _events_around(facts: _Facts) -> list[ShiftEvent]:
    """Those in the hull, and after it up to the next shift; one more than are shown, if there is."""
    end = facts.end[0] or facts.hull.until
    until = facts.hull.until + (_AFTERWARDS if facts.shift else timedelta(0))
    later = [
        one.started_at
        for one in facts.shifts
        if one.started_at >= facts.hull.until
        # A second shift (R7) is the end of this one's story.
        and not (one.is_continuation and one.started_at == end)
    ]
    until = min([until, *later])
    rows = ShiftEvent.objects.filter(timestamp__gte=facts.hull.since, timestamp__lte=until)
    of_stream = rows.filter(stream=facts.stream).order_by("timestamp", "pk")
    waiting = rows.filter(
        Q(driver_id__in={link.driver_id for link in facts.links})
        | Q(customer_number=facts.stream.customer.number),
        stream__isnull=True,
        work_provider=facts.stream.work_provider_id,
    ).order_by("timestamp", "pk")
    found = [*of_stream[: MOST_EVENTS + 1], *waiting[: MOST_EVENTS + 1]]
    mine = [e for e in found if e.timestamp not in later or e.timestamp == end]
    return sorted(mine, key=lambda event: (event.timestamp, event.pk))[: MOST_EVENTS + 1]


# Why it starts and ends where it does


def _why_it_starts(facts: _Facts) -> Iterator[Told]:
    shift = facts.shift
    if shift is None:
        return
    yield _opening(shift, facts)
    opening = facts.causes.get(shift.opened_by_id)
    if opening is not None and opening.is_ops:
        yield Told("R14", f"The ops desk added that login{_by(opening, facts)}.")
    if shift.start_clipped:
        yield _clipping(shift, facts)
    yield _start_known(shift)


def _opening(shift: Shift, facts: _Facts) -> Told:
    clock, previous = facts.clock, facts.previous()
    login = clock(shift.login_at)
    if shift.is_continuation:
        return Told(
            "R7",
            f"The shift before had been ended at its maximum, but the driver had logged in again at "
            f"{login}, and the logout that came after the maximum is within {_maximum(shift)} of "
            f"that login. So a second shift follows the first without a gap.",
        )
    if previous is not None and previous.ended_at == shift.login_at:
        if previous.end_reason == EndReason.AUTO_CLOSED:
            return Told("R5", f"The shift before reached its maximum at {login}, when this began.")
        if previous.end_reason in (EndReason.LOGOUT, EndReason.OPS):
            return Told(
                "R11",
                f"The driver logged out and in again at {login}: the logout goes first, and ends "
                f"the shift before; the login opens this one.",
            )
    return Told("R1", f"The driver logged in at {login} while no shift was open.")


def _clipping(shift: Shift, facts: _Facts) -> Told:
    began = facts.clock(shift.started_at)
    before = [link for link in facts.links if link.linked_at < shift.link.linked_at]
    what = "linked again" if before else "agreed to be insured"
    since = "" if shift.is_continuation else f" since {facts.clock(shift.login_at)}"
    text = (
        f"The driver had been at work{since} and {what} at {began}: cover never starts before "
        f"consent."
    )
    if shift.closes_at is not None and not shift.is_continuation:
        text += f" The maximum still runs from {facts.clock(shift.login_at)}."
    return Told("CONSENT", text)


def _why_it_ends(facts: _Facts) -> Iterator[Told]:
    shift = facts.shift
    if shift is None:
        return
    end, reason = facts.end
    if end is None:
        yield _still_open(shift, facts)
        return
    yield _ENDS[reason](shift, facts, end)
    if reason in (EndReason.LOGOUT, EndReason.OPS) and _was_estimated(shift, facts):
        yield Told(
            "R8",
            "Until that logout arrived the shift had been closed automatically: an estimate gives "
            "way to a fact.",
        )
    yield _known("end", end, shift.end_known_at or max(end, shift.start_known_at))


def _still_open(shift: Shift, facts: _Facts) -> Told:
    if shift.closes_at is None:
        return Told("R1", "No logout has come, and this work provider has no longest shift.")
    return Told("R6", f"No logout has come. Without one it will end at {_sum(shift, facts)}.")


def _logged_out(shift: Shift, facts: _Facts, end: datetime) -> Told:
    at = facts.clock(end)
    if shift.is_continuation:
        return Told("R7", f"The logout at {at} ended it.")
    if shift.closes_at is None:
        return Told("R2", f"The driver logged out at {at}.")
    return Told("R2", f"The driver logged out at {at}, within {_maximum(shift)} of the login.")


def _closed(shift: Shift, facts: _Facts, end: datetime) -> Told:
    text = (
        f"No logout came within {_maximum(shift)}, so the shift was ended at its maximum: "
        f"{_sum(shift, facts)}."
    )
    after = [
        event
        for event in facts.events
        if event.timestamp >= end and event.stream_id and event.outcome != Outcome.WITHDRAWN
    ]
    if not after:
        return Told("R6", text)
    first = after[0]
    came = f" The next event, a {first.kind} at {facts.clock(first.timestamp)}, came after that."
    return Told("R5", text + came)


def _unlinked(shift: Shift, facts: _Facts, end: datetime) -> Told:
    who = ended_by(shift.link)
    by = f", ended by {who}" if who else ""
    return Told(
        "CONSENT", f"The link ended at {facts.clock(end)}{by}: cover ends with the agreement."
    )


def _ended_by_desk(shift: Shift, facts: _Facts, end: datetime) -> Told:
    event = facts.causes.get(shift.ended_by_id or 0)
    by = _by(event, facts) if event else ""
    return Told(
        "R14",
        f"The ops desk added the logout at {facts.clock(end)}{by}; the work provider has not sent "
        f"it.",
    )


_ENDS: dict[str, Callable[[Shift, _Facts, datetime], Told]] = {
    EndReason.LOGOUT: _logged_out,
    EndReason.AUTO_CLOSED: _closed,
    EndReason.UNLINKED: _unlinked,
    EndReason.OPS: _ended_by_desk,
}


def _was_estimated(shift: Shift, facts: _Facts) -> bool:
    return any(
        one.old_end_reason == EndReason.AUTO_CLOSED
        and one.new_ended_at == shift.ended_at
        and one.cause == Cause.EVENT
        for one in facts.revisions
    )


def _known(what: str, at: datetime, known_at: datetime) -> Told:
    late = known_at - at
    if late < LIVE:
        return Told("", f"The service knew of this {what} at once.")
    return Told("", f"The service first knew of this {what} {length(late)} after it.")


def _start_known(shift: Shift) -> Told:
    """When both the login and the link were known; for a second shift (R7) the logout too."""
    known = _known("start", shift.started_at, shift.start_known_at)
    if shift.start_known_at - shift.started_at < LIVE:
        return known
    when = "when its login arrived"
    if shift.start_known_at == shift.link.link_recorded_at:
        when = "when the link was recorded"
    elif shift.is_continuation:
        when = "when the logout proved it"
    return Told("", f"{known.words.removesuffix('.')}, {when}.")


def _maximum(shift: Shift) -> str:
    """How long the shift may last at most; only for one that has a maximum."""
    return length(shift.closes_at - shift.login_at) if shift.closes_at else "any time"


def _sum(shift: Shift, facts: _Facts) -> str:
    """`09:12 + 14 h = 23:12`."""
    assert shift.closes_at is not None
    login, closes = facts.clock(shift.login_at), facts.clock(shift.closes_at)
    return f"{login} + {_maximum(shift)} = {closes}"


def _by(event: ShiftEvent, facts: _Facts) -> str:
    """` (jo@zego.example: "Told by telephone.")`, of what the desk added."""
    submission = facts.submissions.get(submission_of(event.pk))
    return _who(submission.action) if submission and submission.action else ""


def _who(action: DeskAction) -> str:
    return f" ({action.actor.email or action.actor.username}: “{action.reason}”)"


def _rule_in_force(facts: _Facts) -> str:
    """The longest shift for the login that opened it, and since when that holds."""
    login_at = facts.shift.login_at if facts.shift else facts.hull.since
    rules = [rule for rule in facts.rules if rule.valid_from <= login_at]
    if not rules:
        return f"{_max_words(settings.DEFAULT_MAX_SHIFT_LENGTH)} (the default)"
    since = facts.clock(rules[-1].valid_from)
    return f"{_max_words(rules[-1].max_shift_length)} (for logins from {since} on)"


def _max_words(maximum: timedelta | None) -> str:
    return "no maximum" if maximum is None else length(maximum)


# What each event did


def _tell(event: ShiftEvent, facts: _Facts) -> EventTold:
    role, what = _role(event, facts)
    if what is None:
        describe = _EVENTS.get((event.outcome, event.reason))
        what = describe(event, facts) if describe else told(event)
    submission = facts.submissions.get(submission_of(event.pk))
    withdrawal = facts.withdrawal_of(event)
    return EventTold(event, role, what.rule, what.words, submission, withdrawal)


def _role(event: ShiftEvent, facts: _Facts) -> tuple[str, Told | None]:
    shift = facts.shift
    if shift is not None and event.pk == shift.opened_by_id:
        rule = "R7" if shift.is_continuation else "R1"
        return "opening", Told(rule, "It opened this shift.")
    if shift is not None and event.pk == shift.ended_by_id:
        rule = "R14" if shift.end_reason == EndReason.OPS else "R2"
        return "ending", Told("R7" if shift.is_continuation else rule, "It ended this shift.")
    return "", None


def _applied(event: ShiftEvent, facts: _Facts) -> Told:
    for other in facts.shifts:
        if event.pk == other.opened_by_id:
            rule = "R7" if other.is_continuation else "R1"
            return Told(rule, f"It opened the shift from {facts.clock(other.started_at)}.")
        if event.pk == other.ended_by_id:
            rule = "R7" if other.is_continuation else "R2"
            return Told(rule, f"It ended the shift from {facts.clock(other.started_at)}.")
    return told(event)


def _duplicate(event: ShiftEvent, facts: _Facts) -> Told:
    for other in facts.events:
        same = (other.kind, other.timestamp) == (event.kind, event.timestamp)
        if same and other.outcome not in (Outcome.DUPLICATE, Outcome.WITHDRAWN):
            arrived = facts.clock(other.received_at)
            return Told(
                "R3",
                f"The same {event.kind} was received at {arrived} already: it changes nothing.",
            )
    return told(event)


def _repeated_login(event: ShiftEvent, facts: _Facts) -> Told:
    shift, clock = facts.shift, facts.clock
    if shift is None or event.timestamp < shift.login_at:
        return told(event)
    for one in facts.revisions:
        if one.old_started_at == event.timestamp and shift.login_at < event.timestamp:
            return Told(
                "R13",
                f"The shift began with this login until an earlier one, at "
                f"{clock(shift.login_at)}, arrived: it starts there now, and keeps its identity.",
            )
    text = (
        f"A login while the driver was already on shift changes nothing: the shift keeps its first "
        f"login, {clock(shift.login_at)}."
    )
    return told(event) if shift.is_continuation else Told("R4", text)


def _no_open_shift(event: ShiftEvent, facts: _Facts) -> Told:
    end, reason = facts.end
    if end is None or event.timestamp < end:
        return told(event)
    if reason in (EndReason.LOGOUT, EndReason.OPS):
        return Told(
            "R10",
            f"The driver had logged out at {facts.clock(end)} already: the first logout stands.",
        )
    return Told("R9", f"No shift was open any more: this one had ended at {facts.clock(end)}.")


def _beyond(event: ShiftEvent, facts: _Facts) -> Told:
    shift, (end, reason) = facts.shift, facts.end
    if shift is None or end is None or reason != EndReason.AUTO_CLOSED or event.timestamp < end:
        return told(event)
    text = f"The shift had been ended at its maximum, {facts.clock(end)}, before this logout"
    again = _last_ignored(shift, facts)
    if again is None:
        return Told("R7", f"{text}: that end stays.")
    return Told(
        "R7",
        f"{text}. The driver had logged in again at {facts.clock(again.timestamp)}, but the logout "
        f"is more than {_maximum(shift)} after that too: the end stays. {COVER_MAY_BE_MISSING}",
    )


def _last_ignored(shift: Shift, facts: _Facts) -> ShiftEvent | None:
    ignored = [
        event
        for event in facts.events
        if event.reason == Reason.REPEATED_LOGIN and event.timestamp >= shift.login_at
    ]
    return ignored[-1] if ignored else None


def _withdrawn(event: ShiftEvent, facts: _Facts) -> Told:
    found = facts.withdrawal_of(event)
    if found is None:
        return told(event)
    whole = " with the whole request that it came by" if found.submission_id else ""
    return Told("R14", f"The ops desk withdrew it{whole}{_who(found.action)}.")


def _before_link(event: ShiftEvent, facts: _Facts) -> Told:
    next_link = next((link for link in facts.links if link.linked_at > event.timestamp), None)
    if next_link is None:
        return told(event)
    agreed = facts.clock(next_link.linked_at)
    ended = [link.unlinked_at for link in facts.links if link.linked_at <= event.timestamp]
    if ended and ended[-1] is not None:
        gap = f"The link had ended at {facts.clock(ended[-1])}, and the next began only at {agreed}"
        return Told("BEFORE_LINK", f"{gap}: no consent, no cover.")
    return Told(
        "BEFORE_LINK",
        f"The driver agreed only at {agreed}, and this shift does not reach that: cover never starts "
        f"before consent.",
    )


def _waits(event: ShiftEvent, facts: _Facts) -> Told:
    what = told(event)
    return Told(what.rule, f"Sent for {identifier(event)}. {what.words}")


_EVENTS: dict[tuple[str, str], Callable[[ShiftEvent, _Facts], Told]] = {
    (Outcome.APPLIED, ""): _applied,
    (Outcome.DUPLICATE, ""): _duplicate,
    (Outcome.IGNORED, Reason.REPEATED_LOGIN): _repeated_login,
    (Outcome.ORPHAN, Reason.NO_OPEN_SHIFT): _no_open_shift,
    (Outcome.ORPHAN, Reason.BEYOND_MAX_LENGTH): _beyond,
    (Outcome.WITHDRAWN, ""): _withdrawn,
    (Outcome.REJECTED, Reason.BEFORE_LINK): _before_link,
    (Outcome.IGNORED, Reason.AFTER_UNLINK): _waits,
    (Outcome.HELD, Reason.UNKNOWN_ID): _waits,
    (Outcome.HELD, Reason.NOT_LINKED): _waits,
}


# What changed it later


class _Because(NamedTuple):
    rule: str
    words: str
    event: ShiftEvent | None = None
    action: DeskAction | None = None


def _tell_revision(revision: ShiftRevision, facts: _Facts) -> RevisionTold:
    because = _CAUSES[Cause(revision.cause)](revision, facts)
    event = because.event
    submission = facts.submissions.get(submission_of(event.pk)) if event else None
    before, after = said(revision, facts.clock)
    return RevisionTold(
        revision, before, after, because.rule, because.words, event, submission, because.action
    )


def said(revision: ShiftRevision, clock: Clock) -> tuple[str, str]:
    """What a shift was before a change, and what it became."""
    before = _interval(
        revision.old_started_at, revision.old_ended_at, revision.old_end_reason, clock
    )
    if revision.new_started_at is None:
        return before, "no shift any more"
    return before, _interval(
        revision.new_started_at, revision.new_ended_at, revision.new_end_reason, clock
    )


def _interval(start: datetime, end: datetime | None, reason: str, clock: Clock) -> str:
    if end is None:
        return f"{clock(start)}, on shift"
    return f"{clock.span(start, end)}, {ENDINGS[reason]}"


def _by_event(revision: ShiftRevision, facts: _Facts) -> _Because:
    event = facts.causes.get(revision.cause_event_id or 0)
    if event is None:
        return _Because("", "An event arrived later.")
    submission = facts.submissions.get(submission_of(event.pk))
    action = submission.action if submission else None
    came = f"A {event.kind} at {facts.clock(event.timestamp)}"
    if action is not None and event.is_ops:
        return _Because("R14", f"{came} was added by the ops desk{_who(action)}.", event, action)
    rule, effect = _effect(revision, event)
    arrived = f"{came} arrived at {facts.clock(event.received_at)}"
    if action is not None:
        arrived += ", read again in another zone by the ops desk" + _who(action)
    return _Because(rule, f"{arrived}: {effect}.", event, action)


def _effect(revision: ShiftRevision, event: ShiftEvent) -> tuple[str, str]:
    old, new = revision.old_started_at, revision.new_started_at
    if new is None:
        zero = event.reason == Reason.ZERO_LENGTH
        return ("R12", "login and logout are one") if zero else ("", "events make other shifts now")
    if new < old and event.kind == Kind.LOGIN:
        return "R13", "the shift starts earlier, and keeps its identity"
    if new == old and revision.old_end_reason == EndReason.AUTO_CLOSED:
        return "R8", "an estimate gives way to a fact"
    if new == old and revision.old_end_reason == EndReason.OPS:
        return "R14", "the work provider says itself what the ops desk had added"
    if new == old and event.kind == Kind.LOGOUT:
        return "R10", "the first logout stands"
    return "", "the shifts were made again with it"


def _by_link(revision: ShiftRevision, facts: _Facts) -> _Because:
    action = _nearest(revision.created_at, ((one.created_at, one) for one in facts.link_actions))
    found = _nearest(revision.created_at, _link_changes(facts))
    words = found or "A link began, ended or changed"
    who = _who(action) if action else ""
    return _Because("CONSENT", f"{words}{who}.", action=action)


def _link_changes(facts: _Facts) -> Iterator[tuple[datetime, str]]:
    for link in facts.links:
        name = f"The link of driver id {link.driver_id}"
        yield link.link_recorded_at, f"{name} was made, from {facts.clock(link.linked_at)} on"
        if link.unlink_recorded_at is not None and link.unlinked_at is not None:
            who = ended_by(link)
            by = f", by {who}" if who else ""
            ended = facts.clock(link.unlinked_at)
            yield link.unlink_recorded_at, f"{name} was ended, as of {ended}{by}"


def _by_withdrawal(revision: ShiftRevision, facts: _Facts) -> _Because:
    found = _nearest(revision.created_at, _withdrawing(facts))
    if found is None:
        return _Because("R14", "The ops desk withdrew an event, or undid a withdrawal.")
    words, action = found
    return _Because("R14", f"{words}{_who(action)}.", action=action)


def _withdrawing(facts: _Facts) -> Iterator[tuple[datetime, tuple[str, DeskAction]]]:
    for one in facts.withdrawals:
        what = "a whole request"
        if one.timestamp is not None:
            what = f"the {one.kind} at {facts.clock(one.timestamp)}"
        yield one.withdrawn_at, (f"The ops desk withdrew {what}", one.action)
        if one.undone_at is not None and one.undone_action is not None:
            text = f"The ops desk took back the withdrawal of {what}"
            yield one.undone_at, (text, one.undone_action)


def _by_rule(revision: ShiftRevision, facts: _Facts) -> _Because:
    found = _nearest(revision.created_at, ((rule.valid_from, rule) for rule in facts.rules))
    if found is None:
        return _Because("RULE", "The longest shift of this work provider was changed.")
    to = _max_words(found.max_shift_length)
    return _Because(
        "RULE", f"The longest shift of this work provider was set to {to} for logins from then on."
    )


def _by_clock(revision: ShiftRevision, facts: _Facts) -> _Because:
    return _Because("R6", "The maximum ran out.")


_CAUSES: dict[Cause, Callable[[ShiftRevision, _Facts], _Because]] = {
    Cause.EVENT: _by_event,
    Cause.LINK: _by_link,
    Cause.WITHDRAWAL: _by_withdrawal,
    Cause.RULE: _by_rule,
    Cause.CLOCK: _by_clock,
}


def _nearest(at: datetime, found: Iterable[tuple[datetime, _T]]) -> _T | None:
    """The last of what happened shortly before a revision was written; None where nothing did.

    What seems to have happened a moment after it did so by another machine's clock.
    """
    near = [one for one in found if -_SKEW <= at - one[0] <= _LATEST]
    before = [one for one in near if one[0] <= at]
    if before:
        return max(before, key=lambda one: one[0])[1]
    return min(near, key=lambda one: one[0])[1] if near else None


def _actions(facts: _Facts) -> list[DeskAction]:
    """What the desk did to this shift, the newest first."""
    found: dict[uuid.UUID, DeskAction] = {}
    for submission in facts.submissions.values():
        if submission.action is not None:
            found[submission.action.pk] = submission.action
    for one in facts.withdrawals:
        found[one.action.pk] = one.action
        if one.undone_action is not None:
            found[one.undone_action.pk] = one.undone_action
    for revision in facts.revisions:
        if revision.cause == Cause.LINK and (action := _by_link(revision, facts).action):
            found[action.pk] = action
    return sorted(found.values(), key=lambda action: action.created_at, reverse=True)


def _instead(facts: _Facts) -> list[Shift]:
    """The other shifts of the stream that overlap or touch where this one ever was."""
    mine = facts.shift.pk if facts.shift else None
    return [
        one
        for one in facts.shifts
        if one.pk != mine
        and one.started_at <= facts.hull.until
        and (one.ended_at is None or one.ended_at >= facts.hull.since)
    ]
