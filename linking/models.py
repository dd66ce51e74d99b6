"""Who is who: work providers and their keys, customers, and the links between the two."""

import secrets
import zoneinfo
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeOperators
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.db.models import F, Func, Q
from django.db.models.functions import Lower
from django.utils import timezone

from linking.signals import link_changed
from zego_api.ids import uuid7

# No 0/O, 1/I/L, U/V, 2/Z, 5/S, 8/B: a number is read out over the telephone.
NUMBER_ALPHABET = "34679ACDEFGHJKMNPQRTVWXY"
NUMBER_LENGTH = 10
LIVE_LINK_SECRETS = 2


class TstzRange(Func):
    """`tstzrange(from, to)`: half-open, and without an upper bound while `to` is null."""

    function = "tstzrange"
    output_field = DateTimeRangeField()


def validate_timezone(name: str) -> None:
    """Refuse a name that this machine's time zone database does not know."""
    if name not in zoneinfo.available_timezones():
        raise ValidationError(
            "%(name)s is not a time zone. Use a name such as Europe/London.", params={"name": name}
        )


class User(AbstractUser):
    """Somebody who can sign in: a customer, or a member of staff."""

    class Meta(AbstractUser.Meta):
        constraints = [
            # Two accounts of one address could each block the other; erased ones have none.
            models.UniqueConstraint(
                fields=["email"],
                condition=~Q(email=""),
                name="user_email_unique",
                violation_error_message="There is an account with this address already.",
            )
        ]

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Addresses compare without case, so one spelling is stored."""
        self.email = self.email.lower()
        super().save(*args, **kwargs)


class LinkPolicy(models.TextChoices):
    """How far a link URL that anybody could have typed is trusted."""

    OPEN = "OPEN", "Open: whoever agrees is linked"
    CONFIRM = "CONFIRM", "Confirm: an agreement waits for the work provider or the ops desk"
    SIGNED = "SIGNED", "Signed: the URL must carry the work provider's signature"


class WorkProvider(models.Model):
    """A platform whose drivers Zego insures by the shift."""

    name = models.CharField(max_length=100, help_text="As it stands in link URLs (wp).")
    timezone = models.CharField(
        max_length=64,
        default="UTC",
        validators=[validate_timezone],
        help_text="In which timestamps without an offset are read.",
    )
    max_future = models.DurationField(
        "furthest ahead",
        default=timedelta(hours=24),
        help_text="An event further ahead of our clock than this is refused.",
    )
    link_policy = models.CharField(
        max_length=7,
        choices=LinkPolicy,
        default=LinkPolicy.OPEN,
        help_text="Open: anybody who types a URL with a stranger's driver id, signs up and agrees is "
        "insured for that driver's shifts. Confirm and Signed prevent it.",
    )
    is_active = models.BooleanField(
        default=True, help_text="Unticked: its keys are refused; what was accepted still counts."
    )
    is_test = models.BooleanField(default=False, help_text="A sandbox: never mixed with live.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("name"),
                name="workprovider_name_unique",
                violation_error_message="There is a work provider of this name already.",
            ),
            models.CheckConstraint(condition=~Q(name=""), name="workprovider_name_not_empty"),
            models.CheckConstraint(
                condition=Q(max_future__gte=timedelta(0)) & Q(max_future__lte=timedelta(days=366)),
                name="workprovider_max_future_range",
                violation_error_message="Between 0 and 366 days.",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ApiKey(models.Model):
    """One key of a work provider. The key itself is not stored; see linking/keys.py."""

    work_provider = models.ForeignKey(WorkProvider, models.PROTECT, related_name="api_keys")
    key_id = models.CharField(
        max_length=16, unique=True, editable=False, help_text="The part between the underscores."
    )
    secret_hash = models.BinaryField(max_length=32, editable=False)
    label = models.CharField(max_length=100, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="To the minute."
    )

    def __str__(self) -> str:
        return f"{self.work_provider}: {self.key_id}"


def new_customer_number() -> str:
    """A random customer number; of 24^10 one is neither guessed nor, in our time, drawn twice."""
    return "".join(secrets.choice(NUMBER_ALPHABET) for _ in range(NUMBER_LENGTH))


class Customer(models.Model):
    """An insured person; `number` is what the API calls `policyId` or `customerNumber`."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="customer"
    )
    number = models.CharField(
        max_length=128,
        unique=True,
        default=new_customer_number,
        validators=[RegexValidator(r"\A[A-Z0-9]+\Z", "Upper-case letters and digits.")],
    )
    is_test = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    erased_at = models.DateTimeField(
        null=True, editable=False, help_text="When the person had their data deleted."
    )

    class Meta:
        constraints = [
            # Numbers compare without case, so only one spelling of each may be stored.
            models.CheckConstraint(
                condition=Q(number__regex=r"^[A-Z0-9]+$"), name="customer_number_upper_case"
            )
        ]

    def __str__(self) -> str:
        return self.number

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Numbers compare without case, so one spelling is stored."""
        self.number = self.number.upper()
        super().save(*args, **kwargs)


class DriverLinkQuerySet(models.QuerySet["DriverLink"]):
    def not_ended(self, at: datetime) -> Self:
        """Those that hold at `at`, or begin later."""
        return self.filter(Q(unlinked_at__isnull=True) | Q(unlinked_at__gt=at))


class DriverLink(models.Model):
    """A customer's agreement to be insured while working for one work provider.

    Valid for `[linked_at, unlinked_at)`. A driver id has at most one customer at any instant, and a
    customer at most one driver id per work provider: the database refuses overlaps, past ones too.
    """

    class EndedBy(models.TextChoices):
        DRIVER = "DRIVER", "the driver, on the account page"
        UNDO = "UNDO", "the driver, by the link in the mail"
        ERASURE = "ERASURE", "the deletion of the driver's data"
        OPS = "OPS", "the ops desk"

    work_provider = models.ForeignKey(WorkProvider, models.PROTECT, related_name="links")
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="links")
    driver_id = models.CharField(max_length=128)
    linked_at = models.DateTimeField(default=timezone.now)
    unlinked_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.CharField(max_length=7, choices=EndedBy, blank=True, editable=False)
    # When the service heard of either, which decides what it knew at a moment of the past.
    link_recorded_at = models.DateTimeField(default=timezone.now, editable=False)
    unlink_recorded_at = models.DateTimeField(null=True, editable=False)
    updated_at = models.DateTimeField(auto_now=True, db_index=True)

    objects = DriverLinkQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["work_provider", "driver_id"], name="driverlink_driver_id"),
            models.Index(fields=["work_provider", "customer"], name="driverlink_customer"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(unlinked_at__isnull=True) | Q(unlinked_at__gte=F("linked_at")),
                name="driverlink_ends_after_it_begins",
                violation_error_message="A link cannot end before it begins.",
            ),
            ExclusionConstraint(
                name="driverlink_driver_id_once",
                expressions=[
                    ("work_provider", RangeOperators.EQUAL),
                    ("driver_id", RangeOperators.EQUAL),
                    (TstzRange("linked_at", "unlinked_at"), RangeOperators.OVERLAPS),
                ],
                violation_error_message="This driver id is linked at that time already.",
            ),
            ExclusionConstraint(
                name="driverlink_customer_once",
                expressions=[
                    ("work_provider", RangeOperators.EQUAL),
                    ("customer", RangeOperators.EQUAL),
                    (TstzRange("linked_at", "unlinked_at"), RangeOperators.OVERLAPS),
                ],
                violation_error_message="This customer is linked to this work provider already.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.customer} at {self.work_provider} as {self.driver_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the link and announce it in one transaction, so that its shifts are never behind."""
        self.clean()
        with transaction.atomic():
            # One change at a time and work provider: what flows.py has checked holds until then.
            WorkProvider.objects.select_for_update(no_key=True).get(pk=self.work_provider_id)
            before = DriverLink.objects.filter(pk=self.pk).values_list("unlinked_at", flat=True)
            if self.unlinked_at is None:
                self.unlink_recorded_at = None
            elif self.unlinked_at != before.first():
                self.unlink_recorded_at = timezone.now()
            super().save(*args, **kwargs)
            link_changed.send(sender=DriverLink, link=self)

    def clean(self) -> None:
        """The kind message for what must not mix."""
        try:
            mixed = self.work_provider.is_test != self.customer.is_test
        except ObjectDoesNotExist:  # a form that lacks one of the two says so itself
            return
        if mixed:
            raise ValidationError("A sandbox work provider links only test customers.")
        if self.unlinked_at is not None and self.unlinked_at < self.linked_at:
            raise ValidationError({"unlinked_at": "A link cannot end before it begins."})


