"""Plain registrations, to read by; what mends goes through shifts/mend.py. The desk comes later."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest
from django.utils import timezone

from shifts import mend, settle
from shifts.models import (
    Shift,
    ShiftEvent,
    ShiftRevision,
    ShiftRule,
    Stream,
    Submission,
    Withdrawal,
)
from zego_api.admin import ReadOnlyAdmin


@admin.register(Shift)
class ShiftAdmin(ReadOnlyAdmin):
    list_display = ["stream", "started_at", "ends", "start_clipped", "login_at"]
    list_filter = ["end_reason", "stream__work_provider"]
    list_select_related = ["stream__customer", "stream__work_provider"]
    search_fields = ["=id", "stream__customer__number", "link__driver_id"]
    ordering = ["-started_at"]

    @admin.display(description="ended at")
    def ends(self, shift: Shift) -> str:
        end, reason = shift.end_as_of(timezone.now())
        return f"{end:%Y-%m-%d %H:%M:%S} {reason}" if end else "on shift now"


@admin.register(ShiftEvent)
class ShiftEventAdmin(ReadOnlyAdmin):
    list_display = [
        "kind",
        "timestamp",
        "driver_id",
        "customer_number",
        "work_provider",
        "outcome",
        "reason",
    ]
    list_filter = ["outcome", "reason", "kind", "after_ignored_login"]
    list_select_related = ["work_provider"]
    search_fields = ["driver_id", "customer_number"]
    ordering = ["-id"]


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
    ]
    list_filter = [("failed_at", admin.EmptyFieldListFilter), "work_provider"]
    list_select_related = ["work_provider"]
    search_fields = ["=request_id"]
    ordering = ["-id"]
    exclude = ["body"]
    readonly_fields = ["sent_body"]
    actions = ["retry"]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Submission]:
        """Without the bodies: a page of them could be half a gigabyte. The form fetches its one."""
        return super().get_queryset(request).defer("body")

    @admin.display(description="body, as it was sent")
    def sent_body(self, submission: Submission) -> str:
        return bytes(submission.body)[:20_000].decode(errors="replace")

    @admin.action(description="Try the selected FAILED submissions again")
    def retry(self, request: HttpRequest, queryset: models.QuerySet[Submission]) -> None:
        if not request.user.has_perm("shifts.change_submission"):
            raise PermissionDenied
        failed = list(queryset.filter(failed_at__isnull=False))
        for submission in failed:
            mend.retry_failed(submission)
            self.log_change(request, submission, "Tried again.")
        self.message_user(
            request, f"{len(failed)} submissions are pending again.", messages.SUCCESS
        )


@admin.register(ShiftRule)
class ShiftRuleAdmin(ReadOnlyAdmin):
    """A rule is added, never changed: logins before it keep the rule they had."""

    list_display = ["work_provider", "max_shift_length", "valid_from"]
    list_filter = ["work_provider"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def save_model(self, request: HttpRequest, obj: ShiftRule, form: Any, change: bool) -> None:
        rule = settle.change_rule(obj.work_provider, obj.max_shift_length, now=timezone.now())
        obj.pk, obj.valid_from = rule.pk, rule.valid_from


@admin.register(Withdrawal)
class WithdrawalAdmin(ReadOnlyAdmin):
    list_display = [
        "stream",
        "kind",
        "timestamp",
        "reason",
        "withdrawn_by",
        "withdrawn_at",
        "undone_at",
    ]


@admin.register(ShiftRevision)
class ShiftRevisionAdmin(ReadOnlyAdmin):
    list_display = ["shift_id", "stream", "change", "cause", "shortens_cover", "created_at"]
    list_filter = ["change", "cause", "shortens_cover"]
    list_select_related = ["stream__customer", "stream__work_provider"]
    search_fields = ["=shift_id"]
    ordering = ["-id"]


@admin.register(Stream)
class StreamAdmin(ReadOnlyAdmin):
    list_display = ["customer", "work_provider", "last_event_at", "login_at"]
    list_select_related = ["customer", "work_provider"]
    search_fields = ["customer__number"]
