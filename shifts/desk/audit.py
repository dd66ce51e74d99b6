"""The audit log on the desk: who did what, when and why; and one action with all that belongs to it."""

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from django.apps import apps
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import NoReverseMatch, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from linking.models import ApiKey, Customer, DeskAction, User, WorkProvider
from shifts import bulk, mend
from shifts.desk.pages import page, paged, show
from shifts.models import Seen, Submission
from shifts.templatetags.desk import both

Kind = DeskAction.Kind
PROBLEMS_SHOWN = 50
WITHDRAWALS_SHOWN = 20
UNDOABLE = (*mend.UNDOABLE, *bulk.UNDOABLE)


class Fact(NamedTuple):
    """One detail of an action, in words."""

    label: str
    value: str


class Progress(NamedTuple):
    """How far what is done in the background has come."""

    total: int
    done: int
    problems: list[tuple[str, str]]  # what could not be done (a link), and why


@page("linking.view_deskaction")
def actions(request: HttpRequest) -> HttpResponse:
    """What the desk did, the latest first."""
    chosen = _Chosen(request)
    found = chosen.of(DeskAction.objects.all())
    shown = paged(
        request, found.select_related("actor", "work_provider", "customer", "undone_by"), by="-pk"
    )
    return show(
        request,
        "desk/actions.html",
        title="What the desk did",
        page=shown,
        rows=[(row, what_was_done(row)) for row in shown.rows],
        chosen=chosen,
        work_providers=WorkProvider.objects.order_by("name").values_list("pk", "name"),
        actors=User.objects.filter(is_staff=True)
        .order_by("username")
        .values_list("pk", "username"),
        kinds=Kind.choices,
    )


