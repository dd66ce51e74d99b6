"""Mail: the outbox, its delivery by a real SMTP conversation, and what the sweeper does with both."""

import os
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.mail import EmailMultiAlternatives, send_mail
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from shifts import sweep
from tests.running import Service, empty_redis, fresh_database, wait_until
from zego_api import checks, mail
from zego_api.local.servers import free_port
from zego_api.models import OutgoingMail

TO = "driver@example.com"
HANG_UP = ""


class MailServer(socketserver.ThreadingTCPServer):
    """An SMTP server that keeps what it is sent; `answers` says what else to reply to a recipient."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Conversation)
        self.received: list[EmailMessage] = []
        self.envelopes: list[tuple[str, str]] = []
        self.answers: dict[str, str] = {}
        self.conversations = 0
        self.silent = False
        self.take: Callable[[], object] = lambda: None  # called before a mail is said to be taken
        self._thread = threading.Thread(target=self.serve_forever, args=[0.01])
        self._thread.start()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.server_address[1]}"

    @property
    def subjects(self) -> list[str]:
        return sorted(str(message["Subject"]) for message in self.received)

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class Conversation(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.server.conversations += 1
        if self.server.silent:
            self.rfile.read()
            return
        self._say("220 here")
        while line := self.rfile.readline().decode().strip():
            word = line.split(":")[0].upper()
            if word == "QUIT":
                self._say("221 bye")
                return
            if not self._answer(word, line):
                return

    def _answer(self, word: str, line: str) -> bool:
        if word == "MAIL FROM":
            self.sender = address_in(line)
        if word == "RCPT TO":
            self.recipient = address_in(line)
            answer = self.server.answers.get(self.recipient, "250 yes")
            if answer:
                self._say(answer)
            return bool(answer)
        if word == "DATA":
            self._take()
        else:
            self._say("250 yes")
        return True

    def _take(self) -> None:
        self._say("354 go on")
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        self.server.take()
        message = message_from_bytes(b"".join(lines), policy=default)
        assert isinstance(message, EmailMessage)
        self.server.received.append(message)
        self.server.envelopes.append((self.sender, self.recipient))
        self._say("250 taken")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


def address_in(line: str) -> str:
    found = re.search("<(.*)>", line)
    assert found
    return found[1]


@pytest.fixture
def server(settings: Settings) -> Iterator[MailServer]:
    """A mail server that takes everything, and an outbox that delivers there."""
    server = MailServer()
    settings.EMAIL_URL = server.url
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def breaker_of_each_test(outbox: None) -> Iterator[None]:
    """Mails are kept as rows, and no test learns from another that a server is away."""
    yield
    mail.breaker.cache_clear()


def write(subject: str = "Hello", to: str = TO, **fields: Any) -> OutgoingMail:
    """A mail in the outbox."""
    send_mail(subject, "The code is 123456.", None, [to], html_message="<p>123456</p>")
    row = OutgoingMail.objects.latest("id")
    OutgoingMail.objects.filter(pk=row.pk).update(**fields)
    return row


def look(row: OutgoingMail) -> OutgoingMail:
    row.refresh_from_db()
    return row


def the_pause_is_over() -> None:
    mail.breaker.cache_clear()


# The outbox


@pytest.mark.django_db
def test_a_mail_is_one_row() -> None:
    message = EmailMultiAlternatives(
        "Grüße", "text", "Zego <a@zego.example>", ["b@x.com", "c@x.com"]
    )
    message.attach_alternative("<p>html</p>", "text/html")
    assert message.send() == 1
    row = OutgoingMail.objects.get()
    assert (row.sender, row.recipients) == ("Zego <a@zego.example>", "b@x.com\nc@x.com")
    assert (row.subject, row.text, row.html) == ("Grüße", "text", "<p>html</p>")
    assert (row.attempts, row.sent_at, row.failed_at) == (0, None, None)


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_not_sent(server: MailServer) -> None:
    def fail() -> None:
        with transaction.atomic():
            write()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    mail.deliver_pending(timezone.now())
    assert server.received == []


@pytest.mark.django_db
def test_a_mail_to_nobody_is_none() -> None:
    assert EmailMultiAlternatives("Hello", "text", to=[]).send() == 0
    assert mail.Outbox().send_messages([EmailMultiAlternatives("Hello", "text", to=[])]) == 0


@pytest.mark.parametrize(
    "more",
    [
        {"cc": ["c@example.com"]},
        {"bcc": ["c@example.com"]},
        {"reply_to": ["c@example.com"]},
        {"headers": {"X-Priority": "1"}},
        {"attachments": [("a.txt", "text", "text/plain")]},
        {"alternatives": [("{}", "application/json")]},
    ],
)
def test_what_a_row_would_lose_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="has more"):
        EmailMultiAlternatives("Hello", "text", to=[TO], **more).send()


def test_a_line_break_in_a_header_is_refused_before_it_is_stored() -> None:
    with pytest.raises(ValueError, match=r"newline|linefeed"):
        EmailMultiAlternatives("Hello\nBcc: all@example.com", "text", to=[TO]).send()


# Delivery


@pytest.mark.django_db
def test_a_mail_arrives_whole_and_is_blanked(server: MailServer, settings: Settings) -> None:
    settings.DEFAULT_FROM_EMAIL = "Zego <no-reply@zego.example>"
    row = write("Grüße")
    now = timezone.now()
    mail.deliver_pending(now)
    [message] = server.received
    assert server.envelopes == [("no-reply@zego.example", TO)]
    assert (message["From"], message["To"], message["Subject"]) == (
        "Zego <no-reply@zego.example>",
        TO,
        "Grüße",
    )
    assert message["Message-ID"] == f"<{row.message_id}@zego.example>"
    assert message["Date"].datetime == row.created_at.replace(microsecond=0)
    assert part(message, "plain") == "The code is 123456."
    assert part(message, "html") == "<p>123456</p>"
    look(row)
    assert (row.sent_at, row.attempts, row.text, row.html) == (now, 1, "", "")
    mail.deliver_pending(timezone.now())
    assert len(server.received) == 1


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content()).strip()


@pytest.mark.django_db
def test_many_go_over_one_connection(server: MailServer) -> None:
    for number in range(mail.CLAIM * 2 + 1):
        write(f"mail {number}")
    mail.deliver_pending(timezone.now())
    assert len(server.received) == mail.CLAIM * 2 + 1
    assert server.conversations == 1


@pytest.mark.django_db(transaction=True)
def test_several_deliverers_send_each_mail_once(server: MailServer) -> None:
    subjects = sorted(f"mail {number}" for number in range(mail.CLAIM * 3))
    for subject in subjects:
        write(subject)
    start = threading.Barrier(3)

    def deliver() -> None:
        start.wait()
        try:
            mail.deliver_pending(timezone.now())
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as executor:
        for done in [executor.submit(deliver) for _ in range(3)]:
            done.result()
    assert server.subjects == subjects
    assert not OutgoingMail.objects.filter(mail.PENDING).exists()


@pytest.mark.django_db
def test_a_mail_that_fails_waits_longer_each_time_and_holds_nothing_up(server: MailServer) -> None:
    server.answers[TO] = "451 not now"
    row = write()
    now = row.created_at
    waits = []
    for attempt in range(1, 9):
        write(f"mail {attempt}", to="other@example.com")
        mail.deliver_pending(now)
        assert len(server.received) == attempt
        look(row)
        assert (row.attempts, row.sent_at, row.failed_at) == (attempt, None, None)
        assert row.next_attempt_at is not None
        mail.deliver_pending(row.next_attempt_at - timedelta(milliseconds=1))
        assert look(row).attempts == attempt, "not before its time"
        waits.append((row.next_attempt_at - now).total_seconds())
        now = row.next_attempt_at
    assert waits == [1, 5, 30, 120, 600, 3600, 3600, 3600]
    assert "SMTPRecipientsRefused" in row.failure
    server.answers.clear()
    mail.deliver_pending(now)
    assert look(row).sent_at == now
    assert (row.failure, row.text) == ("", "")


@pytest.mark.django_db
def test_after_a_day_it_is_given_up(server: MailServer) -> None:
    server.answers[TO] = "451 not now"
    row = write()
    mail.deliver_pending(row.created_at + mail.GIVE_UP_AFTER - timedelta(seconds=1))
    assert look(row).failed_at is None
    assert row.text
    last = row.created_at + mail.GIVE_UP_AFTER + timedelta(hours=1)
    mail.deliver_pending(last)
    look(row)
    assert (row.failed_at, row.sent_at, row.text, row.html) == (last, None, "", "")
    assert "451" in row.failure
    mail.deliver_pending(last + timedelta(days=1))
    assert look(row).attempts == 2


@pytest.mark.django_db
def test_one_that_waited_for_the_sweeper_for_days_is_tried_all_the_same(server: MailServer) -> None:
    row = write()
    mail.deliver_pending(row.created_at + timedelta(days=3))
    assert look(row).sent_at


@pytest.mark.django_db
def test_a_refused_recipient_is_given_up_at_once(server: MailServer) -> None:
    server.answers[TO] = "550 no such mailbox"
    refused, other = write(), write(to="other@example.com")
    mail.deliver_pending(timezone.now())
    look(refused)
    assert (refused.attempts, refused.text) == (1, "")
    assert refused.failed_at
    assert "no such mailbox" in refused.failure
    assert look(other).sent_at


@pytest.mark.django_db
def test_the_log_names_mails_by_their_number(server: MailServer) -> None:
    server.answers |= {"refused@example.com": "550 never", "later@example.com": "451 not now"}
    rows = [write("SECRET", to=to) for to in (TO, "refused@example.com", "later@example.com")]
    with structlog.testing.capture_logs() as logs:
        mail.deliver_pending(timezone.now())
    assert [(line["event"], line["mail_id"]) for line in logs] == [
        ("mail_sent", rows[0].pk),
        ("mail_failed", rows[1].pk),
        ("mail_put_off", rows[2].pk),
    ]
    assert not re.search("SECRET|example.com|never|123456", str(logs))


@pytest.mark.django_db
def test_one_that_breaks_the_conversation_ends_the_round_and_then_comes_last(
    server: MailServer,
) -> None:
    server.answers[TO] = HANG_UP
    poison, *others = write(), *[write(f"mail {n}", to="other@example.com") for n in range(3)]
    mail.deliver_pending(timezone.now())
    assert look(poison).attempts == 1
    assert [(look(row).attempts, row.next_attempt_at) for row in others] == [(0, None)] * 3
    the_pause_is_over()
    mail.deliver_pending(timezone.now() + timedelta(minutes=1))
    assert [bool(look(row).sent_at) for row in (poison, *others)] == [False, True, True, True]
    assert look(poison).attempts == 2


@pytest.mark.django_db
def test_a_server_that_is_away_is_left_alone_for_a_while(settings: Settings) -> None:
    port = free_port()
    settings.EMAIL_URL = f"smtp://127.0.0.1:{port}"
    rows = [write(f"mail {number}") for number in range(5)]
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            mail.deliver_pending(timezone.now() + timedelta(minutes=1))
    assert [look(row).attempts for row in rows] == [1, 0, 0, 0, 0]
    assert rows[0].failure.startswith("ConnectionRefusedError")
    assert [line["event"] for line in logs] == ["server_away", "mail_put_off"]

    server = MailServer(port)
    try:
        the_pause_is_over()
        mail.deliver_pending(timezone.now() + timedelta(minutes=2))
    finally:
        server.stop()
    assert server.subjects == [f"mail {number}" for number in range(5)]


@pytest.mark.django_db
def test_a_server_that_never_answers_is_given_up_after_the_time_out(
    server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "TIMEOUT", 0.2)
    server.silent = True
    row = write()
    mail.deliver_pending(timezone.now())
    assert look(row).attempts == 1
    assert "timed out" in row.failure.lower()


@pytest.mark.django_db
def test_a_deliverer_that_dies_before_it_sends_loses_nothing(server: MailServer) -> None:
    now = timezone.now()
    row = write()
    assert [claimed.pk for claimed in mail._claim(now)] == [row.pk]
    mail.deliver_pending(now)
    assert server.received == [], "the claim holds"
    mail.deliver_pending(now + mail.LEASE)
    assert look(row).sent_at
    assert row.attempts == 2


@pytest.mark.django_db
def test_one_that_is_sent_twice_can_be_recognised(
    server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deliverer dies after the server took the mail, before that is noted."""

    def die(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    now = timezone.now()
    write()
    with monkeypatch.context() as patch:
        patch.setattr(mail, "_finish", die)
        with pytest.raises(KeyboardInterrupt):
            mail.deliver_pending(now)
    mail.deliver_pending(now + mail.LEASE)
    first, second = server.received
    assert first["Message-ID"] == second["Message-ID"]
    assert first["Date"] == second["Date"]


@pytest.mark.django_db
def test_told_to_stop_it_finishes_the_mail_in_hand(server: MailServer) -> None:
    rows = [write(f"mail {number}") for number in range(3)]
    mail.deliver_pending(timezone.now(), should_stop=lambda: bool(server.received))
    assert server.subjects == ["mail 0"]
    assert [(look(row).attempts, row.next_attempt_at) for row in rows[1:]] == [(0, None)] * 2
    mail.deliver_pending(timezone.now())
    assert server.subjects == ["mail 0", "mail 1", "mail 2"]


@pytest.mark.django_db
def test_a_mail_that_cannot_be_put_together_concerns_nobody_else(server: MailServer) -> None:
    broken = write(recipients="no address at all @")
    other = write()
    mail.deliver_pending(timezone.now())
    assert look(other).sent_at
    assert look(broken).next_attempt_at
    assert broken.failure


@pytest.mark.django_db
def test_rows_are_deleted_after_thirty_days() -> None:
    now = timezone.now()
    recent, old = now - timedelta(days=29), now - timedelta(days=31)
    blank = {"text": "", "html": ""}
    kept = [write(), write(sent_at=recent, **blank), write(failed_at=recent, **blank)]
    kept.append(write(created_at=old))
    write(sent_at=old, **blank)
    write(failed_at=old, **blank)
    mail.forget_sent(now)
    assert set(OutgoingMail.objects.all()) == set(kept)


# EMAIL_URL


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail", ("mail", 25, False, False, "", "")),
        ("smtp+tls://u%40x.com:p%2Fw@mail", ("mail", 587, True, False, "u@x.com", "p/w")),
        ("smtps://u:p@mail", ("mail", 465, False, True, "u", "p")),
        ("smtp+tls://[::1]:2525", ("::1", 2525, True, False, "", "")),
    ],
)
def test_a_mail_server_is_named_by_a_url(url: str, expected: tuple[object, ...]) -> None:
    made: Any = mail.backend(url)
    found = (made.host, made.port, made.use_tls, made.use_ssl, made.username, made.password)
    assert found == expected
    assert made.timeout == 10


