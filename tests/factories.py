"""Rows that tests start from. Each is valid and has nothing to do with those of another test."""

from datetime import UTC, datetime
from itertools import count
from typing import Any

from linking import keys
from linking.models import Customer, DriverLink, WorkProvider

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
