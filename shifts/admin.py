"""The tables of what happened, to read by; what mends has its pages on the desk."""

import uuid
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from shifts.models import (
    ClockOffset,
    HourFigures,
    MinuteFigures,
    RejectedRequest,
    Seen,
    Shift,
    ShiftEvent,
    ShiftRevision,
    ShiftRule,
    Standing,
    Stream,
    Submission,
    Tally,
    Withdrawal,
)
from zego_api.admin import ReadOnlyAdmin


class StateFilter(admin.SimpleListFilter):
    """Only what an index has: the rest is found by its id."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [("pending", "Pending"), ("failed", "Failed")]

    def queryset(self, request: Any, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        if self.value() == "pending":
            return queryset.filter(digested_at__isnull=True, failed_at__isnull=True)
        return queryset.filter(failed_at__isnull=False) if self.value() == "failed" else queryset


@admin.register(Shift)
class ShiftAdmin(ReadOnlyAdmin):
    list_display = ["id", "stream", "started_at", "ends", "start_clipped", "on_the_desk"]
    list_select_related = ["stream__customer", "stream__work_provider"]
    readonly_fields = ["on_the_desk"]
    search_by = {"id": uuid.UUID}
    search_help_text = "The id of a shift."

    @admin.display(description="ended at")
    def ends(self, shift: Shift) -> str:
        end, reason = shift.end_as_of(timezone.now())
        return f"{end:%Y-%m-%d %H:%M:%S} {reason}" if end else "on shift now"

    def desk_url(self, obj: Shift) -> str:
        return reverse("desk:shift", args=[obj.pk])


@admin.register(ShiftEvent)
class ShiftEventAdmin(ReadOnlyAdmin):
    list_display = [
        "id",
        "kind",
        "timestamp",
        "driver_id",
        "customer_number",
        "work_provider",
        "outcome",
        "reason",
        "on_the_desk",
    ]
    list_select_related = ["work_provider"]
    readonly_fields = ["on_the_desk"]
    search_by = {"id": int}
    search_help_text = "The id of an event. For a driver ask the desk's own search."

    def desk_url(self, obj: ShiftEvent) -> str:
        if obj.driver_id is None:
            return f"{reverse('desk:search')}?{urlencode({'q': obj.customer_number})}"
        return reverse("desk:driver", args=[obj.work_provider_id, obj.driver_id])


@admin.register(Submission)
class SubmissionAdmin(ReadOnlyAdmin):
    list_display = [
        "request_id",
        "work_provider",
        "kind",
        "event_count",
        "received_at",
        "status",
        "attempts",
        "on_the_desk",
    ]
    list_filter = [StateFilter]
    list_select_related = ["work_provider"]
    search_by = {"request_id": uuid.UUID, "id": int}
    search_help_text = "The request id."
    exclude = ["body"]
    readonly_fields = ["sent_body", "on_the_desk"]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Submission]:
        """Without the bodies: a page of them could be half a gigabyte. The form fetches its one."""
        found: models.QuerySet[Submission] = super().get_queryset(request)
        return found.defer("body")

    @admin.display(description="body, as it was sent")
    def sent_body(self, submission: Submission) -> str:
        return bytes(submission.body)[:20_000].decode(errors="replace")

    def desk_url(self, obj: Submission) -> str:
        return reverse("desk:submission", args=[obj.request_id])


@admin.register(ShiftRule)
class ShiftRuleAdmin(ReadOnlyAdmin):
    """The desk's page of a work provider adds one; none is changed."""

    list_display = ["work_provider", "max_shift_length", "valid_from"]
    list_select_related = ["work_provider"]
    search_fields = ["work_provider__name"]

    def desk_url(self, obj: ShiftRule) -> str:
        return reverse("desk:work-provider", args=[obj.work_provider_id])


@admin.register(Withdrawal)
class WithdrawalAdmin(ReadOnlyAdmin):
    list_display = ["stream", "kind", "timestamp", "withdrawn_at", "undone_at", "on_the_desk"]
    list_select_related = ["stream__customer", "stream__work_provider"]
    readonly_fields = ["on_the_desk"]

    def desk_url(self, obj: Withdrawal) -> str:
        return reverse("desk:action", args=[obj.action_id])


@admin.register(ShiftRevision)
class ShiftRevisionAdmin(ReadOnlyAdmin):
    list_display = [
        "shift_id",
        "stream",
        "change",
        "cause",
        "shortens_cover",
        "created_at",
        "on_the_desk",
    ]
    list_select_related = ["stream__customer", "stream__work_provider"]
    readonly_fields = ["on_the_desk"]
    search_by = {"shift_id": uuid.UUID}
    search_help_text = "The id of a shift."

    def desk_url(self, obj: ShiftRevision) -> str:
        return reverse("desk:shift", args=[obj.shift_id])


@admin.register(Stream)
class StreamAdmin(ReadOnlyAdmin):
    list_display = ["customer", "work_provider", "last_event_at", "login_at", "on_the_desk"]
    list_select_related = ["customer", "work_provider"]
    readonly_fields = ["on_the_desk"]
    search_by = {"customer__number": str.upper}
    search_help_text = "The customer number."

    def desk_url(self, obj: Stream) -> str:
        return reverse("desk:customer", args=[obj.customer_id])


@admin.register(RejectedRequest)
class RejectedRequestAdmin(ReadOnlyAdmin):
    list_display = ["received_at", "work_provider", "status", "code", "hint", "on_the_desk"]
    list_select_related = ["work_provider"]
    readonly_fields = ["on_the_desk"]
    search_by = {"request_id": uuid.UUID}
    search_help_text = "The request id."

    def desk_url(self, obj: RejectedRequest) -> str:
        return f"{reverse('desk:rejected')}?request_id={obj.request_id}"


@admin.register(MinuteFigures)
class MinuteFiguresAdmin(ReadOnlyAdmin):
    list_display = ["minute", "requests", "accepted", "digested"]


@admin.register(HourFigures)
class HourFiguresAdmin(ReadOnlyAdmin):
    list_display = ["hour", "work_provider", "requests", "accepted", "digested", "held"]
    list_select_related = ["work_provider"]


@admin.register(ClockOffset)
class ClockOffsetAdmin(ReadOnlyAdmin):
    list_display = ["date", "work_provider", "step", "events"]
    list_select_related = ["work_provider"]


@admin.register(Standing)
class StandingAdmin(ReadOnlyAdmin):
    list_display = ["work_provider", "looked_at", "pending", "failed", "held", "silent_since"]
    list_select_related = ["work_provider"]


@admin.register(Tally)
class TallyAdmin(ReadOnlyAdmin):
    list_display = ["digested_at", "work_provider_id", "events"]


@admin.register(Seen)
class SeenAdmin(ReadOnlyAdmin):
    list_display = ["kind", "target", "action"]
    list_select_related = ["action__actor"]
