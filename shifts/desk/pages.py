"""What all pages of the desk have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Generic, TypeVar
from zoneinfo import ZoneInfo

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from linking.accounts import user_of
from linking.models import User
from shifts.payload import FIRST_YEAR, LAST_YEAR

PAGE = 50
_Row = TypeVar("_Row", bound=Model)
View = Callable[..., HttpResponse]


def page(permission: str) -> Callable[[View], View]:
    """A page of the desk: for staff who hold `permission` ("app.codename"); 403 for the others."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.has_perm(permission):
                return show(request, "desk/forbidden.html", title="Not allowed", status=403)
            return view(request, *args, **kwargs)

        return admin.site.admin_view(guarded)

    return decorate


def show(
    request: HttpRequest, template: str, *, title: str, status: int = 200, **context: Any
) -> HttpResponse:
    """Render a template that extends desk/base.html within the admin's frame."""
    frame = admin.site.each_context(request)
    return render(request, template, {**frame, "title": title, **context}, status=status)


def actor(request: HttpRequest) -> User:
    """The member of staff who asks."""
    return user_of(request)


@dataclass(frozen=True, slots=True)
class Paged(Generic[_Row]):
    """Some rows, and the addresses (queries) of the pages after and before them; "" where none is."""

    rows: list[_Row]
    next: str
    first: str


def paged(
    request: HttpRequest, rows: QuerySet[_Row], *, by: str = "-pk", size: int = PAGE
) -> Paged[_Row]:
    """A page of `rows` in the order of a unique column, from where ?after= says; nothing is counted."""
    column, falls = by.lstrip("-"), by.startswith("-")
    after = request.GET.get("after", "").replace("\0", "")
    ordered = rows.order_by(by)
    if after:
        try:
            ordered = ordered.filter(**{f"{column}__{'lt' if falls else 'gt'}": after})
        except (ValueError, ValidationError):
            after = ""
    found = list(ordered[: size + 1])
    query = request.GET.copy()
    query.pop("after", None)
    first = f"?{query.urlencode()}" if after else ""
    if len(found) <= size:
        return Paged(found, "", first)
    query["after"] = str(getattr(found[size - 1], column))
    return Paged(found[:size], f"?{query.urlencode()}", first)


class InstantField(forms.CharField):
    """A moment as somebody says it: local time in `zone`, or with Z or an offset; cleans to UTC.

    A local time that the change of the clocks skipped, or that came twice, is refused with the way out.
    """

    def __init__(self, *, zone: str = "UTC", **options: Any) -> None:
        self.zone = zone
        options.setdefault("help_text", f"Such as 2026-11-21 18:30, in {zone}; add Z for UTC.")
        super().__init__(max_length=40, **options)
        self.widget.attrs |= {"autocomplete": "off", "inputmode": "text", "spellcheck": "false"}

    def clean(self, value: Any) -> datetime | None:
        text = super().clean(value)
        if not text:
            return None
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise ValidationError("Write it as 2026-11-21 18:30.") from None
        if len(text) <= len("2026-11-21"):
            raise ValidationError("Add the time of day: 2026-11-21 18:30.")
        if not FIRST_YEAR <= found.year <= LAST_YEAR:
            raise ValidationError(f"Choose a moment between {FIRST_YEAR} and {LAST_YEAR}.")
        return found.astimezone(UTC) if found.tzinfo else self._from_local(found)

    def _from_local(self, local: datetime) -> datetime:
        first = local.replace(tzinfo=ZoneInfo(self.zone))
        offsets = {first.utcoffset(), first.replace(fold=1).utcoffset()}
        if len(offsets) > 1:
            both = " or ".join(sorted(f"{first.replace(fold=fold):%z}" for fold in (0, 1)))
            raise ValidationError(f"The clocks change at that time: write the offset too, {both}.")
        return first.astimezone(UTC)


class DeskForm(forms.Form):
    """A form in the desk's look; `include "desk/form.html"` shows it."""

    template_name = "desk/fields.html"


class ReasonForm(DeskForm):
    """A form for what changes something: the reason is asked for last, and stays on record."""

    reason = forms.CharField(
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Who asked, and why. It stays on record.",
    )
    field_order: list[str] | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.order_fields([name for name in self.fields if name != "reason"])
