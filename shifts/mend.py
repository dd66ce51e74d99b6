"""What the ops desk changes: always with who and why, by the same machinery as the rest (rule R14).

Each function carries one thing out and puts it on record (linking/desk.py), in one transaction. `now`
is an aware datetime. What cannot be done raises ValidationError with the reason. shifts/preview.py
tells beforehand what would change; shifts/bulk.py does such things many at a time.
"""

import json
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from linking import flows, identifiers
from linking.desk import record
from linking.models import Customer, DeskAction, DriverLink, LinkRequest, User, WorkProvider
from shifts import links, payload, store
from shifts.accept import keep
from shifts.digest import digest_at_once
from shifts.models import (
    Kind,
    Seen,
    Shift,
    ShiftEvent,
    ShiftRule,
    Stream,
    Submission,
    Withdrawal,
)
from shifts.restate import restate
from shifts.settle import Cause, resettle
from shifts.store import StreamRow
from shifts.wake import wake

Do = DeskAction.Kind
UNDOABLE = (Do.ADD_EVENT, Do.WITHDRAW, Do.DISCARD)


@transaction.atomic
def add_event(
    work_provider: WorkProvider,
    customer: Customer,
    kind: Kind,
    at: datetime,
    *,
    actor: User,
    reason: str,
    now: datetime,
) -> Submission:
    """Add a missing login or logout: a submission like any other, digested at once."""
    action = record(
        Do.ADD_EVENT,
        actor=actor,
        reason=reason,
        now=now,
        work_provider=work_provider,
        customer=customer,
        details={"kind": kind, "at": at.isoformat()},
    )
    return add_events(action, work_provider, [customer.number], kind, at, now=now)


def add_events(
    action: DeskAction,
    work_provider: WorkProvider,
    numbers: Collection[str],
    kind: Kind,
    at: datetime,
    *,
    now: datetime,
) -> Submission:
    """One event at one instant for each of these customers, as part of an action on record."""
    events = [{"policyId": number, "timestamp": at.isoformat()} for number in numbers]
    submission = Submission(
        work_provider=work_provider,
        action=action,
        kind=kind,
        is_batch=len(events) != 1,
        body=json.dumps(events if len(events) != 1 else events[0]).encode(),
        timezone=work_provider.timezone,
        received_at=now,
    )
    try:
        keep(submission, max_future=work_provider.max_future)
    except payload.InvalidBody as invalid:
        raise ValidationError(invalid.errors[0].reason) from None
    digest_at_once([submission], now=now)
    return submission


@transaction.atomic
def withdraw(
    stream: Stream, kind: Kind, at: datetime, *, actor: User, reason: str, now: datetime
) -> Withdrawal:
    """Strike every event of this kind and instant, copies that arrive later too; can be undone."""
    locked = _lock(stream)
    standing = Withdrawal.objects.filter(stream=stream, kind=kind, timestamp=at)
    if standing.filter(undone_at__isnull=True).exists():
        raise ValidationError("This event is withdrawn already.")
    action = record(
        Do.WITHDRAW,
        actor=actor,
        reason=reason,
        now=now,
        work_provider=stream.work_provider,
        customer=stream.customer,
        details={"kind": kind, "at": at.isoformat()},
    )
    withdrawal = Withdrawal.objects.create(
        stream=stream, kind=kind, timestamp=at, action=action, withdrawn_at=now
    )
    resettle(locked, at, Cause.WITHDRAWAL)
    return withdrawal


def undo_withdrawal(withdrawal: Withdrawal, *, actor: User, reason: str, now: datetime) -> None:
    """Let the events count again; who undid it first stays on record."""
    undo(withdrawal.action, actor=actor, reason=reason, now=now)


