"""Search that starts from what the caller says: one box for every kind of id and name.

Each lookup is a few probes of an index; none goes through a hot table. One certain hit leads straight
there, several are told apart.
"""

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from allauth.account.models import EmailAddress
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Lower
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils import timezone

from linking import identifiers
from linking.models import (
    ApiKey,
    Customer,
    DeskAction,
    DriverLink,
    LinkIntent,
    LinkRequest,
    User,
    WorkProvider,
)
from shifts.desk.addresses import address
from shifts.desk.pages import page, show
from shifts.models import (
    EVENTS_PER_SUBMISSION,
    RejectedRequest,
    Shift,
    ShiftEvent,
    ShiftRevision,
    Submission,
    submission_of,
)

LONGEST = 200
_MOST = 20  # hits of one kind
_LONGEST_KEY_ID = 16
_SHORTEST_BEGINNING = 4
_KEY = re.compile(r"\s*zego_(?:live|test)_([0-9A-Za-z]{12})(?:_.*)?\s*", re.ASCII)
_AT = re.compile(r"(?P<driver>.+?)\s*(?:@|\s+at\s+)\s*(?P<provider>.+)", re.IGNORECASE)
_LATELY = timedelta(days=7)

EXAMPLES = [
    ("1686", "a driver id, at whichever work provider"),
    ("1686 at Courier", "a driver id at one of them"),
    ("3AC4 DEFG HJ", "a customer number, in any spelling"),
    ("jo@example.com", "an email address"),
    ("019ab3f2-…", "a request id, a shift, or something that the desk did"),
    ("18000000000123", "an event id"),
    ("9ZqW3eR5tY7u", "an API key's id"),
    ("Courier", "a work provider, or a part of its name"),
]


class Hit(NamedTuple):
    """Something found: what it is, what tells it from the others, and where it is."""

    what: str
    detail: str
    address: str


@page("shifts.view_shift")
def search(request: HttpRequest) -> HttpResponse:
    """The one hit; else all of them, or what to try."""
    asked = request.GET.get("q", "")
    q = readable(asked)
    hits = find(q) if q else []
    if len(hits) == 1:
        return redirect(hits[0].address)
    return show(
        request,
        "desk/search.html",
        title="Search",
        q=hide_secret(q),
        hits=hits,
        examples=EXAMPLES,
        was_cut=len(asked.strip()) > LONGEST,
        may_be_more=len(hits) >= _MOST,
    )


def readable(text: str) -> str:
    """What was asked, trimmed as identifiers are, and without what no id or name has."""
    try:
        return identifiers.clean(text[: LONGEST * 2])[:LONGEST]
    except ValueError:
        kept = "".join(c for c in text if c.isprintable()).strip()
        return kept[:LONGEST]


def hide_secret(q: str) -> str:
    """The same, but for the secret of a whole API key."""
    key = _KEY.fullmatch(q)
    return f"the key {key[1]}" if key else q


def find(q: str) -> list[Hit]:
    """Everything that goes by `q`; what only resembles it, where nothing does."""
    return _unlike(_EXACT, q) or _unlike(_ALIKE, q)


def _unlike(lookups: Iterable[Callable[[str], Iterable[Hit]]], q: str) -> list[Hit]:
    """The hits of several lookups, each address once."""
    found: dict[str, Hit] = {}
    for lookup in lookups:
        for hit in lookup(q):
            found.setdefault(hit.address, hit)
    return list(found.values())


class DriverHit(NamedTuple):
    """A driver id at one work provider, and its links of any time, the latest first."""

    driver_id: str
    work_provider: WorkProvider
    links: list[DriverLink]


def drivers(driver_id: str, provider_ids: Iterable[int] | None = None) -> Iterator[DriverHit]:
    """A driver id at each work provider that knows it: by links of any time, or by waiting events."""
    providers = WorkProvider.objects.all()
    if provider_ids is not None:
        providers = providers.filter(pk__in=provider_ids)
    knowing = list(providers.filter(_knows(driver_id)).order_by(Lower("name"))[:_MOST])
    links: dict[int, list[DriverLink]] = {}
    linked = DriverLink.objects.filter(work_provider__in=knowing, driver_id=driver_id)
    for link in linked.select_related("customer").order_by("-linked_at"):
        links.setdefault(link.work_provider_id, []).append(link)
    for provider in knowing:
        yield DriverHit(driver_id, provider, links.get(provider.pk, []))


