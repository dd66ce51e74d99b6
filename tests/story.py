"""One working week at the ops desk: what the browser tests ask about, and what docs/ops.md shows.

`manage.py shell -c "from tests import story; story.write()"` writes it into a fresh database: as
submissions that are digested like any other, at times counted back from now. Names and driver ids are
the same each time.
"""

import json
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group
from django.db import transaction
from django.utils import timezone

from linking import flows, keys
from linking.models import (
    ApiKey,
    Customer,
    DriverLink,
    LinkPolicy,
    LinkRequest,
    Terms,
    User,
    WorkProvider,
)
from shifts import mend
from shifts.accept import keep
from shifts.digest import digest_pending
from shifts.models import Kind, Submission

LONDON = ZoneInfo("Europe/London")
COURIER, MEALS, TAXI = "Courier Ltd", "Meal Box", "Taxi 24"
LONG = (
    "The Extraordinarily Long-Named Same-Day Parcel and Grocery Delivery Partnership"
    " of Greater Berlin"
)
PASSWORD = "correct horse battery staple"
STAFF = {
    "reader@zego.example": "Ops reader",
    "ops@zego.example": "Ops",
    "admin@zego.example": "Admin",
}
LINKED_AT = datetime(2017, 1, 1, tzinfo=UTC)
LEAKED = "old server"  # the label of the key that leaked


def at(days_ago: int, clock: str, zone: ZoneInfo = LONDON) -> datetime:
    """A time of day, so many days before today."""
    day = datetime.now(zone).date() - timedelta(days=days_ago)
    return datetime.combine(day, time.fromisoformat(clock), zone).astimezone(UTC)


class Provider:
    """A work provider and the key that it sends with."""

    def __init__(self, name: str, zone: str, policy: str = LinkPolicy.OPEN) -> None:
        self.row, _ = WorkProvider.objects.get_or_create(
            name=name, defaults={"timezone": zone, "link_policy": policy}
        )
        self.key = self.issue("production")

    def issue(self, label: str) -> ApiKey:
        key, _ = keys.issue(self.row, label=label)
        ApiKey.objects.filter(pk=key.pk).update(created_at=at(30, "10:00"))
        return key

    def link(self, driver_id: str, customer: Customer | None = None) -> Customer:
        """A driver with an account, linked since long ago."""
        found = DriverLink.objects.filter(work_provider=self.row, driver_id=driver_id).first()
        if found is not None:
            return found.customer
        customer = customer or Customer.objects.create(user=person(f"driver-{driver_id}"))
        DriverLink.objects.create(
            work_provider=self.row,
            customer=customer,
            driver_id=driver_id,
            linked_at=LINKED_AT,
            link_recorded_at=LINKED_AT,
        )
        return customer

    def sends(
        self,
        kind: str,
        driver_id: str,
        when: datetime,
        *,
        late: timedelta = timedelta(seconds=2),
        key: ApiKey | None = None,
        naive: str = "",
    ) -> None:
        """One event, received `late` after its time; `naive` is sent in its place, without offset."""
        if when + late > timezone.now():
            return
        used = key or self.key
        ApiKey.objects.filter(pk=used.pk).update(last_used_at=when + late)
        body = {"driverId": driver_id, "timestamp": naive or when.isoformat()}
        keep(
            Submission(
                work_provider=self.row,
                api_key=used,
                kind=kind,
                is_batch=False,
                body=json.dumps(body).encode(),
                timezone=self.row.timezone,
                received_at=when + late,
            ),
            max_future=self.row.max_future,
        )

    def works(self, driver_id: str, login: datetime, logout: datetime) -> None:
        """A login and its logout."""
        self.sends("login", driver_id, login)
        self.sends("logout", driver_id, logout)


def person(name: str, *, group: str = "") -> User:
    """Somebody who can sign in; a member of staff with a group."""
    email = name if "@" in name else f"{name}@example.com"
    user = User(username=name, email=email, is_staff=bool(group))
    user.set_password(PASSWORD)
    user.save()
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    if group:
        user.groups.add(Group.objects.get(name=group))
    return user


def write() -> None:
    """Write the whole week; the service's workers may run meanwhile."""
    staff = {group: person(email, group=group) for email, group in STAFF.items()}
    courier = Provider(COURIER, "Europe/London")
    meals = Provider(MEALS, "Europe/London", LinkPolicy.CONFIRM)
    taxi = Provider(TAXI, "UTC")
    berlin = Provider(LONG, "Europe/Berlin")
    for owner in (None, courier.row, meals.row):
        Terms.objects.get_or_create(
            work_provider=owner, version="2026-11", defaults={"text": "Sample terms."}
        )
    with transaction.atomic():  # no worker sees half of it
        _an_ordinary_week(courier, berlin)
        _questions_about_single_drivers(courier)
        _a_system_that_was_down(meals)
        _local_time_sent_as_utc(taxi)
        _a_key_that_leaked(courier)
        _digest()
    _mendings(courier, staff["Ops"])
    _links_that_wait(meals, courier)
    _a_submission_that_failed(courier)


