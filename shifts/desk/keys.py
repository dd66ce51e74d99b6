"""Keys and link secrets on the desk: issued, rolled, revoked, and what a key has sent lately."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import path, reverse
from django.utils import timezone

from linking import keys
from linking.models import ApiKey, DeskAction, LinkSecret, WorkProvider
from shifts import onboarding
from shifts.desk import once
from shifts.desk.audit import what_was_done
from shifts.desk.pages import ReasonForm, actor, page, show
from shifts.desk.work_provider_forms import IssueKeyForm, RollKeyForm

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
LATEST = 20
Kind = DeskAction.Kind


class Sent(NamedTuple):
    """One submission that a key sent."""

    request_id: str
    kind: str
    events: int
    received_at: datetime


class Hour(NamedTuple):
    """What a key sent in one hour."""

    hour: datetime
    requests: int
    events: int


@page("linking.view_apikey")
def key(request: HttpRequest, pk: int) -> HttpResponse:
    """What a key is, who issued it, and what it sent in the day before it was last used."""
    row = get_object_or_404(ApiKey.objects.select_related("work_provider"), pk=pk)
    now = timezone.now()
    return show(
        request,
        "desk/key.html",
        title=f"Key {row.key_id}",
        key=row,
        work_provider=row.work_provider,
        state=keys.state_of(row, now),
        actions=_actions_about(row),
        hours=sent_by_hour(row),
        latest=sent_latest(row),
        sent_since=row.last_used_at and max(row.created_at, row.last_used_at - DAY),
    )


@page("linking.add_apikey")
def issue_key(request: HttpRequest, pk: int) -> HttpResponse:
    """A further key for a work provider."""
    row = get_object_or_404(WorkProvider, pk=pk)
    form = IssueKeyForm(request.POST or None)
    if request.method == "POST" and once.is_waiting(request):
        return redirect("desk:shown-once")
    if request.method == "POST" and form.is_valid():
        now, days = timezone.now(), form.cleaned_data["days"]
        made, secret = keys.hand_out(
            row,
            label=form.cleaned_data["label"],
            expires_at=now + days * DAY if days else None,
            actor=actor(request),
            reason=form.cleaned_data["reason"],
            now=now,
        )
        once.put(request, {"work_provider": row.pk, "key": secret, "key_id": made.key_id})
        return redirect("desk:shown-once")
    return _ask(request, f"Issue a key to {row.name}", row, form, submit="Issue a key")


@page("linking.change_apikey")
def roll_key(request: HttpRequest, pk: int) -> HttpResponse:
    """A key's successor, and a day on which the key itself dies."""
    row = get_object_or_404(ApiKey.objects.select_related("work_provider"), pk=pk)
    form = RollKeyForm(request.POST or None)
    if request.method == "POST" and once.is_waiting(request):
        return redirect("desk:shown-once")
    if request.method == "POST" and form.is_valid():
        try:
            made, secret = keys.roll(
                row, lives_on=form.cleaned_data["days"] * DAY, **_why(request, form)
            )
        except ValidationError as error:
            form.add_error(None, error)
        else:
            row.refresh_from_db(fields=["expires_at"])
            assert row.expires_at is not None
            once.put(
                request,
                {
                    "work_provider": row.work_provider_id,
                    "key": secret,
                    "key_id": made.key_id,
                    "old_key_id": row.key_id,
                    "old_key_dies_at": row.expires_at.isoformat(),
                },
            )
            return redirect("desk:shown-once")
    return _ask(
        request, f"Roll key {row.key_id}", row.work_provider, form, submit="Roll it", key=row
    )


@page("linking.change_apikey")
def revoke_key(request: HttpRequest, pk: int) -> HttpResponse:
    """The end of a key, at once."""
    row = get_object_or_404(ApiKey.objects.select_related("work_provider"), pk=pk)
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            keys.revoke(row, **_why(request, form))
        except ValidationError as error:
            form.add_error(None, error)
        else:
            return redirect("desk:key", row.pk)
    return _ask(
        request,
        f"Revoke key {row.key_id}",
        row.work_provider,
        form,
        submit="Revoke it",
        key=row,
        danger=True,
        seconds=keys.CACHE_SECONDS,
    )


@page("linking.add_linksecret")
def issue_link_secret(request: HttpRequest, pk: int) -> HttpResponse:
    """A secret to sign link URLs with."""
    row = get_object_or_404(WorkProvider, pk=pk)
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and once.is_waiting(request):
        return redirect("desk:shown-once")
    if request.method == "POST" and form.is_valid():
        try:
            _, secret = onboarding.issue_link_secret(row, **_why(request, form))
        except ValidationError as error:
            form.add_error(None, error)
        else:
            once.put(request, {"work_provider": row.pk, "link_secret": secret})
            return redirect("desk:shown-once")
    return _ask(
        request, f"Issue a link secret to {row.name}", row, form, submit="Issue a link secret"
    )


