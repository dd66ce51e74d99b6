"""Rows that tests start from. Each is valid and has nothing to do with those of another test."""

from datetime import UTC, datetime
from itertools import count
from typing import Any

from allauth.account.models import EmailAddress

from linking import keys
from linking.models import Customer, DriverLink, LinkIntent, Terms, User, WorkProvider

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
