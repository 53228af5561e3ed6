"""Alerts by e-mail, over SMTP with STARTTLS (RFC 3207) or TLS from the start."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Final

import structlog

from gateway.errors import NotTold
from gateway.model.alert import Alert

log = structlog.get_logger()

_SECONDS: Final = 10.0


@dataclass(frozen=True)
class AlertMail:
    """Sends through one mail server. ``tls``: ``starttls``, ``tls`` or ``plain``. Safe from any thread."""

    name: str
    unit: str
    host: str
    port: int
    sender: str
    receivers: tuple[str, ...]
    tls: str
    context: ssl.SSLContext
    user: str = ""
    password: str = field(default="", repr=False)

    def tell(self, alert: Alert) -> None:
        """Tell of a trouble's beginning or end. Raises ``NotTold``."""
        try:
            refused = self._send(self._message(alert))
        except (smtplib.SMTPException, OSError) as error:
            raise NotTold(f"the mail server did not take it: {type(error).__name__}") from None
        if refused:  # the others have it: sending again would flood them
            log.warning("the mail server refused receivers", refused=len(refused), receivers=len(self.receivers))

    def _send(self, message: EmailMessage) -> dict[str, tuple[int, bytes]]:
        """Hand a message over and return the receivers that were refused."""
        server = self._server()
        try:
            if self.tls == "starttls":
                server.starttls(context=self.context)
            if self.user:
                server.login(self.user, self.password)
            return server.send_message(message)
        finally:
            with suppress(smtplib.SMTPException, OSError):  # the message is over there, however rude the goodbye
                server.quit()

    def _server(self) -> smtplib.SMTP:
        if self.tls == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=_SECONDS, context=self.context)
        return smtplib.SMTP(self.host, self.port, timeout=_SECONDS)

    def _message(self, alert: Alert) -> EmailMessage:
        ended = alert.ended_at is not None
        message = EmailMessage()
        message["Subject"] = f"{self.unit}: {'over: ' if ended else ''}{alert.trouble} {alert.subject}"
        message["From"] = self.sender
        message["To"] = ", ".join(self.receivers)
        lines = [
            f"{alert.trouble}: {alert.subject}",
            alert.detail,
            "",
            f"began {alert.began_at.isoformat(' ', 'seconds')}",
            f"ended {alert.ended_at.isoformat(' ', 'seconds')}"
            if alert.ended_at
            else "still so; look with: gateway status",
        ]
        message.set_content("\n".join(lines))
        return message
