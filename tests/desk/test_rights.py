"""Who may do what: every page of the desk and every table, for everybody from a stranger to an admin."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, connection, models, transaction
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from linking import desk, keys, tokens
from linking.models import (
    ApiKey,
    Customer,
    DeskAction,
    DriverLink,
    LinkRequest,
    LinkSecret,
    Terms,
    User,
    WorkProvider,
)
from shifts.desk.urls import urlpatterns
from shifts.models import Shift, ShiftRevision, Submission
from tests import factories
from tests.desk import rights
from tests.desk.test_admin import TABLES, names, path, some_row
from zego_api.ids import uuid7

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
READER, OPS, ADMIN = rights.READER, rights.OPS, rights.ADMIN
RANKS = {"staff without a group": 0, READER: 1, OPS: 2, ADMIN: 3}


@dataclass
class World:
    """One row of each kind that a page is about."""

    courier: WorkProvider = field(
        default_factory=lambda: factories.work_provider(name="Courier Ltd")
    )

    def __post_init__(self) -> None:
        self.link: DriverLink = factories.link(self.courier, "1686")
        self.customer: Customer = self.link.customer
        self.shift: Shift = factories.shift(self.courier, NOW - timedelta(hours=3), link=self.link)
        self.key: ApiKey = keys.issue(self.courier)[0]
        self.secret: LinkSecret = tokens.issue_secret(self.courier)[0]
        self.failed = self.submission()
        self.action = self.act()
        self.request = LinkRequest.objects.create(
            work_provider=self.courier,
            customer=factories.customer(),
            driver_id="77",
            agreed_at=NOW,
        )
        self.revision = ShiftRevision.objects.create(
            shift_id=self.shift.pk,
            stream=self.shift.stream,
            change="AMENDED",
            cause="EVENT",
            old_started_at=NOW,
            shortens_cover=True,
            created_at=NOW,
        )

    def submission(self) -> Submission:
        return Submission.objects.create(
            request_id=uuid7(),
            work_provider=self.courier,
            api_key=self.key,
            kind="login",
            is_batch=False,
            body=b'{"driverId": "1686", "timestamp": "2026-11-22T09:00:00Z"}',
            timezone="UTC",
            event_count=1,
            received_at=NOW,
            failed_at=NOW,
            failure="It broke.",
        )

    def act(self) -> DeskAction:
        return desk.record(
            DeskAction.Kind.DISCARD,
            actor=rights.member(),
            reason="Why.",
            now=NOW,
            work_provider=self.courier,
            details={"request_id": str(self.failed.request_id)},
        )


@dataclass(frozen=True)
class Page:
    """Who may see a page at least, and what it is about."""

    who: str
    args: Callable[[World], list[Any]] = lambda world: []
    query: Callable[[World], dict[str, Any]] = lambda world: {}


def at(name: str) -> Callable[[World], list[Any]]:
    """The page of one row."""
    first, _, rest = name.partition(".")
    return lambda world: [getattr(getattr(world, first), rest or "pk")]


def about(**rows: str) -> Callable[[World], dict[str, Any]]:
    return lambda world: {name: getattr(world, row).pk for name, row in rows.items()}


# Every page there is: one that is added without a word about who may see it fails below.
PAGES = {
    "search": Page(READER, query=lambda world: {"q": "nobody"}),
    "list": Page(READER, lambda world: ["held"]),
    "customer": Page(READER, at("customer")),
    "driver": Page(READER, lambda world: [world.courier.pk, "unlinked"]),
    "shift": Page(READER, at("shift")),
    "on-shift": Page(READER),
    "submission": Page(READER, at("failed.request_id")),
    "cover": Page(READER),
    "reports": Page(READER),
    "report-csv": Page(
        READER, query=lambda world: {"kind": "shifts", "since": "2026-11-01", "until": "2026-11-02"}
    ),
    "work-providers": Page(READER),
    "work-provider": Page(READER, at("courier")),
    "partner": Page(READER, at("courier")),
    "partner-text": Page(READER, at("courier")),
    "key": Page(READER, at("key")),
    "shown-once": Page(READER),
    "rejected": Page(READER),
    "actions": Page(READER),
    "action": Page(READER, at("action")),
    "add-event": Page(OPS, query=about(customer="customer", work_provider="courier")),
    "withdraw": Page(
        OPS,
        query=lambda world: {
            "stream": world.shift.stream_id,
            "kind": "login",
            "at": world.shift.started_at.isoformat(),
        },
    ),
    "undo": Page(OPS, at("action")),
    "end-shift": Page(OPS, at("shift")),
    "replay": Page(OPS, query=lambda world: {"work_provider": world.courier.pk, "driver_id": "7"}),
    "retry": Page(OPS, at("failed.request_id")),
    "discard": Page(OPS, at("failed.request_id")),
    "confirm-link": Page(OPS, at("request")),
    "refuse-link": Page(OPS, at("request")),
    "make-link": Page(OPS, query=about(customer="customer", work_provider="courier")),
    "end-link": Page(OPS, at("link")),
    "seen": Page(OPS, query=lambda world: {"kind": "REVISION", "target": world.revision.pk}),
    "close-out": Page(OPS, query=about(work_provider="courier")),
    "strike": Page(OPS, query=about(key="key")),
    "reread": Page(OPS, query=about(work_provider="courier")),
    "issue-key": Page(OPS, at("courier")),
    "roll-key": Page(OPS, at("key")),
    "revoke-key": Page(OPS, at("key")),
    "add-work-provider": Page(ADMIN),
    "change-work-provider": Page(ADMIN, at("courier")),
    "issue-link-secret": Page(ADMIN, at("courier")),
    "revoke-link-secret": Page(ADMIN, at("secret")),
}


def address_of(name: str, world: World) -> str:
    """With the query that the page's own form is sent back to; the front page has no name."""
    if not name:
        return reverse("admin:index")
    page = PAGES[name]
    return f"{reverse(f'desk:{name}', args=page.args(world))}?{urlencode(page.query(world))}"


