"""Any history, in any order and any portions, is stored as one full projection would give it.

`settle` takes short cuts: it folds, it restarts at a safe login, it re-decides only what a change may
touch. After every step these tests compare the rows with what the pure function makes of everything
there is, from nothing.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Model, Q
from django.utils import timezone
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from linking import keys
from linking.models import ApiKey, DeskAction, DeskActionItem, DriverLink, User, WorkProvider
from linking.resolve import resolver_for
from shifts import bulk, cover, mend, preview, settle, store, timeline
from shifts.accept import keep
from shifts.digest import undecided
from shifts.models import (
    Kind,
    Shift,
    ShiftEvent,
    ShiftRevision,
    Stream,
    Submission,
    Withdrawal,
    submission_of,
)
from tests.shifts.live import Platform, at, drain
from zego_api.models import OutgoingMail

# Half hours, and a maximum of two hours: boundaries and second shifts (R7) are then common.
_MAX = timedelta(hours=2)
_SLOTS = st.integers(0, 10)
_KINDS = st.sampled_from(["login", "logout"])
MENDINGS = ["add", "withdraw", "undo", "end_link", "replay"]

quickly = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
    max_examples=100,
)


def instant(slot: int) -> datetime:
    return at("00:00") + timedelta(minutes=30 * slot)


def afresh(platform: Platform) -> Platform:
    """Another work provider for each example, with the short maximum."""
    another = Platform(platform.service)
    settle.change_rule(another.work_provider, _MAX, now=at("00:00", day=-400))
    return another


@quickly
@example(events=[("login", 3), ("logout", 4)], cuts=[], linked=5)
@example(events=[("login", 0), ("login", 2), ("logout", 6), ("logout", 3)], cuts=[], linked=-1)
@given(
    events=st.lists(st.tuples(_KINDS, _SLOTS), min_size=2, max_size=10),
    cuts=st.lists(st.integers(1, 4), max_size=10),
    linked=st.integers(-1, 9),
)
def test_any_arrival_of_one_drivers_events(
    platform: Platform, events: list[tuple[str, int]], cuts: list[int], linked: int
) -> None:
    platform = afresh(platform)
    driver = platform.driver(linked_at=instant(linked))
    left = list(events)
    sizes = [*cuts, *[1] * len(left)]
    while left:
        chunk, left = left[: sizes[0]], left[sizes.pop(0) :]
        for kind in ("login", "logout"):
            rows = [(kind, driver.id, instant(slot)) for wanted, slot in chunk if wanted == kind]
            if rows:
                platform.accept(*rows)
        drain()
        assert_as_projected_in_full(platform.work_provider)


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            "events events events events link unlink withdraw undo strike reread undo".split()
        ),
        st.lists(st.tuples(_KINDS, st.booleans(), _SLOTS), min_size=1, max_size=4),
        st.booleans(),
        _SLOTS,
    ),
    min_size=4,
    max_size=14,
)
Sent = list[tuple[str, bool, int]]  # (kind, by the van rather than the bike, slot)


@quickly
@given(steps=_STEPS)
def test_any_history_of_two_customers_who_share_two_driver_ids(
    platform: Platform, steps: list[tuple[str, Sent, bool, int]]
) -> None:
    platform = afresh(platform)
    history = History(platform)
    for name, events, which, slot in steps:
        getattr(history, name)(events, which, slot)
        assert_as_projected_in_full(platform.work_provider)


@settings(quickly, max_examples=50)
@given(steps=_STEPS)
def test_whatever_is_mended_what_was_known_then_stays_known(
    platform: Platform, steps: list[tuple[str, Sent, bool, int]]
) -> None:
    """But for an end of a link: of that only the present word is kept."""
    platform = afresh(platform)
    history = History(platform)
    stood: list[tuple[datetime, dict[int, list[timeline.Shift]]]] = []
    for name, events, which, slot in steps:
        if name != "unlink":
            getattr(history, name)(events, which, slot)
            stood.append((timezone.now(), standing(history.provider)))
    for known_at, shifts in stood:
        for customer in history.customers:
            known = dict(cover._as_known(customer, known_at)).get(history.provider.pk, [])
            assert [*map(told, known)] == [*map(told, shifts.get(customer.pk, []))]


def standing(provider: WorkProvider) -> dict[int, list[timeline.Shift]]:
    """The shifts of each customer as they are stored."""
    shifts: dict[int, list[timeline.Shift]] = {}
    rows = Shift.objects.filter(stream__work_provider=provider).order_by("started_at")
    for customer_id, *row in rows.values_list("stream__customer_id", *store.SHIFT_COLUMNS):
        shifts.setdefault(customer_id, []).append(timeline.Shift(*row))
    return shifts


def told(shift: timeline.Shift) -> tuple[datetime, datetime | None, str]:
    return shift.started_at, shift.ended_at, shift.end_reason


@settings(quickly, max_examples=50)
@given(steps=_STEPS, mending=st.sampled_from(MENDINGS), slot=_SLOTS)
def test_a_preview_tells_what_then_happens_and_leaves_nothing(
    platform: Platform, steps: list[tuple[str, Sent, bool, int]], mending: str, slot: int
) -> None:
    platform = afresh(platform)
    history = History(platform)
    for name, events, which, at_slot in steps:
        getattr(history, name)(events, which, at_slot)
    mend_it = history.one_mending(mending, slot)
    if mend_it is None:
        return
    before = everything(platform.work_provider)
    now = timezone.now()
    _, changes = preview.preview(mend_it, now=now)
    nothing_stays = everything(platform.work_provider) == before
    assert nothing_stays
    shifts = standing(platform.work_provider)
    preview.carry_out(mend_it, preview.fingerprint(changes, now), now=now)
    after = standing(platform.work_provider)
    gone = {(one.customer_id, *told(one.old)) for one in changes if one.old}
    come = {(one.customer_id, *told(one.new)) for one in changes if one.new}
    assert shown(after) == shown(shifts) - gone | come
    assert all(told(one.old) != told(one.new) for one in changes if one.old and one.new)


def shown(shifts: dict[int, list[timeline.Shift]]) -> set[tuple[object, ...]]:
    return {(whose, *told(shift)) for whose, each in shifts.items() for shift in each}


def everything(provider: WorkProvider) -> list[list[dict[str, object]]]:
    """Every row that a mending could touch."""
    of_streams: list[type[Model]] = [Shift, ShiftRevision, Withdrawal]
    rows = [
        [*model._default_manager.filter(work_provider=provider).order_by("pk").values()]
        for model in (Submission, ShiftEvent, Stream, DriverLink, DeskAction)
    ]
    rows += [
        [*model._default_manager.filter(stream__work_provider=provider).order_by("pk").values()]
        for model in of_streams
    ]
    return [*rows, [*OutgoingMail.objects.order_by("pk").values()]]


class History:
    """Steps that may be taken in any order; one that is refused changes nothing."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.provider = platform.work_provider
        self.keys = [keys.issue(self.provider)[0] for _ in range(2)]
        self.customers = [platform.customer(), platform.customer()]
        self.staff = User.objects.get_or_create(username="ops", is_staff=True)[0]
        self.began = timezone.now()

    def why(self) -> dict[str, Any]:
        return {"actor": self.staff, "reason": "Told by telephone.", "now": timezone.now()}

    def events(self, events: Sent, which: bool, slot: int) -> None:
        self.send(events, self.keys[slot % 2])
        drain()
        if which:
            mend.add_event(
                self.provider, self.customers[slot % 2], Kind.LOGOUT, instant(slot), **self.why()
            )

    def send(self, events: Sent, key: ApiKey) -> None:
        """Local times without an offset, so that they can be read again."""
        for kind in ("login", "logout"):
            items = [
                {
                    "driverId": "van" if van else "bike",
                    "timestamp": instant(slot).replace(tzinfo=None).isoformat(),
                }
                for wanted, van, slot in events
                if wanted == kind
            ]
            if items:
                keep(
                    Submission(
                        work_provider=self.provider,
                        api_key=key,
                        kind=kind,
                        is_batch=True,
                        body=json.dumps(items).encode(),
                        timezone="UTC",
                        received_at=timezone.now(),
                    ),
                    max_future=self.provider.max_future,
                )

    def link(self, events: Sent, which: bool, slot: int) -> None:
        _, van, _ = events[0]
        try:
            with transaction.atomic():
                DriverLink.objects.create(
                    work_provider=self.provider,
                    customer=self.customers[which],
                    driver_id="van" if van else "bike",
                    linked_at=instant(slot),
                )
        except IntegrityError:
            return

    def unlink(self, events: Sent, which: bool, slot: int) -> None:
        """End a link, move an end, or take it back."""
        _, reopen, later = events[0]
        link = DriverLink.objects.filter(customer=self.customers[which]).first()
        if link is None:
            return
        link.unlinked_at = None if reopen and slot < 3 else max(link.linked_at, instant(later))
        try:
            link.save()
        except IntegrityError:
            return

    def withdraw(self, events: Sent, which: bool, slot: int) -> None:
        stream = Stream.objects.filter(customer=self.customers[which]).first()
        if stream is not None:
            with suppress(ValidationError):
                mend.withdraw(stream, Kind(events[0][0]), instant(slot), **self.why())

    def strike(self, events: Sent, which: bool, slot: int) -> None:
        """What a key sent lately; some of it is pending at that time."""
        self.send(events, self.keys[which])
        sent = Submission.objects.filter(work_provider=self.provider, api_key=self.keys[which])
        since = sent.order_by("-pk")[min(slot, sent.count() - 1)].received_at
        bulk.strike(self.keys[which], since, timezone.now(), **self.why())
        in_background(self.provider)

    def reread(self, events: Sent, which: bool, slot: int) -> None:
        """An hour earlier or later."""
        zone = "Etc/GMT+1" if which else "Etc/GMT-1"
        with suppress(ValidationError):
            bulk.reread(self.provider, self.began, timezone.now(), zone, **self.why())
        in_background(self.provider)

    def undo(self, events: Sent, which: bool, slot: int) -> None:
        """Any action that can be; one that others build on is refused."""
        done = DeskAction.objects.filter(
            work_provider=self.provider, kind__in=[*mend.UNDOABLE, *bulk.UNDOABLE]
        )
        if action := done.order_by("-pk")[slot : slot + 1].first():
            undo = mend.undo if action.kind in mend.UNDOABLE else bulk.undo
            with suppress(ValidationError):
                undo(action, **self.why())
            in_background(self.provider)

    def one_mending(self, name: str, slot: int) -> Callable[[], object] | None:
        """One of MENDINGS, for a preview; None where there is nothing to do it to."""
        found = getattr(self, f"_{name}_it")(slot)
        return None if found is None else partial(*found, **self.why())

    def _add_it(self, slot: int) -> tuple[Any, ...]:
        return mend.add_event, self.provider, self.customers[slot % 2], Kind.LOGOUT, instant(slot)

    def _withdraw_it(self, slot: int) -> tuple[Any, ...] | None:
        events = ShiftEvent.objects.filter(work_provider=self.provider, stream__isnull=False)
        event = events.exclude(outcome="WITHDRAWN").order_by("-pk").first()
        if event is None:
            return None
        return mend.withdraw, event.stream, Kind(event.kind), event.timestamp

    def _undo_it(self, slot: int) -> tuple[Any, ...] | None:
        done = DeskAction.objects.filter(work_provider=self.provider, kind__in=mend.UNDOABLE)
        action = done.filter(undone_by__isnull=True).first()
        return None if action is None else (mend.undo, action)

    def _end_link_it(self, slot: int) -> tuple[Any, ...] | None:
        link = DriverLink.objects.filter(work_provider=self.provider, unlinked_at=None).first()
        return None if link is None else (mend.end_link, link, max(link.linked_at, instant(slot)))

    def _replay_it(self, slot: int) -> tuple[Any, ...]:
        """Of events that a link has not counted, being made behind everybody's back."""
        free = DriverLink.objects.filter(work_provider=self.provider)
        customer = self.customers[slot % 2]
        if not free.filter(Q(customer=customer) | Q(driver_id="van")).exists():
            DriverLink.objects.bulk_create(
                [
                    DriverLink(
                        work_provider=self.provider,
                        customer=customer,
                        driver_id="van",
                        linked_at=instant(slot),
                    )
                ]
            )
        return partial(mend.replay, driver_id="van"), self.provider


