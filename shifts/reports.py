"""Reports: shifts and insured time by work provider, customer and day, part after part.

Some streams are read at a time, so that neither memory nor the length of a query grows with the
report, and no transaction stays open while somebody's download crawls. Each part is read at one moment
and holds whole customers (or all that one work provider has of them); `now`, up to which open shifts
count, is the same for all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from django.db import connection, models
from django.db.models import QuerySet

from linking.models import Customer, WorkProvider
from shifts.desk.words import ENDINGS
from shifts.models import EndReason, Stream

MAX_DAYS = 366
# A start or end that the service heard of later than this after it happened is reported late.
LATE = timedelta(minutes=15)
# Streams read at once: few at first, so that the first rows come at once.
_FIRST_PORTION, _PORTION = 20, 200
Rows = list[list[str]]


class Kind(models.TextChoices):
    """What a report has a row for."""

    SHIFTS = "shifts", "Shifts, one a row"
    CUSTOMER_DAYS = "customer-days", "Insured time by customer and day, counted once"
    CUSTOMERS = "customers", "Insured time by customer, counted once"
    DRIVER_DAYS = "driver-days", "Insured time by work provider, customer and day"
    WORK_PROVIDER_DAYS = "work-provider-days", "Insured time by work provider and day"
    WORK_PROVIDERS = "work-providers", "Insured time by work provider"


@dataclass(frozen=True, slots=True)
class Report:
    """What is asked for: the days `[since, until)` of a time zone, and of whom.

    Sandboxes are left out unless asked for, with `with_sandboxes` or by name.
    """

    kind: Kind
    since: date
    until: date
    zone: ZoneInfo
    work_provider: WorkProvider | None = None
    customer: Customer | None = None
    with_sandboxes: bool = False

    @property
    def columns(self) -> list[str]:
        """The heading of each cell of a row."""
        return [column.format(zone=self.zone) for column in _COLUMNS[self.kind]]

    def parts(self, now: datetime) -> Iterator[Rows]:
        """The report's rows as they read at `now`, some at a time, or none of some streams.

        The database is read as they are taken.
        """
        return _PARTS[self.kind](self, now)


_COUNTED = [
    "shifts",
    "worked seconds",
    "shifts with an estimated end",
    "shifts whose start was reported late",
    "shifts whose end was reported late",
]
_ONCE = ["work providers", *_COUNTED, "insured seconds, counted once"]
_COLUMNS = {
    Kind.SHIFTS: [
        "work provider",
        "customer number",
        "driver id",
        "shift",
        "started (UTC)",
        "started ({zone})",
        "ended (UTC)",
        "ended ({zone})",
        "how it ended",
        "end is estimated",
        "worked seconds",
        "worked seconds in the period",
        "start reported late",
        "end reported late",
        "starts with the link",
    ],
    Kind.CUSTOMER_DAYS: ["customer number", "day ({zone})", *_ONCE],
    Kind.CUSTOMERS: ["customer number", *_ONCE],
    Kind.DRIVER_DAYS: ["work provider", "customer number", "day ({zone})", *_COUNTED],
    Kind.WORK_PROVIDER_DAYS: ["work provider", "day ({zone})", "customers", *_COUNTED],
    Kind.WORK_PROVIDERS: ["work provider", "customers", *_COUNTED],
}


class _Portion(NamedTuple):
    """Some streams, and the number of each customer among them; "" where work providers are mixed."""

    work_provider: str
    streams: list[int]
    numbers: dict[int, str]


class _Sums(NamedTuple):
    """What the shifts of one customer, or of several, come to on one day or in the whole period."""

    customer_id: int
    day: date
    customers: int
    work_providers: int
    shifts: int
    worked: Decimal
    estimated: int
    start_late: int
    end_late: int
    insured: Decimal

    def counted(self) -> list[str]:
        """The cells of _COUNTED."""
        marks = (self.estimated, self.start_late, self.end_late)
        return [str(self.shifts), seconds(self.worked), *map(str, marks)]

    def once(self) -> list[str]:
        """The cells of _ONCE."""
        return [str(self.work_providers), *self.counted(), seconds(self.insured)]


def seconds(value: Decimal) -> str:
    """A number of seconds, with decimals only where there are any."""
    return f"{value.normalize():f}"


def _shifts(report: Report, now: datetime) -> Iterator[Rows]:
    for portion in _by_work_provider(report):
        yield [
            [portion.work_provider, *_shift_cells(row, report.zone)]
            for row in _query(_SHIFTS, report, portion.streams, now)
        ]


def _shift_cells(row: Sequence[Any], zone: ZoneInfo) -> list[str]:
    number, driver_id, shift_id, started_at, ended_at, reason, worked, within, *marks = row
    start_late, end_late, is_clipped = marks
    return [
        number,
        driver_id,
        str(shift_id),
        *_both(started_at, zone),
        *_both(ended_at, zone),
        ENDINGS[reason],
        _yes(reason in ("", EndReason.AUTO_CLOSED)),
        seconds(worked),
        seconds(within),
        _yes(start_late),
        _yes(end_late),
        _yes(is_clipped),
    ]


def _both(at: datetime | None, zone: ZoneInfo) -> tuple[str, str]:
    if at is None:
        return "", ""
    return at.astimezone(UTC).isoformat(), at.astimezone(zone).isoformat()


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _customer_days(report: Report, now: datetime) -> Iterator[Rows]:
    for portion in _by_customer(report):
        yield [
            [portion.numbers[sums.customer_id], sums.day.isoformat(), *sums.once()]
            for sums in _summed(report, portion.streams, now, _days(report), by_customer=True)
        ]


def _customers(report: Report, now: datetime) -> Iterator[Rows]:
    for portion in _by_customer(report):
        yield [
            [portion.numbers[sums.customer_id], *sums.once()]
            for sums in _summed(report, portion.streams, now, _whole(report), by_customer=True)
        ]


def _driver_days(report: Report, now: datetime) -> Iterator[Rows]:
    for portion in _by_work_provider(report):
        name, numbers = portion.work_provider, portion.numbers
        yield [
            [name, numbers[sums.customer_id], sums.day.isoformat(), *sums.counted()]
            for sums in _summed(report, portion.streams, now, _days(report), by_customer=True)
        ]


def _work_provider_days(report: Report, now: datetime) -> Iterator[Rows]:
    for name, found in _by_day(report, now, _days(report)):
        yield [[name, sums.day.isoformat(), str(sums.customers), *sums.counted()] for sums in found]


def _work_providers(report: Report, now: datetime) -> Iterator[Rows]:
    for name, found in _by_day(report, now, _whole(report)):
        yield [[name, str(sums.customers), *sums.counted()] for sums in found]


def _by_day(report: Report, now: datetime, days: "_Days") -> Iterator[tuple[str, list[_Sums]]]:
    """Each work provider's days in order, and before them none for each portion of its streams.

    No customer has two streams at one work provider, so portions add up.
    """
    for name, portions in groupby(_by_work_provider(report), attrgetter("work_provider")):
        found: dict[date, _Sums] = {}
        for portion in portions:
            for sums in _summed(report, portion.streams, now, days, by_customer=False):
                found[sums.day] = _added(found[sums.day], sums) if sums.day in found else sums
            yield name, []
        yield name, [found[day] for day in sorted(found)]


def _added(one: _Sums, other: _Sums) -> _Sums:
    return one._replace(
        customers=one.customers + other.customers,
        shifts=one.shifts + other.shifts,
        worked=one.worked + other.worked,
        estimated=one.estimated + other.estimated,
        start_late=one.start_late + other.start_late,
        end_late=one.end_late + other.end_late,
    )


_PARTS: dict[Kind, Callable[[Report, datetime], Iterator[Rows]]] = {
    Kind.SHIFTS: _shifts,
    Kind.CUSTOMER_DAYS: _customer_days,
    Kind.CUSTOMERS: _customers,
    Kind.DRIVER_DAYS: _driver_days,
    Kind.WORK_PROVIDER_DAYS: _work_provider_days,
    Kind.WORK_PROVIDERS: _work_providers,
}


class _Days(NamedTuple):
    """Days, and the instants between them: one more than there are days."""

    days: list[date]
    bounds: list[datetime]


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """When a calendar day begins in a zone, in UTC; where its midnight is skipped, at the change."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _days(report: Report) -> _Days:
    """Each day of the period; one is 23 or 25 hours long where the clocks change."""
    days = [report.since + timedelta(n) for n in range((report.until - report.since).days)]
    return _Days(days, [midnight(day, report.zone) for day in [*days, report.until]])