class LinkSecret(models.Model):
    """What a work provider signs its link URLs with (linking/tokens.py); stored encrypted."""

    work_provider = models.ForeignKey(WorkProvider, models.CASCADE, related_name="link_secrets")
    encrypted = models.TextField(editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.work_provider}: link secret {self.pk}"

    def clean(self) -> None:
        """The kind message for a third: two are enough to roll from one to the next."""
        if not self.pk and hasattr(self, "work_provider"):
            live = self.work_provider.link_secrets.filter(revoked_at__isnull=True)
            if live.count() >= LIVE_LINK_SECRETS:
                raise ValidationError(
                    "Two link secrets are live already. Revoke the older one first."
                )


class Terms(models.Model):
    """One version of Zego's terms (no work provider) or of a work provider's; never changed."""

    work_provider = models.ForeignKey(
        WorkProvider,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="terms",
        help_text="Empty: Zego's own.",
    )
    version = models.CharField(max_length=20, help_text="For example 2026-11.")
    text = models.TextField(help_text="Plain text; an empty line starts a paragraph.")
    published_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "terms"
        constraints = [
            models.UniqueConstraint(
                fields=["work_provider", "version"],
                name="terms_version_unique",
                nulls_distinct=False,
                violation_error_message="There is such a version already.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.owner}'s terms, version {self.version}"

    @property
    def owner(self) -> str:
        """Whose terms these are."""
        return self.work_provider.name if self.work_provider else "Zego"


class Agreement(models.Model):
    """That a customer agreed to one version of terms, and when first."""

    customer = models.ForeignKey(Customer, models.PROTECT, related_name="agreements")
    terms = models.ForeignKey(Terms, models.PROTECT, related_name="agreements")
    agreed_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["customer", "terms"], name="agreement_once")]

    def __str__(self) -> str:
        return f"{self.customer} agreed to {self.terms}"


