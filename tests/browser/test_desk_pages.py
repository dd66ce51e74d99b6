"""Every page of the desk, on each screen: no barriers, nothing cut off, and a picture."""

from collections.abc import Callable

import pytest

from tests.browser.clerk import Clerk
from tests.browser.visitors import DESKTOP, MOBILE, SCREENS, Screen, Visitors
from tests.running import Service
from tests.story import COURIER, LONG, MEALS, TAXI

pytestmark = pytest.mark.browser

ADMIN, READER = "admin@zego.example", "reader@zego.example"
every_screen = pytest.mark.parametrize("screen", SCREENS, ids=str)
LISTS = (
    "pending failed held not-linked open auto-closed silent clock waiting-links taken shortened"
    " orphans"
).split()


class Ids:
    """What the pages of the story are about."""

    def __init__(self, desk: Service) -> None:
        def one(statement: str, *parameters: object) -> object:
            return desk.query(statement, *parameters)[0][0]

        provider = "SELECT id FROM linking_workprovider WHERE name = %s"
        self.courier, self.meals = one(provider, COURIER), one(provider, MEALS)
        self.taxi, self.long = one(provider, TAXI), one(provider, LONG)
        shift = """
            SELECT shift.id FROM shifts_shift AS shift JOIN linking_driverlink AS link
              ON link.id = shift.link_id WHERE link.driver_id = %s ORDER BY started_at DESC
        """
        self.auto_closed, self.ended_by_ops = one(shift, "1687"), one(shift, "1688")
        customer = "SELECT customer_id FROM linking_driverlink WHERE driver_id = %s"
        self.customer, self.of_two = one(customer, "1686"), one(customer, "1704")
        self.stream = one("SELECT id FROM shifts_stream WHERE customer_id = %s", self.customer)
        self.failed = one("SELECT request_id FROM shifts_submission WHERE failed_at IS NOT NULL")
        self.leaked = one("SELECT id FROM linking_apikey WHERE label = 'old server'")
        self.action = one("SELECT id FROM linking_deskaction WHERE kind = 'ADD_EVENT'")
        self.request = one("SELECT id FROM linking_linkrequest WHERE state = 'WAITING'")
        self.logout = one(
            "SELECT timestamp FROM shifts_shiftevent WHERE stream_id = %s AND outcome = 'ORPHAN'",
            self.stream,
        )


def pages(ids: Ids) -> dict[str, str]:
    """Names of pictures, and paths under /admin/desk/."""
    return {
        "search": "search/",
        "search-several": "search/?q=e",
        "search-nothing": "search/?q=nobody",
        "customer": f"customer/{ids.customer}/",
        "customer-of-two": f"customer/{ids.of_two}/",
        "driver-held": f"driver/{ids.courier}/2001/",
        "shift-auto-closed": f"shift/{ids.auto_closed}/",
        "shift-ended-by-the-desk": f"shift/{ids.ended_by_ops}/",
        "submission-failed": f"submission/{ids.failed}/",
        "cover": "cover/",
        "cover-answer": f"cover/?customer=1686&work_provider={ids.courier}&at=2026-01-01+12:00Z",
        "on-shift": "on-shift/",
        **{f"list-{name}": f"list/{name}/" for name in LISTS},
        "add-event": f"add-event/?customer={ids.customer}&work_provider={ids.courier}&kind=login",
        "withdraw": f"withdraw/?stream={ids.stream}&kind=logout&at={ids.logout:%Y-%m-%dT%H:%M:%SZ}",
        "retry": f"retry/{ids.failed}/",
        "discard": f"discard/{ids.failed}/",
        "confirm-link": f"confirm-link/{ids.request}/",
        "refuse-link": f"refuse-link/{ids.request}/",
        "make-link": f"make-link/?work_provider={ids.courier}&driver_id=2001",
        "close-out": f"close-out/?work_provider={ids.meals}",
        "strike": f"strike/?key={ids.leaked}",
        "reread": f"reread/?work_provider={ids.taxi}",
        "work-providers": "work-providers/",
        "work-provider": f"work-providers/{ids.courier}/",
        "work-provider-of-a-long-name": f"work-providers/{ids.long}/",
        "work-provider-new": "work-providers/add/",
        "work-provider-change": f"work-providers/{ids.courier}/change/",
        "key": f"keys/{ids.leaked}/",
        "key-issue": f"work-providers/{ids.courier}/issue-key/",
        "key-roll": f"keys/{ids.leaked}/roll/",
        "key-revoke": f"keys/{ids.leaked}/revoke/",
        "partner": f"work-providers/{ids.courier}/partner/",
        "rejected": "rejected/",
        "reports": "reports/",
        "actions": "actions/",
        "action": f"actions/{ids.action}/",
    }


@every_screen
def test_every_page_of_the_desk(staff_room: Visitors, desk: Service, screen: Screen) -> None:
    clerk = Clerk(staff_room.arrive(screen))
    clerk.sits_down(ADMIN)
    clerk.looks("desk-front")
    for name, path in pages(Ids(desk)).items():
        answer = clerk.page.goto(f"/admin/desk/{path}")
        assert answer is not None
        assert answer.status == 200, path
        clerk.looks(f"desk-{name}")


@pytest.mark.parametrize("screen", [DESKTOP, MOBILE.at_night], ids=str)
def test_what_a_mending_would_change(staff_room: Visitors, desk: Service, screen: Screen) -> None:
    ids = Ids(desk)
    clerk = Clerk(staff_room.arrive(screen))
    clerk.sits_down(ADMIN)
    steps: list[tuple[str, str, Callable[[], None]]] = [
        (
            "add-event",
            f"add-event/?customer={ids.customer}&work_provider={ids.courier}&kind=login",
            lambda: clerk.fills("When it was", f"{ids.logout:%Y-%m-%d} 18:00Z"),
        ),
        (
            "withdraw",
            f"withdraw/?stream={ids.stream}&kind=logout&at={ids.logout:%Y-%m-%dT%H:%M:%SZ}",
            lambda: None,
        ),
        ("confirm-link", f"confirm-link/{ids.request}/", lambda: None),
    ]
    for name, path, fill in steps:
        clerk.page.goto(f"/admin/desk/{path}")
        clerk.presses("Show what would change")
        clerk.looks(f"desk-{name}-refused")
        fill()
        clerk.fills("Reason", "The driver's screenshots show it.")
        clerk.presses("Show what would change")
        clerk.looks(f"desk-{name}-preview")


@pytest.mark.parametrize("screen", [DESKTOP, MOBILE.at_night], ids=str)
def test_who_may_not(staff_room: Visitors, desk: Service, screen: Screen) -> None:
    staff_room.expect(403)
    clerk = Clerk(staff_room.arrive(screen))
    clerk.sits_down(READER)
    clerk.page.goto(f"/admin/desk/close-out/?work_provider={Ids(desk).meals}")
    clerk.reads("Your account may not do this.")
    clerk.looks("desk-forbidden")


@every_screen
def test_tables_and_forms_of_the_admin(staff_room: Visitors, desk: Service, screen: Screen) -> None:
    clerk = Clerk(staff_room.arrive(screen))
    clerk.sits_down(ADMIN)
    for name in ("shifts/shiftevent", "shifts/submission", "linking/driverlink", "linking/terms"):
        clerk.page.goto(f"/admin/{name}/")
        clerk.looks(f"admin-{name.replace('/', '-')}")
    clerk.page.goto("/admin/linking/terms/add/")
    clerk.looks("admin-terms-add")
