"""`manage.py web`: the HTTP server, with the settings that go with this service."""

import os
import sys
from typing import Any

from django.conf import settings

from zego_api.management.process import ProcessCommand


class Command(ProcessCommand):
    help = "Serve HTTP on HOST:PORT with WEB_WORKERS processes of WEB_THREADS threads each."

    def handle(self, **options: Any) -> None:
        command = [
            *(sys.executable, "-m", "granian", "zego_api.wsgi:application"),
            *("--interface", "wsgi", "--http", "1"),
            *("--host", settings.HOST, "--port", str(settings.PORT)),
            *("--workers", str(settings.WEB_WORKERS)),
            *("--blocking-threads", str(settings.WEB_THREADS)),
            "--respawn-failed-workers",
            *("--workers-kill-timeout", "10"),
            *("--log-level", "error"),
        ]
        os.execv(sys.executable, command)  # noqa: S606 (a fixed command, without a shell)
