"""Drawings for the desk: plain SVG, made here, with what they show in words. Nothing is read here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from shifts.rollup import FURTHEST_ZONE

MINUTE = timedelta(minutes=1)
_HEIGHT = 1000  # units; a drawing is stretched to its box
_EDGE = 0.02  # of the width, where a label would reach out of the drawing
_NICE = (1, 2, 5, 10)


class Minute(NamedTuple):
    """What was accepted and digested in one minute: events."""

    minute: datetime
    accepted: int
    digested: int


class Hour(NamedTuple):
    """A row of the chart's table; `peak` is the most that was accepted in one minute of the hour."""

    hour: datetime
    accepted: int
    digested: int
    peak: int


class Tick(NamedTuple):
    """A full hour on the axis of time, and how far from its beginning, in percent."""

    at: datetime
    percent: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with the labels of its axes, what it says in a sentence, and its numbers as a table."""

    drawing: SafeString
    summary: str
    top: int
    ticks: list[Tick]
    hours: list[Hour]


def per_minute(minutes: Iterable[Minute], *, since: datetime, until: datetime) -> Chart:
    """Events accepted (an area) and digested (a line) in each minute of `[since, until)`.

    Both are whole minutes; a minute that is not among `minutes` had none.
    """
    given = {row.minute: row for row in minutes}
    count = (until - since) // MINUTE
    rows = [
        given.get(minute, Minute(minute, 0, 0))
        for minute in (since + number * MINUTE for number in range(count))
    ]
    top = nice(max((max(row.accepted, row.digested) for row in rows), default=0))
    drawing = format_html(
        '<svg class="f-plot" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">'
        '<path class="f-grid" d="M0 1H{}M0 {}H{}M0 {}H{}"/>'
        '<path class="f-area" d="M0 {}{}V{}Z"/><path class="f-line" d="{}"/></svg>',
        *(count, _HEIGHT, count, _HEIGHT // 2, count, _HEIGHT, count),
        *(_HEIGHT, _steps([row.accepted for row in rows], top), _HEIGHT),
        "M0" + _steps([row.digested for row in rows], top).replace("V", " ", 1),
    )
    ticks = [
        Tick(row.minute, round(100 * number / count, 2))
        for number, row in enumerate(rows)
        if row.minute.astimezone(UTC).minute == 0 and row.minute.astimezone(UTC).hour % 3 == 0
        if _EDGE < number / count < 1 - _EDGE
    ]
    return Chart(drawing, _summary(rows), top, ticks, _by_hour(rows))


def nice(most: int) -> int:
    """The top of an axis that holds `most`: 10, 20, 50, 100 ..."""
    size = 10
    while size * 10 < most:
        size *= 10
    return next(size * factor for factor in _NICE if size * factor >= most)


def _steps(values: Sequence[int], top: int) -> str:
    """One step a value, those of one height drawn as one."""
    heights = (_HEIGHT - round(value * _HEIGHT / top) for value in values)
    return "".join(f"V{height}h{len(list(run))}" for height, run in groupby(heights))


def _summary(rows: Sequence[Minute]) -> str:
    accepted, digested = sum(row.accepted for row in rows), sum(row.digested for row in rows)
    if not accepted and not digested:
        return "Nothing was accepted and nothing digested."
    peak = max(rows, key=lambda row: row.accepted)
    return (
        f"{accepted:,} events were accepted and {digested:,} digested; the most in one minute were"
        f" {peak.accepted:,} accepted at {peak.minute.astimezone(UTC):%H:%M} UTC."
    )


def _by_hour(rows: Sequence[Minute]) -> list[Hour]:
    """The latest first."""
    hours = []
    for hour, group in groupby(rows, key=lambda row: row.minute.replace(minute=0)):
        found = list(group)
        hours.append(
            Hour(
                hour,
                sum(row.accepted for row in found),
                sum(row.digested for row in found),
                max(row.accepted for row in found),
            )
        )
    return hours[::-1]


def bar(value: int, most: int) -> SafeString:
    """A bar as long as `value` is beside `most`; the number itself stands next to it."""
    return format_html(
        '<svg class="f-bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        '<rect width="{}" height="1"/></svg>',
        max(1, round(100 * value / most)) if value else 0,
    )


def offsets(slots: Mapping[int, int], cluster: int | None) -> SafeString:
    """How many events arrived how long after their own time, from 14 hours before to 14 after it.

    `slots` are quarters of an hour (rollup.slot_of); the one of the cluster stands out. The text says
    where the most are.
    """
    width = FURTHEST_ZONE * 2 + 1
    most = max(slots.values(), default=1)
    bars = format_html_join(
        "",
        '<rect x="{}" y="{}" width="1" height="{}" class="{}"/>',
        (
            (slot + FURTHEST_ZONE, 40 - height, height, "f-odd" if slot == cluster else "f-even")
            for slot, events in sorted(slots.items())
            if abs(slot) <= FURTHEST_ZONE and events
            for height in (max(1, round(40 * events / most)),)
        ),
    )
    return format_html(
        '<svg class="f-offsets" viewBox="0 0 {} 42" preserveAspectRatio="none" aria-hidden="true">'
        '<path class="f-grid" d="M0 41H{}M{} 0V41"/>{}</svg>',
        *(width, width, FURTHEST_ZONE + 0.5, bars),
    )
