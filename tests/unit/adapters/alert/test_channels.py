"""Alerts over real sockets: what a webhook and a mail server get, and what happens when they do not take it."""

from __future__ import annotations

import hmac
import json
import socketserver
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from adapters.alert.mail import AlertMail
from adapters.alert.webhook import AlertWebhook
from gateway.errors import NotTold
from gateway.model.alert import Alert, Trouble
from gateway.tls import client_context

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
ALERT = Alert(Trouble.RECIPIENT_FAILING, "edc", "takes no deliveries: HTTP 401", NOW)
OVER = Alert(Trouble.RECIPIENT_FAILING, "edc", "takes no deliveries: HTTP 401", NOW, NOW + timedelta(hours=1))


@contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Hook(BaseHTTPRequestHandler):
    """Keeps what is posted and answers as told."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((dict(self.headers), body))
        self.send_response(self.server.answer)
        if self.server.answer == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def hook():
    server = HTTPServer(("127.0.0.1", 0), Hook)
    server.posted, server.answer = [], 204
    with serving(server):
        yield server


class Mailbox(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as a client needs to be rid of a message; it hangs up without a goodbye."""

    def handle(self):
        self.say("220 here")
        while line := self.rfile.readline().strip():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.say("354 go on")
                self.server.mails.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            if verb == b"QUIT":
                return
            self.say("550 unknown" if verb == b"RCPT" and b"nobody" in line else "250 well")

    def say(self, line):
        self.wfile.write(line.encode() + b"\r\n")


@pytest.fixture
def mail_server():
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox)
    server.mails = []
    with serving(server):
        yield server


def webhook(port, secret=b""):
    return AlertWebhook("webhook:ops", f"http://127.0.0.1:{port}/alerts", "The unit", lambda: NOW, secret)


def mail(port, *receivers):
    sender = "gateway@unit.example"
    return AlertMail("mail", "The unit", "127.0.0.1", port, sender, receivers, "plain", client_context("test"))


def test_a_webhook_gets_what_began_and_what_ended(hook):
    channel = webhook(hook.server_port)
    channel.tell(ALERT)
    channel.tell(OVER)
    began, ended = (json.loads(body) for _, body in hook.posted)
    assert began == {
        "trouble": "recipient-failing",
        "subject": "edc",
        "detail": "takes no deliveries: HTTP 401",
        "state": "began",
        "began_at": "2026-03-02T09:30:00+00:00",
        "ended_at": None,
        "unit": "The unit",
    }
    assert (ended["state"], ended["ended_at"]) == ("ended", "2026-03-02T10:30:00+00:00")


def test_a_webhook_can_tell_who_signed(hook):
    webhook(hook.server_port, b"secret").tell(ALERT)
    headers, body = hook.posted[0]
    signed = hmac.digest(b"secret", headers["X-Gateway-Timestamp"].encode() + b"." + body, "sha256").hex()
    assert headers["X-Gateway-Signature"] == f"v1={signed}"


@pytest.mark.parametrize("answer", [302, 404, 500])
def test_a_webhook_that_does_not_take_it_is_told_later(hook, answer):
    hook.answer = answer
    with pytest.raises(NotTold, match=f"HTTP {answer}"):
        webhook(hook.server_port).tell(ALERT)
    assert len(hook.posted) == 1


def test_a_webhook_that_is_gone_is_told_later(hook):
    with pytest.raises(NotTold, match="no answer: ConnectionRefusedError"):
        webhook(1).tell(ALERT)


def test_people_get_a_mail_they_can_read(mail_server):
    channel = mail(mail_server.server_address[1], "data@unit.example", "it@unit.example")
    channel.tell(ALERT)
    channel.tell(OVER)
    began, ended = map(message_from_bytes, mail_server.mails)
    assert began["Subject"] == "The unit: recipient-failing edc"
    assert began["To"] == "data@unit.example, it@unit.example"
    assert "takes no deliveries: HTTP 401" in began.get_payload()
    assert "gateway status" in began.get_payload()
    assert ended["Subject"] == "The unit: over: recipient-failing edc"
    assert "ended 2026-03-02 10:30:00+00:00" in ended.get_payload()


def test_a_mail_server_that_refuses_every_receiver_is_told_later(mail_server):
    with pytest.raises(NotTold, match="SMTPRecipientsRefused"):
        mail(mail_server.server_address[1], "nobody@unit.example").tell(ALERT)


def test_a_receiver_that_is_refused_does_not_flood_the_others(mail_server):
    mail(mail_server.server_address[1], "data@unit.example", "nobody@unit.example").tell(ALERT)
    assert len(mail_server.mails) == 1


def test_a_mail_server_that_is_gone_is_told_later():
    with pytest.raises(NotTold, match="ConnectionRefusedError"):
        mail(1, "data@unit.example").tell(ALERT)