def _knows(driver_id: str) -> Q:
    """Of a work provider: that it has links, waiting events or agreements under a driver id."""
    here = {"work_provider": OuterRef("pk"), "driver_id": driver_id}
    return Q(
        Exists(DriverLink.objects.filter(**here))
        | Exists(ShiftEvent.objects.filter(**here, stream__isnull=True))
        | Exists(LinkRequest.objects.filter(**here))
    )


def drivers_at(text: str) -> Iterator[DriverHit]:
    """`1686 at Courier`, `1686@Courier`: at every work provider with that in its name."""
    parts = _AT.fullmatch(text)
    if parts is None or len(parts["driver"]) > identifiers.MAX_LENGTH:
        return
    named = WorkProvider.objects.filter(name__icontains=parts["provider"])
    ids = list(named.values_list("pk", flat=True))
    if ids:
        yield from drivers(parts["driver"], ids)


def told(hit: DriverHit) -> Hit:
    """The same as a line of the list."""
    driver_id, provider, every = hit
    links = [link for link in every if link.unlinked_at != link.linked_at]
    what = f"Driver {driver_id} at {provider.name}"
    there = address("driver", provider.pk, driver_id)
    customers = {link.customer_id: link.customer for link in links}
    if not links:
        return Hit(what, "not linked; its events wait", there)
    if len(customers) > 1:
        return Hit(what, f"linked to {len(customers)} customers, one after the other", there)
    link = links[0]
    until = f" until {link.unlinked_at:%Y-%m-%d}" if link.unlinked_at else ""
    return Hit(
        what, f"customer {link.customer.number}, since {link.linked_at:%Y-%m-%d}{until}", there
    )


# Lookups of what goes by exactly that


def _by_driver(q: str) -> Iterable[Hit]:
    return map(told, drivers(q)) if len(q) <= identifiers.MAX_LENGTH else ()


def _by_driver_at(q: str) -> Iterable[Hit]:
    return map(told, drivers_at(q))


def number_in(text: str) -> str:
    """A customer number as it is stored, from how somebody reads or writes it; "" for none."""
    number = re.sub(r"[\s\-.]", "", text).upper()
    is_number = number.isascii() and number.isalnum() and len(number) <= identifiers.MAX_LENGTH
    return number if is_number else ""


def _by_number(q: str) -> Iterator[Hit]:
    number = number_in(q)
    if number:
        yield from map(_customer_hit, _customers(number=number))


def _customers(**where: str) -> Iterable[Customer]:
    return Customer.objects.filter(**where).select_related("user").order_by("number")[:_MOST]


def _customer_hit(customer: Customer) -> Hit:
    email = customer.user.email if customer.user else ""
    detail = email or ("erased" if customer.erased_at else "without an account")
    return Hit(f"Customer {customer.number}", detail, address("customer", customer.pk))


def _by_email(q: str) -> Iterator[Hit]:
    if "@" not in q:
        return
    email = q.lower()
    of_address = EmailAddress.objects.filter(email=email).values_list("user", flat=True)[:_MOST]
    named = User.objects.filter(Q(email=email) | Q(pk__in=list(of_address)))
    for user in named.select_related("customer").order_by("pk")[:_MOST]:
        customer = getattr(user, "customer", None)
        if customer is not None:
            yield Hit(f"Customer {customer.number}", email, address("customer", customer.pk))
        else:
            there = reverse("admin:linking_user_change", args=[user.pk])
            yield Hit(f"Account {email}", "staff" if user.is_staff else "no customer yet", there)


def _by_uuid(q: str) -> Iterator[Hit]:
    try:
        wanted = uuid.UUID(q)
    except ValueError:
        return
    for lookup in (_requests, _rejected, _shifts, _actions):
        yield from lookup(wanted)


def _requests(wanted: uuid.UUID) -> Iterator[Hit]:
    rows = Submission.objects.filter(request_id=wanted).defer("body")
    for row in rows.select_related("work_provider"):
        detail = f"{row.kind} of {row.work_provider.name}, {row.received_at:%Y-%m-%d %H:%M} UTC"
        yield Hit("Request", detail, address("submission", row.request_id))


