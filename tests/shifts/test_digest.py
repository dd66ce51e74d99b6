"""The digest: claims, leases, failures and races, on a real database with real workers."""

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from shifts import digest
from shifts.digest import CLAIM_SIZES, MAX_ATTEMPTS, claim_pending, digest_claim, digest_pending
from shifts.models import ShiftEvent, Submission
from tests.running import Service, autocommit, wait_until
from tests.shifts.conftest import pointed_at
from tests.shifts.live import Driver, Platform, Row, at, drain
from zego_api.local.servers import LocalPostgres


def in_threads(*calls: Callable[[], object]) -> list[BaseException]:
    """Run all at once, each on a connection of its own; returns what they raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        try:
            barrier.wait()
            call()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_every_event_of_a_digested_submission_has_one_outcome(platform: Platform) -> None:
    driver = platform.driver()
    submission = platform.accept(
        ("login", driver.id, at("09:00")),
        ("login", driver.id, at("09:00")),
        ("login", "nobody", at("09:00")),
    )
    assert submission.status == "PENDING"
    drain()
    submission.refresh_from_db()
    assert submission.status == "DIGESTED"
    outcomes = ShiftEvent.objects.filter(submission=submission).order_by("id")
    assert list(outcomes.values_list("outcome", flat=True)) == ["APPLIED", "DUPLICATE", "HELD"]


def test_a_submission_cannot_be_digested_twice(platform: Platform) -> None:
    driver = platform.driver()
    platform.accept(("login", driver.id, at("09:00")))
    claim = claim_pending()
    assert claim is not None
    with transaction.atomic():
        assert digest_claim(claim, now=timezone.now()) == 1
    with transaction.atomic():
        assert digest_claim(claim, now=timezone.now()) == 0
    assert ShiftEvent.objects.filter(driver_id=driver.id).count() == 1


def test_the_number_of_queries_does_not_grow_with_the_batch(platform: Platform) -> None:
    from django.test.utils import CaptureQueriesContext

    def queries(count: int) -> int:
        drivers = [platform.driver().id for _ in range(count)]
        platform.accept(*[("login", driver, at("09:00")) for driver in drivers])
        platform.accept(*[("logout", driver, at("08:00")) for driver in drivers])
        with CaptureQueriesContext(
            connection,
        ) as captured:
            drain()
        return len(captured)

    assert queries(3) == queries(60)


def test_two_workers_never_claim_the_same_submission(platform: Platform) -> None:
    for _ in range(20):
        platform.accept(("login", "nobody", at("09:00")))
    first, second = claim_pending(), claim_pending()
    assert first is not None
    assert len(first.submission_ids) == 20
    assert second is None


def test_many_workers_on_the_same_drivers_give_the_shifts_of_one(platform: Platform) -> None:
    drivers = [platform.driver() for _ in range(5)]
    rows: list[Row] = []
    for driver in drivers:
        for day in range(6):
            rows += [
                ("login", driver.id, at("09:00", day=day)),
                ("logout", driver.id, at("17:00", day=day)),
            ]
            rows += [("login", driver.id, at("12:00", day=day))]
    random.Random(7).shuffle(rows)
    for row in rows:
        platform.accept(row, is_batch=False)
    original, digest.CLAIM_SIZES = digest.CLAIM_SIZES, (3, 3, 1)
    try:
        errors = in_threads(*[drain] * 4)
    finally:
        digest.CLAIM_SIZES = original
    assert errors == []
    for driver in drivers:
        assert driver.shifts() == [
            (at("09:00", day=day), at("17:00", day=day), "LOGOUT") for day in range(6)
        ]
        assert set(driver.outcomes()) == {
            "login APPLIED",
            "logout APPLIED",
            "login IGNORED/REPEATED_LOGIN",
        }


def test_a_link_made_while_its_events_are_being_digested(platform: Platform) -> None:
    """Whichever wins, the events count in the end, without the sweeper's help."""
    for number in range(25):
        name = f"racer {number}"
        customer = platform.customer()
        platform.accept(("login", name, at("09:00")))
        platform.accept(("logout", name, at("17:00")))
        made: list[Driver] = []

        def link(name: str = name, made: list[Driver] = made, customer: object = customer) -> None:
            made.append(platform.driver(driver_id=name, customer=customer))  # type: ignore[arg-type]

        assert in_threads(drain, link, drain) == []
        assert made[0].shifts() == [(at("09:00"), at("17:00"), "LOGOUT")]


