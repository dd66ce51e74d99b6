"""Mails to drivers: a text template each, and one calm design around it.

`<template>_subject.txt` and `<template>_message.txt` are rendered; the HTML is made of the text, so that
the two never say different things.
"""

from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string


def render(template: str, to: str, context: dict[str, Any]) -> EmailMultiAlternatives:
    """The mail, ready to be sent; links in it start with `public_url`."""
    context = {
        "public_url": settings.PUBLIC_URL,
        "support_email": settings.SUPPORT_EMAIL,
        "email": to,
        **context,
    }
    subject = " ".join(render_to_string(f"{template}_subject.txt", context).split())
    text = render_to_string(f"{template}_message.txt", context).strip() + "\n"
    html = render_to_string("zego_api/mail.html", {"subject": subject, "text": text, **context})
    if settings.SUPPORT_EMAIL:  # which is at the foot of the HTML too
        text += f"\nQuestions? Write to {settings.SUPPORT_EMAIL}.\n"
    message = EmailMultiAlternatives(subject, text, settings.DEFAULT_FROM_EMAIL, [to])
    message.attach_alternative(html, "text/html")
    return message


def send(template: str, to: str, **context: Any) -> None:
    """Send one; inside a transaction it leaves only if that is committed."""
    render(template, to, context).send()
