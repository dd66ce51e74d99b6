"""The drawn time axis: instants stand where they belong, days where their zone has them."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from shifts.desk.drawing import WIDTH, Band, Bar, Lane, Scale, Tick, draw
from shifts.reports import midnight

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def bar(start: datetime, end: datetime, ending: str = "LOGOUT", **more: object) -> Bar:
    return Bar(start, end, ending, "title", "text", "/there", **more)  # type: ignore[arg-type]


def test_places_are_in_proportion_and_end_at_the_edges() -> None:
    scale = Scale(NOON, NOON + 10 * HOUR)
    assert scale.x(NOON) == 10
    assert scale.x(NOON + 5 * HOUR) == WIDTH / 2
    assert scale.x(NOON + 10 * HOUR) == WIDTH - 10
    assert scale.x(NOON - HOUR) == 10
    assert scale.x(NOON + 99 * HOUR) == WIDTH - 10


def test_a_bar_is_as_long_as_its_shift_and_cut_at_the_edge() -> None:
    lane = Lane("one", bars=[bar(NOON, NOON + HOUR), bar(NOON + 9 * HOUR, NOON + 20 * HOUR)])
    [drawn] = draw([lane], NOON, NOON + 10 * HOUR, zone="UTC", now=NOON).lanes
    first, second = drawn.bars
    assert (first.x, first.right) == (10, 108)
    assert second.right == WIDTH - 10


def test_what_is_outside_is_not_drawn() -> None:
    lane = Lane(
        "one",
        bands=[Band(NOON - 9 * HOUR, NOON - HOUR, "ended")],
        bars=[bar(NOON - 2 * HOUR, NOON)],
        ticks=[Tick(NOON - HOUR, "login", "applied", 1, "t", "/")],
    )
    [drawn] = draw([lane], NOON, NOON + HOUR, zone="UTC", now=NOON).lanes
    assert (drawn.bands, drawn.bars, drawn.ticks) == ([], [], [])


@pytest.mark.parametrize(
    ("ending", "more", "parts"),
    [
        ("LOGOUT", {}, set()),
        ("", {"closes_at": NOON + 9 * HOUR}, {"t-ahead", "t-arrow"}),
        ("AUTO_CLOSED", {}, {"t-guess"}),
        ("OPS", {}, {"t-flag"}),
        ("UNLINKED", {}, {"t-stop"}),
        ("LOGOUT", {"clipped_from": NOON - HOUR}, {"t-lead", "t-teeth"}),
        ("LOGOUT", {"is_continuation": True}, {"t-seam"}),
        ("LOGOUT", {"is_changed": True}, {"t-changed"}),
    ],
)
def test_each_kind_of_shift_has_a_shape_of_its_own(
    ending: str, more: dict[str, object], parts: set[str]
) -> None:
    lane = Lane("one", bars=[bar(NOON, NOON + HOUR, ending, **more)])
    [drawn] = draw([lane], NOON - 2 * HOUR, NOON + 10 * HOUR, zone="UTC", now=NOON).lanes
    [shape] = drawn.bars
    assert {part.look for part in (*shape.under, *shape.over)} == parts


def test_days_begin_where_the_zone_has_them_and_utc_stands_beside() -> None:
    start = midnight(NOON.date(), ZoneInfo("Asia/Kolkata"))
    drawing = draw([], start, start + timedelta(days=3), zone="Asia/Kolkata", now=NOON)
    days = [label.text for label in drawing.days if label.is_day]
    assert days == ["Mon 2 Mar", "Tue 3", "Wed 4"]
    assert not drawing.is_utc
    [first, *_] = [label for label in drawing.utc if label.is_day]
    assert first.x == Scale(start, start + timedelta(days=3)).x(
        midnight(NOON.date(), ZoneInfo("UTC"))
    )


def test_where_the_zone_is_utc_one_axis_is_enough() -> None:
    start = midnight(NOON.date(), ZoneInfo("UTC"))
    assert draw([], start, start + timedelta(days=1), zone="Europe/London", now=NOON).is_utc


@pytest.mark.parametrize(
    ("day", "hours", "text"),
    [
        (datetime(2026, 10, 25, tzinfo=UTC), 25, "clocks back 60 min"),
        (datetime(2026, 3, 29, tzinfo=UTC), 23, "clocks forward 60 min"),
    ],
)
def test_a_change_of_the_clocks_is_marked_at_its_instant(
    day: datetime, hours: int, text: str
) -> None:
    zone = "Europe/London"
    there = ZoneInfo(zone)
    start, end = midnight(day.date(), there), midnight(day.date() + timedelta(days=1), there)
    assert end - start == hours * HOUR
    drawing = draw([], start, end, zone=zone, now=NOON)
    [change] = drawing.changes
    assert change.text == text
    assert change.x == Scale(start, end).x(day + HOUR)


def test_labels_leave_room_for_each_other() -> None:
    for days in (1, 2, 3, 14, 31, 92):
        end = NOON + timedelta(days=days)
        drawing = draw([], NOON, end, zone="Europe/London", now=NOON, day_address="?day={}")
        for labels in (
            [label.x for label in drawing.days if label.text and label.is_day],
            [label.x for label in drawing.days if label.text and not label.is_day],
        ):
            gaps = [later - earlier for earlier, later in pairwise(labels)]
            assert all(gap >= 40 for gap in gaps), (days, min(gaps))


def test_ticks_at_one_place_are_one_and_show_what_matters_most() -> None:
    lane = Lane(
        "one",
        ticks=[
            Tick(NOON, "login", "applied", 1, "first", "/1"),
            Tick(NOON + timedelta(seconds=1), "login", "orphan", 6, "second", "/2"),
            Tick(NOON, "logout", "applied", 1, "third", "/3"),
        ],
    )
    [drawn] = draw([lane], NOON - HOUR, NOON + 24 * HOUR, zone="UTC", now=NOON).lanes
    login, logout = drawn.ticks
    assert (login.text, login.address, login.title) == ("2", "/2", "first\nsecond")
    assert "t-orphan" in login.look
    assert (logout.text, logout.address) == ("", "/3")


def test_now_and_marks_are_lines_where_they_are_on_the_axis() -> None:
    end = NOON + 10 * HOUR
    marks = [(NOON + HOUR, "asked"), (NOON - HOUR, "before")]
    drawing = draw([], NOON, end, zone="UTC", now=NOON - HOUR, marks=marks)
    assert drawing.now is None
    assert [mark.text for mark in drawing.marks] == ["asked"]
