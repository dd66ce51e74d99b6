"""The figures behind the desk, held against a plain recount of the tables; and who is silent or off."""

import random
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from linking.desk import record
from linking.models import DeskAction, LinkRequest, WorkProvider
from shifts import digest, mend, restate, rollup, sweep
from shifts.digest import claim_pending, digest_claim
from shifts.models import (
    ClockOffset,
    HourFigures,
    Kind,
    MinuteFigures,
    Outcome,
    ShiftEvent,
    Standing,
    Submission,
    Tally,
)
from shifts.rollup import Cluster, Digested, cluster_in, slot_of, step_of
from tests import factories
from tests.linking.threads import at_once
from tests.running import Service
from tests.shifts.live import Platform, at, drain

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
NOW = MONDAY + timedelta(hours=12, minutes=10)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def standing(provider: WorkProvider) -> Standing:
    return Standing.objects.get(work_provider=provider)


def floor(instant: datetime, unit: timedelta) -> datetime:
    return instant - (instant - datetime(2000, 1, 1, tzinfo=UTC)) % unit


# Tallies


def test_after_a_random_run_with_two_sweepers_the_figures_are_those_of_a_recount(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "CLAIM_SIZES", (3, 3, 1))  # many digests, with sweeps in between
    MinuteFigures.objects.all().delete()
    Tally.objects.all().delete()  # of tests whose commits nothing takes back
    owners = [platform, Platform(platform.service)]
    for owner in owners:
        accept_at_random(owner, random.Random(4))
    at_once(drain, keep_up_until_digested, keep_up_until_digested)
    rollup.keep_up(datetime.now(UTC))
    assert not Tally.objects.exists()
    submissions = list(Submission.objects.all())
    assert len(submissions) == 80
    compare(MinuteFigures.objects.all(), submissions, MINUTE)
    for owner in owners:
        own = [one for one in submissions if one.work_provider_id == owner.work_provider.pk]
        hours = HourFigures.objects.filter(work_provider=owner.work_provider)
        compare(hours, own, HOUR)
        events = ShiftEvent.objects.filter(work_provider=owner.work_provider)
        outcomes = Counter(events.values_list("outcome", flat=True))
        assert len(outcomes) > 3
        assert outcomes == +Counter(
            {name: figures(hours, name.lower()).total() for name in Outcome.values}
        )
        offsets = ClockOffset.objects.filter(work_provider=owner.work_provider)
        assert added(offsets.values_list("step", "events")) == Counter(
            step_of(event.received_at - event.timestamp) for event in events
        )


def accept_at_random(owner: Platform, rng: random.Random) -> None:
    """In the order of time, so that no later event changes an outcome."""
    drivers = [owner.driver().id for _ in range(4)] + ["stranger 1", "stranger 2"]
    for hour in range(40):
        row = (rng.choice(["login", "logout"]), rng.choice(drivers), at("00:00") + hour * HOUR)
        owner.accept(*[row] * rng.choice([1, 1, 2, 5]))


def keep_up_until_digested() -> None:
    """Until nothing is pending."""
    while Submission.objects.filter(digested_at=None).exists():
        rollup.keep_up(datetime.now(UTC))


def compare(rows: object, submissions: list[Submission], unit: timedelta) -> None:
    accepted = [(floor(one.received_at, unit), one.event_count) for one in submissions]
    digested = [
        (floor(one.digested_at, unit), one.event_count) for one in submissions if one.digested_at
    ]
    assert figures(rows, "requests") == Counter(when for when, _ in accepted)
    assert figures(rows, "accepted") == added(accepted)
    assert figures(rows, "digested") == added(digested)


def figures(rows: object, name: str) -> Counter[datetime]:
    """What stands in a column by minute or hour, zeros left out."""
    found: Counter[datetime] = Counter()
    for row in rows:  # type: ignore[attr-defined]
        found[row.minute if isinstance(row, MinuteFigures) else row.hour] = getattr(row, name)
    return +found


def added(pairs: Iterable[tuple[object, int]]) -> Counter[object]:
    total: Counter[object] = Counter()
    for key, count in pairs:
        total[key] += count
    return total


def test_a_sweeper_that_dies_in_the_middle_neither_loses_nor_counts_twice(
    platform: Platform,
) -> None:
    platform.accept(*[("login", "x", at("09:00"))] * 3)
    drain()
    own = HourFigures.objects.filter(work_provider=platform.work_provider)

    def die() -> None:
        with transaction.atomic():
            rollup.fold()
            assert own.get().digested == 3
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    assert not own.exists()
    rollup.fold()
    rollup.fold()
    assert own.get().digested == 3


