"""The front door in SQLite: the writer's turn is held already, and there are no round trips to save."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection

from gateway.store.arrivals import COLUMNS, ArrivalRow, SeenRow
from gateway.store.backend import chunks, driver
from gateway.store.faults import translate
from gateway.store.types import microseconds

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INSERT: Final = f"INSERT INTO messages ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
_LAST: Final = (
    "SELECT max((SELECT coalesce(max(id), 0) FROM messages),"
    " coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'messages'), 0))"
)
_SIZES: Final = (1, 8, 64, 512)
"""Lengths of IN lists: few, so that each statement is prepared once."""


class SqliteArrivals:
    """Received messages in SQLite."""

    def __init__(self) -> None:
        self._last: int | None = None  # nobody else counts on: the file is this process's

    def admit(
        self, connection: Connection, count: int, locks: Sequence[int], named: Mapping[str, Sequence[str]]
    ) -> tuple[Sequence[int], Sequence[SeenRow]]:
        """Return new ids, those of deleted rows never again, and what was seen before."""
        del locks
        base = driver(connection)
        seen: list[SeenRow] = []
        try:
            if self._last is None:
                self._last = base.execute(_LAST).fetchone()[0]
            for feed, control_ids in named.items():
                for some in _filled(control_ids):
                    seen += map(_seen, base.execute(_look_back(len(some)), (feed, *some)))
        except sqlite3.Error as error:
            raise translate(error) from None
        first = self._last + 1
        self._last += count
        return range(first, first + count), seen

    def insert(self, connection: Connection, rows: Sequence[ArrivalRow]) -> None:
        """Insert rows of ``messages``."""
        try:
            driver(connection).executemany(_INSERT, [(*row[:6], microseconds(row[6]), *row[7:]) for row in rows])
        except sqlite3.Error as error:
            raise translate(error) from None


@cache
def _look_back(count: int) -> str:
    return (
        "SELECT id, feed, control_id, received_at, digest, acknowledgment FROM messages"  # noqa: S608
        f" WHERE feed = ? AND control_id IN ({', '.join('?' * count)}) AND positive"
    )


def _filled(items: Sequence[str]) -> list[Sequence[str]]:
    """Return the items in lists of few different lengths, the last one filled up with its own last item."""
    return [
        [*some, *[some[-1]] * (next(size for size in _SIZES if size >= len(some)) - len(some))]
        for some in chunks(items, _SIZES[-1])
    ]


def _seen(row: Sequence[Any]) -> SeenRow:
    id, feed, control_id, received_at, digest, acknowledgment = row
    return id, feed, control_id, _EPOCH + timedelta(microseconds=received_at), digest, acknowledgment
