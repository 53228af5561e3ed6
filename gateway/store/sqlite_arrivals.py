"""The front door in SQLite: the writer's turn is held already, and there are no round trips to save."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import Engine, event

from gateway.store.arrivals import COLUMNS, ArrivalRow, SeenRow
from gateway.store.backend import chunks
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
    """Received messages in SQLite, over the one connection of the writing engine.

    Whoever holds the turn to write has that connection to himself, so it need not be checked out of its pool.
    """

    def __init__(self, writer: Engine) -> None:
        self._writer = writer
        self._driver: sqlite3.Connection | None = None
        self._last: int | None = None  # nobody else counts on: the file is this process's
        event.listen(writer, "connect", self._connected)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection inside a transaction."""
        driver = self._opened()
        try:
            driver.execute("BEGIN IMMEDIATE")
            try:
                yield driver
                driver.execute("COMMIT")
            except BaseException:
                if driver.in_transaction:  # SQLite has rolled back some errors itself
                    driver.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise translate(error) from None

    def admit(
        self, driver: Any, count: int, locks: Sequence[int], named: Mapping[str, Sequence[str]]
    ) -> tuple[Sequence[int], Sequence[SeenRow]]:
        """Return new ids, those of deleted rows never again, and what was seen before."""
        del locks
        if self._last is None:
            self._last = driver.execute(_LAST).fetchone()[0]
        first = self._last + 1
        self._last += count
        seen: list[SeenRow] = []
        for feed, control_ids in named.items():
            for some in _filled(control_ids):
                seen += map(_seen, driver.execute(_look_back(len(some)), (feed, *some)))
        return range(first, first + count), seen

    def insert(self, driver: Any, rows: Sequence[ArrivalRow]) -> None:
        """Insert rows of ``messages``."""
        driver.executemany(_INSERT, [(*row[:6], microseconds(row[6]), *row[7:]) for row in rows])

    def _connected(self, driver: sqlite3.Connection, _record: object) -> None:
        self._driver = driver

    def _opened(self) -> sqlite3.Connection:
        if self._driver is None:
            self._writer.connect().close()
        assert self._driver is not None  # noqa: S101 (connecting tells it)
        return self._driver


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
