"""Reports on the desk: what is asked for is shown, and downloads are whole or say that they are not."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries
from structlog.testing import capture_logs

from linking.models import WorkProvider
from shifts import reports
from shifts.desk.reports import SHOWN, _usual
from shifts.reports import Kind, Report, Rows
from tests import factories
from tests.desk.rights import READER, member
from tests.desk.test_front import page_of, text_of

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
NINE = datetime(2026, 3, 2, 9, tzinfo=UTC)
PAGE, CSV = "reports", "report-csv"


@pytest.fixture
def desk(client: Client) -> Client:
    client.force_login(member(READER))
    return client


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    monkeypatch.setattr("shifts.desk.reports._LOOK", 60)


@pytest.fixture
def courier() -> WorkProvider:
    return factories.work_provider(name="Courier Ltd", timezone="Europe/London")


def path(name: str = PAGE, **query: object) -> str:
    asked = {"kind": "shifts", "since": "2026-03-01", "until": "2026-04-01"} | query
    return f"{reverse(f'desk:{name}')}?" + "&".join(f"{key}={asked[key]}" for key in asked)


def shifts(owner: WorkProvider, count: int = 1, **fields: Any) -> None:
    for _ in range(count):
        factories.shift(owner, NINE, ended_at=NINE + HOUR, **fields)


def download(client: Client, **query: object) -> str:
    answer = client.get(path(CSV, **query))
    assert answer.status_code == 200
    assert answer.streaming
    return b"".join(answer).decode()


def cells(body: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(body.removeprefix("\ufeff"))))


# The page


def test_the_form_begins_with_the_last_whole_month(desk: Client) -> None:
    text = page_of(desk, reverse("desk:reports"))
    today = datetime.now(UTC).date()
    first = today.replace(day=1)
    assert f'name="until" value="{first}"' in text
    assert f'name="since" value="{(first - timedelta(days=1)).replace(day=1)}"' in text
    assert "<tbody>" not in text


def test_in_january_the_last_month_is_of_last_year() -> None:
    from django.http import QueryDict

    found = _usual(QueryDict(), datetime(2027, 1, 15, tzinfo=UTC))
    assert (found["since"], found["until"]) == (date(2026, 12, 1), date(2027, 1, 1))


def test_the_address_may_name_a_work_provider(desk: Client, courier: WorkProvider) -> None:
    page = page_of(desk, f"{reverse('desk:reports')}?work_provider={courier.pk}")
    assert f'<option value="{courier.pk}" selected>' in page
    assert "<tbody>" not in page


def test_all_rows_of_a_small_report_are_shown(desk: Client, courier: WorkProvider) -> None:
    shifts(courier, 2)
    page = page_of(desk, path())
    assert page.count("<td>Courier Ltd</td>") == 2
    assert "All 2 rows." in text_of(page)


def test_the_first_rows_of_a_larger_one_are_shown(desk: Client, courier: WorkProvider) -> None:
    shifts(courier, SHOWN + 1)
    page = page_of(desk, path())
    assert page.count("<td>Courier Ltd</td>") == SHOWN
    assert f"The first {SHOWN} rows; the download has them all." in text_of(page)


def test_a_report_that_just_fits_is_shown_whole(desk: Client, courier: WorkProvider) -> None:
    shifts(courier, SHOWN)
    assert f"All {SHOWN} rows." in text_of(page_of(desk, path()))


def test_a_report_without_rows_says_so(desk: Client, courier: WorkProvider) -> None:
    shifts(courier)
    assert "Nobody was on shift" in text_of(page_of(desk, path(until="2026-03-02")))


def test_a_page_does_not_wait_for_rows_that_do_not_come(
    desk: Client, courier: WorkProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    shifts(courier, 5)
    monkeypatch.setattr("shifts.desk.reports._LOOK", 0)
    monkeypatch.setattr(reports, "_FIRST_PORTION", 1)
    assert "No rows have come yet" in text_of(page_of(desk, path(until="2026-03-02")))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"since": ""}, "This field is required"),
        ({"since": "yesterday"}, "Enter a valid date"),
        ({"until": "2026-03-01"}, "Must come after the first day"),
        ({"until": "2027-03-03"}, "At most 366 days"),
        ({"since": "0001-01-01", "until": "0001-01-05"}, "Choose a day between 2000 and 2100"),
        ({"since": "9999-12-01", "until": "9999-12-31"}, "Choose a day between 2000 and 2100"),
        ({"customer": "NOBODY"}, "No customer has this number"),
        ({"customer": "A%00"}, "Null characters are not allowed"),
        ({"zone": "Mars/Olympus"}, "Select a valid choice"),
        ({"kind": "everything"}, "Select a valid choice"),
        ({"work_provider": "0"}, "Select a valid choice"),
    ],
)
def test_what_cannot_be_reported_is_explained_at_its_field(
    desk: Client, query: dict[str, str], words: str
) -> None:
    page = page_of(desk, path(**query))
    assert words in text_of(page)
    assert "<tbody>" not in page
    answer = desk.get(path(CSV, **query))
    assert answer.status_code == 302
    assert words in text_of(page_of(desk, answer["Location"]))


def test_a_whole_leap_year_can_be_asked_for(desk: Client) -> None:
    assert "At most 366 days. Make" not in page_of(
        desk, path(since="2028-01-01", until="2029-01-01")
    )


def test_the_zone_is_the_work_providers_unless_chosen(desk: Client, courier: WorkProvider) -> None:
    shifts(courier)
    assert "started (UTC)" in page_of(desk, path())
    assert "started (Europe/London)" in page_of(desk, path(work_provider=courier.pk))
    page = page_of(desk, path(work_provider=courier.pk, zone="UTC"))
    assert "started (Europe/London)" not in page


def test_a_customer_is_found_by_the_number_in_any_case(desk: Client, courier: WorkProvider) -> None:
    customer = factories.customer(number="ABC")
    factories.shift(
        courier, NINE, ended_at=NINE + HOUR, link=factories.link(courier, "x", customer=customer)
    )
    shifts(courier)
    page = page_of(desk, path(customer="%20abc%20"))
    assert "All 1 row." in text_of(page)
    assert "<td>ABC</td>" in page


def test_long_names_and_markup_are_shown_as_they_are(desk: Client) -> None:
    shifts(factories.work_provider(name="<b>" + "n" * 97))
    assert f"<td>&lt;b&gt;{'n' * 97}</td>" in page_of(desk, path())


@pytest.mark.parametrize("kind", list(Kind))
def test_the_number_of_queries_does_not_grow(
    desk: Client,
    courier: WorkProvider,
    kind: Kind,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    shifts(courier, 60)
    page_of(desk, path(kind=kind.value))
    with django_assert_max_num_queries(22):
        page_of(desk, path(kind=kind.value))


@pytest.mark.parametrize("name", [PAGE, CSV])
def test_reports_are_for_who_may_see_shifts(client: Client, name: str) -> None:
    assert client.get(path(name)).status_code == 302
    client.force_login(factories.user())
    assert client.get(path(name)).status_code in (302, 403)
    client.force_login(member())
    assert client.get(path(name)).status_code == 403
    client.force_login(member(READER))
    assert client.get(path(name)).status_code == 200
    assert client.post(path(name)).status_code == 405


# The file


@pytest.mark.parametrize("kind", list(Kind))
def test_a_file_has_headings_rows_and_a_last_line(
    desk: Client, courier: WorkProvider, kind: Kind
) -> None:
    shifts(courier)
    heading, row, last = cells(download(desk, kind=kind.value))
    assert len(heading) == len(row)
    assert last == ["# complete: 1 rows"]


def test_a_file_is_one_that_excel_reads(desk: Client, courier: WorkProvider) -> None:
    shifts(courier)
    answer = desk.get(path(CSV))
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == (
        'attachment; filename="zego-shifts-2026-03-01-to-2026-03-31.csv"'
    )
    body = b"".join(answer)
    assert body.startswith(b"\xef\xbb\xbfwork provider,")
    assert body.count(b"\xef\xbb\xbf") == 1
    assert body.endswith(b"\r\n")


def test_no_cell_of_a_file_is_a_formula(desk: Client) -> None:
    owner = factories.work_provider(name="=cmd|' /C calc'!A0")
    shifts(owner, link=factories.link(owner, "@SUM(1,2)"))
    _, row, _ = cells(download(desk))
    assert (row[0], row[2]) == ("'=cmd|' /C calc'!A0", "'@SUM(1,2)")


def test_a_file_has_every_row_and_no_row_twice(
    desk: Client, courier: WorkProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "_FIRST_PORTION", 2)
    monkeypatch.setattr(reports, "_PORTION", 3)
    shifts(courier, 12)
    _, *rows, last = cells(download(desk))
    assert len({row[3] for row in rows}) == len(rows) == 12
    assert last == ["# complete: 12 rows"]


def broken(error: Exception, after: int) -> Any:
    """Report.parts that raises after so many of its parts."""
    parts = Report.parts

    def fail(self: Report, now: datetime) -> Iterator[Rows]:
        for number, part in enumerate(parts(self, now)):
            if number == after:
                raise error
            yield part

    return fail


def test_a_file_that_failed_half_way_says_so_in_its_last_line(
    desk: Client, courier: WorkProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    shifts(courier, 3)
    monkeypatch.setattr(reports, "_FIRST_PORTION", 1)
    monkeypatch.setattr(reports, "_PORTION", 1)
    monkeypatch.setattr(Report, "parts", broken(OperationalError("gone"), after=2))
    with capture_logs() as logs:
        *_, last = cells(download(desk))
    assert last[0].startswith("# not complete: it failed after 2 rows")
    assert [line["event"] for line in logs] == ["report_failed", "report_failed"]


def test_a_database_that_is_away_from_the_start_makes_a_503(
    desk: Client, courier: WorkProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    shifts(courier)
    monkeypatch.setattr(Report, "parts", broken(OperationalError("gone"), after=0))
    answer = desk.get(path(CSV))
    assert answer.status_code == 503
    assert "Content-Disposition" not in answer


def test_each_download_is_a_line_in_the_log_without_identifiers(
    desk: Client, courier: WorkProvider
) -> None:
    customer = factories.customer(number="ABC")
    shifts(courier, link=factories.link(courier, "driver-x", customer=customer))
    with capture_logs() as logs:
        download(desk, customer="ABC", work_provider=courier.pk)
    (line,) = logs
    assert line == {
        "event": "report_downloaded",
        "log_level": "info",
        "report": "shifts",
        "since": "2026-03-01",
        "until": "2026-04-01",
        "work_provider_id": courier.pk,
        "of_one_customer": True,
        "rows": 1,
        "by": int(desk.session["_auth_user_id"]),
    }


def test_a_download_that_is_broken_off_is_logged_as_that(
    desk: Client, courier: WorkProvider
) -> None:
    shifts(courier)
    answer = desk.get(path(CSV))
    body = iter(answer)
    next(body)
    with capture_logs() as logs:
        answer.close()
        del body
    assert [line["event"] for line in logs] == ["report_broken_off"]
