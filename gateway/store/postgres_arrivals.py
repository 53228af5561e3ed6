"""The front door in PostgreSQL: locks, ids and what was seen before in one round trip, the rows by COPY."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from select import POLLIN, poll
from threading import Lock
from typing import Any, Final

import psycopg
from sqlalchemy import Engine, PoolProxiedConnection

from gateway.store.arrivals import COLUMNS, ArrivalRow, SeenRow
from gateway.store.faults import translate

_TYPES: Final = (
    *("int8", "text", "text", "text", "text", "int2", "timestamptz"),
    *("text", "bool", "bytea", "bytea", "bytea", "text"),
)
_COPY: Final = f"COPY messages ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)"
_LOCK_AND_NUMBER: Final = (
    "WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock(k) FROM unnest(%b::bigint[]) AS k),"
    " waited AS MATERIALIZED (SELECT count(*) AS n FROM locked)"
    " SELECT nextval('messages_id_seq') FROM waited, generate_series(1, %b::int + 0 * waited.n)"
)
_LOOK_BACK: Final = (
    "SELECT id, feed, control_id, received_at, digest, acknowledgment FROM messages"
    " WHERE feed = %b AND control_id = ANY(%b::text[]) AND positive"
)


class PostgresArrivals:
    """Received messages in PostgreSQL, over connections that are kept from one batch to the next."""

    def __init__(self, writer: Engine) -> None:
        self._writer = writer
        self._guard = Lock()
        self._kept: list[PoolProxiedConnection] = []

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Give a connection of this thread's own; one that failed is not used again."""
        try:
            connection = self._take()
            try:
                yield connection.driver_connection
                connection.commit()
            except BaseException:
                connection.invalidate()
                raise
        except psycopg.Error as error:
            raise translate(error) from None
        with self._guard:
            self._kept.append(connection)

    def admit(
        self, driver: Any, count: int, locks: Sequence[int], named: Mapping[str, Sequence[str]]
    ) -> tuple[Sequence[int], Sequence[SeenRow]]:
        """Take the advisory locks, ascending so that none waits in a ring; ids are drawn once they are held.

        What was seen before is looked for in statements of its own: they must see what those who held the locks wrote.
        """
        with driver.pipeline():
            numbers = driver.execute(_LOCK_AND_NUMBER, (sorted(set(locks)), count), prepare=True, binary=True)
            found = [
                driver.execute(_LOOK_BACK, (feed, list(control_ids)), prepare=True, binary=True)
                for feed, control_ids in named.items()
            ]
        return sorted(id for (id,) in numbers), [row for rows in found for row in rows]

    def insert(self, driver: Any, rows: Sequence[ArrivalRow]) -> None:
        """Copy rows into ``messages``: about twice as fast as inserting them."""
        if any(row[6].tzinfo is None for row in rows):
            raise ValueError("a moment without a time zone cannot be stored")
        with driver.cursor().copy(_COPY) as copy:
            copy.set_types(_TYPES)
            for row in rows:
                copy.write_row(row)

    def close(self) -> None:
        """Give the kept connections back."""
        with self._guard:
            for connection in self._kept:
                connection.close()
            self._kept.clear()

    def _take(self) -> PoolProxiedConnection:
        """Return a connection that the server has not closed meanwhile."""
        while True:
            with self._guard:
                connection = self._kept.pop() if self._kept else None
            if connection is None:
                return self._writer.raw_connection()
            if _is_open(connection.driver_connection):
                return connection
            connection.invalidate()


def _is_open(driver: Any) -> bool:
    """Whether the server has not closed a connection: an idle one has nothing to say but its end."""
    if driver.closed:
        return False
    waiting = poll()
    waiting.register(driver.fileno(), POLLIN)
    return not waiting.poll(0)
