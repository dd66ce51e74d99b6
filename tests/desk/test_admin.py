"""The admin's tables: read without counting, searched through indexes, changed with a reason only."""

import re
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core import mail
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse
from unfold.admin import ModelAdmin

from linking import keys, tokens
from linking.desk import record
from linking.models import (
    Agreement,
    Customer,
    DeskAction,
    LinkRequest,
    Terms,
    User,
    WorkProvider,
)
from shifts.models import (
    ClockOffset,
    HourFigures,
    MinuteFigures,
    RejectedRequest,
    Seen,
    Shift,
    ShiftEvent,
    ShiftRevision,
    ShiftRule,
    Standing,
    Stream,
    Submission,
    Tally,
    Withdrawal,
)
from tests import factories
from tests.desk import rights
from zego_api.admin import ReadOnlyAdmin, ReasonedAdmin
from zego_api.ids import uuid7
from zego_api.models import OutgoingMail

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TABLES = sorted(admin.site._registry, key=lambda model: model._meta.label)
WRITABLE = {User, Group, Customer, Terms}
CHANGEABLE = {User, Group, Customer}


@pytest.fixture
def superuser(db: None) -> User:
    return rights.member(is_superuser=True)


@pytest.fixture
def root(client: Client, superuser: User) -> Client:
    client.force_login(superuser)
    return client


def path(model: type[models.Model], page: str, *args: object) -> str:
    meta = model._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=args)


def names(tables: Iterable[type[models.Model]]) -> list[str]:
    return [model._meta.label for model in tables]


# All of them


