"""The key in `Authorization`: sent as it is, without a scheme; `Bearer KEY` is tolerated."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from linking import keys
from zego_api.errors import INVALID_KEY, MISSING_AUTH, ApiError


class ApiKeyAuthentication(BaseAuthentication):
    """`request.user` becomes the keys.Credentials of the work provider."""

    def authenticate(self, request: Request) -> tuple[Any, None]:
        """Raises ApiError, the 401s of docs/domain.md."""
        key = sent_key(request)
        if not key:
            raise ApiError(MISSING_AUTH)
        credentials = keys.verify(key, now=timezone.now())
        if credentials is None:
            raise ApiError(INVALID_KEY)
        return credentials, None


def sent_key(request: Request | HttpRequest) -> str:
    """What was sent as a key; empty without one."""
    header: str = request.META.get("HTTP_AUTHORIZATION", "").strip()
    scheme, _, rest = header.partition(" ")
    return rest.strip() if rest and scheme.lower() == "bearer" else header
