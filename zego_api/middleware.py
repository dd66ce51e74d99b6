"""What every answer has in common."""

import uuid
from collections.abc import Callable

import structlog
from django.db import Error
from django.http import HttpRequest, HttpResponse

from zego_api.db import is_outage, sqlstate
from zego_api.errors import unavailable
from zego_api.ids import uuid7

log = structlog.get_logger(__name__)


class RequestIdMiddleware:
    """X-Request-Id on every answer: the one string to quote when asking what became of a request.

    The id is always ours, never the client's, since it goes into logs and records. And nothing is
    cached that does not ask for it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = uuid7()
        request.request_id = request_id  # type: ignore[attr-defined]
        with structlog.contextvars.bound_contextvars(request_id=str(request_id)):
            response = self.get_response(request)
        response["X-Request-Id"] = str(request_id)
        # Pages and answers are somebody's own, and redirects may hold what was asked for; only static
        # files say otherwise.
        response.headers.setdefault("Cache-Control", "no-store, private")
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A page whose database is away says so; anything else is Django's to report."""
        if isinstance(exception, Error) and is_outage(exception):
            log.warning("database_away", sqlstate=sqlstate(exception))
            return unavailable(request)
        return None


def request_id_of(request: HttpRequest) -> uuid.UUID:
    """The id that the middleware gave this request."""
    found: uuid.UUID = request.request_id  # type: ignore[attr-defined]
    return found
