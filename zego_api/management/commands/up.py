"""`manage.py up`, which `make run` calls: the whole service on one machine."""

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Run the whole service on this machine, with servers of its own, until Ctrl-C."
    requires_system_checks = []  # it starts before there is anything to check

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--stop-with-parent",
            action="store_true",
            help="also stop when the process that started this one (make) ends",
        )

    def handle(self, *args: Any, stop_with_parent: bool, **options: Any) -> None:
        try:
            from zego_api.local.errors import LocalError  # noqa: PLC0415
            from zego_api.local.service import LocalService  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise CommandError(
                f"{error.name} is not installed: `make run` installs requirements-dev.txt first."
            ) from None
        try:
            service = LocalService(settings.BASE_DIR, os.environ, self.stdout)
            service.run(parent=os.getppid() if stop_with_parent else None)
        except (LocalError, OSError) as error:
            self.stderr.write(f"\n{error}")
            sys.exit(1)
