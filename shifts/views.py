"""The four addresses that work providers post to."""

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from linking.keys import Credentials
from shifts import rejected
from shifts.accept import accept
from zego_api.errors import INVALID_DATA, LENGTH_REQUIRED, TOO_LARGE, ApiError, ItemError
from zego_api.middleware import request_id_of

# To the letter what the specification's scripts print; its table has it without the space.
PENDING = b'{"status": "PENDING"}'


class AnyAccept(BaseContentNegotiation):
    """Answers are JSON whatever Accept asks for; a 406 would help nobody."""

    def select_parser(self, request: Request, parsers: Any) -> None:
        return None

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class EventsView(APIView):
    """POST one event, or a batch of them, of one kind.

    The body is read as JSON whatever Content-Type says, so no DRF parser takes part.
    """

    http_method_names = ["post"]
    content_negotiation_class = AnyAccept
    kind = ""
    is_batch = False
    credentials: Credentials | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """405 comes before 401: no key makes a wrong method right."""
        if request.method != "POST":
            raise MethodNotAllowed(str(request.method))
        super().initial(request, *args, **kwargs)

    def handle_exception(self, exc: Exception) -> Any:
        """What is refused is kept for a while, so that it can be explained."""
        answer = super().handle_exception(exc)
        if isinstance(exc, ApiError):
            rejected.keep_after(answer, self.request, exc, self.credentials)
        return answer

    def post(self, request: Request) -> HttpResponse:
        credentials: Any = request.user  # no user of Django's: see authentication.py
        self.credentials = credentials
        accept(
            credentials,
            kind=self.kind,
            is_batch=self.is_batch,
            body=read_body(request),
            request_id=request_id_of(request._request),  # noqa: SLF001
            now=timezone.now(),
        )
        return HttpResponse(PENDING, status=202, content_type="application/json")


def read_body(request: Request) -> bytes:
    """The raw body; ApiError 411 without a length, 413 when it is too large, before reading it."""
    length = request.META.get("CONTENT_LENGTH") or ""
    if request.META.get("HTTP_TRANSFER_ENCODING"):
        raise ApiError(LENGTH_REQUIRED)
    if length.isdigit() and int(length) > settings.BODY_MAX_BYTES:
        raise ApiError(TOO_LARGE)
    try:
        body = request._request.body  # noqa: SLF001
    except RequestDataTooBig:
        raise ApiError(TOO_LARGE) from None
    if length.isdigit() and len(body) < int(length):
        raise ApiError(INVALID_DATA, errors=[ItemError(None, None, "The body broke off.")])
    return body
