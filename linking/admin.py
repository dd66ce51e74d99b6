"""Accounts, rights, and the tables of who is who."""

from importlib import import_module
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from linking.accounts import user_of
from linking.models import (
    Agreement,
    ApiKey,
    Customer,
    DeskAction,
    DriverLink,
    LinkRequest,
    LinkSecret,
    Terms,
    User,
    WorkProvider,
)
from zego_api.admin import ReadOnlyAdmin, ReasonedAdmin, ReasonedForm

# Addresses and second factors are their owners' business, on their own pages.
for _module in ("allauth.account", "allauth.mfa", "django.contrib.auth"):
    import_module(f"{_module}.admin")  # before it is taken off, it has to be there
for _model in (EmailAddress, Authenticator, Group):
    admin.site.unregister(_model)


def may_grant(user: User) -> models.QuerySet[Permission]:
    """What somebody may hand on: no more than they hold."""
    return Permission.objects.all() if user.is_superuser else held_by(user)


def held_by(user: User) -> models.QuerySet[Permission]:
    """The permissions that somebody holds by groups or for themselves, active or not."""
    return Permission.objects.filter(Q(group__user=user) | Q(user=user)).distinct()


def holds_all_of(user: User, permissions: models.QuerySet[Permission]) -> bool:
    """Whether somebody holds each of these permissions."""
    return not permissions.exclude(pk__in=may_grant(user).values("pk")).exists()


@admin.register(Group)
class RightsAdmin(ReasonedAdmin):
    """Nobody but a superuser grants what they do not hold, or changes a group that holds more."""

    ordering = ["name"]
    search_fields = ["name"]

    class Media:
        css = {"all": ["desk/work_providers.css"]}

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if not super().has_change_permission(request, obj):
            return False
        return obj is None or holds_all_of(user_of(request), obj.permissions.all())

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "permissions":
            kwargs["queryset"] = may_grant(user_of(request)).order_by("name")
            kwargs["widget"] = UnfoldAdminCheckboxSelectMultipleWidget()
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if db_field.name == "permissions":
            field.label_from_instance = _name_of  # each names its table already
        return field


def _name_of(permission: Permission) -> str:
    return permission.name


class NewAccountForm(ReasonedForm):
    """A member of staff; they choose their password themselves, by "Forgot your password?"."""

    class Meta:
        model = User
        fields = ["email", "first_name", "last_name", "is_staff", "groups"]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        email = self.fields["email"]
        email.required = True
        email.help_text = "They choose a password by “Forgot your password?” on the sign-in page."
        if "is_staff" in self.fields:
            self.fields["is_staff"].initial = True

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].lower()
        if User.objects.filter(username=email).exists():
            raise ValidationError("There is an account with this address already.")
        return email

    def save(self, commit: bool = True) -> Any:
        self.instance.username = self.cleaned_data["email"]
        self.instance.set_unusable_password()
        return super().save(commit)


@admin.register(User)
class AccountAdmin(ReasonedAdmin):
    """Who can sign in. An address is proved and changed by its owner, and a password known to no other.

    Nobody but a superuser makes a superuser, hands on more than they hold, or changes who holds more.
    """

    fieldsets = [
        (None, {"fields": ["username", "email", "first_name", "last_name"]}),
        (
            "Rights",
            {"fields": ["is_active", "is_staff", "is_superuser", "groups", "user_permissions"]},
        ),
        ("Dates", {"fields": ["last_login", "date_joined"]}),
    ]
    add_fieldsets = [
        (None, {"fields": ["email", "first_name", "last_name"]}),
        ("Rights", {"fields": ["is_staff", "groups"]}),
    ]
    list_display = ["username", "email", "is_staff", "is_superuser", "is_active", "last_login"]
    list_filter = ["is_staff"]
    readonly_fields = ["last_login", "date_joined"]
    search_by = {"email": str.lower, "username": str}
    search_help_text = "The whole address, or the user name."
    withheld = ("username", "email", "first_name", "last_name")

    def get_form(self, request: HttpRequest, obj: Any = None, **options: Any) -> Any:
        return super().get_form(request, obj, **({} if obj else {"form": NewAccountForm}) | options)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = list(super().get_readonly_fields(request, obj))
        if obj is not None:
            fields += ["username", *(["email"] if obj.email else [])]
        if not user_of(request).is_superuser:
            fields += ["is_superuser", "user_permissions"]
        return fields

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """A new account's address is proved by the code that the first password takes."""
        super().save_model(request, obj, form, change)
        if not change:
            EmailAddress.objects.create(user=obj, email=obj.email, primary=True)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if not super().has_change_permission(request, obj):
            return False
        user = user_of(request)
        if obj is None or user.is_superuser:
            return True
        return not obj.is_superuser and holds_all_of(user, held_by(obj))

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        grantable = may_grant(user_of(request))
        if db_field.name == "groups":
            beyond = Permission.objects.exclude(pk__in=grantable.values("pk"))
            kwargs["queryset"] = Group.objects.exclude(permissions__in=beyond)
            kwargs["widget"] = UnfoldAdminCheckboxSelectMultipleWidget()
        if db_field.name == "user_permissions":
            kwargs["queryset"] = grantable.select_related("content_type")
        return super().formfield_for_manytomany(db_field, request, **kwargs)


