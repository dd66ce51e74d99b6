"""Reports on the desk: what is asked for, a look at the first rows, and the whole as CSV."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from linking.models import Customer, WorkProvider
from shifts.desk.pages import DeskForm, actor, page, show
from shifts.payload import FIRST_YEAR, LAST_YEAR
from shifts.reports import LATE, MAX_DAYS, Kind, Report, Rows
from zego_api import spreadsheet

log = structlog.get_logger(__name__)

SHOWN = 20
_LOOK = 0.12  # seconds that are spent on the first rows


def _day_input() -> forms.DateInput:
    """A browser's own calendar; it takes and gives ISO dates, whatever it shows."""
    return forms.DateInput({"type": "date"}, format="%Y-%m-%d")


class ReportForm(DeskForm):
    """What a report is about; once it is valid, `report` is it."""

    kind = forms.ChoiceField(label="Report", choices=Kind.choices)
    since = forms.DateField(label="First day", widget=_day_input())
    until = forms.DateField(
        label="Up to, not including",
        help_text=f"All of October is 1 October up to 1 November. At most {MAX_DAYS} days.",
        widget=_day_input(),
    )
    work_provider = forms.ModelChoiceField(
        WorkProvider.objects.order_by("name"), required=False, empty_label="All"
    )
    customer = forms.CharField(
        label="Customer number", required=False, help_text="Empty: all customers."
    )
    zone = forms.ChoiceField(
        label="Time zone of the days",
        required=False,
        help_text="Days begin at midnight there. Instants are given in UTC as well.",
    )
    with_sandboxes = forms.BooleanField(label="With sandboxes", required=False)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        zones = WorkProvider.objects.order_by("timezone").values_list("timezone", flat=True)
        known = dict.fromkeys(["UTC", *zones.distinct()])
        choices = self.fields["zone"]
        assert isinstance(choices, forms.ChoiceField)
        choices.choices = [
            ("", "The work provider's, else UTC"),
            *((name, name) for name in known),
        ]
        self.fields["customer"].widget.attrs |= {"autocomplete": "off", "spellcheck": "false"}

    def clean_customer(self) -> Customer | None:
        number = self.cleaned_data["customer"].upper()
        if not number:
            return None
        found = Customer.objects.filter(number=number).first()
        if found is None:
            raise ValidationError("No customer has this number. Look them up in the search.")
        return found

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        since, until = cleaned.get("since"), cleaned.get("until")
        for name, day in (("since", since), ("until", until)):
            if day and not FIRST_YEAR <= day.year <= LAST_YEAR:
                self.add_error(name, f"Choose a day between {FIRST_YEAR} and {LAST_YEAR}.")
        if since and until and until <= since:
            self.add_error("until", "Must come after the first day: it is not in the report.")
        elif since and until and (until - since).days > MAX_DAYS:
            self.add_error("until", f"At most {MAX_DAYS} days. Make one report a year.")
        return cleaned

    @property
    def report(self) -> Report:
        """The report that a valid form asks for."""
        asked = self.cleaned_data
        provider: WorkProvider | None = asked["work_provider"]
        zone = asked["zone"] or (provider.timezone if provider else "UTC")
        return Report(
            kind=Kind(asked["kind"]),
            since=asked["since"],
            until=asked["until"],
            zone=ZoneInfo(zone),
            work_provider=provider,
            customer=asked["customer"],
            with_sandboxes=asked["with_sandboxes"],
        )


@dataclass(frozen=True, slots=True)
class Look:
    """The first rows of a report, and whether they are all."""

    report: Report
    rows: Rows
    is_all: bool


@page("shifts.view_shift")
@require_safe
def reports(request: HttpRequest) -> HttpResponse:
    """What to report, and the first rows of what was asked for."""
    now = timezone.now()
    asked = "kind" in request.GET
    form = ReportForm(request.GET) if asked else ReportForm(initial=_usual(request.GET, now))
    look = _look(form.report, now) if asked and form.is_valid() else None
    late = LATE // timedelta(minutes=1)
    return show(request, "desk/reports.html", title="Reports", form=form, look=look, late=late)


@page("shifts.view_shift")
@require_safe
def report_csv(request: HttpRequest) -> HttpResponse:
    """The whole report, sent as it is made; what cannot be asked for leads back to the form."""
    form = ReportForm(request.GET)
    if not form.is_valid():
        asked = request.GET.copy()
        asked.setdefault("kind", "")
        return redirect(f"{reverse('desk:reports')}?{asked.urlencode()}")
    report = form.report
    parts = report.parts(timezone.now())
    # A database that is away makes a 503 here, before anything has been sent.
    first = next(parts, [])
    name = f"zego-{report.kind}-{report.since}-to-{report.until - timedelta(days=1)}.csv"
    return StreamingHttpResponse(  # type: ignore[return-value]  # to a browser it is one
        Download(report, actor(request).pk).lines(chain([first], parts)),
        content_type=spreadsheet.CONTENT_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


class Download:
    """One report on its way out, and its line in the log.

    The last line says whether the file is whole: `# complete: 12 rows`. The HTTP server ends an answer
    that breaks off as if that had been all, so whoever reads a file without that line has a part.
    """

    def __init__(self, report: Report, user_id: int) -> None:
        self.report = report
        self.user_id = user_id
        self.count = 0
        self.outcome = "report_broken_off"

    def lines(self, parts: Iterator[Rows]) -> Iterator[str]:
        """The CSV file, a piece for each part."""
        try:
            yield spreadsheet.MARK + "".join(spreadsheet.lines([self.report.columns]))
            for rows in parts:
                self.count += len(rows)
                yield "".join(spreadsheet.lines(rows))
            self.outcome = "report_downloaded"
            yield f"# complete: {self.count} rows\r\n"
        except Exception:
            self.outcome = "report_failed"
            log.exception("report_failed", report=self.report.kind.value)
            yield f"# not complete: it failed after {self.count} rows; download it again\r\n"
        finally:
            self._log()

    def _log(self) -> None:
        report = self.report
        log.info(
            self.outcome,
            report=report.kind.value,
            since=report.since.isoformat(),
            until=report.until.isoformat(),
            work_provider_id=report.work_provider and report.work_provider.pk,
            of_one_customer=report.customer is not None,
            rows=self.count,
            by=self.user_id,
        )


def _look(report: Report, now: datetime) -> Look:
    """Some first rows, if they come soon; a page does not wait for a report that has none."""
    give_up = time.monotonic() + _LOOK
    rows: Rows = []
    for part in report.parts(now):
        rows += part
        if len(rows) > SHOWN or time.monotonic() > give_up:
            return Look(report, rows[:SHOWN], is_all=False)
    return Look(report, rows, is_all=True)


def _usual(given: QueryDict, now: datetime) -> dict[str, object]:
    """The last whole month, and what the address says besides."""
    until = now.date().replace(day=1)
    since = (until - timedelta(days=1)).replace(day=1)
    return {"since": since, "until": until, **given.dict()}


urlpatterns = [
    path("reports/", reports, name="reports"),
    path("reports/csv", report_csv, name="report-csv"),
]
