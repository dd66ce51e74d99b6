"""A time axis, drawn: one lane a work provider, with its links, shifts and events.

Everything is placed here, in the units of the SVG's view box; desk/timeline_drawing.html only writes it
down. Distances are real time: a day on which the clocks change is longer or shorter. What differs in
meaning differs in shape, not in colour alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from shifts.reports import midnight

WIDTH = 1000.0
_EDGE = 10.0
_TOP, _LANE, _BOTTOM = 44.0, 100.0, 30.0
_TITLE, _BAR, _BAR_HEIGHT = 15.0, 28.0, 26.0
_LOGINS, _LOGOUTS = 67.0, 84.0  # the two rows of ticks, from the top of their lane
_TICK = 11.0  # ticks closer than this are drawn as one
_LABEL, _DAY_LABEL = 46.0, 50.0  # what a label needs
_TEXT = 84.0  # what a bar's own text needs
_LONGEST_TITLE = 12
_STEPS = [timedelta(hours=hours) for hours in (1, 2, 3, 6, 12)]
_DAY = timedelta(days=1)


class Band(NamedTuple):
    """A link: for `[start, end)`; `end` is None while it holds."""

    start: datetime
    end: datetime | None
    title: str


class Bar(NamedTuple):
    """A shift. `end` is its end or now, `closes_at` where an open one will end by itself."""

    start: datetime
    end: datetime
    ending: str  # "" for an open one, else its end reason
    title: str
    text: str
    address: str
    clipped_from: datetime | None = None
    closes_at: datetime | None = None
    is_continuation: bool = False
    is_changed: bool = False
    is_marked: bool = False


class Ghost(NamedTuple):
    """Where a shift was before it was changed or removed."""

    start: datetime
    end: datetime
    title: str
    address: str


class Tick(NamedTuple):
    """An event; `weight` says which of several at one place is drawn."""

    at: datetime
    kind: str
    look: str
    weight: int
    title: str
    address: str


@dataclass(slots=True)
class Lane:
    """What is drawn of one work provider."""

    name: str
    bands: list[Band] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    ghosts: list[Ghost] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)


class Label(NamedTuple):
    """A mark on an axis; `text` is empty for one without words."""

    x: float
    text: str
    is_day: bool = False
    address: str = ""
    title: str = ""


class Part(NamedTuple):
    """A path of a shape, and its CSS class."""

    look: str
    path: str


class Shape(NamedTuple):
    """Something drawn: a box, its CSS classes, what it says, and where it leads.

    `under` and `over` are drawn before and after the box itself.
    """

    x: float
    y: float
    width: float
    height: float
    look: str
    title: str = ""
    address: str = ""
    text: str = ""
    under: tuple[Part, ...] = ()
    over: tuple[Part, ...] = ()

    @property
    def right(self) -> float:
        """Its right edge."""
        return _round(self.x + self.width)

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return _round(self.y + self.height)

    @property
    def middle(self) -> float:
        """Half-way from left to right."""
        return _round(self.x + self.width / 2)

    @property
    def baseline(self) -> float:
        """Where its text stands."""
        return _round(self.y + self.height / 2 + 4)

    @property
    def is_square(self) -> bool:
        """Whether its corners have to stay: something is drawn at its ends."""
        return any(name in self.look for name in ("t-open", "t-auto", "t-clipped", "t-continued"))


class DrawnLane(NamedTuple):
    """One lane's shapes."""

    name: str
    y: float
    bands: list[Shape]
    ghosts: list[Shape]
    bars: list[Shape]
    ticks: list[Shape]


class Drawing(NamedTuple):
    """The whole; `now` and `marks` are upright lines, `days` and `utc` the two axes."""

    width: float
    height: float
    top: float
    bottom: float
    zone: str
    is_utc: bool
    days: list[Label]
    changes: list[Label]
    utc: list[Label]
    lanes: list[DrawnLane]
    now: float | None
    marks: list[Label]