def test_an_unlinking_while_events_are_being_digested(platform: Platform) -> None:
    for _ in range(15):
        driver = platform.driver()
        platform.accept(("login", driver.id, at("09:00")))
        platform.accept(("logout", driver.id, at("17:00")))

        def unlink(driver: Driver = driver) -> None:
            driver.link.unlinked_at = at("12:00")
            driver.link.save()

        assert in_threads(drain, unlink) == []
        assert driver.shifts() == [(at("09:00"), at("12:00"), "UNLINKED")]
        assert driver.outcomes() == ["login APPLIED", "logout IGNORED/AFTER_UNLINK"]


def test_a_failing_submission_holds_nothing_up_and_is_set_aside(platform: Platform) -> None:
    driver = platform.driver()
    good = [platform.accept(("login", driver.id, at("09:00", day=day))) for day in range(3)]
    poison = platform.accept(("login", driver.id, at("10:00")))
    Submission.objects.filter(pk=poison.pk).update(body=b'{"not": "a batch"}')
    good += [platform.accept(("logout", driver.id, at("17:00", day=day))) for day in range(3)]
    drain()
    assert len(driver.shifts()) == 3
    assert set(Submission.objects.values_list("pk", flat=True).filter(digested_at=None)) == {
        poison.pk
    }
    for _ in range(MAX_ATTEMPTS):
        Submission.objects.filter(pk=poison.pk).update(next_attempt_at=None)
        drain()
    poison.refresh_from_db()
    assert poison.status == "FAILED"
    assert poison.attempts == MAX_ATTEMPTS
    assert "InvalidBody" in poison.failure
    assert not digest_pending()
    assert Submission.objects.filter(pk__in=[row.pk for row in good], attempts__gt=3).count() == 0


def test_a_failing_submission_waits_longer_each_time(platform: Platform) -> None:
    poison = platform.accept(("login", "x", at("10:00")))
    Submission.objects.filter(pk=poison.pk).update(body=b"[]")
    waits = []
    for _ in range(3):
        drain()
        poison.refresh_from_db()
        assert poison.next_attempt_at is not None
        waits.append(poison.next_attempt_at - timezone.now())
        assert not digest_pending()
        Submission.objects.filter(pk=poison.pk).update(next_attempt_at=None)
    assert waits[0] < waits[1] < waits[2]


def test_a_submission_that_kills_its_worker_is_set_aside_too(platform: Platform) -> None:
    submission = platform.accept(("login", "x", at("10:00")))
    for attempt in range(1, MAX_ATTEMPTS + 1):
        claim = claim_pending()  # and nothing more: the worker is dead
        assert claim is not None
        assert claim.attempts == attempt
        assert not digest_pending(), "the lease must hold"
        Submission.objects.filter(pk=submission.pk).update(leased_until=timezone.now())
    drain()
    submission.refresh_from_db()
    assert submission.status == "FAILED"
    assert "worker died" in submission.failure


def test_what_was_tried_before_is_claimed_in_smaller_and_smaller_groups(platform: Platform) -> None:
    for _ in range(60):
        platform.accept(("login", "x", at("10:00")))
    sizes = []
    for _ in range(3):
        claim = claim_pending()
        assert claim is not None
        sizes.append(len(claim.submission_ids))
        Submission.objects.filter(pk__in=claim.submission_ids).update(leased_until=None)
    assert sizes == [60, CLAIM_SIZES[1], CLAIM_SIZES[1]] or sizes[:2] == [60, CLAIM_SIZES[1]]
    Submission.objects.update(attempts=2, leased_until=None)
    claim = claim_pending()
    assert claim is not None
    assert len(claim.submission_ids) == 1