def test_a_digest_that_fails_leaves_no_tally(platform: Platform) -> None:
    platform.accept(("login", "x", at("09:00")))
    tallies = Tally.objects.filter(work_provider=platform.work_provider)
    claim = claim_pending()
    assert claim is not None

    def die() -> None:
        with transaction.atomic():
            digest_claim(claim, now=NOW)
            assert tallies.get().events == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    assert not tallies.exists()


def test_what_the_desk_adds_or_reads_again_is_not_the_work_providers(platform: Platform) -> None:
    provider, driver = platform.work_provider, platform.driver()
    naive = Submission(
        work_provider=provider,
        kind="login",
        is_batch=False,
        body=b'{"driverId": "%s", "timestamp": "2026-03-02T09:00:00"}' % driver.id.encode(),
        timezone="UTC",
        event_count=1,
        received_at=at("09:00"),
    )
    naive.save()
    drain()
    staff, now = factories.user(), datetime.now(UTC)
    mend.add_event(
        provider, driver.link.customer, Kind.LOGOUT, at("17:00"), actor=staff, reason="x", now=now
    )
    action = record(DeskAction.Kind.REREAD, actor=staff, reason="x", now=now)
    with transaction.atomic():
        restate.reread([naive.pk], "Europe/Paris", action, now=now)
    assert Submission.objects.filter(work_provider=provider).count() == 3
    assert sum(Tally.objects.filter(work_provider=provider).values_list("events", flat=True)) == 1
    rollup.keep_up(now)
    hours = HourFigures.objects.filter(work_provider=provider)
    assert sum(hours.values_list("requests", flat=True)) == 0  # the naive one is long ago
    assert sum(hours.values_list("digested", flat=True)) == 1
    assert standing(provider).last_request_at is None


@pytest.mark.parametrize(
    ("offset", "step"),
    [
        (timedelta(0), 0),
        (timedelta(seconds=299), 0),
        (timedelta(minutes=5), 1),
        (timedelta(seconds=-1), -1),
        (timedelta(seconds=-3595), -12),
        (timedelta(seconds=3605), 12),
        (timedelta(days=400), 312),
        (timedelta(days=-400), -312),
    ],
)
def test_the_step_of_an_offset(offset: timedelta, step: int) -> None:
    assert step_of(offset) == step


def test_a_slot_holds_what_comes_around_an_even_quarter_of_an_hour() -> None:
    steps = [step_of(timedelta(minutes=minutes)) for minutes in (-66, -65, -60, -51, -50, -49)]
    assert [slot_of(step) for step in steps] == [-5, -4, -4, -4, -3, -3]


@pytest.mark.django_db
def test_a_tally_is_one_row_a_work_provider_and_one_statement() -> None:
    one, two = factories.work_provider(), factories.work_provider()
    with CaptureQueriesContext(connection) as captured:
        rollup.tally(
            [
                Digested(one.pk, "APPLIED", timedelta(seconds=2)),
                Digested(one.pk, "HELD", -HOUR + timedelta(seconds=2)),
                Digested(two.pk, "APPLIED", timedelta(0)),
            ],
            now=NOW,
        )
    assert len(captured) <= 1
    rows = Tally.objects.order_by("work_provider").values_list(
        "work_provider", "digested_at", "events", "outcomes", "offsets"
    )
    assert list(rows) == [
        (one.pk, NOW, 2, {"APPLIED": 1, "HELD": 1}, {"0": 1, "-12": 1}),
        (two.pk, NOW, 1, {"APPLIED": 1}, {"0": 1}),
    ]


# What was accepted


@pytest.mark.django_db
def test_arrivals_are_counted_by_the_minute_and_the_hour_however_often() -> None:
    one, two = factories.work_provider(), factories.work_provider()
    factories.submission(one, NOW - 3 * MINUTE, 10, clock_ahead_count=4)
    factories.submission(one, NOW - 3 * MINUTE, 5)
    factories.submission(two, NOW - 3 * MINUTE, 1)
    factories.submission(two, NOW - 12 * MINUTE, 2)
    rollup.count_arrivals(NOW)
    factories.submission(one, NOW - MINUTE, 7)
    rollup.count_arrivals(NOW)
    rollup.count_arrivals(NOW)
    assert list(MinuteFigures.objects.order_by("minute").values_list()) == [
        (floor(NOW - 12 * MINUTE, MINUTE), 1, 2, 0),
        (NOW - 3 * MINUTE, 3, 16, 0),
        (NOW - MINUTE, 1, 7, 0),
    ]
    hours = HourFigures.objects.order_by("work_provider", "hour")
    assert list(
        hours.values_list("work_provider", "hour", "requests", "accepted", "clock_ahead")
    ) == [
        (one.pk, floor(NOW, HOUR), 3, 22, 4),
        (two.pk, floor(NOW, HOUR) - HOUR, 1, 2, 0),
        (two.pk, floor(NOW, HOUR), 1, 1, 0),
    ]
    assert standing(one).last_request_at == NOW - MINUTE
    assert standing(two).last_request_at == NOW - 3 * MINUTE