@page("linking.view_deskaction")
def action(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """One action: what, who, when, why, and what has become of it."""
    rows = DeskAction.objects.select_related(
        "actor", "work_provider", "customer", "undoes__actor", "undone_by__actor"
    )
    row = get_object_or_404(rows, pk=pk)
    undone_by = getattr(row, "undone_by", None)
    is_done = row.finished_at is not None
    return show(
        request,
        "desk/action.html",
        title=what_was_done(row).capitalize(),
        action=row,
        what=what_was_done(row),
        zone=_zone_of(row),
        facts=facts_of(row),
        changes=_changes(row),
        progress=_progress(row),
        withdrawals=row.withdrawals.select_related("submission", "undone_action").defer(
            "submission__body"
        )[:WITHDRAWALS_SHOWN],
        undone_by=undone_by,
        can_undo=row.kind in UNDOABLE and undone_by is None and is_done,
        undo_permission=request.user.has_perm(
            "linking.mend_in_bulk" if row.kind in bulk.UNDOABLE else "linking.mend"
        ),
    )


class _Chosen:
    """What the list is narrowed to; whatever names nothing is left out, and said."""

    def __init__(self, request: HttpRequest) -> None:
        self.customer = _found(Customer, request.GET.get("customer", ""))
        self.number = request.GET.get("number", "").replace("\0", "").strip().upper()
        self.work_provider = _found(WorkProvider, request.GET.get("work_provider", ""))
        self.actor = _found(User, request.GET.get("actor", ""))
        kind = request.GET.get("kind", "")
        self.kind = kind if kind in Kind.values else ""
        if self.number:
            self.customer = Customer.objects.filter(number=self.number).first()
        elif self.customer is not None:
            self.number = self.customer.number
        self.is_unknown = bool(self.number) and self.customer is None

    def of(self, found: QuerySet[DeskAction]) -> QuerySet[DeskAction]:
        if self.is_unknown:
            return found.none()
        wanted = {
            "customer": self.customer,
            "work_provider": self.work_provider,
            "actor": self.actor,
            "kind": self.kind or None,
        }
        return found.filter(**{name: value for name, value in wanted.items() if value is not None})


def _found(model: Any, pk: str) -> Any:
    return model.objects.filter(pk=pk).first() if pk.isdecimal() and len(pk) < 19 else None


def what_was_done(row: DeskAction) -> str:
    """In some words that follow on who did it: "rolled an API key", "changed a work provider"."""
    table = row.details.get("table")
    if row.kind not in (Kind.ADD, Kind.CHANGE) or table is None:
        return row.get_kind_display()
    try:
        name = str(apps.get_model(table)._meta.verbose_name)  # noqa: SLF001
    except LookupError:
        name = table
    return f"{row.get_kind_display()} {'terms' if name == 'terms' else f'a {name}'}"


def facts_of(row: DeskAction) -> list[Fact]:
    """The details of an action, in words; what has no words of its own stands there as it is."""
    facts = []
    for name, value in row.details.items():
        if value is None or name in ("changes", "table", "id"):
            continue
        label, worded = _FACTS.get(name, (name.replace("_", " ").capitalize(), _plain))
        facts.append(Fact(label, worded(value, row)))
    if "table" in row.details:
        facts.append(Fact("Row", _row_link(row.details)))
    return facts


def _plain(value: Any, row: DeskAction) -> str:
    return str(value) or "-"


def _instant(value: Any, row: DeskAction) -> str:
    return both(datetime.fromisoformat(value), _zone_of(row))


def _key(value: Any, row: DeskAction) -> str:
    key = ApiKey.objects.filter(key_id=value).first()
    return _link(reverse("desk:key", args=[key.pk]), value) if key else str(value)


def _submission(value: Any, row: DeskAction) -> str:
    return _link(reverse("desk:submission", args=[value]), value)


def _driver(value: Any, row: DeskAction) -> str:
    if row.work_provider_id is None:
        return str(value)
    return _link(reverse("desk:driver", args=[row.work_provider_id, value]), value)


def _what(value: Any, row: DeskAction) -> str:
    """A kind of event, of an action that was undone, or of what was looked at."""
    if value in Kind.values:
        return str(Kind(value).label)
    return str(Seen.Kind(value).label) if value in Seen.Kind.values else str(value)


_FACTS: dict[str, tuple[str, Callable[[Any, DeskAction], str]]] = {
    "at": ("At", _instant),
    "since": ("From", _instant),
    "until": ("Until", _instant),
    "expires_at": ("Dies", _instant),
    "was": ("It had ended at", _instant),
    "was_known_at": ("Which was known since", _instant),
    "kind": ("What", _what),
    "key_id": ("Key", _key),
    "new_key_id": ("New key", _key),
    "request_id": ("Submission", _submission),
    "driver_id": ("Driver id", _driver),
    "link_secret": ("Link secret no.", _plain),
    "items": ("How many", _plain),
    "zone": ("Read in", _plain),
    "label": ("For", _plain),
}


def _row_link(details: dict[str, Any]) -> str:
    name = f"{details['table']} {details['id']}"
    try:
        url = reverse(f"admin:{details['table'].replace('.', '_')}_change", args=[details["id"]])
    except NoReverseMatch:
        return name
    return _link(url, name)


def _link(url: str, text: object) -> SafeString:
    return format_html('<a href="{}">{}</a>', url, text)


def _changes(row: DeskAction) -> list[tuple[str, str, str]]:
    """Each changed column: its name, old and new; of what is withheld neither."""
    return [
        (name.replace("_", " "), *("-" if value is None else value for value in values))
        for name, values in row.details.get("changes", {}).items()
    ]


def _zone_of(row: DeskAction) -> str:
    return row.work_provider.timezone if row.work_provider else "UTC"


def _progress(row: DeskAction) -> Progress | None:
    """None for what is done at once."""
    total = row.details.get("items")
    if not isinstance(total, int):
        return None
    waiting = row.items.filter(done_at__isnull=True).count()
    failed = list(row.items.exclude(problem="").order_by("target")[:PROBLEMS_SHOWN])
    names = _names(row, [item.target for item in failed])
    problems = [(names.get(item.target, str(item.target)), item.problem) for item in failed]
    return Progress(total, total - waiting, problems)


def _names(row: DeskAction, targets: list[int]) -> dict[int, str]:
    """What the targets of an action are, as links: customers of a close-out, else submissions."""
    if row.kind == Kind.CLOSE_OUT:
        customers = Customer.objects.filter(pk__in=targets).values_list("pk", "number")
        return {pk: _link(reverse("desk:customer", args=[pk]), number) for pk, number in customers}
    submissions = Submission.objects.filter(pk__in=targets).values_list("pk", "request_id")
    return {pk: _link(reverse("desk:submission", args=[each]), each) for pk, each in submissions}


urlpatterns = [
    path("actions/", actions, name="actions"),
    path("actions/<uuid:pk>/", action, name="action"),
]
