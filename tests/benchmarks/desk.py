"""How long the desk's pages take: `python -m tests.benchmarks.desk` on the database of DATABASE_URL.

Every page of the desk and every list, form and search of the admin is asked for several times, in this
process, as a superuser. All of it runs in one transaction that is rolled back: nothing stays. With
--write the table goes into docs/ops.md.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import django

if TYPE_CHECKING:
    from django.test import Client

    from tests.benchmarks.samples import Sample

LIMIT_MS = 500
# What a page may answer, and what is said of it; a search leads straight to what there is one of.
ANSWERS = {200: "", 302: "leads on"}
DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "ops.md"
BEGIN, END = "<!-- figures: python -m tests.benchmarks.desk --write -->", "<!-- /figures -->"


@dataclass(frozen=True, slots=True)
class Page:
    """One thing to ask for."""

    name: str
    address: str
    post: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """How it went: milliseconds of each request, the status, and the number of queries."""

    page: Page
    times: list[float]
    queries: int
    status: int

    @property
    def is_slow(self) -> bool:
        """Whether the median is beyond the limit."""
        return bool(self.times) and median(self.times) > LIMIT_MS

    @property
    def remark(self) -> str:
        """What is wrong with it, if anything is."""
        return (
            f"more than {LIMIT_MS} ms"
            if self.is_slow
            else ANSWERS.get(self.status, f"answers {self.status}")
        )

    @property
    def is_bad(self) -> bool:
        """Whether it is slow, or did not work."""
        return self.is_slow or self.status not in ANSWERS

    def cells(self) -> list[str]:
        """The row of the table."""
        times = self.times or [0.0]
        numbers = (median(times), max(times), self.queries)
        return [self.page.name, *(f"{number:.0f}" for number in numbers), self.remark]


class Plan(NamedTuple):
    """What is to be measured, and what cannot be and why."""

    pages: list[Page]
    troubles: list[str]


COLUMNS = ["page", "median ms", "worst ms", "queries", ""]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; ends with status 1 when a page is slow, fails, or could not be asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.desk", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="requests a page, after a first one")
    parser.add_argument("--only", default="", help="pages whose name has this in it")
    parser.add_argument("--write", action="store_true", help="put the table into docs/ops.md")
    options = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zego_api.settings")
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    django.setup()
    with signed_in() as client:
        plan = planned(options.only)
        found = [_told(measured(client, page, options.rounds)) for page in plan.pages]
        heading = circumstances(options.rounds)
    for trouble in plan.troubles:
        _say(trouble)
    if options.write:
        write(DOCS, [heading, "", *table(found)])
    if plan.troubles or any(one.is_bad for one in found):
        raise SystemExit(1)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _told(one: Measured) -> Measured:
    name, *numbers, remark = one.cells()
    middle, worst, queries = numbers
    _say(f"{name:66} {middle:>6} ms {worst:>6} ms {queries:>4} queries  {remark}")
    return one


@contextmanager
def signed_in() -> "Iterator[Client]":
    """A client that may do everything, of a user that is gone afterwards, with all else it did."""
    from django.db import transaction
    from django.test import Client, override_settings

    from linking.models import User

    settings = override_settings(ALLOWED_HOSTS=["testserver"], STAFF_NEED_TWO_FACTOR=False)
    with settings, transaction.atomic():
        user = User(username="benchmark", is_staff=True, is_superuser=True)
        user.set_unusable_password()
        user.save()
        client = Client(raise_request_exception=False)
        client.force_login(user)
        yield client
        transaction.set_rollback(True)


def planned(only: str = "") -> Plan:
    """Every page that the URL conf has, with a sample for each that takes arguments."""
    pages, troubles = [], []
    for look_up in (desk_pages, admin_pages):
        found, missing = look_up()
        pages += [page for page in found if only in page.name]
        troubles += missing
    return Plan(pages, [] if only else troubles)


def desk_pages() -> Plan:
    """Those under /admin/desk/, and the front page."""
    from django.urls import get_resolver, reverse
    from django.utils import timezone

    from tests.benchmarks.samples import Sample, samples

    known = samples(timezone.now())
    pages = [Page("front page", reverse("admin:index"))]
    troubles = []
    routes = {name: bool(takes) for name, takes in _routes(get_resolver(), "desk")}
    for name, takes in routes.items():
        if takes and name not in known:
            troubles.append(f"desk:{name} takes arguments: add a sample of it to samples.py")
            continue
        pages += [_page(name, sample) for sample in known.get(name, [Sample()])]
    troubles += [f"There is no page desk:{name} any more" for name in known.keys() - routes.keys()]
    return Plan(pages, troubles)


def _routes(resolver: Any, namespace: str, within: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in resolver.url_patterns:
        if hasattr(pattern, "url_patterns"):
            yield from _routes(pattern, namespace, pattern.namespace or within)
        elif within == namespace and pattern.name:
            yield pattern.name, pattern.pattern.converters


def _page(name: str, sample: "Sample") -> Page:
    from django.urls import reverse

    address = reverse(f"desk:{name}", args=sample.args)
    if sample.query:
        address += f"?{urlencode(sample.query)}"
    note = f" ({sample.note})" if sample.note else ""
    return Page(f"{name}{note}", address, sample.post)


def admin_pages() -> Plan:
    """Each table's list, a search in it, and the form of its newest row."""
    from django.contrib import admin

    pages: list[Page] = []
    for model, table_admin in admin.site._registry.items():
        pages += _table_pages(model, table_admin)
    return Plan(pages, [])