@transaction.atomic
def undo(action: DeskAction, *, actor: User, reason: str, now: datetime) -> DeskAction:
    """Take an action back: what it withdrew counts again, what it added counts no more.

    Only of the kinds in UNDOABLE, once; what was done in bulk is undone in bulk (shifts/bulk.py).
    """
    found = lock_for_undoing(action, UNDOABLE)
    undoing = record(
        Do.UNDO,
        actor=actor,
        reason=reason,
        now=now,
        work_provider=found.work_provider,
        customer=found.customer,
        details={"kind": found.kind},
        undoes=found,
    )
    for withdrawal in found.withdrawals.filter(stream__isnull=False, undone_at__isnull=True):
        _undo_one(withdrawal, undoing, now=now)
    take_back(found, None, undoing, now=now)
    return undoing


def lock_for_undoing(action: DeskAction, kinds: Collection[DeskAction.Kind]) -> DeskAction:
    """The action, which nobody else can undo meanwhile; ValidationError where it cannot be undone."""
    found = DeskAction.objects.select_for_update(of=("self",)).get(pk=action.pk)
    if found.kind not in kinds:
        raise ValidationError("This action cannot be undone.")
    if DeskAction.objects.filter(undoes=found).exists():
        raise ValidationError("This has been undone already.")
    return found


def take_back(
    action: DeskAction, ids: Collection[int] | None, undoing: DeskAction, *, now: datetime
) -> None:
    """Undo what an action did to whole submissions: to `ids`, or to all; must run in a transaction.

    What it struck counts again, and what it added is struck: a second reading together with the
    return of the first.
    """
    added = Submission.objects.filter(action=action)
    struck = action.withdrawals.filter(submission__isnull=False, undone_at__isnull=True)
    if ids is not None:
        added = added.filter(Q(pk__in=ids) | Q(reread_of__in=ids))
        struck = struck.filter(submission__in=ids)
    restate(
        undoing,
        strike=added.values_list("pk", flat=True),
        count=struck.values_list("submission_id", flat=True),
        now=now,
    )


def _undo_one(withdrawal: Withdrawal, action: DeskAction, *, now: datetime) -> None:
    assert withdrawal.stream is not None
    assert withdrawal.timestamp is not None
    locked = _lock(withdrawal.stream)
    withdrawal.undone_at, withdrawal.undone_action = now, action
    withdrawal.save()
    resettle(locked, withdrawal.timestamp, Cause.WITHDRAWAL)


def _lock(stream: Stream) -> list[StreamRow]:
    """Before a row is written that refers to it: the foreign key would lock it out of turn."""
    store.lock_work_providers([stream.work_provider_id])
    return list(store.lock_streams([(stream.work_provider_id, stream.customer_id)]).values())


@transaction.atomic
def replay(
    work_provider: WorkProvider,
    *,
    driver_id: str = "",
    customer: Customer | None = None,
    actor: User,
    reason: str,
    now: datetime,
) -> DeskAction:
    """Decide the held events of a driver id or customer again, those that expired too.

    A link may explain them by now; those that none explains wait, or expire, as before.
    """
    action = record(
        Do.REPLAY,
        actor=actor,
        reason=reason,
        now=now,
        work_provider=work_provider,
        customer=customer,
        details={"driver_id": driver_id} if driver_id else {},
    )
    store.lock_work_providers([work_provider.pk], exclusive=True)
    waiting_for(work_provider, driver_id=driver_id, customer=customer).filter(
        reason="EXPIRED"
    ).update(outcome="HELD", reason="UNKNOWN_ID")
    links.decide_again(
        work_provider.pk,
        [driver_id] if driver_id else [],
        [customer.pk] if customer else [],
    )
    return action


def waiting_for(
    work_provider: WorkProvider, *, driver_id: str = "", customer: Customer | None = None
) -> QuerySet[ShiftEvent]:
    """The events of a driver id, or of a customer by number, that no link explains."""
    waiting = ShiftEvent.objects.filter(stream__isnull=True, work_provider=work_provider)
    if customer is not None:
        return waiting.filter(customer_number=customer.number)
    return waiting.filter(driver_id=driver_id)


