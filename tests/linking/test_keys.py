"""API keys: issued once, kept as a hash, and good until they expire or are revoked."""

import re
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from cachetools import TTLCache
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from pytest_django import DjangoAssertNumQueries

from linking import keys
from linking.models import ApiKey, DeskAction, User, WorkProvider
from tests import factories

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
SECRET = "s" * 43


@pytest.fixture
def provider(db: None) -> WorkProvider:
    return factories.work_provider(name="Courier Ltd", timezone="Europe/London")


class Timer:
    """What the cache goes by, in seconds."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Timer:
    """An empty cache whose clock stands still until the test moves it."""
    timer = Timer()
    monkeypatch.setattr(keys, "_cache", TTLCache(10_000, keys.CACHE_SECONDS, timer))
    return timer


def signed(unsigned: str) -> str:
    return f"{unsigned}_{zlib.crc32(unsigned.encode()):08x}"


def owner_of(key: str, now: datetime = NOW) -> int | None:
    """The work provider whose key it is."""
    found = keys.verify(key, now=now)
    return found.work_provider_id if found else None


# Issuing


@pytest.mark.parametrize(("is_test", "environment"), [(False, "live"), (True, "test")])
def test_a_key_says_what_it_is_and_ends_with_its_checksum(
    db: None, is_test: bool, environment: str
) -> None:
    row, key = keys.issue(factories.work_provider(is_test=is_test))
    form = rf"zego_{environment}_{row.key_id}_[0-9A-Za-z]{{43}}_[0-9a-f]{{8}}"
    assert re.fullmatch(form, key)
    assert signed(key.rpartition("_")[0]) == key


def test_a_key_is_stored_only_as_a_hash(provider: WorkProvider) -> None:
    row, key = keys.issue(provider, label="head office")
    stored = str(list(ApiKey.objects.filter(pk=row.pk).values_list()))
    secret, checksum = key.split("_")[3:]
    assert row.key_id in stored
    assert "head office" in stored
    assert secret not in stored
    assert checksum not in stored
    assert len(bytes(row.secret_hash)) == 32


def test_issue_key_prints_the_key_and_nothing_else(provider: WorkProvider) -> None:
    """Whatever the case of the name."""
    out, err = StringIO(), StringIO()
    call_command("issue_key", "COURIER ltd", "--label", "app", stdout=out, stderr=err)
    [key] = out.getvalue().splitlines()
    assert err.getvalue() == ""
    assert owner_of(key) == provider.pk
    row = ApiKey.objects.get()
    assert (row.label, row.expires_at) == ("app", None)


def test_issue_key_for_some_days(provider: WorkProvider) -> None:
    out = StringIO()
    before = datetime.now(UTC)
    call_command("issue_key", "Courier Ltd", "--days", "30", stdout=out)
    after = datetime.now(UTC)
    expires_at = ApiKey.objects.get().expires_at
    assert expires_at
    assert before <= expires_at - timedelta(days=30) <= after
    with pytest.raises(CommandError, match="at least 1"):
        call_command("issue_key", "Courier Ltd", "--days", "0", stdout=out)
    assert ApiKey.objects.count() == 1


def test_issue_key_names_those_it_knows_when_it_does_not_know_the_name(
    provider: WorkProvider,
) -> None:
    factories.work_provider(name="Another")
    out = StringIO()
    with pytest.raises(CommandError, match=r"named 'Courier'\. Known: Another, Courier Ltd\."):
        call_command("issue_key", "Courier", stdout=out)
    assert out.getvalue() == ""
    assert not ApiKey.objects.exists()


def test_issue_key_warns_when_the_work_provider_is_not_active(provider: WorkProvider) -> None:
    """Beside the key, which is good as soon as it is."""
    provider.is_active = False
    provider.save()
    out, err = StringIO(), StringIO()
    call_command("issue_key", "Courier Ltd", stdout=out, stderr=err)
    assert "not active" in err.getvalue()
    [key] = out.getvalue().splitlines()
    assert owner_of(key) is None
    provider.is_active = True
    provider.save()
    assert owner_of(key) == provider.pk


# Verifying


def test_a_key_leads_to_what_an_accept_needs_to_know(provider: WorkProvider) -> None:
    row, key = keys.issue(provider)
    found = keys.verify(key, now=NOW)
    assert found
    assert (found.api_key_id, found.work_provider_id) == (row.pk, provider.pk)
    assert (found.timezone, found.max_future) == ("Europe/London", timedelta(hours=24))


def test_several_keys_are_live_at_once(provider: WorkProvider) -> None:
    """Those of another work provider are another's."""
    other = factories.work_provider()
    issued = [factories.key(provider), factories.key(provider), factories.key(other)]
    assert [owner_of(key) for key in issued] == [provider.pk, provider.pk, other.pk]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: "",
        lambda key: "nonsense",
        lambda key: key[:-1],
        lambda key: key + "0",
        lambda key: key + "\n",
        lambda key: " " + key,
        lambda key: key.upper(),
        lambda key: key.replace("_live_", "_prod_"),
        lambda key: key[:-8] + f"{int(key[-8:], 16) ^ 1:08x}",
        lambda key: key[:30] + ("0" if key[30] != "0" else "1") + key[31:],
        lambda key: key.replace("_", "-"),
        lambda key: key[:-8] + key[-8:].translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")),
        lambda key: "ü" + key,
        lambda key: "\udcff",
        lambda key: key * 1_000,
    ],
)
def test_junk_costs_no_query(
    provider: WorkProvider,
    spoil: Callable[[str], str],
    timer: Timer,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    key = factories.key(provider)
    with django_assert_num_queries(0):
        assert keys.verify(spoil(key), now=NOW) is None
    with django_assert_num_queries(2):  # the look-up, and the note of its use
        assert owner_of(key) == provider.pk


def test_a_checksum_alone_opens_nothing(provider: WorkProvider, timer: Timer) -> None:
    """Neither with an id never issued, nor with a real one, seen before or not."""
    row, key = keys.issue(provider)
    never_issued = signed(f"zego_live_{'0' * 12}_{SECRET}")
    wrong_secret = signed(f"zego_live_{row.key_id}_{SECRET}")
    wrong_environment = signed(key.rpartition("_")[0].replace("live", "test"))
    for _ in range(2):
        assert owner_of(never_issued) is None
        assert owner_of(wrong_secret) is None
        assert owner_of(wrong_environment) is None
        assert owner_of(key) == provider.pk


def test_a_key_seen_lately_costs_no_query(
    provider: WorkProvider, timer: Timer, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    key = factories.key(provider)
    assert owner_of(key) == provider.pk
    with django_assert_num_queries(0):
        assert owner_of(key) == provider.pk
    timer.seconds += keys.CACHE_SECONDS
    with django_assert_num_queries(1):
        assert owner_of(key, NOW + timedelta(seconds=keys.CACHE_SECONDS)) == provider.pk


def revoke(key: str) -> None:
    """As another process does it: this one's cache hears nothing of it."""
    ApiKey.objects.filter(key_id=key.split("_")[2]).update(revoked_at=NOW)


def deactivate(key: str) -> None:
    """Likewise."""
    WorkProvider.objects.filter(api_keys__key_id=key.split("_")[2]).update(is_active=False)


@pytest.mark.parametrize("withdraw", [revoke, deactivate])
def test_a_key_withdrawn_elsewhere_is_refused_within_the_cache_time(
    provider: WorkProvider, timer: Timer, withdraw: Callable[[str], None]
) -> None:
    (
        seen,
        unseen,
    ) = factories.key(provider), factories.key(provider)
    assert owner_of(seen) == provider.pk
    withdraw(seen)
    withdraw(unseen)
    assert owner_of(unseen) is None
    timer.seconds += keys.CACHE_SECONDS - 0.001
    assert owner_of(seen) == provider.pk
    timer.seconds += 0.001
    assert owner_of(seen) is None


def test_a_key_revoked_here_is_refused_at_once_and_the_others_are_not(
    provider: WorkProvider, timer: Timer
) -> None:
    row, key = keys.issue(provider)
    other = factories.key(provider)
    assert owner_of(key) == owner_of(other) == provider.pk
    row.revoked_at = NOW
    row.save()
    assert owner_of(key) is None
    assert owner_of(other) == provider.pk


def test_a_key_ends_at_the_instant_it_expires(provider: WorkProvider, timer: Timer) -> None:
    """Cached or not."""
    key = factories.key(provider, expires_at=NOW)
    microsecond = timedelta(microseconds=1)
    for _ in range(2):
        assert owner_of(key, NOW) is None
        assert owner_of(key, NOW - microsecond) == provider.pk


def test_its_use_is_noted_to_the_minute(provider: WorkProvider, timer: Timer) -> None:
    """Not at every use, as accepting a request is to write one row."""
    row, key = keys.issue(provider)

    def noted_after(passed: timedelta) -> datetime | None:
        timer.seconds += passed.total_seconds()
        keys.verify(key, now=NOW + timedelta(seconds=timer.seconds))
        row.refresh_from_db()
        return row.last_used_at

    assert row.last_used_at is None
    assert noted_after(timedelta(0)) == NOW
    assert noted_after(MINUTE) == NOW
    assert noted_after(timedelta(seconds=1)) == NOW
    assert noted_after(timedelta(seconds=keys.CACHE_SECONDS)) == NOW + MINUTE + timedelta(
        seconds=1 + keys.CACHE_SECONDS
    )


def test_a_refused_key_is_not_noted_as_used(provider: WorkProvider, timer: Timer) -> None:
    row, _ = keys.issue(provider, expires_at=NOW)
    assert owner_of(signed(f"zego_live_{row.key_id}_{SECRET}")) is None
    row.refresh_from_db()
    assert row.last_used_at is None


# By the ops desk


@pytest.fixture
def staff(db: None) -> User:
    return factories.user(is_staff=True)


def on_record() -> list[tuple[str, str, dict[str, str | None]]]:
    actions = DeskAction.objects.order_by("pk")
    return [(action.kind, action.reason, action.details) for action in actions]


def roll(row: ApiKey, staff: User, *, days: int = 7, now: datetime = NOW) -> tuple[ApiKey, str]:
    return keys.roll(row, lives_on=days * DAY, actor=staff, reason="Yearly.", now=now)


def test_a_key_handed_out_is_on_record_without_the_key(provider: WorkProvider, staff: User) -> None:
    row, key = keys.hand_out(
        provider, label="app", expires_at=NOW + DAY, actor=staff, reason="New app.", now=NOW
    )
    assert owner_of(key) == provider.pk
    details = {"key_id": row.key_id, "label": "app", "expires_at": "2026-06-02T12:00:00+00:00"}
    assert on_record() == [("ISSUE_KEY", "New app.", details)]
    action = DeskAction.objects.get()
    assert (action.actor, action.work_provider, action.created_at) == (staff, provider, NOW)


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_nothing_is_done_to_a_key_without_a_reason(
    provider: WorkProvider, staff: User, reason: str
) -> None:
    row, key = keys.issue(provider)
    why = {"actor": staff, "reason": reason, "now": NOW}
    with pytest.raises(ValidationError, match="Say why"):
        keys.hand_out(provider, label="", expires_at=None, **why)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="Say why"):
        keys.roll(row, lives_on=DAY, **why)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="Say why"):
        keys.revoke(row, **why)  # type: ignore[arg-type]
    assert ApiKey.objects.get() == row
    assert owner_of(key, NOW + 365 * DAY) == provider.pk
    assert on_record() == []


