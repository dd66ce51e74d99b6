"""The figures behind the desk: kept beside the work, so that no page counts a hot table.

A digest adds one row for each of its work providers (Tally) and touches no other: digests never wait for
each other here. The sweeper adds these up, counts what was accepted, and looks how every work provider
stands; one sweeper at a time, and each step is one transaction, so that a sweeper that is killed
leaves a step done or not done. Days, hours and minutes are UTC.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Max

from shifts import store
from shifts.models import ClockOffset, HourFigures, MinuteFigures, Outcome, Standing

STEP = timedelta(minutes=5)
FURTHEST = timedelta(hours=26) // STEP  # steps; what is further away counts there
SLOT = 3 * STEP  # of slot_of
FOLDED_AT_ONCE = 5_000
LATE = timedelta(minutes=5)  # a request stamped before that is committed by now
CATCH_UP = timedelta(days=2)
MINUTES_KEPT = timedelta(days=3)
KEPT = timedelta(days=100)

# mark_silent
QUIET = timedelta(minutes=30)
SPAN = timedelta(days=1)
FAIR_NUMBER = 10
MOST_DAYS = 5

# cluster_in
CLOCK_DAYS = 7
MIN_EARLY, MIN_LATE = 5, 20
MIN_PERCENT = 10
FURTHEST_ZONE = timedelta(hours=14) // SLOT
LATE_OR_LIVE_PERCENT = 70

# The first of the two numbers of an advisory lock; store.py has another.
_FIGURES_LOCK = 2
_OUTCOMES = [outcome.lower() for outcome in Outcome.values]


class Digested(NamedTuple):
    """An event that a work provider sent, as a tally needs it; `offset` is arrival minus event time."""

    work_provider_id: int
    outcome: str
    offset: timedelta


def tally(events: Iterable[Digested], *, now: datetime) -> None:
    """Write down what a digest has done, in its transaction: one row a work provider, in one COPY."""
    outcomes: dict[int, Counter[str]] = defaultdict(Counter)
    offsets: dict[int, Counter[int]] = defaultdict(Counter)
    for work_provider_id, outcome, offset in events:
        outcomes[work_provider_id][outcome] += 1
        offsets[work_provider_id][step_of(offset)] += 1
    store.copy(
        "shifts_tally",
        "work_provider_id, digested_at, events, outcomes, offsets",
        (
            (key, now, found.total(), json.dumps(found), json.dumps(offsets[key]))
            for key, found in outcomes.items()
        ),
    )


def step_of(offset: timedelta) -> int:
    """In which step of five minutes an offset lies; step 0 holds those from 0 to 5 minutes."""
    return max(-FURTHEST, min(FURTHEST, offset // STEP))


def slot_of(step: int) -> int:
    """In which quarter of an hour a step lies: slot n holds offsets from 15n-5 to 15n+10 minutes.

    So what comes a little after an even quarter of an hour, as live events do that carry the time of
    another zone, is in one slot.
    """
    return (step + 1) // 3


def keep_up(now: datetime) -> None:
    """A round: count what was accepted, add up the tallies, look how the work providers stand.

    A look says that all has been counted up to then: without that the next round begins here again.
    """
    is_counted = count_arrivals(now)
    while fold() == FOLDED_AT_ONCE:
        pass
    if is_counted:
        stand(now)
        mark_silent(now)


@contextmanager
def _alone() -> Iterator[bool]:
    """A transaction, and whether no other sweeper is at the figures meanwhile."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, 0)", [_FIGURES_LOCK])
        yield cursor.fetchone()[0]


def fold() -> int:
    """Add some tallies to the figures and delete them, in one transaction; returns how many."""
    with _alone() as alone, connection.cursor() as cursor:
        if not alone:
            return 0
        cursor.execute(_FOLD, [FOLDED_AT_ONCE])
        folded: int = cursor.fetchone()[0]
    return folded


_FOLD = f"""
WITH taken AS MATERIALIZED (
    DELETE FROM shifts_tally
    WHERE id = ANY(ARRAY(SELECT id FROM shifts_tally ORDER BY id LIMIT %s))
    RETURNING work_provider_id, digested_at, events, outcomes, offsets
), minutes AS (
    INSERT INTO shifts_minutefigures AS f (minute, requests, accepted, digested)
    SELECT date_trunc('minute', digested_at), 0, 0, sum(events) FROM taken GROUP BY 1
    ON CONFLICT (minute) DO UPDATE SET digested = f.digested + excluded.digested
), hours AS (
    INSERT INTO shifts_hourfigures AS f (work_provider_id, hour, requests, accepted, clock_ahead,
                                         digested, {", ".join(_OUTCOMES)})
    SELECT work_provider_id, date_trunc('hour', digested_at, 'UTC'), 0, 0, 0, sum(events),
           {", ".join(f"coalesce(sum((outcomes->>'{o.upper()}')::int), 0)" for o in _OUTCOMES)}
    FROM taken GROUP BY 1, 2
    ON CONFLICT (work_provider_id, hour) DO UPDATE
    SET {", ".join(f"{name} = f.{name} + excluded.{name}" for name in ["digested", *_OUTCOMES])}
), offsets AS (
    INSERT INTO shifts_clockoffset AS f (work_provider_id, date, step, events)
    SELECT work_provider_id, (digested_at AT TIME ZONE 'UTC')::date, step::int, sum(count::int)
    FROM taken, jsonb_each_text(offsets) AS each (step, count) GROUP BY 1, 2, 3
    ON CONFLICT (date, work_provider_id, step) DO UPDATE SET events = f.events + excluded.events
)
SELECT count(*) FROM taken
"""  # noqa: S608


