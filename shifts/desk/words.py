"""The desk's plain words for events, shifts, links and lengths; nothing here reads the database."""

from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from django.conf import settings

from linking.models import DriverLink
from shifts.models import EndReason, Kind, Outcome, Reason, ShiftEvent

LIVE = timedelta(minutes=1)

ENDINGS = {
    "": "on shift",
    EndReason.LOGOUT: "logged out",
    EndReason.AUTO_CLOSED: "closed automatically",
    EndReason.UNLINKED: "link ended",
    EndReason.OPS: "ended by the desk",
}
KINDS = {Kind.LOGIN: "Login", Kind.LOGOUT: "Logout"}


class Tag(NamedTuple):
    """One word about something, and the class that shows how much it matters."""

    word: str
    tone: str = "plain"


class Told(NamedTuple):
    """A sentence, and the rule behind it (docs/domain.md); "" where no numbered rule is."""

    rule: str
    words: str


_TAGS = {
    Outcome.APPLIED: Tag("counts", "good"),
    Outcome.DUPLICATE: Tag("duplicate"),
    Outcome.IGNORED: Tag("ignored"),
    Outcome.ORPHAN: Tag("orphan", "warn"),
    Outcome.HELD: Tag("held", "warn"),
    Outcome.REJECTED: Tag("rejected", "warn"),
    Outcome.WITHDRAWN: Tag("withdrawn", "bad"),
}
ENDING_TAGS = {
    "": Tag("on shift", "good"),
    EndReason.LOGOUT: Tag("logged out"),
    EndReason.AUTO_CLOSED: Tag("closed automatically", "warn"),
    EndReason.UNLINKED: Tag("link ended"),
    EndReason.OPS: Tag("ended by the desk", "warn"),
}
# What an event's outcome says by itself; shifts/explain.py says more of those beside a shift.
_TOLD: dict[tuple[str, str], Told] = {
    (Outcome.DUPLICATE, ""): Told("R3", "The same had been received already: it changes nothing."),
    (Outcome.IGNORED, Reason.REPEATED_LOGIN): Told(
        "R4",
        "A login while the driver was already on shift changes nothing: the shift keeps its first "
        "login.",
    ),
    (Outcome.IGNORED, Reason.ZERO_LENGTH): Told(
        "R12", "A login and a logout at one instant, with no shift open: there is no shift in it."
    ),
    (Outcome.IGNORED, Reason.AFTER_UNLINK): Told(
        "AFTER_UNLINK",
        "The link had ended by then. It is decided again if the driver links anew.",
    ),
    (Outcome.ORPHAN, Reason.NO_OPEN_SHIFT): Told(
        "R9", "No shift was open that it could end. If its login arrives, they make a shift."
    ),
    (Outcome.ORPHAN, Reason.BEYOND_MAX_LENGTH): Told(
        "R7", "The shift had been ended at its maximum before; that end stays."
    ),
    (Outcome.HELD, Reason.UNKNOWN_ID): Told(
        "HELD",
        "It waits: nobody has linked under this identifier yet. It counts when a link comes.",
    ),
    (Outcome.HELD, Reason.NOT_LINKED): Told(
        "HELD",
        "It waits: there is a customer of this number, who has no link to this work provider. It "
        "counts when a link comes.",
    ),
    (Outcome.REJECTED, Reason.BEFORE_LINK): Told(
        "BEFORE_LINK",
        "It was before the driver agreed, and its shift does not reach the agreement: cover never "
        "starts before consent.",
    ),
    (Outcome.REJECTED, Reason.EXPIRED): Told(
        "EXPIRED",
        f"It waited {settings.HELD_EXPIRES_AFTER.days} days for a link, and none came.",
    ),
    (Outcome.WITHDRAWN, ""): Told("R14", "The ops desk withdrew it."),
}


def tag_of(event: ShiftEvent) -> Tag:
    """What became of an event, in one word."""
    if event.after_ignored_login:
        return Tag("orphan", "bad")
    return _TAGS[Outcome(event.outcome)]


def told(event: ShiftEvent) -> Told:
    """What became of an event and why, by its outcome alone."""
    if event.outcome == Outcome.APPLIED:
        if event.kind == Kind.LOGIN:
            return Told("R1", "It began a shift.")
        return Told("R2", "It ended a shift.")
    found = _TOLD[event.outcome, event.reason]
    if event.after_ignored_login:
        return Told(found.rule, f"{found.words} {COVER_MAY_BE_MISSING}")
    return found


COVER_MAY_BE_MISSING = "The driver had logged in again meanwhile: cover may be missing here."


def identifier(event: ShiftEvent) -> str:
    """As whom the work provider named the driver."""
    if event.driver_id is not None:
        return f"driver id {event.driver_id}"
    return f"customer number {event.customer_number}"


def length(delta: timedelta) -> str:
    """A length in its two largest units: "3 h 10 min", "2 d 4 h", "40 s"."""
    seconds = abs(round(delta.total_seconds()))
    days, hours, minutes = seconds // 86_400, seconds // 3_600 % 24, seconds // 60 % 60
    if seconds >= 2 * 86_400:
        parts = [(days, "d"), (hours, "h")]
    elif seconds >= 3_600:
        parts = [(seconds // 3_600, "h"), (minutes, "min")]
    elif seconds >= 60:
        parts = [(minutes, "min"), (seconds % 60 if seconds < 600 else 0, "s")]
    else:
        parts = [(seconds, "s")]
    return " ".join(f"{value} {unit}" for value, unit in parts if value) or "0 s"


def lateness(at: datetime, received_at: datetime) -> str:
    """How long after its own time an event arrived."""
    late = received_at - at
    if late <= -LIVE:
        return f"arrived {length(late)} before its own time"
    return "arrived at once" if late < LIVE else f"arrived {length(late)} later"


class Clock:
    """Local times of a zone, as short as can be beside an instant that the reader has in mind."""

    def __init__(self, zone: str, near: datetime) -> None:
        self._zone = ZoneInfo(zone)
        self._near = near.astimezone(self._zone)

    def __call__(self, at: datetime) -> str:
        """`09:12`; with its day where that is another, and its offset where the clocks changed."""
        local = at.astimezone(self._zone)
        text = f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
        if local.date() != self._near.date():
            text = f"{day(local)} {text}"
        if local.utcoffset() != self._near.utcoffset() or self._is_twice(local):
            text += f" {local:%Z}"
        return text

    def span(self, start: datetime, end: datetime | None) -> str:
        """`09:12 to 17:40`."""
        return f"{self(start)} to {self(end) if end else 'open'}"

    @staticmethod
    def _is_twice(local: datetime) -> bool:
        """Whether this local time is one of the hour that an autumn night has twice."""
        return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


def day(at: datetime) -> str:
    """`2 Mar 2026`, of an instant as it stands."""
    return f"{at.day} {at:%b %Y}"


def link_state(link: DriverLink, now: datetime) -> Tag:
    """How a link stands."""
    if link.unlinked_at is not None and link.unlinked_at == link.linked_at:
        return Tag("never held")
    if link.unlinked_at is not None and link.unlinked_at <= now:
        return Tag("ended")
    return Tag("holds", "good") if link.linked_at <= now else Tag("begins later")


def ended_by(link: DriverLink) -> str:
    """Who ended a link; "" where nobody has, or nobody knows."""
    return link.get_ended_by_display() if link.ended_by else ""
