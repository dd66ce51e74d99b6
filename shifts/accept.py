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
        events = payload.read(
            body,
            is_batch=is_batch,
            zone=credentials.timezone,
            received_at=now,
            max_future=credentials.max_future,
        )
    except payload.InvalidBody as invalid:
        raise ApiError(INVALID_DATA, errors=invalid.errors) from None
    submission = Submission.objects.create(
        request_id=request_id,
        work_provider_id=credentials.work_provider_id,
        api_key_id=credentials.api_key_id,
        kind=kind,
        is_batch=is_batch,
        body=body,
        timezone=credentials.timezone,
        event_count=len(events),
        clock_ahead_count=sum(event.at > now + CLOCK_TROUBLE for event in events),
        received_at=now,
    )
    transaction.on_commit(wake, robust=True)
    return submission