@pytest.mark.django_db
def test_a_sweeper_that_was_down_catches_up_two_days_at_most() -> None:
    provider = factories.work_provider()
    rollup.keep_up(NOW - 4 * DAY)
    for back in (3 * DAY, DAY + 22 * HOUR, 26 * HOUR, HOUR):
        factories.submission(provider, NOW - back)
    rollup.keep_up(NOW)
    hours = HourFigures.objects.filter(requests=1).order_by("hour").values_list("hour", flat=True)
    assert list(hours) == [floor(NOW - back, HOUR) for back in (DAY + 22 * HOUR, 26 * HOUR, HOUR)]
    rollup.keep_up(NOW + timedelta(seconds=15))
    with CaptureQueriesContext(connection) as captured:
        rollup.count_arrivals(NOW + timedelta(seconds=30))
    assert sum("shifts_submission" in query["sql"] for query in captured) == 1, "one hour, not all"


@pytest.mark.django_db
def test_a_sweeper_killed_while_it_catches_up_begins_there_again() -> None:
    """The first count makes the row that says how far the figures go: not further than it has come."""
    provider = factories.work_provider()
    for back in (30 * HOUR, HOUR):
        factories.submission(provider, NOW - back)
    calls = 0

    def die_later(execute: object, sql: str, params: object, many: bool, context: object) -> object:
        nonlocal calls
        calls += "WITH arrived" in sql
        if calls == 30:
            raise KeyboardInterrupt
        return execute(sql, params, many, context)  # type: ignore[operator]

    with pytest.raises(KeyboardInterrupt), connection.execute_wrapper(die_later):
        rollup.count_arrivals(NOW)
    assert HourFigures.objects.count() == 1
    rollup.count_arrivals(NOW)
    assert HourFigures.objects.count() == 2


@pytest.mark.django_db
def test_what_another_sweeper_kept_from_being_counted_is_counted_in_the_next_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = factories.work_provider()
    rollup.keep_up(NOW - DAY)
    for back in (10 * HOUR, HOUR):
        factories.submission(provider, NOW - back)
    alone, steps = rollup._alone, iter(range(1000))

    @contextmanager
    def interrupted() -> Iterator[bool]:
        with alone() as is_alone:
            yield is_alone and next(steps) != 20

    monkeypatch.setattr(rollup, "_alone", interrupted)
    rollup.keep_up(NOW)
    assert HourFigures.objects.count() == 1
    assert standing(provider).looked_at < NOW - HOUR
    rollup.keep_up(NOW + timedelta(seconds=15))
    assert HourFigures.objects.count() == 2
    assert standing(provider).looked_at == NOW + timedelta(seconds=15)


def test_a_second_sweeper_leaves_the_figures_to_the_first(quiet: Service) -> None:
    provider = factories.work_provider()
    rollup.fold()
    rollup.tally([Digested(provider.pk, "HELD", timedelta(0))], now=NOW)

    def second() -> int:
        rollup.keep_up(NOW)
        return rollup.fold()

    with rollup._alone() as alone:
        assert alone
        assert at_once(second) == [0]
    assert not Standing.objects.filter(work_provider=provider).exists()
    assert rollup.fold() == 1


# How a work provider stands