def _rejected(wanted: uuid.UUID) -> Iterator[Hit]:
    for row in RejectedRequest.objects.filter(request_id=wanted).select_related("work_provider"):
        owner = row.work_provider.name if row.work_provider else "an unknown sender"
        detail = f"{row.status} {row.code}, {owner}, {row.received_at:%Y-%m-%d %H:%M} UTC"
        yield Hit("Rejected request", detail, address("rejected", request_id=wanted))


def _shifts(wanted: uuid.UUID) -> Iterator[Hit]:
    there = address("shift", wanted)
    for shift in Shift.objects.filter(pk=wanted).select_related("stream__work_provider"):
        yield Hit("Shift", _since(shift.started_at, shift.stream.work_provider), there)
        return
    gone = ShiftRevision.objects.filter(shift_id=wanted).select_related("stream__work_provider")
    for revision in gone.order_by("-pk")[:1]:
        when = _since(revision.old_started_at, revision.stream.work_provider)
        yield Hit("Shift that was removed", when, there)


def _since(at: datetime, provider: WorkProvider) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC, {provider.name}"


def _actions(wanted: uuid.UUID) -> Iterator[Hit]:
    for action in DeskAction.objects.filter(pk=wanted).select_related("actor"):
        done = f"{action.actor.email or action.actor.username} {action.get_kind_display()}"
        yield Hit("Action of the desk", done, address("action", action.pk))


def _by_event(q: str) -> Iterator[Hit]:
    if not (q.isascii() and q.isdigit() and EVENTS_PER_SUBMISSION <= int(q) < 2**63):
        return
    for event in ShiftEvent.objects.filter(pk=int(q)).select_related("work_provider"):
        submission = Submission.objects.filter(pk=submission_of(event.pk)).defer("body").first()
        if submission is not None:
            there = address("submission", submission.request_id, event=q) + f"#event-{q}"
            at = f"{event.timestamp:%Y-%m-%d %H:%M} UTC"
            yield Hit(f"Event {q}", f"{event.kind} at {at}, {event.work_provider.name}", there)


def _by_key(q: str) -> Iterator[Hit]:
    """Its id, or a whole key, of which only the id is looked at."""
    whole = _KEY.fullmatch(q)
    key_id = whole[1] if whole else q
    if len(key_id) <= _LONGEST_KEY_ID:
        for row in ApiKey.objects.filter(key_id=key_id).select_related("work_provider"):
            what = f"API key {row.key_id}"
            detail = f"{row.work_provider.name}, {row.label or 'without a label'}"
            yield Hit(what, detail, address("key", row.pk))


def _by_name(q: str) -> Iterator[Hit]:
    for row in WorkProvider.objects.filter(name__iexact=q):
        yield _provider_hit(row)


def _provider_hit(row: WorkProvider) -> Hit:
    detail = "sandbox" if row.is_test else ("active" if row.is_active else "not active")
    return Hit(f"Work provider {row.name}", detail, address("work-provider", row.pk))


# Lookups of what resembles it


def _by_part_of_name(q: str) -> Iterator[Hit]:
    rows = WorkProvider.objects.filter(name__icontains=q).order_by("name")
    yield from map(_provider_hit, rows[:_MOST])


def _by_beginning(q: str) -> Iterator[Hit]:
    number = number_in(q)
    if len(number) >= _SHORTEST_BEGINNING:
        yield from map(_customer_hit, _customers(number__startswith=number))


def _by_intent(q: str) -> Iterator[Hit]:
    """Somebody who opened a work provider's link with this email, and has not agreed."""
    if "@" not in q:
        return
    opened = LinkIntent.objects.filter(
        email=q.lower(), created_at__gte=timezone.now() - _LATELY, agreed_at__isnull=True
    )
    for intent in opened.select_related("work_provider").order_by("-created_at")[:_MOST]:
        what = f"Opened the link of {intent.work_provider.name}, and did not agree"
        detail = f"as driver id {intent.driver_id}, {intent.created_at:%Y-%m-%d %H:%M} UTC"
        yield Hit(what, detail, address("driver", intent.work_provider_id, intent.driver_id))


_EXACT: list[Callable[[str], Iterable[Hit]]] = [
    _by_driver,
    _by_number,
    _by_email,
    _by_uuid,
    _by_event,
    _by_key,
    _by_name,
    _by_driver_at,
]
_ALIKE: list[Callable[[str], Iterable[Hit]]] = [_by_intent, _by_part_of_name, _by_beginning]

urlpatterns = [path("search/", search, name="search")]
