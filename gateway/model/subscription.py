"""A subscription: what a client wants to be told of, how, and how far the telling has come.

FHIR R5 Subscription, and the R5 Subscriptions Backport IG 1.1 for R4: both forms are this one thing.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

from msgspec import Struct, field
from msgspec.structs import replace

Content = Literal["empty", "id-only", "full-resource"]
"""How much of a resource a notification carries (http://hl7.org/fhir/subscription-payload-content)."""

NotificationType = Literal["handshake", "heartbeat", "event-notification", "query-status", "query-event"]
"""Of http://hl7.org/fhir/subscription-notification-type."""

ENTITLED: Final = "entitled"
"""The cause of a change that is none of the resource: a view may see it now that could not before."""

REVOKED: Final = "its client was revoked"
"""Why a subscription is off."""


class SubscriptionState(StrEnum):
    """Where a subscription stands (http://hl7.org/fhir/subscription-status).

    ``requested`` until the endpoint has answered the handshake; ``error`` when it has failed for too long.
    """

    REQUESTED = "requested"
    ACTIVE = "active"
    ERROR = "error"
    OFF = "off"


class Criterion(Struct, frozen=True):
    """A condition on the resource of an event: search parameters of its type, as name and value."""

    type: str
    pairs: tuple[tuple[str, str], ...]


class Terms(Struct, frozen=True):
    """What the client asked for. Kept encrypted: headers and secret are credentials, contacts are people.

    ``release``: the FHIR release of its notifications, ``base`` the base URL at which it was made, which begins the
    addresses in them. ``heartbeat`` and ``timeout`` are seconds, 0: none and the usual. ``max_count``: events in one
    notification at most. ``secret`` signs what is sent. ``scopes`` are those of the token it was asked for with.
    """

    topic: str
    criteria: tuple[Criterion, ...]
    endpoint: str
    headers: tuple[tuple[str, str], ...]
    secret: str
    content: Content
    heartbeat: int
    timeout: int
    max_count: int
    release: Literal["R4", "R5"]
    base: str
    reason: str = ""
    ends_at: datetime | None = None
    contact: tuple[dict[str, Any], ...] = ()
    scopes: str = ""

    def __repr__(self) -> str:
        return f"Terms(topic={self.topic!r}, endpoint={self.endpoint!r})"


class Subscription(Struct, frozen=True):
    """A subscription as it is stored. ``version`` counts what the client wrote; moments are UTC.

    Events count from 1. ``events`` is the number of the last, ``settled`` of the last that arrived; ``sending`` of the
    last that is under way, or may have arrived: a repeat ends with it. ``due_at``: when something is to be done though
    nothing happens. ``detail`` says why the last attempt failed.
    """

    id: str
    client: str
    state: SubscriptionState
    terms: Terms
    updated_at: datetime
    version: int = 1
    events: int = 0
    settled: int = 0
    sending: int | None = None
    failures: int = 0
    failed_at: datetime | None = None
    told_at: datetime | None = None
    due_at: datetime | None = None
    lease_until: datetime | None = None
    detail: str = ""

    def but(self, **values: Any) -> Subscription:
        """Return a copy with other values in these fields."""
        return replace(self, **values)


class Trigger(Struct, frozen=True):
    """A stored change that may be an event of a subscription. Whether it is one is decided when it is told.

    ``due_at``: not before; None: at once. What a view may see from a certain moment on is one then (UTC).
    """

    subscription: str
    patient: str
    type: str
    resource: str
    version: int
    cause: str = ""
    due_at: datetime | None = None
    id: int = 0


class Happening(Struct, frozen=True):
    """An event of a subscription: its number, when it was noticed, and the version of a resource a view saw then."""

    number: int
    at: datetime
    recipient: str
    study: str
    patient: str
    type: str
    resource: str
    version: int


class Notification(Struct, frozen=True):
    """One request to an endpoint. ``key`` is the same for a repeat; ``seconds`` bounds the whole attempt."""

    endpoint: str
    body: bytes
    key: str
    secret: str
    headers: tuple[tuple[str, str], ...] = field(default=())
    seconds: float = 10.0