@pytest.fixture
def world(db: None) -> World:
    return World()


def signed_in(user: User | None) -> Client:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client


def by_rank(name: str) -> User:
    return rights.member("" if name == "staff without a group" else name)


def test_it_is_said_of_every_page_who_may_see_it() -> None:
    there_are = {pattern.name for pattern in urlpatterns}
    assert None not in there_are
    assert there_are == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_for_whom_it_is_for(world: World, name: str) -> None:
    """To look at, and to send a form to."""
    page, address = PAGES[name], address_of(name, world)
    for who, rank in RANKS.items():
        client = signed_in(by_rank(who))
        shown, sent = client.get(address), client.post(address, page.query(world))
        if rank < RANKS[page.who]:
            assert (shown.status_code, sent.status_code) == (403, 403), who
            assert "may not do this" in shown.content.decode()
        else:
            assert shown.status_code == 200, who
            assert sent.status_code in (200, 405), who
    assert DeskAction.objects.count() == 1


@pytest.mark.parametrize("name", [*PAGES, ""])
def test_a_page_is_not_for_strangers_and_drivers(world: World, name: str) -> None:
    address = address_of(name, world)
    driver, stranger = signed_in(factories.driver()), Client()
    for method in ("get", "post"):
        assert getattr(driver, method)(address, follow=True).status_code == 403
        answer = getattr(stranger, method)(address, follow=True)
        assert answer.redirect_chain[-1][0].startswith("/account/login/?next=")
    gone = rights.member(ADMIN)
    client = signed_in(gone)
    gone.is_staff = False
    gone.save()
    assert client.get(address, follow=True).status_code == 403


@pytest.mark.parametrize("who", RANKS)
def test_the_front_page_is_for_readers(db: None, who: str) -> None:
    answer = signed_in(by_rank(who)).get("/admin/")
    assert answer.status_code == (200 if RANKS[who] else 403)


