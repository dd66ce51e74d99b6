"""How every mending is asked for: a form, then what would change, then the word to do it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from linking.models import Customer, DeskAction, User, WorkProvider
from shifts import preview
from shifts.desk.addresses import address
from shifts.desk.changes import summary
from shifts.desk.pages import DeskForm, InstantField, ReasonForm, actor, show
from shifts.desk.words import Clock
from shifts.payload import FIRST_YEAR, LAST_YEAR
from shifts.preview import Changed
from shifts.templatetags.desk import both
from zego_api.db import is_away, is_outage

BUSY = "This work provider's events are being digested just now; try again in a moment."
AT_ONCE = "Somebody else changed the same thing at this moment; look at it again."
CHANGED = "Something has changed since you looked: this is what would happen now. Nothing was done."


class MendForm(ReasonForm):
    """What is asked, in a work provider's zone; `moments` are the instants among it and their labels.

    The fields stand in the order of `order`, and then the reason.
    """

    moments: Mapping[str, str] = {}
    may_be_empty: Sequence[str] = ()
    order: Sequence[str] = ()

    def __init__(self, *args: Any, zone: str, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, label in self.moments.items():
            required = name not in self.may_be_empty
            self.fields[name] = InstantField(zone=zone, label=label, required=required)
        self.order_fields([*self.order, "reason"])


class EndForm(MendForm):
    """The moment at which something ends."""

    moments = {"at": "When it ended"}
    order = ("at",)


_Form = TypeVar("_Form", bound=MendForm)


class Fact(NamedTuple):
    """What a page is about: a name and what it is, with a link if there is a page for it."""

    label: str
    value: object
    link: str = ""


class Done(NamedTuple):
    """What a mending did, or would do.

    `message` is for when it is done, `why` for when no shift changes, `notes` say what else happens.
    `to` is where the result can be seen, unless one shift changed and has a page.
    """

    message: str
    to: str
    why: str = ""
    notes: Sequence[str] = ()


class Why(NamedTuple):
    """Who asks for it, why, and when."""

    actor: User
    reason: str
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Mending:
    """One mending on its page. `act` carries it out, in a transaction that a preview takes back.

    `lead` is a link to the same page, filled in for what is wanted at times.
    """

    title: str
    form: DeskForm
    act: Callable[[dict[str, Any], Why], Done]
    submit: Callable[[dict[str, Any]], str]
    back: str
    about: Sequence[Fact] = ()
    intro: str = ""
    zone: str = "UTC"
    danger: bool = False
    lead: tuple[str, str] | None = None


def conduct(request: HttpRequest, mending: Mending) -> HttpResponse:
    """Ask, then tell what would change, then do it."""
    if request.method != "POST" or "edit" in request.POST or not mending.form.is_valid():
        return _ask(request, mending)
    now = timezone.now()
    why = Why(actor(request), mending.form.cleaned_data["reason"], now)
    answer = guarded(mending.form, lambda: _answer(request, mending, why))
    return answer or _ask(request, mending)


def guarded(form: DeskForm, attempt: Callable[[], HttpResponse]) -> HttpResponse | None:
    """The answer; None where the form has been told why there is none."""
    try:
        return attempt()
    except ValidationError as error:
        form.add_error(None, error.messages)
    except IntegrityError:
        form.add_error(None, AT_ONCE)
    except DatabaseError as error:
        if is_away(error) or not is_outage(error):
            raise
        form.add_error(None, BUSY)
    return None


def _answer(request: HttpRequest, mending: Mending, why: Why) -> HttpResponse:
    data = mending.form.cleaned_data
    expected = request.POST.get("expected", "")
    if not expected:
        done, changes = preview.preview(lambda: mending.act(data, why), now=why.now)
        return _tell(request, mending, done, changes, why.now)
    try:
        done, changes = preview.carry_out(lambda: mending.act(data, why), expected, now=why.now)
    except preview.Differs as differs:
        return _tell(request, mending, differs.result, differs.changes, why.now, notice=CHANGED)
    messages.success(request, done.message)
    return redirect(_where(done, changes))


def _where(done: Done, changes: list[Changed]) -> str:
    if len(changes) == 1 and changes[0].new is not None:
        return address("shift", changes[0].shift_id)
    return done.to


def _ask(request: HttpRequest, mending: Mending) -> HttpResponse:
    return show(
        request,
        "desk/mend.html",
        title=mending.title,
        mending=mending,
        form=mending.form,
        submit="Show what would change",
        back=mending.back,
    )


def _tell(
    request: HttpRequest,
    mending: Mending,
    done: Done,
    changes: list[Changed],
    now: datetime,
    *,
    notice: str = "",
) -> HttpResponse:
    return show(
        request,
        "desk/preview.html",
        title=mending.title,
        mending=mending,
        form=mending.form,
        said=said(mending.form, mending.zone),
        summary=summary(changes, now),
        done=done,
        expected=preview.fingerprint(changes, now),
        submit=mending.submit(mending.form.cleaned_data),
        notice=notice,
        back=mending.back,
    )


def said(form: DeskForm, zone: str) -> list[Fact]:
    """What somebody has filled in, as they will read it once more."""
    facts = []
    for name, one in form.fields.items():
        value = form.cleaned_data.get(name)
        if value not in (None, "", False) and not one.widget.is_hidden:
            facts.append(Fact(str(form[name].label), _worded(value, one, zone)))
    return facts


def _worded(value: object, one: forms.Field, zone: str) -> object:
    if isinstance(value, datetime):
        return both(value, zone)
    if value is True:
        return "yes"
    choices = dict(getattr(one, "choices", None) or {})
    return choices.get(value, value)


def filled(kind: type[_Form], request: HttpRequest, zone: str, **initial: object) -> _Form:
    """A form of the data that was sent, or else filled in as the address says, or as `initial`."""
    if request.method == "POST":
        return kind(request.POST, zone=zone)
    given = {name: value for name, value in request.GET.items() if value}
    form = kind(initial=initial | given, zone=zone)
    for name in form.moments:
        value = form.initial.get(name, "")
        at = value if isinstance(value, datetime) else instant_of(str(value))
        if at is not None:
            form.initial[name] = typed(at, zone)
    return form


def typed(at: datetime, zone: str) -> str:
    """An instant as somebody would type it in `zone`; with the offset where the clocks change."""
    local = at.astimezone(ZoneInfo(zone))
    is_twice = local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset()
    return str(local if is_twice else local.replace(tzinfo=None))


def instant_of(text: str) -> datetime | None:
    """The aware instant of a query, in ISO form and within the years we take; None for anything else."""
    if "T" in text:
        text = text.replace(" ", "+")  # a plus sign that nobody has quoted arrives as a space
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo and FIRST_YEAR <= found.year <= LAST_YEAR else None


def about(customer: Customer, provider: WorkProvider) -> list[Fact]:
    """The customer and the work provider."""
    return [
        Fact("Customer", customer.number, address("customer", customer.pk)),
        Fact("Work provider", provider.name, address("work-provider", provider.pk)),
    ]


def facts_of(action: DeskAction, zone: str) -> list[Fact]:
    """What an action was, for whoever undoes it."""
    at = instant_of(str(action.details.get("at", "")))
    kind = action.details.get("kind", "") or "At"
    return [
        *([Fact("Customer", action.customer.number)] if action.customer else []),
        *([Fact("Work provider", action.work_provider.name)] if action.work_provider else []),
        Fact("Who", str(action.actor)),
        Fact("Did", action.get_kind_display(), address("action", action.pk)),
        *([Fact(kind.capitalize(), both(at, zone))] if at else []),
        Fact("When", both(action.created_at, zone)),
        Fact("Why", action.reason),
    ]


def when(at: datetime, zone: str) -> str:
    """A moment in a few words: the time of day, with the day where that is not today."""
    return Clock(zone, timezone.now())(at)


def nothing(request: HttpRequest, title: str, words: str, *links: tuple[str, str]) -> HttpResponse:
    """The page of a mending that there is nothing to do for: why, and where to go instead."""
    return show(request, "desk/mend_nothing.html", title=title, words=words, links=links)
