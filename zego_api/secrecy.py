"""Encryption of what the database holds but must not give away: link secrets, second factors.

The keys come from SECRET_KEY and SECRET_KEY_FALLBACKS. To change SECRET_KEY, move the old one to the
fallbacks; it may go from there once nothing that it encrypted is left.
"""

import base64
from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

_INFO = b"zego_api.secrecy, version 1"  # another label would be another key


def encrypt(text: str) -> str:
    """A token that only this service can read, different each time; ASCII."""
    return _fernet().encrypt(text.encode()).decode("ascii")


def decrypt(token: str) -> str:
    """The text in a token. ValueError if it was changed, or made with a key that is not known here."""
    try:
        return _fernet().decrypt(token.encode()).decode()
    except InvalidToken:
        raise ValueError(
            "This was encrypted with another SECRET_KEY. Put that one into SECRET_KEY_FALLBACKS."
        ) from None


def _fernet() -> MultiFernet:
    return MultiFernet([_key(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


@cache
def _key(secret: str) -> Fernet:
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO)
    return Fernet(base64.urlsafe_b64encode(kdf.derive(secret.encode())))
