"""The endpoint of a subscription: a signed notification by POST (FHIR R5 3.2.2.5, channel rest-hook).

======================  ============================================================================================
header                  what
======================  ============================================================================================
X-Gateway-Delivery      the same for a repeat of the same events, so that a receiver can drop it
X-Gateway-Timestamp     seconds since 1970 when it was signed; a receiver refuses what is older than some minutes
X-Gateway-Signature     ``v1=`` and the HMAC-SHA256, in hex, of timestamp, ``.`` and body under the secret
Idempotency-Key         the delivery again, under the name many frameworks know
======================  ============================================================================================

Only addresses of the allow-list are asked, at public addresses unless the configuration names others; what a name
stands for is looked up once for each connection. Redirects are not followed.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from adapters.recipient.client import Answer, Client
from adapters.recipient.http import FHIR_JSON, exchange, outcome_of
from adapters.recipient.pinned import Lookup, Pinned
from adapters.recipient.webhook import signature
from gateway.model.delivery import Deferred, Outcome
from gateway.model.endpoints import Endpoints, Place, place_of
from gateway.model.subscription import Notification

_HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "trial-gateway"}
_MOST_BYTES: Final = 64 * 1024


class RestHook:
    """Sends notifications. Thread-safe; close it when done."""

    def __init__(
        self,
        endpoints: Endpoints,
        context: ssl.SSLContext,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        lookup: Lookup = socket.getaddrinfo,
        timeout: float = 10.0,
    ) -> None:
        self._endpoints = endpoints
        self._context = context
        self._clock = clock
        self._connect = Pinned(endpoints.admits, lookup)
        self._timeout = timeout
        self._clients: dict[tuple[str, str, int], Client] = {}
        self._lock = threading.Lock()

    def refusal(self, endpoint: str) -> str:
        """Return why an address may not be told anything; ``""`` when it may."""
        return self._endpoints.refusal(endpoint)

    def notify(self, notification: Notification) -> Outcome:
        """Make one attempt; every far-side behaviour maps to one outcome."""
        place = place_of(notification.endpoint)
        refusal = self.refusal(notification.endpoint)
        if refusal or place is None:
            return Deferred(refusal, breaker=True)
        timestamp = str(int(self._clock().timestamp()))
        ours = {
            "Content-Type": f"{FHIR_JSON}; charset=utf-8",
            "X-Gateway-Delivery": notification.key,
            "X-Gateway-Timestamp": timestamp,
            "X-Gateway-Signature": signature(notification.secret.encode(), timestamp, notification.body),
            "Idempotency-Key": notification.key,
        }
        answer = exchange(
            self._client(place),
            "POST",
            notification.endpoint,
            content=notification.body,
            headers=dict(notification.headers) | ours,
            max_bytes=_MOST_BYTES,
            seconds=notification.seconds,
        )
        return outcome_of(answer) if isinstance(answer, Answer) else answer

    def close(self) -> None:
        """Let go of connections."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()

    def _client(self, place: Place) -> Client:
        """Return the client of a server: the allow-list bounds how many there are."""
        key = (place.scheme, place.host, place.port)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = Client(self._context, self._timeout, _HEADERS, self._connect)
            return self._clients[key]