def test_a_digest_that_breaks_its_own_connection_is_counted(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks like an outage, yet the database is there at once: no way to go on for ever."""
    submission = platform.accept(("login", "x", at("10:00")))

    def terminated(*args: object, **kwargs: object) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(digest, "digest_claim", terminated)
        for _ in range(MAX_ATTEMPTS):
            Submission.objects.update(next_attempt_at=None)
            with pytest.raises(OperationalError):
                digest_pending()
    submission.refresh_from_db()
    assert (submission.attempts, submission.status) == (MAX_ATTEMPTS, "FAILED")


@pytest.mark.outage
def test_a_database_that_goes_away_costs_no_attempt(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is really killed in the middle of the digest, and started again a second later."""
    with (
        LocalPostgres(tmp_path / "postgres") as postgres,
        pointed_at(postgres.url, django_db_blocker),
    ):
        service = Service(tmp_path, postgres.url, os.environ["REDIS_URL"])
        service.manage("migrate", "--verbosity", "0")
        submission = Platform(service).accept(("login", "x", at("10:00")))
        at_work, gone = threading.Event(), threading.Event()

        def interrupted(*args: object, **kwargs: object) -> int:
            at_work.set()
            gone.wait()
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            return 0

        def digest_until_it_is_back() -> None:
            with pytest.raises(OperationalError):
                digest_pending()
            connection.close()

        worker = threading.Thread(target=digest_until_it_is_back)
        with monkeypatch.context() as patch:
            patch.setattr(digest, "digest_claim", interrupted)
            worker.start()
            at_work.wait()
            postgres.kill()
            gone.set()
            time.sleep(1)
            postgres.start()
            worker.join()
        connection.close()
        submission.refresh_from_db()
        assert (submission.attempts, submission.leased_until) == (0, None)
        drain()
        submission.refresh_from_db()
        assert submission.status == "DIGESTED"


def test_one_whose_lock_never_comes_is_not_failed_and_holds_nothing_up(
    platform: Platform, quiet: Service
) -> None:
    stuck, free = platform.driver(), platform.driver()
    for driver in (stuck, free):
        platform.accept(("login", driver.id, at("08:00")))
    drain()
    with quiet.connect() as blocker, blocker.cursor() as cursor, connection.cursor() as ours:
        cursor.execute(
            "BEGIN; SELECT FROM shifts_stream WHERE id = %s FOR UPDATE", [stuck.stream.pk]
        )
        ours.execute("SET lock_timeout = '50ms'")
        late = platform.accept(("logout", stuck.id, at("17:00")))
        platform.accept(("logout", free.id, at("17:00")))
        for _ in range(MAX_ATTEMPTS + 2):
            Submission.objects.update(next_attempt_at=None)
            drain()
        ours.execute("RESET lock_timeout")
    late.refresh_from_db()
    assert (late.status, free.shifts()) == ("PENDING", [(at("08:00"), at("17:00"), "LOGOUT")])
    Submission.objects.update(next_attempt_at=None)
    drain()
    assert stuck.shifts() == [(at("08:00"), at("17:00"), "LOGOUT")]


@pytest.mark.outage
def test_a_claim_whose_worker_is_killed_leaves_nothing_and_is_taken_over(
    platform: Platform, quiet: Service
) -> None:
    driver = platform.driver()
    platform.accept(("login", driver.id, at("08:00")))
    drain()
    blocker = autocommit(quiet.env["DATABASE_URL"])
    with blocker.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM shifts_stream FOR UPDATE")
    quiet.start("web", "worker")
    answer = platform.post(
        "shift/logout", {"driverId": driver.id, "timestamp": at("17:00").isoformat()}
    )
    assert answer.status_code == 202
    submission = Submission.objects.latest("id")

    def blocked() -> bool:
        return bool(
            quiet.query(
                "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database() AND query LIKE '%%shifts_stream%%'"
            )
        )

    wait_until(blocked, what="the digest at the lock")
    quiet.kill("worker")
    blocker.close()
    submission.refresh_from_db()
    assert (submission.attempts, submission.status) == (1, "PENDING")
    assert not ShiftEvent.objects.filter(submission=submission).exists()
    quiet.start("sweeper")
    wait_until(lambda: Submission.objects.get(pk=submission.pk).digested_at, what="the take-over")
    submission.refresh_from_db()
    assert submission.attempts == 2
    assert ShiftEvent.objects.filter(submission=submission).count() == 1
    assert driver.shifts() == [(at("08:00"), at("17:00"), "LOGOUT")]