@pytest.mark.django_db
def test_how_a_work_provider_stands() -> None:
    provider, idle = factories.work_provider(), factories.work_provider()
    factories.submission(provider, NOW - 20 * MINUTE)
    factories.submission(provider, NOW - 10 * MINUTE)
    factories.submission(provider, NOW - HOUR, digested_at=NOW)
    factories.submission(provider, NOW - HOUR, failed_at=NOW)
    factories.submission(provider, NOW - HOUR, failed_at=NOW, is_withdrawn=True)
    for minutes, outcome in ((30, "HELD"), (40, "HELD"), (50, "REJECTED")):
        factories.event(provider, received_at=NOW - minutes * MINUTE, outcome=outcome)
    open_since = NOW - 2 * HOUR
    midnight = floor(NOW, DAY)
    factories.shift(provider, open_since, closes_at=NOW + HOUR)
    factories.shift(provider, open_since, closes_at=None)
    factories.shift(
        provider, open_since, closes_at=NOW - MINUTE
    )  # overdue: auto closed as it reads
    factories.shift(provider, NOW + HOUR, closes_at=NOW + 15 * HOUR)  # begins later
    factories.shift(provider, midnight - DAY, closes_at=midnight - MINUTE)  # closed yesterday
    factories.shift(provider, midnight - HOUR, ended_at=midnight, end_reason="AUTO_CLOSED")
    factories.shift(provider, midnight - HOUR, ended_at=midnight - MINUTE, end_reason="AUTO_CLOSED")
    factories.shift(provider, midnight, ended_at=NOW - HOUR, end_reason="LOGOUT")
    for state in ("WAITING", "REFUSED"):
        LinkRequest.objects.create(
            work_provider=provider,
            customer=factories.customer(),
            driver_id="d",
            agreed_at=NOW,
            state=state,
            decided_at=None if state == "WAITING" else NOW,
        )
    with CaptureQueriesContext(connection) as few:
        rollup.keep_up(NOW)
    found = standing(provider)
    assert (found.looked_at, found.last_request_at) == (NOW, NOW - 10 * MINUTE)
    assert (found.pending, found.oldest_pending_at) == (2, NOW - 20 * MINUTE)
    assert found.failed == 1
    assert (found.held, found.oldest_held_at) == (2, NOW - 40 * MINUTE)
    assert (found.open_shifts, found.auto_closed) == (2, 2)
    assert found.waiting_links == 1
    nothing = standing(idle)
    assert (nothing.pending, nothing.failed, nothing.held, nothing.open_shifts) == (0, 0, 0, 0)
    assert (nothing.auto_closed, nothing.waiting_links, nothing.last_request_at) == (0, 0, None)

    for _ in range(20):
        factories.work_provider()
    Submission.objects.filter(digested_at=None).update(digested_at=NOW, failed_at=None)
    with CaptureQueriesContext(connection) as many:
        rollup.keep_up(NOW)
    assert len(many) <= len(few)
    assert (standing(provider).pending, standing(provider).oldest_pending_at) == (0, None)


# Silence


def usually(provider: WorkProvider, requests: int = 12, days: Iterable[int] = range(1, 15)) -> None:
    """So many requests an hour all day long, on days so many before NOW's."""
    HourFigures.objects.bulk_create(
        HourFigures(
            work_provider=provider, hour=MONDAY - ago * DAY + hour * HOUR, requests=requests
        )
        for ago in days
        for hour in range(24)
    )


def silent(provider: WorkProvider, last: datetime | None, now: datetime = NOW) -> bool:
    Standing.objects.update_or_create(
        work_provider=provider, defaults={"looked_at": now, "last_request_at": last}
    )
    rollup.mark_silent(now)
    since = standing(provider).silent_since
    assert since in (None, last)
    return since is not None


@pytest.mark.django_db
def test_silent_is_who_sends_at_this_time_of_day_and_has_not_since() -> None:
    provider = factories.work_provider()
    usually(provider)
    assert not silent(provider, NOW - 29 * MINUTE), "half an hour may always pass"
    assert not silent(provider, NOW - 49 * MINUTE), "fewer than ten would have come"
    assert silent(provider, NOW - 50 * MINUTE)
    assert silent(provider, NOW - 3 * DAY)


@pytest.mark.django_db
def test_one_who_sends_much_is_silent_after_half_an_hour() -> None:
    provider = factories.work_provider()
    usually(provider, 1000)
    assert not silent(provider, NOW - 29 * MINUTE)
    assert silent(provider, NOW - 30 * MINUTE)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("days", "is_silent"),
    [
        (range(1, 8), True),
        ([1, 2, 3, 4, 7], True),
        ([1, 2, 3, 7], False),  # on too few days
        (range(1, 7), False),  # it rests on Mondays, or is new
        ([], False),
    ],
)
def test_silence_is_measured_by_the_last_week(days: Iterable[int], is_silent: bool) -> None:
    provider = factories.work_provider()
    usually(provider, days=days)
    assert silent(provider, NOW - HOUR) is is_silent


