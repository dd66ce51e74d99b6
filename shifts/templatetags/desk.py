"""How the desk shows instants, shifts and lengths."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from shifts.desk.words import ENDINGS
from shifts.models import Shift

register = template.Library()


@register.filter
def both(at: datetime | None, zone: str = "UTC") -> SafeString | str:
    """An instant in the work provider's zone and in UTC, to the second."""
    if at is None:
        return "-"
    utc = at.astimezone(UTC)
    local = at.astimezone(ZoneInfo(zone))
    if local.utcoffset() == timedelta(0):
        return _time(utc, f"{utc:%Y-%m-%d %H:%M:%S} UTC")
    same_day = local.date() == utc.date()
    other = f"{utc:%H:%M:%S}" if same_day else f"{utc:%Y-%m-%d %H:%M:%S}"
    return format_html(
        '{} <span class="d-utc">{} UTC</span>',
        _time(utc, f"{local:%Y-%m-%d %H:%M:%S} {local:%Z}"),
        other,
    )


def _time(utc: datetime, text: str) -> SafeString:
    return format_html('<time datetime="{}">{}</time>', utc.isoformat(), text)


@register.filter
def ago(at: datetime | None) -> str:
    """How long ago, in one unit: "12 min ago", "in 3 h"."""
    if at is None:
        return "never"
    seconds = (timezone.now() - at).total_seconds()
    text = brief(timedelta(seconds=abs(seconds)))
    return f"{text} ago" if seconds >= 0 else f"in {text}"


@register.filter
def brief(length: timedelta) -> str:
    """A length in one unit."""
    seconds = int(length.total_seconds())
    for unit, size in (("d", 2 * 86_400), ("h", 2 * 3600), ("min", 2 * 60)):
        if abs(seconds) >= size:
            return f"{seconds // (size // 2)} {unit}"
    return f"{seconds} s"


@register.filter
def hours(length: timedelta | None) -> str:
    """A length as hours, minutes and seconds: "8:03:00"; a hyphen for None."""
    if length is None:
        return "-"
    seconds = int(length.total_seconds())
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


@register.filter
def ends(shift: Shift, zone: str = "UTC") -> SafeString | str:
    """A shift's end as it reads now, and how it came about."""
    end, reason = shift.end_as_of(timezone.now())
    if end is None:
        return "on shift now"
    return format_html("{} {}", both(end, zone), ENDINGS[reason])