@admin.register(WorkProvider)
class WorkProviderAdmin(ReadOnlyAdmin):
    list_display = ["name", "timezone", "link_policy", "is_active", "is_test", "on_the_desk"]
    list_filter = ["is_active", "is_test", "link_policy"]
    search_fields = ["name"]
    readonly_fields = ["on_the_desk"]

    def desk_url(self, obj: WorkProvider) -> str:
        return reverse("desk:work-provider", args=[obj.pk])


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    list_display = [
        "key_id",
        "work_provider",
        "label",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
        "on_the_desk",
    ]
    list_select_related = ["work_provider"]
    search_fields = ["key_id", "label", "work_provider__name"]
    fields = [*list_display]
    readonly_fields = ["on_the_desk"]

    def desk_url(self, obj: ApiKey) -> str:
        return reverse("desk:key", args=[obj.pk])


@admin.register(LinkSecret)
class LinkSecretAdmin(ReadOnlyAdmin):
    list_display = ["id", "work_provider", "created_at", "revoked_at", "on_the_desk"]
    list_select_related = ["work_provider"]
    fields = ["work_provider", "created_at", "revoked_at", "on_the_desk"]
    readonly_fields = ["on_the_desk"]

    def desk_url(self, obj: LinkSecret) -> str:
        return reverse("desk:work-provider", args=[obj.work_provider_id])


@admin.register(Customer)
class CustomerAdmin(ReasonedAdmin):
    list_display = ["number", "user", "is_test", "created_at", "on_the_desk"]
    list_select_related = ["user"]
    raw_id_fields = ["user"]
    search_by = {"number": str.upper, "user__email": str.lower}
    search_help_text = "The customer number, or the whole address."

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        made = ["number", "is_test", "created_at", "erased_at", "on_the_desk"]
        return made if obj else []

    def desk_url(self, obj: Customer) -> str:
        return reverse("desk:customer", args=[obj.pk])


@admin.register(DriverLink)
class DriverLinkAdmin(ReadOnlyAdmin):
    """A link is evidence: it is made and ended on the desk, and otherwise stays as it was agreed."""

    list_display = [
        "customer",
        "work_provider",
        "driver_id",
        "linked_at",
        "unlinked_at",
        "on_the_desk",
    ]
    list_select_related = ["customer", "work_provider"]
    readonly_fields = ["on_the_desk"]
    search_by = {"customer__number": str.upper}
    search_help_text = "The customer number. For a driver id ask the desk's own search."

    def desk_url(self, obj: DriverLink) -> str:
        return reverse("desk:customer", args=[obj.customer_id])


@admin.register(LinkRequest)
class LinkRequestAdmin(ReadOnlyAdmin):
    """Agreements that wait to be confirmed, and those that were refused."""

    list_display = [
        "work_provider",
        "customer",
        "driver_id",
        "agreed_at",
        "state",
        "reason",
        "on_the_desk",
    ]
    list_filter = ["state"]
    list_select_related = ["work_provider", "customer"]
    readonly_fields = ["on_the_desk"]
    search_by = {"customer__number": str.upper}
    search_help_text = "The customer number."

    def desk_url(self, obj: LinkRequest) -> str:
        if obj.state == LinkRequest.State.WAITING:
            return reverse("desk:list", args=["waiting-links"])
        return reverse("desk:customer", args=[obj.customer_id])


@admin.register(Terms)
class TermsAdmin(ReasonedAdmin):
    """A version is added, never changed: people have agreed to what it says."""

    list_display = ["owner", "version", "published_at"]
    list_select_related = ["work_provider"]
    search_fields = ["version", "work_provider__name"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Agreement)
class AgreementAdmin(ReadOnlyAdmin):
    list_display = ["customer", "terms", "agreed_at"]
    list_select_related = ["customer", "terms__work_provider"]
    search_by = {"customer__number": str.upper}
    search_help_text = "The customer number."


@admin.register(DeskAction)
class DeskActionAdmin(ReadOnlyAdmin):
    """The audit log; the database refuses to change it."""

    list_display = ["created_at", "actor", "kind", "reason", "on_the_desk"]
    list_select_related = ["actor"]
    readonly_fields = ["on_the_desk"]

    def desk_url(self, obj: DeskAction) -> str:
        return reverse("desk:action", args=[obj.pk])