def count_arrivals(now: datetime) -> bool:
    """Set what work providers sent, by the minute and the hour, and when each sent last.

    From the last look on, two days ago at most; the last minutes are always counted again. What the
    ops desk added is not theirs. False if another sweeper was at the figures, and some is left.
    """
    looked_at = Standing.objects.aggregate(last=Max("looked_at"))["last"] or now - CATCH_UP
    since = max(min(looked_at, now - LATE), now - CATCH_UP)
    hour = since.replace(minute=0, second=0, microsecond=0)
    while hour <= now:
        with _alone() as alone, connection.cursor() as cursor:
            if not alone:
                return False
            cursor.execute(_COUNT_ARRIVALS, {"hour": hour})
        hour += timedelta(hours=1)
    return True


_COUNT_ARRIVALS = """
WITH arrived AS MATERIALIZED (
    SELECT work_provider_id, date_trunc('minute', received_at) AS minute, count(*) AS requests,
           sum(event_count) AS accepted, sum(clock_ahead_count) AS clock_ahead,
           max(received_at) AS latest
    FROM shifts_submission
    WHERE received_at >= %(hour)s AND received_at < %(hour)s + interval '1 hour'
      AND action_id IS NULL
    GROUP BY 1, 2
), minutes AS (
    INSERT INTO shifts_minutefigures AS f (minute, requests, accepted, digested)
    SELECT minute, sum(requests), sum(accepted), 0 FROM arrived GROUP BY 1
    ON CONFLICT (minute) DO UPDATE SET requests = excluded.requests, accepted = excluded.accepted
    WHERE (f.requests, f.accepted) <> (excluded.requests, excluded.accepted)
), hours AS (
    INSERT INTO shifts_hourfigures AS f
        (work_provider_id, hour, requests, accepted, clock_ahead,
         digested, applied, duplicate, ignored, orphan, held, rejected, withdrawn)
    SELECT work_provider_id, %(hour)s, sum(requests), sum(accepted), sum(clock_ahead),
           0, 0, 0, 0, 0, 0, 0, 0
    FROM arrived GROUP BY 1
    ON CONFLICT (work_provider_id, hour) DO UPDATE
    SET requests = excluded.requests, accepted = excluded.accepted,
        clock_ahead = excluded.clock_ahead
    WHERE (f.requests, f.accepted) <> (excluded.requests, excluded.accepted)
)
INSERT INTO shifts_standing AS s
    (work_provider_id, looked_at, last_request_at,
     pending, failed, held, open_shifts, auto_closed, waiting_links, clock_cluster_percent)
SELECT work_provider_id, %(hour)s, max(latest), 0, 0, 0, 0, 0, 0, 0 FROM arrived GROUP BY 1
ON CONFLICT (work_provider_id) DO UPDATE SET last_request_at = excluded.last_request_at
WHERE s.last_request_at IS NULL OR s.last_request_at < excluded.last_request_at
"""


def stand(now: datetime) -> None:
    """Look how every work provider stands: what waits, what failed, who is on shift.

    Each count reads an index that holds no more than what is counted.
    """
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with _alone() as alone, connection.cursor() as cursor:
        if alone:
            cursor.execute(_STAND, {"now": now, "midnight": midnight})


