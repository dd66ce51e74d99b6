"""What the commands that run for ever have in common."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import OperationalError


class ProcessCommand(BaseCommand):
    """A command that refuses to start where it would be insecure or could lose data."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Deployment checks are left out on plain HTTP, which is for this machine only.

        A database that is away cannot be asked about its durability; `migrate` has asked before.
        """
        deployed = not settings.INSECURE_HTTP
        try:
            self.check(include_deployment_checks=deployed, databases=["default"])
        except OperationalError:
            self.stderr.write("The database does not answer; starting all the same.")
        return super().execute(*args, **options)
