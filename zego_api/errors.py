"""Every error body of the service, in one place.

API clients get exactly `{"error": CODE}` (docs/domain.md, "The wire"), or RFC 9457 problem details when
they send `Accept: application/problem+json`. People in a browser get a plain page. Nobody gets a
traceback; the request id in `X-Request-Id` leads to it in the log.
"""

import json
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

RETRY_AFTER_SECONDS = 5
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
    headers = {"Vary": "Accept", **error.headers}
    if problem is UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
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
    return render(request, "zego_api/error.html", {"problem": problem}, status=problem.status)


def unavailable(request: HttpRequest) -> HttpResponse:
    """For pages whose database is away."""
    return _answer(request, UNAVAILABLE)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400: a host that is not ours, a broken form."""
    return _answer(request, INVALID_DATA)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    return _answer(
        request,
        Problem(403, "FORBIDDEN", "Not allowed", "Sign in with an account that may see this."),
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    return _answer(request, NOT_FOUND)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500; Django has logged the traceback."""
    return _answer(request, SERVER_ERROR)
