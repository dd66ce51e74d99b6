"""The desk's menu; unfold asks for it with each page."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse


def groups(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar: what is asked for most comes first, the bare tables last."""
    return [
        {
            "items": [
                _item("Desk", "monitoring", reverse("admin:index")),
                _item("Search", "search", reverse("desk:search")),
                _item("Cover at an instant", "verified_user", reverse("desk:cover")),
                _item("Who was on shift", "groups", reverse("desk:on-shift")),
                _item("Work providers", "storefront", reverse("desk:work-providers")),
                _item("Rejected requests", "block", reverse("desk:rejected")),
                _item("Reports", "table_view", reverse("desk:reports")),
                _item("What the desk did", "history", reverse("desk:actions")),
            ]
        },
        {
            "title": "To look at",
            "separator": True,
            "items": [
                _item(title, icon, reverse("desk:list", args=[name]))
                for name, title, icon in _LISTS
            ],
        },
        {
            "title": "Tables",
            "separator": True,
            "collapsible": True,
            "items": [
                _item(title, "table_rows", reverse(f"admin:{name}_changelist"))
                for name, title in _TABLES
                if request.user.has_perm(f"{name.replace('_', '.view_', 1)}")
            ],
        },
    ]


def account(request: HttpRequest) -> list[dict[str, Any]]:
    """One's own account, where drivers have theirs."""
    return [
        {"title": "Change password", "link": reverse("account_change_password")},
        {"title": "Two-step sign-in", "link": reverse("mfa_index")},
    ]


_LISTS = [
    ("failed", "Failed submissions", "error"),
    ("not-linked", "Sending, not linked", "person_off"),
    ("waiting-links", "Links to confirm", "how_to_reg"),
    ("taken", "Driver id taken", "person_alert"),
    ("shortened", "Cover shortened", "content_cut"),
    ("orphans", "Cover may be missing", "help"),
    ("silent", "Gone silent", "volume_off"),
    ("clock", "Clock trouble", "schedule"),
    ("auto-closed", "Closed automatically", "timer_off"),
    ("open", "On shift now", "play_circle"),
]
_TABLES = [
    ("linking_workprovider", "Work providers"),
    ("linking_customer", "Customers"),
    ("linking_driverlink", "Links"),
    ("linking_linkrequest", "Link requests"),
    ("linking_terms", "Terms"),
    ("linking_agreement", "Agreements"),
    ("shifts_submission", "Submissions"),
    ("shifts_shiftevent", "Events"),
    ("shifts_shift", "Shifts"),
    ("shifts_shiftrevision", "Revisions"),
    ("shifts_withdrawal", "Withdrawals"),
    ("shifts_shiftrule", "Shift rules"),
    ("zego_api_outgoingmail", "Mails"),
    ("linking_user", "Users"),
    ("auth_group", "Groups"),
    ("admin_logentry", "Admin log"),
]


def _item(title: str, icon: str, link: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": link}