@pytest.mark.parametrize("model", TABLES, ids=names(TABLES))
def test_a_table_is_in_the_desks_look_and_nothing_is_deleted(
    root: Client, model: type[models.Model]
) -> None:
    """Not even by a superuser, one by one or several at once."""
    table = admin.site._registry[model]
    assert isinstance(table, ModelAdmin)
    row = some_row(model)
    assert root.get(path(model, "delete", row.pk)).status_code == 403
    assert root.post(path(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
    root.post(path(model, "changelist"), chosen)
    assert model._default_manager.filter(pk=row.pk).exists()
    assert "delete_selected" not in root.get(path(model, "changelist")).content.decode()


@pytest.mark.parametrize("model", TABLES, ids=names(TABLES))
def test_a_table_is_written_to_only_where_no_page_of_the_desk_does_it(
    root: Client, model: type[models.Model]
) -> None:
    row = some_row(model)
    assert isinstance(
        admin.site._registry[model], ReasonedAdmin if model in WRITABLE else ReadOnlyAdmin
    )
    add = root.get(path(model, "add")).status_code
    assert add == (200 if model in WRITABLE else 403)
    shown = root.get(path(model, "change", row.pk))
    assert shown.status_code == 200
    assert (b'name="reason"' in shown.content) is (model in CHANGEABLE)
    before = values_of(row)
    answer = root.post(path(model, "change", row.pk), {"name": "Other"})
    assert answer.status_code == (200 if model in CHANGEABLE else 403)
    assert values_of(row) == before


def values_of(row: models.Model) -> dict[str, Any]:
    return type(row)._default_manager.filter(pk=row.pk).values().get()


@pytest.mark.parametrize("model", TABLES, ids=names(TABLES))
def test_a_table_is_shown_without_counting_it_and_with_as_many_queries_for_each_page(
    root: Client, model: type[models.Model]
) -> None:
    for _ in range(3):
        some_row(model)
    with CaptureQueriesContext(connection) as few:
        assert root.get(path(model, "changelist")).status_code == 200
    for _ in range(10):
        some_row(model)
    with CaptureQueriesContext(connection) as many:
        assert root.get(path(model, "changelist")).status_code == 200
    assert len(many) <= len(few) <= 9
    assert not [query["sql"] for query in many if "COUNT(" in query["sql"]]


HOT = [Submission, ShiftEvent, Shift, Stream, ShiftRevision, Tally, DeskAction, OutgoingMail]


@pytest.mark.parametrize("model", HOT, ids=names(HOT))
def test_a_hot_table_is_read_by_its_primary_key_alone(
    root: Client, model: type[models.Model]
) -> None:
    """Whatever column somebody clicks on."""
    some_row(model)
    with CaptureQueriesContext(connection) as queries:
        page = root.get(path(model, "changelist"), {"o": "1.2.-3"})
    assert page.status_code == 200
    [listing] = listings(queries, model)
    assert re.findall(r"ORDER BY (.*?) LIMIT", listing) == [f'"{model._meta.db_table}"."id" DESC']
    assert "sorted" not in page.content.decode()


def listings(queries: CaptureQueriesContext, model: type[models.Model]) -> list[str]:
    """What was asked to fill the list."""
    start = f'FROM "{model._meta.db_table}"'
    return [
        query["sql"] for query in queries if start in query["sql"] and "LIMIT 50" in query["sql"]
    ]


@pytest.mark.parametrize(
    "term", ["1686", "f566cf76-e2b3-497e-9810-1dbbbcbf3ab3", "K7QF3M9XWA", "9" * 40, "x'; --", "  "]
)
@pytest.mark.parametrize("model", HOT, ids=names(HOT))
def test_a_hot_table_is_searched_through_its_indexes(
    root: Client, model: type[models.Model], term: str
) -> None:
    some_row(model)
    with CaptureQueriesContext(connection) as queries:
        assert root.get(path(model, "changelist"), {"q": term}).status_code == 200
    exempt = model is OutgoingMail  # a month's rows, and an address is looked for without case
    for query in queries:
        assert "LIKE" not in query["sql"]
        assert exempt or "UPPER(" not in query["sql"]


@pytest.mark.parametrize(
    ("model", "column"),
    [
        (Submission, "request_id"),
        (Shift, "id"),
        (ShiftEvent, "id"),
        (ShiftRevision, "shift_id"),
        (Customer, "number"),
        (User, "email"),
    ],
)
def test_a_row_is_found_by_what_names_it(
    root: Client, model: type[models.Model], column: str
) -> None:
    row, other = some_row(model), some_row(model)
    answer = root.get(path(model, "changelist"), {"q": f" {getattr(row, column)} "})
    page = answer.content.decode()
    assert path(model, "change", row.pk) in page
    assert path(model, "change", other.pk) not in page


@pytest.mark.parametrize("query", [{"_facets": "1"}, {"all": "1"}, {"state": "failed"}])
def test_a_hot_table_is_neither_counted_nor_shown_whole(
    root: Client, query: dict[str, str]
) -> None:
    for _ in range(60):
        some_row(Submission)
    with CaptureQueriesContext(connection) as queries:
        page = root.get(path(Submission, "changelist"), query)
    assert page.status_code == 200
    assert not re.search(r"\d results?\b", page.content.decode())
    assert len(listings(queries, Submission)) == 1
    assert not [each["sql"] for each in queries if "COUNT(" in each["sql"]]


def test_an_account_is_chosen_in_a_window_of_its_own(root: Client) -> None:
    """As beside the account of a customer."""
    user = factories.user()
    page = root.get(path(User, "changelist"), {"_to_field": "id", "_popup": "1"})
    assert path(User, "change", user.pk) in page.content.decode()


def test_far_down_a_table_is_not_read(root: Client) -> None:
    some_row(Submission)
    assert root.get(path(Submission, "changelist"), {"p": "100"}).status_code == 200
    with CaptureQueriesContext(connection) as queries:
        root.get(path(Submission, "changelist"), {"p": "100000"})
    assert listings(queries, Submission) == []


def test_a_page_knows_whether_another_follows(root: Client) -> None:
    for _ in range(50):
        factories.event(factories.work_provider())
    assert "?p=2" in root.get(path(ShiftEvent, "changelist")).content.decode()
    ShiftEvent.objects.order_by("pk").first().delete()  # type: ignore[union-attr]
    assert "?p=2" not in root.get(path(ShiftEvent, "changelist")).content.decode()


def test_pending_and_failed_submissions_are_found(root: Client) -> None:
    pending, failed, digested = (some_row(Submission) for _ in range(3))
    Submission.objects.filter(pk=failed.pk).update(failed_at=NOW)
    Submission.objects.filter(pk=digested.pk).update(digested_at=NOW)
    for state, row in (("pending", pending), ("failed", failed)):
        page = root.get(path(Submission, "changelist"), {"state": state}).content.decode()
        shown = [
            each
            for each in (pending, failed, digested)
            if path(Submission, "change", each.pk) in page
        ]
        assert shown == [row]


def test_tables_lead_to_the_desk(root: Client) -> None:
    row = some_row(WorkProvider)
    for page in ("changelist", "change"):
        address = path(WorkProvider, page, *([row.pk] if page == "change" else []))
        assert reverse("desk:work-provider", args=[row.pk]) in root.get(address).content.decode()


def test_addresses_and_second_factors_are_nobody_elses_business(root: Client) -> None:
    assert not {EmailAddress, Authenticator} & set(TABLES)
    with pytest.raises(NoReverseMatch):
        reverse("admin:auth_user_password_change", args=[1])


# With a reason


def post(client: Client, address: str, **fields: Any) -> Any:
    return client.post(address, fields)


def the_action() -> DeskAction:
    return DeskAction.objects.get()


def test_what_is_added_needs_a_reason_that_stays(root: Client, superuser: User) -> None:
    owner = factories.work_provider()
    fields = {
        "work_provider": owner.pk,
        "version": "2026-11",
        "text": "Be kind.",
        "published_at_0": "2026-11-01",
        "published_at_1": "00:00:00",
    }
    for reason in ("", "   "):
        answer = post(root, path(Terms, "add"), **fields, reason=reason)
        assert "This field is required" in answer.content.decode()
        assert not Terms.objects.exists()
    assert post(root, path(Terms, "add"), **fields, reason="The lawyers.").status_code == 302
    action = the_action()
    assert (action.kind, action.actor, action.reason) == ("ADD", superuser, "The lawyers.")
    assert action.work_provider == owner
    assert action.details["table"] == "linking.terms"
    assert action.details["changes"]["version"] == [None, "2026-11"]
    assert "reason" not in action.details["changes"]
    assert LogEntry.objects.count() == 1


def test_what_is_changed_stays_with_old_and_new(root: Client) -> None:
    group = Group.objects.create(name="Old name")
    kept, taken = Permission.objects.order_by("pk")[:2]
    group.permissions.set([kept, taken])
    answer = post(
        root,
        path(Group, "change", group.pk),
        name="New name",
        permissions=[kept.pk],
        reason="Renamed.",
    )
    assert answer.status_code == 302
    changes = the_action().details["changes"]
    assert changes["name"] == ["Old name", "New name"]
    assert changes["permissions"] == [", ".join(sorted([str(kept), str(taken)])), str(kept)]


@pytest.mark.parametrize("query", ["link_policy__exact=%00", "link_policy__exact=OPEN&q=%00"])
def test_a_filter_that_says_nonsense_gives_a_page(root: Client, query: str) -> None:
    factories.work_provider()
    assert root.get(f"{path(WorkProvider, 'changelist')}?{query}").status_code == 200


def test_a_customer_is_given_to_another_account_with_both_on_record(root: Client) -> None:
    customer, user = factories.customer(), factories.user()
    assert (
        post(
            root, path(Customer, "change", customer.pk), user=user.pk, reason="A typo."
        ).status_code
        == 302
    )
    customer.refresh_from_db()
    assert customer.user == user
    assert the_action().customer == customer
    assert the_action().details["changes"] == {"user": [None, str(user.pk)]}


# Accounts


def account(user: User, **fields: Any) -> dict[str, Any]:
    """The form as it stands there."""
    boxes = {
        name: "on" for name in ("is_active", "is_staff", "is_superuser") if getattr(user, name)
    }
    return {
        "first_name": user.first_name,
        "last_name": user.last_name,
        "groups": list(user.groups.values_list("pk", flat=True)),
        "reason": "Why.",
        **boxes,
        **fields,
    }


def test_no_personal_value_goes_into_the_record(root: Client) -> None:
    user = factories.user(first_name="Jo")
    fields = account(user, first_name="Joanne", last_name="Doe")
    assert post(root, path(User, "change", user.pk), **fields).status_code == 302
    changes = the_action().details["changes"]
    assert changes == {"first_name": [None, None], "last_name": [None, None]}
    assert "Jo" not in str(the_action().details)


def test_a_new_member_of_staff_chooses_their_own_password(root: Client) -> None:
    group = rights.group(rights.READER)
    fields = {"email": "New@Example.com", "first_name": "", "last_name": "", "is_staff": "on"}
    answer = post(root, path(User, "add"), **fields, groups=[group.pk], reason="Joins on Monday.")
    assert answer.status_code == 302, answer.content.decode()
    made = User.objects.get(email="new@example.com")
    assert (made.username, made.is_staff, list(made.groups.all())) == (made.email, True, [group])
    assert not made.has_usable_password()
    them = Client()
    them.post("/account/password/reset/", {"email": made.email})
    [code] = re.findall(r"^([A-Z0-9-]{6,})$", str(mail.outbox[-1].body), re.MULTILINE)
    them.post("/account/password/reset/confirm/", {"code": code})
    new = {"password1": factories.PASSWORD, "password2": factories.PASSWORD}
    them.post("/account/password/reset/complete/", new)
    made.refresh_from_db()
    assert made.check_password(factories.PASSWORD)
    assert them.get("/admin/").status_code == 200


def test_an_address_has_one_account(root: Client) -> None:
    factories.user("jo@example.com")
    fields = {"email": "JO@example.com", "is_staff": "on", "reason": "Why."}
    answer = post(root, path(User, "add"), **fields)
    assert "There is an account with this address already." in answer.content.decode()


@pytest.fixture
def manager(db: None) -> Client:
    """One of the group Admin, who manages users and is no superuser."""
    client = Client()
    client.force_login(rights.member(rights.ADMIN))
    return client


def test_nobody_makes_themselves_or_others_a_superuser(manager: Client) -> None:
    me = User.objects.get(pk=manager.session["_auth_user_id"])
    other = rights.member(rights.OPS)
    everything = list(Permission.objects.values_list("pk", flat=True))
    for user in (me, other):
        fields = account(user, is_superuser="on", user_permissions=everything)
        assert post(manager, path(User, "change", user.pk), **fields).status_code == 302
        user.refresh_from_db()
        assert not user.is_superuser
        assert not user.user_permissions.exists()


def test_nobody_grants_a_group_that_holds_more_than_they_do(manager: Client) -> None:
    stronger = Group.objects.create(name="Stronger")
    stronger.permissions.set([Permission.objects.get(codename="delete_user")])
    user = rights.member()
    answer = post(manager, path(User, "change", user.pk), **account(user, groups=[stronger.pk]))
    assert "is not one of the available choices" in answer.content.decode()
    new = {"email": "new@example.com", "is_staff": "on", "groups": [stronger.pk], "reason": "Why."}
    answer = post(manager, path(User, "add"), **new)
    assert "is not one of the available choices" in answer.content.decode()
    assert not stronger.user_set.exists()
    weaker = rights.group(rights.OPS)
    assert (
        post(
            manager, path(User, "change", user.pk), **account(user, groups=[weaker.pk])
        ).status_code
        == 302
    )
    assert list(user.groups.all()) == [weaker]


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("how", ["superuser", "group", "permission"])
def test_nobody_changes_whoever_holds_more(manager: Client, how: str, active: bool) -> None:
    """Who can change an account's address or groups can become that account."""
    user = rights.member(is_superuser=how == "superuser", is_active=active)
    permission = Permission.objects.get(codename="delete_user")
    if how == "permission":
        user.user_permissions.add(permission)
    if how == "group":
        group = Group.objects.create(name="Stronger")
        group.permissions.add(permission)
        user.groups.add(group)
    assert post(manager, path(User, "change", user.pk), **account(user)).status_code == 403
    assert manager.get(path(User, "change", user.pk)).status_code == 200


def test_nobody_lets_a_group_do_what_they_may_not(manager: Client) -> None:
    own = rights.group(rights.ADMIN)
    held = list(own.permissions.values_list("pk", flat=True))
    more = Permission.objects.get(codename="delete_user")
    answer = post(
        manager,
        path(Group, "change", own.pk),
        name=own.name,
        permissions=[*held, more.pk],
        reason="Why.",
    )
    assert "is not one of the available choices" in answer.content.decode()
    own.permissions.add(Permission.objects.get(codename="view_session"))
    stronger = Group.objects.create(name="Stronger")
    stronger.permissions.add(more)
    refused = post(
        manager, path(Group, "change", stronger.pk), name="Mine", permissions=[], reason="Why."
    )
    assert refused.status_code == 403


@pytest.mark.parametrize(
    ("model", "lookup"),
    [
        (User, "password__startswith"),
        (ShiftEvent, "driver_id__contains"),
        (Shift, "link__driver_id"),
        (Submission, "body__contains"),
    ],
)
def test_nothing_is_found_out_by_a_filter_in_the_address(
    root: Client, model: type[models.Model], lookup: str
) -> None:
    """Neither a part of somebody's password's hash, nor what has no index."""
    assert root.get(path(model, "changelist"), {lookup: "1"}).status_code == 400


def test_the_filters_that_there_are_work(root: Client) -> None:
    sandbox, other = factories.work_provider(is_test=True), factories.work_provider()
    page = root.get(path(WorkProvider, "changelist"), {"is_test__exact": "1"}).content.decode()
    assert path(WorkProvider, "change", sandbox.pk) in page
    assert path(WorkProvider, "change", other.pk) not in page
    for model, query in ((OutgoingMail, "failed_at__isempty"), (User, "is_staff__exact")):
        assert root.get(path(model, "changelist"), {query: "1"}).status_code == 200


# Rows of every table


def some_row(model: type[models.Model]) -> models.Model:
    """One more row of a table."""
    return _ROWS[model._meta.label]()


def _submission() -> Submission:
    return Submission.objects.create(
        work_provider=factories.work_provider(),
        kind="login",
        is_batch=False,
        body=b"{}",
        timezone="UTC",
        event_count=1,
        received_at=NOW,
    )


def _stream() -> Stream:
    return Stream.objects.create(
        work_provider=factories.work_provider(), customer=factories.customer()
    )


def _terms() -> Terms:
    return factories.terms(factories.work_provider())


def _agreement() -> Agreement:
    return Agreement.objects.create(customer=factories.customer(), terms=_terms(), agreed_at=NOW)


def _request() -> LinkRequest:
    return LinkRequest.objects.create(
        work_provider=factories.work_provider(),
        customer=factories.customer(),
        driver_id="1686",
        agreed_at=NOW,
    )


def _action() -> DeskAction:
    return record(
        DeskAction.Kind.SEEN,
        actor=rights.member(),
        reason="Why.",
        now=NOW,
        work_provider=factories.work_provider(),
    )


def _withdrawal() -> Withdrawal:
    return Withdrawal.objects.create(
        stream=_stream(), kind="login", timestamp=NOW, action=_action(), withdrawn_at=NOW
    )


def _revision() -> ShiftRevision:
    return ShiftRevision.objects.create(
        shift_id=uuid.uuid4(),
        stream=_stream(),
        change="AMENDED",
        cause="EVENT",
        old_started_at=NOW,
        shortens_cover=True,
        created_at=NOW,
    )


def _rejected() -> RejectedRequest:
    return RejectedRequest.objects.create(
        request_id=uuid7(),
        work_provider=factories.work_provider(),
        received_at=NOW,
        path="/v1/shift/login/",
        status=400,
        code="INVALID_DATA",
    )


def _mail() -> OutgoingMail:
    return OutgoingMail.objects.create(
        sender="a@example.com", recipients="b@example.com", subject="Hello", text="Hello"
    )


def _log_entry() -> LogEntry:
    return LogEntry.objects.create(
        user=rights.member(),
        content_type=ContentType.objects.get_for_model(User),
        object_id="1",
        object_repr="somebody",
        action_flag=2,
    )


def _minute() -> MinuteFigures:
    return MinuteFigures.objects.create(minute=NOW + next(_serial) * timedelta(minutes=1))


_serial = count(1)
_ROWS: dict[str, Callable[[], models.Model]] = {
    "admin.LogEntry": _log_entry,
    "auth.Group": lambda: Group.objects.create(name=f"Group {next(_serial)}"),
    "linking.Agreement": _agreement,
    "linking.ApiKey": lambda: keys.issue(factories.work_provider())[0],
    "linking.Customer": lambda: factories.customer(user=factories.user()),
    "linking.DeskAction": _action,
    "linking.DriverLink": lambda: factories.link(factories.work_provider(), "1686"),
    "linking.LinkRequest": _request,
    "linking.LinkSecret": lambda: tokens.issue_secret(factories.work_provider())[0],
    "linking.Terms": _terms,
    "linking.User": factories.user,
    "linking.WorkProvider": factories.work_provider,
    "shifts.ClockOffset": lambda: ClockOffset.objects.create(
        work_provider=factories.work_provider(), date=NOW, step=1, events=1
    ),
    "shifts.HourFigures": lambda: HourFigures.objects.create(
        work_provider=factories.work_provider(), hour=NOW
    ),
    "shifts.MinuteFigures": _minute,
    "shifts.RejectedRequest": _rejected,
    "shifts.Seen": lambda: Seen.objects.create(
        kind="REVISION", target=next(_serial), action=_action()
    ),
    "shifts.Shift": lambda: factories.shift(factories.work_provider(), NOW),
    "shifts.ShiftEvent": lambda: factories.event(factories.work_provider()),
    "shifts.ShiftRevision": _revision,
    "shifts.ShiftRule": lambda: ShiftRule.objects.create(
        work_provider=factories.work_provider(), valid_from=NOW
    ),
    "shifts.Standing": lambda: Standing.objects.create(
        work_provider=factories.work_provider(), looked_at=NOW
    ),
    "shifts.Stream": _stream,
    "shifts.Submission": _submission,
    "shifts.Tally": lambda: Tally.objects.create(
        work_provider=factories.work_provider(),
        digested_at=NOW,
        events=1,
        outcomes={},
        offsets={},
    ),
    "shifts.Withdrawal": _withdrawal,
    "zego_api.OutgoingMail": _mail,
}