# The second factor


@pytest.mark.parametrize("name", [*PAGES, ""])
def test_a_second_factor_is_asked_for(world: World, settings: Settings, name: str) -> None:
    settings.STAFF_NEED_TWO_FACTOR = True
    user = rights.member(ADMIN)
    client = signed_in(user)
    address = address_of(name, world)
    for answer in (client.get(address), client.post(address)):
        assert (answer.status_code, answer["Location"]) == (302, reverse("mfa_index"))
    Authenticator.objects.create(user=user, type="totp", data={"secret": "x"})
    assert client.get(address).status_code == 200


@pytest.mark.parametrize("model", TABLES, ids=names(TABLES))
def test_a_second_factor_is_asked_for_by_the_tables(
    db: None, settings: Settings, model: type[models.Model]
) -> None:
    settings.STAFF_NEED_TWO_FACTOR = True
    client = signed_in(rights.member(is_superuser=True))
    assert client.get(path(model, "changelist"))["Location"] == reverse("mfa_index")


# The tables

NOT_OURS = {Group: ADMIN, LogEntry: ADMIN}
WRITERS = {User: ADMIN, Customer: ADMIN, Terms: ADMIN}
CHANGERS = {User: ADMIN, Customer: ADMIN, Group: ADMIN}


@pytest.mark.parametrize("model", TABLES, ids=names(TABLES))
def test_a_table_is_for_whom_it_is_for(db: None, model: type[models.Model]) -> None:
    row = some_row(model)
    may = {
        "view": RANKS[NOT_OURS.get(model, READER)],
        "add": RANKS.get(WRITERS.get(model, ""), 9),
        "change": RANKS.get(CHANGERS.get(model, ""), 9),
    }
    for who, rank in RANKS.items():
        client = signed_in(by_rank(who))

        def status(page: str, *args: object, sent: bool = False, client: Client = client) -> int:
            ask = client.post if sent else client.get
            return ask(path(model, page, *args)).status_code

        sees, adds, changes = (rank >= may[each] for each in ("view", "add", "change"))
        assert status("changelist") == (200 if sees else 403), who
        assert status("change", row.pk) == (200 if sees else 403), who
        assert status("change", row.pk, sent=True) == (200 if changes else 403), who
        assert status("add") == (200 if adds else 403), who
        assert status("add", sent=True) == (200 if adds else 403), who
        assert status("delete", row.pk) == 403, who
        assert status("delete", row.pk, sent=True) == 403, who
    assert model._default_manager.filter(pk=row.pk).exists()


@pytest.mark.parametrize("model", TABLES, ids=names(TABLES))
def test_a_table_is_not_for_strangers_and_drivers(db: None, model: type[models.Model]) -> None:
    address = path(model, "changelist")
    assert signed_in(factories.driver()).get(address, follow=True).status_code == 403
    answer = Client().get(address, follow=True)
    assert answer.redirect_chain[-1][0].startswith("/account/login/?next=")


# The groups


def held(name: str) -> set[str]:
    permissions = rights.group(name).permissions.values_list("content_type__app_label", "codename")
    return {f"{app}.{codename}" for app, codename in permissions}


def test_each_group_may_what_it_is_for_and_all_that_the_lesser_may(db: None) -> None:
    ours = Permission.objects.filter(
        content_type__app_label__in=("linking", "shifts", "zego_api"),
        codename__startswith="view_",
    )
    reader, ops, boss = held(READER), held(OPS), held(ADMIN)
    assert len(reader) == ours.count() > 20
    assert "linking.view_deskaction" in reader
    assert ops - reader == {
        "linking.mend",
        "linking.mend_in_bulk",
        "linking.add_apikey",
        "linking.change_apikey",
    }
    assert boss - ops == {
        *(f"linking.{verb}_workprovider" for verb in ("add", "change")),
        *(f"linking.{verb}_linksecret" for verb in ("add", "change")),
        *(f"linking.{verb}_terms" for verb in ("add", "change")),
        *(f"linking.{verb}_customer" for verb in ("add", "change")),
        *(f"linking.{verb}_user" for verb in ("add", "change")),
        "auth.view_group",
        "auth.change_group",
        "admin.view_logentry",
    }
    assert reader < ops < boss
    assert not [each for each in boss if ".delete_" in each]