_COUNTED = (
    "pending, oldest_pending_at, failed, held, oldest_held_at, open_shifts, auto_closed,"
    " waiting_links"
)
_STAND = f"""
WITH pending AS (
    SELECT work_provider_id, count(*) AS pending, min(received_at) AS oldest_pending_at
    FROM shifts_submission WHERE digested_at IS NULL AND failed_at IS NULL GROUP BY 1
), failed AS (
    SELECT work_provider_id, count(*) AS failed FROM shifts_submission
    WHERE failed_at IS NOT NULL AND NOT is_withdrawn GROUP BY 1
), held AS (
    SELECT work_provider_id, count(*) AS held, min(received_at) AS oldest_held_at
    FROM shifts_shiftevent WHERE outcome = 'HELD' GROUP BY 1
), open AS (
    SELECT work_provider_id,
           count(*) FILTER (WHERE started_at <= %(now)s
                            AND (closes_at IS NULL OR closes_at > %(now)s)) AS open_shifts,
           count(*) FILTER (WHERE closes_at BETWEEN %(midnight)s AND %(now)s) AS overdue
    FROM shifts_shift JOIN shifts_stream ON shifts_stream.id = stream_id
    WHERE ended_at IS NULL GROUP BY 1
), closed AS (
    SELECT work_provider_id, count(*) AS closed
    FROM shifts_shift JOIN shifts_stream ON shifts_stream.id = stream_id
    WHERE end_reason = 'AUTO_CLOSED' AND ended_at BETWEEN %(midnight)s AND %(now)s GROUP BY 1
), waiting AS (
    SELECT work_provider_id, count(*) AS waiting_links
    FROM linking_linkrequest WHERE state = 'WAITING' GROUP BY 1
)
INSERT INTO shifts_standing (work_provider_id, looked_at, clock_cluster_percent, {_COUNTED})
SELECT w.id, %(now)s, 0, coalesce(pending, 0), oldest_pending_at, coalesce(failed, 0),
       coalesce(held, 0), oldest_held_at, coalesce(open_shifts, 0),
       coalesce(overdue, 0) + coalesce(closed, 0), coalesce(waiting_links, 0)
FROM linking_workprovider w
LEFT JOIN pending ON pending.work_provider_id = w.id
LEFT JOIN failed ON failed.work_provider_id = w.id
LEFT JOIN held ON held.work_provider_id = w.id
LEFT JOIN open ON open.work_provider_id = w.id
LEFT JOIN closed ON closed.work_provider_id = w.id
LEFT JOIN waiting ON waiting.work_provider_id = w.id
ON CONFLICT (work_provider_id) DO UPDATE SET looked_at = excluded.looked_at,
    {", ".join(f"{name} = excluded.{name}" for name in _COUNTED.split(", "))}
"""  # noqa: S608


def mark_silent(now: datetime) -> None:
    """Mark who normally sends and does not now, since their last request.

    Silent is an active work provider, no sandbox, of whom nothing came for half an hour or longer, and
    who in that same span of the day (its last 24 hours, if it is longer) sent ten requests or more a
    week ago, and on at least four of the six days in between. So one that is new, or that rests on this
    day of the week, is not silent. It stays silent until it sends again.
    """
    with _alone() as alone, connection.cursor() as cursor:
        if alone:
            cursor.execute(
                _MARK_SILENT,
                {"now": now, "quiet": now - QUIET, "span": now - SPAN}
                | {"fair": FAIR_NUMBER, "most": MOST_DAYS},
            )


# The requests of an hour count by the part of it that lies in the span.
_MARK_SILENT = """
WITH quiet AS (
    SELECT work_provider_id, greatest(last_request_at, %(span)s) AS since FROM shifts_standing
    WHERE last_request_at <= %(quiet)s AND silent_since IS DISTINCT FROM last_request_at
), sent AS (
    SELECT quiet.work_provider_id, ago
    FROM quiet CROSS JOIN generate_series(1, 7) AS ago CROSS JOIN make_interval(days => ago) AS back
    CROSS JOIN LATERAL (
        SELECT sum(requests * extract(epoch FROM least(hour + interval '1 hour', %(now)s - back)
                                                 - greatest(hour, since - back)) / 3600) AS requests
        FROM shifts_hourfigures h
        WHERE h.work_provider_id = quiet.work_provider_id
          AND hour > since - back - interval '1 hour' AND hour < %(now)s - back
    ) AS day
    WHERE day.requests >= %(fair)s
), usual AS (
    SELECT work_provider_id FROM sent
    GROUP BY 1 HAVING count(*) >= %(most)s AND bool_or(ago = 7)
)
UPDATE shifts_standing s
SET silent_since = CASE WHEN w.is_active AND NOT w.is_test
    AND (s.silent_since = s.last_request_at OR w.id IN (SELECT work_provider_id FROM usual))
    THEN s.last_request_at END
FROM linking_workprovider w
WHERE w.id = s.work_provider_id
  AND (s.silent_since IS NOT NULL OR w.id IN (SELECT work_provider_id FROM usual))
"""


class Cluster(NamedTuple):
    """That many events arrive by a whole multiple of half an hour late (or early: negative)."""

    offset: timedelta
    percent: int


