"""`manage.py worker`: the Celery worker that digests, with the settings that go with it."""

import os
import sys
from typing import Any

from django.conf import settings

from zego_api.management.process import ProcessCommand


class Command(ProcessCommand):
    help = "Digest submissions as wake-ups come in, in WORKER_CONCURRENCY processes."

    def handle(self, **options: Any) -> None:
        command = [
            *(sys.executable, "-m", "celery", "--quiet", "--app", "zego_api", "worker"),
            *("--concurrency", str(settings.WORKER_CONCURRENCY)),
            *("--without-gossip", "--without-mingle"),
            *("--loglevel", settings.LOG_LEVEL.lower()),
        ]
        os.execv(sys.executable, command)  # noqa: S606 (a fixed command, without a shell)
