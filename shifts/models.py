"""What happened: submissions as they were sent, their events, and the shifts these make."""

from datetime import datetime, timedelta
from typing import Self

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.constraints import Deferrable
from django.db.models.functions import Coalesce

from linking.models import ApiKey, Customer, DeskAction, DriverLink, TstzRange, WorkProvider
from shifts import timeline
from zego_api.ids import uuid7

# An event's id is its submission's id times this, plus its place in the body: known before it is
# stored, in order of arrival, and unique, so that no submission can be digested twice. More than
# settings.BATCH_MAX_EVENTS.
EVENTS_PER_SUBMISSION = 2**14


class Kind(models.TextChoices):
    LOGIN = "login"
    LOGOUT = "logout"


class Outcome(models.TextChoices):
    APPLIED = "APPLIED"
    DUPLICATE = "DUPLICATE"
    IGNORED = "IGNORED"
    ORPHAN = "ORPHAN"
    HELD = "HELD"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"


class Reason(models.TextChoices):
    REPEATED_LOGIN = "REPEATED_LOGIN"
    ZERO_LENGTH = "ZERO_LENGTH"
    AFTER_UNLINK = "AFTER_UNLINK"
    NO_OPEN_SHIFT = "NO_OPEN_SHIFT"
    BEYOND_MAX_LENGTH = "BEYOND_MAX_LENGTH"
    UNKNOWN_ID = "UNKNOWN_ID"
    NOT_LINKED = "NOT_LINKED"
    BEFORE_LINK = "BEFORE_LINK"
    EXPIRED = "EXPIRED"


class EndReason(models.TextChoices):
    LOGOUT = "LOGOUT"
    AUTO_CLOSED = "AUTO_CLOSED"
    UNLINKED = "UNLINKED"
    OPS = "OPS"


class ShiftRule(models.Model):
    """The longest shift of a work provider, for logins from `valid_from` on (settle.change_rule).

    Without a row it is settings.DEFAULT_MAX_SHIFT_LENGTH; null means that there is none.
    """

    work_provider = models.ForeignKey(WorkProvider, models.PROTECT, related_name="shift_rules")
    max_shift_length = models.DurationField(
        null=True, blank=True, default=settings.DEFAULT_MAX_SHIFT_LENGTH
    )
    valid_from = models.DateTimeField(editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["work_provider", "valid_from"], name="shiftrule_valid_from_unique"
            ),
            models.CheckConstraint(
                condition=Q(max_shift_length__isnull=True)
                | Q(max_shift_length__gte=timedelta(minutes=1)),
                name="shiftrule_max_shift_length_positive",
                violation_error_message="At least one minute; empty for no maximum.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.work_provider}: {self.max_shift_length or 'no maximum'}"


class Submission(models.Model):
    """One accepted API request, kept exactly as it was sent; committed before its 202.

    It is pending until `digested_at` or `failed_at` is set. A worker's claim counts `attempts` and
    holds it until `leased_until`; after a failure it waits until `next_attempt_at`.
    """

    request_id = models.UUIDField(default=uuid7, unique=True, editable=False)
    work_provider = models.ForeignKey(WorkProvider, models.PROTECT, db_index=False)
    api_key = models.ForeignKey(ApiKey, models.PROTECT, null=True, db_index=False)
    action = models.ForeignKey(
        DeskAction,
        models.PROTECT,
        null=True,
        db_index=False,
        help_text="What the ops desk did, when it added this.",
    )
    reread_of = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        db_index=False,
        related_name="+",
        help_text="Whose body this reads again, in another zone.",
    )
    is_withdrawn = models.BooleanField(
        default=False, help_text="Whether a withdrawal strikes all events of it (Withdrawal)."
    )
    kind = models.CharField(max_length=6, choices=Kind)
    is_batch = models.BooleanField()
    body = models.BinaryField()
    timezone = models.CharField(
        max_length=64, help_text="In which its timestamps without an offset are read."
    )
    event_count = models.PositiveIntegerField()
    clock_ahead_count = models.PositiveIntegerField(
        default=0, help_text="Events more than five minutes ahead of our clock."
    )
    received_at = models.DateTimeField()

    attempts = models.PositiveSmallIntegerField(default=0)
    claim = models.UUIDField(null=True)
    leased_until = models.DateTimeField(null=True)
    next_attempt_at = models.DateTimeField(null=True)
    digested_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    failure = models.TextField(blank=True)

    class Meta:
        indexes = [
            # A queue in a table stays fast only while the index holds just what is pending.
            models.Index(
                fields=["id"],
                name="submission_pending",
                condition=Q(digested_at__isnull=True, failed_at__isnull=True),
            ),
            models.Index(
                fields=["id"], name="submission_failed", condition=Q(failed_at__isnull=False)
            ),
            # By period, for a few pages of an append-only table: next to nothing to keep.
            BrinIndex(
                fields=["received_at"],
                name="submission_received",
                pages_per_range=16,
                autosummarize=True,
            ),
            # Few rows: what the ops desk added, and what it read again.
            models.Index(
                fields=["action"], name="submission_action", condition=Q(action__isnull=False)
            ),
            models.Index(
                fields=["reread_of"],
                name="submission_reread_of",
                condition=Q(reread_of__isnull=False),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(digested_at__isnull=True) | Q(failed_at__isnull=True),
                name="submission_digested_or_failed",
            ),
            models.CheckConstraint(condition=Q(kind__in=Kind.values), name="submission_kind"),
        ]

    def __str__(self) -> str:
        return str(self.request_id)

    @property
    def status(self) -> str:
        """PENDING, DIGESTED, FAILED, or DISCARDED: failed, and then struck by the ops desk."""
        if self.failed_at:
            return "DISCARDED" if self.is_withdrawn else "FAILED"
        return "DIGESTED" if self.digested_at else "PENDING"


