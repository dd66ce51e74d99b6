"""From what was sent to the rows that the service would have made of it, and these into the database."""

import io
import pickle
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from tempfile import TemporaryFile
from typing import IO, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max

from linking.models import DeskAction
from linking.resolve import AFTER_UNLINK, NOT_LINKED, UNKNOWN_ID
from shifts import store
from shifts.accept import CLOCK_TROUBLE
from shifts.digest import undecided
from shifts.models import ShiftEvent, Submission, Withdrawal, event_id, submission_of
from shifts.timeline import WITHDRAWN, Decision, Event, Login, Rules, Shift, State
from tests.benchmarks import records, traffic, world
from tests.benchmarks.past import Past, Revision, uuid7
from tests.benchmarks.traffic import Batch, Driver, Traffic
from tests.benchmarks.world import Platform, Size

Say = Callable[[str], None]
_DIGESTED_AFTER = timedelta(seconds=0.4)
_LEAKED = 6  # the place of the work provider whose key has leaked
_EVENTS_PER_COPY = 100_000
_STATES_AT_ONCE = 5_000


class Block(NamedTuple):
    """A submission with its events, as text, and the shifts that they opened: (id, stream, shift).

    Ids of events are the work provider's own here: its submissions are numbered from 0.
    """

    kind: str
    received_at: datetime
    status: str
    body: str
    event_count: int
    clock_ahead: int
    action_id: UUID | None
    is_struck: bool
    events: list[str]
    shifts: list[tuple[object, int, Shift]]


