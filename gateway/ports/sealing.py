"""Sealing the audit trail: what the store offers for it, inside a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Horizon:
    """Up to which row each ledger may be sealed once the transactions that were writing then have ended."""

    upto: Mapping[str, int]
    writing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Draft:
    """The marks of a ledger's rows ``after`` < id <= ``upto``, not yet chained."""

    ledger: str
    after: int
    upto: int
    marks: bytes
    rows: int


@dataclass(frozen=True, slots=True)
class Seal:
    """A link of the chain. ``number`` counts from 1 without a gap; ``at`` is UTC; ``mac`` seals all before it."""

    number: int
    at: datetime
    ledger: str
    after: int
    upto: int
    rows: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Misfit:
    """Something that is not as it was sealed: in which ledger, from which row or seal on, and what a person reads."""

    ledger: str
    row: int
    what: str


class Seals(Protocol):
    """The chain of seals over the ledgers ``messages``, ``attempts`` and ``audit``."""

    def horizon(self) -> Horizon:
        """Return up to where the ledgers are written now."""

    def passed(self, horizon: Horizon) -> bool:
        """Say whether every transaction that was writing then has ended: no row at or below it can still come."""

    def draft(self, horizon: Horizon, limit: int) -> Draft | None:
        """Mark the next rows of one ledger that are not sealed; None when all are. Reads only."""

    def add(self, draft: Draft, at: datetime) -> Seal | None:
        """Append a seal to the chain; None when another process has sealed those rows meanwhile."""

    def get(self, number: int) -> Seal | None:
        """Return one seal."""

    def newest(self) -> Seal | None:
        """Return the head of the chain."""

    def check(self, after: int, limit: int) -> Iterator[tuple[Seal, Sequence[Misfit]]]:
        """Yield the seals after a number, each with what does not fit: the chain itself, and its rows."""

    def unsealed(self) -> dict[str, int]:
        """Return per ledger how many rows are younger than its newest seal."""


class Leases(Protocol):
    """Who does what one process alone may do."""

    def claim(self, name: str, owner: str, now: datetime, lease: timedelta) -> bool:
        """Take or renew a lease; False while another holds it."""

    def give_back(self, name: str, owner: str) -> None:
        """Let go of a lease, if it is this owner's."""
