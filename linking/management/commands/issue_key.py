"""`manage.py issue_key "Courier Ltd"`: prints the new key, and nothing else, on stdout."""

from argparse import ArgumentParser
from datetime import timedelta

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from linking import keys
from linking.work_providers import by_name


class Command(BaseCommand):
    help = "Issue an API key to a work provider. It is shown this once; older keys stay live."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("work_provider", help="its name; case does not matter")
        parser.add_argument("--label", default="", help="what the key is for, shown in the admin")
        parser.add_argument("--days", type=int, help="how long it lives; for ever unless given")

    def handle(
        self, *, work_provider: str, label: str, days: int | None, **options: object
    ) -> None:
        found = by_name(work_provider)
        if days is not None and days < 1:
            raise CommandError("--days must be at least 1.")
        expires_at = timezone.now() + timedelta(days=days) if days else None
        _, key = keys.issue(found, label=label, expires_at=expires_at)
        if not found.is_active:
            self.stderr.write(f"{found.name} is not active: the key works once it is.")
        self.stdout.write(key)