def _an_ordinary_week(courier: Provider, berlin: Provider) -> None:
    for number in range(1701, 1713):
        both = courier.link(str(number))
        if number % 4 == 0:
            berlin.link(f"B-{number}", both)
        for day in range(8):
            courier.works(str(number), at(day, f"{7 + number % 4:02}:05"), at(day, "15:30"))
            courier.works(str(number), at(day, "17:02"), at(day, f"{20 + number % 3:02}:40"))
            if number % 4 == 0:
                berlin.works(f"B-{number}", at(day, "14:45"), at(day, "18:10"))


def _questions_about_single_drivers(courier: Provider) -> None:
    """1686: the login of yesterday evening never came. 1687: no logout. 1688: ended by the desk."""
    for driver_id in ("1686", "1687", "1688"):
        courier.link(driver_id)
    for day in range(2, 8):
        courier.works("1686", at(day, "08:00"), at(day, "13:10"))
    courier.works("1686", at(1, "08:00"), at(1, "13:10"))
    courier.sends("logout", "1686", at(1, "22:41"))
    courier.sends("login", "1686", at(8, "20:05"), late=timedelta(hours=13))
    courier.sends("logout", "1686", at(8, "23:30"))
    courier.sends("login", "1687", at(1, "09:12"))
    courier.sends("login", "1687", at(1, "14:20"))
    courier.sends("login", "1688", at(2, "10:00"))
    for number in range(2001, 2006):  # nobody has agreed for these
        courier.sends("login", str(number), at(1, "11:00") + timedelta(minutes=number - 2001))
        courier.sends("logout", str(number), at(1, "16:00"))


def _a_system_that_was_down(meals: Provider) -> None:
    """From 18:00 to 20:00 yesterday nothing came: the logouts of the evening are missing."""
    for number in range(1, 15):
        meals.link(f"M{number:03}")
        meals.sends("login", f"M{number:03}", at(1, "16:30") + timedelta(minutes=number))
    for number in (1, 2, 3):  # these worked on, and logged out after it
        meals.sends("logout", f"M{number:03}", at(1, "21:15"))


def _local_time_sent_as_utc(taxi: Provider) -> None:
    """An engineer in Paris who sends the wall clock's time."""
    for number in range(1, 9):
        taxi.link(f"T{number}")
        for day in range(1, 5):
            for kind, clock in (("login", "09:00"), ("logout", "16:00")):
                when = at(day, clock, ZoneInfo("UTC")) + timedelta(minutes=number)
                said = when.astimezone(ZoneInfo("Europe/Paris")).replace(tzinfo=None)
                taxi.sends(kind, f"T{number}", when, naive=said.isoformat())


def _a_key_that_leaked(courier: Provider) -> None:
    """Logins in the middle of the night, by a key that nobody uses any more."""
    leaked = courier.issue(LEAKED)
    for number in range(1701, 1707):
        courier.sends("login", str(number), at(1, "03:07"), key=leaked)
        courier.sends("logout", str(number), at(1, "05:44"), key=leaked)


def _digest() -> None:
    while digest_pending():
        pass


def _mendings(courier: Provider, ops: User) -> None:
    customer = courier.link("1688")
    mend.add_event(
        courier.row,
        customer,
        Kind.LOGOUT,
        at(2, "18:00"),
        actor=ops,
        reason="Courier Ltd confirmed by telephone that the driver's app had crashed.",
        now=timezone.now(),
    )


def _links_that_wait(meals: Provider, courier: Provider) -> None:
    for number in (21, 22):
        customer = Customer.objects.create(user=person(f"driver-M{number:03}"))
        LinkRequest.objects.create(
            work_provider=meals.row,
            customer=customer,
            driver_id=f"M{number:03}",
            agreed_at=at(1, "12:00"),
        )
    rival = Customer.objects.create(user=person("somebody-else"))
    LinkRequest.objects.create(
        work_provider=courier.row,
        customer=rival,
        driver_id="1701",
        agreed_at=at(1, "12:30"),
        state=LinkRequest.State.REFUSED,
        reason=flows.TAKEN,
        decided_at=at(1, "12:30"),
    )


def _a_submission_that_failed(courier: Provider) -> None:
    """As one that was accepted by a release whose validation was wrong."""
    Submission.objects.create(
        work_provider=courier.row,
        api_key=courier.key,
        kind="login",
        is_batch=False,
        body=b'{"driverId": "1702"}',
        timezone="UTC",
        event_count=1,
        received_at=at(1, "19:20"),
        attempts=5,
        failed_at=at(1, "19:21"),
        failure="InvalidBody: 1 errors",
    )
