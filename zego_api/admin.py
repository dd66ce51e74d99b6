"""What the admin's tables have in common; outgoing mails, and Django's own log.

The desk's pages (shifts/desk/) are the way to work. These tables are for reading what there is, and
for the little that has no page of its own: that asks for a reason, like everything else.
"""

from collections.abc import Callable, Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db import models
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator
from unfold.views import ChangeList
from unfold.widgets import UnfoldAdminTextareaWidget

from linking import desk
from linking.accounts import user_of
from linking.models import Customer, DeskAction, WorkProvider
from zego_api.models import OutgoingMail

PAGES = 100


class FirstPages(InfinitePaginator):  # type: ignore[misc]
    """The first pages of a table that is never counted; far down it would read all that it skips."""

    @cached_property
    def count(self) -> int:
        return int(self.per_page) * PAGES


class Listing(ChangeList):  # type: ignore[misc]
    """In the table's own order, whatever the address says: any other would sort all of it."""

    def get_ordering_field(self, field_name: str) -> None:
        return None

    def get_filters_params(self, params: Any = None) -> dict[str, list[str]]:
        """Without what no column can hold."""
        asked: dict[str, list[str]] = super().get_filters_params(params)
        return {name: values for name, values in asked.items() if "\0" not in "".join(values)}

    def get_results(self, request: HttpRequest) -> None:
        """How many there are is not known, so nothing is said of it."""
        super().get_results(request)
        self.full_result_count = self.result_count


class TableAdmin(ModelAdmin):  # type: ignore[misc]
    """A table as it is: newest first, searched through its indexes, and never deleted from."""

    actions = None
    list_per_page = 50
    ordering: Any = ["-pk"]
    paginator = FirstPages
    show_facets = admin.ShowFacets.NEVER  # they count
    show_full_result_count = False
    sortable_by: Any = ()
    # By which columns a search is answered, each with how to read what was typed; ValueError: not one.
    search_by: Mapping[str, Callable[[str], Any]] = {}

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        return Listing

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        """What the filters ask, and nothing that somebody writes into the address."""
        return lookup.startswith(tuple(map(_asked_by, self.list_filter)))

    def get_search_fields(self, request: HttpRequest) -> Any:
        return list(self.search_by) or super().get_search_fields(request)

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        """Equal to what was typed, by the first column that has it: any other search reads the table."""
        if not self.search_by:
            return super().get_search_results(request, queryset, search_term)  # type: ignore[no-any-return]
        if not search_term.strip():
            return queryset, False
        for column, read in self.search_by.items():
            try:
                found = queryset.filter(**{column: read(search_term.strip())})
            except (ValueError, OverflowError):
                continue
            if found.exists():
                return found, False
        return queryset.none(), False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def desk_url(self, obj: Any) -> str:
        """Where the desk shows this row; empty where it does not."""
        return ""

    @admin.display(description="on the desk")
    def on_the_desk(self, obj: Any) -> str:
        url = self.desk_url(obj) if obj.pk else ""
        return format_html('<a class="text-link underline" href="{}">Open</a>', url) if url else "-"


def _asked_by(list_filter: Any) -> str:
    """How the parameter begins by which a filter asks."""
    if isinstance(list_filter, tuple):
        return str(list_filter[0])
    return str(getattr(list_filter, "parameter_name", list_filter))


class ReadOnlyAdmin(TableAdmin):
    """Rows that are written elsewhere: none is added or changed here."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReasonedForm(forms.ModelForm):  # type: ignore[type-arg]
    """A row, and why it is added or changed."""

    reason = forms.CharField(
        max_length=1000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Who asked, and why. It stays on record.",
    )


class ReasonedAdmin(TableAdmin):
    """Rows that are added or changed here, with a reason on record (DeskAction)."""

    form = ReasonedForm
    withheld: tuple[str, ...] = ()  # columns whose values do not belong into a record that stays

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """The reason is asked for last, of those who may save."""
        shown = [
            (title, {**options, "fields": [each for each in options["fields"] if each != "reason"]})
            for title, options in super().get_fieldsets(request, obj)
        ]
        may_save = (
            self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        )
        return [*shown, ("Why", {"fields": ["reason"]})] if may_save else shown

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """The last that is written of a row; in the same transaction as all of it."""
        super().save_related(request, form, formsets, change)
        row = form.instance
        desk.record(
            DeskAction.Kind.CHANGE if change else DeskAction.Kind.ADD,
            actor=user_of(request),
            reason=form.cleaned_data["reason"],
            now=timezone.now(),
            work_provider=_work_provider_of(row),
            customer=row if isinstance(row, Customer) else None,
            details={
                "table": row._meta.label_lower,  # noqa: SLF001
                "id": str(row.pk),
                "changes": self.changes(form, change),
            },
        )

    def changes(self, form: Any, change: bool) -> dict[str, list[str | None]]:
        """Old and new value of each column that differs; nothing in place of what is withheld."""
        return {
            name: [None, None]
            if name in self.withheld
            else [
                _text(form.initial.get(name)) if change else None,
                _text(form.cleaned_data[name]),
            ]
            for name in form.changed_data
            if name != "reason" and name in form.cleaned_data
        }


def _work_provider_of(row: models.Model) -> WorkProvider | None:
    found = getattr(row, "work_provider", None)
    return found if isinstance(found, WorkProvider) else None


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, models.Model):
        return str(value.pk)
    if isinstance(value, (list, tuple, models.QuerySet)):
        return ", ".join(sorted(map(str, value)))
    return str(value)[:500]


@admin.register(OutgoingMail)
class OutgoingMailAdmin(ReadOnlyAdmin):
    """Whether mails left, and never what is in them."""

    list_display = ["created_at", "recipients", "subject", "sent_at", "failed_at", "attempts"]
    list_filter = [
        ("failed_at", admin.EmptyFieldListFilter),
        ("sent_at", admin.EmptyFieldListFilter),
    ]
    search_by = {"recipients__iexact": str}
    search_help_text = "The whole address."
    fields = [
        "message_id",
        "sender",
        "recipients",
        "subject",
        "created_at",
        "attempts",
        "next_attempt_at",
        "sent_at",
        "failed_at",
        "failure",
    ]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[OutgoingMail]:
        """Without the bodies: codes and links in them are for the recipient alone."""
        found: models.QuerySet[OutgoingMail] = super().get_queryset(request)
        return found.defer("text", "html")


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    """What Django's own log says of these tables; what the desk did has its own page."""

    list_display = ["action_time", "user", "action_flag", "content_type", "object_repr"]
    list_select_related = ["user", "content_type"]
    search_by = {"object_id": str}
    search_help_text = "The id of a row."
