"""What is shown once: a key or link secret, between the form that made it and the page that shows it.

It waits in the session, encrypted, for some minutes at most; whoever looks takes it out.
"""

import json
import time
from typing import Any, TypedDict

from django.http import HttpRequest

from zego_api.secrecy import decrypt, encrypt

_NAME = "shown_once"
_SECONDS = 300


class Shown(TypedDict, total=False):
    """What the page needs: the new key with its id, the link secret, the key that it follows."""

    work_provider: int
    key: str
    key_id: str
    link_secret: str
    old_key_id: str
    old_key_dies_at: str
    is_new_work_provider: bool


def put(request: HttpRequest, shown: Shown) -> None:
    """Keep it for the next page."""
    request.session[_NAME] = {
        "at": time.time(),
        "by": request.path,
        "encrypted": encrypt(json.dumps(shown)),
    }


def is_waiting(request: HttpRequest) -> bool:
    """Whether this very form has been sent already, and nobody has looked: a second click."""
    kept = request.session.get(_NAME)
    return kept is not None and kept["by"] == request.path and not _is_stale(kept)


def take(request: HttpRequest) -> Shown | None:
    """What waits, once; None if there is nothing, or it has waited for too long."""
    kept = request.session.pop(_NAME, None)
    if kept is None or _is_stale(kept):
        return None
    shown: Shown = json.loads(decrypt(kept["encrypted"]))
    return shown


def _is_stale(kept: dict[str, Any]) -> bool:
    return bool(time.time() - kept["at"] > _SECONDS)
