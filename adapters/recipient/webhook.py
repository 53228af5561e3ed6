"""A trial system with a webhook: a signed Bundle of changes by POST.

======================  ============================================================================================
header                  what
======================  ============================================================================================
X-Gateway-Delivery      the delivery id: the same for a repeat of the same content, so that a receiver can drop it;
                        it stands in the signed Bundle too, as ``Bundle.identifier``
X-Gateway-Timestamp     seconds since 1970 when it was signed; a receiver refuses what is older than some minutes
X-Gateway-Signature     ``v1=`` and the HMAC-SHA256, in hex, of timestamp, ``.`` and body under the shared secret
Idempotency-Key         the delivery id again, under the name many frameworks know
======================  ============================================================================================

The Bundle is a history, oldest change first: ``PUT`` entries carry a resource, ``DELETE`` entries say that one is
taken back (``retraction = "delete"``; otherwise a retraction is a resource with status entered-in-error).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from adapters.recipient.bodies import body_for, is_deleted
from adapters.recipient.client import Answer, Client
from adapters.recipient.http import FHIR_JSON, client_for, exchange, outcome_of, secret_of
from gateway.errors import ConfigurationError
from gateway.fhir import bundle, codec
from gateway.model.delivery import ChangeKind, Outcome, Package, Released
from gateway.model.names import BASE
from gateway.model.recipient import Recipient

DELIVERY: Final = f"{BASE}/sid/delivery"
"""System of the delivery id in ``Bundle.identifier``."""


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return the value of ``X-Gateway-Signature``.

    >>> signature(b"k", "0", b"{}")[:11]
    'v1=c847cd2c'
    """
    return "v1=" + hmac.digest(secret, timestamp.encode("ascii") + b"." + body, "sha256").hex()


class Webhook:
    """Delivers to a webhook. Thread-safe; close it when done."""

    def __init__(
        self,
        recipient: Recipient,
        client: Client | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._recipient = recipient
        self._secret = secret_of(recipient).encode()
        if not self._secret:
            where = f"recipients/{recipient.id}.toml"
            raise ConfigurationError(where, "a webhook needs secret_env or secret_file: its deliveries are signed")
        self._client = client or client_for(recipient)
        self._clock = clock

    def deliver(self, package: Package) -> Outcome:
        """Make one attempt; every far-side behaviour maps to one outcome."""
        now = self._clock()
        body = codec.encode(self._bundle(package, now))
        timestamp = str(int(now.timestamp()))
        headers = {
            "Content-Type": f"{FHIR_JSON}; charset=utf-8",
            "X-Gateway-Delivery": package.delivery_id,
            "X-Gateway-Timestamp": timestamp,
            "X-Gateway-Signature": signature(self._secret, timestamp, body),
            "Idempotency-Key": package.delivery_id,
        }
        answer = exchange(
            self._client,
            "POST",
            self._recipient.address,
            content=body,
            headers=headers,
            max_bytes=self._recipient.max_bytes,
            seconds=self._recipient.deadline,
        )
        return outcome_of(answer) if isinstance(answer, Answer) else answer

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _bundle(self, package: Package, now: datetime) -> dict[str, Any]:
        made = bundle.history([self._change(released) for released in package.entries], at=now)
        identifier = {"system": DELIVERY, "value": package.delivery_id}
        return {"resourceType": made.pop("resourceType"), "identifier": identifier, **made}

    def _change(self, released: Released) -> bundle.Change:
        if is_deleted(self._recipient, released):
            return bundle.Change(released.type, released.id, "deleted", version=released.version)
        kind = "created" if released.kind is ChangeKind.CREATED else "updated"
        body = body_for(self._recipient, released)
        return bundle.Change(released.type, released.id, kind, body, version=released.version)