@pytest.mark.django_db(transaction=True)
def test_the_migration_goes_back_and_forth() -> None:
    """Groups and locks go and come again, and whoever was made meanwhile is not in the way."""
    state = {name: held(name) for name in (READER, OPS, ADMIN)}
    try:
        MigrationExecutor(connection).migrate([("shifts", "0002_desk")])
        assert not Group.objects.filter(name__in=state).exists()
        assert locks() == []
        Group.objects.create(name=OPS)
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(executor.loader.graph.leaf_nodes())
    assert {name: held(name) for name in state} == state
    assert len(locks()) == 3


def locks() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid"
            " WHERE proname = 'zego_log_stays'"
        )
        return [name for [name] in cursor]


# The audit log


@pytest.fixture
def action(db: None) -> DeskAction:
    return desk.record(
        DeskAction.Kind.CLOSE_OUT,
        actor=rights.member(),
        reason="Why.",
        now=NOW,
        work_provider=factories.work_provider(),
        in_background=True,
    )


def refused(sql: str) -> bool:
    """Whether the database itself refuses this, and says so kindly."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql)
    except DatabaseError as error:
        return "The audit log stays as it was written" in str(error)
    return False


@pytest.mark.parametrize("column", [each.column for each in DeskAction._meta.concrete_fields])
def test_no_column_of_an_action_is_changed_by_sql(action: DeskAction, column: str) -> None:
    """But for when it was finished."""
    other = {
        "id": "gen_random_uuid()",
        "details": "'{\"at\": 1}'",
        "actor_id": "actor_id + 1",
        "work_provider_id": "NULL",
        "customer_id": "1",
        "undoes_id": "id",
        "created_at": "now()",
        "finished_at": "now()",
    }.get(column, "'x'")
    statement = f"UPDATE linking_deskaction SET {column} = {other}"
    assert refused(statement) is (column != "finished_at")


def test_an_action_is_deleted_by_nothing(action: DeskAction) -> None:
    assert refused("DELETE FROM linking_deskaction")
    with pytest.raises(DatabaseError), transaction.atomic():
        action.delete()
    with pytest.raises(DatabaseError), transaction.atomic():
        DeskAction.objects.update(reason="Another.")
    assert DeskAction.objects.get().reason == "Why."


def test_an_action_is_finished_by_what_carries_it_out(action: DeskAction) -> None:
    action.finished_at = NOW
    action.save(update_fields=["finished_at"])
    action.refresh_from_db()
    assert action.finished_at == NOW


def test_djangos_own_log_stays_too(db: None) -> None:
    entry = LogEntry.objects.create(
        user=rights.member(),
        content_type=ContentType.objects.get_for_model(User),
        object_id="1",
        object_repr="somebody",
        action_flag=2,
    )
    assert refused("UPDATE django_admin_log SET object_repr = 'another'")
    assert refused("DELETE FROM django_admin_log")
    assert LogEntry.objects.get() == entry


def test_the_audit_log_is_changed_by_nobody_in_the_admin(action: DeskAction) -> None:
    client = signed_in(rights.member(is_superuser=True))
    for model, row in ((DeskAction, action), (LogEntry, some_row(LogEntry))):
        assert not admin.site._registry[model].get_actions(client.get("/admin/").wsgi_request)
        for page in ("change", "delete"):
            answer = client.post(path(model, page, row.pk), {"reason": "Another.", "post": "yes"})
            assert answer.status_code == 403
        assert client.post(path(model, "add"), {"reason": "Made up."}).status_code == 403
    assert DeskAction.objects.get(pk=action.pk).reason == "Why."
