"""System checks: a start that would lose data or be insecure is refused, with a hint.

They run before every `manage.py` command; those of the database run in `migrate` and `web`.
"""

import importlib.util
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db import connection

from zego_api.mail import transport

MIN_SECRET_LENGTH = 50
_DURABLE = {
    "fsync": {"on"},
    "full_page_writes": {"on"},
    "synchronous_commit": {"on", "local", "remote_write", "remote_apply"},
}


@register(Tags.security)
def secret_key(**kwargs: Any) -> Iterable[CheckMessage]:
    """A missing or guessable key lets anybody sign in as anybody; so does a fallback."""
    try:
        key = settings.SECRET_KEY
    except ImproperlyConfigured:  # what Django says of an empty one, without a hint
        key = ""
    if _is_weak(key):
        yield Error(
            f"SECRET_KEY is missing or weak: it needs at least {MIN_SECRET_LENGTH} random characters.",
            hint='Make one with: python -c "import secrets; print(secrets.token_urlsafe(64))"',
            id="zego.E001",
        )
    if any(_is_weak(fallback) for fallback in settings.SECRET_KEY_FALLBACKS):
        yield Error(
            "SECRET_KEY_FALLBACKS has a weak key in it.",
            hint="Only a former SECRET_KEY belongs there, whole; commas between several.",
            id="zego.E001",
        )


def _is_weak(key: str) -> bool:
    return len(key) < MIN_SECRET_LENGTH or len(set(key)) < 5 or key.startswith("django-insecure-")


@register(Tags.security)
def hosts(**kwargs: Any) -> Iterable[CheckMessage]:
    """Host headers end up in links that are mailed to people."""
    if not settings.ALLOWED_HOSTS or "*" in settings.ALLOWED_HOSTS:
        yield Error(
            "ALLOWED_HOSTS must name the hosts that this service answers to.",
            hint="Set ALLOWED_HOSTS=api.example.com,... (commas between; * is refused).",
            id="zego.E002",
        )
    local = {"localhost", "127.0.0.1", "[::1]", "testserver"}
    if settings.INSECURE_HTTP and not set(settings.ALLOWED_HOSTS) <= local:
        yield Error(
            "INSECURE_HTTP is for this machine alone, but ALLOWED_HOSTS names others.",
            hint="Unset INSECURE_HTTP and let a proxy speak TLS.",
            id="zego.E003",
        )


@register()
def addresses(**kwargs: Any) -> Iterable[CheckMessage]:
    """Without a database nothing can be kept; without a broker nothing is digested at once."""
    if settings.DATABASES["default"]["ENGINE"] == "django.db.backends.dummy":
        yield Error(
            "DATABASE_URL is not set.",
            hint="`make run` sets up a database of its own; elsewhere: "
            "DATABASE_URL=postgres://user:password@host:5432/name",
            id="zego.E004",
        )
    elif connection.vendor != "postgresql":
        yield Error("DATABASE_URL must name a PostgreSQL database.", id="zego.E005")
    if not settings.REDIS_URL:
        yield Error(
            "REDIS_URL is not set.",
            hint="`make run` sets up a Valkey of its own; elsewhere: REDIS_URL=redis://host:6379/0",
            id="zego.E006",
        )


@register()
def mail(**kwargs: Any) -> Iterable[CheckMessage]:
    """Nobody can make an account whose code never arrives; a code in a file or a log is anybody's."""
    hint = "EMAIL_URL=smtp+tls://user:password@mail.example.com:587 (or smtps://, smtp://)"
    try:
        transport(settings.EMAIL_URL)
    except ValueError as error:
        yield Error(f"EMAIL_URL is missing or cannot be used: {error}.", hint=hint, id="zego.E009")
        return
    if not settings.INSECURE_HTTP and not settings.EMAIL_URL.startswith("smtp"):
        yield Error("EMAIL_URL must name a mail server.", hint=hint, id="zego.E009")


@register()
def support(**kwargs: Any) -> Iterable[CheckMessage]:
    """Pages and mails tell drivers to write to us."""
    if not settings.INSECURE_HTTP and not settings.SUPPORT_EMAIL:
        yield Error(
            "SUPPORT_EMAIL is missing: drivers are told to write to it.",
            hint="SUPPORT_EMAIL=help@example.com",
            id="zego.E011",
        )


@register(Tags.security)
def public_url(**kwargs: Any) -> Iterable[CheckMessage]:
    """It starts the links in mails, which lead to forms for passwords."""
    parts = urlsplit(settings.PUBLIC_URL)
    named = bool(parts.hostname) and not str(parts.hostname).startswith(".")
    if not settings.INSECURE_HTTP and (parts.scheme != "https" or not named):
        yield Error(
            f"PUBLIC_URL must be the https:// address of this service, and is {settings.PUBLIC_URL!r}.",
            hint="PUBLIC_URL=https://api.example.com; without it, the first of ALLOWED_HOSTS counts.",
            id="zego.E010",
        )


@register()
def driver(**kwargs: Any) -> Iterable[CheckMessage]:
    """The digest speaks psycopg2; with psycopg 3 installed beside it Django would silently use that."""
    if importlib.util.find_spec("psycopg") is not None:
        yield Error(
            "psycopg (version 3) is installed, and Django would use it instead of psycopg2.",
            hint="pip uninstall psycopg",
            id="zego.E007",
        )


@register(Tags.database)
def durability(databases: Iterable[str] | None = None, **kwargs: Any) -> Iterable[CheckMessage]:
    """A 202 promises that the row survives a crash; a database that lies about that is refused.

    One that is away cannot be asked; the service then starts, and answers 503 until it is back.
    """
    if "default" not in (databases or ()) or connection.vendor != "postgresql":
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(_DURABLE)]
            )
            found = dict(cursor.fetchall())
    except DatabaseError:
        return
    for name, allowed in _DURABLE.items():
        if found.get(name) not in allowed:
            yield Error(
                f"PostgreSQL runs with {name}={found.get(name)}: a crash would lose accepted events.",
                hint=f"Set {name}=on on the server, the database and the role.",
                id="zego.E008",
            )
