"""The table behind the front door, one implementation per database, past the toolkit.

Every message passes here while its sender waits: the driver's own connection is kept open, each question is asked
once for the whole batch, and nothing is converted twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Final, Protocol

ArrivalRow = tuple[int, str, str, str, str, int, datetime, str, bool, bytes, bytes, bytes, str]
"""A new row of ``messages``, in the order of ``COLUMNS``; moments aware, text as it may be stored."""

COLUMNS: Final = (
    *("id", "feed", "site", "control_id", "message_type", "lane", "received_at"),
    *("state", "positive", "digest", "raw", "acknowledgment", "reason"),
)

SeenRow = tuple[int, str, str, datetime, bytes, bytes]
"""A positively answered message: id, feed, control id, received at, digest, sealed acknowledgment."""


class Arrivals(Protocol):
    """Numbering, recognising and inserting received messages. ``driver`` is a connection of the database's driver."""

    def transaction(self) -> AbstractContextManager[Any]:
        """Begin on the driver's connection and give it; commit durably at the end, roll back when the block raises.

        Raises ``StoreError`` for whatever the database does not do. The turn to write is held already.
        """

    def admit(
        self, driver: Any, count: int, locks: Sequence[int], named: Mapping[str, Sequence[str]]
    ) -> tuple[Sequence[int], Sequence[SeenRow]]:
        """Lock these keys until the transaction ends; then return ``count`` ascending ids, above every one ever given.

        With them come the positively answered messages that have one of these control ids, by feed.
        """

    def insert(self, driver: Any, rows: Sequence[ArrivalRow]) -> None:
        """Insert rows of ``messages``."""
