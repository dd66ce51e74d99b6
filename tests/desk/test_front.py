"""The desk's front page: every figure is right and leads to its list, however large the service is."""

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from linking.desk import record
from linking.flows import TAKEN
from linking.models import DeskAction, LinkRequest, User, WorkProvider
from shifts import rollup
from shifts.desk import charts
from shifts.desk.charts import Minute, nice, per_minute
from shifts.models import MinuteFigures, Seen, ShiftRevision, Standing, Submission
from tests import factories

pytestmark = pytest.mark.django_db
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def desk(client: Client) -> Client:
    """A member of staff who may read, and nothing else."""
    client.force_login(staff("shifts.view_shift"))
    return client


def staff(*permissions: str) -> User:
    made = factories.user(is_staff=True)
    for name in permissions:
        app, codename = name.split(".")
        made.user_permissions.add(
            Permission.objects.get(content_type__app_label=app, codename=codename)
        )
    return made


def page_of(client: Client, path: str = "/admin/") -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def text_of(page: str) -> str:
    """The page's own words, without tags."""
    body = page[page.index('class="d-desk"') :]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def cards(page: str) -> dict[str, tuple[str, str]]:
    """List name to (number, tone) of each figure."""
    found = re.findall(
        r'<a class="d-figure( d-\w+)?" href="([^"]+)"><strong>([^<]+)</strong>', page
    )
    names = {reverse("desk:list", args=[name]): name for name in NAMES}
    return {names[href]: (number, tone.removeprefix(" d-")) for tone, href, number in found}


NAMES = "pending failed held open auto-closed silent clock waiting-links taken shortened orphans".split()


def stand(provider: WorkProvider, now: datetime, **fields: object) -> Standing:
    return Standing.objects.create(work_provider=provider, looked_at=now, **fields)


def test_an_empty_service_says_how_to_begin(client: Client) -> None:
    client.force_login(staff("shifts.view_shift", "linking.add_workprovider"))
    page = page_of(client)
    assert "There are no work providers yet" in page
    assert reverse("desk:add-work-provider") in page
    assert cards(page) == {}


def test_without_any_figures_the_sweeper_is_asked_for(desk: Client) -> None:
    factories.work_provider()
    page = page_of(desk)
    assert "There are no figures yet" in page
    assert 'role="alert"' in page


def test_all_is_well_in_one_line(desk: Client, now: datetime) -> None:
    stand(factories.work_provider(), now)
    page = page_of(desk)
    assert "All is well" in page
    assert cards(page) == dict.fromkeys(NAMES, ("0", ""))
    assert "Nothing was accepted and nothing digested." in page
    assert f"Figures as of {now:%Y-%m-%d %H:%M:%S} UTC" in text_of(page)


def test_a_sweeper_that_is_down_is_said_loudly(desk: Client, now: datetime) -> None:
    stand(factories.work_provider(), now - 55 * timedelta(seconds=1))
    assert "the sweeper is down" not in page_of(desk)
    Standing.objects.update(looked_at=now - 12 * MINUTE)
    page = page_of(desk)
    assert "12 min old: the sweeper is down" in text_of(page).replace("12 min 0 s", "12 min")
    assert "All is well" not in page
    assert page.index('role="alert"') < page.index("What needs somebody")


def test_every_figure_is_the_sum_and_leads_to_its_list(desk: Client, now: datetime) -> None:
    one, two = factories.work_provider(), factories.work_provider()
    sandbox = factories.work_provider(is_test=True)
    stand(one, now, pending=2, failed=1, held=1000, open_shifts=5, auto_closed=7, waiting_links=1)
    stand(two, now, pending=1, failed=2, held=234, open_shifts=1000, auto_closed=1, waiting_links=3)
    stand(sandbox, now, open_shifts=4, held=1)
    factories.submission(one, now - 20 * timedelta(seconds=1))
    page = page_of(desk)
    assert cards(page) == {
        "failed": ("3", "bad"),
        "waiting-links": ("4", "warn"),
        "pending": ("3", ""),
        "open": ("1,005", ""),
        "auto-closed": ("8", ""),
        "held": ("1,234", ""),
        **dict.fromkeys(["silent", "clock", "taken", "shortened", "orphans"], ("0", "")),
    }
    assert "4 more in sandboxes" in page
    assert "All is well" not in page
    assert page.index("Failed submissions</span>") < page.index("Links to confirm</span>")


