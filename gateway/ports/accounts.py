"""Reading the whole way from raw message to receipt, for reconciling and for disclosures. Everything is streamed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from gateway.model.delivery import Attempt, Delivery, View
from gateway.ports.rows import AuditEvent


@dataclass(frozen=True, slots=True)
class Period:
    """``since`` <= moment < ``until``, UTC; None is open."""

    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """How many messages of a feed and a day (UTC) are in a state, and how many resource versions they wrote."""

    feed: str
    day: date
    state: str
    positive: bool
    messages: int
    versions: int


@dataclass(frozen=True, slots=True)
class Twin:
    """A message that is stored under the same feed, MSH-10 and content as another; ``received_at`` is UTC."""

    feed: str
    message: int
    received_at: datetime


class Accounts(Protocol):
    """What the tables say of everything that came in and went out."""

    def received(self, period: Period) -> Iterator[Received]:
        """Count messages by feed, day, state and answer, by time of receipt."""

    def unaccounted(self, period: Period) -> Iterator[tuple[int, str]]:
        """Yield id and state of messages answered positively that are in none of the states that answer allows."""

    def twins(self) -> Iterator[list[Twin]]:
        """Yield messages answered positively that share feed, MSH-10 and content, oldest first."""

    def cursors(self) -> Iterator[tuple[View, str, int]]:
        """Count deliveries by view and state."""

    def idle_but_owing(self) -> Iterator[tuple[int, View]]:
        """Yield the deliveries that owe something and that nothing will ever wake."""

    def attempts(self) -> Iterator[tuple[View, Attempt]]:
        """Yield every attempt, those of one delivery together, oldest first."""

    def withheld(self, period: Period) -> Iterator[tuple[View, str]]:
        """Yield the detail of each audit line that says what was withheld from a view."""

    def lines(self, action: str, period: Period) -> Iterator[AuditEvent]:
        """Yield the audit lines of an action, oldest first."""

    def unreceipted(self) -> Iterator[tuple[str, int]]:
        """Count events without a receipt by recipient."""

    def known_as(self, patient: str) -> list[str]:
        """Return the Patients that are this person: the surviving one and all that were merged into it."""

    def deliveries_of(self, patients: Iterable[str]) -> list[Delivery]:
        """Return the deliveries of these Patients to whomever, configured today or not."""
