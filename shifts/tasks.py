"""The one Celery task: a wake-up for the digest."""

import time

from celery import shared_task

from shifts.digest import digest_pending
from shifts.wake import wake

# Well under CELERY_TASK_TIME_LIMIT; a longer drain goes on in the next wake-up.
DRAIN_SECONDS = 60


@shared_task
def digest(**kwargs: object) -> None:
    """Digest until nothing is pending. Takes no data, and ignores what a newer sender may add."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while digest_pending():
        if time.monotonic() > deadline:
            wake()
            return