@pytest.mark.parametrize(
    ("waited", "words", "tone"),
    [
        (timedelta(seconds=5), "digesting keeps up", ""),
        (timedelta(seconds=30), "digesting is 3", ""),
        (timedelta(minutes=12), "digesting is 12 min behind", "bad"),
    ],
)
def test_how_far_behind_the_digest_is_comes_from_this_moment(
    desk: Client, now: datetime, waited: timedelta, words: str, tone: str
) -> None:
    """The sweeper may have looked before."""
    provider = factories.work_provider()
    stand(provider, now, pending=0)
    factories.submission(provider, now - DAY, digested_at=now)
    factories.submission(provider, now - DAY, failed_at=now)
    factories.submission(provider, now - waited)
    page = page_of(desk)
    assert words in text_of(page)
    assert cards(page)["pending"] == ("1", tone)


def test_who_has_gone_silent_and_whose_clock_is_off(desk: Client, now: datetime) -> None:
    quiet = factories.work_provider(name="Quiet Ltd", timezone="Europe/Paris")
    early = factories.work_provider(name="Early Ltd")
    ahead = factories.work_provider(name="Ahead Ltd")
    since = datetime(2026, 7, 1, 10, tzinfo=UTC)
    stand(quiet, now, silent_since=since)
    stand(
        early,
        now,
        clock_median=-HOUR,
        clock_cluster=-HOUR,
        clock_cluster_percent=97,
        clock_cluster_on=now.date(),
    )
    stand(ahead, now, clock_median=-10 * MINUTE)
    stand(factories.work_provider(), now, clock_median=5 * MINUTE)
    page = page_of(desk)
    words = text_of(page)
    assert "Quiet Ltd since 2026-07-01 12:00:00 CEST 10:00:00 UTC" in words
    assert "Early Ltd 60 minutes early: local time sent as UTC? 97% of its events" in words
    assert "Ahead Ltd 10 minutes early: is their clock ahead?" in words
    assert cards(page)["silent"] == ("1", "warn")
    assert cards(page)["clock"] == ("2", "warn")
    assert f"{reverse('desk:list', args=['silent'])}?work_provider={quiet.pk}" in page
    assert reverse("desk:reread") not in page, "a reader cannot read anything again"
    desk.force_login(staff("shifts.view_shift", "linking.mend_in_bulk"))
    assert f"{reverse('desk:reread')}?work_provider={early.pk}" in page_of(desk)


def test_held_events_are_shown_of_the_ten_with_the_most(desk: Client, now: datetime) -> None:
    for number in range(1, 13):
        stand(
            factories.work_provider(name=f"Holder {number}"),
            now,
            held=number * 1000,
            oldest_held_at=now - 3 * DAY,
        )
    page = page_of(desk)
    words = text_of(page)
    assert words.index("Holder 12 12,000") < words.index("Holder 11 11,000")
    assert "Holder 3 3,000" in words
    assert "Holder 2 2,000" not in words
    assert "All with held events" in words


