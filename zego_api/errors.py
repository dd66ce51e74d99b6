"""Every error body of the service, in one place.

API clients get exactly `{"error": CODE}` (docs/domain.md, "The wire"), or RFC 9457 problem details when
they send `Accept: application/problem+json`. People in a browser get a plain page. Nobody gets a
traceback; the request id in `X-Request-Id` leads to it in the log.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import structlog
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from rest_framework import exceptions
from rest_framework.request import Request

from zego_api.db import is_outage, sqlstate

log = structlog.get_logger(__name__)

RETRY_AFTER_SECONDS = {503: 5, 429: 60}
PROBLEM_JSON = "application/problem+json"


class Problem(NamedTuple):
    """One kind of error: its HTTP status, the code on the wire, and what a person is told."""

    status: int
    code: str
    title: str
    detail: str


MISSING_AUTH = Problem(
    401, "MISSING_AUTH", "No API key", "Send your API key in the Authorization header."
)
INVALID_KEY = Problem(
    401,
    "INVALID_KEY",
    "API key not accepted",
    "The key in the Authorization header is unknown, expired or revoked. Check that it was copied "
    "whole; Zego issues a new one on request.",
)
INVALID_DATA = Problem(
    400,
    "INVALID_DATA",
    "The body is not valid",
    "Nothing of this request was stored. Correct what errors[] names and send the request again.",
)
NOT_FOUND = Problem(
    404, "NOT_FOUND", "No such address", "Check the path against the API specification."
)
METHOD_NOT_ALLOWED = Problem(
    405,
    "METHOD_NOT_ALLOWED",
    "Method not allowed",
    "The Allow header names the methods that this address takes.",
)
LENGTH_REQUIRED = Problem(
    411,
    "LENGTH_REQUIRED",
    "Body of unknown length",
    "Send a Content-Length header instead of chunked encoding.",
)
TOO_LARGE = Problem(
    413,
    "TOO_LARGE",
    "The body is too large",
    "A body may have at most 5 MiB; send the events in several batches.",
)
TOO_MANY = Problem(
    429,
    "TOO_MANY_REQUESTS",
    "Too many attempts",
    "Wait a moment, then try again.",
)
SERVER_ERROR = Problem(
    500,
    "SERVER_ERROR",
    "Something went wrong on our side",
    "Send the request again; the same events twice are harmless. If it keeps failing, tell Zego the "
    "requestId.",
)
UNAVAILABLE = Problem(
    503,
    "UNAVAILABLE",
    "The service cannot store requests just now",
    "Send the same request again after the seconds in Retry-After; the same events twice are harmless.",
)

# The same for people in a browser, who send no body and read no specification.
PAGE_UNAVAILABLE = Problem(
    503,
    "UNAVAILABLE",
    "We are away for a moment",
    "Wait a few seconds and load the page again. What you agreed to before is kept.",
)
BROKEN_REQUEST = Problem(
    400,
    "BAD_REQUEST",
    "We did not understand that",
    "Go back, load the page again, and try once more.",
)
FORBIDDEN = Problem(403, "FORBIDDEN", "Not allowed", "Sign in with an account that may see this.")
FORM_TOO_OLD = Problem(
    403,
    "CSRF",
    "This page was open for too long",
    "Nothing has happened. Go back, load the page again, and try once more; cookies must be allowed.",
)
NO_SUCH_PAGE = Problem(
    404, "NOT_FOUND", "There is no such page", "Check the address, or start at your account page."
)
PAGE_FAILED = Problem(
    500,
    "SERVER_ERROR",
    "Something went wrong on our side",
    "Try once more. If it keeps failing, write to us and quote the number below.",
)


@dataclass(frozen=True, slots=True)
class ItemError:
    """What is wrong with one item of a body: its index (None: the whole body), field and reason."""

    index: int | None
    field: str | None
    reason: str


class ApiError(Exception):
    """Raised on the way of an API request; becomes the answer that `problem` describes."""

    def __init__(
        self,
        problem: Problem,
        *,
        errors: Iterable[ItemError] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(problem.code)
        self.problem = problem
        self.errors = list(errors)
        self.headers = headers or {}


def respond(request: HttpRequest | Request, error: ApiError) -> HttpResponse:
    """The answer for `error`, in the form that the client's Accept header asks for."""
    problem = error.problem
    if PROBLEM_JSON in request.headers.get("Accept", "").lower():
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": problem.title,
            "status": problem.status,
            "detail": problem.detail,
            "error": problem.code,
            "requestId": str(getattr(request, "request_id", "")),
            "errors": [asdict(item) for item in error.errors],
        }
        content_type = PROBLEM_JSON
    else:
        body, content_type = {"error": problem.code}, "application/json"
    content = json.dumps(body, separators=(",", ":"))
    headers = {"Vary": "Accept", **error.headers, **_retry_after(problem)}
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'ApiKey realm="zego"'
    return HttpResponse(content, status=problem.status, content_type=content_type, headers=headers)


def from_exception(error: BaseException) -> ApiError:
    """The ApiError that stands for any exception an API view may raise."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, exceptions.MethodNotAllowed):
        return ApiError(METHOD_NOT_ALLOWED)
    if isinstance(error, DatabaseError) and is_outage(error):
        log.warning("database_away", sqlstate=sqlstate(error))
        return ApiError(UNAVAILABLE)
    log.error("request_failed", exc_info=error)
    return ApiError(SERVER_ERROR)


def exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponse:
    """DRF's EXCEPTION_HANDLER: answers every exception, so that none reaches an API client."""
    return respond(context["request"], from_exception(error))


def _answer(request: HttpRequest, problem: Problem) -> HttpResponse:
    """JSON under /v1 and for clients that do not ask for HTML; else a plain page."""
    if request.path.startswith("/v1") or "text/html" not in request.headers.get("Accept", ""):
        return respond(request, ApiError(problem))
    response = render(request, "zego_api/error.html", {"problem": problem}, status=problem.status)
    for name, value in _retry_after(problem).items():
        response[name] = value
    return response


def _retry_after(problem: Problem) -> dict[str, str]:
    seconds = RETRY_AFTER_SECONDS.get(problem.status)
    return {} if seconds is None else {"Retry-After": str(seconds)}


def unavailable(request: HttpRequest) -> HttpResponse:
    """For pages whose database is away."""
    return _answer(request, UNAVAILABLE if request.path.startswith("/v1") else PAGE_UNAVAILABLE)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400: a host that is not ours, a broken form."""
    return _answer(request, INVALID_DATA if request.path.startswith("/v1") else BROKEN_REQUEST)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    return _answer(request, FORBIDDEN)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF_FAILURE_VIEW: a form from elsewhere, or one left open across a sign-in."""
    return _answer(request, FORM_TOO_OLD)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    return _answer(request, NOT_FOUND if request.path.startswith("/v1") else NO_SUCH_PAGE)


def too_many(request: HttpRequest) -> HttpResponse:
    """django-allauth's handler429, and ours."""
    return _answer(request, TOO_MANY)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500; Django has logged the traceback.

    A database that goes away while the session is saved is noticed no earlier than here.
    """
    error = sys.exc_info()[1]
    if isinstance(error, DatabaseError) and is_outage(error):
        return unavailable(request)
    return _answer(request, SERVER_ERROR if request.path.startswith("/v1") else PAGE_FAILED)
