"""Alerts by webhook: one JSON document by POST, signed where a secret is set.

``{"trouble", "subject", "detail", "state": "began" | "ended", "began_at", "ended_at", "unit"}``; times are UTC.
``X-Gateway-Timestamp`` and ``X-Gateway-Signature`` are those of a recipient's webhook (docs/trial-systems.md).
"""

from __future__ import annotations

import hmac
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from gateway.errors import NotTold
from gateway.model.alert import Alert

_SECONDS = 10.0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An alert goes where the file says, and nowhere else."""

    def redirect_request(self, *_: object) -> None:
        """Follow nothing."""


@dataclass(frozen=True)
class AlertWebhook:
    """Posts to one address. Safe from any thread."""

    name: str
    address: str
    unit: str
    clock: Callable[[], datetime]
    secret: bytes = field(default=b"", repr=False)
    context: ssl.SSLContext | None = None

    def tell(self, alert: Alert) -> None:
        """Tell of a trouble's beginning or end. Raises ``NotTold``."""
        body = json.dumps(_document(alert, self.unit)).encode()
        request = urllib.request.Request(self.address, body, self._headers(body), method="POST")  # noqa: S310 (settings allow http and https alone)
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects(), urllib.request.ProxyHandler({})]
        if self.context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=self.context))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=_SECONDS):
                return
        except urllib.error.HTTPError as error:
            raise NotTold(f"HTTP {error.code}") from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise NotTold(f"no answer: {type(reason).__name__}") from None

    def _headers(self, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self.secret:
            timestamp = str(int(self.clock().timestamp()))
            signed = hmac.digest(self.secret, timestamp.encode("ascii") + b"." + body, "sha256").hex()
            headers |= {"X-Gateway-Timestamp": timestamp, "X-Gateway-Signature": f"v1={signed}"}
        return headers


def _document(alert: Alert, unit: str) -> dict[str, str | None]:
    return {
        "trouble": str(alert.trouble),
        "subject": alert.subject,
        "detail": alert.detail,
        "state": "began" if alert.ended_at is None else "ended",
        "began_at": alert.began_at.isoformat(),
        "ended_at": alert.ended_at.isoformat() if alert.ended_at else None,
        "unit": unit,
    }
