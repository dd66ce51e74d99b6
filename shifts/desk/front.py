"""The desk's front page: what needs somebody first, then how the service does.

It reads the figures that the sweeper keeps (shifts/rollup.py), and of the big tables no more than the
head of an index: the oldest submission that is pending, and up to a hundred rows to look at.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.safestring import SafeString

from linking.models import DeskAction, WorkProvider
from shifts.desk import charts, lists, words
from shifts.desk.pages import page, show
from shifts.models import MinuteFigures, Seen, Standing, Submission

STALE = timedelta(minutes=1)  # a sweeper looks every quarter of it
BEHIND = timedelta(minutes=1)
KEEPS_UP = timedelta(seconds=10)
SHOWN = 10
MANY = 100
DAY = timedelta(days=1)

urlpatterns: list[URLPattern] = []


class Card(NamedTuple):
    """A number that leads to the list behind it; `tone` is "bad" or "warn" where it needs somebody."""

    list: str
    number: str
    note: str = ""
    tone: str = ""

    @property
    def label(self) -> str:
        """The list's own title."""
        return lists.LISTS[self.list].title


class Held(NamedTuple):
    """Held events of a work provider, and how long its bar is."""

    standing: Standing
    bar: SafeString


class Clock(NamedTuple):
    """A work provider's clock trouble in words, and its median where the words do not say it."""

    standing: Standing
    words: str
    median: str


@dataclass(frozen=True, slots=True)
class Picture:
    """All that the page shows; `stale` is the age of the figures where they are too old, else ""."""

    as_of: datetime
    stale: str
    wanting: list[Card]
    quiet: list[Card]
    chart: charts.Chart
    silent: list[Standing]
    clocks: list[Clock]
    held: list[Held]
    running: list[DeskAction]

    @property
    def is_well(self) -> bool:
        """Whether nothing needs anybody, as far as is known."""
        return not self.wanting and not self.stale


@page("shifts.view_shift")
def front(request: HttpRequest) -> HttpResponse:
    """The picture of the service as it is now."""
    now = timezone.now()
    standings = list(Standing.objects.select_related("work_provider").order_by("pk"))
    context: dict[str, Any] = {"picture": picture(standings, now)} if standings else {}
    context["is_new"] = not standings and not WorkProvider.objects.exists()
    return show(request, "desk/front.html", title="Desk", shown=SHOWN, **context)


def picture(standings: Sequence[Standing], now: datetime) -> Picture:
    """The page from how every work provider stands, in a number of queries that depends on nothing."""
    as_of = max(one.looked_at for one in standings)
    silent = sorted(
        (one for one in standings if one.silent_since is not None),
        key=lambda one: one.silent_since or now,
        reverse=True,
    )
    clocks = [one for one in standings if _is_clock_trouble(one)]
    clocks.sort(key=lambda one: (one.clock_cluster is None, -one.clock_cluster_percent, one.pk))
    held = sorted((one for one in standings if one.held), key=lambda one: -one.held)
    alarms = [
        _alarm("failed", sum(one.failed for one in standings), tone="bad"),
        _alarm("silent", len(silent)),
        _alarm("clock", len(clocks)),
        _alarm("waiting-links", sum(one.waiting_links for one in standings)),
        _to_look_at("taken", lists.taken(), Seen.Kind.LINK_REQUEST),
        _to_look_at("shortened", lists.shortened(), Seen.Kind.REVISION),
        _to_look_at("orphans", lists.orphans(), Seen.Kind.ORPHAN),
    ]
    cards = [_digesting(standings, now), *_insured(standings), *alarms]
    return Picture(
        as_of=as_of,
        stale=words.length(now - as_of) if now - as_of > STALE else "",
        wanting=sorted((card for card in cards if card.tone), key=lambda card: card.tone),
        quiet=[card for card in cards if not card.tone],
        chart=_chart(as_of),
        silent=silent[:SHOWN],
        clocks=[_clock(one, now) for one in clocks[:SHOWN]],
        held=[Held(one, charts.bar(one.held, held[0].held)) for one in held[:SHOWN]],
        running=list(
            DeskAction.objects.filter(finished_at__isnull=True)
            .select_related("actor", "work_provider")
            .order_by("pk")[:SHOWN]
        ),
    )


def _clock(standing: Standing, now: datetime) -> Clock:
    cluster, median = standing.clock_cluster, standing.clock_median
    usual = lists.usual(median) if median is not None and cluster is not None else ""
    return Clock(standing, lists.clock_words(standing, now), usual)


def _digesting(standings: Sequence[Standing], now: datetime) -> Card:
    """The oldest is that of this moment, not of the last look."""
    pending = Submission.objects.filter(digested_at__isnull=True, failed_at__isnull=True)
    oldest = pending.order_by("pk").values_list("received_at", flat=True).first()
    if oldest is None:
        return Card("pending", "0", "digesting keeps up")
    waited, number = now - oldest, f"{max(sum(one.pending for one in standings), 1):,}"
    if waited <= KEEPS_UP:
        return Card("pending", number, "digesting keeps up")
    note = f"digesting is {words.length(waited)} behind"
    return Card("pending", number, note, "bad" if waited > BEHIND else "")


def _insured(standings: Sequence[Standing]) -> list[Card]:
    """Sandboxes are told apart: nobody is insured there."""

    def card(name: str, count: Callable[[Standing], int], note: str = "") -> Card:
        live = sum(count(one) for one in standings if not one.work_provider.is_test)
        tests = sum(count(one) for one in standings if one.work_provider.is_test)
        notes = [note, f"{tests:,} more in sandboxes" if tests else ""]
        return Card(name, f"{live:,}", ", ".join(filter(None, notes)))

    return [
        card("open", lambda one: one.open_shifts),
        card("auto-closed", lambda one: one.auto_closed, "since midnight UTC"),
        card("held", lambda one: one.held),
    ]


def _to_look_at(name: str, rows: QuerySet[Any], kind: Seen.Kind) -> Card:
    """Counted up to a hundred: each has to be looked up."""
    count = lists.up_to(lists.unseen(rows, kind), MANY)
    card = _alarm(name, count)
    return card if count <= MANY else card._replace(number=f"{MANY}+")


def _alarm(name: str, count: int, tone: str = "warn") -> Card:
    """What needs somebody unless there is none."""
    return Card(name, f"{count:,}", tone=tone if count else "")


def _is_clock_trouble(standing: Standing) -> bool:
    """As lists.CLOCK_TROUBLE has it."""
    median = standing.clock_median
    return standing.clock_cluster is not None or (median is not None and median <= lists.AHEAD)


def _chart(as_of: datetime) -> charts.Chart:
    until = as_of.replace(second=0, microsecond=0)
    rows = MinuteFigures.objects.filter(minute__gte=until - DAY, minute__lt=until)
    minutes = rows.order_by("minute").values_list("minute", "accepted", "digested")
    return charts.per_minute(
        (charts.Minute(*row) for row in minutes), since=until - DAY, until=until
    )
