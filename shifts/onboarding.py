"""Work providers as the desk adds and changes them: one transaction each, with who and why on record."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from linking import desk, keys, tokens
from linking.models import ApiKey, DeskAction, LinkPolicy, LinkSecret, Terms, User, WorkProvider
from shifts.models import ShiftRule
from shifts.settle import change_rule


@dataclass(frozen=True, slots=True)
class Settings:
    """What is agreed with a work provider; `max_shift_length` is None where there is no maximum."""

    name: str
    timezone: str
    link_policy: str
    max_future: timedelta
    max_shift_length: timedelta | None
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Added:
    """A new work provider, and what is shown once: its key, and its link secret if it needs one."""

    work_provider: WorkProvider
    api_key: ApiKey
    key: str
    link_secret: str = ""


@transaction.atomic
def add(
    wanted: Settings,
    *,
    is_test: bool,
    key_label: str,
    terms: tuple[str, str] | None,
    actor: User,
    reason: str,
    now: datetime,
) -> Added:
    """A work provider with a key, its shift rule, its terms (version and text) and its link secret.

    Raises ValidationError, by field, for what cannot be.
    """
    made = WorkProvider(is_test=is_test)
    _give(made, wanted)
    _record(DeskAction.Kind.ADD, made, {}, wanted, actor=actor, reason=reason, now=now)
    change_rule(made, wanted.max_shift_length, now=now)
    if terms is not None:
        version, text = terms
        published = Terms(work_provider=made, version=version, text=text, published_at=now)
        published.full_clean()
        published.save()
    row, key = keys.hand_out(
        made, label=key_label, expires_at=None, actor=actor, reason=reason, now=now
    )
    secret = ""
    if made.link_policy == LinkPolicy.SIGNED:
        _, secret = issue_link_secret(made, actor=actor, reason=reason, now=now)
    return Added(made, row, key, secret)


@transaction.atomic
def change(
    work_provider: WorkProvider,
    seen: Settings,
    wanted: Settings,
    *,
    actor: User,
    reason: str,
    now: datetime,
) -> None:
    """Bring a work provider's settings from what was seen to what is wanted.

    Raises ValidationError, by field, for what cannot be; and when they are not what was seen any more.
    """
    row = WorkProvider.objects.select_for_update(no_key=True).get(pk=work_provider.pk)
    present = settings_of(row)
    if present != seen:
        raise ValidationError("Somebody else has changed these settings meanwhile. Look again.")
    _record(
        DeskAction.Kind.CHANGE, row, asdict(present), wanted, actor=actor, reason=reason, now=now
    )
    _give(row, wanted)
    if wanted.max_shift_length != present.max_shift_length:
        change_rule(row, wanted.max_shift_length, now=now)


@transaction.atomic
def issue_link_secret(
    work_provider: WorkProvider, *, actor: User, reason: str, now: datetime
) -> tuple[LinkSecret, str]:
    """A link secret, which is shown this once; ValidationError when two are live already."""
    row, secret = tokens.issue_secret(work_provider)
    _record_secret(DeskAction.Kind.ISSUE_LINK_SECRET, row, actor=actor, reason=reason, now=now)
    return row, secret


@transaction.atomic
def revoke_link_secret(row: LinkSecret, *, actor: User, reason: str, now: datetime) -> None:
    """Refuse links signed with it from now on; nothing happens if they are refused already."""
    row = LinkSecret.objects.select_for_update(of=("self",)).get(pk=row.pk)
    if row.revoked_at is None:
        row.revoked_at = now
        row.save(update_fields=["revoked_at"])
        _record_secret(DeskAction.Kind.REVOKE_LINK_SECRET, row, actor=actor, reason=reason, now=now)


def settings_of(work_provider: WorkProvider) -> Settings:
    """What is agreed with a work provider now."""
    return Settings(
        name=work_provider.name,
        timezone=work_provider.timezone,
        link_policy=work_provider.link_policy,
        max_future=work_provider.max_future,
        max_shift_length=longest_shift(work_provider),
        is_active=work_provider.is_active,
    )


def longest_shift(work_provider: WorkProvider) -> timedelta | None:
    """The longest shift for logins from now on; None where there is no maximum."""
    rule = ShiftRule.objects.filter(work_provider=work_provider).order_by("-valid_from").first()
    return settings.DEFAULT_MAX_SHIFT_LENGTH if rule is None else rule.max_shift_length


def differences(present: dict[str, object], wanted: Settings) -> dict[str, list[str | None]]:
    """Old and new of each setting that differs, as text; old is None where there was nothing."""
    return {
        name: [_text(present[name]) if present else None, _text(value)]
        for name, value in asdict(wanted).items()
        if not present or present[name] != value
    }


def _text(value: object) -> str:
    if isinstance(value, timedelta):
        minutes, seconds = divmod(int(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return "none" if value is None else str(value)


def _give(row: WorkProvider, wanted: Settings) -> None:
    row.name, row.timezone, row.is_active = wanted.name, wanted.timezone, wanted.is_active
    row.link_policy, row.max_future = wanted.link_policy, wanted.max_future
    row.full_clean()
    row.save()


def _record(
    kind: DeskAction.Kind,
    row: WorkProvider,
    present: dict[str, object],
    wanted: Settings,
    *,
    actor: User,
    reason: str,
    now: datetime,
) -> None:
    desk.record(
        kind,
        actor=actor,
        reason=reason,
        now=now,
        work_provider=row,
        details={
            "table": "linking.workprovider",
            "id": str(row.pk),
            "changes": differences(present, wanted),
        },
    )


def _record_secret(
    kind: DeskAction.Kind, row: LinkSecret, *, actor: User, reason: str, now: datetime
) -> None:
    desk.record(
        kind,
        actor=actor,
        reason=reason,
        now=now,
        work_provider=row.work_provider,
        details={"link_secret": row.pk},
    )