def _whole(report: Report) -> _Days:
    """The period as if it were one day."""
    bounds = [midnight(day, report.zone) for day in (report.since, report.until)]
    return _Days([report.since], bounds)


def _by_work_provider(report: Report) -> Iterator[_Portion]:
    """All streams, by the work provider's name."""
    for work_provider in _asked_for(report):
        yield from _at(work_provider, report)


def _at(work_provider: WorkProvider, report: Report) -> Iterator[_Portion]:
    streams = Stream.objects.filter(work_provider=work_provider)
    if report.customer is not None:
        streams = streams.filter(customer=report.customer)
    rows = streams.values_list("customer_id", "customer__number", "pk")
    for some in _some(rows, "customer_id"):
        numbers = {customer_id: number for customer_id, number, _ in some}
        yield _Portion(work_provider.name, [pk for *_, pk in some], numbers)


def _asked_for(report: Report) -> "list[WorkProvider] | QuerySet[WorkProvider]":
    if report.work_provider is not None:
        return [report.work_provider]
    found = WorkProvider.objects.order_by("name")
    if report.customer is not None:
        return found.filter(stream__customer=report.customer)
    return found if report.with_sandboxes else found.filter(is_test=False)


def _by_customer(report: Report) -> Iterator[_Portion]:
    """All streams of some customers at a time, so that what overlaps is seen together."""
    if report.work_provider is not None:
        yield from _at(report.work_provider, report)
        return
    customers = Customer.objects.all()
    if report.customer is not None:
        customers = customers.filter(pk=report.customer.pk)
    elif not report.with_sandboxes:
        customers = customers.filter(is_test=False)
    for some in _some(customers.values_list("pk", "number"), "pk"):
        numbers = dict(some)
        streams = Stream.objects.filter(customer__in=numbers).values_list("pk", flat=True)
        yield _Portion("", list(streams), numbers)


