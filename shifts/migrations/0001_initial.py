import datetime

import django.contrib.postgres.constraints
import django.db.models.constraints
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import linking.models
import zego_api.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("linking", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ShiftEvent",
            fields=[
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[("login", "Login"), ("logout", "Logout")], max_length=6
                    ),
                ),
                ("timestamp", models.DateTimeField()),
                ("received_at", models.DateTimeField()),
                ("driver_id", models.CharField(max_length=128, null=True)),
                ("customer_number", models.CharField(max_length=128, null=True)),
                ("is_ops", models.BooleanField(default=False)),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("APPLIED", "Applied"),
                            ("DUPLICATE", "Duplicate"),
                            ("IGNORED", "Ignored"),
                            ("ORPHAN", "Orphan"),
                            ("HELD", "Held"),
                            ("REJECTED", "Rejected"),
                            ("WITHDRAWN", "Withdrawn"),
                        ],
                        max_length=9,
                    ),
                ),
                (
                    "reason",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("REPEATED_LOGIN", "Repeated Login"),
                            ("ZERO_LENGTH", "Zero Length"),
                            ("AFTER_UNLINK", "After Unlink"),
                            ("NO_OPEN_SHIFT", "No Open Shift"),
                            ("BEYOND_MAX_LENGTH", "Beyond Max Length"),
                            ("UNKNOWN_ID", "Unknown Id"),
                            ("NOT_LINKED", "Not Linked"),
                            ("BEFORE_LINK", "Before Link"),
                            ("EXPIRED", "Expired"),
                        ],
                        max_length=17,
                    ),
                ),
                (
                    "after_ignored_login",
                    models.BooleanField(
                        default=False,
                        help_text="An orphaned logout where cover may be missing: look at it.",
                    ),
                ),
                (
                    "work_provider",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        to="linking.workprovider",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Stream",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("last_event_at", models.DateTimeField(null=True)),
                ("login_at", models.DateTimeField(null=True)),
                ("login_event_id", models.BigIntegerField(null=True)),
                ("login_known_at", models.DateTimeField(null=True)),
                ("ignored_at", models.DateTimeField(null=True)),
                ("ignored_event_id", models.BigIntegerField(null=True)),
                ("ignored_known_at", models.DateTimeField(null=True)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="streams",
                        to="linking.customer",
                    ),
                ),
                (
                    "work_provider",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, to="linking.workprovider"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ShiftRevision",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("shift_id", models.UUIDField(db_index=True)),
                (
                    "change",
                    models.CharField(
                        choices=[("AMENDED", "Amended"), ("REMOVED", "Removed")], max_length=7
                    ),
                ),
                (
                    "cause",
                    models.CharField(
                        choices=[
                            ("EVENT", "an event that arrived later"),
                            ("LINK", "a link that began, ended or changed"),
                            ("WITHDRAWAL", "an event withdrawn, or a withdrawal undone"),
                            ("RULE", "another maximum length"),
                            ("CLOCK", "the maximum length ran out"),
                        ],
                        max_length=10,
                    ),
                ),
                ("old_started_at", models.DateTimeField()),
                ("old_ended_at", models.DateTimeField(null=True)),
                (
                    "old_end_reason",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("LOGOUT", "Logout"),
                            ("AUTO_CLOSED", "Auto Closed"),
                            ("UNLINKED", "Unlinked"),
                            ("OPS", "Ops"),
                        ],
                        max_length=11,
                    ),
                ),
                ("new_started_at", models.DateTimeField(null=True)),
                ("new_ended_at", models.DateTimeField(null=True)),
                (
                    "new_end_reason",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("LOGOUT", "Logout"),
                            ("AUTO_CLOSED", "Auto Closed"),
                            ("UNLINKED", "Unlinked"),
                            ("OPS", "Ops"),
                        ],
                        max_length=11,
                    ),
                ),
                ("shortens_cover", models.BooleanField()),
                ("created_at", models.DateTimeField()),
                (
                    "cause_event",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="shifts.shiftevent",
                    ),
                ),
                (
                    "stream",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="revisions",
                        to="shifts.stream",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="shiftevent",
            name="stream",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="events",
                to="shifts.stream",
            ),
        ),
        migrations.CreateModel(
            name="Shift",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=zego_api.ids.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("started_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "end_reason",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("LOGOUT", "Logout"),
                            ("AUTO_CLOSED", "Auto Closed"),
                            ("UNLINKED", "Unlinked"),
                            ("OPS", "Ops"),
                        ],
                        max_length=11,
                    ),
                ),
                ("start_clipped", models.BooleanField()),
                ("is_continuation", models.BooleanField()),
                ("login_at", models.DateTimeField()),
                ("closes_at", models.DateTimeField(null=True)),
                ("start_known_at", models.DateTimeField()),
                ("end_known_at", models.DateTimeField(null=True)),
                (
                    "link",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="shifts",
                        to="linking.driverlink",
                    ),
                ),
                (
                    "ended_by",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="shifts.shiftevent",
                    ),
                ),
                (
                    "opened_by",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="shifts.shiftevent",
                    ),
                ),
                (
                    "stream",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="shifts",
                        to="shifts.stream",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Submission",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "request_id",
                    models.UUIDField(default=zego_api.ids.uuid7, editable=False, unique=True),
                ),
                ("actor_reason", models.TextField(blank=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[("login", "Login"), ("logout", "Logout")], max_length=6
                    ),
                ),
                ("is_batch", models.BooleanField()),
                ("body", models.BinaryField()),
                (
                    "timezone",
                    models.CharField(
                        help_text="In which its timestamps without an offset are read.",
                        max_length=64,
                    ),
                ),
                ("event_count", models.PositiveIntegerField()),
                (
                    "clock_ahead_count",
                    models.PositiveIntegerField(
                        default=0, help_text="Events more than five minutes ahead of our clock."
                    ),
                ),
                ("received_at", models.DateTimeField()),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("claim", models.UUIDField(null=True)),
                ("leased_until", models.DateTimeField(null=True)),
                ("next_attempt_at", models.DateTimeField(null=True)),
                ("digested_at", models.DateTimeField(null=True)),
                ("failed_at", models.DateTimeField(null=True)),
                ("failure", models.TextField(blank=True)),
                (
                    "actor",
                    models.ForeignKey(
                        db_index=False,
                        help_text="The member of staff, when the ops desk added the event.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "api_key",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="linking.apikey",
                    ),
                ),
                (
                    "work_provider",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="linking.workprovider",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="shiftevent",
            name="submission",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="events",
                to="shifts.submission",
            ),
        ),
        migrations.CreateModel(
            name="Withdrawal",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("login", "Login"), ("logout", "Logout")], max_length=6
                    ),
                ),
                ("timestamp", models.DateTimeField()),
                ("reason", models.TextField()),
                ("withdrawn_at", models.DateTimeField()),
                ("undone_at", models.DateTimeField(null=True)),
                ("undone_reason", models.TextField(blank=True)),
                (
                    "stream",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="withdrawals",
                        to="shifts.stream",
                    ),
                ),
                (
                    "undone_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "withdrawn_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ShiftRule",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "max_shift_length",
                    models.DurationField(
                        blank=True, default=datetime.timedelta(seconds=50400), null=True
                    ),
                ),
                ("valid_from", models.DateTimeField(editable=False)),
                (
                    "work_provider",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="shift_rules",
                        to="linking.workprovider",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("work_provider", "valid_from"), name="shiftrule_valid_from_unique"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("max_shift_length__isnull", True),
                            ("max_shift_length__gte", datetime.timedelta(seconds=60)),
                            _connector="OR",
                        ),
                        name="shiftrule_max_shift_length_positive",
                        violation_error_message="At least one minute; empty for no maximum.",
                    ),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="stream",
            constraint=models.UniqueConstraint(
                fields=("work_provider", "customer"), name="stream_unique"
            ),
        ),
        migrations.AddIndex(
            model_name="shiftrevision",
            index=models.Index(
                condition=models.Q(("shortens_cover", True)),
                fields=["created_at"],
                name="shiftrevision_shortens",
            ),
        ),
        migrations.AddIndex(
            model_name="shift",
            index=models.Index(fields=["stream", "login_at"], name="shift_stream"),
        ),
        migrations.AddIndex(
            model_name="shift",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", True)),
                fields=["closes_at"],
                name="shift_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="shift",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("ended_at__isnull", True),
                    ("ended_at__gt", models.F("started_at")),
                    _connector="OR",
                ),
                name="shift_ends_after_it_starts",
            ),
        ),
        migrations.AddConstraint(
            model_name="shift",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("end_known_at__isnull", True),
                        ("end_reason", ""),
                        ("ended_at__isnull", True),
                    ),
                    models.Q(
                        ("end_reason__in", ["LOGOUT", "AUTO_CLOSED", "UNLINKED", "OPS"]),
                        ("ended_at__isnull", False),
                        ("end_known_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="shift_end_has_a_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="shift",
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(
                deferrable=django.db.models.constraints.Deferrable["DEFERRED"],
                expressions=[
                    ("stream", "="),
                    (linking.models.TstzRange("started_at", "ended_at"), "&&"),
                ],
                name="shift_no_overlap",
            ),
        ),
        migrations.AddIndex(
            model_name="submission",
            index=models.Index(
                condition=models.Q(("digested_at__isnull", True), ("failed_at__isnull", True)),
                fields=["id"],
                name="submission_pending",
            ),
        ),
        migrations.AddIndex(
            model_name="submission",
            index=models.Index(
                condition=models.Q(("failed_at__isnull", False)),
                fields=["id"],
                name="submission_failed",
            ),
        ),
        migrations.AddConstraint(
            model_name="submission",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("digested_at__isnull", True), ("failed_at__isnull", True), _connector="OR"
                ),
                name="submission_digested_or_failed",
            ),
        ),
        migrations.AddConstraint(
            model_name="submission",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["login", "logout"])), name="submission_kind"
            ),
        ),
        migrations.AddIndex(
            model_name="shiftevent",
            index=models.Index(
                condition=models.Q(("stream__isnull", False)),
                fields=["stream", "timestamp"],
                name="shiftevent_stream",
            ),
        ),
        migrations.AddIndex(
            model_name="shiftevent",
            index=models.Index(
                condition=models.Q(("driver_id__isnull", False), ("stream__isnull", True)),
                fields=["work_provider", "driver_id"],
                name="shiftevent_waiting_driver",
            ),
        ),
        migrations.AddIndex(
            model_name="shiftevent",
            index=models.Index(
                condition=models.Q(("customer_number__isnull", False), ("stream__isnull", True)),
                fields=["work_provider", "customer_number"],
                name="shiftevent_waiting_number",
            ),
        ),
        migrations.AddIndex(
            model_name="shiftevent",
            index=models.Index(
                condition=models.Q(("outcome", "HELD")),
                fields=["received_at"],
                name="shiftevent_held",
            ),
        ),
        migrations.AddIndex(
            model_name="shiftevent",
            index=models.Index(
                condition=models.Q(("after_ignored_login", True)),
                fields=["id"],
                name="shiftevent_look_at",
            ),
        ),
        migrations.AddConstraint(
            model_name="shiftevent",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("driver_id__isnull", True), ("customer_number__isnull", True), _connector="XOR"
                ),
                name="shiftevent_one_identifier",
            ),
        ),
        migrations.AddConstraint(
            model_name="withdrawal",
            constraint=models.UniqueConstraint(
                condition=models.Q(("undone_at__isnull", True)),
                fields=("stream", "kind", "timestamp"),
                name="withdrawal_once",
            ),
        ),
        # A queue in a table rots by dead tuples: vacuum it long before the default fifth has died,
        # and leave room in each page for the updates of claim and digest.
        migrations.RunSQL(
            "ALTER TABLE shifts_submission SET (autovacuum_vacuum_scale_factor = 0.01,"
            " autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0, fillfactor = 80)",
            migrations.RunSQL.noop,
        ),
    ]
