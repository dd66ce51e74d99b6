"""The pages between a work provider's link and an insured driver."""

import uuid
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from allauth.account.views import signup as allauth_signup
from allauth.core.exceptions import ReauthenticationRequired
from django import forms
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from linking import flows, identifiers, intents, terms, tokens, words
from linking.accounts import signed_in_recently, user_of
from linking.flows import Followed, Outcome, Step
from linking.forms import ConsentForm, TermsForm
from linking.models import LinkIntent, LinkPolicy, WorkProvider
from zego_api import limits
from zego_api.errors import too_many

_TARGETS = {
    Step.CONSENT: "link-consent",
    Step.LOGIN: "account_login",
    Step.SIGNUP: "account_signup",
}
_SWITCHABLE = {
    Outcome.NOT_A_DRIVER,
    Outcome.UNVERIFIED,
    Outcome.SANDBOX,
    Outcome.OTHER_DRIVER_ID,
    Outcome.TAKEN,
}


class BadLink(Exception):  # noqa: N818 (it is no defect of ours)
    """The URL cannot be followed; `words` tell the driver why."""

    def __init__(self, told: words.Words) -> None:
        super().__init__(told.title)
        self.words = told


@require_safe
def follow(request: HttpRequest) -> HttpResponse:
    """`/link-work-provider`: store an intent, and send the driver on (the specification's 302)."""
    now = timezone.now()
    network = limits.client_network(request)
    if not _allowed("ip", network):
        return _without_referrer(too_many(request))
    try:
        followed = read_link(request.GET, now)
    except BadLink as bad:
        return _without_referrer(_tell(request, bad.words))
    owner = str(followed.work_provider.pk)
    if not (_allowed("email", network, followed.email) and _allowed("work_provider", owner)):
        return _without_referrer(too_many(request))
    intents.remember(request, flows.open_intent(followed, now))
    return _without_referrer(redirect(_TARGETS[flows.next_step(request.user, followed.email)]))


def sign_up(request: HttpRequest) -> HttpResponse:
    """django-allauth's sign-up; a POST is one transaction, and one at a time for each session.

    A double click would else make two accounts, or lose the code that the first was sent. The second
    POST meets the first one's session, and is led to the code.
    """
    response: HttpResponse
    if request.method != "POST" or request.session.session_key is None:
        response = allauth_signup(request)
        return response
    with transaction.atomic():
        with connection.cursor() as cursor:
            name = f"sign-up {request.session.session_key}"
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
        request.session = type(request.session)(request.session.session_key)
        response = allauth_signup(request)
        if request.session.modified:
            request.session.save()
    return response


def _without_referrer(response: HttpResponse) -> HttpResponse:
    """The address holds an email: what the page loads or leads to must not be told it."""
    response["Referrer-Policy"] = "no-referrer"
    return response


def _allowed(kind: str, *key: str) -> bool:
    """Count a link that is followed.

    An email counts for each network by itself, so that nobody can shut a driver out from elsewhere; a
    work provider counts only links that are good.
    """
    return limits.allow(settings.LINK_LIMITS[kind], "link", kind, *key)


def read_link(query: QueryDict, now: datetime) -> Followed:
    """What a link's parameters say; raises BadLink."""
    wp, wp_id, email = (_single(query, name) for name in ("wp", "wp_id", "email"))
    try:
        name = identifiers.clean(wp)
        driver_id = identifiers.clean(wp_id)
        address = forms.EmailField(max_length=254).clean(email).lower()
    except (ValueError, ValidationError):
        raise BadLink(words.MISSING) from None
    provider = WorkProvider.objects.filter(name__iexact=name, is_active=True).first()
    if provider is None:
        raise BadLink(words.UNKNOWN_WORK_PROVIDER)
    signed = None
    if provider.link_policy == LinkPolicy.SIGNED:
        signed = _signed(provider, query, {"wp": wp, "wp_id": wp_id, "email": email}, now)
    return Followed(provider, driver_id, address, signed)


def _single(query: QueryDict, name: str) -> str:
    """A parameter that stands in the URL once; which of two would count is anybody's guess."""
    values = query.getlist(name)
    if len(values) != 1:
        raise BadLink(words.MISSING)
    return str(values[0])