def test_what_is_to_be_looked_at_is_counted_until_it_was_seen(desk: Client, now: datetime) -> None:
    provider = factories.work_provider()
    stand(provider, now)
    shift = factories.shift(provider, now - DAY, ended_at=now - HOUR)
    revisions = [
        ShiftRevision.objects.create(
            shift_id=shift.pk,
            stream=shift.stream,
            change="AMENDED",
            cause="EVENT",
            old_started_at=now - DAY,
            shortens_cover=shortens,
            created_at=now,
        )
        for shortens in (True, True, False)
    ]
    orphan = factories.event(provider, outcome="ORPHAN", after_ignored_login=True)
    taken = LinkRequest.objects.create(
        work_provider=provider,
        customer=factories.customer(),
        driver_id="taken",
        agreed_at=now,
        state="REFUSED",
        reason=TAKEN,
        decided_at=now,
    )
    LinkRequest.objects.create(
        work_provider=provider,
        customer=factories.customer(),
        driver_id="refused by staff",
        agreed_at=now,
        state="REFUSED",
        reason="Not them.",
        decided_at=now,
        decided_by=factories.user(),
    )
    found = cards(page_of(desk))
    assert [found[name] for name in ("shortened", "orphans", "taken")] == [
        ("2", "warn"),
        ("1", "warn"),
        ("1", "warn"),
    ]
    action = record(DeskAction.Kind.SEEN, actor=factories.user(), reason="Looked.", now=now)
    for kind, target in (
        (Seen.Kind.REVISION, revisions[0].pk),
        (Seen.Kind.ORPHAN, orphan.pk),
        (Seen.Kind.LINK_REQUEST, taken.pk),
        (Seen.Kind.ORPHAN, revisions[1].pk),  # another kind of the same number
    ):
        Seen.objects.create(kind=kind, target=target, action=action)
    found = cards(page_of(desk))
    assert [found[name] for name in ("shortened", "orphans", "taken")] == [
        ("1", "warn"),
        ("0", ""),
        ("0", ""),
    ]


def test_more_than_a_hundred_are_not_counted(desk: Client, now: datetime) -> None:
    provider = factories.work_provider()
    stand(provider, now)
    for _ in range(100):
        factories.event(provider, outcome="ORPHAN", after_ignored_login=True)
    assert cards(page_of(desk))["orphans"] == ("100", "warn")
    factories.event(provider, outcome="ORPHAN", after_ignored_login=True)
    assert cards(page_of(desk))["orphans"] == ("100+", "warn")


def test_what_is_under_way_in_the_background(desk: Client, now: datetime) -> None:
    provider = factories.work_provider(name="Courier Ltd")
    stand(provider, now)
    assert "Under way in the background" not in page_of(desk)
    running = record(
        DeskAction.Kind.CLOSE_OUT,
        actor=factories.user(),
        reason="Their system was down.",
        now=now - 5 * MINUTE,
        work_provider=provider,
        in_background=True,
    )
    page = page_of(desk)
    assert f"{running.actor} added missing logouts Courier Ltd, begun 5 min ago" in text_of(page)
    assert reverse("desk:action", args=[running.pk]) in page


def test_the_chart_is_of_the_last_day_as_of_the_figures(desk: Client, now: datetime) -> None:
    stand(factories.work_provider(), now)
    minute = now.replace(second=0, microsecond=0)
    for back, accepted in ((DAY + MINUTE, 10_000), (DAY, 1), (3 * HOUR, 1234), (MINUTE, 5)):
        MinuteFigures.objects.create(minute=minute - back, accepted=accepted, digested=accepted)
    MinuteFigures.objects.create(minute=minute, accepted=10_000)  # has not ended yet
    words = text_of(page_of(desk))
    assert (
        "1,240 events were accepted and 1,240 digested; the most in one minute were 1,234 accepted"
        f" at {minute - 3 * HOUR:%H:%M} UTC." in words
    )


