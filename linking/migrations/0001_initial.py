import datetime

import django.contrib.auth.models
import django.contrib.auth.validators
import django.contrib.postgres.constraints
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.conf import settings
from django.contrib.postgres.operations import BtreeGistExtension
from django.db import migrations, models

import linking.models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        BtreeGistExtension(),
        migrations.CreateModel(
            name="User",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("password", models.CharField(max_length=128, verbose_name="password")),
                (
                    "last_login",
                    models.DateTimeField(blank=True, null=True, verbose_name="last login"),
                ),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                (
                    "username",
                    models.CharField(
                        error_messages={"unique": "A user with that username already exists."},
                        help_text="Required. 150 characters or fewer. Letters, digits and @/./+/-/_ only.",
                        max_length=150,
                        unique=True,
                        validators=[django.contrib.auth.validators.UnicodeUsernameValidator()],
                        verbose_name="username",
                    ),
                ),
                (
                    "first_name",
                    models.CharField(blank=True, max_length=150, verbose_name="first name"),
                ),
                (
                    "last_name",
                    models.CharField(blank=True, max_length=150, verbose_name="last name"),
                ),
                (
                    "email",
                    models.EmailField(blank=True, max_length=254, verbose_name="email address"),
                ),
                (
                    "is_staff",
                    models.BooleanField(
                        default=False,
                        help_text="Designates whether the user can log into this admin site.",
                        verbose_name="staff status",
                    ),
                ),
                (
                    "is_active",
                    models.BooleanField(
                        default=True,
                        help_text="Designates whether this user should be treated as active. Unselect this instead of deleting accounts.",
                        verbose_name="active",
                    ),
                ),
                (
                    "date_joined",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="date joined"
                    ),
                ),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            options={
                "verbose_name": "user",
                "verbose_name_plural": "users",
                "abstract": False,
            },
            managers=[
                ("objects", django.contrib.auth.models.UserManager()),
            ],
        ),
        migrations.CreateModel(
            name="Customer",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "number",
                    models.CharField(
                        default=linking.models.new_customer_number,
                        max_length=128,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[A-Z0-9]+\\Z", "Upper-case letters and digits."
                            )
                        ],
                    ),
                ),
                ("is_test", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "user",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="customer",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="WorkProvider",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.CharField(help_text="As it stands in link URLs (wp).", max_length=100),
                ),
                (
                    "timezone",
                    models.CharField(
                        default="UTC",
                        help_text="In which timestamps without an offset are read.",
                        max_length=64,
                        validators=[linking.models.validate_timezone],
                    ),
                ),
                (
                    "max_future",
                    models.DurationField(
                        default=datetime.timedelta(days=1),
                        help_text="An event further ahead of our clock than this is refused.",
                        verbose_name="furthest ahead",
                    ),
                ),
                (
                    "is_active",
                    models.BooleanField(
                        default=True,
                        help_text="Unticked: its keys are refused; what was accepted still counts.",
                    ),
                ),
                (
                    "is_test",
                    models.BooleanField(
                        default=False, help_text="A sandbox: never mixed with live."
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        django.db.models.functions.text.Lower("name"),
                        name="workprovider_name_unique",
                        violation_error_message="There is a work provider of this name already.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("name", ""), _negated=True),
                        name="workprovider_name_not_empty",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("max_future__gte", datetime.timedelta(0)),
                            ("max_future__lte", datetime.timedelta(days=366)),
                        ),
                        name="workprovider_max_future_range",
                        violation_error_message="Between 0 and 366 days.",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="DriverLink",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("driver_id", models.CharField(max_length=128)),
                ("linked_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("unlinked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "link_recorded_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("unlink_recorded_at", models.DateTimeField(editable=False, null=True)),
                ("updated_at", models.DateTimeField(auto_now=True, db_index=True)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="links",
                        to="linking.customer",
                    ),
                ),
                (
                    "work_provider",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="links",
                        to="linking.workprovider",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "key_id",
                    models.CharField(
                        editable=False,
                        help_text="The part between the underscores.",
                        max_length=16,
                        unique=True,
                    ),
                ),
                ("secret_hash", models.BinaryField(max_length=32)),
                ("label", models.CharField(blank=True, max_length=100)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "last_used_at",
                    models.DateTimeField(
                        blank=True, editable=False, help_text="To the minute.", null=True
                    ),
                ),
                (
                    "work_provider",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="api_keys",
                        to="linking.workprovider",
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="customer",
            constraint=models.CheckConstraint(
                condition=models.Q(("number__regex", "^[A-Z0-9]+$")),
                name="customer_number_upper_case",
            ),
        ),
        migrations.AddIndex(
            model_name="driverlink",
            index=models.Index(fields=["work_provider", "driver_id"], name="driverlink_driver_id"),
        ),
        migrations.AddIndex(
            model_name="driverlink",
            index=models.Index(fields=["work_provider", "customer"], name="driverlink_customer"),
        ),
        migrations.AddConstraint(
            model_name="driverlink",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("unlinked_at__isnull", True),
                    ("unlinked_at__gte", models.F("linked_at")),
                    _connector="OR",
                ),
                name="driverlink_ends_after_it_begins",
                violation_error_message="A link cannot end before it begins.",
            ),
        ),
        migrations.AddConstraint(
            model_name="driverlink",
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(
                expressions=[
                    ("work_provider", "="),
                    ("driver_id", "="),
                    (linking.models.TstzRange("linked_at", "unlinked_at"), "&&"),
                ],
                name="driverlink_driver_id_once",
                violation_error_message="This driver id is linked at that time already.",
            ),
        ),
        migrations.AddConstraint(
            model_name="driverlink",
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(
                expressions=[
                    ("work_provider", "="),
                    ("customer", "="),
                    (linking.models.TstzRange("linked_at", "unlinked_at"), "&&"),
                ],
                name="driverlink_customer_once",
                violation_error_message="This customer is linked to this work provider already.",
            ),
        ),
    ]
