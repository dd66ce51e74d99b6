"""`manage.py make_link "Courier Ltd" --wp-id 123456 --email driver@example.com`: prints the URL."""

from argparse import ArgumentParser
from datetime import timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email
from django.utils import timezone

from linking import identifiers, tokens
from linking.work_providers import by_name


class Command(BaseCommand):
    help = "Print the URL that brings a driver in, signed if the work provider's links have to be."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("work_provider", help="its name; case does not matter")
        parser.add_argument("--wp-id", required=True, help="the work provider's id for the driver")
        parser.add_argument("--email", required=True, help="the driver's address")
        parser.add_argument(
            "--days", type=int, default=7, help="how long a signed URL can be used; 7 unless given"
        )

    def handle(
        self, *, work_provider: str, wp_id: str, email: str, days: int, **options: object
    ) -> None:
        found = by_name(work_provider)
        if not 1 <= days <= (limit := settings.SIGNED_LINK_MAX_AGE.days):
            raise CommandError(f"--days must be 1 to {limit}.")
        try:
            driver_id = identifiers.clean(wp_id)
            validate_email(email)
            url = tokens.link_url(
                found, driver_id=driver_id, email=email, now=timezone.now(), lasts=timedelta(days)
            )
        except (ValueError, ValidationError) as error:
            text = "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
            raise CommandError(text) from None
        if not found.is_active:
            self.stderr.write(f"{found.name} is not active: the link works once it is.")
        self.stdout.write(url)