def test_a_key_handed_out_has_not_expired_yet(provider: WorkProvider, staff: User) -> None:
    with pytest.raises(ValidationError, match="opens nothing"):
        keys.hand_out(provider, label="", expires_at=NOW, actor=staff, reason="Why.", now=NOW)
    assert not ApiKey.objects.exists()


def test_a_rolled_key_lives_on_for_some_days_beside_its_successor(
    provider: WorkProvider, staff: User
) -> None:
    old_row, old = keys.issue(provider, label="app")
    new_row, new = roll(old_row, staff)
    just_before = NOW + 7 * DAY - timedelta(microseconds=1)
    assert owner_of(old, just_before) == owner_of(new, just_before) == provider.pk
    assert owner_of(old, NOW + 7 * DAY) is None
    assert owner_of(new, NOW + 365 * DAY) == provider.pk
    assert new_row.label == "app"
    details = {
        "key_id": old_row.key_id,
        "label": "app",
        "new_key_id": new_row.key_id,
        "expires_at": "2026-06-08T12:00:00+00:00",
    }
    assert on_record() == [("ROLL_KEY", "Yearly.", details)]


def test_rolling_never_lets_a_key_live_longer(provider: WorkProvider, staff: User) -> None:
    row, _ = keys.issue(provider, expires_at=NOW + DAY)
    roll(row, staff)
    row.refresh_from_db()
    assert row.expires_at == NOW + DAY


