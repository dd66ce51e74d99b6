"""Any history, in any order and any portions, is stored as one full projection would give it.

`settle` takes short cuts: it folds, it restarts at a safe login, it re-decides only what a change may
touch. After every step these tests compare the rows with what the pure function makes of everything
there is, from nothing.
"""

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from linking.models import DriverLink, User, WorkProvider
from linking.resolve import resolver_for
from shifts import mend, settle, store, timeline
from shifts.digest import undecided
from shifts.models import Kind, Shift, Stream, Submission
from tests.shifts.live import Platform, at, drain

# Half hours, and a maximum of two hours: boundaries and second shifts (R7) are then common.
_MAX = timedelta(hours=2)
_SLOTS = st.integers(0, 10)
_KINDS = st.sampled_from(["login", "logout"])

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


@quickly
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["events", "events", "events", "link", "unlink", "withdraw", "undo"]),
            st.lists(st.tuples(_KINDS, st.booleans(), _SLOTS), min_size=1, max_size=4),
            st.booleans(),
            _SLOTS,
        ),
        min_size=4,
        max_size=14,
    )
)
def test_any_history_of_two_customers_who_share_two_driver_ids(
    platform: Platform,
    steps: list[tuple[str, list[tuple[str, bool, int]], bool, int]],
) -> None:
    platform = afresh(platform)
    history = History(platform)
    for name, events, which, slot in steps:
        getattr(history, name)(events, which, slot)
        assert_as_projected_in_full(platform.work_provider)


class History:
    """Steps that may be taken in any order; one that the database refuses changes nothing."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.provider = platform.work_provider
        self.customers = [platform.customer(), platform.customer()]
        self.staff = User.objects.get_or_create(username="ops", is_staff=True)[0]

    def events(self, events: list[tuple[str, bool, int]], which: bool, slot: int) -> None:
        for kind in ("login", "logout"):
            rows = [
                (kind, "van" if van else "bike", instant(when))
                for wanted, van, when in events
                if wanted == kind
            ]
            if rows:
                self.platform.accept(*rows)
        drain()
        if which:
            mend.add_event(
                self.provider,
                self.customers[slot % 2],
                Kind.LOGOUT,
                instant(slot),
                actor=self.staff,
                reason="Told by telephone.",
                now=timezone.now(),
            )
            drain()

    def link(self, events: list[tuple[str, bool, int]], which: bool, slot: int) -> None:
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

    def unlink(self, events: list[tuple[str, bool, int]], which: bool, slot: int) -> None:
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

    def withdraw(self, events: list[tuple[str, bool, int]], which: bool, slot: int) -> None:
        stream = Stream.objects.filter(customer=self.customers[which]).first()
        if stream is None:
            return
        try:
            with transaction.atomic():
                mend.withdraw(
                    stream,
                    Kind(events[0][0]),
                    instant(slot),
                    actor=self.staff,
                    reason="Not theirs.",
                    now=timezone.now(),
                )
        except IntegrityError:
            return

    def undo(self, events: list[tuple[str, bool, int]], which: bool, slot: int) -> None:
        stream = Stream.objects.filter(customer=self.customers[which]).first()
        withdrawal = stream and stream.withdrawals.filter(undone_at=None).first()
        if withdrawal:
            mend.undo_withdrawal(withdrawal, actor=self.staff, reason="It is.", now=timezone.now())


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
            expected[event.id] = (None, undecided(reason))
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


def project_in_full(stream: store.StreamRow, events: list[timeline.Event]) -> timeline.Projection:
    return timeline.project(
        events,
        links=store.links_of([stream]).get(stream.id, []),
        rules=store.rules_of([stream.work_provider_id])[stream.work_provider_id],
        as_of=timezone.now(),
        withdrawn=store.withdrawn_of([stream.id]).get(stream.id, set()),
    )
