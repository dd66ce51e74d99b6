"""What the admin has in common, and outgoing mails."""

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest

from zego_api.models import OutgoingMail


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """Rows that the service alone writes: none is added, changed or deleted by hand."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(OutgoingMail)
class OutgoingMailAdmin(ReadOnlyAdmin):
    """Whether mails left, and never what is in them."""

    list_display = ["created_at", "recipients", "subject", "sent_at", "failed_at", "attempts"]
    list_filter = [
        ("failed_at", admin.EmptyFieldListFilter),
        ("sent_at", admin.EmptyFieldListFilter),
    ]
    search_fields = ["recipients"]
    ordering = ["-id"]
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
        return super().get_queryset(request).defer("text", "html")
