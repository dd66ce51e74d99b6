"""A whole city at once: ten thousand events in one request, and in ten thousand."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import requests
from django.utils import timezone

from linking.models import Customer, DriverLink, new_customer_number
from shifts.models import Shift, ShiftEvent
from tests.shifts.live import Live

COUNT = 10_000
CONNECTIONS = 8

pytestmark = pytest.mark.slow


@pytest.fixture
def city(live: Live) -> Live:
    """A work provider with COUNT linked drivers, "0" to "9999"."""
    customers = Customer.objects.bulk_create(
        Customer(number=new_customer_number()) for _ in range(COUNT)
    )
    linked_at = timezone.now() - timedelta(days=1)
    DriverLink.objects.bulk_create(
        DriverLink(
            work_provider=live.work_provider,
            customer=customer,
            driver_id=str(number),
            linked_at=linked_at,
        )
        for number, customer in enumerate(customers)
    )
    return live


def open_shifts(city: Live) -> int:
    return Shift.objects.filter(link__work_provider=city.work_provider, ended_at=None).count()


def test_a_batch_of_ten_thousand_is_accepted_in_one_request_and_is_all_shifts_soon(
    city: Live,
) -> None:
    now = timezone.now().isoformat()
    events = [{"driverId": str(number), "timestamp": now} for number in range(COUNT)]
    assert city.post("batch/login", events).status_code == 202
    city.wait()
    assert open_shifts(city) == COUNT
    assert city.post("batch/logout", events[:10]).status_code == 202
    city.wait()
    assert open_shifts(city) == COUNT - 10


def test_ten_thousand_single_requests_are_all_shifts_soon(city: Live) -> None:
    url = f"{city.service.url}/v1/shift/login/"
    now = timezone.now().isoformat()

    def post(numbers: Iterable[int]) -> set[int]:
        with requests.Session() as session:
            session.headers["Authorization"] = city.key
            return {
                session.post(
                    url, json={"driverId": str(number), "timestamp": now}, timeout=30
                ).status_code
                for number in numbers
            }

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        parts = [range(first, COUNT, CONNECTIONS) for first in range(CONNECTIONS)]
        assert set().union(*pool.map(post, parts)) == {202}
    city.wait()
    assert open_shifts(city) == COUNT
    outcomes = ShiftEvent.objects.filter(work_provider=city.work_provider)
    assert set(outcomes.values_list("outcome", flat=True)) == {"APPLIED"}
