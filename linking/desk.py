"""The ops desk's record: nothing is changed by hand without who, when and why."""

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError

from linking.models import Customer, DeskAction, User, WorkProvider


def record(
    kind: DeskAction.Kind,
    *,
    actor: User,
    reason: str,
    now: datetime,
    work_provider: WorkProvider | None = None,
    customer: Customer | None = None,
    details: dict[str, Any] | None = None,
    undoes: DeskAction | None = None,
    in_background: bool = False,
) -> DeskAction:
    """Put an action on record, in the transaction that carries it out.

    Raises ValidationError without a reason. One that goes on `in_background` is finished by whoever
    does the last of its items (shifts/bulk.py).
    """
    if not reason.strip():
        raise ValidationError("Say why: the reason stays on record.")
    return DeskAction.objects.create(
        kind=kind,
        actor=actor,
        reason=reason.strip(),
        created_at=now,
        work_provider=work_provider,
        customer=customer,
        details=details or {},
        undoes=undoes,
        finished_at=None if in_background else now,
    )