def test_a_key_is_rolled_at_once_with_no_days(provider: WorkProvider, staff: User) -> None:
    row, key = keys.issue(provider)
    assert owner_of(key) == provider.pk
    roll(row, staff, days=0)
    assert owner_of(key) is None


def test_a_key_has_one_successor(provider: WorkProvider, staff: User) -> None:
    """However often the button is pressed; the successor can be rolled in its turn."""
    row, _ = keys.issue(provider)
    new, _ = roll(row, staff)
    with pytest.raises(ValidationError, match="rolled already"):
        roll(row, staff)
    assert ApiKey.objects.count() == 2
    roll(new, staff)
    assert ApiKey.objects.count() == 3


@pytest.mark.parametrize("end", ["revoked_at", "expires_at"])
def test_a_dead_key_is_not_rolled(provider: WorkProvider, staff: User, end: str) -> None:
    row, _ = keys.issue(provider)
    ApiKey.objects.update(**{end: NOW})
    with pytest.raises(ValidationError, match="dead already"):
        roll(row, staff)
    assert ApiKey.objects.count() == 1


def test_a_revoked_key_is_dead_at_once_and_once(provider: WorkProvider, staff: User) -> None:
    row, key = keys.issue(provider, label="app")
    other = factories.key(provider)
    assert owner_of(key) == owner_of(other) == provider.pk
    assert keys.revoke(row, actor=staff, reason="Leaked.", now=NOW).revoked_at == NOW
    assert owner_of(key) is None
    assert owner_of(other) == provider.pk
    assert on_record() == [("REVOKE_KEY", "Leaked.", {"key_id": row.key_id, "label": "app"})]
    with pytest.raises(ValidationError, match="revoked already"):
        keys.revoke(row, actor=staff, reason="Again.", now=NOW + DAY)
    row.refresh_from_db()
    assert row.revoked_at == NOW
    assert len(on_record()) == 1


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "live"),
        ({"expires_at": NOW + MINUTE}, "live"),
        ({"expires_at": NOW}, "expired"),
        ({"revoked_at": NOW - DAY, "expires_at": NOW - DAY}, "revoked"),
    ],
)
def test_the_state_of_a_key(fields: dict[str, datetime], state: str) -> None:
    assert keys.state_of(ApiKey(**fields), NOW) == state


def test_why_junk_was_refused_costs_no_query(
    provider: WorkProvider, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    key = factories.key(provider)
    with django_assert_num_queries(0):
        for junk in ("", "junk", key[:-1], f"Token {key}", key * 1000):
            refusal = keys.why_refused(junk, now=NOW)
            assert refusal.hint
            assert refusal.row is None


def test_why_a_key_was_refused_never_tells_the_key(provider: WorkProvider, staff: User) -> None:
    row, key = keys.issue(provider)
    secret = key.split("_")[3]
    keys.revoke(row, actor=staff, reason="Leaked.", now=NOW)
    for sent in (key, key[:-1], f'"{key}"', signed(f"zego_live_{row.key_id}_{SECRET}")):
        assert secret not in keys.why_refused(sent, now=NOW).hint
    assert keys.why_refused(key, now=NOW).row == row
    assert keys.why_refused(signed(f"zego_live_{row.key_id}_{SECRET}"), now=NOW).row is None
