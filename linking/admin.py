"""Plain registrations; the ops desk comes as its own piece of work."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils import timezone

from linking import flows, keys, tokens
from linking.accounts import user_of
from linking.models import (
    Agreement,
    ApiKey,
    Customer,
    DriverLink,
    LinkPolicy,
    LinkRequest,
    LinkSecret,
    Terms,
    User,
    WorkProvider,
)
from zego_api.admin import ReadOnlyAdmin


@admin.register(User)
class AccountAdmin(UserAdmin[User]):
    """An address is proved and changed by its owner; one is given here only to who has none."""

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        own = ["email"] if obj is not None and obj.email else []
        return [*super().get_readonly_fields(request, obj), *own]


@admin.register(WorkProvider)
class WorkProviderAdmin(admin.ModelAdmin[WorkProvider]):
    list_display = ["name", "timezone", "link_policy", "is_active", "is_test", "created_at"]
    search_fields = ["name"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["is_test"] if obj else []

    def save_model(
        self, request: HttpRequest, obj: WorkProvider, form: ModelForm[WorkProvider], change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        secrets = obj.link_secrets.filter(revoked_at__isnull=True)
        if obj.link_policy == LinkPolicy.SIGNED and not secrets.exists():
            self.message_user(
                request,
                "No link works until this work provider has a link secret: add one under Link secrets.",
                messages.WARNING,
            )


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
    readonly_fields = ["ended_by", "link_recorded_at", "unlink_recorded_at"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(
        self, request: HttpRequest, obj: DriverLink, form: ModelForm[DriverLink], change: bool
    ) -> None:
        """The driver is told of a link that is made or ended for them."""
        ended = "unlinked_at" in form.changed_data and obj.unlinked_at is not None
        if "unlinked_at" in form.changed_data:
            obj.ended_by = DriverLink.EndedBy.OPS if ended else ""
        super().save_model(request, obj, form, change)
        if ended:
            flows.tell(obj.customer, obj.work_provider, "unlinked")
        elif not change:
            flows.tell(obj.customer, obj.work_provider, "linked", agreed_at=obj.linked_at)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        made = ["work_provider", "customer", "driver_id", "linked_at"] if obj else []
        return [*self.readonly_fields, *made]


@admin.register(LinkRequest)
class LinkRequestAdmin(ReadOnlyAdmin):
    """Agreements that wait to be confirmed, and those that were refused."""

    list_display = ["work_provider", "customer", "driver_id", "agreed_at", "state", "reason"]
    list_filter = ["state", "work_provider"]
    list_select_related = ["work_provider", "customer"]
    search_fields = ["driver_id", "customer__number", "customer__user__email"]
    ordering = ["-agreed_at"]
    actions = ["confirm", "refuse"]

    @admin.action(description="Confirm: link from the agreement on", permissions=["decide"])
    def confirm(self, request: HttpRequest, queryset: QuerySet[LinkRequest]) -> None:
        self._decide(
            request,
            queryset,
            lambda row: flows.confirm(row, by=user_of(request), now=timezone.now()),
            "Confirmed.",
        )

    @admin.action(description="Refuse: the driver is told", permissions=["decide"])
    def refuse(self, request: HttpRequest, queryset: QuerySet[LinkRequest]) -> None:
        self._decide(
            request,
            queryset,
            lambda row: flows.refuse(
                row, by=user_of(request), reason="Refused by the ops desk.", now=timezone.now()
            ),
            "Refused.",
        )

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("linking.change_linkrequest")

    def _decide(
        self,
        request: HttpRequest,
        queryset: QuerySet[LinkRequest],
        decide: Callable[[LinkRequest], object],
        done: str,
    ) -> None:
        """One by one, so that what stands in the way of one does not hold up the others."""
        for row in queryset:
            try:
                decide(row)
            except ValidationError as error:
                self.message_user(request, f"{row}: {error.messages[0]}", messages.ERROR)
            else:
                self.log_change(request, row, done)
                self.message_user(request, f"{row.customer}: {done}", messages.SUCCESS)


@admin.register(Terms)
class TermsAdmin(admin.ModelAdmin[Terms]):
    """A version is added, never changed: people have agreed to what it says."""

    list_display = ["owner", "version", "published_at"]
    list_filter = ["work_provider"]
    list_select_related = ["work_provider"]
    autocomplete_fields = ["work_provider"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Agreement)
class AgreementAdmin(ReadOnlyAdmin):
    list_display = ["customer", "terms", "agreed_at"]
    list_select_related = ["customer", "terms__work_provider"]
    search_fields = ["customer__number"]
    ordering = ["-agreed_at"]


@admin.register(LinkSecret)
class LinkSecretAdmin(admin.ModelAdmin[LinkSecret]):
    list_display = ["id", "work_provider", "created_at", "revoked_at"]
    list_filter = ["work_provider"]
    list_select_related = ["work_provider"]
    fields = ["work_provider"]
    actions = ["revoke"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(
        self, request: HttpRequest, obj: LinkSecret, form: ModelForm[LinkSecret], change: bool
    ) -> None:
        row, secret = tokens.issue_secret(obj.work_provider)
        obj.pk, obj.encrypted = row.pk, row.encrypted
        self.message_user(request, f"Shown this once: {secret}", messages.WARNING)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("linking.change_linksecret")

    @admin.action(description="Revoke the selected secrets", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[LinkSecret]) -> None:
        for row in queryset.filter(revoked_at__isnull=True):
            row.revoked_at = timezone.now()
            row.save()
            self.log_change(request, row, "Revoked.")
        self.message_user(request, "Revoked. Links signed with them are refused from now on.")
