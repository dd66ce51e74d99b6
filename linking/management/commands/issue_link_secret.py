"""`manage.py issue_link_secret "Courier Ltd"`: prints a new link secret, and nothing else, on stdout."""

from argparse import ArgumentParser

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from linking import tokens
from linking.models import LinkPolicy
from linking.work_providers import by_name


class Command(BaseCommand):
    help = "Issue a secret that a work provider signs its links with. It is shown this once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("work_provider", help="its name; case does not matter")

    def handle(self, *, work_provider: str, **options: object) -> None:
        found = by_name(work_provider)
        try:
            _, secret = tokens.issue_secret(found)
        except ValidationError as error:
            raise CommandError(f"{error.messages[0]} (admin: Link secrets)") from None
        if found.link_policy != LinkPolicy.SIGNED:
            self.stderr.write(f"{found.name}'s links are not asked for a signature (link policy).")
        self.stdout.write(secret)
