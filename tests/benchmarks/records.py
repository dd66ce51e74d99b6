"""What the ops desk has on record, and the figures that the sweeper keeps."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import cycle
from random import Random

from django.contrib.auth.hashers import make_password
from django.db import connection

from linking import flows
from linking.models import (
    ApiKey,
    Customer,
    DeskAction,
    DeskActionItem,
    DriverLink,
    LinkPolicy,
    LinkRequest,
    User,
    WorkProvider,
)
from shifts import rollup
from shifts.models import RejectedRequest, Seen, ShiftRevision, Submission, Withdrawal
from tests.benchmarks.past import uuid7

_DECISIONS = 40  # of link requests, of each kind
_CONFIRMED = 200
_REASONS = (
    "The driver called: the app had crashed.",
    "Confirmed by the work provider by email.",
    "Ticket 4711: their system was down that evening.",
    "Agreed with the claims team.",
)
_ERRORS = (
    {"index": 3, "field": "timestamp", "reason": "Is not an ISO-8601 date and time."},
    {"index": 0, "field": None, "reason": "Send exactly one of policyId and driverId."},
    {"index": 17, "field": "driverId", "reason": "Must be a string."},
)
_SAMPLE = '{"driverId": "9999", "timestamp": "99.99.9999 99:99"}'


# As the sweeper (shifts/rollup.py) would have added them up: what work providers sent, UTC.
_FIGURES = (
    """
    INSERT INTO shifts_hourfigures
        (work_provider_id, hour, requests, accepted, clock_ahead,
         digested, applied, duplicate, ignored, orphan, held, rejected, withdrawn)
    SELECT work_provider_id, hour, coalesce(requests, 0), coalesce(accepted, 0), coalesce(ahead, 0),
           coalesce(digested, 0), coalesce(applied, 0), coalesce(duplicate, 0), coalesce(ignored, 0),
           coalesce(orphan, 0), coalesce(held, 0), coalesce(rejected, 0), coalesce(withdrawn, 0)
    FROM (
        SELECT work_provider_id, date_trunc('hour', received_at) AS hour, count(*) AS requests,
               sum(event_count) AS accepted, sum(clock_ahead_count) AS ahead
        FROM shifts_submission WHERE action_id IS NULL GROUP BY 1, 2
    ) AS arrived
    FULL JOIN (
        SELECT work_provider_id, date_trunc('hour', received_at) AS hour, count(*) AS digested,
               count(*) FILTER (WHERE outcome = 'APPLIED') AS applied,
               count(*) FILTER (WHERE outcome = 'DUPLICATE') AS duplicate,
               count(*) FILTER (WHERE outcome = 'IGNORED') AS ignored,
               count(*) FILTER (WHERE outcome = 'ORPHAN') AS orphan,
               count(*) FILTER (WHERE outcome = 'HELD') AS held,
               count(*) FILTER (WHERE outcome = 'REJECTED') AS rejected,
               count(*) FILTER (WHERE outcome = 'WITHDRAWN') AS withdrawn
        FROM shifts_shiftevent WHERE NOT is_ops GROUP BY 1, 2
    ) AS came USING (work_provider_id, hour)
    """,
    """
    INSERT INTO shifts_minutefigures (minute, requests, accepted, digested)
    SELECT date_trunc('minute', received_at), count(*), sum(event_count),
           coalesce(sum(event_count) FILTER (WHERE digested_at IS NOT NULL), 0)
    FROM shifts_submission
    WHERE received_at >= %(now)s - interval '3 days' AND action_id IS NULL GROUP BY 1
    """,
    """
    INSERT INTO shifts_clockoffset (work_provider_id, date, step, events)
    SELECT work_provider_id, received_at::date,
           greatest(-%(furthest)s, least(%(furthest)s,
               floor(extract(epoch FROM received_at - timestamp) / 300)::int)),
           count(*)
    FROM shifts_shiftevent WHERE NOT is_ops GROUP BY 1, 2, 3
    """,
    """
    INSERT INTO shifts_standing
        (work_provider_id, looked_at, last_request_at,
         pending, failed, held, open_shifts, auto_closed, waiting_links, clock_cluster_percent)
    SELECT work_provider_id, %(now)s, max(received_at), 0, 0, 0, 0, 0, 0, 0
    FROM shifts_submission WHERE action_id IS NULL GROUP BY 1
    """,
)


class Desk:
    """Puts actions on record as of the past; `actions` are stored at the end."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.actions: list[DeskAction] = []
        self.rng = Random("desk")
        self.staff = User.objects.bulk_create(
            User(
                username=f"seeded-ops-{name}",
                first_name=name.title(),
                last_name="Example",
                email=f"{name}@ops.example.com",
                password=make_password(None),
                is_staff=True,
            )
            for name in ("ada", "grace")
        )

    def act(
        self,
        kind: DeskAction.Kind,
        at: datetime,
        work_provider: WorkProvider | int | None,
        customer_id: int | None = None,
        details: Mapping[str, object] | None = None,
    ) -> DeskAction:
        """An action at `at`, by one of the staff; finished."""
        provider_id = work_provider.pk if isinstance(work_provider, WorkProvider) else work_provider
        action = DeskAction(
            id=uuid7(at, self.rng),
            kind=kind,
            actor=self.rng.choice(self.staff),
            reason=self.rng.choice(_REASONS),
            created_at=at,
            work_provider_id=provider_id,
            customer_id=customer_id,
            details=dict(details or {}),
            finished_at=at + timedelta(seconds=1),
        )
        self.actions.append(action)
        return action


