"""What the store answers in, beside the model: claims, filters, lines of lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from gateway.model.delivery import Attempt, Delivery, ManifestEntry
from gateway.model.message import MessageState
from gateway.model.translation import Gap


@dataclass(frozen=True, slots=True)
class LaneClaim:
    """A lane held by a worker. ``epoch`` grows each time the lane changes hands."""

    lane: int
    epoch: int


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages to list, newest first. ``before`` pages on by message id."""

    feed: str = ""
    state: MessageState | None = None
    control_id: str = ""
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class QueueLine:
    """How much waits in one place and since when: a feed's untranslated messages, a recipient's due deliveries."""

    name: str
    waiting: int
    oldest: datetime | None
    dead: int = 0


@dataclass(frozen=True, slots=True)
class GapLine:
    """A gap as it is listed: what, where, how often, first and last seen."""

    id: int
    feed: str
    gap: Gap
    count: int
    first_seen: datetime
    last_seen: datetime
    mapped_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Something a person must decide. No personal data in ``reason``.

    ``kind``: ``conflict``, ``implausible``, ``identity``, ``consent``, ``merge``, ``regression`` or ``office``.
    """

    kind: str
    reason: str
    message: int | None = None
    resource: str = ""
    id: int = 0
    opened_at: datetime | None = None
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One line of the audit trail: who or what did what to which row and why it was allowed. No personal data."""

    at: datetime
    action: str
    actor: str
    subject: str
    detail: str = ""


def spans(numbers: Iterable[int]) -> str:
    """Return numbers as a person lists them, for one line about many rows.

    >>> spans([7, 3, 4, 5])
    '3-5, 7'
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


@dataclass(frozen=True, slots=True)
class Saved:
    """What is to be written of an attempt. ``as_noted``: it carried what was noted before it was made."""

    delivery: Delivery
    attempt: Attempt | None
    as_noted: bool = False


@dataclass(frozen=True, slots=True)
class ChangeRange:
    """Which changes of a patient are asked for: ``after`` < change <= ``upto``, the first ``limit`` of them.

    Without ``every_version`` only the newest version of each resource, and only if its own change lies in the range.
    ``types``: of these resource types alone.
    """

    patient: str
    after: int = 0
    upto: int | None = None
    every_version: bool = False
    types: tuple[str, ...] = ()
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Unreceipted:
    """An event whose receipt has not come: its message id, the delivery it was part of, routing key and body."""

    message_id: str
    delivery: int
    routing_key: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Process:
    """A running process of the gateway: its name in leases, its roles, when it began and was last heard of (UTC)."""

    owner: str
    roles: tuple[str, ...]
    began_at: datetime
    seen_at: datetime


class Holding(Protocol):
    """What a view holds, or may hold, of a patient: the newest entries that accepted or unknown attempts carried."""

    @property
    def entries(self) -> Mapping[str, ManifestEntry]:
        """All of them, by internal id of the resource."""

    @property
    def unsure(self) -> Set[str]:
        """The internal ids of those of which nobody knows whether they arrived as they were sent last."""

    def find(self, resource: str) -> tuple[ManifestEntry, bool] | None:
        """Return the entry of a resource, and whether it certainly arrived; the others are not looked at."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """A recipient's circuit. ``open_until`` None: closed."""

    recipient: str
    failures: int = 0
    open_until: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resealed:
    """Some rows of a table, encrypted anew: how many, after which row to go on (None: that was all).

    ``unreadable``: keys of rows left as they are, because they were changed outside.
    """

    rows: int
    after: tuple[Any, ...] | None
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy of the whole database: by which version, when, how many messages, when the newest was received (UTC)."""

    program: str
    taken_at: datetime
    messages: int
    newest: datetime | None
