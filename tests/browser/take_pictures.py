"""`make pictures`: the pictures of docs/ops.md, taken of the story's week (tests/story.py)."""

import os
from pathlib import Path

import requests

from tests.browser.clerk import Clerk
from tests.browser.test_desk import ADMIN, day
from tests.browser.test_desk_pages import Ids
from tests.browser.visitors import Screen, Visitors
from tests.running import Service, wait_until
from tests.story import COURIER

SIZE = Screen(1280, 860)


def test_take_pictures(staff_room: Visitors, desk: Service, desk_key: str) -> None:
    """Not collected with the tests: it is asked for by name."""
    directory = Path(os.environ["ZEGO_PICTURES"])
    directory.mkdir(parents=True, exist_ok=True)
    ids = Ids(desk)
    clerk = Clerk(staff_room.arrive(SIZE))
    clerk.sits_down(ADMIN)

    def take(name: str, path: str = "") -> None:
        if path:
            clerk.page.goto(f"/admin/{path}")
        clerk.page.screenshot(
            path=directory / f"{name}.jpg", type="jpeg", quality=80, animations="disabled"
        )

    figures = "SELECT 1 FROM shifts_hourfigures WHERE digested > 0"
    wait_until(lambda: desk.query(figures), within=60, what="the figures")
    take("front", "")
    clerk.page.reload()
    take("front")
    take("customer", f"desk/customer/{ids.customer}/")
    take("shift", f"desk/shift/{ids.ended_by_ops}/")
    take("cover", f"desk/cover/?customer=1686&work_provider={ids.courier}&at={day(8)}+22:10")
    take("work-provider", f"desk/work-providers/{ids.courier}/")
    for body in (
        '{"driverId": "1686", "timestamp": "21/11/2026 18:30"}',
        '{"driverId": "1686", "policyId": "1", "timestamp": "2026-11-21T18:30:00Z"}',
    ):
        requests.post(
            f"{desk.url}/v1/shift/login/",
            data=body,
            headers={"Authorization": desk_key},
            timeout=30,
        )
    refused = "SELECT count(*) >= 2 FROM shifts_rejectedrequest"
    wait_until(lambda: desk.query(refused) == [(True,)], what="the record of what was refused")
    take("rejected", f"desk/rejected/?work_provider={ids.courier}")
    take("reports", f"desk/reports/?kind=shifts&since={day(7)}&until={day(0)}")

    clerk.page.goto(
        f"/admin/desk/add-event/?customer={ids.customer}&work_provider={ids.courier}&kind=login"
    )
    clerk.fills("When it was", f"{day(1)} 17:30")
    clerk.fills("Reason", f"{COURIER}'s log of yesterday shows the login.")
    clerk.presses("Show what would change")
    take("preview")
    clerk.page.goto(f"/admin/desk/close-out/?work_provider={ids.meals}")
    clerk.fills("Log everybody out at", f"{day(1)} 18:30")
    clerk.fills("Reason", "Their system was down from 18:00 to 20:00.")
    clerk.presses("Show what it would do")
    take("close-out")
