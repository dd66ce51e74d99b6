"""Work providers on the desk: who they are, how they stand, and how one comes in."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import path, reverse
from django.utils import timezone

from linking import keys
from linking.models import (
    LIVE_LINK_SECRETS,
    ApiKey,
    DeskAction,
    LinkPolicy,
    LinkSecret,
    WorkProvider,
)
from shifts import onboarding
from shifts.desk import once, partner
from shifts.desk.audit import what_was_done
from shifts.desk.pages import actor, page, paged, show
from shifts.desk.work_provider_forms import AddForm, ChangeForm, in_hours, zones
from shifts.models import RejectedRequest, ShiftRule
from shifts.onboarding import Settings

DEAD_KEYS_SHOWN = 20
LATELY = 5
_LABELS = {
    "name": "Name",
    "timezone": "Time zone",
    "link_policy": "Link policy",
    "max_future": "Furthest ahead",
    "max_shift_length": "Longest shift",
    "is_active": "Active",
}


@page("linking.view_workprovider")
def work_providers(request: HttpRequest) -> HttpResponse:
    """All of them by name, with how each stands."""
    named = request.GET.get("q", "").replace("\0", "").strip()
    found = WorkProvider.objects.select_related("standing")
    if named:
        found = found.filter(name__icontains=named)
    shown = paged(request, found, by="name")
    now = timezone.now()
    live: dict[int, list[ApiKey]] = {}
    for key in _live_keys(now).filter(work_provider__in=shown.rows):
        live.setdefault(key.work_provider_id, []).append(key)
    rows = [
        (
            row,
            getattr(row, "standing", None),
            live.get(row.pk, []),
            _last_used(live.get(row.pk, [])),
        )
        for row in shown.rows
    ]
    return show(
        request,
        "desk/work_providers.html",
        title="Work providers",
        page=shown,
        rows=rows,
        named=named,
    )


@page("linking.view_workprovider")
def work_provider(request: HttpRequest, pk: int) -> HttpResponse:
    """All about one."""
    row = get_object_or_404(WorkProvider.objects.select_related("standing"), pk=pk)
    now = timezone.now()
    return show(
        request,
        "desk/work_provider.html",
        title=row.name,
        work_provider=row,
        standing=getattr(row, "standing", None),
        longest=_longest(onboarding.longest_shift(row)),
        furthest=in_hours(row.max_future),
        keys=[(key, keys.state_of(key, now)) for key in _keys_shown(row, now)],
        link_secrets=row.link_secrets.order_by("-pk")[: 2 * LIVE_LINK_SECRETS],
        lacks_secret=_lacks_secret(row),
        terms=row.terms.order_by("-published_at").defer("text")[:10],
        rules=[
            (rule.valid_from, _longest(rule.max_shift_length))
            for rule in ShiftRule.objects.filter(work_provider=row).order_by("-valid_from")[:10]
        ],
        rejected=RejectedRequest.objects.filter(work_provider=row).order_by("-received_at")[
            :LATELY
        ],
        actions=_done_lately(row),
    )


@page("linking.add_workprovider")
def add_work_provider(request: HttpRequest) -> HttpResponse:
    """Onboarding: the work provider and all that it needs, in one go."""
    form = AddForm(request.POST or None)
    if request.method == "POST" and once.is_waiting(request):
        return redirect("desk:shown-once")
    if request.method == "POST" and form.is_valid():
        added = _add(form, request)
        if added is not None:
            return _show_once(request, added)
    return _show_form(request, "Add a work provider", form, submit="Add it and issue its key")


@page("linking.change_workprovider")
def change_work_provider(request: HttpRequest, pk: int) -> HttpResponse:
    """Its settings; what would change is shown before it does."""
    row = get_object_or_404(WorkProvider, pk=pk)
    present = onboarding.settings_of(row)
    sent = request.POST.copy()
    form = ChangeForm(sent or None, initial=_initial(present))
    changes: dict[str, list[str | None]] = {}
    if request.method == "POST" and form.is_valid():
        wanted = form.settings()
        changes = onboarding.differences(asdict(present), wanted)
        if not changes:
            form.add_error(None, "Nothing differs from what is agreed now.")
        elif form.cleaned_data["seen"] == _digest(changes) and _change(form, row, present, request):
            return redirect("desk:work-provider", row.pk)
        else:
            sent["seen"] = _digest(changes)
    return _show_form(
        request,
        f"Change {row.name}",
        form,
        submit="Save these changes" if changes else "Show what would change",
        work_provider=row,
        changes=[(_LABELS[name], *_worded(name, values)) for name, values in changes.items()],
        changed=changes,
        lacks_secret=bool(changes) and _would_lack_secret(row, form.settings()),
    )


def _add(form: AddForm, request: HttpRequest) -> onboarding.Added | None:
    try:
        return onboarding.add(
            form.settings(),
            is_test=form.cleaned_data["is_test"],
            key_label=form.cleaned_data["key_label"],
            terms=form.terms(),
            actor=actor(request),
            reason=form.cleaned_data["reason"],
            now=timezone.now(),
        )
    except ValidationError as error:
        form.refuse(error)
    except IntegrityError as error:
        if "workprovider_name_unique" not in str(error):
            raise
        # Two of one name were added at the same moment.
        form.add_error("name", "There is a work provider of this name already.")
    return None


def _change(form: ChangeForm, row: WorkProvider, present: Settings, request: HttpRequest) -> bool:
    try:
        onboarding.change(
            row,
            present,
            form.settings(),
            actor=actor(request),
            reason=form.cleaned_data["reason"],
            now=timezone.now(),
        )
    except ValidationError as error:
        form.refuse(error)
        return False
    return True


def _show_once(request: HttpRequest, added: onboarding.Added) -> HttpResponse:
    once.put(
        request,
        {
            "work_provider": added.work_provider.pk,
            "key": added.key,
            "key_id": added.api_key.key_id,
            "link_secret": added.link_secret,
            "is_new_work_provider": True,
        },
    )
    return redirect("desk:shown-once")


def _show_form(
    request: HttpRequest, title: str, form: AddForm | ChangeForm, *, submit: str, **context: Any
) -> HttpResponse:
    return show(
        request,
        "desk/work_provider_form.html",
        title=title,
        form=form,
        zones=zones(),
        submit=submit,
        back=reverse("desk:work-providers"),
        **context,
    )


def _initial(present: Settings) -> dict[str, object]:
    return asdict(present) | {"no_maximum": present.max_shift_length is None}


def _digest(changes: dict[str, list[str | None]]) -> str:
    """Equal for equal changes, old values included: nobody confirms what they have not been shown."""
    return hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()


def _worded(name: str, values: list[str | None]) -> list[str]:
    words = {"True": "yes", "False": "no"} if name == "is_active" else dict(LinkPolicy.choices)
    return [words.get(value or "", value or "") for value in values]


def _longest(length: Any) -> str:
    return "no maximum" if length is None else f"{in_hours(length)} h"


def _live_keys(now: Any) -> QuerySet[ApiKey]:
    unexpired = Q(expires_at__isnull=True) | Q(expires_at__gt=now)
    return ApiKey.objects.filter(unexpired, revoked_at__isnull=True).order_by("-pk")


def _keys_shown(row: WorkProvider, now: Any) -> list[ApiKey]:
    """Every live key, and the latest dead ones."""
    live = list(_live_keys(now).filter(work_provider=row))
    dead = row.api_keys.exclude(pk__in=[key.pk for key in live]).order_by("-pk")
    return [*live, *dead[:DEAD_KEYS_SHOWN]]


def _done_lately(row: WorkProvider) -> list[tuple[DeskAction, str]]:
    done = DeskAction.objects.filter(work_provider=row).select_related("actor").order_by("-pk")
    return [(action, what_was_done(action)) for action in done[:LATELY]]


def _last_used(live: list[ApiKey]) -> Any:
    return max((key.last_used_at for key in live if key.last_used_at), default=None)


def _lacks_secret(row: WorkProvider) -> bool:
    """Whether no link works, as each has to be signed and there is nothing to sign with."""
    return row.link_policy == LinkPolicy.SIGNED and not _has_secret(row)


def _would_lack_secret(row: WorkProvider, wanted: Settings) -> bool:
    return wanted.link_policy == LinkPolicy.SIGNED and not _has_secret(row)


def _has_secret(row: WorkProvider) -> bool:
    return LinkSecret.objects.filter(work_provider=row, revoked_at__isnull=True).exists()


urlpatterns = [
    path("work-providers/", work_providers, name="work-providers"),
    path("work-providers/add/", add_work_provider, name="add-work-provider"),
    path("work-providers/<int:pk>/", work_provider, name="work-provider"),
    path("work-providers/<int:pk>/change/", change_work_provider, name="change-work-provider"),
    *partner.urlpatterns,
]
