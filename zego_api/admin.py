"""What staff may see of outgoing mails: whether they left, and never what is in them."""

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest

from zego_api.models import OutgoingMail


@admin.register(OutgoingMail)
class OutgoingMailAdmin(admin.ModelAdmin[OutgoingMail]):
    list_display = ["created_at", "recipients", "subject", "sent_at", "failed_at", "attempts"]
    list_filter = [
        ("failed_at", admin.EmptyFieldListFilter),
        ("sent_at", admin.EmptyFieldListFilter),
    ]
    search_fields = ["recipients"]
    ordering = ["-id"]
    show_full_result_count = False
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

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