def test_the_queries_are_few_however_many_work_providers_there_are(
    desk: Client, now: datetime, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    def grow(count: int) -> None:
        for _ in range(count):
            provider = factories.work_provider()
            stand(
                provider,
                now,
                held=1,
                oldest_held_at=now,
                silent_since=now - HOUR,
                clock_cluster=-HOUR,
                clock_median=-HOUR,
            )
            record(
                DeskAction.Kind.CLOSE_OUT,
                actor=factories.user(),
                reason="x",
                now=now,
                work_provider=provider,
                in_background=True,
            )

    grow(1)
    page_of(desk)
    with django_assert_max_num_queries(12) as few:
        page_of(desk)
    grow(30)
    with django_assert_max_num_queries(len(few)):
        page_of(desk)


def test_the_page_never_reads_more_of_the_hot_tables_than_the_head_of_an_index(
    desk: Client, now: datetime, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    stand(factories.work_provider(), now)
    with django_assert_max_num_queries(12) as captured:
        page_of(desk)
    for query in captured.captured_queries:
        for table in (
            "shifts_submission",
            "shifts_shiftevent",
            "shifts_shift",
            "shifts_shiftrevision",
        ):
            if f'FROM "{table}"' in query["sql"]:
                assert " LIMIT " in query["sql"]


@pytest.mark.parametrize("fields", [{}, {"is_staff": True}])
def test_only_staff_with_the_permission_see_it(client: Client, fields: dict[str, Any]) -> None:
    stand(factories.work_provider(), datetime.now(UTC), failed=3)
    client.force_login(factories.user(**fields))
    answer = client.get("/admin/")
    assert answer.status_code == (403 if fields else 302)
    assert b"d-figure" not in answer.content


def test_strangers_are_sent_to_the_login(client: Client) -> None:
    answer = client.get("/admin/")
    assert answer.status_code == 302
    assert "login" in answer["Location"]


def test_the_whole_from_a_request_to_the_page(desk: Client, now: datetime) -> None:
    """A round of the sweeper is all that stands between."""
    provider = factories.work_provider(name="Courier Ltd")
    factories.submission(provider, now - 2 * MINUTE, 7)
    factories.submission(provider, now - 90 * MINUTE, 5, failed_at=now)
    rollup.keep_up(now)
    page = page_of(desk)
    assert cards(page)["pending"] == ("1", "bad")
    assert cards(page)["failed"] == ("1", "bad")
    assert "12 events were accepted and 0 digested" in page
    Submission.objects.filter(failed_at=None).update(digested_at=now)
    rollup.keep_up(now)
    assert cards(page_of(desk))["pending"] == ("0", "")


# The chart


START = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_a_chart_draws_runs_of_one_height_as_one_step() -> None:
    minutes = [Minute(START + n * MINUTE, 5, 5 if n else 0) for n in range(3)]
    chart = per_minute(minutes, since=START - MINUTE, until=START + 4 * MINUTE)
    assert chart.top == 10
    assert 'class="f-area" d="M0 1000V1000h1V500h3V1000h1V1000Z"' in chart.drawing
    assert 'class="f-line" d="M0 1000h2V500h2V1000h1"' in chart.drawing


def test_the_table_of_a_chart_is_by_the_hour_the_latest_first() -> None:
    minutes = [Minute(START + n * MINUTE, n, 1) for n in (0, 59, 60)]
    chart = per_minute(minutes, since=START, until=START + 2 * HOUR)
    assert chart.hours == [(START + HOUR, 60, 1, 60), (START, 59, 2, 59)]
    assert "the most in one minute were 60 accepted at 13:00 UTC" in chart.summary


def test_the_axis_of_time_is_marked_every_three_hours_of_the_day() -> None:
    chart = per_minute([], since=START - 30 * MINUTE, until=START + 9 * HOUR + 30 * MINUTE)
    assert per_minute([], since=START, until=START + 3 * HOUR + MINUTE).ticks == []
    assert chart.ticks == [  # no label reaches out of the drawing
        (START, 5.0),
        (START + 3 * HOUR, 35.0),
        (START + 6 * HOUR, 65.0),
        (START + 9 * HOUR, 95.0),
    ]


@pytest.mark.parametrize(
    ("most", "top"),
    [(0, 10), (10, 10), (11, 20), (21, 50), (51, 100), (101, 200), (999, 1000), (1001, 2000)],
)
def test_the_top_of_an_axis_is_a_round_number(most: int, top: int) -> None:
    assert nice(most) == top


def test_a_bar_is_never_nothing_where_there_is_something() -> None:
    assert 'width="1"' in charts.bar(1, 1_000_000)
    assert 'width="100"' in charts.bar(7, 7)
    assert 'width="0"' in charts.bar(0, 7)


def test_the_drawing_of_offsets_marks_the_cluster() -> None:
    drawing = charts.offsets({-4: 30, 0: 60, 90: 1000}, -4)
    assert drawing.count("<rect") == 2, "what is further away than any zone is left out"
    assert 'x="52" y="39" width="1" height="1" class="f-odd"' in drawing
