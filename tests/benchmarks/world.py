"""Who is there before anything is sent: work providers with keys and terms, customers, their links."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import make_password
from django.db.models import Model

from linking import tokens
from linking.models import (
    NUMBER_ALPHABET,
    NUMBER_LENGTH,
    Agreement,
    ApiKey,
    Customer,
    DriverLink,
    LinkPolicy,
    Terms,
    User,
    WorkProvider,
)
from shifts import timeline
from shifts.models import ShiftRule, Stream
from tests.benchmarks.traffic import DAYS, HOUR, MINUTE, Driver, Habits, began

_Row = TypeVar("_Row", bound=Model)
_ROWS = 2_000  # in one INSERT
_ZONES = {
    "Europe/London": 60,
    "Europe/Paris": 10,
    "Europe/Madrid": 8,
    "Europe/Warsaw": 6,
    "Europe/Dublin": 6,
    "America/New_York": 4,
    "UTC": 6,
}
_FIRST = (
    "Swift Royal Green Urban Harbour Silver Metro Northern Crown Bright City Rapid Noble".split()
)
_SECOND = (
    "Couriers Taxis Kitchens Parcels Bikes Vans Meals Riders Movers Grocers Flowers Cabs".split()
)
_LAST = "Ltd SARL Group Direct Express".split()
_LONG_NAME = (
    "The Worshipful Company of Carriers, Couriers and Carters of the City and all its Suburbs Ltd"
)
_SHIFTS_A_DRIVER = (4, 12, 20, 28, 40)
_LINKED_BEFORE, _ENDED, _LINKED_AGAIN, _WITH_ACCOUNT, _ELSEWHERE_TOO = 0.7, 0.04, 0.25, 0.3, 0.12
_STRANGERS = 0.01
_POLICIES = {
    1: LinkPolicy.CONFIRM,
    6: LinkPolicy.CONFIRM,
    3: LinkPolicy.SIGNED,
}  # by place's last digit
_CLOCK_ERRORS = {5: HOUR, 11: -HOUR, 23: 9 * MINUTE}  # by place; local time sent as UTC, and such
_SPARE = 1.02  # some shifts come to nothing: before the link, or withdrawn
NOBODY = "NOBODY"  # no customer has this number


class Size(NamedTuple):
    """How much there is to be."""

    events: int
    shifts: int
    work_providers: int


@dataclass(slots=True)
class Platform:
    """A work provider with its live API keys, its drivers and its habits."""

    work_provider: WorkProvider
    api_keys: list[ApiKey]
    drivers: list[Driver]
    habits: Habits


class _Person(NamedTuple):
    """A customer to be: their place among all, and whether they are a test."""

    place: int
    is_test: bool


def build(size: Size, rng: Random, now: datetime) -> list[Platform]:
    """Store all of it, and return it by work provider, the largest first."""
    providers = _work_providers(size.work_providers, rng, now)
    keys = _api_keys(providers, rng, now)
    platforms = [
        Platform(provider, keys[provider.pk], drivers, _habits(place, provider, size, rng))
        for place, (provider, drivers) in enumerate(
            zip(providers, _planned_drivers(size, rng), strict=True)
        )
    ]
    people = _people(platforms, rng)
    customers = _customers(people, rng, now)
    _link(platforms, people, customers, rng, now)
    _agree(platforms, now)
    return platforms


def _work_providers(count: int, rng: Random, now: datetime) -> list[WorkProvider]:
    names = ["Courier Ltd", "Taxi SARL", _LONG_NAME, *_names()]
    rows = [
        WorkProvider(
            name=names[place] if place < len(names) else f"Work provider {place + 1}",
            timezone="Europe/London" if place == 0 else _one_of(_ZONES, rng),
            link_policy=_POLICIES.get(place % 10, LinkPolicy.OPEN),
            is_active=place % 50 != 49,
            is_test=_is_sandbox(place, count),
        )
        for place in range(count)
    ]
    made = WorkProvider.objects.bulk_create(rows)
    WorkProvider.objects.filter(pk__in=[row.pk for row in made]).update(
        created_at=now - timedelta(days=400)
    )
    for row in made[3::10]:
        tokens.issue_secret(row)
    ShiftRule.objects.bulk_create(
        ShiftRule(
            work_provider=row,
            max_shift_length=timedelta(hours=12),
            valid_from=now - timedelta(days=390),
        )
        for row in made[3::20]
    )
    return made


def _is_sandbox(place: int, count: int) -> bool:
    return count > 2 and place >= count - max(1, count // 100)


def _names() -> Iterator[str]:
    for last in _LAST:
        for second in _SECOND:
            for first in _FIRST:
                yield f"{first} {second} {last}"


def _api_keys(providers: list[WorkProvider], rng: Random, now: datetime) -> dict[int, list[ApiKey]]:
    """One live key each, for some a second one; and some that have been revoked."""
    live = [(provider, "live") for provider in providers]
    live += [(provider, "the new one") for provider in providers[::7]]
    revoked = [(provider, "the old one") for provider in providers[::3]]
    rows = [
        ApiKey(
            work_provider=provider,
            key_id=f"{rng.getrandbits(48):012x}",
            secret_hash=rng.randbytes(32),
            label=label,
            revoked_at=now - timedelta(days=90) if label == "the old one" else None,
            last_used_at=now - timedelta(days=90 if label == "the old one" else 0),
        )
        for provider, label in [*live, *revoked]
    ]
    made = ApiKey.objects.bulk_create(rows)
    ApiKey.objects.filter(pk__in=[row.pk for row in made]).update(
        created_at=now - timedelta(days=300)
    )
    keys: dict[int, list[ApiKey]] = {}
    for row in made[: len(live)]:
        keys.setdefault(row.work_provider_id, []).append(row)
    return keys


def _habits(place: int, provider: WorkProvider, size: Size, rng: Random) -> Habits:
    is_live = place in _CLOCK_ERRORS or place % 10 == 7
    spelling = rng.choice(["utc", "utc", "offset", "naive"])
    return Habits(
        zone=ZoneInfo(provider.timezone),
        extra=max(size.events / size.shifts - 2, 0),
        duplicates=rng.choice([0.05, 0.15, 0.5]),
        names_customers=place % 10 == 4,
        spelling=spelling,
        patience=0 if is_live else rng.choice([5, 10, 20, 60]) * MINUTE,
        clock_error=_CLOCK_ERRORS.get(place, 0),
        silent_for=26 * HOUR if place == 8 else 0,
    )


def _planned_drivers(size: Size, rng: Random) -> Iterator[list[Driver]]:
    """Each work provider's drivers; the largest has some four in a hundred of all shifts."""
    weights = [1 / (place + 6) for place in range(size.work_providers)]
    for place, weight in enumerate(weights):
        quota = _SPARE * size.shifts * weight / sum(weights)
        drivers: list[Driver] = []
        while quota > 0:
            drivers.append(_planned_driver(place, len(drivers), rng))
            quota -= drivers[-1].shifts
        yield drivers


