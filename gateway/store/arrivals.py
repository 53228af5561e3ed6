"""The table behind the front door, one implementation per database, past SQLAlchemy's conversions.

Every message passes here while its sender waits, so each question is asked once for the whole batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from sqlalchemy import Connection

ArrivalRow = tuple[int, str, str, str, str, int, datetime, str, bool, bytes, bytes, bytes, str]
"""A new row of ``messages``, in the order of ``COLUMNS``; moments aware, text as it may be stored."""

COLUMNS: Final = (
    *("id", "feed", "site", "control_id", "message_type", "lane", "received_at"),
    *("state", "positive", "digest", "raw", "acknowledgment", "reason"),
)

SeenRow = tuple[int, str, str, datetime, bytes, bytes]
"""A positively answered message: id, feed, control id, received at, digest, sealed acknowledgment."""


class Arrivals(Protocol):
    """Numbering, recognising and inserting received messages."""

    def admit(
        self, connection: Connection, count: int, locks: Sequence[int], named: Mapping[str, Sequence[str]]
    ) -> tuple[Sequence[int], Sequence[SeenRow]]:
        """Lock these keys until the transaction ends; then return ``count`` ascending ids, above every one ever given.

        With them come the positively answered messages that have one of these control ids, by feed.
        """

    def insert(self, connection: Connection, rows: Sequence[ArrivalRow]) -> None:
        """Insert rows of ``messages``."""