@transaction.atomic
def retry_failed(submission: Submission, *, actor: User, reason: str, now: datetime) -> DeskAction:
    """Give a FAILED submission its attempts back; it is pending again."""
    failed = _lock_failed(submission)
    action = _record_of(Do.RETRY, failed, actor=actor, reason=reason, now=now)
    failed.failed_at, failed.attempts, failed.next_attempt_at, failed.failure = None, 0, None, ""
    failed.save(update_fields=["failed_at", "attempts", "next_attempt_at", "failure"])
    transaction.on_commit(wake, robust=True)
    return action


@transaction.atomic
def discard_failed(
    submission: Submission, *, actor: User, reason: str, now: datetime
) -> DeskAction:
    """Set a FAILED submission aside for good: it counts for nothing, and the row stays."""
    failed = _lock_failed(submission)
    action = _record_of(Do.DISCARD, failed, actor=actor, reason=reason, now=now)
    restate(action, strike=[failed.pk], now=now)
    return action


def _lock_failed(submission: Submission) -> Submission:
    rows = Submission.objects.select_for_update(of=("self",)).defer("body")
    failed = rows.filter(pk=submission.pk, failed_at__isnull=False, is_withdrawn=False).first()
    if failed is None:
        raise ValidationError("This submission is not FAILED any more.")
    return failed


def _record_of(
    kind: DeskAction.Kind, submission: Submission, *, actor: User, reason: str, now: datetime
) -> DeskAction:
    """With the failure, which a retry takes off the submission."""
    return record(
        kind,
        actor=actor,
        reason=reason,
        now=now,
        work_provider=submission.work_provider,
        details={"request_id": str(submission.request_id), "failure": submission.failure},
    )


@transaction.atomic
def confirm_link(request: LinkRequest, *, actor: User, reason: str, now: datetime) -> DriverLink:
    """Make the link that waits, from its agreement on; the driver is told."""
    link = flows.confirm(request, by=actor, now=now)
    _record_link(Do.CONFIRM_LINK, link, actor=actor, reason=reason, now=now)
    return link


@transaction.atomic
def refuse_link(request: LinkRequest, *, actor: User, reason: str, now: datetime) -> DeskAction:
    """Say no to a request that waits; the driver is told, without the reason."""
    action = _record_link(Do.REFUSE_LINK, request, actor=actor, reason=reason, now=now)
    flows.refuse(request, by=actor, reason=reason.strip()[:200], now=now)
    return action


@transaction.atomic
def make_link(
    work_provider: WorkProvider,
    customer: Customer,
    driver_id: str,
    *,
    agreed_at: datetime,
    actor: User,
    reason: str,
    now: datetime,
) -> DriverLink:
    """Link a driver who agreed outside of this service, from that agreement on; the driver is told."""
    _refuse_link(work_provider, customer, agreed_at, now)
    try:
        driver_id = identifiers.clean(driver_id)
    except ValueError as error:
        raise ValidationError({"driver_id": str(error)}) from None
    link = DriverLink(
        work_provider=work_provider, customer=customer, driver_id=driver_id, linked_at=agreed_at
    )
    WorkProvider.objects.select_for_update(no_key=True).get(pk=work_provider.pk)
    link.full_clean()
    link = flows.make_link(work_provider, customer, driver_id, agreed_at=agreed_at)
    _record_link(Do.MAKE_LINK, link, actor=actor, reason=reason, now=now, at=agreed_at)
    return link


def _refuse_link(
    work_provider: WorkProvider, customer: Customer, agreed_at: datetime, now: datetime
) -> None:
    if agreed_at > now:
        raise ValidationError("Nobody has agreed in the future: give the moment of the agreement.")
    if not work_provider.is_active:
        raise ValidationError("This work provider is not active: no link to it can begin.")
    if customer.erased_at is not None:
        raise ValidationError("This customer has had their data deleted.")


@transaction.atomic
def end_link(
    link: DriverLink, at: datetime, *, actor: User, reason: str, now: datetime
) -> DeskAction:
    """End a link as of `at`, not ahead of now; as of its beginning it never held. The driver is told."""
    found = DriverLink.objects.select_for_update(no_key=True, of=("self",)).get(pk=link.pk)
    if not found.linked_at <= at <= now:
        raise ValidationError("A link ends between its beginning and now.")
    if found.unlinked_at is not None and found.unlinked_at <= at:
        raise ValidationError("This link has ended by then already.")
    action = _record_link(Do.END_LINK, found, actor=actor, reason=reason, now=now, at=at)
    flows.unlink(found, by=DriverLink.EndedBy.OPS, now=at)
    return action


