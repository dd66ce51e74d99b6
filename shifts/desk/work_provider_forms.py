"""The forms about a work provider and its keys."""

import re
import zoneinfo
from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError

from linking.models import LinkPolicy, WorkProvider, validate_timezone
from shifts.desk.pages import ReasonForm
from shifts.onboarding import Settings

_HOURS = re.compile(r"([0-9]{1,4})(?::([0-5][0-9])(?::([0-5][0-9]))?)?", re.ASCII)
ROLL_DAYS = 7


class HoursField(forms.CharField):
    """A length of time as people say it: 14, 14:30 or 14:30:00 hours; cleans to a timedelta."""

    def __init__(self, *, least: timedelta = timedelta(0), **options: Any) -> None:
        self.least = least
        super().__init__(**options)

    def clean(self, value: Any) -> timedelta | None:
        text = super().clean(value)
        if not text:
            return None
        match = _HOURS.fullmatch(text)
        if match is None:
            raise ValidationError("Write hours, such as 14 or 14:30.")
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        length = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        if length < self.least:
            raise ValidationError(f"At least {in_hours(self.least)} h.")
        return length

    def prepare_value(self, value: Any) -> Any:
        return in_hours(value) if isinstance(value, timedelta) else value


def in_hours(length: timedelta) -> str:
    """14:00, or 14:00:30 where there are seconds."""
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    text = f"{minutes // 60}:{minutes % 60:02}"
    return f"{text}:{seconds:02}" if seconds else text


class SettingsForm(ReasonForm):
    """What is agreed with a work provider."""

    name = forms.CharField(
        max_length=100,
        help_text="As it stands in link URLs (wp), and as drivers read it.",
    )
    timezone = forms.CharField(
        label="Time zone",
        max_length=64,
        validators=[validate_timezone],
        widget=forms.TextInput(attrs={"list": "zones", "autocomplete": "off"}),
        help_text="In which timestamps without an offset are read. Type a city to find it.",
    )
    link_policy = forms.ChoiceField(
        label="Link policy",
        choices=LinkPolicy.choices,
        help_text="How far a link URL is trusted; what each risks stands below.",
    )
    max_future = HoursField(
        label="Furthest ahead",
        help_text="In hours. An event further ahead of our clock than this is refused.",
    )
    max_shift_length = HoursField(
        label="Longest shift",
        required=False,
        least=timedelta(minutes=1),
        help_text="In hours. A shift without a logout ends after this.",
    )
    no_maximum = forms.BooleanField(
        label="There is no longest shift",
        required=False,
        help_text="A forgotten logout then leaves a driver insured until somebody notices.",
    )

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not name.isprintable():
            raise ValidationError("A name has no line ends or other control characters.")
        return name

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        given = cleaned.get("max_shift_length") is not None
        if given is bool(cleaned.get("no_maximum")) and "max_shift_length" not in self.errors:
            self.add_error(
                "max_shift_length", "Give the longest shift, or tick that there is none."
            )
        return cleaned

    def settings(self) -> Settings:
        """Of a valid form."""
        cleaned = self.cleaned_data
        return Settings(
            name=cleaned["name"],
            timezone=cleaned["timezone"],
            link_policy=cleaned["link_policy"],
            max_future=cleaned["max_future"],
            max_shift_length=cleaned["max_shift_length"],
            is_active=cleaned.get("is_active", True),
        )

    def refuse(self, error: ValidationError) -> None:
        """Show what the models said, beside the field it is about."""
        if not hasattr(error, "error_dict"):
            self.add_error(None, error)
            return
        for name, errors in error.error_dict.items():
            self.add_error(name if name in self.fields else None, errors)


class AddForm(SettingsForm):
    """A new work provider, with its first key."""

    is_test = forms.BooleanField(
        label="It is a sandbox",
        required=False,
        help_text="Never mixed with live: its keys begin zego_test_, its customers are test customers. "
        "It stays what it is.",
    )
    terms_version = forms.CharField(
        label="Version of its terms",
        max_length=20,
        required=False,
        help_text="Such as 2026-11. Without terms drivers agree to Zego's alone.",
    )
    terms_text = forms.CharField(
        label="Text of its terms",
        required=False,
        widget=forms.Textarea(attrs={"rows": 6}),
        help_text="Plain text; an empty line starts a paragraph. A version is never changed.",
    )
    key_label = forms.CharField(
        label="What its first key is for",
        max_length=100,
        required=False,
        help_text="Such as “production”. The key itself is shown once, on the next page.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        initial = {
            "timezone": "Europe/London",
            "link_policy": LinkPolicy.OPEN,
            "max_future": WorkProvider._meta.get_field("max_future").default,  # noqa: SLF001
            "max_shift_length": settings.DEFAULT_MAX_SHIFT_LENGTH,
        }
        super().__init__(*args, initial=initial, **options)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if bool(cleaned.get("terms_version")) is not bool(cleaned.get("terms_text")):
            lacking = "terms_text" if cleaned.get("terms_version") else "terms_version"
            self.add_error(lacking, "Terms have a version and a text: give both or neither.")
        return cleaned

    def terms(self) -> tuple[str, str] | None:
        """Version and text, of a valid form."""
        version = self.cleaned_data["terms_version"]
        return (version, self.cleaned_data["terms_text"]) if version else None


class ChangeForm(SettingsForm):
    """What is agreed with a work provider, changed; what was shown of the effect is sent back."""

    is_active = forms.BooleanField(
        label="It is active",
        required=False,
        help_text="Unticked: its keys and links are refused; what was accepted still counts.",
    )
    seen = forms.CharField(required=False, widget=forms.HiddenInput)


class IssueKeyForm(ReasonForm):
    """A further key."""

    label = forms.CharField(
        label="What it is for", max_length=100, required=False, help_text="Such as “production”."
    )
    days = forms.IntegerField(
        label="Days it lives",
        min_value=1,
        max_value=3660,
        required=False,
        help_text="Empty: until somebody revokes it.",
    )


class RollKeyForm(ReasonForm):
    """The successor of a key."""

    days = forms.IntegerField(
        label="Days the old key lives on",
        min_value=0,
        max_value=90,
        initial=ROLL_DAYS,
        help_text="Time for the work provider to put the new one in. 0: it dies at once.",
    )


def zones() -> list[str]:
    """The time zones to choose from: places, without the old names kept for old programs."""
    return sorted(name for name in zoneinfo.available_timezones() if "/" in name or name == "UTC")
