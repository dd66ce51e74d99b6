"""The one Celery task: a wake-up for the digest."""

import time

import structlog
from celery import shared_task
from django.db import Error

from shifts.digest import digest_pending
from shifts.wake import wake
from zego_api.db import is_away

log = structlog.get_logger(__name__)

# Well under CELERY_TASK_TIME_LIMIT; a longer drain goes on in the next wake-up.
DRAIN_SECONDS = 60


@shared_task
def digest(**kwargs: object) -> None:
    """Digest until nothing is pending. Takes no data, and ignores what a newer sender may add.

    A database that is away ends it; the sweeper goes on where it stopped.
    """
    deadline = time.monotonic() + DRAIN_SECONDS
    try:
        while digest_pending():
            if time.monotonic() > deadline:
                wake()
                return
    except Error as error:
        if not is_away(error):
            raise
        log.warning("database_away")