def add(desk: Desk, say: Callable[[str], None]) -> None:
    """Link requests, rejected requests, what was looked at, the audit log; then all figures."""
    say("link requests, rejected requests and the audit log")
    _link_requests(desk)
    _rejected_requests(desk)
    _other_actions(desk)
    seen = list(_seen(desk))
    DeskAction.objects.bulk_create(sorted(desk.actions, key=lambda one: one.created_at), 1_000)
    Seen.objects.bulk_create(seen)
    struck = Withdrawal.objects.filter(submission__isnull=False)
    DeskActionItem.objects.bulk_create(
        DeskActionItem(action=one.action, target=one.submission_id, done_at=one.withdrawn_at)
        for one in struck.select_related("action")
        if one.submission_id is not None
    )
    say("figures")
    with connection.cursor() as cursor:
        for sql in _FIGURES:
            cursor.execute(sql, {"now": desk.now, "furthest": rollup.FURTHEST})
    rollup.stand(desk.now)
    rollup.mark_silent(desk.now)
    rollup.watch_clocks(desk.now)


def _link_requests(desk: Desk) -> None:
    confirming = WorkProvider.objects.filter(link_policy=LinkPolicy.CONFIRM, is_test=False)
    first = confirming.order_by("pk").first()
    if first is None:
        return
    made = DriverLink.objects.filter(work_provider__in=confirming).order_by("-linked_at")
    for link in made[:_CONFIRMED]:
        _decided(desk, link, LinkRequest.State.CONFIRMED, link.linked_at, link=link)
    taken = cycle(
        DriverLink.objects.filter(work_provider=first).values_list("driver_id", flat=True)
    )
    unlinked = Customer.objects.filter(is_test=False, user__isnull=False).order_by("pk")
    others = unlinked.exclude(links__work_provider=first)[: 3 * _DECISIONS]
    for number, customer in enumerate(others):
        agreed_at = desk.now - timedelta(hours=number + 1)
        wanted = DriverLink(work_provider=first, customer=customer, driver_id=f"UNLINKED-{number}")
        if number % 3 == 0:
            _decided(desk, wanted, LinkRequest.State.REFUSED, agreed_at)
        elif number % 3 == 1:
            _request(wanted, LinkRequest.State.WAITING, agreed_at)
        else:
            wanted.driver_id = next(taken)
            _request(wanted, LinkRequest.State.REFUSED, agreed_at, agreed_at, flows.TAKEN)