@pytest.mark.parametrize(
    "url", ["", "nonsense", "smtp://", "filemail://", "dummymail://", "smtp://u:pass/word@mail"]
)
def test_a_url_that_delivers_nowhere_is_refused_without_quoting_it(
    url: str, settings: Settings
) -> None:
    settings.EMAIL_URL = url
    [error] = checks.mail()
    assert error.id == "zego.E009"
    assert "EMAIL_URL=smtp+tls://" in str(error.hint)
    assert "pass" not in error.msg


@pytest.mark.parametrize("url", ["filemail:///tmp", "consolemail://"])
def test_where_people_are_codes_go_to_a_mail_server_only(url: str, settings: Settings) -> None:
    settings.EMAIL_URL = url
    assert list(checks.mail()) == []
    settings.INSECURE_HTTP = False
    assert [error.id for error in checks.mail()] == ["zego.E009"]


@pytest.mark.parametrize(
    ("url", "ids"),
    [
        ("https://api.example.com", []),
        ("http://api.example.com", ["zego.E010"]),
        ("https://", ["zego.E010"]),
        ("https://.example.com", ["zego.E010"]),
        ("api.example.com", ["zego.E010"]),
    ],
)
def test_links_in_mails_lead_to_https(url: str, ids: list[str], settings: Settings) -> None:
    settings.PUBLIC_URL = url
    assert list(checks.public_url()) == [], "on this machine anything goes"
    settings.INSECURE_HTTP = False
    assert [error.id for error in checks.public_url()] == ids