class LinkIntent(models.Model):
    """That somebody opened a work provider's link; it says who they might become, and does nothing.

    It can be agreed to for settings.INTENT_LASTS, by the session that opened the link or by an
    account with the email verified.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    work_provider = models.ForeignKey(WorkProvider, models.CASCADE, related_name="+")
    driver_id = models.CharField(max_length=128)
    email = models.EmailField()
    signature = models.BinaryField(
        max_length=32, null=True, help_text="SHA-256 of the URL's signature, when it carried one."
    )
    signature_expires_at = models.DateTimeField(null=True)
    link_secret = models.ForeignKey(
        LinkSecret, models.SET_NULL, null=True, related_name="+", help_text="That signed it."
    )
    created_at = models.DateTimeField(default=timezone.now)
    cancelled_at = models.DateTimeField(null=True)
    agreed_at = models.DateTimeField(null=True)
    agreed_by = models.ForeignKey(Customer, models.PROTECT, null=True, related_name="+")

    class Meta:
        indexes = [
            models.Index(fields=["email", "created_at"], name="linkintent_email"),
            models.Index(fields=["created_at"], name="linkintent_created_at"),
        ]

    def __str__(self) -> str:
        return f"{self.work_provider}: {self.created_at.isoformat()}"

    def is_live(self, now: datetime) -> bool:
        """Whether it can still be agreed to."""
        ended = self.cancelled_at is not None or self.agreed_at is not None
        return not ended and now < self.created_at + settings.INTENT_LASTS


class SpentSignature(models.Model):
    """A signature that an agreement has used up; kept until it would have expired."""

    signature = models.BinaryField(max_length=32, primary_key=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"spent, expires {self.expires_at.isoformat()}"


class LinkRequest(models.Model):
    """An agreement that made no link at once: it waits to be confirmed, or was refused.

    It reserves nothing. Once confirmed, the link holds from `agreed_at` on.
    """

    class State(models.TextChoices):
        WAITING = "WAITING"
        CONFIRMED = "CONFIRMED"
        REFUSED = "REFUSED"
        CANCELLED = "CANCELLED", "cancelled by the driver"

    work_provider = models.ForeignKey(WorkProvider, models.PROTECT, related_name="link_requests")
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="link_requests")
    driver_id = models.CharField(max_length=128)
    agreed_at = models.DateTimeField()
    state = models.CharField(max_length=9, choices=State, default=State.WAITING)
    reason = models.CharField(max_length=200, blank=True)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )
    link = models.OneToOneField(DriverLink, models.PROTECT, null=True, related_name="request")

    class Meta:
        indexes = [
            models.Index(fields=["work_provider", "driver_id"], name="linkrequest_driver_id"),
            models.Index(
                fields=["id"],
                name="linkrequest_refused_alone",  # by the service, which nobody has looked at
                condition=Q(state="REFUSED", decided_by__isnull=True),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["work_provider", "customer", "driver_id"],
                name="linkrequest_waits_once",
                condition=Q(state="WAITING"),
            ),
            models.CheckConstraint(
                condition=Q(state="WAITING", decided_at__isnull=True)
                | ~Q(state="WAITING") & Q(decided_at__isnull=False),
                name="linkrequest_decided_or_waiting",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.customer} at {self.work_provider} as {self.driver_id}: {self.state}"


class DeskAction(models.Model):
    """One thing that the ops desk did: who, when, why, and what it touched.

    The audit log. The database refuses to change or delete a row, but for the progress of what runs in
    the background (its `items`).
    """

    class Kind(models.TextChoices):
        ADD_EVENT = "ADD_EVENT", "added a login or logout"
        WITHDRAW = "WITHDRAW", "withdrew an event"
        STRIKE = "STRIKE", "withdrew what an API key sent"
        REREAD = "REREAD", "read timestamps again in another zone"
        CLOSE_OUT = "CLOSE_OUT", "added missing logouts"
        UNDO = "UNDO", "undid an earlier action"
        REPLAY = "REPLAY", "decided held events again"
        RETRY = "RETRY", "tried a failed submission again"
        DISCARD = "DISCARD", "discarded a failed submission"
        MAKE_LINK = "MAKE_LINK", "linked a driver"
        END_LINK = "END_LINK", "ended a link"
        CONFIRM_LINK = "CONFIRM_LINK", "confirmed a link"
        REFUSE_LINK = "REFUSE_LINK", "refused a link"
        ISSUE_KEY = "ISSUE_KEY", "issued an API key"
        ROLL_KEY = "ROLL_KEY", "rolled an API key"
        REVOKE_KEY = "REVOKE_KEY", "revoked an API key"
        ISSUE_LINK_SECRET = "ISSUE_LINK_SECRET", "issued a link secret"
        REVOKE_LINK_SECRET = "REVOKE_LINK_SECRET", "revoked a link secret"
        ADD = "ADD", "added"
        CHANGE = "CHANGE", "changed"
        SEEN = "SEEN", "looked at"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=18, choices=Kind)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="desk_actions", db_index=False
    )
    reason = models.TextField()
    created_at = models.DateTimeField()
    work_provider = models.ForeignKey(
        WorkProvider, models.PROTECT, null=True, related_name="desk_actions"
    )
    customer = models.ForeignKey(Customer, models.PROTECT, null=True, related_name="desk_actions")
    details = models.JSONField(default=dict, help_text="What it touched, in the words of its kind.")
    undoes = models.OneToOneField("self", models.PROTECT, null=True, related_name="undone_by")
    finished_at = models.DateTimeField(
        null=True, help_text="Null while items of it wait to be done in the background."
    )

    class Meta:
        indexes = [
            models.Index(
                fields=["id"],
                name="deskaction_unfinished",
                condition=Q(finished_at__isnull=True),
            )
        ]
        constraints = [
            models.CheckConstraint(condition=~Q(reason=""), name="deskaction_reason_given"),
        ]
        permissions = [
            ("mend", "Can mend records: events, links, submissions"),
            ("mend_in_bulk", "Can mend in bulk: close-outs, struck keys, zones read again"),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.get_kind_display()} at {self.created_at.isoformat()}"


class DeskActionItem(models.Model):
    """One piece of an action that is done in the background; `target` is what its kind says."""

    action = models.ForeignKey(DeskAction, models.PROTECT, related_name="items", db_index=False)
    target = models.BigIntegerField()
    done_at = models.DateTimeField(null=True)
    problem = models.TextField(blank=True, help_text="Why it could not be done.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["action", "target"], name="deskactionitem_once")
        ]
        indexes = [
            models.Index(
                fields=["action", "target"],
                name="deskactionitem_waiting",
                condition=Q(done_at__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.action_id}: {self.target}"
