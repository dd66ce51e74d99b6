import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import zego_api.ids


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("linking", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Agreement",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("agreed_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="LinkIntent",
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
                ("driver_id", models.CharField(max_length=128)),
                ("email", models.EmailField(max_length=254)),
                (
                    "signature",
                    models.BinaryField(
                        help_text="SHA-256 of the URL's signature, when it carried one.",
                        max_length=32,
                        null=True,
                    ),
                ),
                ("signature_expires_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("cancelled_at", models.DateTimeField(null=True)),
                ("agreed_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="LinkRequest",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("driver_id", models.CharField(max_length=128)),
                ("agreed_at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("WAITING", "Waiting"),
                            ("CONFIRMED", "Confirmed"),
                            ("REFUSED", "Refused"),
                            ("CANCELLED", "cancelled by the driver"),
                        ],
                        default="WAITING",
                        max_length=9,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=200)),
                ("decided_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="LinkSecret",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("encrypted", models.TextField(editable=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="SpentSignature",
            fields=[
                ("signature", models.BinaryField(max_length=32, primary_key=True, serialize=False)),
                ("expires_at", models.DateTimeField(db_index=True)),
            ],
        ),
        migrations.CreateModel(
            name="Terms",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("version", models.CharField(help_text="For example 2026-11.", max_length=20)),
                (
                    "text",
                    models.TextField(help_text="Plain text; an empty line starts a paragraph."),
                ),
                ("published_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name_plural": "terms",
            },
        ),
        migrations.AddField(
            model_name="customer",
            name="erased_at",
            field=models.DateTimeField(
                editable=False, help_text="When the person had their data deleted.", null=True
            ),
        ),
        migrations.AddField(
            model_name="driverlink",
            name="ended_by",
            field=models.CharField(
                blank=True,
                choices=[
                    ("DRIVER", "the driver, on the account page"),
                    ("UNDO", "the driver, by the link in the mail"),
                    ("ERASURE", "the deletion of the driver's data"),
                    ("OPS", "the ops desk"),
                ],
                editable=False,
                max_length=7,
            ),
        ),
        migrations.AddField(
            model_name="workprovider",
            name="link_policy",
            field=models.CharField(
                choices=[
                    ("OPEN", "Open: whoever agrees is linked"),
                    (
                        "CONFIRM",
                        "Confirm: an agreement waits for the work provider or the ops desk",
                    ),
                    ("SIGNED", "Signed: the URL must carry the work provider's signature"),
                ],
                default="OPEN",
                help_text="Open: anybody who types a URL with a stranger's driver id, signs up and agrees is insured for that driver's shifts. Confirm and Signed prevent it.",
                max_length=7,
            ),
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.UniqueConstraint(
                condition=models.Q(("email", ""), _negated=True),
                fields=("email",),
                name="user_email_unique",
                violation_error_message="There is an account with this address already.",
            ),
        ),
        migrations.AddField(
            model_name="agreement",
            name="customer",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="agreements",
                to="linking.customer",
            ),
        ),
        migrations.AddField(
            model_name="linkintent",
            name="agreed_by",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="linking.customer",
            ),
        ),
        migrations.AddField(
            model_name="linkintent",
            name="work_provider",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="linking.workprovider",
            ),
        ),
        migrations.AddField(
            model_name="linkrequest",
            name="customer",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="link_requests",
                to="linking.customer",
            ),
        ),
        migrations.AddField(
            model_name="linkrequest",
            name="decided_by",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="linkrequest",
            name="link",
            field=models.OneToOneField(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="request",
                to="linking.driverlink",
            ),
        ),
        migrations.AddField(
            model_name="linkrequest",
            name="work_provider",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="link_requests",
                to="linking.workprovider",
            ),
        ),
        migrations.AddField(
            model_name="linksecret",
            name="work_provider",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="link_secrets",
                to="linking.workprovider",
            ),
        ),
        migrations.AddField(
            model_name="linkintent",
            name="link_secret",
            field=models.ForeignKey(
                help_text="That signed it.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="linking.linksecret",
            ),
        ),
        migrations.AddField(
            model_name="terms",
            name="work_provider",
            field=models.ForeignKey(
                blank=True,
                help_text="Empty: Zego's own.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="terms",
                to="linking.workprovider",
            ),
        ),
        migrations.AddField(
            model_name="agreement",
            name="terms",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="agreements",
                to="linking.terms",
            ),
        ),
        migrations.AddConstraint(
            model_name="linkrequest",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "WAITING")),
                fields=("work_provider", "customer", "driver_id"),
                name="linkrequest_waits_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="linkrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_at__isnull", True), ("state", "WAITING")),
                    models.Q(
                        models.Q(("state", "WAITING"), _negated=True), ("decided_at__isnull", False)
                    ),
                    _connector="OR",
                ),
                name="linkrequest_decided_or_waiting",
            ),
        ),
        migrations.AddIndex(
            model_name="linkintent",
            index=models.Index(fields=["email", "created_at"], name="linkintent_email"),
        ),
        migrations.AddIndex(
            model_name="linkintent",
            index=models.Index(fields=["created_at"], name="linkintent_created_at"),
        ),
        migrations.AddConstraint(
            model_name="terms",
            constraint=models.UniqueConstraint(
                fields=("work_provider", "version"),
                name="terms_version_unique",
                nulls_distinct=False,
                violation_error_message="There is such a version already.",
            ),
        ),
        migrations.AddConstraint(
            model_name="agreement",
            constraint=models.UniqueConstraint(fields=("customer", "terms"), name="agreement_once"),
        ),
    ]
