"""The seeded database is one that the service itself could have left."""

from collections import defaultdict
from datetime import datetime

import pytest
from django.db import transaction
from django.db.models import Count, Sum

from linking.models import DeskAction
from linking.resolve import Identifier, resolver_for
from shifts import payload, store, timeline
from shifts.digest import undecided
from shifts.models import (
    ClockOffset,
    EndReason,
    HourFigures,
    Outcome,
    Shift,
    ShiftEvent,
    ShiftRevision,
    Standing,
    Stream,
    Submission,
)
from tests.benchmarks import seed
from tests.benchmarks.conftest import SIZE


def test_there_is_about_as_much_of_everything_as_was_asked_for(now: datetime) -> None:
    assert SIZE.events <= ShiftEvent.objects.count() < 1.2 * SIZE.events
    assert SIZE.shifts * 0.95 <= Shift.objects.count() < 1.2 * SIZE.shifts
    assert Standing.objects.count() == SIZE.work_providers


def test_every_outcome_and_every_way_to_end_occurs(now: datetime) -> None:
    assert set(ShiftEvent.objects.values_list("outcome", flat=True)) == set(Outcome.values)
    ends = set(Shift.objects.values_list("end_reason", flat=True))
    assert ends >= set(EndReason.values)
    assert Shift.objects.filter(start_clipped=True).exists()
    assert ShiftRevision.objects.filter(shortens_cover=True).exists()


def test_every_body_reads_back_to_its_events(now: datetime) -> None:
    stored: dict[int, list[ShiftEvent]] = defaultdict(list)
    for event in ShiftEvent.objects.order_by("id"):
        stored[event.submission_id].append(event)
    for submission in Submission.objects.filter(digested_at__isnull=False):
        events = payload.read(
            bytes(submission.body),
            is_batch=submission.is_batch,
            zone=submission.timezone,
            received_at=submission.received_at,
        )
        assert submission.event_count == len(events)
        assert events == [
            payload.Event(row.driver_id, row.customer_number, row.timestamp)
            for row in stored.pop(submission.pk)
        ]
    assert not stored


def test_every_event_belongs_to_the_stream_that_its_link_says(now: datetime) -> None:
    rows = list(ShiftEvent.objects.select_related("stream"))
    names = [Identifier(row.work_provider_id, row.driver_id, row.customer_number) for row in rows]
    resolver = resolver_for(names)
    for row, name in zip(rows, names, strict=True):
        customer_id, reason = resolver.find(name, row.timestamp)
        assert (row.stream.customer_id if row.stream else None) == customer_id
        if customer_id is None and row.reason != "EXPIRED" and not row.is_withdrawn:
            assert (row.outcome, row.reason, False) == undecided(reason)


def test_every_stream_is_the_projection_of_its_events(now: datetime) -> None:
    keys = list(Stream.objects.values_list("work_provider_id", "customer_id"))
    with transaction.atomic():
        streams = list(store.lock_streams(keys).values())
    links, rules = store.links_of(streams), store.rules_of(key for key, _ in keys)
    withdrawn = store.withdrawn_of([stream.id for stream in streams])
    events: dict[int | None, list[store.StoredEvent]] = defaultdict(list)
    for event in store.events_after({stream.id: store.BEGINNING for stream in streams}):
        events[event.stream_id].append(event)
    for stream in streams:
        projection = timeline.project(
            [one.event for one in events[stream.id]],
            links=links[stream.id],
            rules=rules[stream.work_provider_id],
            as_of=now,
            withdrawn=withdrawn.get(stream.id, frozenset()),
        )
        rows = Shift.objects.filter(stream=stream.id).order_by("started_at")
        stored = [timeline.Shift(*row) for row in rows.values_list(*store.SHIFT_COLUMNS)]
        assert stored == projection.shifts
        assert stream.state == projection.state
        decided = {one.event.id: one.decision for one in events[stream.id]}
        assert decided == projection.decisions


def test_every_revision_of_a_shift_that_stands_names_it_and_ends_with_what_it_says(
    now: datetime,
) -> None:
    last = ShiftRevision.objects.order_by("shift_id", "-created_at", "-pk").distinct("shift_id")
    amended = [revision for revision in last if revision.change == "AMENDED"]
    shifts = Shift.objects.in_bulk([revision.shift_id for revision in amended])
    assert amended
    for revision in amended:
        shift = shifts[revision.shift_id]
        assert shift.started_at == revision.new_started_at
        assert revision.stream_id == shift.stream_id


def test_the_figures_count_what_work_providers_sent(now: datetime) -> None:
    theirs = ShiftEvent.objects.filter(is_ops=False)
    figures = HourFigures.objects.aggregate(digested=Sum("digested"), held=Sum("held"))
    assert figures == {
        "digested": theirs.count(),
        "held": theirs.filter(outcome="HELD").count(),
    }
    assert ClockOffset.objects.aggregate(sum=Sum("events"))["sum"] == theirs.count()


def test_whatever_the_ops_desk_did_is_on_record(now: datetime) -> None:
    assert not ShiftEvent.objects.filter(is_ops=True, submission__action=None).exists()
    done = DeskAction.objects.values_list("kind").annotate(count=Count("pk"))
    assert dict(done).keys() >= {"ADD", "ISSUE_KEY", "CONFIRM_LINK", "REFUSE_LINK", "STRIKE"}
    assert DeskAction.objects.filter(created_at__gt=now).count() == 0


def test_a_database_with_customers_is_refused_and_told_the_way_out(now: datetime) -> None:
    with pytest.raises(SystemExit, match="createdb"):
        seed.seed(*SIZE)