class Spool:
    """Blocks in a temporary file, and in which order they arrived."""

    def __init__(self, file: IO[bytes]) -> None:
        self.submission_ids: dict[int, array[int]] = {}
        self._file = file
        self._received_at: array[float] = array("d")
        self._places: array[int] = array("l")
        self._offsets: array[int] = array("q")
        self._order: array[int] = array("l")

    def put(self, place: int, block: Block) -> None:
        """Keep a block; those of one place come in order of arrival."""
        self._received_at.append(block.received_at.timestamp())
        self._places.append(place)
        self._offsets.append(self._file.tell())
        pickle.dump(block, self._file)

    def number(self, first: int) -> None:
        """Give each block a submission id, in order of arrival."""
        days: dict[float, array[int]] = defaultdict(lambda: array("l"))
        for index, received_at in enumerate(self._received_at):
            days[received_at // traffic.DAY].append(index)
        for _, indexes in sorted(days.items()):
            self._order.extend(sorted(indexes, key=self._received_at.__getitem__))
        for submission_id, index in enumerate(self._order, first):
            ids = self.submission_ids.setdefault(self._places[index], array("q"))
            ids.append(submission_id)

    def event_id(self, place: int, own: int) -> int:
        """The id in the database of an event that the work provider's blocks know as `own`."""
        number = submission_of(own)
        return event_id(self.submission_ids[place][number], own - event_id(number, 0))

    def blocks(self) -> Iterator[tuple[int, Block]]:
        """(place, block) in order of arrival."""
        for index in self._order:
            self._file.seek(self._offsets[index])
            yield self._places[index], pickle.load(self._file)  # noqa: S301 (our own)


@dataclass(slots=True)
class Told:
    """What is kept of all work providers until submissions have their ids."""

    states: list[tuple[int, int, State]] = field(default_factory=list)  # place, stream
    revisions: list[tuple[int, int, Revision]] = field(default_factory=list)
    withdrawals: list[Withdrawal] = field(default_factory=list)
    struck: list[tuple[int, int, DeskAction]] = field(default_factory=list)  # place, number


@transaction.atomic
def fill(size: Size, now: datetime, say: Say) -> None:
    """Everything, in one transaction; `now` is when the last of it has just happened."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute("SET LOCAL maintenance_work_mem = '256MB'")
    desk = records.Desk(now)
    say("work providers, customers and links")
    platforms = world.build(size, Random(1686), now)
    rules = store.rules_of(platform.work_provider.pk for platform in platforms)
    told = Told()
    with TemporaryFile() as file:
        spool = Spool(file)
        for place, platform in enumerate(platforms):
            if place % 50 == 0:
                say(f"what work providers sent: {place} of {len(platforms)}")
            filler = Filler(place, platform, rules[platform.work_provider.pk], desk, told, now)
            filler.fill(spool)
            platform.drivers.clear()
        _store(spool, platforms, told, say)
        records.add(desk, say)


class Filler:
    """One work provider's blocks."""

    def __init__(
        self,
        place: int,
        platform: Platform,
        rules: Rules,
        desk: "records.Desk",
        told: Told,
        now: datetime,
    ) -> None:
        self.place, self.platform, self.rules = place, platform, rules
        self.desk, self.told, self.now = desk, told, now
        self.rng = Random(f"work provider {place}")
        self.decisions: dict[int, tuple[int | None, Decision]] = {}
        self.shifts: dict[int, list[tuple[object, int, Shift]]] = defaultdict(list)
        self.struck: dict[int, datetime] = {}  # submission number → when

    def fill(self, spool: Spool) -> None:
        """Project every stream, then keep the submissions with what became of their events."""
        sent = traffic.traffic(self.platform.drivers, self.platform.habits, self.rng, self.now)
        if self.place == _LEAKED:
            self._strike(sent)
        withdrawn = self._withdraw(sent)
        waiting = _events_by_driver(sent)
        while waiting:
            number, events = waiting.popitem()
            driver = self.platform.drivers[number]
            if driver.stream_id is None:
                self._wait(driver, events)
            else:
                self._project(driver, driver.stream_id, events, withdrawn[number])
        for number, batch in enumerate(sent.batches):
            spool.put(self.place, self._block(number, batch))

    def _strike(self, sent: Traffic) -> None:
        """What came within three hours three weeks ago was sent with a leaked key."""
        began = self.now - timedelta(days=21)
        at = began + timedelta(days=1)
        until = began + timedelta(hours=3)
        details = {
            "key_id": self.platform.api_keys[0].key_id,
            "since": began.isoformat(),
            "until": until.isoformat(),
        }
        provider = self.platform.work_provider
        action = self.desk.act(DeskAction.Kind.STRIKE, at, provider, None, details)
        for number, batch in enumerate(sent.batches):
            if began <= batch.received_at < until and not batch.is_ops:
                self.struck[number] = at
                self.told.struck.append((self.place, number, action))

    def _withdraw(self, sent: Traffic) -> dict[int, dict[tuple[str, datetime], datetime]]:
        withdrawn: dict[int, dict[tuple[str, datetime], datetime]] = defaultdict(dict)
        for one in sent.struck:
            driver = self.platform.drivers[one.driver]
            if driver.stream_id is None:
                continue
            at, withdrawn_at = _instant(one.at), _instant(one.withdrawn_at)
            withdrawn[one.driver][one.kind, at] = withdrawn_at
            action = self.desk.act(
                DeskAction.Kind.WITHDRAW,
                withdrawn_at,
                self.platform.work_provider,
                driver.customer_id,
                {"kind": one.kind, "at": at.isoformat()},
            )
            self.told.withdrawals.append(
                Withdrawal(
                    stream_id=driver.stream_id,
                    kind=one.kind,
                    timestamp=at,
                    action=action,
                    withdrawn_at=withdrawn_at,
                )
            )
        return withdrawn

    def _wait(self, driver: Driver, events: list[Event]) -> None:
        """No link explains these."""
        named = self.platform.habits.names_customers and driver.number != world.NOBODY
        held = undecided(NOT_LINKED if named else UNKNOWN_ID)
        for event in events:
            is_old = self.now - event.known_at > settings.HELD_EXPIRES_AFTER
            decision = Decision("REJECTED", "EXPIRED") if is_old else held
            self._leave_out(event, decision)

    def _leave_out(self, event: Event, decision: Decision) -> None:
        is_struck = submission_of(event.id) in self.struck
        self.decisions[event.id] = (None, WITHDRAWN if is_struck else decision)

    def _project(
        self,
        driver: Driver,
        stream_id: int,
        events: list[Event],
        withdrawn: Mapping[tuple[str, datetime], datetime],
    ) -> None:
        ends_at = driver.links[-1].ends_at
        explained = [event for event in events if ends_at is None or event.at < ends_at]
        for event in events:
            if ends_at is not None and event.at >= ends_at:
                self._leave_out(event, undecided(AFTER_UNLINK))
        struck = {event.id: self.struck.get(submission_of(event.id)) for event in explained}
        past = Past(
            explained,
            driver.links,
            self.rules,
            withdrawn,
            {key: at for key, at in struck.items() if at is not None},
        )
        outcome = past.outcome(self.now, self.rng)
        decisions = outcome.projection.decisions
        self.decisions |= {event.id: (stream_id, decisions[event.id]) for event in explained}
        for shift_id, shift in outcome.shifts:
            self.shifts[submission_of(shift.opened_by)].append((shift_id, stream_id, shift))
        self.told.states.append((self.place, stream_id, outcome.projection.state))
        self.told.revisions += [(self.place, stream_id, row) for row in outcome.revisions]

    def _block(self, number: int, batch: Batch) -> Block:
        drivers, habits = self.platform.drivers, self.platform.habits
        latest = (batch.received_at + CLOCK_TROUBLE).timestamp()
        return Block(
            batch.kind,
            batch.received_at,
            batch.status,
            traffic.body(batch, drivers, habits),
            len(batch.events),
            sum(event.at > latest for event in batch.events),
            self._action_of(batch),
            number in self.struck,
            list(self._rows(number, batch)) if batch.status == traffic.DIGESTED else [],
            self.shifts.pop(number, []),
        )

    def _action_of(self, batch: Batch) -> UUID | None:
        if not batch.is_ops:
            return None
        event = batch.events[0]
        details = {"kind": batch.kind, "at": _instant(event.at).isoformat()}
        customer_id = self.platform.drivers[event.driver].customer_id
        action = self.desk.act(
            DeskAction.Kind.ADD_EVENT,
            batch.received_at,
            self.platform.work_provider,
            customer_id,
            details,
        )
        return action.pk

    def _rows(self, number: int, batch: Batch) -> Iterator[str]:
        """The columns of each event after its id and its submission's, as COPY reads them."""
        names_customers = self.platform.habits.names_customers or batch.is_ops
        provider, received_at = self.platform.work_provider.pk, batch.received_at
        is_struck = number in self.struck
        for position, event in enumerate(batch.events):
            stream_id, decision = self.decisions.pop(event_id(number, position))
            driver = self.platform.drivers[event.driver]
            whom = f"\\N\t{driver.number}" if names_customers else f"{driver.driver_id}\t\\N"
            yield (
                f"{provider}\t{stream_id or chr(92) + 'N'}\t{batch.kind}\t{_instant(event.at)}\t"
                f"{received_at}\t{whom}\t{batch.is_ops}\t{is_struck}\t{decision.outcome}\t"
                f"{decision.reason}\t{decision.after_ignored_login}\n"
            )


def _instant(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _events_by_driver(sent: Traffic) -> dict[int, list[Event]]:
    events: dict[int, list[Event]] = defaultdict(list)
    for number, batch in enumerate(sent.batches):
        if batch.status == traffic.DIGESTED:
            for position, one in enumerate(batch.events):
                own_id, at = event_id(number, position), _instant(one.at)
                event = Event(own_id, one.kind, at, batch.received_at, one.is_ops)
                events[one.driver].append(event)
    return events


def _store(spool: Spool, platforms: list[Platform], told: Told, say: Say) -> None:
    """COPY the blocks in order of arrival, then all that refers to events by their ids."""
    spool.number(_next_id())
    with _without_indexes():
        copier = _Copier(spool, platforms)
        for count, (place, block) in enumerate(spool.blocks()):
            copier.add(place, block)
            if count % 200_000 == 0:
                say(f"submissions stored: {count}, with {copier.stored} events")
        copier.flush()
        say(f"indexes of {copier.stored} events")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT setval(pg_get_serial_sequence('shifts_submission', 'id'), max(id))"
            " FROM shifts_submission"
        )
    _store_told(spool, told)


def _next_id() -> int:
    return (Submission.objects.aggregate(last=Max("pk"))["last"] or 0) + 1


class _Copier:
    """Gathers rows and stores them, so many at a time."""

    def __init__(self, spool: Spool, platforms: list[Platform]) -> None:
        self.stored = 0
        self._spool, self._platforms = spool, platforms
        self._rng = Random(1686)
        self._counts: dict[int, int] = defaultdict(int)
        self._events = io.StringIO()
        self._waiting = 0
        self._submissions: list[tuple[object, ...]] = []
        self._shifts: list[tuple[object, int, Shift]] = []

    def add(self, place: int, block: Block) -> None:
        number = self._counts[place]
        self._counts[place] += 1
        submission_id = self._spool.submission_ids[place][number]
        self._submissions.append(self._submission(submission_id, place, block))
        for position, row in enumerate(block.events):
            self._events.write(f"{event_id(submission_id, position)}\t{submission_id}\t{row}")
        self._shifts += [
            (shift_id, stream_id, self._with_ids(place, shift))
            for shift_id, stream_id, shift in block.shifts
        ]
        self._waiting += len(block.events)
        if self._waiting >= _EVENTS_PER_COPY:
            self.flush()

    def flush(self) -> None:
        store.copy("shifts_submission", _SUBMISSION_COLUMNS, self._submissions)
        store.insert_shifts(self._shifts)
        self._events.seek(0)
        with connection.cursor() as cursor, connection.wrap_database_errors:
            cursor.copy_expert(
                f"COPY shifts_shiftevent ({_EVENT_COLUMNS}) FROM STDIN", self._events
            )
        self.stored += self._waiting
        self._events, self._submissions, self._shifts = io.StringIO(), [], []
        self._waiting = 0

    def _with_ids(self, place: int, shift: Shift) -> Shift:
        ended_by = shift.ended_by
        return shift._replace(
            opened_by=self._spool.event_id(place, shift.opened_by),
            ended_by=None if ended_by is None else self._spool.event_id(place, ended_by),
        )

    def _submission(self, submission_id: int, place: int, block: Block) -> tuple[object, ...]:
        platform = self._platforms[place]
        digested_at = block.received_at + _DIGESTED_AFTER
        failed_at = block.received_at + timedelta(minutes=1)
        failed = block.status == traffic.FAILED
        return (
            submission_id,
            uuid7(block.received_at, self._rng),
            platform.work_provider.pk,
            None if block.action_id else self._rng.choice(platform.api_keys).pk,
            block.action_id,
            block.is_struck,
            block.kind,
            block.event_count > 1,
            block.body,
            platform.work_provider.timezone,
            block.event_count,
            block.clock_ahead,
            block.received_at,
            {traffic.DIGESTED: 1, traffic.FAILED: 5}.get(block.status, 0),
            digested_at if block.status == traffic.DIGESTED else None,
            failed_at if failed else None,
            "DataError: a value was out of range" if failed else "",
        )


_SUBMISSION_COLUMNS = (
    "id, request_id, work_provider_id, api_key_id, action_id, is_withdrawn, kind, is_batch, body,"
    " timezone, event_count, clock_ahead_count, received_at, attempts, digested_at, failed_at, failure"
)
_EVENT_COLUMNS = (
    "id, submission_id, work_provider_id, stream_id, kind, timestamp, received_at, driver_id,"
    " customer_number, is_ops, is_withdrawn, outcome, reason, after_ignored_login"
)


@contextmanager
def _without_indexes() -> Iterator[None]:
    """The events' indexes are made anew at the end: ten times quicker than row by row."""
    with connection.schema_editor() as editor:
        for index in ShiftEvent._meta.indexes:
            editor.remove_index(ShiftEvent, index)
        yield
        for index in ShiftEvent._meta.indexes:
            editor.add_index(ShiftEvent, index)


def _store_told(spool: Spool, told: Told) -> None:
    def login(place: int, one: Login | None) -> Login | None:
        return one and one._replace(event_id=spool.event_id(place, one.event_id))

    def with_ids(place: int, state: State) -> State:
        return state._replace(login=login(place, state.login), ignored=login(place, state.ignored))

    for start in range(0, len(told.states), _STATES_AT_ONCE):
        some = told.states[start : start + _STATES_AT_ONCE]
        store.save_states({stream_id: with_ids(place, state) for place, stream_id, state in some})
    store.insert_revisions(
        (
            one.shift_id,
            stream_id,
            one.change,
            one.cause,
            None if one.event_id is None else spool.event_id(place, one.event_id),
            *one.rest,
        )
        for place, stream_id, one in told.revisions
    )
    Withdrawal.objects.bulk_create(told.withdrawals)
    Withdrawal.objects.bulk_create(
        Withdrawal(
            submission_id=spool.submission_ids[place][number],
            action=action,
            withdrawn_at=action.created_at,
        )
        for place, number, action in told.struck
    )
