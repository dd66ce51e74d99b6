"""The rules of docs/domain.md, section 5, a second time: slow, and a sentence at a time.

Nothing is carried from event to event. Each question ("which login was ignored last?") is asked of all
the events anew, so that a slip in what `shifts.timeline` remembers cannot be repeated here. Only the
tuples that go in and come out are shared with it.
"""

from collections.abc import Collection, Iterable, Sequence, Set
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from shifts.timeline import Decision, Event, Link, Rule, Shift

FOREVER = datetime.max.replace(tzinfo=UTC)


class Rulebook(NamedTuple):
    """The maximum for logins before any rule, and the rules."""

    default: timedelta | None
    rules: tuple[Rule, ...] = ()

    def limit(self, login_at: datetime) -> datetime:
        """s+max: where a shift that this login opens ends by itself."""
        length = self.default
        for rule in sorted(self.rules, key=lambda rule: rule.valid_from):
            if rule.valid_from <= login_at:
                length = rule.max_shift_length
        return FOREVER if length is None else login_at + length


class Raw(NamedTuple):
    """A shift before clipping; `end` is None while it is open."""

    opener: datetime
    start: datetime
    limit: datetime
    end: datetime | None
    reason: str

    @property
    def last(self) -> datetime:
        """The end, or the latest that it can be."""
        return self.limit if self.end is None else self.end


def reference(
    events: Collection[Event],
    *,
    links: Sequence[Link],
    rulebook: Rulebook,
    as_of: datetime,
    withdrawn: Set[tuple[str, datetime]] = frozenset(),
) -> tuple[list[Shift], dict[int, Decision]]:
    """The shifts of one stream in time order, and one decision for every event."""
    counting = [
        event
        for event in events
        if not event.is_withdrawn and (event.kind, event.at) not in withdrawn
    ]
    logins = {event.at for event in counting if event.kind == "login"}
    logouts = {event.at for event in counting if event.kind == "logout"}
    raws = raw_shifts(logins, logouts, rulebook, as_of)
    shifts = [shift for raw in raws for shift in clip(raw, links, counting)]
    decisions = {event.id: Decision("WITHDRAWN") for event in events if event not in counting}
    for event in counting:
        if event.kind == "login":
            decision, own = decide_login(event.at, logouts, raws)
        else:
            decision, own = decide_logout(event.at, logins, logouts, raws)
        if is_before_link(event.at, own, links):
            decision = Decision("REJECTED", "BEFORE_LINK")
        elif event != first_of(event.kind, event.at, counting):
            decision = Decision("DUPLICATE")  # R3
        decisions[event.id] = decision
    return shifts, decisions


def raw_shifts(
    logins: Set[datetime], logouts: Set[datetime], rulebook: Rulebook, as_of: datetime
) -> list[Raw]:
    """The shifts that the instants of logins and logouts make, as if there had always been a link."""
    raws: list[Raw] = []
    opener = min(logins - logouts, default=None)  # R1, R12
    while opener is not None:
        limit = rulebook.limit(opener)
        logout = min((at for at in logouts if at > opener), default=None)
        if logout is not None and logout <= limit:
            raws.append(Raw(opener, opener, limit, logout, "LOGOUT"))  # R2
            closed_at = logout
        elif any(at > limit for at in logins | logouts) or limit in logins or as_of >= limit:
            raws.append(Raw(opener, opener, limit, limit, "AUTO_CLOSED"))  # R5, R6
            closed_at = limit
            if logout is not None and not logins_between(limit, logout, logins):
                closed_at = logout
                again = latest_ignored(opener, limit, logins)
                if again is not None and logout <= rulebook.limit(again):
                    raws.append(Raw(again, limit, rulebook.limit(again), logout, "LOGOUT"))  # R7
        else:
            raws.append(Raw(opener, opener, limit, None, ""))
            break
        # The login at the very instant comes after the logout there (R11); one that meets a logout
        # later on meets it in a closed stream (R12).
        opener = min(
            (at for at in logins if at == closed_at or (at > closed_at and at not in logouts)),
            default=None,
        )
    return raws


def logins_between(limit: datetime, logout: datetime, logins: Set[datetime]) -> bool:
    """Whether a login at or after the automatic end comes before the logout (R7)."""
    return any(limit <= at < logout for at in logins)


def latest_ignored(opener: datetime, limit: datetime, logins: Set[datetime]) -> datetime | None:
    """The last login that was ignored in an automatically closed shift (R4)."""
    return max((at for at in logins if opener < at < limit), default=None)


