"""What a work provider's engineer needs, to copy: addresses, header, requests, answers.

The examples run as they stand, once the key is in the environment; tests run them. The key itself is in
none of them.
"""

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import path
from django.utils import timezone

from linking import tokens
from linking.models import ApiKey, DriverLink, LinkPolicy, WorkProvider
from shifts.desk.pages import page, show
from shifts.desk.work_provider_forms import in_hours
from zego_api import errors

ADDRESSES = (
    ("/v1/shift/login/", "one driver logged in"),
    ("/v1/shift/logout/", "one driver logged out"),
    ("/v1/batch/login/", "many drivers logged in"),
    ("/v1/batch/logout/", "many drivers logged out"),
)
PROBLEMS = (
    errors.MISSING_AUTH,
    errors.INVALID_KEY,
    errors.INVALID_DATA,
    errors.NOT_FOUND,
    errors.METHOD_NOT_ALLOWED,
    errors.LENGTH_REQUIRED,
    errors.TOO_LARGE,
    errors.SERVER_ERROR,
    errors.UNAVAILABLE,
)
SOMEBODY = "1686"  # whom the specification's own examples name


@dataclass(frozen=True, slots=True)
class Example:
    """A request, as a shell script and as a Python script, and what it prints."""

    title: str
    path: str
    curl: str
    python: str
    printed: str = 'Response status code: 202\nResponse body: {"status": "PENDING"}'


def examples(base_url: str, driver_id: str) -> list[Example]:
    """A login now, the logout after it, and both drivers' logouts in a batch."""
    return [
        _single("One driver logs in", f"{base_url}/v1/shift/login/", driver_id),
        _single("The same driver logs out", f"{base_url}/v1/shift/logout/", driver_id),
        _batch("Several log out in one request", f"{base_url}/v1/batch/logout/", driver_id),
    ]


def link_script(base_url: str, work_provider: WorkProvider, driver_id: str) -> str:
    """A Python script that prints a driver's link, signed where the policy asks for it."""
    signed = work_provider.link_policy == LinkPolicy.SIGNED
    return render_to_string(
        "desk/partner_link.py.txt",
        {
            "wp": json.dumps(work_provider.name, ensure_ascii=False),
            "wp_id": json.dumps(driver_id, ensure_ascii=False),
            "url": json.dumps(base_url + tokens.PATH),
            "signed": signed,
        },
    )


def _single(title: str, url: str, driver_id: str) -> Example:
    return Example(
        title, url, _curl(url, driver_id, is_batch=False), _python(url, driver_id, is_batch=False)
    )


def _batch(title: str, url: str, driver_id: str) -> Example:
    return Example(
        title, url, _curl(url, driver_id, is_batch=True), _python(url, driver_id, is_batch=True)
    )


def _curl(url: str, driver_id: str, *, is_batch: bool) -> str:
    """The body comes from standard input, so that no quoting of the shell's stands in its way."""
    item = f'{{"driverId": {_in_shell(json.dumps(driver_id))}, "timestamp": "$NOW"}}'
    return "\n".join(
        [
            "NOW=$(date -u +%Y-%m-%dT%H:%M:%SZ)",
            f"curl --silent '{url}' \\",
            "  --header \"Authorization: $ZEGO_KEY\" --header 'Content-Type: application/json' \\",
            "  --write-out '\\n%{http_code}\\n' --data-binary @- <<EOF",
            f"[{item}]" if is_batch else item,
            "EOF",
        ]
    )


def _in_shell(text: str) -> str:
    """What a here-document reads as this text."""
    return re.sub(r"[\\`$]", r"\\\g<0>", text)


def _python(url: str, driver_id: str, *, is_batch: bool) -> str:
    return render_to_string(
        "desk/partner_request.py.txt",
        {
            "url": json.dumps(url),
            "driver_id": json.dumps(driver_id, ensure_ascii=False),
            "is_batch": is_batch,
        },
    ).strip()


@page("linking.view_workprovider")
def partner(request: HttpRequest, pk: int) -> HttpResponse:
    """The page for the partner's engineer: to print, or to copy from."""
    return show(request, "desk/partner.html", title="For their engineer", **_facts(pk))


@page("linking.view_workprovider")
def partner_text(request: HttpRequest, pk: int) -> HttpResponse:
    """The same as plain text, for a mail."""
    text = render_to_string("desk/partner.txt", _facts(pk))
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


def _facts(pk: int) -> dict[str, Any]:
    row = get_object_or_404(WorkProvider, pk=pk)
    base_url = settings.PUBLIC_URL
    driver_id = _some_driver_id(row)
    link = {"wp": row.name, "wp_id": driver_id or SOMEBODY, "email": "driver@example.com"}
    return {
        "work_provider": row,
        "base_url": base_url,
        "key": _newest_key(row),
        "environment": "test" if row.is_test else "live",
        "driver_id": driver_id,
        "addresses": [(base_url + address, what) for address, what in ADDRESSES],
        "examples": examples(base_url, driver_id or SOMEBODY),
        "link_url": f"{base_url}{tokens.PATH}?{urlencode(link, quote_via=quote)}",
        "link_script": link_script(base_url, row, driver_id or SOMEBODY),
        "is_signed": row.link_policy == LinkPolicy.SIGNED,
        "signed_days": settings.SIGNED_LINK_MAX_AGE.days,
        "problems": PROBLEMS,
        "furthest": in_hours(row.max_future),
        "batch_events": settings.BATCH_MAX_EVENTS,
        "body_mib": settings.BODY_MAX_BYTES // 2**20,
    }


def _some_driver_id(row: WorkProvider) -> str | None:
    """Of a driver linked lately, and still."""
    linked = DriverLink.objects.filter(work_provider=row, unlinked_at__isnull=True)
    return linked.order_by("-pk").values_list("driver_id", flat=True).first()


def _newest_key(row: WorkProvider) -> ApiKey | None:
    unexpired = Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now())
    return row.api_keys.filter(unexpired, revoked_at__isnull=True).order_by("-pk").first()


urlpatterns = [
    path("work-providers/<int:pk>/partner/", partner, name="partner"),
    path("work-providers/<int:pk>/partner.txt", partner_text, name="partner-text"),
]
