"""Resolve: find the link that an event belongs to; many identifiers in a fixed number of queries."""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple

from django.db import connection

UNKNOWN_ID, NOT_LINKED, AFTER_UNLINK = "UNKNOWN_ID", "NOT_LINKED", "AFTER_UNLINK"


class Identifier(NamedTuple):
    """Whom a work provider means: exactly one of a driver id of its own and a customer number."""

    work_provider_id: int
    driver_id: str | None
    customer_number: str | None


class Span(NamedTuple):
    """What resolving needs of a link."""

    customer_id: int
    starts_at: datetime
    ends_at: datetime | None


class Resolver:
    """The links of some identifiers, looked up once."""

    def __init__(self, links: dict[Identifier, list[Span]], known: set[Identifier]) -> None:
        self._links = links
        self._known = known
        self._starts: dict[Identifier, list[datetime]] = {}
        for identifier, spans in links.items():
            spans.sort(key=attrgetter("starts_at"))
            self._starts[identifier] = [span.starts_at for span in spans]

    @property
    def stream_keys(self) -> set[tuple[int, int]]:
        """(work provider, customer) of every link found."""
        return {
            (identifier.work_provider_id, span.customer_id)
            for identifier, spans in self._links.items()
            for span in spans
        }

    def find(self, identifier: Identifier, at: datetime) -> tuple[int | None, str]:
        """(customer id, "") of the link that holds `at`, else of the next to begin after it.

        Else (None, reason): AFTER_UNLINK when all links have ended by then, NOT_LINKED for a customer
        without a link to this work provider, UNKNOWN_ID when nobody is known by that identifier.
        """
        spans = self._links.get(identifier)
        if not spans:
            return None, NOT_LINKED if identifier in self._known else UNKNOWN_ID
        index = bisect_right(self._starts[identifier], at)
        if index and ((ends_at := spans[index - 1].ends_at) is None or at < ends_at):
            return spans[index - 1].customer_id, ""
        if index < len(spans):
            return spans[index].customer_id, ""
        return None, AFTER_UNLINK


def resolver_for(identifiers: Iterable[Identifier]) -> Resolver:
    """Look all of them up, in two queries. A link that ended as it began holds nothing."""
    drivers: list[Identifier] = []
    numbers: list[Identifier] = []
    for identifier in set(identifiers):
        (numbers if identifier.driver_id is None else drivers).append(identifier)
    links: dict[Identifier, list[Span]] = {}
    known: set[Identifier] = set()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT l.work_provider_id, l.driver_id, l.customer_id, l.linked_at, l.unlinked_at
            FROM unnest(%s::bigint[], %s::text[]) AS wanted (work_provider_id, driver_id)
            JOIN linking_driverlink l USING (work_provider_id, driver_id)
            WHERE l.unlinked_at IS DISTINCT FROM l.linked_at
            """,
            [[i.work_provider_id for i in drivers], [i.driver_id for i in drivers]],
        )
        for provider, driver_id, *span in cursor.fetchall():
            links.setdefault(Identifier(provider, driver_id, None), []).append(Span(*span))
        cursor.execute(
            """
            SELECT wanted.work_provider_id, c.number, l.customer_id, l.linked_at, l.unlinked_at
            FROM unnest(%s::bigint[], %s::text[]) AS wanted (work_provider_id, number)
            JOIN linking_customer c USING (number)
            LEFT JOIN linking_driverlink l
              ON l.customer_id = c.id AND l.work_provider_id = wanted.work_provider_id
             AND l.unlinked_at IS DISTINCT FROM l.linked_at
            """,
            [[i.work_provider_id for i in numbers], [i.customer_number for i in numbers]],
        )
        for provider, number, *span in cursor.fetchall():
            identifier = Identifier(provider, None, number)
            known.add(identifier)
            if span[0] is not None:
                links.setdefault(identifier, []).append(Span(*span))
    return Resolver(links, known)