def _some(rows: "QuerySet[Any, Any]", by: str) -> Iterator[list[Any]]:
    """The rows in order of an indexed column, which comes first in each, some at a time."""
    size, after = _FIRST_PORTION, 0
    while found := list(rows.filter(**{f"{by}__gt": after}).order_by(by)[:size]):
        yield found
        size, after = _PORTION, found[-1][0]


# A shift as it reads at `now`: `ended_at` is null while it is open, `part` is what of it lies in the
# period, up to now if it is open.
_SPANS = """
WITH spans AS (
    SELECT shift.id, customer_id, work_provider_id, link_id, started_at, start_clipped,
           CASE WHEN ended_at IS NULL AND closes_at <= %(now)s THEN closes_at ELSE ended_at END
               AS ended_at,
           CASE WHEN ended_at IS NULL AND closes_at <= %(now)s THEN 'AUTO_CLOSED' ELSE end_reason END
               AS end_reason,
           start_known_at > started_at + %(late)s AS start_late,
           ended_at IS NOT NULL AND end_reason <> 'AUTO_CLOSED' AND end_known_at > ended_at + %(late)s
               AS end_late,
           greatest(started_at, coalesce(ended_at, least(closes_at, %(now)s))) AS until
    FROM shifts_shift shift JOIN shifts_stream stream ON stream.id = stream_id
    WHERE stream_id = ANY(%(streams)s)
      AND tstzrange(started_at, ended_at) && tstzrange(%(since)s, %(until)s)
), parts AS (
    SELECT *, tstzrange(started_at, until) * tstzrange(%(since)s, %(until)s) AS part FROM spans
)
"""
_SHIFTS = f"""
{_SPANS}
SELECT number, driver_id, parts.id, started_at, ended_at, end_reason,
       extract(epoch FROM until - started_at),
       extract(epoch FROM upper(part) - lower(part)),
       start_late, end_late, start_clipped
FROM parts JOIN linking_customer c ON c.id = parts.customer_id
JOIN linking_driverlink l ON l.id = link_id
WHERE NOT isempty(part)
ORDER BY parts.customer_id, started_at, parts.id
"""  # noqa: S608
_SUMS = f"""
{_SPANS}, pieces AS (
    SELECT parts.*, n,
           part * tstzrange((%(bounds)s::timestamptz[])[n], (%(bounds)s::timestamptz[])[n + 1])
               AS piece
    FROM parts CROSS JOIN LATERAL generate_series(
        width_bucket(lower(part), %(bounds)s::timestamptz[]),
        width_bucket(upper(part) - interval '1 microsecond', %(bounds)s::timestamptz[])
    ) AS n
    WHERE NOT isempty(part)
), sums AS (
    SELECT CASE WHEN %(by_customer)s THEN customer_id ELSE 0 END AS whose, n,
           count(DISTINCT customer_id) AS customers, count(DISTINCT work_provider_id) AS work_providers,
           count(*) AS shifts, sum(extract(epoch FROM upper(piece) - lower(piece))) AS worked,
           count(*) FILTER (WHERE end_reason IN ('', 'AUTO_CLOSED')) AS estimated,
           count(*) FILTER (WHERE start_late) AS start_late,
           count(*) FILTER (WHERE end_late) AS end_late,
           range_agg(piece) FILTER (WHERE %(by_customer)s) AS cover
    FROM pieces GROUP BY 1, 2
)
SELECT whose, (%(days)s::date[])[n], customers, work_providers, shifts, worked, estimated, start_late,
       end_late,
       coalesce((SELECT sum(extract(epoch FROM upper(one) - lower(one))) FROM unnest(cover) AS one), 0)
FROM sums ORDER BY whose, n
"""  # noqa: S608


def _summed(
    report: Report, streams: list[int], now: datetime, days: _Days, *, by_customer: bool
) -> list[_Sums]:
    """Sums by day of some streams' shifts: of each customer, or of all together."""
    options = {"bounds": days.bounds, "days": days.days, "by_customer": by_customer}
    return [_Sums(*row) for row in _query(_SUMS, report, streams, now, **options)]


def _query(
    sql: str, report: Report, streams: list[int], now: datetime, **options: object
) -> list[tuple[Any, ...]]:
    values: dict[str, Any] = {
        "streams": streams,
        "now": now,
        "late": LATE,
        "since": midnight(report.since, report.zone),
        "until": midnight(report.until, report.zone),
        **options,
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor)
