"""Mending many at a time: what an outage, a leaked key or a wrong zone calls for.

Whoever starts one is told the count first. Its items are written down as it is confirmed and done in the
background by the sweeper, some at a time, each piece in one transaction with its mark; a sweeper that is
killed leaves a piece done or not done. What cannot be done says why on its item, and the rest goes on.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import structlog
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Q, QuerySet

from linking.desk import record
from linking.models import ApiKey, Customer, DeskAction, DeskActionItem, User, WorkProvider
from shifts import mend, restate, store
from shifts.models import Kind, Submission
from zego_api.db import is_outage

log = structlog.get_logger(__name__)

Do = DeskAction.Kind
# One transaction does so many items, and no more events of theirs: a digest of the same streams, and
# with it whatever else it has claimed, waits for it.
PIECE = 50
PIECE_EVENTS = 1_000
MAX_ITEMS = 200_000
UNDOABLE = (Do.CLOSE_OUT, Do.STRIKE, Do.REREAD)


class Grown(Exception):  # noqa: N818 (it is no defect)
    """More would be done than was told beforehand; nothing has been done."""


class Progress(NamedTuple):
    """How far an action is: items done, those of them with a problem, and all."""

    done: int
    problems: int
    total: int


def sent_by(key: ApiKey, since: datetime, until: datetime) -> QuerySet[Submission]:
    """What came by a key in `[since, until)` and counts, new readings of it by the desk among them.

    A union of the two, each by its index; it can be ordered, counted and sliced, and no more.
    """
    counting = Submission.objects.filter(api_key=key, is_withdrawn=False)
    sent = counting.filter(received_at__gte=since, received_at__lt=until, reread_of__isnull=True)
    read_again = counting.filter(
        reread_of__isnull=False, reread_of__received_at__gte=since, reread_of__received_at__lt=until
    )
    return sent.union(read_again, all=True)


def sent_in_zone(
    work_provider: WorkProvider, since: datetime, until: datetime, zone: str
) -> QuerySet[Submission]:
    """What a work provider sent in `[since, until)` that counts and is read in another zone."""
    return Submission.objects.filter(
        work_provider=work_provider,
        received_at__gte=since,
        received_at__lt=until,
        is_withdrawn=False,
        action__isnull=True,
        failed_at__isnull=True,
    ).exclude(timezone=zone)


def strike(
    key: ApiKey,
    since: datetime,
    until: datetime,
    *,
    actor: User,
    reason: str,
    now: datetime,
    told: int | None = None,
) -> DeskAction:
    """Withdraw everything that a key sent in a period; equal events that came otherwise stay."""
    refuse_ahead(until, now)
    return _start(
        Do.STRIKE,
        sent_by(key, since, until).values_list("pk", flat=True),
        work_provider=key.work_provider,
        details={"key_id": key.key_id, "since": since.isoformat(), "until": until.isoformat()},
        actor=actor,
        reason=reason,
        now=now,
        told=told,
    )


def reread(
    work_provider: WorkProvider,
    since: datetime,
    until: datetime,
    zone: str,
    *,
    actor: User,
    reason: str,
    now: datetime,
    told: int | None = None,
) -> DeskAction:
    """Read times without an offset that were sent in a period again, in `zone`."""
    refuse_ahead(until, now)
    return _start(
        Do.REREAD,
        sent_in_zone(work_provider, since, until, zone).values_list("pk", flat=True),
        work_provider=work_provider,
        details={"zone": zone, "since": since.isoformat(), "until": until.isoformat()},
        actor=actor,
        reason=reason,
        now=now,
        told=told,
    )


def close_out(
    work_provider: WorkProvider,
    at: datetime,
    *,
    actor: User,
    reason: str,
    now: datetime,
    told: int | None = None,
    outage: Sequence[str] = (),
) -> DeskAction:
    """Add a logout at `at` for everybody who was on shift then and has sent no logout since.

    `outage` are the instants, in ISO form, of what explains it; they stay on record.
    """
    refuse_ahead(at, now)
    running = mend.running_at(work_provider, at)
    return _start(
        Do.CLOSE_OUT,
        running.values_list("stream__customer", flat=True),
        work_provider=work_provider,
        details={"at": at.isoformat()} | ({"outage": " to ".join(outage)} if outage else {}),
        actor=actor,
        reason=reason,
        now=now,
        told=told,
    )


def refuse_ahead(at: datetime, now: datetime) -> None:
    """Nothing is mended before it has happened."""
    if at > now:
        raise ValidationError("That moment has not passed yet.")


def refuse_too_many(count: int) -> None:
    """As many as are done at once are counted, and no more."""
    if count > MAX_ITEMS:
        raise ValidationError(f"That is more than {MAX_ITEMS:,} at once: choose a shorter period.")


@transaction.atomic
def undo(action: DeskAction, *, actor: User, reason: str, now: datetime) -> DeskAction:
    """Take an action that was done in bulk back, item by item; it must have finished."""
    found = mend.lock_for_undoing(action, UNDOABLE)
    if found.finished_at is None:
        raise ValidationError("Wait until it has finished, then undo it.")
    _refuse_second(found.work_provider)  # and what it is about to do is not begun meanwhile
    if Submission.objects.filter(action=found, is_withdrawn=True).exists():
        raise ValidationError("What it added has been withdrawn since: undo that first.")
    if found.kind == Do.STRIKE and _is_struck_over(found):
        raise ValidationError("A later action withdraws some of the same: undo that first.")
    return _start(
        Do.UNDO,
        what_it_left(found),
        work_provider=found.work_provider,
        details={"kind": found.kind},
        undoes=found,
        actor=actor,
        reason=reason,
        now=now,
    )


def _is_struck_over(action: DeskAction) -> bool:
    """Whether a later strike, which left out what this one had struck, means some of it too."""
    later = DeskAction.objects.filter(
        kind=Do.STRIKE,
        work_provider=action.work_provider,
        details__key_id=action.details["key_id"],
        pk__gt=action.pk,
        undone_by__isnull=True,
    )
    since, until = _period_of(action)
    return any(_period_of(one)[0] < until and since < _period_of(one)[1] for one in later)


def _period_of(action: DeskAction) -> tuple[datetime, datetime]:
    since, until = (datetime.fromisoformat(action.details[name]) for name in ("since", "until"))
    return since, until


def what_it_left(action: DeskAction) -> QuerySet[Any, int]:
    """Targets of its undoing: the submissions that it added, or those that it struck."""
    if action.kind == Do.CLOSE_OUT:
        return Submission.objects.filter(action=action).values_list("pk", flat=True)
    struck = action.withdrawals.filter(submission__isnull=False, undone_at__isnull=True)
    return struck.values_list("submission", flat=True)


def _start(
    kind: DeskAction.Kind,
    targets: Iterable[int | None],
    *,
    work_provider: WorkProvider | None,
    actor: User,
    reason: str,
    now: datetime,
    details: dict[str, Any],
    undoes: DeskAction | None = None,
    told: int | None = None,
) -> DeskAction:
    """Write the action and its items down; `told` is the count that was confirmed, if one was."""
    with transaction.atomic():
        _refuse_second(work_provider)
        wanted = sorted({target for target in targets if target is not None})
        _refuse_count(len(wanted), told)
        action = record(
            kind,
            actor=actor,
            reason=reason,
            now=now,
            work_provider=work_provider,
            details=details | {"items": len(wanted)},
            undoes=undoes,
            in_background=True,
        )
        DeskActionItem.objects.bulk_create(
            (DeskActionItem(action=action, target=target) for target in wanted), batch_size=5_000
        )
    return action


def _refuse_second(work_provider: WorkProvider | None) -> None:
    """One at a time: what one is at would not be in the count of the next."""
    if work_provider is None:
        return
    WorkProvider.objects.select_for_update(no_key=True).get(pk=work_provider.pk)
    if unfinished(work_provider).exists():
        raise ValidationError(
            "Another bulk action for this work provider is under way: wait until it has finished."
        )


def unfinished(work_provider: WorkProvider) -> QuerySet[DeskAction]:
    """What is under way for a work provider."""
    return DeskAction.objects.filter(finished_at__isnull=True, work_provider=work_provider)


def _refuse_count(count: int, told: int | None) -> None:
    if not count:
        raise ValidationError("There is nothing to do.")
    refuse_too_many(count)
    if told is not None and count > told:
        raise Grown


def progress(action: DeskAction) -> Progress:
    """How far a bulk action is, in one query."""
    found = action.items.aggregate(
        done=Count("pk", filter=Q(done_at__isnull=False)),
        problems=Count("pk", filter=~Q(problem="")),
        total=Count("pk"),
    )
    return Progress(**found)


def carry_on(now: datetime) -> bool:
    """Do a piece of an unfinished action that nobody else is at; False when there is none."""
    with transaction.atomic():
        waiting = DeskAction.objects.select_for_update(skip_locked=True, of=("self",))
        action = waiting.filter(finished_at__isnull=True).order_by("pk").first()
        if action is None:
            return False
        if piece := _next_piece(action):
            _do(action, piece, now)
        else:
            action.finished_at = now
            action.save(update_fields=["finished_at"])
    return True


def _next_piece(action: DeskAction) -> list[DeskActionItem]:
    """The next items, of not too many events together; at least one, if any is left.

    A strike begins with the latest, an undoing with the first: so a piece has nothing after it that
    another piece would project again.
    """
    order = "-target" if action.kind == Do.STRIKE else "target"
    items = list(action.items.filter(done_at__isnull=True).order_by(order)[:PIECE])
    if action.kind == Do.CLOSE_OUT:  # its targets are customers, an event each
        return items
    counts = dict(
        Submission.objects.filter(pk__in=[item.target for item in items]).values_list(
            "pk", "event_count"
        )
    )
    events = 0
    for place, item in enumerate(items):
        events += counts.get(item.target, 0)
        if place and events > PIECE_EVENTS:
            return items[:place]
    return items


def _do(action: DeskAction, items: list[DeskActionItem], now: datetime) -> None:
    """Together, or one by one where that fails."""
    if not _attempt(action, items, now) and len(items) > 1:
        for item in items:
            _attempt(action, [item], now)


def _attempt(action: DeskAction, items: list[DeskActionItem], now: datetime) -> bool:
    """Do some items and mark them; what fails for a passing reason is raised, and tried again."""
    problem = ""
    try:
        with transaction.atomic():
            _WAYS[DeskAction.Kind(action.kind)](action, [item.target for item in items], now)
    except ValidationError as error:
        problem = error.messages[0]
    except Exception as error:
        if is_outage(error):
            raise
        log.exception("desk_action_failed", action=str(action.pk), items=len(items))
        problem = f"{type(error).__name__}: tell the developers the id of this action."
    if problem and len(items) > 1:
        return False
    rows = DeskActionItem.objects.filter(pk__in=[item.pk for item in items])
    rows.update(done_at=now, problem=problem)
    return True


def _strike(action: DeskAction, targets: list[int], now: datetime) -> None:
    restate.restate(action, strike=targets, now=now)


def _reread(action: DeskAction, targets: list[int], now: datetime) -> None:
    restate.reread(targets, action.details["zone"], action, now=now)


def _close_out(action: DeskAction, targets: list[int], now: datetime) -> None:
    """Those whose logout has come since the count was taken are left alone; none comes meanwhile."""
    assert action.work_provider is not None
    store.lock_work_providers([action.work_provider.pk])
    store.lock_streams((action.work_provider.pk, target) for target in targets)
    at = datetime.fromisoformat(action.details["at"])
    running = mend.running_at(action.work_provider, at, among=targets)
    still = Customer.objects.filter(pk__in=running.values("stream__customer")).order_by("pk")
    if numbers := list(still.values_list("number", flat=True)):
        mend.add_events(action, action.work_provider, numbers, Kind.LOGOUT, at, now=now)


def _undo(action: DeskAction, targets: list[int], now: datetime) -> None:
    assert action.undoes is not None
    mend.take_back(action.undoes, targets, action, now=now)


_WAYS: dict[DeskAction.Kind, Callable[[DeskAction, list[int], datetime], None]] = {
    Do.STRIKE: _strike,
    Do.REREAD: _reread,
    Do.CLOSE_OUT: _close_out,
    Do.UNDO: _undo,
}
