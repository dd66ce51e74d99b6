"""A work provider whose requests are accepted and digested here, at whatever time they came."""

import html
import json
import re
from datetime import datetime, timedelta

from django.test import Client
from django.utils import timezone

from linking import keys
from linking.models import ApiKey, Customer, DeskAction, DriverLink, User
from shifts import mend
from shifts.accept import keep
from shifts.digest import digest_pending
from shifts.models import Kind, Shift, ShiftEvent, Stream, Submission, Withdrawal
from tests import factories
from tests.factories import LINKED_AT
from tests.shifts.live import at

SOON = timedelta(seconds=2)


class Sender:
    """One work provider with a key, and what it sends."""

    def __init__(self, **fields: object) -> None:
        self.work_provider = factories.work_provider(**fields)
        self.key: ApiKey = keys.issue(self.work_provider)[0]

    def link(self, driver_id: str = "1686", **fields: object) -> DriverLink:
        """A customer linked since long ago, and known to be."""
        return factories.link(
            self.work_provider, driver_id, **{"link_recorded_at": LINKED_AT} | fields
        )

    def login(self, driver_id: str, *clocks: str, late: timedelta = SOON) -> None:
        self.send("login", driver_id, clocks, late)

    def logout(self, driver_id: str, *clocks: str, late: timedelta = SOON) -> None:
        self.send("logout", driver_id, clocks, late)

    def works(self, driver_id: str, login: str, logout: str) -> None:
        """A login and its logout, digested together."""
        self.accept("login", [(driver_id, at(login))], received_at=at(login) + SOON)
        self.accept("logout", [(driver_id, at(logout))], received_at=at(logout) + SOON)
        digest()

    def send(self, kind: str, driver_id: str, clocks: tuple[str, ...], late: timedelta) -> None:
        """One request each, digested before the next; a clock is that of live.at."""
        for clock in clocks:
            self.accept(kind, [(driver_id, at(clock))], received_at=at(clock) + late)
            digest()

    def accept(
        self,
        kind: str,
        events: list[tuple[str, datetime]],
        *,
        received_at: datetime | None = None,
        name: str = "driverId",
    ) -> Submission:
        """One request, not digested yet."""
        items = [{name: who, "timestamp": when.isoformat()} for who, when in events]
        submission = Submission(
            work_provider=self.work_provider,
            api_key=self.key,
            kind=kind,
            is_batch=len(items) > 1,
            body=json.dumps(items if len(items) > 1 else items[0]).encode(),
            timezone=self.work_provider.timezone,
            received_at=received_at or timezone.now(),
        )
        return keep(submission, max_future=timedelta(days=1))

    def stream(self, link: DriverLink) -> Stream:
        return Stream.objects.get(work_provider=self.work_provider, customer=link.customer_id)

    def shifts(self, link: DriverLink) -> list[Shift]:
        """In time order."""
        return list(Shift.objects.filter(stream=self.stream(link)).order_by("started_at"))

    def event(self, kind: str, clock: str) -> ShiftEvent:
        """The first one received of this kind and time."""
        events = ShiftEvent.objects.filter(work_provider=self.work_provider, kind=kind)
        return events.filter(timestamp=at(clock)).order_by("pk")[0]

    def add(self, customer: Customer, kind: Kind, clock: str, actor: User, reason: str) -> None:
        mend.add_event(
            self.work_provider,
            customer,
            kind,
            at(clock),
            actor=actor,
            reason=reason,
            now=timezone.now(),
        )

    def withdraw(
        self, link: DriverLink, kind: Kind, clock: str, actor: User, reason: str
    ) -> Withdrawal:
        stream, now = self.stream(link), timezone.now()
        return mend.withdraw(stream, kind, at(clock), actor=actor, reason=reason, now=now)

    def undo(self, action: DeskAction, actor: User, reason: str) -> None:
        mend.undo(action, actor=actor, reason=reason, now=timezone.now())


def digest() -> None:
    """Until nothing is pending."""
    while digest_pending():
        pass


def words(client: Client, path: str) -> str:
    """The words of a page of the desk, without tags; its titles and drawing included."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.status_code
    return words_of(answer.content.decode())


def words_of(page: str) -> str:
    body = page[page.index('class="d-desk"') :]
    return _plain(body)


def _plain(source: str) -> str:
    text = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", source)).split())
    return re.sub(r" ([,.:;])", r"\1", text)


def listed(client: Client, path: str) -> list[str]:
    """The words of each entry of a page's lists of events."""
    page = client.get(path).content.decode()
    return [
        _plain(found) for found in re.findall(r'<li class="t-entry.*?>(.*?)</li>', page, re.DOTALL)
    ]
