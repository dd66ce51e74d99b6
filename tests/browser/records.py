"""What journeys start from and end in, by SQL: while Playwright runs, Django refuses its own queries."""

import functools
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from urllib.parse import urlencode

import requests
from django.contrib.auth.hashers import make_password

from tests.factories import PASSWORD
from tests.running import Service, wait_until

COURIER = "Courier Ltd"  # the demo's
_serial = count(1)


@dataclass(frozen=True)
class Person:
    """Nobody else in this session has the email or the driver id."""

    email: str
    driver_id: str

    def link(self, work_provider: str = COURIER) -> str:
        """The path that a work provider sends this person."""
        query = {"wp": work_provider, "wp_id": self.driver_id, "email": self.email}
        return f"/link-work-provider?{urlencode(query)}"


def newcomer() -> Person:
    """Somebody without an account."""
    number = 48_000 + next(_serial)
    return Person(f"driver-{number}@example.com", f"DRV{number}")


def member(service: Service) -> Person:
    """Somebody with an account and a verified email, linked to nobody."""
    person = newcomer()
    service.query(
        """
        WITH made AS (
            INSERT INTO linking_user (username, email, password, is_active, is_staff, is_superuser,
                                      first_name, last_name, date_joined)
            VALUES (%s, %s, %s, true, false, false, '', '', now()) RETURNING id, email
        )
        INSERT INTO account_emailaddress (user_id, email, verified, "primary")
        SELECT id, email, true, true FROM made RETURNING id
        """,
        person.driver_id,
        person.email,
        _hashed(PASSWORD),
    )
    return person


def linked(service: Service, work_provider: str = COURIER) -> Person:
    """Somebody with an account who has been linked to the work provider for a year."""
    person = member(service)
    service.query(
        """
        WITH made AS (
            INSERT INTO linking_customer (user_id, number, is_test, created_at)
            SELECT id, username, false, now() FROM linking_user WHERE email = %s RETURNING id
        )
        INSERT INTO linking_driverlink (work_provider_id, customer_id, driver_id, linked_at,
                                        link_recorded_at, ended_by, updated_at)
        SELECT provider.id, made.id, %s, %s, now(), '', now()
        FROM made, linking_workprovider AS provider WHERE provider.name = %s RETURNING id
        """,
        person.email,
        person.driver_id,
        datetime.now(UTC) - timedelta(days=365),
        work_provider,
    )
    return person


@functools.cache
def _hashed(password: str) -> str:
    return make_password(password)


def work_provider(service: Service, policy: str = "OPEN") -> str:
    """The name of a work provider made for one test."""
    name = f"Taxi {next(_serial)}"
    service.query(
        """
        INSERT INTO linking_workprovider (name, timezone, max_future, link_policy, is_active,
                                          is_test, created_at)
        VALUES (%s, 'UTC', '24 hours', %s, true, false, now()) RETURNING id
        """,
        name,
        policy,
    )
    return name


def publish_terms(service: Service, work_provider: str, version: str) -> None:
    """A new version of a work provider's terms, in force from now on."""
    service.query(
        """
        INSERT INTO linking_terms (work_provider_id, version, text, published_at)
        SELECT id, %s, 'Be kind.', now() FROM linking_workprovider WHERE name = %s RETURNING id
        """,
        version,
        work_provider,
    )


def report(service: Service, key: str, kind: str, person: Person, at: datetime) -> None:
    """Have the work provider say that somebody logged in or out, and wait for the digest."""
    answer = requests.post(
        f"{service.url}/v1/shift/{kind}/",
        data=json.dumps({"driverId": person.driver_id, "timestamp": at.isoformat()}),
        headers={"Authorization": key},
        timeout=30,
    )
    assert answer.status_code == 202, answer.text
    pending = "SELECT 1 FROM shifts_submission WHERE digested_at IS NULL AND failed_at IS NULL"
    wait_until(lambda: not service.query(pending), what="the digest")


@dataclass(frozen=True)
class Shift:
    """A shift as stored."""

    started_at: datetime
    ended_at: datetime | None
    end_reason: str
    start_clipped: bool


def shifts_of(service: Service, person: Person) -> list[Shift]:
    """All shifts of whoever is or was linked as this driver, in time order."""
    rows = service.query(
        """
        SELECT shift.started_at, shift.ended_at, shift.end_reason, shift.start_clipped
        FROM shifts_shift AS shift JOIN shifts_stream AS stream ON stream.id = shift.stream_id
        JOIN linking_driverlink AS link USING (customer_id, work_provider_id)
        WHERE link.driver_id = %s ORDER BY shift.started_at
        """,
        person.driver_id,
    )
    return [Shift(*row) for row in rows]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Link:
    """A link as stored, and whose it is."""

    work_provider: str
    customer_number: str
    linked_at: datetime
    unlinked_at: datetime | None
    ended_by: str


def links_of(service: Service, person: Person) -> list[Link]:
    """All links that this driver id has had, in time order."""
    rows = service.query(
        """
        SELECT provider.name, customer.number, link.linked_at, link.unlinked_at, link.ended_by
        FROM linking_driverlink AS link
        JOIN linking_customer AS customer ON customer.id = link.customer_id
        JOIN linking_workprovider AS provider ON provider.id = link.work_provider_id
        WHERE link.driver_id = %s ORDER BY link.linked_at
        """,
        person.driver_id,
    )
    return [Link(*row) for row in rows]  # type: ignore[arg-type]


def let_time_pass(service: Service, person: Person, minutes: int) -> None:
    """Make whatever link this person has open older."""
    service.query(
        "UPDATE linking_linkintent SET created_at = created_at - %s WHERE driver_id = %s RETURNING id",
        timedelta(minutes=minutes),
        person.driver_id,
    )
