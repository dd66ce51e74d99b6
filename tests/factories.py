"""Rows that tests start from. Each is valid and has nothing to do with those of another test."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from allauth.account.models import EmailAddress

from linking import keys
from linking.models import Customer, DriverLink, LinkIntent, Terms, User, WorkProvider
from shifts.models import Shift, ShiftEvent, Stream, Submission, event_id

PASSWORD = "correct horse battery staple"
LINKED_AT = datetime(2017, 1, 1, tzinfo=UTC)
_serial = count(1)


def work_provider(**fields: Any) -> WorkProvider:
    """A work provider; UTC and 24 hours ahead unless said otherwise."""
    return WorkProvider.objects.create(**{"name": f"Work provider {next(_serial)}"} | fields)


def key(owner: WorkProvider | None = None, **options: Any) -> str:
    """A live API key as the work provider sends it."""
    return keys.issue(owner or work_provider(), **options)[1]


def customer(**fields: Any) -> Customer:
    """A customer, with a number of its own unless one is given."""
    return Customer.objects.create(**fields)


def link(owner: WorkProvider, driver_id: str, **fields: Any) -> DriverLink:
    """A customer linked as `driver_id` since long ago."""
    if "customer" not in fields:
        fields["customer"] = customer(is_test=owner.is_test)
    return DriverLink.objects.create(
        work_provider=owner, driver_id=driver_id, **{"linked_at": LINKED_AT} | fields
    )


def user(email: str = "", *, verified: bool = True, password: str = "", **fields: Any) -> User:
    """Somebody who can sign in, with an address that is verified unless said otherwise."""
    email = email or f"driver-{next(_serial)}@example.com"
    made = User.objects.create(username=f"user-{next(_serial)}", email=email, **fields)
    if password:
        made.set_password(password)
        made.save()
    EmailAddress.objects.create(user=made, email=email, verified=verified, primary=True)
    return made


def driver(email: str = "", *, is_test: bool = False, **fields: Any) -> User:
    """A user who is a customer."""
    made = user(email, **fields)
    customer(user=made, is_test=is_test)
    return made


def terms(owner: WorkProvider | None = None, **fields: Any) -> Terms:
    """Terms of a work provider's, or of Zego's."""
    defaults = {"version": f"v{next(_serial)}", "text": "Be kind.", "published_at": LINKED_AT}
    return Terms.objects.create(work_provider=owner, **defaults | fields)


def intent(owner: WorkProvider, driver_id: str = "123456", **fields: Any) -> LinkIntent:
    """A link that somebody has just opened."""
    defaults = {"email": f"driver-{next(_serial)}@example.com"}
    return LinkIntent.objects.create(work_provider=owner, driver_id=driver_id, **defaults | fields)


def submission(
    owner: WorkProvider, received_at: datetime, events: int = 1, **fields: Any
) -> Submission:
    """A request as it stands once accepted, pending unless said otherwise; nobody reads its body."""
    defaults = {
        "kind": "login",
        "is_batch": True,
        "body": b"[]",
        "timezone": owner.timezone,
        "event_count": events,
        "received_at": received_at,
    }
    return Submission.objects.create(work_provider=owner, **defaults | fields)


def event(owner: WorkProvider, **fields: Any) -> ShiftEvent:
    """An event as a digest would have stored it: of a driver whom no link explains."""
    serial = next(_serial)
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    defaults = {
        "id": event_id(1_000_000_000 + serial, 0),
        "submission_id": 1_000_000_000 + serial,
        "kind": "login",
        "timestamp": now,
        "received_at": now,
        "outcome": "HELD",
        "reason": "UNKNOWN_ID" if fields.get("outcome", "HELD") == "HELD" else "",
    }
    if "customer_number" not in fields:
        defaults["driver_id"] = f"driver {serial}"
    return ShiftEvent.objects.create(work_provider=owner, **defaults | fields)


def shift(owner: WorkProvider, started_at: datetime, **fields: Any) -> Shift:
    """A shift of a driver of its own, open unless it has an end."""
    made = fields.pop("link", None) or link(owner, f"driver {next(_serial)}")
    stream, _ = Stream.objects.get_or_create(work_provider=owner, customer=made.customer)
    defaults = {
        "end_reason": "LOGOUT" if fields.get("ended_at") else "",
        "start_clipped": False,
        "is_continuation": False,
        "login_at": started_at,
        "closes_at": started_at + timedelta(hours=14),
        "opened_by_id": next(_serial),
        "start_known_at": started_at,
        "end_known_at": fields.get("ended_at"),
    }
    return Shift.objects.create(
        stream=stream, link=made, started_at=started_at, **defaults | fields
    )