def _record_link(
    kind: DeskAction.Kind,
    link: DriverLink | LinkRequest,
    *,
    actor: User,
    reason: str,
    now: datetime,
    at: datetime | None = None,
) -> DeskAction:
    details: dict[str, Any] = {"driver_id": link.driver_id}
    if isinstance(link, DriverLink):
        details["link"] = link.pk
        if (
            link.unlinked_at is not None and link.unlink_recorded_at is not None
        ):  # cover.py reads it
            details["was"] = link.unlinked_at.isoformat()
            details["was_known_at"] = link.unlink_recorded_at.isoformat()
    if at is not None:
        details["at"] = at.isoformat()
    return record(
        kind,
        actor=actor,
        reason=reason,
        now=now,
        work_provider=link.work_provider,
        customer=link.customer,
        details=details,
    )


@transaction.atomic
def mark_seen(
    kind: Seen.Kind, target: int, *, actor: User, reason: str, now: datetime
) -> DeskAction:
    """Take something off the list of what to look at; the reason says what came of it."""
    whose = whose_to_look_at(kind, target)
    action = record(
        Do.SEEN,
        actor=actor,
        reason=reason,
        now=now,
        work_provider=whose.work_provider,
        customer=whose.customer,
        details={"kind": kind, "target": target},
    )
    _, is_new = Seen.objects.get_or_create(kind=kind, target=target, defaults={"action": action})
    if not is_new:
        raise ValidationError("Somebody has looked at this already.")
    return action


def whose_to_look_at(kind: Seen.Kind, target: int) -> Stream | LinkRequest:
    """Whose work provider and customer something to look at is about; ValidationError if it is gone."""
    found: Stream | LinkRequest | None
    if kind == Seen.Kind.LINK_REQUEST:
        found = LinkRequest.objects.filter(pk=target).first()
    elif kind == Seen.Kind.REVISION:
        found = Stream.objects.filter(revisions=target).first()
    else:
        found = Stream.objects.filter(events=target).first()
    if found is None:
        raise ValidationError("There is no such thing to look at any more.")
    return found


def running_at(
    work_provider: WorkProvider, at: datetime, *, among: Collection[int] | None = None
) -> QuerySet[Shift]:
    """The shifts that a close-out at `at` would end: on shift then, and no logout has come since.

    A shift that ended by itself and goes on in a second one had its logout there (R7). With `among`
    those of these customers.
    """
    goes_on = Shift.objects.filter(
        stream=OuterRef("stream"), started_at=OuterRef("ended_at"), is_continuation=True
    )
    return there_at(work_provider, at, among=among).filter(
        ~Exists(goes_on), end_reason__in=["", "AUTO_CLOSED"]
    )


def there_at(
    work_provider: WorkProvider, at: datetime, *, among: Collection[int] | None = None
) -> QuerySet[Shift]:
    """The shifts that began before `at` and were not over then, however they end.

    Found stream by stream, by their logins: nobody's is older than the longest shift there may be.
    """
    streams = Stream.objects.filter(work_provider=work_provider)
    if among is not None:
        streams = streams.filter(customer__in=among)
    there = Shift.objects.on_shift(at).filter(
        stream__in=list(streams.values_list("pk", flat=True)), login_at__lt=at, started_at__lt=at
    )
    longest = _longest_shift(work_provider)
    return there if longest is None else there.filter(login_at__gte=at - longest)


def _longest_shift(work_provider: WorkProvider) -> timedelta | None:
    """Under any of its rules; None where one of them has no maximum."""
    rules = ShiftRule.objects.filter(work_provider=work_provider)
    lengths = {settings.DEFAULT_MAX_SHIFT_LENGTH, *rules.values_list("max_shift_length", flat=True)}
    return None if None in lengths else max(length for length in lengths if length is not None)
