"""A work provider and its drivers on the running service: post over HTTP, wait for the digest, look."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

import requests
from django.db import models
from django.utils import timezone

from linking import keys
from linking.models import Customer, DriverLink
from shifts.accept import accept
from shifts.digest import digest_pending
from shifts.models import Shift, ShiftEvent, ShiftRevision, Stream, Submission
from tests import factories
from tests.running import Service, wait_until
from zego_api.ids import uuid7

DAY = datetime(2026, 3, 2, tzinfo=UTC)
_serial = count(1)


def at(clock: str, *, day: int = 0) -> datetime:
    """An instant of a day long past; "25:00" is 01:00 on the next day."""
    hours, minutes, *seconds = (int(part) for part in clock.split(":"))
    return DAY + timedelta(days=day, hours=hours, minutes=minutes, seconds=sum(seconds))


@dataclass(frozen=True)
class Driver:
    """A linked customer."""

    link: DriverLink

    @property
    def id(self) -> str:
        return self.link.driver_id

    @property
    def stream(self) -> Stream:
        return Stream.objects.get(
            customer=self.link.customer_id, work_provider=self.link.work_provider_id
        )

    def shifts(self) -> list[tuple[datetime, datetime | None, str]]:
        """(start, end, end reason) as stored, in time order."""
        return list(
            self._shifts()
            .values_list("started_at", "ended_at", "end_reason")
            .order_by("started_at")
        )

    def shift(self) -> Shift:
        """The only shift."""
        return self._shifts().get()

    def outcomes(self) -> list[str]:
        """`login APPLIED`, `logout ORPHAN/NO_OPEN_SHIFT` ...: by instant, then order of arrival."""
        events = self.events().order_by("timestamp", "id")
        return [
            f"{event.kind} {event.outcome}" + (f"/{event.reason}" if event.reason else "")
            for event in events
        ]

    def events(self) -> models.QuerySet[ShiftEvent]:
        by_id = models.Q(driver_id=self.id)
        by_number = models.Q(customer_number=self.link.customer.number)
        return ShiftEvent.objects.filter(
            by_id | by_number, work_provider=self.link.work_provider_id
        )

    def revisions(self) -> list[ShiftRevision]:
        return list(ShiftRevision.objects.filter(stream=self.stream).order_by("id"))

    def _shifts(self) -> models.QuerySet[Shift]:
        return Shift.objects.filter(
            stream__customer=self.link.customer_id, stream__work_provider=self.link.work_provider_id
        )


class Live:
    """A work provider of its own for one test, so that tests do not see each other's events."""

    def __init__(self, service: Service, **fields: object) -> None:
        self.service = service
        self.work_provider = factories.work_provider(**fields)
        self.key = factories.key(self.work_provider)

    def customer(self) -> Customer:
        return factories.customer()

    def driver(
        self,
        *,
        linked_at: datetime = DAY - timedelta(days=365),
        customer: Customer | None = None,
        driver_id: str = "",
    ) -> Driver:
        return Driver(
            factories.link(
                self.work_provider,
                driver_id or f"d{next(_serial)}",
                customer=customer or self.customer(),
                linked_at=linked_at,
            )
        )

    def post(self, path: str, body: object) -> requests.Response:
        return requests.post(
            f"{self.service.url}/v1/{path}/",
            data=json.dumps(body),
            headers={"Authorization": self.key},
            timeout=30,
        )

    def login(self, driver: Driver | str, *instants: datetime) -> None:
        self._send("login", driver, instants)

    def logout(self, driver: Driver | str, *instants: datetime) -> None:
        self._send("logout", driver, instants)

    def _send(self, kind: str, driver: Driver | str, instants: Iterable[datetime]) -> None:
        """One request an instant, digested before the next: each arrival is an event of its own."""
        for instant in instants:
            driver_id = driver if isinstance(driver, str) else driver.id
            answer = self.post(
                f"shift/{kind}", {"driverId": driver_id, "timestamp": instant.isoformat()}
            )
            assert (answer.status_code, answer.text) == (202, '{"status": "PENDING"}')
            self.wait()

    def wait(self, within: float = 30.0) -> None:
        """Until nothing of this work provider is pending."""
        pending = Submission.objects.filter(
            work_provider=self.work_provider, digested_at=None, failed_at=None
        )
        wait_until(lambda: not pending.exists(), within, "the digest")


Row = tuple[str, str, datetime]


class Platform(Live):
    """A work provider whose requests are accepted in this process, with nobody to digest them."""

    def accept(self, *rows: Row, is_batch: bool = True, kind: str = "") -> Submission:
        """One request of (kind, driver id, instant) rows, all of one kind."""
        credentials = keys.verify(self.key, now=timezone.now())
        assert credentials is not None
        items = [{"driverId": driver, "timestamp": when.isoformat()} for _, driver, when in rows]
        return accept(
            credentials,
            kind=kind or rows[0][0],
            is_batch=is_batch,
            body=json.dumps(items if is_batch else items[0]).encode(),
            request_id=uuid7(),
            now=timezone.now(),
        )


def drain() -> None:
    while digest_pending():
        pass
