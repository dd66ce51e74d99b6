"""Addresses under /v1/, each with and without the final slash."""

from django.urls import re_path

from shifts.models import Kind
from shifts.views import EventsView

urlpatterns = [
    re_path(
        rf"^{family}/{kind}/?\Z",
        EventsView.as_view(kind=kind, is_batch=family == "batch"),
        name=f"{family}-{kind}",
    )
    for family in ("shift", "batch")
    for kind in (Kind.LOGIN.value, Kind.LOGOUT.value)
]
