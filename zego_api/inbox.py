"""/inbox/: the mails of a local run, which go into files instead of to people."""

import email
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from zego_api.mail import mail_directory

SHOWN = 50
# Django's file backend ends each mail with such a line. One inside a mail is not followed by a header.
_END = re.compile(rb"^-{79}\n(?=[A-Za-z-]+:|\Z)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail as its recipient would read it."""

    to: str
    subject: str
    at: datetime | None
    text: str


def inbox(request: HttpRequest) -> HttpResponse:
    """The newest mails, the newest first; 404 wherever mails go out to people."""
    directory = mail_directory(settings.EMAIL_URL)
    if not settings.INSECURE_HTTP or directory is None:
        raise Http404
    mails = sorted(_mails(directory), key=lambda mail: mail.at.timestamp() if mail.at else 0.0)
    return render(request, "zego_api/inbox.html", {"mails": mails[: -SHOWN - 1 : -1]})


def _mails(directory: Path) -> Iterator[Mail]:
    """All mails, in the order in which they were written as far as the files tell."""
    files = [(path.stat().st_mtime_ns, path) for path in directory.glob("*.log")]
    for _, path in sorted(files):
        # What follows the last separator is being written.
        for part in _END.split(path.read_bytes())[:-1]:
            yield _read(email.message_from_bytes(part, policy=default))


def _read(message: EmailMessage) -> Mail:
    body = message.get_body(("plain",))
    date = message["Date"]
    return Mail(
        to=str(message["To"]),
        subject=str(message["Subject"]),
        at=date.datetime if date else None,
        text=body.get_content() if body else "",
    )