def decide_login(
    at: datetime, logouts: Set[datetime], raws: Sequence[Raw]
) -> tuple[Decision, Raw | None]:
    """The decision on a login, and the shift that it belongs to."""
    for raw in raws:
        if raw.opener == at:
            # A login that R7 counts belongs to the shift it was ignored in as well; the other is later.
            return Decision("APPLIED"), raw
    if at in logouts:
        return Decision("IGNORED", "ZERO_LENGTH"), None
    [holder] = [raw for raw in raws if raw.start < at < raw.last]
    return Decision("IGNORED", "REPEATED_LOGIN"), holder


def decide_logout(
    at: datetime, logins: Set[datetime], logouts: Set[datetime], raws: Sequence[Raw]
) -> tuple[Decision, Raw | None]:
    """The decision on a logout, and the shift that it belongs to."""
    for raw in raws:
        if raw.end == at and raw.reason == "LOGOUT":
            return Decision("APPLIED"), raw
    for raw in raws:
        if raw.reason == "AUTO_CLOSED" and raw.limit < at:
            first = not any(raw.limit < other < at for other in logouts)
            if first and not logins_between(raw.limit, at, logins):
                ignored = latest_ignored(raw.opener, raw.limit, logins) is not None
                return Decision("ORPHAN", "BEYOND_MAX_LENGTH", after_ignored_login=ignored), None
    if at in logins:
        return Decision("IGNORED", "ZERO_LENGTH"), None
    return Decision("ORPHAN", "NO_OPEN_SHIFT"), None


def is_before_link(at: datetime, own: Raw | None, links: Sequence[Link]) -> bool:
    """Whether the event comes before its link, and its shift, if it has one, does not reach it."""
    if any(link.starts_at <= at and (link.ends_at is None or at < link.ends_at) for link in links):
        return False
    following = min((link.starts_at for link in links if link.starts_at > at), default=FOREVER)
    return own is None or own.last <= following


def first_of(kind: str, at: datetime, events: Iterable[Event]) -> Event:
    """Of equal events the one that counts: the work provider's before the ops desk's, then the first."""
    copies = [event for event in events if event.kind == kind and event.at == at]
    return min(copies, key=lambda event: (event.is_ops, event.known_at, event.id))


def heard_of(kind: str, at: datetime, events: Iterable[Event]) -> datetime:
    """When the service first heard that this happened, from whomever."""
    return min(event.known_at for event in events if event.kind == kind and event.at == at)


def clip(raw: Raw, links: Sequence[Link], events: Collection[Event]) -> Iterable[Shift]:
    """The parts of a raw shift that lie within links."""
    for link in links:
        start = max(raw.start, link.starts_at)
        link_end = FOREVER if link.ends_at is None else link.ends_at
        if start >= min(raw.last, link_end):
            continue
        end, reason, ended_by, end_known_at = raw_end(raw, events)
        # A logout at the very instant of the unlinking is outside of the link, and decided so.
        if link_end <= raw.last and link.ends_at is not None:
            end, reason, ended_by, end_known_at = link.ends_at, "UNLINKED", None, link.end_known_at
        yield Shift(
            link_id=link.id,
            started_at=start,
            ended_at=end,
            end_reason=reason,
            start_clipped=start != raw.start,
            is_continuation=raw.start != raw.opener,
            login_at=raw.opener,
            closes_at=None if raw.limit == FOREVER else raw.limit,
            opened_by=first_of("login", raw.opener, events).id,
            ended_by=ended_by,
            start_known_at=start_known_at(raw, link, events),
            end_known_at=end_known_at,
        )


def raw_end(
    raw: Raw, events: Collection[Event]
) -> tuple[datetime | None, str, int | None, datetime | None]:
    """The end, why, by which event, and when the service first heard of it."""
    if raw.end is None:
        return None, "", None, None
    if raw.reason == "AUTO_CLOSED":
        # It is computed from the login, so it was known when both had come: the login's news and it.
        known_at = max(raw.end, heard_of("login", raw.opener, events))
        return raw.end, "AUTO_CLOSED", None, known_at
    logout = first_of("logout", raw.end, events)
    known_at = heard_of("logout", raw.end, events)
    return raw.end, "OPS" if logout.is_ops else "LOGOUT", logout.id, known_at


def start_known_at(raw: Raw, link: Link, events: Collection[Event]) -> datetime:
    """When the service had heard of everything without which there would be no cover from the start.

    That is the login and the consent; and where R7 adds a second shift, the logout that proves it: until
    then the service said that the driver's cover had ended.
    """
    known = [heard_of("login", raw.opener, events), link.start_known_at]
    if raw.start != raw.opener and raw.end is not None:
        known.append(heard_of("logout", raw.end, events))
    return max(known)