@pytest.mark.django_db
@pytest.mark.parametrize("fields", [{"is_active": False}, {"is_test": True}])
def test_who_may_be_silent(fields: dict[str, bool]) -> None:
    provider = factories.work_provider(**fields)
    usually(provider)
    assert not silent(provider, NOW - HOUR)


@pytest.mark.django_db
def test_who_never_sent_anything_is_not_silent() -> None:
    assert not silent(factories.work_provider(), None)


@pytest.mark.django_db
def test_silent_it_stays_until_it_sends_or_is_deactivated() -> None:
    provider = factories.work_provider()
    usually(provider)
    last = NOW - HOUR
    assert silent(provider, last)
    HourFigures.objects.all().delete()  # which the days of silence do by themselves
    assert silent(provider, last, NOW + 10 * DAY)
    assert not silent(provider, NOW + 10 * DAY, NOW + 10 * DAY)
    usually(provider)
    assert silent(provider, last)
    WorkProvider.objects.filter(pk=provider.pk).update(is_active=False)
    assert not silent(provider, last)


@pytest.mark.django_db
def test_one_who_rests_at_the_weekend_is_silent_on_monday_once_it_should_have_sent() -> None:
    provider = factories.work_provider()
    HourFigures.objects.bulk_create(
        HourFigures(work_provider=provider, hour=MONDAY - ago * DAY + hour * HOUR, requests=12)
        for ago in range(1, 15)
        if (MONDAY - ago * DAY).weekday() < 5
        for hour in range(8, 18)
    )
    friday_evening = MONDAY - 3 * DAY + 17 * HOUR + 59 * MINUTE
    for now in pairwise([friday_evening + n * HOUR for n in range(1, 60)]):
        assert not silent(provider, friday_evening, now[0])
    assert not silent(provider, friday_evening, MONDAY + 8 * HOUR + 45 * MINUTE)
    assert silent(provider, friday_evening, MONDAY + 9 * HOUR)


# Clocks


def test_a_cluster_an_hour_early_is_local_time_sent_as_utc() -> None:
    assert cluster_in({0: 5, -4: 95}) == Cluster(-HOUR, 95)
    assert cluster_in({0: 900, -4: 100}) == Cluster(-HOUR, 10)
    assert cluster_in({0: 901, -4: 99}) is None, "fewer than a tenth"
    assert cluster_in({-4: 4}) is None, "too few to say so"
    assert cluster_in({-4: 5}) == Cluster(-HOUR, 100)


def test_what_comes_late_may_just_be_late() -> None:
    assert cluster_in({0: 60, 16: 40}) == Cluster(4 * HOUR, 40)
    assert cluster_in({16: 19}) is None, "one late batch"
    assert cluster_in({16: 20}) == Cluster(4 * HOUR, 100)
    assert cluster_in({0: 10, 16: 40, **dict.fromkeys(range(30, 60, 2), 10)}) is None
    assert cluster_in({28: 50, 56: 50}) is None, "a batch at midnight of shifts on the hour"


@pytest.mark.parametrize("slots", [range(49), range(-48, 49), range(1, 97)])
def test_late_batches_that_are_spread_out_are_no_cluster(slots: range) -> None:
    assert cluster_in(dict.fromkeys(slots, 1000)) is None


@pytest.mark.parametrize("slot", [1, 2 * 14 * 2 + 2, -1, 3, -58, 104, -104])
def test_where_no_time_zone_leads_is_no_cluster(slot: int) -> None:
    assert cluster_in({slot: 1000}) is None


@pytest.mark.parametrize("slot", [2, -2, 22, -38, 56, -56])
def test_half_hours_up_to_fourteen_hours_are(slot: int) -> None:
    assert cluster_in({slot: 1000}) == Cluster(slot * timedelta(minutes=15), 100)


def test_of_two_clusters_the_larger_is_told() -> None:
    assert cluster_in({-4: 40, -8: 60}) == Cluster(-2 * HOUR, 60)


def offsets(provider: WorkProvider, ago: int, **steps: int) -> None:
    """Events of one day by offset in minutes: m60=5 is five events an hour early, p0 at once."""
    for name, events in steps.items():
        minutes = int(name[1:]) * (-1 if name.startswith("m") else 1)
        ClockOffset.objects.create(
            work_provider=provider, date=day(ago), step=minutes // 5, events=events
        )


def day(ago: int) -> date:
    return (NOW - ago * DAY).date()