def _decided(
    desk: Desk,
    wanted: DriverLink,
    state: LinkRequest.State,
    at: datetime,
    link: DriverLink | None = None,
) -> None:
    kinds = DeskAction.Kind
    action = desk.act(
        kinds.CONFIRM_LINK if link else kinds.REFUSE_LINK,
        at,
        wanted.work_provider_id,
        wanted.customer_id,
        {"driver_id": wanted.driver_id},
    )
    request = _request(wanted, state, at, at, "" if link else action.reason)
    request.decided_by, request.link = action.actor, link
    request.save()


def _request(
    wanted: DriverLink,
    state: LinkRequest.State,
    agreed_at: datetime,
    decided_at: datetime | None = None,
    reason: str = "",
) -> LinkRequest:
    return LinkRequest.objects.create(
        work_provider_id=wanted.work_provider_id,
        customer_id=wanted.customer_id,
        driver_id=wanted.driver_id,
        agreed_at=agreed_at,
        state=state,
        decided_at=decided_at,
        reason=reason,
    )


def _rejected_requests(desk: Desk) -> None:
    """Of the last week: bodies that were refused, and keys that were."""
    rng, rows = desk.rng, []
    for key in ApiKey.objects.order_by("pk")[:200]:
        for _ in range(rng.randrange(12)):
            error = rng.choice(_ERRORS)
            refused_key = key.revoked_at is not None
            received_at = desk.now - timedelta(days=rng.uniform(0, 6.9))
            rows.append(
                RejectedRequest(
                    request_id=uuid7(received_at, rng),
                    work_provider_id=key.work_provider_id,
                    api_key=key,
                    received_at=received_at,
                    path="/v1/batch/login/",
                    status=401 if refused_key else 400,
                    code="INVALID_KEY" if refused_key else "INVALID_DATA",
                    hint="The key is revoked." if refused_key else "",
                    errors=[] if refused_key else [error],
                    error_count=0 if refused_key else 1,
                    sample="" if refused_key else _SAMPLE,
                    content_type="application/json",
                    user_agent="python-requests/2.32",
                    body_bytes=rng.randrange(80, 9_000),
                )
            )
    rows.sort(key=lambda row: row.received_at)
    RejectedRequest.objects.bulk_create(rows)


def _other_actions(desk: Desk) -> None:
    for provider in WorkProvider.objects.order_by("pk"):
        desk.act(DeskAction.Kind.ADD, provider.created_at, provider)
    for key in ApiKey.objects.order_by("pk"):
        named = {"key_id": key.key_id}
        desk.act(DeskAction.Kind.ISSUE_KEY, key.created_at, key.work_provider_id, None, named)
    for link in DriverLink.objects.filter(ended_by=DriverLink.EndedBy.OPS):
        if link.unlinked_at is not None:
            details = {"driver_id": link.driver_id, "at": link.unlinked_at.isoformat()}
            kind = DeskAction.Kind.END_LINK
            desk.act(kind, link.unlinked_at, link.work_provider_id, link.customer_id, details)
    discarded = Submission.objects.filter(failed_at__isnull=False).order_by("pk")[:3]
    for submission in discarded.defer("body"):
        _discard(desk, submission)


def _discard(desk: Desk, submission: Submission) -> None:
    at = submission.received_at + timedelta(hours=5)
    details = {"request_id": str(submission.request_id)}
    action = desk.act(DeskAction.Kind.DISCARD, at, submission.work_provider_id, None, details)
    Submission.objects.filter(pk=submission.pk).update(is_withdrawn=True)
    Withdrawal.objects.create(submission=submission, action=action, withdrawn_at=at)


def _seen(desk: Desk) -> Iterable[Seen]:
    """The oldest amendments that shortened cover have been looked at."""
    shortened = ShiftRevision.objects.filter(shortens_cover=True).order_by("created_at")[:50]
    for revision in shortened:
        details = {"kind": "REVISION", "target": revision.pk}
        action = desk.act(
            DeskAction.Kind.SEEN, revision.created_at + timedelta(hours=9), None, None, details
        )
        yield Seen(kind=Seen.Kind.REVISION, target=revision.pk, action=action)