@page("linking.change_linksecret")
def revoke_link_secret(request: HttpRequest, pk: int) -> HttpResponse:
    """The end of a link secret, at once."""
    row = get_object_or_404(LinkSecret.objects.select_related("work_provider"), pk=pk)
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        onboarding.revoke_link_secret(row, **_why(request, form))
        return redirect("desk:work-provider", row.work_provider_id)
    return _ask(
        request,
        f"Revoke link secret {row.pk}",
        row.work_provider,
        form,
        submit="Revoke it",
        link_secret=row,
        danger=True,
    )


@page("linking.view_apikey")
def shown_once(request: HttpRequest) -> HttpResponse:
    """The new key or link secret; a second look finds nothing."""
    shown = once.take(request)
    row = WorkProvider.objects.filter(pk=shown["work_provider"]).first() if shown else None
    dies_at = (shown or {}).get("old_key_dies_at")
    answer = show(
        request,
        "desk/key_shown.html",
        title="Copy it now" if shown else "It has been shown",
        shown=shown,
        work_provider=row,
        old_key_dies_at=datetime.fromisoformat(dies_at) if dies_at else None,
    )
    answer["Cache-Control"] = "no-store, private"
    return answer


def sent_latest(row: ApiKey) -> list[Sent]:
    """The latest that it sent, of the hour before it was last used."""
    return [
        Sent(*columns)
        for columns in _ask_of_sent(
            row,
            HOUR,
            f"{_SENT} SELECT request_id::text, kind, event_count, received_at FROM sent"  # noqa: S608
            " ORDER BY id DESC LIMIT %s",
            LATEST,
        )
    ]


def sent_by_hour(row: ApiKey) -> list[Hour]:
    """What it sent by hour, the latest first, in the day before it was last used."""
    return [
        Hour(*columns)
        for columns in _ask_of_sent(
            row,
            DAY,
            f"{_SENT} SELECT date_trunc('hour', received_at), count(*), sum(event_count)"  # noqa: S608
            " FROM sent GROUP BY 1 ORDER BY 1 DESC LIMIT %s",
            25,
        )
    ]


# A submission's key carries no index; its arrival does. The planner must not prefer to read the table
# from its end until it has met enough of them.
_SENT = """
WITH sent AS MATERIALIZED (
    SELECT id, request_id, kind, event_count, received_at FROM shifts_submission
    WHERE api_key_id = %s AND received_at BETWEEN %s AND %s
)"""


def _ask_of_sent(row: ApiKey, period: timedelta, question: str, limit: int) -> Iterable[Any]:
    """Of what a key sent up to its last use, which is noted to the minute."""
    if row.last_used_at is None:
        return []
    since, until = row.last_used_at - period, row.last_used_at + timedelta(minutes=2)
    with connection.cursor() as cursor:
        cursor.execute(question, [row.pk, since, until, limit])
        return list(cursor)


def _actions_about(row: ApiKey) -> list[tuple[DeskAction, str]]:
    """Who issued it, rolled it, revoked it or struck what it sent; there are few a work provider."""
    about = Q(details__key_id=row.key_id) | Q(details__new_key_id=row.key_id)
    kinds = [Kind.ISSUE_KEY, Kind.ROLL_KEY, Kind.REVOKE_KEY, Kind.STRIKE]
    found = DeskAction.objects.filter(about, work_provider=row.work_provider_id, kind__in=kinds)
    latest = found.select_related("actor").order_by("-pk")[:LATEST]
    return [(action, what_was_done(action)) for action in latest]


def _why(request: HttpRequest, form: ReasonForm) -> dict[str, Any]:
    return {
        "actor": actor(request),
        "reason": form.cleaned_data["reason"],
        "now": timezone.now(),
    }


def _ask(
    request: HttpRequest,
    title: str,
    row: WorkProvider,
    form: ReasonForm,
    *,
    submit: str,
    **context: Any,
) -> HttpResponse:
    return show(
        request,
        "desk/key_form.html",
        title=title,
        work_provider=row,
        form=form,
        submit=submit,
        back=reverse("desk:work-provider", args=[row.pk]),
        now=timezone.now(),
        **context,
    )


urlpatterns = [
    path("keys/<int:pk>/", key, name="key"),
    path("keys/<int:pk>/roll/", roll_key, name="roll-key"),
    path("keys/<int:pk>/revoke/", revoke_key, name="revoke-key"),
    path("keys/shown-once/", shown_once, name="shown-once"),
    path("work-providers/<int:pk>/issue-key/", issue_key, name="issue-key"),
    path("work-providers/<int:pk>/issue-link-secret/", issue_link_secret, name="issue-link-secret"),
    path("link-secrets/<int:pk>/revoke/", revoke_link_secret, name="revoke-link-secret"),
]