def _planned_driver(place: int, number: int, rng: Random) -> Driver:
    first = 0 if rng.random() < _LINKED_BEFORE else rng.randrange(DAYS - 4)
    last = rng.randrange(first + 3, DAYS) if rng.random() < _ENDED else DAYS
    driver_id = str(1686 + 7 * number) if place % 3 == 0 else f"DRV-{place}-{number:05}"
    if place == 2 and number == 0:
        driver_id = "very-long-" * 12 + "driverid"
    shifts = min(rng.choice(_SHIFTS_A_DRIVER), last - first)
    return Driver(driver_id, shifts, first, last)


def _people(platforms: list[Platform], rng: Random) -> dict[int, list[_Person]]:
    """Who stands behind each driver, by the work provider's place; some drive for two."""
    people: dict[int, list[_Person]] = {}
    everybody: list[_Person] = []
    for place, platform in enumerate(platforms):
        is_test = platform.work_provider.is_test
        here: dict[_Person, None] = {}
        while len(here) < len(platform.drivers):
            person = _Person(len(everybody), is_test)
            if everybody and rng.random() < _ELSEWHERE_TOO:
                person = rng.choice(everybody)
            if person.place == len(everybody):
                everybody.append(person)
            if person.is_test == is_test:
                here.setdefault(person)
        people[place] = list(here)
    return people


def _customers(
    people: dict[int, list[_Person]], rng: Random, now: datetime
) -> dict[_Person, Customer]:
    persons = sorted({person for here in people.values() for person in here})
    users = iter(_users([person for person in persons if _has_account(person)], now))
    rows = [
        Customer(
            number="".join(rng.choices(NUMBER_ALPHABET, k=NUMBER_LENGTH)),
            is_test=person.is_test,
            user=next(users) if _has_account(person) else None,
        )
        for person in persons
    ]
    made = _stored(rows)
    Customer.objects.update(created_at=now - timedelta(days=310))
    return dict(zip(persons, made, strict=True))


def _has_account(person: _Person) -> bool:
    return person.place % 10 < _WITH_ACCOUNT * 10


def _users(persons: list[_Person], now: datetime) -> list[User]:
    nobody_signs_in = make_password(None)
    rows = [
        User(
            username=f"seeded-{person.place}",
            email=f"driver.{person.place}@example.com",
            password=nobody_signs_in,
            date_joined=now - timedelta(days=310),
        )
        for person in persons
    ]
    users = _stored(rows)
    addresses = [
        EmailAddress(user=user, email=user.email, verified=user.pk % 20 > 0, primary=True)
        for user in users
    ]
    _stored(addresses)
    return users


