"""What the project itself keeps: the mails that are to leave."""

from django.db import models
from django.db.models import Q

from zego_api.ids import uuid7


class OutgoingMail(models.Model):
    """One mail, written in the transaction that causes it; zego_api/mail.py delivers it.

    It is pending until `sent_at` or `failed_at` is set. A delivery's claim counts `attempts` and moves
    `next_attempt_at` to when the claim has run out; null means at once.
    """

    message_id = models.UUIDField(
        default=uuid7, editable=False, help_text="In its Message-ID, the same at every attempt."
    )
    sender = models.TextField()
    recipients = models.TextField(help_text="Addresses, one a line.")
    subject = models.TextField()
    text = models.TextField(help_text="Blanked when it is sent or given up: there are codes in it.")
    html = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    failure = models.TextField(blank=True, help_text="Of the last attempt.")

    class Meta:
        indexes = [
            # A queue in a table stays fast only while the index holds just what is pending.
            models.Index(
                fields=["id"],
                name="outgoingmail_pending",
                condition=Q(sent_at__isnull=True, failed_at__isnull=True),
            )
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(sent_at__isnull=True) | Q(failed_at__isnull=True),
                name="outgoingmail_sent_or_failed",
            ),
            models.CheckConstraint(
                condition=Q(sent_at__isnull=True, failed_at__isnull=True) | Q(text="", html=""),
                name="outgoingmail_blank_when_done",
            ),
        ]

    def __str__(self) -> str:
        return f"mail {self.pk}"
