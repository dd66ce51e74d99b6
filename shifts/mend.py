"""What the ops desk changes, always with who and why (rule R14); the same machinery does the rest."""

import json
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction

from linking.models import Customer, User, WorkProvider
from shifts import payload, store
from shifts.models import Kind, Stream, Submission, Withdrawal
from shifts.settle import Cause, resettle
from shifts.wake import wake


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
    """Add a missing login or logout, as a submission that is digested like any other."""
    body = json.dumps({"policyId": customer.number, "timestamp": at.isoformat()}).encode()
    try:
        payload.read(
            body,
            is_batch=False,
            zone=work_provider.timezone,
            received_at=now,
            max_future=work_provider.max_future,
        )
    except payload.InvalidBody as invalid:
        raise ValidationError([error.reason for error in invalid.errors]) from None
    submission = Submission.objects.create(
        work_provider=work_provider,
        actor=actor,
        actor_reason=_needed(reason),
        kind=kind,
        is_batch=False,
        body=body,
        timezone=work_provider.timezone,
        event_count=1,
        received_at=now,
    )
    transaction.on_commit(wake, robust=True)
    return submission


def withdraw(
    stream: Stream, kind: Kind, at: datetime, *, actor: User, reason: str, now: datetime
) -> Withdrawal:
    """Strike every event of this kind and instant, copies that arrive later too; can be undone."""
    with transaction.atomic():
        withdrawal = Withdrawal.objects.create(
            stream=stream,
            kind=kind,
            timestamp=at,
            reason=_needed(reason),
            withdrawn_at=now,
            withdrawn_by=actor,
        )
        _resettle(stream, at)
    return withdrawal


def undo_withdrawal(withdrawal: Withdrawal, *, actor: User, reason: str, now: datetime) -> None:
    """Let the events count again; who undid it first stays on record."""
    with transaction.atomic():
        undone = Withdrawal.objects.filter(pk=withdrawal.pk, undone_at__isnull=True).update(
            undone_at=now, undone_by=actor, undone_reason=_needed(reason)
        )
        if not undone:
            raise ValidationError("This withdrawal has been undone already.")
        _resettle(withdrawal.stream, withdrawal.timestamp)


def retry_failed(submission: Submission) -> None:
    """Give a FAILED submission its attempts back; it is pending again."""
    Submission.objects.filter(pk=submission.pk, failed_at__isnull=False).update(
        failed_at=None, attempts=0, next_attempt_at=None, failure=""
    )
    transaction.on_commit(wake, robust=True)


def _resettle(stream: Stream, at: datetime) -> None:
    store.lock_work_providers([stream.work_provider_id])
    resettle([(stream.work_provider_id, stream.customer_id)], at, Cause.WITHDRAWAL)


def _needed(reason: str) -> str:
    if not reason.strip():
        raise ValidationError("Say why: the reason stays on record.")
    return reason.strip()
