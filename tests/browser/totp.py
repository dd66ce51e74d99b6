"""The six digits that an authenticator app shows (RFC 6238)."""

import base64
import hashlib
import hmac
import struct
import time

STEP = 30


def totp(secret: str, steps_ahead: int = 0) -> str:
    """The code of now, or of some steps ahead: a service takes no code twice."""
    key = base64.b32decode(secret.replace(" ", ""))
    counter = struct.pack(">Q", int(time.time()) // STEP + steps_ahead)
    digest = hmac.new(key, counter, hashlib.sha1).digest()
    (number,) = struct.unpack_from(">I", digest, digest[-1] & 0xF)
    return f"{number & 0x7FFFFFFF:010d}"[-6:]
