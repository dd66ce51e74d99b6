"""What the ops desk changes, always with who and why (rule R14); the same machinery does the rest."""

import json
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction

from linking.models import Customer, User, WorkProvider
from shifts import payload, store
from shifts.accept import keep
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
    body = {"policyId": customer.number, "timestamp": at.isoformat()}
    submission = Submission(
        work_provider=work_provider,
        actor=actor,
        actor_reason=_needed(reason),
        kind=kind,
        is_batch=False,
        body=json.dumps(body).encode(),
        timezone=work_provider.timezone,
        received_at=now,
    )
    try:
        return keep(submission, max_future=work_provider.max_future)
    except payload.InvalidBody as invalid:
        raise ValidationError([error.reason for error in invalid.errors]) from None


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
    locked = store.lock_streams([(stream.work_provider_id, stream.customer_id)])
    resettle(locked.values(), at, Cause.WITHDRAWAL)


def _needed(reason: str) -> str:
    if not reason.strip():
        raise ValidationError("Say why: the reason stays on record.")
    return reason.strip()