def _link(
    platforms: list[Platform],
    people: dict[int, list[_Person]],
    customers: dict[_Person, Customer],
    rng: Random,
    now: datetime,
) -> None:
    """Streams and links, in the database and on the drivers; and strangers, who have neither."""
    of_driver = [
        (platform, driver, customers[person])
        for place, platform in enumerate(platforms)
        for driver, person in zip(platform.drivers, people[place], strict=True)
    ]
    streams = _stored(
        [
            Stream(work_provider=platform.work_provider, customer=customer)
            for platform, _, customer in of_driver
        ],
    )
    links: list[DriverLink] = []
    owners: list[Driver] = []
    for (_, driver, customer), stream in zip(of_driver, streams, strict=True):
        driver.customer_id, driver.number, driver.stream_id = (
            customer.pk,
            customer.number,
            stream.pk,
        )
        made = _links(stream, driver, rng, now)
        links += made
        owners += [driver] * len(made)
    for link, driver in zip(_stored(links), owners, strict=True):
        driver.links.append(
            timeline.Link(
                link.pk,
                link.linked_at,
                link.unlinked_at,
                link.link_recorded_at,
                link.unlink_recorded_at,
            )
        )
    DriverLink.objects.update(updated_at=now - timedelta(days=1))
    _add_strangers(platforms, list(customers.values()), rng)


def _links(stream: Stream, driver: Driver, rng: Random, now: datetime) -> list[DriverLink]:
    """One, which some have ended; some of these have linked again, under the same driver id."""
    first = began(now)
    if driver.first_day == 0:
        linked_at = first - timedelta(days=rng.uniform(1, 300))
    else:
        linked_at = first + timedelta(days=driver.first_day, hours=rng.uniform(-10, 20))
    ends_at = None
    if driver.last_day < DAYS:
        ends_at = first + timedelta(days=driver.last_day - 1, hours=rng.uniform(17.5, 20.5))
        ends_at = max(ends_at, linked_at + timedelta(hours=1))
    links = [_made_link(stream, driver, linked_at, ends_at, rng)]
    if ends_at is not None and rng.random() < _LINKED_AGAIN:
        again = ends_at + timedelta(days=rng.uniform(0.1, 3))
        if again < now:
            links.append(_made_link(stream, driver, again, None, rng))
    return links


def _made_link(
    stream: Stream,
    driver: Driver,
    linked_at: datetime,
    unlinked_at: datetime | None,
    rng: Random,
) -> DriverLink:
    ended_by = "" if unlinked_at is None else rng.choice(["DRIVER", "DRIVER", "OPS"])
    return DriverLink(
        work_provider=stream.work_provider,
        customer=stream.customer,
        driver_id=driver.driver_id,
        linked_at=linked_at,
        unlinked_at=unlinked_at,
        ended_by=ended_by,
        link_recorded_at=linked_at,
        unlink_recorded_at=unlinked_at,
    )


def _add_strangers(platforms: list[Platform], customers: list[Customer], rng: Random) -> None:
    """Drivers whom no link explains; a customer number among them is somebody's, linked elsewhere."""
    for platform in platforms:
        linked = {driver.customer_id for driver in platform.drivers}
        for number in range(max(1, int(len(platform.drivers) * _STRANGERS))):
            somebody = rng.choice(customers)
            stranger = Driver(f"UNLINKED-{number}", rng.choice(_SHIFTS_A_DRIVER))
            stranger.number = NOBODY if somebody.pk in linked else somebody.number
            platform.drivers.append(stranger)


def _agree(platforms: list[Platform], now: datetime) -> None:
    """Terms of Zego's and of every work provider's; linked customers have agreed to the latter."""
    published_at = now - timedelta(days=399)
    owners = [None, *(platform.work_provider for platform in platforms)]
    rows = [
        Terms(
            work_provider=owner,
            version="2025-09",
            text="Be kind.\n\n" * 20,
            published_at=published_at,
        )
        for owner in owners
    ]
    _, *terms = Terms.objects.bulk_create(rows)
    agreements = (
        Agreement(
            customer_id=driver.customer_id, terms=version, agreed_at=driver.links[0].starts_at
        )
        for platform, version in zip(platforms, terms, strict=True)
        for driver in platform.drivers
        if driver.customer_id is not None
    )
    _stored(list(agreements))


def _stored(rows: list[_Row]) -> list[_Row]:
    made: list[_Row] = []
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS]
        made += type(some[0])._default_manager.bulk_create(some)
    return made


def _one_of(weights: dict[str, int], rng: Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