def in_background(provider: WorkProvider) -> None:
    """What the sweeper does; and no item of it failed."""
    while bulk.carry_on(timezone.now()):
        pass
    items = DeskActionItem.objects.filter(action__work_provider=provider)
    assert not items.exclude(problem="").exists()
    drain()


def assert_as_projected_in_full(provider: WorkProvider) -> None:
    """Every event's outcome and stream, every shift and every state of a work provider."""
    assert not Submission.objects.filter(work_provider=provider, digested_at=None).exists()
    stored = store._stored_events(
        f"SELECT {store._EVENT_COLUMNS} FROM shifts_shiftevent WHERE work_provider_id = %s",
        [provider.pk],
    )
    resolver = resolver_for(one.identifier for one in stored)
    expected: dict[int, tuple[int | None, timeline.Decision]] = {}
    members: dict[int, list[timeline.Event]] = {}
    for event, _, identifier, _ in stored:
        customer_id, reason = resolver.find(identifier, event.at)
        if customer_id is None:
            waits = timeline.WITHDRAWN if event.is_withdrawn else undecided(reason)
            expected[event.id] = (None, waits)
        else:
            members.setdefault(customer_id, []).append(event)
    keys = Stream.objects.filter(work_provider=provider).values_list(
        "work_provider_id", "customer_id"
    )
    with transaction.atomic():
        streams = store.lock_streams(keys)
    for stream in streams.values():
        projection = project_in_full(stream, members.pop(stream.customer_id, []))
        expected |= {key: (stream.id, decision) for key, decision in projection.decisions.items()}
        shifts = Shift.objects.filter(stream=stream.id).order_by("started_at")
        rows = shifts.values_list(*store.SHIFT_COLUMNS)
        assert [timeline.Shift(*row) for row in rows] == projection.shifts
        assert stream.state == projection.state
    assert not members
    assert {one.event.id: (one.stream_id, one.decision) for one in stored} == expected
    struck = set(
        Withdrawal.objects.filter(
            submission__work_provider=provider, undone_at__isnull=True
        ).values_list("submission_id", flat=True)
    )
    assert {one.event.id for one in stored if one.event.is_withdrawn} == {
        one.event.id for one in stored if submission_of(one.event.id) in struck
    }


def project_in_full(stream: store.StreamRow, events: list[timeline.Event]) -> timeline.Projection:
    return timeline.project(
        events,
        links=store.links_of([stream]).get(stream.id, []),
        rules=store.rules_of([stream.work_provider_id])[stream.work_provider_id],
        as_of=timezone.now(),
        withdrawn=store.withdrawn_of([stream.id]).get(stream.id, set()),
    )
