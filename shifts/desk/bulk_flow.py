"""How every bulk action is asked for: a form, then how many and some of them, then the word to begin."""

import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from linking.models import DeskAction
from shifts import bulk
from shifts.desk.flow import CHANGED, Fact, MendForm, Why, guarded, said
from shifts.desk.pages import actor, show


class Told(NamedTuple):
    """What a bulk action would do: how many items, and what a page shows of it."""

    number: int
    template: str
    context: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkMending:
    """A bulk action on its page: `tell` counts and looks, `start` gets that count and begins."""

    title: str
    form: MendForm
    tell: Callable[[dict[str, Any], Why], Told]
    start: Callable[[dict[str, Any], Why, int], DeskAction]
    submit: Callable[[dict[str, Any], int], str]
    back: str
    zone: str
    about: Sequence[Fact] = ()
    intro: str = ""
    notices: Sequence[str] = ()


def conduct(request: HttpRequest, mending: BulkMending) -> HttpResponse:
    """Ask, then tell what it would do, then begin.

    Where the address says enough, it is told at once, and the reason asked for beside it.
    """
    if request.method == "GET" and _says_enough(request, mending.form):
        return _tell_at_once(request, mending)
    if request.method != "POST" or "edit" in request.POST or not mending.form.is_valid():
        return _ask(request, mending)
    why = Why(actor(request), mending.form.cleaned_data["reason"], timezone.now())
    told = request.POST.get("expected", "")
    attempt = partial(_begin, told=int(told)) if told.isdecimal() and len(told) < 19 else _tell
    answer = guarded(mending.form, lambda: attempt(request, mending, why))
    return answer or _ask(request, mending)


def _says_enough(request: HttpRequest, form: MendForm) -> bool:
    needed = [name for name, one in form.fields.items() if one.required and name != "reason"]
    return all(request.GET.get(name) for name in needed)


def _tell_at_once(request: HttpRequest, mending: BulkMending) -> HttpResponse:
    form = type(mending.form)(mending.form.initial, zone=mending.zone)
    form.fields = {name: form.fields[name] for name in mending.form.fields}
    form.fields["reason"].required = False
    told = replace(mending, form=form)
    if not form.is_valid():
        return _ask(request, told)
    why = Why(actor(request), "Not yet said.", timezone.now())
    return guarded(form, lambda: _tell(request, told, why)) or _ask(request, told)


def _begin(request: HttpRequest, mending: BulkMending, why: Why, *, told: int) -> HttpResponse:
    try:
        action = mending.start(mending.form.cleaned_data, why, told)
    except bulk.Grown:
        return _tell(request, mending, why, notice=CHANGED)
    messages.success(request, "It goes on in the background; this page tells how far it is.")
    return redirect("desk:action", action.pk)


def _ask(request: HttpRequest, mending: BulkMending) -> HttpResponse:
    return show(
        request,
        "desk/bulk.html",
        title=mending.title,
        mending=mending,
        form=mending.form,
        zones=sorted(zoneinfo.available_timezones()) if "to_zone" in mending.form.fields else [],
        submit="Show what it would do",
        back=mending.back,
    )


def _tell(
    request: HttpRequest, mending: BulkMending, why: Why, *, notice: str = ""
) -> HttpResponse:
    data = mending.form.cleaned_data
    told = mending.tell(data, why)
    return show(
        request,
        told.template,
        title=mending.title,
        mending=mending,
        form=mending.form,
        said=said(mending.form, mending.zone),
        count=told.number,
        expected=told.number,
        submit=mending.submit(data, told.number),
        notice=notice,
        back=mending.back,
        zone=mending.zone,
        **told.context,
    )
