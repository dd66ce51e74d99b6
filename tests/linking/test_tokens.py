"""Signed link URLs; the vector is the one in docs/linking.md."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.utils import timezone

from linking import tokens
from linking.models import LinkPolicy, LinkSecret, SpentSignature, WorkProvider
from tests import factories
from tests.running import BASE

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
VECTOR = {
    "secret": "zego_link_test-vector-only",
    "wp": "Courier Ltd",
    "wp_id": "123456",
    "email": "driver@example.com",
    "expires": 1800000000,
}
SIGNATURE = "f800b65433544cf3fd74e9f53c4b3abae056bfbecc1f3e7046835bc0094983c4"


def test_the_vector_of_the_documentation() -> None:
    secret, *_ = VECTOR.values()
    values = {name: value for name, value in VECTOR.items() if name != "secret"}
    assert tokens.sign(str(secret), **values) == SIGNATURE  # type: ignore[arg-type]
    page = (BASE / "docs" / "linking.md").read_text()
    assert SIGNATURE in page
    assert str(VECTOR["secret"]) in page


def test_the_recipe_of_the_documentation_runs() -> None:
    page = (BASE / "docs" / "linking.md").read_text()
    recipe = page.split("```python\n")[1].split("```")[0]
    said: list[str] = []
    exec(recipe, {"print": said.append})  # noqa: S102 (our own page)
    query = parse_qs(urlsplit(said[0]).query)
    assert query["signature"] == [SIGNATURE]
    assert query["expires"] == [str(VECTOR["expires"])]
    assert query["wp"] == ["Courier Ltd"]


@pytest.fixture
def signing(db: None) -> WorkProvider:
    return factories.work_provider(name="Courier Ltd", link_policy=LinkPolicy.SIGNED)


def values_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def made(provider: WorkProvider, lasts: timedelta = timedelta(days=7)) -> dict[str, str]:
    url = tokens.link_url(
        provider, driver_id="123456", email="driver@example.com", now=NOW, lasts=lasts
    )
    return values_of(url)


def test_what_we_sign_is_good(signing: WorkProvider) -> None:
    tokens.issue_secret(signing)
    signed = tokens.verify(signing, **made(signing), now=NOW)
    assert signed.expires_at == NOW + timedelta(days=7)
    assert len(signed.digest) == 32


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wp", "courier ltd"),
        ("wp_id", "123457"),
        ("email", "other@example.com"),
        ("expires", "1800000000"),
        ("expires", ""),
        ("expires", "٣"),
        ("expires", "1e9"),
        ("signature", ""),
        ("signature", "0" * 64),
        ("signature", "ü"),
    ],
)
def test_whatever_is_changed_is_noticed(signing: WorkProvider, name: str, value: str) -> None:
    tokens.issue_secret(signing)
    with pytest.raises(tokens.BadSignature) as caught:
        tokens.verify(signing, **made(signing) | {name: value}, now=NOW)
    assert caught.type is tokens.BadSignature


def test_two_values_cannot_be_shifted_into_each_other(signing: WorkProvider) -> None:
    _, secret = tokens.issue_secret(signing)
    signature = tokens.sign(secret, wp="a\nb", wp_id="c", email="d", expires=1800000000)
    assert signature == tokens.sign(secret, wp="a", wp_id="b\nc", email="d", expires=1800000000)
    with pytest.raises(tokens.BadSignature):
        tokens.verify(
            signing,
            wp="a",
            wp_id="b\nc",
            email="d",
            expires="1800000000",
            signature=signature,
            now=NOW,
        )


def test_it_ends_when_it_says(signing: WorkProvider) -> None:
    tokens.issue_secret(signing)
    values = made(signing, timedelta(minutes=5))
    tokens.verify(signing, **values, now=NOW + timedelta(minutes=5, seconds=-1))
    with pytest.raises(tokens.ExpiredSignature):
        tokens.verify(signing, **values, now=NOW + timedelta(minutes=5))


def test_none_lives_for_ever(signing: WorkProvider) -> None:
    tokens.issue_secret(signing)
    with pytest.raises(tokens.BadSignature):
        tokens.verify(signing, **made(signing, timedelta(days=31)), now=NOW)


def test_it_works_once(signing: WorkProvider) -> None:
    tokens.issue_secret(signing)
    values = made(signing)
    signed = tokens.verify(signing, **values, now=NOW)
    tokens.verify(signing, **values, now=NOW)  # opening it spends nothing
    SpentSignature.objects.create(signature=signed.digest, expires_at=signed.expires_at)
    with pytest.raises(tokens.SpentAlready):
        tokens.verify(signing, **values, now=NOW)


def test_a_secret_is_rolled_without_a_gap(signing: WorkProvider) -> None:
    first, _ = tokens.issue_secret(signing)
    by_first = made(signing)
    tokens.issue_secret(signing)
    by_second = made(signing)
    assert by_first["signature"] != by_second["signature"]
    for values in (by_first, by_second):
        tokens.verify(signing, **values, now=NOW)
    with pytest.raises(ValidationError, match="Two link secrets are live"):
        tokens.issue_secret(signing)

    first.revoked_at = timezone.now()
    first.save()
    with pytest.raises(tokens.BadSignature):
        tokens.verify(signing, **by_first, now=NOW)
    tokens.verify(signing, **by_second, now=NOW)
    tokens.issue_secret(signing)


def test_the_secret_is_not_stored_in_clear(signing: WorkProvider) -> None:
    row, secret = tokens.issue_secret(signing)
    assert secret not in LinkSecret.objects.get(pk=row.pk).encrypted


def test_another_work_providers_secret_is_no_good(signing: WorkProvider) -> None:
    other = factories.work_provider(link_policy=LinkPolicy.SIGNED)
    _, secret = tokens.issue_secret(other)
    tokens.issue_secret(signing)
    values = made(signing)
    forged = tokens.sign(
        secret,
        wp=values["wp"],
        wp_id=values["wp_id"],
        email=values["email"],
        expires=int(values["expires"]),
    )
    with pytest.raises(tokens.BadSignature):
        tokens.verify(signing, **values | {"signature": forged}, now=NOW)


# The commands


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    call_command(*arguments)
    return capsys.readouterr().out.strip()


ARGUMENTS = ("--wp-id", "123456", "--email", "driver@example.com")


def test_make_link_prints_the_specifications_url(
    db: None, capsys: pytest.CaptureFixture[str]
) -> None:
    factories.work_provider(name="Courier Ltd")
    url = said(capsys, "make_link", "courier ltd", *ARGUMENTS)
    assert url.endswith(
        "/link-work-provider?wp=Courier+Ltd&wp_id=123456&email=driver%40example.com"
    )


def test_make_link_signs_where_it_has_to(
    signing: WorkProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandError, match="no live link secret"):
        call_command("make_link", "Courier Ltd", *ARGUMENTS)
    secret = said(capsys, "issue_link_secret", "Courier Ltd")
    assert secret.startswith("zego_link_")
    values = values_of(said(capsys, "make_link", "Courier Ltd", *ARGUMENTS))
    tokens.verify(signing, **values, now=timezone.now())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("make_link", "Nobody", *ARGUMENTS), "no work provider named 'Nobody'"),
        (("make_link", "Courier Ltd", "--wp-id", " ", "--email", "a@example.com"), "1 to 128"),
        (("make_link", "Courier Ltd", "--wp-id", "1", "--email", "nobody"), "valid email"),
        (("make_link", "Courier Ltd", *ARGUMENTS, "--days", "31"), "--days must be 1 to 30"),
    ],
)
def test_make_link_says_what_is_wrong(
    signing: WorkProvider, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        call_command(*arguments)


# Undo


def test_an_undo_token_names_one_agreement() -> None:
    token = tokens.undo_token(7, 8, NOW)
    assert tokens.read_undo_token(token) == (7, 8, NOW)


@pytest.mark.parametrize("token", ["", "x", "WzEsMiwiMjAyNiJd:1:abc"])
def test_a_made_up_undo_token_is_none(token: str) -> None:
    assert tokens.read_undo_token(token) is None
