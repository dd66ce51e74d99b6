"""Terms and agreements: which version stands, what a customer has still to agree to."""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Q

from linking.models import Agreement, Customer, DriverLink, Terms, WorkProvider


def current(owners: Iterable[WorkProvider | None], now: datetime) -> list[Terms]:
    """The newest published terms of each owner that has any; None is Zego, and comes first."""
    providers = [owner.pk for owner in owners if owner is not None]
    published = Terms.objects.filter(
        Q(work_provider__in=providers) | Q(work_provider__isnull=True), published_at__lte=now
    ).select_related("work_provider")
    newest: dict[int | None, Terms] = {}
    for terms in published.order_by("published_at", "pk"):
        newest[terms.work_provider_id] = terms
    return [newest[owner] for owner in [None, *providers] if owner in newest]


def open_for(
    customer: Customer | None, owners: Iterable[WorkProvider | None], now: datetime
) -> list[Terms]:
    """Those of `current` that the customer has not agreed to."""
    agreed = set(
        Agreement.objects.filter(customer=customer).values_list("terms_id", flat=True)
        if customer
        else ()
    )
    return [terms for terms in current(owners, now) if terms.pk not in agreed]


def changed_for(customer: Customer, now: datetime) -> list[Terms]:
    """New versions of terms that the customer agreed to before, of whom they are linked to still."""
    links = DriverLink.objects.not_ended(now).filter(customer=customer)
    linked = WorkProvider.objects.filter(pk__in=links.values("work_provider"))
    before = Terms.objects.filter(agreements__customer=customer)
    owners = set(before.values_list("work_provider_id", flat=True))
    return [terms for terms in open_for(customer, linked, now) if terms.work_provider_id in owners]


def agree(customer: Customer, terms: Iterable[Terms], now: datetime) -> None:
    """Put on record that the customer agreed; what was agreed before keeps its instant."""
    Agreement.objects.bulk_create(
        [Agreement(customer=customer, terms=each, agreed_at=now) for each in terms],
        ignore_conflicts=True,
    )