def _signed(
    provider: WorkProvider, query: QueryDict, values: dict[str, str], now: datetime
) -> tokens.Signed:
    try:
        expires, signature = _single(query, "expires"), _single(query, "signature")
        return tokens.verify(provider, **values, expires=expires, signature=signature, now=now)
    except tokens.ExpiredSignature:
        raise BadLink(words.EXPIRED_SIGNATURE) from None
    except tokens.SpentAlready:
        raise BadLink(words.SPENT_SIGNATURE) from None
    except tokens.BadSignature:
        raise BadLink(words.BAD_SIGNATURE) from None


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def consent(request: HttpRequest) -> HttpResponse:
    """Ask for the driver's yes to what the open link says; a POST is their answer."""
    now = timezone.now()
    intent = _named_intent(request)
    if intent is None and request.method != "POST":
        intent = intents.current(request, now) or intents.latest(request)
    if intent is None:
        return _tell(request, words.NO_INTENT)
    if found := flows.standing(intent, user_of(request), now):
        return _outcome(request, intent, found)
    if "cancel" in request.POST:
        flows.cancel(intent, now=now)
        return _outcome(request, intent, Outcome.CANCELLED)
    if not signed_in_recently(request):
        if request.method == "POST":  # which must not be carried out later: the page asks anew
            return redirect(f"{reverse('link-consent')}?{urlencode({'intent': intent.pk})}")
        raise ReauthenticationRequired
    return _ask(request, intent, now)


def _ask(request: HttpRequest, intent: LinkIntent, now: datetime) -> HttpResponse:
    user = user_of(request)
    shown = terms.open_for(flows.customer_or_none(user), [intent.work_provider], now)
    form = ConsentForm(
        request.POST if request.method == "POST" else None,
        initial={"intent": intent.pk},
        shown_terms=shown,
    )
    if form.is_bound and form.is_valid():
        found = flows.agree(intent.pk, user, shown, now=now)
        if found in (Outcome.LINKED, Outcome.WAITING):
            return redirect("link-done", intent.pk)
        return _outcome(request, intent, found)
    return render(request, "linking/consent.html", _about(request, intent) | {"form": form})


@login_required
@require_safe
def done(request: HttpRequest, intent_id: uuid.UUID) -> HttpResponse:
    """What an agreement has led to; can be loaded again without agreeing again."""
    intent = intents.find(request, intent_id)
    customer = flows.customer_or_none(user_of(request))
    if intent is None or customer is None or intent.agreed_by_id != customer.pk:
        return _tell(request, words.NO_INTENT)
    found = flows.standing(intent, user_of(request), timezone.now())
    fresh = found == Outcome.ALREADY_LINKED
    return _outcome(request, intent, Outcome.LINKED if fresh else found or Outcome.EXPIRED)


@require_POST
def switch(request: HttpRequest) -> HttpResponse:
    """Sign out and keep the link open, for whoever is signed in as somebody else."""
    intent = _named_intent(request)
    intents.sign_out(request, intent)
    email = intent.email if intent is not None else ""
    return redirect(_TARGETS[flows.next_step(request.user, email)])


@require_http_methods(["GET", "HEAD", "POST"])
def undo(request: HttpRequest, token: str) -> HttpResponse:
    """The mail's way to take an agreement back. A GET only asks: mail scanners open links."""
    if (agreed := tokens.read_undo_token(token)) is None:
        return _tell(request, words.UNDO_EXPIRED)
    if request.method == "POST":
        flows.undo(agreed, now=timezone.now())
        return _tell(request, words.UNDONE)
    provider = WorkProvider.objects.get(pk=agreed.work_provider_id)
    return render(request, "linking/undo.html", {"work_provider": provider})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def terms_changed(request: HttpRequest) -> HttpResponse:
    """Ask for agreement to new versions of terms; links stay valid meanwhile."""
    now = timezone.now()
    customer = flows.customer_or_none(user_of(request))
    shown = terms.changed_for(customer, now) if customer else []
    if customer is None or not shown:
        return redirect("account")
    form = TermsForm(request.POST or None, shown_terms=shown)
    if form.is_bound and form.is_valid():
        terms.agree(customer, shown, now)
        return redirect("account")
    return render(request, "linking/terms_changed.html", {"form": form})


def _named_intent(request: HttpRequest) -> LinkIntent | None:
    """The intent that a form or an offer names: another tab may have opened a newer one."""
    sent = request.POST if request.method == "POST" else request.GET
    try:
        return intents.find(request, uuid.UUID(sent.get("intent", "")))
    except ValueError:
        return None


def _tell(request: HttpRequest, told: words.Words, **context: Any) -> HttpResponse:
    return render(request, "linking/told.html", {"words": told} | context, status=told.status)


def _outcome(request: HttpRequest, intent: LinkIntent, found: Outcome) -> HttpResponse:
    told = words.OUTCOMES[found]
    name = intent.work_provider.name
    filled = told._replace(
        title=told.title.format(work_provider=name), text=told.text.format(work_provider=name)
    )
    about = _about(request, intent)
    return _tell(request, filled, outcome=found.name, can_switch=found in _SWITCHABLE, **about)


def _about(request: HttpRequest, intent: LinkIntent) -> dict[str, Any]:
    user = user_of(request)
    return {
        "intent": intent,
        "work_provider": intent.work_provider,
        "masked_driver_id": identifiers.mask(intent.driver_id),
        "customer": flows.customer_or_none(user),
        "is_other_account": intent.email
        not in {user.email.lower(), *intents.verified_emails(user)},
    }