class Stream(models.Model):
    """All events of one customer at one work provider: the lock, and the state of the last fold.

    The columns after `last_event_at` are timeline.State: the login that the stream is open since
    (raw, before clipping and whether or not its maximum has passed) and the latest login ignored in it.
    """

    work_provider = models.ForeignKey(WorkProvider, models.PROTECT)
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="streams")
    last_event_at = models.DateTimeField(null=True)
    login_at = models.DateTimeField(null=True)
    login_event_id = models.BigIntegerField(null=True)
    login_known_at = models.DateTimeField(null=True)
    ignored_at = models.DateTimeField(null=True)
    ignored_event_id = models.BigIntegerField(null=True)
    ignored_known_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["work_provider", "customer"], name="stream_unique")
        ]

    def __str__(self) -> str:
        return f"{self.customer} at {self.work_provider}"


class ShiftEvent(models.Model):
    """One login or logout of one driver at one instant, and what became of it.

    `stream` is null while no link explains the event. The references carry no database constraint:
    the digest writes them in the transaction that holds the submission and the stream locked, checking
    each row again doubles the time of its COPY, and events outlive their submissions' retention.
    """

    id = models.BigIntegerField(primary_key=True)
    submission = models.ForeignKey(
        Submission, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="events"
    )
    work_provider = models.ForeignKey(
        WorkProvider, models.DO_NOTHING, db_constraint=False, db_index=False
    )
    stream = models.ForeignKey(
        Stream,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="events",
    )
    kind = models.CharField(max_length=6, choices=Kind)
    timestamp = models.DateTimeField()
    received_at = models.DateTimeField()
    driver_id = models.CharField(max_length=128, null=True)  # noqa: DJ001 (one of two is sent)
    customer_number = models.CharField(max_length=128, null=True)  # noqa: DJ001
    is_ops = models.BooleanField(default=False)
    is_withdrawn = models.BooleanField(default=False, help_text="With its whole submission.")
    outcome = models.CharField(max_length=9, choices=Outcome)
    reason = models.CharField(max_length=17, choices=Reason, blank=True)
    after_ignored_login = models.BooleanField(
        default=False, help_text="An orphaned logout where cover may be missing: look at it."
    )

    class Meta:
        indexes = [
            models.Index(
                fields=["stream", "timestamp"],
                name="shiftevent_stream",
                condition=Q(stream__isnull=False),
            ),
            models.Index(
                fields=["work_provider", "driver_id"],
                name="shiftevent_waiting_driver",
                condition=Q(stream__isnull=True, driver_id__isnull=False),
            ),
            models.Index(
                fields=["work_provider", "customer_number"],
                name="shiftevent_waiting_number",
                condition=Q(stream__isnull=True, customer_number__isnull=False),
            ),
            models.Index(
                fields=["received_at"], name="shiftevent_held", condition=Q(outcome="HELD")
            ),
            # For the desk: one work provider's held events, and who sends without being linked.
            models.Index(
                fields=["work_provider", "id"],
                include=["received_at"],
                name="shiftevent_held_of",
                condition=Q(outcome="HELD"),
            ),
            models.Index(
                fields=["work_provider", "driver_id", "customer_number", "received_at"],
                include=["reason"],
                name="shiftevent_not_linked",
                condition=Q(stream__isnull=True, outcome__in=["HELD", "IGNORED"]),
            ),
            models.Index(
                fields=["id"],
                name="shiftevent_look_at",
                condition=Q(after_ignored_login=True),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(driver_id__isnull=True) ^ Q(customer_number__isnull=True),
                name="shiftevent_one_identifier",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} at {self.timestamp.isoformat()}: {self.outcome}"


class Withdrawal(models.Model):
    """The ops desk's word that something never happened; it can be undone.

    Either one instant of a stream: that strikes every copy of the event, later ones too. Or a whole
    submission: that strikes what came by it, and leaves equal events that came otherwise.
    """

    stream = models.ForeignKey(Stream, models.PROTECT, null=True, related_name="withdrawals")
    kind = models.CharField(max_length=6, choices=Kind, blank=True)
    timestamp = models.DateTimeField(null=True)
    submission = models.ForeignKey(
        Submission, models.PROTECT, null=True, db_index=False, related_name="withdrawals"
    )
    action = models.ForeignKey(DeskAction, models.PROTECT, related_name="withdrawals")
    withdrawn_at = models.DateTimeField()
    undone_at = models.DateTimeField(null=True)
    undone_action = models.ForeignKey(
        DeskAction, models.PROTECT, null=True, related_name="undone_withdrawals"
    )

    class Meta:
        indexes = [
            # Those undone as well, for whoever explains what was known when.
            models.Index(
                fields=["submission"],
                name="withdrawal_submission",
                condition=Q(submission__isnull=False),
            )
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["stream", "kind", "timestamp"],
                name="withdrawal_once",
                condition=Q(undone_at__isnull=True, stream__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["submission"],
                name="withdrawal_of_submission_once",
                condition=Q(undone_at__isnull=True, submission__isnull=False),
            ),
            models.CheckConstraint(
                condition=Q(stream__isnull=False, timestamp__isnull=False, submission__isnull=True)
                | Q(stream__isnull=True, timestamp__isnull=True, submission__isnull=False),
                name="withdrawal_of_one_thing",
            ),
            models.CheckConstraint(
                condition=Q(undone_at__isnull=True, undone_action__isnull=True)
                | Q(undone_at__isnull=False, undone_action__isnull=False),
                name="withdrawal_undone_by_an_action",
            ),
        ]

    def __str__(self) -> str:
        if self.timestamp is None:
            return f"submission {self.submission_id} withdrawn"
        return f"{self.kind} at {self.timestamp.isoformat()} withdrawn"


class ShiftQuerySet(models.QuerySet["Shift"]):
    def on_shift(self, at: datetime) -> Self:
        """Those who were on shift at `at`: an open shift counts only up to its maximum."""
        end = Coalesce(F("ended_at"), F("closes_at"))
        return self.annotate(end=end).filter(
            Q(end__gt=at) | Q(end__isnull=True), started_at__lte=at
        )


class Shift(models.Model):
    """One half-open interval `[started_at, ended_at)` in which a linked customer is at work.

    `ended_at` is null while it is open; past `closes_at` an open row reads as AUTO_CLOSED there
    (`end_as_of`), whether or not the sweeper has written it yet. `login_at` is the instant of the login
    that opened it, before clipping to the link: the maximum runs from there. A continuation is the
    second shift of rule R7, opened by a login that had been ignored.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    stream = models.ForeignKey(Stream, models.PROTECT, db_index=False, related_name="shifts")
    link = models.ForeignKey(DriverLink, models.PROTECT, db_index=False, related_name="shifts")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    end_reason = models.CharField(max_length=11, choices=EndReason, blank=True)
    start_clipped = models.BooleanField()
    is_continuation = models.BooleanField()
    login_at = models.DateTimeField()
    closes_at = models.DateTimeField(null=True)
    opened_by = models.ForeignKey(
        ShiftEvent, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    ended_by = models.ForeignKey(
        ShiftEvent,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    start_known_at = models.DateTimeField()
    end_known_at = models.DateTimeField(null=True)

    objects = ShiftQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["stream", "login_at"], name="shift_stream"),
            models.Index(
                fields=["closes_at"], name="shift_open", condition=Q(ended_at__isnull=True)
            ),
            models.Index(
                fields=["ended_at"], name="shift_auto_closed", condition=Q(end_reason="AUTO_CLOSED")
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True) | Q(ended_at__gt=F("started_at")),
                name="shift_ends_after_it_starts",
            ),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True, end_reason="", end_known_at__isnull=True)
                | Q(ended_at__isnull=False, end_reason__in=EndReason.values)
                & Q(end_known_at__isnull=False),
                name="shift_end_has_a_reason",
            ),
            # Deferred: one re-projection may move a boundary between two rows. An open shift has no
            # upper bound, so that two open ones collide too.
            ExclusionConstraint(
                name="shift_no_overlap",
                expressions=[
                    ("stream", RangeOperators.EQUAL),
                    (TstzRange("started_at", "ended_at"), RangeOperators.OVERLAPS),
                ],
                deferrable=Deferrable.DEFERRED,
            ),
        ]

    def __str__(self) -> str:
        end = self.ended_at.isoformat() if self.ended_at else "open"
        return f"{self.started_at.isoformat()} to {end}"

    def end_as_of(self, now: datetime) -> tuple[datetime | None, str]:
        """The end and its reason as they read at `now`; (None, "") while it is open."""
        return timeline.end_as_of(self.ended_at, self.end_reason, self.closes_at, now)


class ShiftRevision(models.Model):
    """A change to a shift's start, or to an end already set; or the last word on one that is gone.

    `shift_id` is kept when the shift itself has left the table.
    """

    class Change(models.TextChoices):
        AMENDED = "AMENDED"
        REMOVED = "REMOVED"

    class Cause(models.TextChoices):
        EVENT = "EVENT", "an event that arrived later"
        LINK = "LINK", "a link that began, ended or changed"
        WITHDRAWAL = "WITHDRAWAL", "an event withdrawn, or a withdrawal undone"
        RULE = "RULE", "another maximum length"
        CLOCK = "CLOCK", "the maximum length ran out"

    shift_id = models.UUIDField(db_index=True)
    stream = models.ForeignKey(Stream, models.PROTECT, related_name="revisions")
    change = models.CharField(max_length=7, choices=Change)
    cause = models.CharField(max_length=10, choices=Cause)
    cause_event = models.ForeignKey(
        ShiftEvent,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    old_started_at = models.DateTimeField()
    old_ended_at = models.DateTimeField(null=True)
    old_end_reason = models.CharField(max_length=11, choices=EndReason, blank=True)
    new_started_at = models.DateTimeField(null=True)
    new_ended_at = models.DateTimeField(null=True)
    new_end_reason = models.CharField(max_length=11, choices=EndReason, blank=True)
    shortens_cover = models.BooleanField()
    created_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(
                fields=["created_at"],
                name="shiftrevision_shortens",
                condition=Q(shortens_cover=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.change} by {self.cause} at {self.created_at.isoformat()}"


class RejectedRequest(models.Model):
    """A request that got no 202, so that "we get 400" can be answered; redacted, and soon deleted.

    `errors` are the reasons given, `sample` the first bad item with every letter and digit masked. The
    work provider is null where the key did not tell.
    """

    request_id = models.UUIDField(unique=True)
    work_provider = models.ForeignKey(WorkProvider, models.CASCADE, null=True, db_index=False)
    api_key = models.ForeignKey(ApiKey, models.SET_NULL, null=True, db_index=False)
    received_at = models.DateTimeField(db_index=True)
    path = models.CharField(max_length=100)
    status = models.PositiveSmallIntegerField()
    code = models.CharField(max_length=30)
    hint = models.CharField(
        max_length=200, blank=True, help_text="What was wrong with the key or the request."
    )
    errors = models.JSONField(default=list)
    error_count = models.PositiveIntegerField(default=0)
    sample = models.TextField(blank=True)
    content_type = models.CharField(max_length=100, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)
    body_bytes = models.PositiveIntegerField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["work_provider", "-received_at"], name="rejectedrequest_recent")
        ]

    def __str__(self) -> str:
        return f"{self.status} {self.code} at {self.received_at.isoformat()}"


class Tally(models.Model):
    """What one digest did for one work provider; the sweeper adds it up (rollup.py)."""

    work_provider = models.ForeignKey(
        WorkProvider, models.DO_NOTHING, db_constraint=False, db_index=False
    )
    digested_at = models.DateTimeField()
    events = models.PositiveIntegerField()
    outcomes = models.JSONField(help_text="Events by outcome.")
    offsets = models.JSONField(
        help_text="Events by arrival minus event time, in steps of five minutes (rollup.step_of)."
    )

    class Meta:
        verbose_name_plural = "tallies"

    def __str__(self) -> str:
        return f"{self.events} events at {self.digested_at.isoformat()}"


class MinuteFigures(models.Model):
    """The whole service in one minute, for the front page; kept for some days."""

    minute = models.DateTimeField(primary_key=True)
    requests = models.PositiveIntegerField(default=0)
    accepted = models.PositiveIntegerField(default=0, help_text="Events.")
    digested = models.PositiveIntegerField(default=0, help_text="Events.")

    class Meta:
        verbose_name_plural = "minute figures"

    def __str__(self) -> str:
        return self.minute.isoformat()


class HourFigures(models.Model):
    """One work provider in one hour: what was accepted then, and what was digested then by outcome."""

    work_provider = models.ForeignKey(
        WorkProvider, models.CASCADE, related_name="hours", db_index=False
    )
    hour = models.DateTimeField()
    requests = models.PositiveIntegerField(default=0)
    accepted = models.PositiveIntegerField(default=0, help_text="Events.")
    clock_ahead = models.PositiveIntegerField(default=0, help_text="Events ahead of our clock.")
    digested = models.PositiveIntegerField(default=0, help_text="Events.")
    applied = models.PositiveIntegerField(default=0)
    duplicate = models.PositiveIntegerField(default=0)
    ignored = models.PositiveIntegerField(default=0)
    orphan = models.PositiveIntegerField(default=0)
    held = models.PositiveIntegerField(default=0)
    rejected = models.PositiveIntegerField(default=0)
    withdrawn = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "hour figures"
        constraints = [
            models.UniqueConstraint(fields=["work_provider", "hour"], name="hourfigures_once")
        ]

    def __str__(self) -> str:
        return f"{self.work_provider_id}: {self.hour.isoformat()}"


class ClockOffset(models.Model):
    """How many events of a work provider arrived how long after their own time, on one day (UTC)."""

    work_provider = models.ForeignKey(
        WorkProvider, models.CASCADE, related_name="clock_offsets", db_index=False
    )
    date = models.DateField()
    step = models.SmallIntegerField(help_text="Arrival minus event time, in steps of five minutes.")
    events = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["date", "work_provider", "step"], name="clockoffset_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.work_provider_id}: {self.step} on {self.date.isoformat()}"


class Standing(models.Model):
    """How a work provider stands now, as the sweeper last looked (rollup.py)."""

    work_provider = models.OneToOneField(
        WorkProvider, models.CASCADE, primary_key=True, related_name="standing"
    )
    looked_at = models.DateTimeField()
    last_request_at = models.DateTimeField(null=True)
    silent_since = models.DateTimeField(
        null=True, help_text="Since when nothing came where normally something does."
    )
    pending = models.PositiveIntegerField(default=0, help_text="Submissions.")
    oldest_pending_at = models.DateTimeField(null=True)
    failed = models.PositiveIntegerField(default=0, help_text="Submissions, not discarded.")
    held = models.PositiveIntegerField(default=0, help_text="Events.")
    oldest_held_at = models.DateTimeField(null=True)
    open_shifts = models.PositiveIntegerField(default=0)
    auto_closed = models.PositiveIntegerField(default=0, help_text="Shifts, since midnight UTC.")
    waiting_links = models.PositiveIntegerField(default=0)
    clock_median = models.DurationField(null=True, help_text="Arrival minus event time.")
    clock_cluster = models.DurationField(
        null=True, help_text="Around which many events arrive that says a wrong zone; null: none."
    )
    clock_cluster_percent = models.PositiveSmallIntegerField(
        default=0, help_text="Of the events of that day, how many arrived so."
    )
    clock_cluster_on = models.DateField(
        null=True, help_text="The last day (UTC) on which they did."
    )

    def __str__(self) -> str:
        return f"{self.work_provider_id} at {self.looked_at.isoformat()}"


class Seen(models.Model):
    """That the ops desk has looked at something it was shown: it is on the list no more."""

    class Kind(models.TextChoices):
        REVISION = "REVISION", "an amendment that shortened cover"
        ORPHAN = "ORPHAN", "a logout orphaned after an ignored login"
        LINK_REQUEST = "LINK_REQUEST", "a link refused because the driver id is taken"

    kind = models.CharField(max_length=12, choices=Kind)
    target = models.BigIntegerField(help_text="The id of the revision, event or link request.")
    action = models.ForeignKey(DeskAction, models.PROTECT, related_name="seen")

    class Meta:
        verbose_name_plural = "seen"
        constraints = [models.UniqueConstraint(fields=["kind", "target"], name="seen_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.target}"


def event_id(submission_id: int, position: int) -> int:
    """The id of the event at `position` (from 0) in the body of a submission."""
    return submission_id * EVENTS_PER_SUBMISSION + position


def submission_of(event_id: int) -> int:
    """The id of the submission that an event came by."""
    return event_id // EVENTS_PER_SUBMISSION
