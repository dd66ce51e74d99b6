"""The driver's own page under /account/, and what can be done there."""

from typing import IO

from allauth.core.exceptions import ReauthenticationRequired
from django import forms
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from linking import flows, people
from linking.accounts import signed_in_recently, user_of
from linking.models import DriverLink, LinkRequest, Terms
from shifts import account, account_exports

_WORD = "DELETE"


class DeleteForm(forms.Form):
    """A word that nobody types by accident."""

    confirmation = forms.CharField(
        label=f"Type {_WORD} to confirm",
        error_messages={"required": f"Type {_WORD} if you want to delete your account."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def clean_confirmation(self) -> str:
        typed: str = self.cleaned_data["confirmation"]
        if typed.upper() != _WORD:
            raise ValidationError(f"Nothing was deleted: this is not the word {_WORD}.")
        return typed


@login_required
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The driver's own page; for somebody without insurance, a page that says so."""
    now = timezone.now()
    user = user_of(request)
    customer = flows.customer_or_none(user)
    if customer is None:
        offers = account.offers(user, [], now)
        return render(request, "shifts/no_insurance.html", {"offers": offers})
    overview = account.overview(user, customer, now)
    return render(request, "shifts/account.html", {"overview": overview, "offers": overview.offers})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def unlink(request: HttpRequest, link_id: int) -> HttpResponse:
    """Ask whether to end a link; a POST ends it."""
    now = timezone.now()
    mine = DriverLink.objects.filter(customer__user=user_of(request))
    link = get_object_or_404(mine.select_related("work_provider", "customer"), pk=link_id)
    name = link.work_provider.name
    if link.unlinked_at is not None and link.unlinked_at <= now:
        messages.info(request, f"You were not linked to {name} any more.")
        return redirect("account")
    if request.method == "POST":
        flows.unlink(link, by=DriverLink.EndedBy.DRIVER, now=now)
        messages.success(request, f"You are not linked to {name} any more.")
        return redirect("account")
    context = {"link": link, "is_on_shift": account.open_shift(link, now) is not None}
    return render(request, "shifts/unlink.html", context)


@login_required
@require_POST
def cancel_request(request: HttpRequest, request_id: int) -> HttpResponse:
    """Take back an agreement that waits for the work provider."""
    mine = LinkRequest.objects.filter(customer__user=user_of(request)).select_related(
        "work_provider"
    )
    waiting = get_object_or_404(mine, pk=request_id)
    flows.cancel_request(waiting, now=timezone.now())
    waiting.refresh_from_db(fields=["state"])
    name = waiting.work_provider.name
    if waiting.state == LinkRequest.State.CANCELLED:
        messages.success(request, f"Cancelled. You will not be linked to {name}.")
    else:
        messages.warning(request, f"Nothing was cancelled: {name} has decided already.")
    return redirect("account")


@login_required
@require_safe
def terms(request: HttpRequest, terms_id: int) -> HttpResponse:
    """The text of terms that the driver has agreed to."""
    agreed = Terms.objects.filter(agreements__customer__user=user_of(request))
    found = get_object_or_404(agreed.select_related("work_provider"), pk=terms_id)
    return render(request, "shifts/terms.html", {"terms": found})


@login_required
@require_safe
def shifts_csv(request: HttpRequest) -> FileResponse:
    """Every shift of the driver."""
    file = account_exports.shifts_csv(user_of(request), timezone.now())
    return _download(file, "zego-shifts.csv", "text/csv; charset=utf-8")


@login_required
@require_safe
def data_json(request: HttpRequest) -> FileResponse:
    """Everything held about the person, for whoever has given their password a moment ago."""
    _require_recent_sign_in(request)
    file = account_exports.everything_json(user_of(request), timezone.now())
    return _download(file, "zego-data.json", "application/json")


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest) -> HttpResponse:
    """Say what goes and what stays; a POST with the word typed deletes the person's data."""
    user = user_of(request)
    if user.is_staff:
        return render(request, "shifts/delete_staff.html", status=403)
    form = DeleteForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        _require_recent_sign_in(request)
        people.erase(user, now=timezone.now())
        logout(request)
        return redirect("account-deleted")
    return render(request, "shifts/delete.html", {"form": form})


@require_safe
def deleted(request: HttpRequest) -> HttpResponse:
    """Goodbye."""
    if request.user.is_authenticated:
        return redirect("account")
    return render(request, "shifts/deleted.html")


def _download(file: IO[bytes], name: str, content_type: str) -> FileResponse:
    return FileResponse(file, as_attachment=True, filename=name, content_type=content_type)


def _require_recent_sign_in(request: HttpRequest) -> None:
    if not signed_in_recently(request):
        raise ReauthenticationRequired