def _table_pages(model: Any, table_admin: Any) -> Iterator[Page]:
    from django.urls import reverse

    name = f"{model._meta.app_label}_{model._meta.model_name}"
    listed = reverse(f"admin:{name}_changelist")
    yield Page(f"table {name}", listed)
    if table_admin.search_fields:
        yield Page(f"table {name} (search)", f"{listed}?q=1686")
    newest = model._default_manager.order_by("-pk").values_list("pk", flat=True).first()
    if newest is not None:
        yield Page(f"row of {name}", reverse(f"admin:{name}_change", args=[newest]))


def measured(client: "Client", page: Page, rounds: int) -> Measured:
    """Ask once to count the queries, then so many times to take the time."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def ask() -> tuple[float, int]:
        began = time.perf_counter()
        with taken_back():
            if page.post is None:
                answer = client.get(page.address, secure=True)
            else:
                answer = client.post(page.address, page.post, secure=True)
            if answer.streaming:
                next(iter(answer))
        return (time.perf_counter() - began) * 1000, answer.status_code

    with CaptureQueriesContext(connection) as captured:
        status = ask()[1]
    queries = len(captured)
    times = [ask()[0] for _ in range(rounds)] if status in ANSWERS else []
    return Measured(page, times, queries, status)


@contextmanager
def taken_back() -> Iterator[None]:
    """Whatever happens to the database in here, even a statement that failed, has not happened."""
    from django.db import transaction

    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def circumstances(rounds: int) -> str:
    """What was measured on."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, reltuples::bigint FROM pg_class"
            " WHERE relname IN ('shifts_shiftevent', 'shifts_shift', 'linking_workprovider')"
        )
        counts: dict[str, int] = dict(cursor.fetchall())
        cursor.execute("SELECT current_setting('server_version')")
        (server,) = cursor.fetchone()
    return (
        f"{counts['shifts_shiftevent']:,} events, {counts['shifts_shift']:,} shifts and"
        f" {counts['linking_workprovider']:,} work providers on PostgreSQL {server.split()[0]},"
        f" Python {sys.version.split()[0]}, Django {django.__version__} and {os.cpu_count()} cores;"
        f" the median of {rounds} requests each."
    )


def table(found: Iterable[Measured]) -> list[str]:
    """The lines of a Markdown table."""
    rows = [COLUMNS, ["---", "---:", "---:", "---:", "---"], *(one.cells() for one in found)]
    return [f"| {' | '.join(row)} |" for row in rows]


def write(path: Path, lines: Sequence[str]) -> None:
    """Put lines between the two marks of a file; the process ends with a message without them."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} needs a line {BEGIN} and below it a line {END}.")
    body = "\n".join(lines)
    path.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