def test_a_former_key_that_is_weak_is_refused_as_well(settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = ["former-key-" * 5]
    assert list(checks.secret_key()) == []
    settings.SECRET_KEY_FALLBACKS = ["former-key-" * 5, "short"]
    assert [error.id for error in checks.secret_key()] == ["zego.E001"]


# What staff see


def test_staff_see_that_mails_left_and_nothing_that_is_in_them(admin_client: Client) -> None:
    row = write("Your code")
    for address in ("", f"{row.pk}/change/"):
        answer = admin_client.get(f"/admin/zego_api/outgoingmail/{address}")
        assert answer.status_code == 200
        assert TO in answer.content.decode()
        assert "123456" not in answer.content.decode()


# /inbox/


@pytest.fixture
def files(tmp_path: Path, settings: Settings) -> Path:
    """The directory of a local run's mails; its name has to be percent-encoded."""
    settings.EMAIL_URL = f"filemail://{tmp_path}/the%20mails"
    return tmp_path / "the mails"


@pytest.mark.django_db
def test_the_inbox_shows_the_mails_of_a_local_run(client: Client, files: Path) -> None:
    """The newest first, each once, though one file has several and one text looks like a separator."""
    assert "There are none yet" in client.get("/inbox/").content.decode()
    for number, hour in (("first", 9), ("second", 10), ("third", 11)):
        at = datetime(2026, 6, 1, hour, tzinfo=timezone.get_current_timezone())
        text = f"{'-' * 79}\nüber <b>{number}</b>: http://localhost/a?b=1&c=2\n{'-' * 79}\n"
        write(number, text=text, created_at=at)
        if number != "first":
            mail.deliver_pending(timezone.now())
    assert 1 <= len(list(files.iterdir())) <= 2  # a file is named by the second
    answer = client.get("/inbox/")
    page = answer.content.decode()
    assert re.findall("<h2>(.*)</h2>", page) == ["third", "second", "first"]
    assert "über &lt;b&gt;third&lt;/b&gt;" in page
    assert 'href="http://localhost/a?b=1&amp;c=2"' in page
    assert "<p>123456</p>" not in page
    assert not re.search(r"<script(?! src)|<style| style=| on\w+=", page)
    assert "default-src 'none'" in answer["Content-Security-Policy"]


@pytest.mark.django_db
def test_a_mail_that_is_being_written_is_left_out(client: Client, files: Path) -> None:
    write()
    mail.deliver_pending(timezone.now())
    [file] = files.iterdir()
    with file.open("ab") as unfinished:
        unfinished.write(b"Subject: Half a\nTo: x")
    page = client.get("/inbox/").content.decode()
    assert re.findall("<h2>(.*)</h2>", page) == ["Hello"]


def test_there_is_no_inbox_where_people_are(
    client: Client, files: Path, settings: Settings
) -> None:
    settings.INSECURE_HTTP = False
    assert client.get("/inbox/").status_code == 404
    settings.INSECURE_HTTP, settings.EMAIL_URL = True, "smtp://127.0.0.1:1"
    assert client.get("/inbox/").status_code == 404


# The sweeper


def chore(do: Callable[[], object]) -> sweep._Chore:
    def run(now: datetime) -> None:
        do()

    return sweep._Chore(run, 0)


class Swept:
    """A sweeper with chores of the test's own, in a thread."""

    def __init__(
        self, shifts: Callable[[], object], house: Callable[[], object], patch: pytest.MonkeyPatch
    ) -> None:
        self.stop = threading.Event()
        patch.setattr(sweep, "PAUSE", 0.01)
        patch.setattr(sweep, "_shift_chores", lambda: [chore(shifts)])
        patch.setattr(sweep, "_house_chores", lambda stop: [chore(house)])
        self._executor = ThreadPoolExecutor(1)
        self.done = self._executor.submit(sweep.run_until, self.stop)

    def __enter__(self) -> "Swept":
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop.set()
        self._executor.shutdown()


def test_a_slow_mail_server_delays_no_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds, mail_done = threading.Semaphore(0), threading.Event()
    with Swept(rounds.release, mail_done.wait, monkeypatch) as swept:
        for _ in range(20):
            assert rounds.acquire(timeout=30)
        swept.stop.set()
        assert not swept.done.done(), "the mail in hand is finished"
        mail_done.set()
        assert swept.done.result(timeout=30) is None


def test_a_chore_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Semaphore(0)

    def fail() -> None:
        tried.release()
        raise RuntimeError("the defect")

    with Swept(lambda: None, fail, monkeypatch) as swept:
        for _ in range(3):
            assert tried.acquire(timeout=30)
        assert not swept.done.done()


@pytest.mark.parametrize("dies", ["shifts", "house"])
def test_half_a_sweeper_does_not_pass_for_a_whole_one(
    dies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise SystemExit("the end")

    chores = {"shifts": lambda: None, "house": lambda: None} | {dies: die}
    with Swept(**chores, patch=monkeypatch) as swept, pytest.raises(SystemExit, match="the end"):
        swept.done.result(timeout=30)


@pytest.mark.django_db
def test_the_sweeper_deletes_sessions_that_have_expired() -> None:
    for seconds in (-1, 60):
        session = SessionStore()
        session.set_expiry(seconds)
        session.save()
    sweep.forget_sessions(timezone.now())
    assert Session.objects.count() == 1


def test_the_sweepers_housekeeping_is_all_there() -> None:
    names = [chore.run.__qualname__ for chore in sweep._house_chores(threading.Event())]
    assert [name.rpartition(".")[2] for name in names] == [
        "deliver_mail",
        "forget_sent",
        "forget_sessions",
        "forget_old",
        "forget_unverified",
        "forget_old",
    ]


INSERT = """
INSERT INTO zego_api_outgoingmail (message_id, sender, recipients, subject, text, html, created_at,
                                   attempts, failure)
VALUES (gen_random_uuid(), 'a@example.com', %s, 'Live', 'text', '', now(), 0, '') RETURNING id
"""


@pytest.mark.slow
def test_live_the_sweeper_delivers_and_ends_with_the_mail_in_hand(
    server: MailServer, tmp_path: Path, live_database: tuple[str, str]
) -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def take() -> None:
        at_work.set()
        go_on.wait(60)

    server.take = take
    service = Service(tmp_path, *live_database, EMAIL_URL=server.url)
    service.manage("migrate", "--verbosity", "0")
    try:
        service.start("sweeper")
        service.query(INSERT, TO)
        assert at_work.wait(30)
        process = service.processes["sweeper"]
        process.popen.terminate()
        go_on.set()
        assert process.popen.wait(30) == 0
    finally:
        service.kill()
    assert [message["Subject"] for message in server.received] == ["Live"]
    assert service.query("SELECT sent_at IS NOT NULL, text FROM zego_api_outgoingmail") == [
        (True, "")
    ]
    assert TO not in service.logs()


@pytest.fixture
def live_database() -> Iterator[tuple[str, str]]:
    with (
        fresh_database(os.environ["DATABASE_URL"]) as database_url,
        empty_redis(os.environ["REDIS_URL"]) as redis_url,
    ):
        yield database_url, redis_url


@pytest.mark.slow
def test_live_a_running_service_delivers_into_its_directory(service: Service) -> None:
    [(row,)] = service.query(INSERT, TO)
    sent = "SELECT id FROM zego_api_outgoingmail WHERE id = %s AND sent_at IS NOT NULL"
    wait_until(lambda: service.query(sent, row), what="the delivery")
    files = [path.read_text() for path in (service.directory / "mail").iterdir()]
    assert any(f"To: {TO}" in text for text in files)
