"""What a mending would change, told before it is confirmed: it is carried out, and rolled back."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from django.db import connection, transaction

from shifts import timeline
from shifts.models import Stream
from shifts.settle import ShiftChange, watched
from shifts.timeline import Shift

_Result = TypeVar("_Result")


class Changed(NamedTuple):
    """A shift before and after, and whose it is; None where there was none, or is none any more."""

    work_provider_id: int
    customer_id: int
    shift_id: object
    old: Shift | None
    new: Shift | None

    @property
    def started_at(self) -> datetime:
        """By which it is put in order: the new start, or the one it had."""
        shift = self.new or self.old
        assert shift is not None
        return shift.started_at


class Differs(Exception):  # noqa: N818 (it is no defect)
    """What would change is not what the preview said; nothing has been done."""

    def __init__(self, result: Any, changes: list[Changed]) -> None:
        super().__init__("Something has changed since the preview.")
        self.result = result
        self.changes = changes


def preview(mending: Callable[[], _Result], *, now: datetime) -> tuple[_Result, list[Changed]]:
    """What `mending` returns, and the shifts that it would change.

    Nothing stays; nobody is told, no worker is woken. What it returns must speak for itself: rows that
    it has made are gone. Must not run in a transaction that is to be kept. Raises what `mending` raises.
    """
    with transaction.atomic(), _watching() as seen:
        result = mending()
        changes = net(seen, now)
        transaction.set_rollback(True)
    return result, changes


def carry_out(
    mending: Callable[[], _Result], expected: str, *, now: datetime
) -> tuple[_Result, list[Changed]]:
    """Do it, if it still changes what `fingerprint` of the preview said; else raise Differs."""
    with transaction.atomic(), _watching() as seen:
        result = mending()
        changes = net(seen, now)
        if fingerprint(changes, now) != expected:
            raise Differs(result, changes)
    return result, changes


def fingerprint(changes: Iterable[Changed], now: datetime) -> str:
    """Equal exactly for equal changes; ids of shifts that are new differ each time and do not count."""
    told = [
        (one.work_provider_id, one.customer_id, _told(one.old, now), _told(one.new, now))
        for one in changes
    ]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def net(seen: Iterable[ShiftChange], now: datetime) -> list[Changed]:
    """One change a shift, from the first state to the last; what reads the same is left out."""
    by_shift: dict[object, ShiftChange] = {}
    for change in seen:
        first = by_shift.setdefault(change.shift_id, change)
        by_shift[change.shift_id] = first._replace(new=change.new)
    found = [one for one in by_shift.values() if _told(one.old, now) != _told(one.new, now)]
    streams = Stream.objects.in_bulk({one.stream_id for one in found})
    changes = [_of(streams[one.stream_id], one) for one in found]
    return sorted(changes, key=lambda one: (*one[:2], one.started_at))


def _of(stream: Stream, change: ShiftChange) -> Changed:
    return Changed(stream.work_provider_id, stream.customer_id, *change[1:])


def _told(shift: Shift | None, now: datetime) -> tuple[object, ...] | None:
    """What somebody sees of a shift: not which event stands behind it, nor when it became known."""
    if shift is None:
        return None
    end = timeline.end_as_of(shift.ended_at, shift.end_reason, shift.closes_at, now)
    return (shift.started_at, *end, shift.closes_at)


@contextmanager
def _watching() -> Iterator[list[ShiftChange]]:
    """A member of staff does not wait longer than some seconds for a digest that is under way."""
    seen: list[ShiftChange] = []
    token = watched.set(seen)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '3s'")
        yield seen
    finally:
        watched.reset(token)
