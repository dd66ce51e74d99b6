"""The key in `Authorization`: sent as it is, without a scheme; `Bearer KEY` is tolerated."""

from typing import Any

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from linking import keys
from zego_api.errors import INVALID_KEY, MISSING_AUTH, ApiError


class ApiKeyAuthentication(BaseAuthentication):
    """`request.user` becomes the keys.Credentials of the work provider."""

    def authenticate(self, request: Request) -> tuple[Any, None]:
        """Raises ApiError, the 401s of docs/domain.md."""
        header: str = request.META.get("HTTP_AUTHORIZATION", "").strip()
        if not header:
            raise ApiError(MISSING_AUTH)
        scheme, _, rest = header.partition(" ")
        key = rest.strip() if scheme.lower() == "bearer" else header
        credentials = keys.verify(key, now=timezone.now())
        if credentials is None:
            raise ApiError(INVALID_KEY)
        return credentials, None
