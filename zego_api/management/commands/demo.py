"""`manage.py demo`: what a newcomer needs to see a shift; for local use only."""

import os
import secrets
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from linking import keys
from linking.models import Customer, DriverLink, Terms, User, WorkProvider

WORK_PROVIDER = "Courier Ltd"
DRIVER_IDS = ("1686", "1687")
LINKED_AT = datetime(2017, 1, 1, tzinfo=UTC)  # so that the specification's own timestamps count
ADMIN = "admin"
ZEGO_TERMS = """Sample terms, for trying the service out; they insure nobody.

You are insured while a work provider that you are linked to has you logged in, from the login it \
reports until the logout, and at most for the longest shift agreed with it.

You can end a link at any time, free of charge, on your account page. Its insurance ends then."""
WORK_PROVIDER_TERMS = """Sample terms of a work provider that does not exist.

We tell Zego when you log in and out, under your driver id. Zego tells us whether your insurance is \
active, and your customer number."""


class Command(BaseCommand):
    help = (
        "Make the demo work provider, its drivers and an admin, and keep the key and the password as "
        "files (mode 0600). Running it again makes only what is missing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--into", type=Path, required=True, help="directory for the two files")
        parser.add_argument("--timezone", default="UTC", help="of the demo work provider")

    @transaction.atomic
    def handle(self, *, into: Path, timezone: str, **options: object) -> None:
        if not settings.INSECURE_HTTP:
            raise CommandError("Demo data is for a local set-up (INSECURE_HTTP=true).")
        work_provider, _ = WorkProvider.objects.get_or_create(
            name=WORK_PROVIDER, defaults={"timezone": timezone}
        )
        for driver_id in DRIVER_IDS:
            link_driver(work_provider, driver_id)
        for owner in (None, work_provider):
            publish_terms(owner)
        keep_key(work_provider, into / "demo-key")
        keep_password(into / "admin-password")


def link_driver(work_provider: WorkProvider, driver_id: str) -> None:
    """A customer linked as `driver_id`, unless there is one."""
    if work_provider.links.filter(driver_id=driver_id).exists():
        return
    user, _ = User.objects.get_or_create(
        username=f"driver-{driver_id}", defaults={"email": f"driver-{driver_id}@example.com"}
    )
    verify_email(user)
    customer, _ = Customer.objects.get_or_create(user=user)
    DriverLink.objects.create(
        work_provider=work_provider, customer=customer, driver_id=driver_id, linked_at=LINKED_AT
    )


def publish_terms(work_provider: WorkProvider | None) -> None:
    """Sample terms of Zego's, or of the work provider's, unless there are some."""
    if not Terms.objects.filter(work_provider=work_provider).exists():
        Terms.objects.create(
            work_provider=work_provider,
            version="demo-1",
            text=WORK_PROVIDER_TERMS if work_provider else ZEGO_TERMS,
            published_at=LINKED_AT,
        )


def verify_email(user: User) -> None:
    """As if the code from the mail had been typed in."""
    EmailAddress.objects.get_or_create(
        user=user, email=user.email, defaults={"verified": True, "primary": True}
    )


def keep_key(work_provider: WorkProvider, path: Path) -> None:
    """A key that works, in a file."""
    if path.is_file():
        found = keys.verify(path.read_text().strip(), now=timezone.now())
        if found is not None and found.work_provider_id == work_provider.pk:
            return
    _, key = keys.issue(work_provider, label="demo")
    write_private(path, key)


def keep_password(path: Path) -> None:
    """An admin who can sign in with the password in a file."""
    admin, _ = User.objects.get_or_create(
        username=ADMIN,
        defaults={"email": "admin@example.com", "is_staff": True, "is_superuser": True},
    )
    verify_email(admin)
    if path.is_file() and admin.check_password(path.read_text().strip()):
        return
    password = secrets.token_urlsafe(12)
    admin.set_password(password)
    admin.save()
    write_private(path, password)


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else can read at any moment."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
