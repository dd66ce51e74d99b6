"""The admin's site: who gets in, and by which policy its pages run (docs/ops.md)."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.decorators import secure_admin_login
from allauth.mfa.utils import is_mfa_enabled
from csp.decorators import csp_update
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.sites import UnfoldAdminSite

from linking.accounts import user_of

View = Callable[..., HttpResponse]

# Unfold's pages run on Alpine, which makes functions of attributes, and set colours in a <style>.
_admin_policy = csp_update({"script-src": ["'unsafe-eval'"], "style-src": ["'unsafe-inline'"]})


class DeskSite(UnfoldAdminSite):  # type: ignore[misc]
    """Staff sign in where drivers do, so that limits and second factors hold for them too."""

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        """A page of the admin: for staff, with a second factor where settings demand one."""
        guarded: View = super().admin_view(_admin_policy(view), cacheable)

        @wraps(view)
        def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if self.has_permission(request) and lacks_second_factor(request):
                messages.warning(request, "Staff need two-step sign-in: turn it on to go on.")
                return redirect("mfa_index")
            return guarded(request, *args, **kwargs)

        return inner

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The one page to sign in on; whoever is signed in and no staff is refused."""
        to_desk = secure_admin_login(lambda request: redirect("admin:index"))
        response: HttpResponse = to_desk(request)
        return response

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """On one's own pages, which know how to prove who it is."""
        return redirect("account_change_password")


def lacks_second_factor(request: HttpRequest) -> bool:
    """Whether a second factor is demanded of this member of staff, who has none."""
    return settings.STAFF_NEED_TWO_FACTOR and not is_mfa_enabled(user_of(request))