class Scale:
    """From instants to places."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self.start, self.end = start, end
        self._unit = (WIDTH - 2 * _EDGE) / (end - start).total_seconds()

    def x(self, at: datetime) -> float:
        """The place of an instant, at the edge for one outside."""
        seconds = (min(max(at, self.start), self.end) - self.start).total_seconds()
        return _round(_EDGE + seconds * self._unit)

    def width(self, length: timedelta) -> float:
        """How wide a length is."""
        return length.total_seconds() * self._unit

    def holds(self, at: datetime) -> bool:
        """Whether an instant is on the axis."""
        return self.start <= at <= self.end


def draw(
    lanes: Sequence[Lane],
    start: datetime,
    end: datetime,
    *,
    zone: str,
    now: datetime,
    marks: Iterable[tuple[datetime, str]] = (),
    day_address: str = "",
) -> Drawing:
    """Draw `[start, end)` with the days of `zone`.

    `marks` are instants with words for them; `day_address` is where a day's label leads, with "{}" for
    the date, if anywhere.
    """
    scale = Scale(start, end)
    days = list(_days(scale, zone, day_address))
    utc = list(_days(scale, "UTC", ""))
    is_utc = [label.x for label in days] == [label.x for label in utc]
    bottom = _TOP + _LANE * len(lanes)
    return Drawing(
        width=WIDTH,
        height=bottom + (4 if is_utc else _BOTTOM),
        top=_TOP,
        bottom=bottom,
        zone=zone,
        is_utc=is_utc,
        days=days,
        changes=list(_clock_changes(scale, zone)),
        utc=utc,
        lanes=[_drawn(lane, place, scale) for place, lane in enumerate(lanes)],
        now=scale.x(now) if scale.holds(now) else None,
        marks=[Label(scale.x(at), text) for at, text in marks if scale.holds(at)],
    )


def _dates(scale: Scale, zone: str) -> Iterator[date]:
    day = scale.start.astimezone(ZoneInfo(zone)).date()
    while midnight(day, ZoneInfo(zone)) < scale.end:
        yield day
        day += _DAY


def _days(scale: Scale, zone: str, address: str) -> Iterator[Label]:
    """Every midnight, with the date on as many as there is room for; hours between where there is."""
    every = max(1, round(0.5 + _DAY_LABEL / scale.width(_DAY)))
    step = _step(scale)
    days = list(_dates(scale, zone))
    begun = [day for day in days if scale.start <= midnight(day, ZoneInfo(zone))]
    for number, day in enumerate(begun):
        text = _day_text(day, number == 0) if number % every == 0 else ""
        leads = address.format(day.isoformat()) if address else ""
        yield Label(scale.x(midnight(day, ZoneInfo(zone))), text, True, leads, day.isoformat())
    if step is not None:
        for day in days:
            yield from _hours(scale, zone, day, step)


def _day_text(day: date, is_first: bool) -> str:
    month = f" {day:%b}" if is_first or day.day == 1 else ""
    return f"{day:%a} {day.day}{month}"


def _step(scale: Scale) -> timedelta | None:
    return next((step for step in _STEPS if scale.width(step) >= _LABEL), None)


def _hours(scale: Scale, zone: str, day: date, step: timedelta) -> Iterator[Label]:
    """As the clocks on the wall show them: on a day that is longer one stands twice."""
    there = ZoneInfo(zone)
    at, end = midnight(day, there), midnight(day + _DAY, there)
    while (at := at + timedelta(hours=1)) < end:
        local = at.astimezone(there)
        is_step = local.hour % (step // timedelta(hours=1)) == 0 and local.hour
        if is_step and scale.start <= at < scale.end:
            yield Label(scale.x(at), f"{local:%H:%M}")


def _clock_changes(scale: Scale, zone: str) -> Iterator[Label]:
    there = ZoneInfo(zone)
    for day in _dates(scale, zone):
        begins, ends = midnight(day, there), midnight(day + _DAY, there)
        longer = (ends - begins) - _DAY
        if longer:
            at = _change_between(begins, ends, there)
            how = "back" if longer > timedelta(0) else "forward"
            minutes = abs(longer) // timedelta(minutes=1)
            yield Label(scale.x(at), f"clocks {how} {minutes} min")


def _change_between(start: datetime, end: datetime, there: ZoneInfo) -> datetime:
    before = start.astimezone(there).utcoffset()
    at = start
    while at < end and at.astimezone(there).utcoffset() == before:
        at += timedelta(minutes=30)
    return at


def _drawn(lane: Lane, place: int, scale: Scale) -> DrawnLane:
    y = _TOP + _LANE * place
    return DrawnLane(
        name=lane.name,
        y=_round(y + _TITLE),
        bands=[_band(band, y, scale) for band in lane.bands if _shows(band, scale)],
        ghosts=[_ghost(ghost, y, scale) for ghost in lane.ghosts if _shows(ghost, scale)],
        bars=[_bar(bar, y, scale) for bar in lane.bars if _shows(bar, scale)],
        ticks=list(_ticks(lane.ticks, y, scale)),
    )


def _shows(one: Band | Bar | Ghost, scale: Scale) -> bool:
    return one.start < scale.end and (one.end is None or one.end > scale.start)


def _band(band: Band, y: float, scale: Scale) -> Shape:
    left, right = scale.x(band.start), scale.x(band.end or scale.end)
    width, top, height = max(_round(right - left), 1.0), y + 20, _LANE - 24
    edges = []
    if scale.holds(band.start):
        edges.append(Part("t-link-begins", f"M{left} {top}v{height}"))
    if band.end is not None and scale.holds(band.end):
        edges.append(Part("t-link-ends", f"M{right} {top}v{height}"))
    return Shape(left, top, width, height, "t-link", band.title, over=tuple(edges))


def _ghost(ghost: Ghost, y: float, scale: Scale) -> Shape:
    left, right = scale.x(ghost.start), scale.x(ghost.end)
    width = max(_round(right - left), 3.0)
    return Shape(left, y + _BAR - 3, width, _BAR_HEIGHT + 6, "t-ghost", ghost.title, ghost.address)


_LOOKS = {"": "t-open", "AUTO_CLOSED": "t-auto", "OPS": "t-desk", "UNLINKED": "t-unlinked"}


def _bar(bar: Bar, y: float, scale: Scale) -> Shape:
    left, right = scale.x(bar.start), scale.x(bar.end)
    width = max(_round(right - left), 3.0)
    top = y + _BAR
    under = [*_line("t-lead", scale, bar.clipped_from, bar.start, top)]
    if not bar.ending:
        under += _line("t-ahead", scale, bar.end, bar.closes_at, top)
    return Shape(
        left,
        top,
        width,
        _BAR_HEIGHT,
        " ".join(_bar_looks(bar)),
        bar.title,
        bar.address,
        bar.text if width >= _TEXT else "",
        tuple(under),
        tuple(_marks_of(bar, left, _round(left + width), top)),
    )


def _bar_looks(bar: Bar) -> Iterator[str]:
    yield _LOOKS.get(bar.ending, "t-logout")
    flags = {
        "t-clipped": bar.clipped_from is not None,
        "t-continued": bar.is_continuation,
        "t-marked": bar.is_marked,
    }
    yield from (name for name, on in flags.items() if on)


def _line(
    look: str, scale: Scale, start: datetime | None, end: datetime | None, top: float
) -> Iterator[Part]:
    """A thin line at half the height of a bar; nothing where there is none to draw."""
    if start is not None and end is not None and end > start:
        yield Part(look, f"M{scale.x(start)} {top + _BAR_HEIGHT / 2}H{scale.x(end)}")


def _marks_of(bar: Bar, left: float, right: float, top: float) -> Iterator[Part]:
    """How the ends of a bar show what made them, and that it was changed later."""
    bottom, tooth = top + _BAR_HEIGHT, _round(_BAR_HEIGHT / 6)
    if bar.clipped_from is not None:
        yield Part("t-teeth", f"M{left} {top}" + f"l6 {tooth}l-6 {tooth}" * 3 + "z")
    if bar.is_continuation:
        yield Part("t-seam", f"M{left} {top - 3}V{bottom + 3}")
    if not bar.ending:
        yield Part("t-arrow", f"M{right} {top}l8 {_BAR_HEIGHT / 2}l-8 {_BAR_HEIGHT / 2}z")
    if bar.ending == "AUTO_CLOSED":
        yield Part("t-guess", f"M{right} {top - 3}V{bottom + 3}")
    if bar.ending == "UNLINKED":
        yield Part("t-stop", f"M{_round(right - 5)} {top - 4}H{right}V{bottom + 4}h-5")
    if bar.ending == "OPS":
        yield Part("t-flag", f"M{right} {bottom}V{top - 9}h-10l3 4l-3 4h10")
    if bar.is_changed:
        yield Part("t-changed", f"M{_round(left + 1)} {top - 1}a5 5 0 1 0 10 0a5 5 0 1 0 -10 0")


def _ticks(ticks: Sequence[Tick], y: float, scale: Scale) -> Iterator[Shape]:
    """One mark for all that would overlap; its words name the first few of them."""
    for kind, row in (("login", _LOGINS), ("logout", _LOGOUTS)):
        here = sorted(
            (tick for tick in ticks if tick.kind == kind and scale.holds(tick.at)),
            key=lambda tick: tick.at,
        )
        for group in _groups(here, scale):
            yield _tick(group, kind, y + row, scale)


def _groups(ticks: Iterable[Tick], scale: Scale) -> Iterator[list[Tick]]:
    group: list[Tick] = []
    for tick in ticks:
        if group and scale.x(tick.at) - scale.x(group[0].at) >= _TICK:
            yield group
            group = []
        group.append(tick)
    if group:
        yield group


def _tick(group: list[Tick], kind: str, y: float, scale: Scale) -> Shape:
    shown = max(group, key=lambda tick: tick.weight)
    titles = [tick.title for tick in group[:_LONGEST_TITLE]]
    if len(group) > _LONGEST_TITLE:
        titles.append(f"and {len(group) - _LONGEST_TITLE} more")
    x = scale.x(shown.at)
    glyph = Part("t-glyph", _triangle(x, y, up=kind == "login"))
    over = Part("t-over", _cross(x, y, shown.look))
    return Shape(
        _round(x - 8),
        _round(y - 8),
        16.0,
        16.0,
        f"t-{shown.look}",
        "\n".join(titles),
        shown.address,
        f"{len(group)}" if len(group) > 1 else "",
        over=(glyph, over) if over.path else (glyph,),
    )


def _triangle(x: float, y: float, *, up: bool) -> str:
    tip, base = (y - 5, y + 4) if up else (y + 5, y - 4)
    return f"M{_round(x - 5)} {base}L{_round(x + 5)} {base}L{x} {tip}Z"


def _cross(x: float, y: float, look: str) -> str:
    """What goes with a triangle: a cross where it is struck, a stroke where it is refused, a ring round
    an orphan, a frame round what waits.
    """
    stroke = f"M{_round(x - 6)} {y + 6}L{_round(x + 6)} {y - 6}"
    if look == "withdrawn":
        return f"{stroke}M{_round(x - 6)} {y - 6}L{_round(x + 6)} {y + 6}"
    if look == "rejected":
        return stroke
    if look in ("orphan", "missing"):
        return f"M{_round(x - 8)} {y}a8 8 0 1 0 16 0a8 8 0 1 0 -16 0"
    return f"M{_round(x - 8)} {y - 8}h16v16h-16z" if look == "held" else ""


def _round(value: float) -> float:
    return round(value, 1)