def cluster_in(slots: Mapping[int, int]) -> Cluster | None:
    """The cluster among events by slot (slot_of) that says: these are times of another zone.

    It lies at a multiple of half an hour from 30 minutes to 14 hours, holds a tenth of all events, and
    its two neighbours together hold no more than a quarter of it. Events that come early have no better
    explanation: five are enough. Those that come late may just be late: there it takes twenty, and
    nearly all others (seven tenths of all, with the cluster) must have come at once.
    """
    total = sum(slots.values())
    at_once = sum(slots.get(slot, 0) for slot in (-1, 0, 1))
    found = [
        (events, slot)
        for slot, events in slots.items()
        if slot % 2 == 0
        and 2 <= abs(slot) <= FURTHEST_ZONE
        and events >= (MIN_EARLY if slot < 0 else MIN_LATE)
        and events * 100 >= total * MIN_PERCENT
        and (slots.get(slot - 1, 0) + slots.get(slot + 1, 0)) * 4 <= events
        and (slot < 0 or (events + at_once) * 100 >= total * LATE_OR_LIVE_PERCENT)
    ]
    if not found:
        return None
    events, slot = max(found)
    return Cluster(slot * SLOT, events * 100 // total)


def watch_clocks(now: datetime) -> None:
    """Look how long after their own time events arrive: the median of a week, and clusters.

    A cluster of one day counts as well as one of all seven, so that a change of the clocks shows on the
    day itself; of several the latest is kept. What arrived before the work provider's times were last
    read again (on a day up to that one) is mended, and left out.
    """
    first = now.astimezone(UTC).date() - timedelta(days=CLOCK_DAYS - 1)
    with _alone() as alone, connection.cursor() as cursor:
        if not alone:
            return
        slots: dict[int, dict[date, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
        cursor.execute(_SLOTS, {"first": first})
        for work_provider_id, day, slot, events in cursor:
            slots[work_provider_id][day][slot] = events
        found = [(key, *_latest_cluster(days)) for key, days in slots.items()]
        values: dict[str, Any] = {
            "first": first,
            "step": STEP,
            "ids": [key for key, _, _ in found],
            "clusters": [cluster and cluster.offset for _, cluster, _ in found],
            "percents": [cluster.percent if cluster else 0 for _, cluster, _ in found],
            "days": [day for _, _, day in found],
        }
        cursor.execute(_SET_CLOCKS, values)


def _latest_cluster(days: Mapping[date, Mapping[int, int]]) -> tuple[Cluster | None, date | None]:
    week: Counter[int] = Counter()
    for day in sorted(days, reverse=True):
        if cluster := cluster_in(days[day]):
            return cluster, day
        week.update(days[day])
    if cluster := cluster_in(week):
        return cluster, max(day for day in days if cluster.offset // SLOT in days[day])
    return None, None


_OFFSETS = """
WITH mended AS (
    SELECT work_provider_id, max(created_at AT TIME ZONE 'UTC')::date AS until
    FROM linking_deskaction WHERE kind = 'REREAD' AND created_at >= %(first)s GROUP BY 1
), offsets AS (
    SELECT o.work_provider_id, o.date, o.step, o.events
    FROM shifts_clockoffset o LEFT JOIN mended USING (work_provider_id)
    WHERE o.date >= %(first)s AND (until IS NULL OR o.date > until)
)
"""
_SLOTS = f"""
{_OFFSETS}
SELECT work_provider_id, date, floor((step + 1) / 3.0)::int AS slot, sum(events)::int
FROM offsets GROUP BY 1, 2, 3
"""  # noqa: S608
_SET_CLOCKS = f"""
{_OFFSETS}, running AS (
    SELECT work_provider_id, step,
           sum(events) OVER (PARTITION BY work_provider_id ORDER BY step) AS up_to,
           sum(events) OVER (PARTITION BY work_provider_id) AS total
    FROM (SELECT work_provider_id, step, sum(events) AS events FROM offsets GROUP BY 1, 2) AS week
), medians AS (
    SELECT work_provider_id, min(step) * %(step)s AS median
    FROM running WHERE up_to * 2 >= total GROUP BY 1
), clusters AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(clusters)s::interval[], %(percents)s::int[],
                         %(days)s::date[]) AS found (work_provider_id, cluster, percent, day)
), found AS (
    SELECT work_provider_id, median, cluster, percent, day
    FROM shifts_standing LEFT JOIN medians USING (work_provider_id)
    LEFT JOIN clusters USING (work_provider_id)
)
UPDATE shifts_standing s
SET clock_median = median, clock_cluster = cluster,
    clock_cluster_percent = coalesce(percent, 0), clock_cluster_on = day
FROM found WHERE found.work_provider_id = s.work_provider_id
"""  # noqa: S608


def forget_old(now: datetime) -> None:
    """Delete the figures that nobody looks at any more."""
    MinuteFigures.objects.filter(minute__lt=now - MINUTES_KEPT).delete()
    HourFigures.objects.filter(hour__lt=now - KEPT).delete()
    ClockOffset.objects.filter(date__lt=(now - KEPT).astimezone(UTC).date()).delete()
