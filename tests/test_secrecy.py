"""Encryption under SECRET_KEY, and through a change of it."""

import pytest
from pytest_django import Settings

from zego_api.secrecy import decrypt, encrypt

OLD, NEW = "old-" * 20, "new-" * 20
FIRST = (  # made with OLD
    "gAAAAABrAqJogjQk3mPFTwThgY4kliCLguHny3CDy7FqqD7sH7jv3imdG_fJ"
    "Tj8wPemzF6MfwwmfuS6EMAcVF_xRqn3yegxhjQ=="
)


@pytest.mark.parametrize("text", ["JBSWY3DPEHPK3PXP", "", "Käse ≠ 🧀"])
def test_what_is_encrypted_can_be_read_and_does_not_show(text: str) -> None:
    token = encrypt(text)
    assert decrypt(token) == text
    assert token.isascii()
    assert not text or text not in token
    assert encrypt(text) != token


def test_after_a_change_of_the_key_the_former_one_still_reads(settings: Settings) -> None:
    settings.SECRET_KEY = OLD
    token = encrypt("secret")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, ["x" * 50, OLD]
    assert decrypt(token) == "secret"
    newer = encrypt("secret")
    settings.SECRET_KEY_FALLBACKS = []
    assert decrypt(newer) == "secret", "the new key encrypts"


def test_without_its_key_nothing_is_read_and_the_way_out_is_said(settings: Settings) -> None:
    settings.SECRET_KEY = OLD
    token = encrypt("secret")
    settings.SECRET_KEY = NEW
    with pytest.raises(ValueError, match="SECRET_KEY_FALLBACKS"):
        decrypt(token)


@pytest.mark.parametrize("token", ["", "nonsense", "gAAAAA==", "ü"])
def test_what_is_no_token_is_refused_in_the_same_way(token: str) -> None:
    with pytest.raises(ValueError, match="SECRET_KEY"):
        decrypt(token)


def test_a_changed_token_is_refused() -> None:
    token = encrypt("secret")
    changed = token[:-5] + ("A" if token[-5] != "A" else "B") + token[-4:]
    with pytest.raises(ValueError, match="SECRET_KEY"):
        decrypt(changed)


def test_the_keys_are_derived_in_one_way_for_ever(settings: Settings) -> None:
    """A token of the first release: whoever changes the derivation loses all that is stored."""
    settings.SECRET_KEY = OLD
    assert decrypt(FIRST) == "secret"
