"""What load balancers and people who only know the host ask first."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from zego_api.db import is_reachable


def alive(request: HttpRequest) -> HttpResponse:
    """200 while the process can answer at all; restart it when this fails."""
    return JsonResponse({"status": "ALIVE"})


def ready(request: HttpRequest) -> HttpResponse:
    """200 while the database answers, else 503; a broker that is away does not matter here."""
    if is_reachable():
        return JsonResponse({"status": "READY"})
    return JsonResponse({"status": "DATABASE_AWAY"}, status=503)


def front(request: HttpRequest) -> HttpResponse:
    """Says what this is to someone who opens the bare address."""
    return render(request, "zego_api/front.html")
