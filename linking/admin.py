"""Plain registrations; the ops desk comes as its own piece of work."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils import timezone

from linking import keys
from linking.models import ApiKey, Customer, DriverLink, User, WorkProvider

admin.site.register(User, UserAdmin)


@admin.register(WorkProvider)
class WorkProviderAdmin(admin.ModelAdmin[WorkProvider]):
    list_display = ["name", "timezone", "is_active", "is_test", "created_at"]
    search_fields = ["name"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["is_test"] if obj else []


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin[ApiKey]):
    list_display = [
        "key_id",
        "work_provider",
        "label",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
    ]
    list_filter = ["work_provider"]
    search_fields = ["key_id", "label", "work_provider__name"]
    readonly_fields = ["key_id", "created_at", "revoked_at", "last_used_at"]
    actions = ["revoke"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*self.readonly_fields, "work_provider"] if obj else list(self.readonly_fields)

    def save_model(
        self, request: HttpRequest, obj: ApiKey, form: ModelForm[ApiKey], change: bool
    ) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        row, key = keys.issue(obj.work_provider, label=obj.label, expires_at=obj.expires_at)
        obj.pk, obj.key_id = row.pk, row.key_id
        self.message_user(request, f"Shown this once: {key}", messages.WARNING)

    @admin.action(description="Revoke the selected keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: Any) -> None:
        for row in queryset.filter(revoked_at__isnull=True):
            row.revoked_at = timezone.now()
            row.save()
            self.log_change(request, row, "Revoked.")
        self.message_user(
            request, f"Revoked. Within {keys.CACHE_SECONDS} seconds no server takes them any more."
        )


@admin.register(Customer)
class CustomerAdmin(admin.ModelAdmin[Customer]):
    list_display = ["number", "user", "is_test", "created_at"]
    search_fields = ["number", "user__email", "user__username"]
    autocomplete_fields = ["user"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["number", "is_test"] if obj else []


@admin.register(DriverLink)
class DriverLinkAdmin(admin.ModelAdmin[DriverLink]):
    """A link is evidence: it is made and ended here, and otherwise stays as it was agreed."""

    list_display = ["customer", "work_provider", "driver_id", "linked_at", "unlinked_at"]
    list_filter = ["work_provider"]
    search_fields = ["driver_id", "customer__number", "customer__user__email"]
    autocomplete_fields = ["customer", "work_provider"]
    readonly_fields = ["link_recorded_at", "unlink_recorded_at"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        made = ["work_provider", "customer", "driver_id", "linked_at"] if obj else []
        return [*self.readonly_fields, *made]
