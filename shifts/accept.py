"""Accept: one committed row a request, whatever the size of its batch; only then is 202 said."""

import uuid
from datetime import datetime, timedelta

from django.db import transaction

from linking.keys import Credentials
from shifts import payload
from shifts.models import Submission
from shifts.wake import wake
from zego_api.errors import INVALID_DATA, ApiError

CLOCK_TROUBLE = timedelta(minutes=5)


def accept(
    credentials: Credentials,
    *,
    kind: str,
    is_batch: bool,
    body: bytes,
    request_id: uuid.UUID,
    now: datetime,
) -> Submission:
    """Validate everything, store the body as it was sent, and ask for its digest.

    Raises ApiError INVALID_DATA, with nothing stored, when any item is bad. When it returns outside
    of a transaction the row is committed.
    """
    try:
        return keep(
            Submission(
                request_id=request_id,
                work_provider_id=credentials.work_provider_id,
                api_key_id=credentials.api_key_id,
                kind=kind,
                is_batch=is_batch,
                body=body,
                timezone=credentials.timezone,
                received_at=now,
            ),
            max_future=credentials.max_future,
        )
    except payload.InvalidBody as invalid:
        raise ApiError(INVALID_DATA, errors=invalid.errors) from None


def keep(submission: Submission, *, max_future: timedelta) -> Submission:
    """Validate a new submission, store it, and ask for its digest; raises payload.InvalidBody."""
    now = submission.received_at
    events = payload.read(
        bytes(submission.body),
        is_batch=submission.is_batch,
        zone=submission.timezone,
        received_at=now,
        max_future=max_future,
    )
    submission.event_count = len(events)
    submission.clock_ahead_count = sum(event.at > now + CLOCK_TROUBLE for event in events)
    submission.save(force_insert=True)
    transaction.on_commit(wake, robust=True)
    return submission
