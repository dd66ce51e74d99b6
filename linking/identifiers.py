"""What an identifier is, on the wire and in a link: 1 to 128 characters once trimmed."""

import re
import unicodedata
from collections.abc import Callable

MAX_LENGTH = 128
_CONTROL_OR_SURROGATE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# What trimming takes off: spaces of every width, tabs and line ends. str.strip() would also take off
# control characters, which are refused.
_EDGE = "\t\r\n" + "".join(c for c in map(chr, range(0x3001)) if unicodedata.category(c) == "Zs")


def clean(text: str, normalise: Callable[[str], str] = str) -> str:
    """The identifier trimmed and normalised; ValueError with the reason when it is none."""
    value = normalise(text.strip(_EDGE))  # before its length is taken: "ß" becomes "SS"
    if not 1 <= len(value) <= MAX_LENGTH:
        raise ValueError(f"Must have 1 to {MAX_LENGTH} characters.")
    if not value.isprintable() and _CONTROL_OR_SURROGATE.search(value):
        raise ValueError("Must not contain control characters.")
    return value


def mask(driver_id: str) -> str:
    """A driver id but for its end: enough to recognise one's own, too little to learn another's."""
    shown = min(4, len(driver_id) // 3)
    return "•" * 4 + (driver_id[-shown:] if shown else "")
