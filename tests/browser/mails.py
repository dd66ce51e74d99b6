"""Mails as the service delivers them here: files in a directory."""

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

from tests.running import Service, wait_until

AFTER_EACH = b"\n" + b"-" * 79 + b"\n"  # as Django's file backend writes it
CODE = re.compile(r"^\s*([A-Z]{4}-[A-Z]{4})\s*$", re.MULTILINE)
LINK = re.compile(r"https?://\S+")


class Inbox:
    """The mails to one address, each taken once."""

    def __init__(self, service: Service, address: str) -> None:
        self.address = address
        self._directory = service.directory / "mail"
        self._taken: set[str] = set()

    def take(self, subject_contains: str = "") -> EmailMessage:
        """The newest mail with this in its subject; waits until there is one not taken before."""
        found = wait_until(
            lambda: self._fresh(subject_contains),
            what=f"a mail to {self.address} with {subject_contains!r} in its subject",
        )
        self._taken.add(found[-1]["Message-ID"])
        return found[-1]

    def _fresh(self, subject_contains: str) -> list[EmailMessage]:
        return [
            mail
            for mail in delivered(self._directory, self.address)
            if subject_contains.lower() in mail["Subject"].lower()
            and mail["Message-ID"] not in self._taken
        ]


def delivered(directory: Path, address: str) -> Iterator[EmailMessage]:
    """All mails to an address that are completely written, in the order of their files."""
    header = f"\nTo: {address}\n".encode()
    for path in sorted(directory.glob("*"), key=lambda path: path.stat().st_mtime_ns):
        *complete, _ = path.read_bytes().split(AFTER_EACH)
        for content in complete:
            if header in content:
                yield message_from_bytes(content, policy=default)


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def code_in(text: str) -> str:
    """The only code to type in that a mail gives."""
    (code,) = CODE.findall(text)
    return str(code)


def link_in(text: str) -> str:
    """The only link that a mail gives."""
    (link,) = set(LINK.findall(text))
    return str(link)
