"""The other edges: the clock, translating, packing, one attempt at a recipient."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from gateway.model.delivery import Delivery, Outcome, Package, Packed
from gateway.model.translation import Translation


class Clock(Protocol):
    """The time. Calling it returns the moment in UTC, with its zone."""

    def __call__(self) -> datetime:
        """Return the moment in UTC, with its zone."""


class Translator(Protocol):
    """Bytes to statements: pure, safe in any process, never raises for what a message holds."""

    def translate(self, raw: bytes, feed: str, received_at: datetime) -> Translation:
        """Translate one message of a feed. What is wrong with it comes back as ``Translation.failure``."""


class Packager(Protocol):
    """What may leave for a cursor, decided now."""

    def package(self, delivery: Delivery, now: datetime) -> Packed:
        """Pack what the cursor owes, in a read transaction of its own."""

    def package_many(self, deliveries: Sequence[Delivery], now: datetime) -> list[Packed | Exception]:
        """Pack several cursors in one read transaction, in their order.

        What is wrong with one cursor stands in its place and spoils no other. Raises ``StoreError``.
        """


class RecipientAdapter(Protocol):
    """One outside system that receives."""

    def deliver(self, package: Package) -> Outcome:
        """Make one attempt; every far-side behaviour maps to one outcome; never raises for what the far side does."""

    def close(self) -> None:
        """Let go of connections."""


@runtime_checkable
class GroupAdapter(RecipientAdapter, Protocol):
    """A recipient that takes several packages in one go."""

    def deliver_many(self, packages: Sequence[Package]) -> list[Outcome]:
        """Make an attempt with each package and return an outcome for each, in order; never raises as ``deliver``."""
