"""`manage.py sweeper`: see shifts/sweep.py."""

import signal
import threading
from pathlib import Path

from django.conf import settings

from shifts import sweep
from zego_api.management.process import ProcessCommand


class Command(ProcessCommand):
    help = "Run the sweeper until it is told to stop. Shifts need PostgreSQL and nothing else."

    def handle(self, **options: object) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        heartbeat = settings.HEARTBEAT_FILE
        sweep.run_until(stop, Path(heartbeat) if heartbeat else None)
