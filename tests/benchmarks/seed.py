"""Fill an empty, migrated database: `python -m tests.benchmarks.seed --events 10000000`.

Everything in it is as the service would have left it: bodies read back to their events, every stream's
shifts are the projection of its events, revisions say what a late event or the ops desk changed. It is
one transaction, so that a seeding that was interrupted leaves nothing. The random numbers are the same
each time. Memory stays below half a gigabyte: what is made goes by way of a temporary file.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence

import django


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; the database is that of DATABASE_URL."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.seed", description=__doc__)
    parser.add_argument("--events", type=_number, default=10_000_000)
    parser.add_argument("--shifts", type=_number, default=1_000_000)
    parser.add_argument("--work-providers", type=_number, default=500)
    options = parser.parse_args(arguments)
    if options.events < 2 * options.shifts:
        parser.error("a shift has two events at least: ask for twice as many events as shifts")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zego_api.settings")
    django.setup()
    seed(options.events, options.shifts, options.work_providers)


def seed(events: int, shifts: int, work_providers: int) -> None:
    """Fill Django's database; ends the process with a message when it is not empty."""
    from django.db import ProgrammingError, connection
    from django.utils import timezone

    from linking.models import Customer
    from tests.benchmarks.filling import fill
    from tests.benchmarks.world import Size

    name = connection.settings_dict["NAME"]
    try:
        is_empty = not Customer.objects.exists()
    except ProgrammingError:
        raise SystemExit(f"Run `manage.py migrate` on the database {name} first.") from None
    if not is_empty:
        raise SystemExit(
            f"The database {name} has customers already. Seeding fills an empty one only: make one "
            "with `createdb`, run `manage.py migrate` on it, and name it in DATABASE_URL."
        )
    began = time.monotonic()

    def say(what: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:6.0f} s  {what}\n")
        sys.stdout.flush()

    fill(Size(events, shifts, work_providers), timezone.now(), say)
    say("statistics (ANALYZE)")
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("VACUUM ANALYZE")
    say("done")


def _number(text: str) -> int:
    value = int(text.replace("_", "").replace(",", ""))
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


if __name__ == "__main__":
    main()