def clock(provider: WorkProvider) -> tuple[timedelta | None, timedelta | None, int, date | None]:
    Standing.objects.get_or_create(work_provider=provider, defaults={"looked_at": NOW})
    rollup.watch_clocks(NOW)
    found = standing(provider)
    return (
        found.clock_median,
        found.clock_cluster,
        found.clock_cluster_percent,
        found.clock_cluster_on,
    )


@pytest.mark.django_db
def test_a_change_of_the_clocks_shows_on_the_same_day() -> None:
    provider, other = factories.work_provider(), factories.work_provider()
    for ago in range(1, 7):
        offsets(provider, ago, p0=1000)
        offsets(other, ago, p0=10)
    offsets(provider, 0, m60=30, p0=10)
    assert clock(provider) == (timedelta(0), -HOUR, 75, day(0))
    assert clock(other) == (timedelta(0), None, 0, None)


@pytest.mark.django_db
def test_a_few_events_a_day_are_judged_by_the_week() -> None:
    provider = factories.work_provider()
    for ago in range(1, 7):
        offsets(provider, ago, m60=2)
    assert clock(provider) == (-HOUR, -HOUR, 100, day(1))


@pytest.mark.django_db
def test_what_is_older_than_a_week_is_over() -> None:
    provider = factories.work_provider()
    offsets(provider, 7, m60=1000)
    assert clock(provider) == (None, None, 0, None)
    offsets(provider, 6, m60=1000)
    assert clock(provider) == (-HOUR, -HOUR, 100, day(6))
    ClockOffset.objects.all().delete()
    assert clock(provider) == (None, None, 0, None)


@pytest.mark.django_db
def test_what_was_read_again_is_mended() -> None:
    provider, other = factories.work_provider(), factories.work_provider()
    for owner in (provider, other):
        offsets(owner, 2, m60=1000)
        offsets(owner, 1, m60=1000)
    record(
        DeskAction.Kind.REREAD,
        actor=factories.user(),
        reason="Their zone is London's.",
        now=NOW - DAY,
        work_provider=provider,
    )
    assert clock(provider) == (None, None, 0, None)
    assert clock(other)[1] == -HOUR
    offsets(provider, 0, m60=1000)
    assert clock(provider) == (-HOUR, -HOUR, 100, day(0))


@pytest.mark.django_db
def test_the_median_is_that_of_all_events() -> None:
    provider = factories.work_provider()
    offsets(provider, 0, p0=2, p5=1, p600=2)
    assert clock(provider)[0] == 5 * MINUTE
    offsets(provider, 1, p600=2)
    assert clock(provider)[0] == 600 * MINUTE


# The sweeper


def test_the_figures_have_a_thread_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow figures delay no shift; and a sweeper whose figures cannot go on ends."""
    rounds, figures_done = threading.Semaphore(0), threading.Event()

    def figures(now: datetime) -> None:
        figures_done.wait()
        raise SystemExit("the end")

    monkeypatch.setattr(sweep, "PAUSE", 0.01)
    chores = {
        "_shift_chores": lambda: [sweep._Chore(lambda now: rounds.release(), 0)],
        "_house_chores": lambda stop: [],
        "_desk_chores": lambda: [sweep._Chore(figures, 0)],
    }
    for name, made in chores.items():
        monkeypatch.setattr(sweep, name, made)
    with ThreadPoolExecutor(1) as executor:
        done = executor.submit(sweep.run_until, threading.Event())
        for _ in range(20):
            assert rounds.acquire(timeout=30)
        figures_done.set()
        with pytest.raises(SystemExit, match="the end"):
            done.result(timeout=30)


def test_the_sweepers_figures_are_all_there() -> None:
    """Made four times before the front page holds them to be old."""
    chores = {chore.run.__name__: chore.every for chore in sweep._desk_chores()}
    assert chores.items() >= {"keep_up": 15, "watch_clocks": 300, "forget_old": 3600}.items()


# Housekeeping


@pytest.mark.django_db
def test_old_figures_are_deleted() -> None:
    provider = factories.work_provider()
    for ago in (0, 2, 4, 99, 101):
        then = NOW - ago * DAY
        MinuteFigures.objects.create(minute=then)
        HourFigures.objects.create(work_provider=provider, hour=then)
        ClockOffset.objects.create(work_provider=provider, date=then.date(), step=0, events=1)
    rollup.forget_old(NOW)
    assert MinuteFigures.objects.count() == 2
    assert HourFigures.objects.count() == ClockOffset.objects.count() == 4
