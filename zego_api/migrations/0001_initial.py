from django.db import migrations, models

import zego_api.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="OutgoingMail",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "message_id",
                    models.UUIDField(
                        default=zego_api.ids.uuid7,
                        editable=False,
                        help_text="In its Message-ID, the same at every attempt.",
                    ),
                ),
                ("sender", models.TextField()),
                ("recipients", models.TextField(help_text="Addresses, one a line.")),
                ("subject", models.TextField()),
                (
                    "text",
                    models.TextField(
                        help_text="Blanked when it is sent or given up: there are codes in it."
                    ),
                ),
                ("html", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("next_attempt_at", models.DateTimeField(null=True)),
                ("sent_at", models.DateTimeField(null=True)),
                ("failed_at", models.DateTimeField(null=True)),
                ("failure", models.TextField(blank=True, help_text="Of the last attempt.")),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("failed_at__isnull", True), ("sent_at__isnull", True)),
                        fields=["id"],
                        name="outgoingmail_pending",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("sent_at__isnull", True), ("failed_at__isnull", True), _connector="OR"
                        ),
                        name="outgoingmail_sent_or_failed",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("failed_at__isnull", True), ("sent_at__isnull", True)),
                            models.Q(("html", ""), ("text", "")),
                            _connector="OR",
                        ),
                        name="outgoingmail_blank_when_done",
                    ),
                ],
            },
        ),
    ]
