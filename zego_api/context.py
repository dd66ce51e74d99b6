"""What every page knows."""

from django.conf import settings
from django.http import HttpRequest


def support(request: HttpRequest) -> dict[str, str]:
    """`support_email`: the address that drivers write to; empty where there is none."""
    return {"support_email": settings.SUPPORT_EMAIL}
