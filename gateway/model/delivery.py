"""What is owed to a view, and what came of each attempt to pay it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from msgspec import Struct

BACKFILL: Final = -1
"""``Delivery.sent`` of a cursor that begins again because its view may see more: it sends what the view lacks.

One that begins again at 0 (a replay that a person asked for, a changed recipient file) sends everything once more.
"""


@dataclass(frozen=True, slots=True)
class View:
    """A recipient and a study: the unit of entitlement."""

    recipient: str
    study: str


class DeliveryState(StrEnum):
    """Where a delivery stands.

    ``idle`` owes nothing; ``due`` waits for its time; ``sending`` is claimed by a worker; ``dead`` has used up its
    attempts and waits for a replay.
    """

    IDLE = "idle"
    DUE = "due"
    SENDING = "sending"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Delivery:
    """The cursor of a (view, patient); ``patient`` is ``""`` for the study-level resources of the view.

    ``sent`` is the highest change number settled, ``planned`` the highest that concerns the view. While an attempt
    may have arrived (``Unknown``), ``window`` fixes the upper end and ``number`` stays, so that the repeat carries
    the same delivery id. Times are UTC.

    ``sent`` is ``BACKFILL`` while what the view holds already need not be sent again.
    """

    id: int
    view: View
    patient: str
    state: DeliveryState
    sent: int
    planned: int
    window: int | None
    number: int
    attempts: int
    due_at: datetime | None
    first_failed_at: datetime | None = None
    lease_until: datetime | None = None
    detail: str = ""

    @property
    def delivery_id(self) -> str:
        """The id a receiver can drop repeats by: the same for every attempt at the same window."""
        return f"{self.id}-{self.number}"


class ChangeKind(StrEnum):
    """What a receiver is to do with an entry."""

    CREATED = "created"
    UPDATED = "updated"
    RETRACTED = "retracted"


class Released(Struct, frozen=True, gc=False):
    """One entry of an attempt: a resource as this view may see it.

    ``id`` and ``text`` (the body as JSON, its references included) are the view's own, pseudonymous where the view is;
    ``resource`` is the internal id, ``change`` and ``version`` the stored ones. ``message`` is the id of the message
    that said it: the correlation id of the logs (0: the configuration). ``text`` is ``{}`` for a retraction that
    says nothing but that the resource is gone.
    """

    type: str
    id: str
    text: bytes
    kind: ChangeKind
    resource: str
    version: int
    change: int
    shared: bool = False
    message: int = 0

    @property
    def reference(self) -> str:
        """``Type/id`` as the view knows it."""
        return f"{self.type}/{self.id}"


@dataclass(frozen=True, slots=True)
class Package:
    """What one attempt carries to a recipient."""

    delivery_id: str
    view: View
    entries: tuple[Released, ...]
    repeat: bool = False

    @property
    def delivery(self) -> int:
        """The id of the cursor, which its delivery ids begin with."""
        return int(self.delivery_id.partition("-")[0])


@dataclass(frozen=True, slots=True)
class Packed:
    """What packing a delivery came to: computed at the moment of sending, from rows alone.

    ``package`` None: nothing may leave, and the cursor moves to ``upto`` without an attempt at the network. ``upto``
    is the change reached; ``more`` says that the cursor still owes changes up to ``planned`` (batch limit).
    ``withheld`` counts changes per rule, for the audit trail. ``grounds`` says why the package may leave: the digest of
    the recipient's file, and subject and consents with their versions. ``again_at``: from then on more may leave,
    though nothing changes until then.
    """

    package: Package | None
    upto: int
    more: bool = False
    withheld: Mapping[str, int] = field(default_factory=dict)
    again_at: datetime | None = None
    grounds: str = ""

    @property
    def shared(self) -> dict[str, int]:
        """The shared resources carried, internal id -> change: to be noted (``hold_shared``) when accepted."""
        entries = self.package.entries if self.package else ()
        return {entry.resource: entry.change for entry in entries if entry.shared}

    @property
    def manifest(self) -> tuple[ManifestEntry, ...]:
        """What the attempt carries, for its row."""
        entries = self.package.entries if self.package else ()
        return tuple(ManifestEntry(e.type, e.resource, e.version, e.kind) for e in entries)


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """One entry a recipient would not take, of a Bundle of which it took the rest."""

    reference: str
    detail: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """It arrived. ``refused`` are entries that did not, when the Bundle was retried entry by entry."""

    detail: str = ""
    refused: tuple[RefusedEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The recipient will never take it as it is (400, 413, 422): a person must look."""

    detail: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """Provably nothing happened. ``wait`` is what the recipient asked for; ``breaker`` opens its circuit."""

    detail: str
    wait: timedelta | None = None
    breaker: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have happened (timeout after sending, 5xx): the repeat carries the same delivery id."""

    detail: str


Outcome = Accepted | Refused | Deferred | Unknown


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """What an attempt carried of one resource: for ``explain``, ``disclosures`` and retractions."""

    type: str
    resource: str
    version: int
    kind: ChangeKind


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a delivery. ``outcome``: ``accepted``, ``refused``, ``deferred`` or ``unknown``. Times are UTC.

    ``grounds`` as ``Packed.grounds``.
    """

    delivery: int
    number: int
    started_at: datetime
    settled_at: datetime
    outcome: str
    detail: str
    upto: int
    manifest: tuple[ManifestEntry, ...] = field(default_factory=tuple)
    grounds: str = ""


def outcome_name(outcome: Outcome) -> str:
    """Return ``accepted``, ``refused``, ``deferred`` or ``unknown``."""
    return type(outcome).__name__.lower()
