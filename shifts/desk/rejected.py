"""Rejected requests on the desk: what was refused, why, and what to tell the work provider."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.db.models.fields.json import KT
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone

from linking.models import WorkProvider
from shifts.desk.advice import advice_on
from shifts.desk.lists import Asked, in_order
from shifts.desk.pages import page, show
from shifts.models import RejectedRequest
from shifts.rejected import KEPT

UNKNOWN = "unknown"
SUMMED = 2000  # rows at most
REASONS_SHOWN = 12
STATUSES = (400, 401, 411, 413)
CODES = ("INVALID_DATA", "INVALID_KEY", "MISSING_AUTH", "LENGTH_REQUIRED", "TOO_LARGE")


class Reason(NamedTuple):
    """One kind of refusal in the summary."""

    times: int
    code: str
    field: str
    words: str
    advice: str


@page("shifts.view_rejectedrequest")
def rejected(request: HttpRequest) -> HttpResponse:
    """The newest first, and above them how often what was wrong."""
    chosen = _chosen(request)
    found = _filtered(request, chosen)
    now = timezone.now()
    rows = found.select_related("work_provider", "api_key")
    shown = in_order(Asked(request, chosen, everything=True, now=now), rows, "received_at")
    reasons, is_cut = summary(found, now)
    return show(
        request,
        "desk/rejected.html",
        title=f"Rejected requests: {chosen}" if chosen else "Rejected requests",
        page=shown,
        rows=[(row, _zone(row), advice(row)) for row in shown.rows],
        reasons=reasons,
        is_cut=is_cut,
        summed=SUMMED,
        chosen=chosen,
        unknown=UNKNOWN,
        work_providers=WorkProvider.objects.order_by("name").values_list("pk", "name"),
        statuses=STATUSES,
        codes=CODES,
        days=KEPT.days,
        filters={name: request.GET.get(name, "") for name in _FILTERS},
    )


_FILTERS = ("work_provider", "status", "code", "request_id")


def _chosen(request: HttpRequest) -> WorkProvider | None:
    pk = request.GET.get("work_provider", "")
    return WorkProvider.objects.filter(pk=pk).first() if pk.isdecimal() and len(pk) < 19 else None


def _filtered(request: HttpRequest, chosen: WorkProvider | None) -> QuerySet[RejectedRequest]:
    found = RejectedRequest.objects.all()
    if chosen is not None:
        found = found.filter(work_provider=chosen)
    elif request.GET.get("work_provider"):
        found = found.filter(work_provider__isnull=True)
    status, code = request.GET.get("status", ""), request.GET.get("code", "")
    if status in map(str, STATUSES):
        found = found.filter(status=int(status))
    if code in CODES:
        found = found.filter(code=code)
    if request_id := request.GET.get("request_id", "").strip():
        found = _with_id(found, request_id)
    return found


def _with_id(found: QuerySet[RejectedRequest], text: str) -> QuerySet[RejectedRequest]:
    try:
        return found.filter(request_id=UUID(text))
    except (ValueError, ValidationError):
        return found.none()


def summary(found: QuerySet[RejectedRequest], now: datetime) -> tuple[list[Reason], bool]:
    """How often what was wrong in the last 24 hours, and whether there were more than are summed up."""
    lately = found.filter(received_at__gt=now - timedelta(hours=24)).order_by("-received_at")
    rows: list[Any] = list(
        lately.annotate(field=KT("errors__0__field"), reason=KT("errors__0__reason")).values_list(
            "code", "field", "reason", "hint"
        )[: SUMMED + 1]
    )
    counts = Counter(
        (code, field or "", reason or hint or code) for code, field, reason, hint in rows[:SUMMED]
    )
    reasons = [
        Reason(count, code, field, words, advice_on(words, code))
        for (code, field, words), count in counts.most_common(REASONS_SHOWN)
    ]
    return reasons, len(rows) > SUMMED


def _zone(row: RejectedRequest) -> str:
    return row.work_provider.timezone if row.work_provider else "UTC"


def advice(row: RejectedRequest) -> str:
    """What to tell whoever sent it."""
    words = row.errors[0]["reason"] if row.errors else row.hint
    return advice_on(words, row.code)


urlpatterns = [path("rejected/", rejected, name="rejected")]
