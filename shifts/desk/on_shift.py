"""Who was on shift for a work provider at a moment."""

from datetime import datetime
from typing import Any, NamedTuple

from django import forms
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from linking.models import WorkProvider
from shifts.desk.cover import provider_of
from shifts.desk.pages import PAGE, DeskForm, InstantField, page, show
from shifts.desk.words import ENDING_TAGS, Tag
from shifts.models import Shift

COUNTED = 1_000


class OnShiftForm(DeskForm):
    """For whom, and when."""

    work_provider = forms.ModelChoiceField(
        WorkProvider.objects.order_by("name"), empty_label="Choose"
    )
    at = InstantField(label="Moment", required=False)

    def __init__(self, *args: Any, zone: str = "", **options: Any) -> None:
        super().__init__(*args, **options)
        moment = self.fields["at"]
        assert isinstance(moment, InstantField)
        moment.zone = zone or "UTC"
        there = f"in {zone}" if zone else "in the work provider's zone"
        moment.help_text = f"Such as 2026-11-21 18:30, {there}; add Z for UTC. Empty: now."


class OnShift(NamedTuple):
    """Somebody who was on shift, as the shift reads now."""

    shift: Shift
    end: datetime | None
    tag: Tag


@page("shifts.view_shift")
def on_shift(request: HttpRequest) -> HttpResponse:
    """Who was on shift for a work provider at a moment."""
    provider = provider_of(request.GET.get("work_provider", ""))
    form = OnShiftForm(request.GET or None, zone=provider.timezone if provider else "")
    answer = {}
    if request.GET and form.is_valid():
        answer = _who_was_on(request, form.cleaned_data["work_provider"], form.cleaned_data["at"])
    return show(request, "desk/on_shift.html", title="Who was on shift", form=form, **answer)


def _who_was_on(
    request: HttpRequest, provider: WorkProvider, asked_at: datetime | None
) -> dict[str, Any]:
    now = timezone.now()
    at = asked_at or now
    after = request.GET.get("after", "")
    first = int(after) if after.isascii() and after.isdigit() and len(after) < 19 else 0
    found = shifts_at(provider, at, after=first, limit=PAGE + 1)
    query = request.GET.copy()
    query["at"] = at.isoformat()
    query.pop("after", None)
    start = f"?{query.urlencode()}"
    query["after"] = str(found[PAGE - 1].stream.customer_id) if len(found) > PAGE else ""
    return {
        "provider": provider,
        "zone": provider.timezone,
        "at": at,
        "is_now": asked_at is None,
        "rows": [_on_shift(shift, now) for shift in found[:PAGE]],
        "count": len(found) if not first and len(found) <= PAGE else count_at(provider, at),
        "counted": COUNTED,
        "more": f"?{query.urlencode()}" if len(found) > PAGE else "",
        "first": start if first else "",
        "close_out": at <= now,
    }


def _on_shift(shift: Shift, now: datetime) -> OnShift:
    end, reason = shift.end_as_of(now)
    return OnShift(shift, end, ENDING_TAGS[reason])


# The shift that holds an instant is one of the last two logins' before it: a second shift (R7) begins
# later than the login that opened it, all others end before the next login. So each stream costs a few
# probes of an index, however long its history.
_AT = """
FROM shifts_stream st
CROSS JOIN LATERAL (
    SELECT min(login_at) AS since FROM (
        SELECT DISTINCT login_at FROM shifts_shift
        WHERE stream_id = st.id AND login_at <= %(at)s
        ORDER BY login_at DESC LIMIT 2
    ) AS logins
) AS latest
JOIN shifts_shift s ON s.stream_id = st.id
    AND s.login_at BETWEEN latest.since AND %(at)s AND s.started_at <= %(at)s
    AND coalesce(s.ended_at, s.closes_at, 'infinity') > %(at)s
WHERE st.work_provider_id = %(work_provider)s AND st.customer_id > %(after)s
"""


def shifts_at(
    work_provider: WorkProvider, at: datetime, *, after: int = 0, limit: int
) -> list[Shift]:
    """The shifts that held `at`, in the order of their customers' ids, of those after `after`."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT s.id {_AT} ORDER BY st.customer_id LIMIT %(limit)s",
            {"work_provider": work_provider.pk, "at": at, "after": after, "limit": limit},
        )
        ids = [row[0] for row in cursor]
    rows = Shift.objects.select_related("stream__customer__user", "link").in_bulk(ids)
    return [rows[pk] for pk in ids if pk in rows]


def count_at(work_provider: WorkProvider, at: datetime) -> int:
    """How many there are, up to one more than COUNTED."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM (SELECT 1 {_AT} LIMIT %(limit)s) AS found",  # noqa: S608
            {"work_provider": work_provider.pk, "at": at, "after": 0, "limit": COUNTED + 1},
        )
        count: int = cursor.fetchone()[0]
    return count
