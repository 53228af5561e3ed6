"""The front door in PostgreSQL: locks, ids and what was seen before in one round trip, the rows by COPY."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import psycopg
from sqlalchemy import Connection

from gateway.store.arrivals import COLUMNS, ArrivalRow, SeenRow
from gateway.store.backend import driver
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
    """Received messages in PostgreSQL."""

    def admit(
        self, connection: Connection, count: int, locks: Sequence[int], named: Mapping[str, Sequence[str]]
    ) -> tuple[Sequence[int], Sequence[SeenRow]]:
        """Take the advisory locks, ascending so that none waits in a ring; ids are drawn once they are held.

        What was seen before is looked for in statements of its own: it must see what those who held the locks wrote.
        """
        base = driver(connection)
        try:
            with base.pipeline():
                numbers = base.execute(_LOCK_AND_NUMBER, (sorted(set(locks)), count), prepare=True, binary=True)
                asked = [
                    base.execute(_LOOK_BACK, (feed, list(ids)), prepare=True, binary=True)
                    for feed, ids in named.items()
                ]
            return sorted(id for (id,) in numbers), [row for found in asked for row in found]
        except psycopg.Error as error:
            raise translate(error) from None

    def insert(self, connection: Connection, rows: Sequence[ArrivalRow]) -> None:
        """Copy rows into ``messages``: about twice as fast as inserting them."""
        if any(row[6].tzinfo is None for row in rows):
            raise ValueError("a moment without a time zone cannot be stored")
        try:
            with driver(connection).cursor().copy(_COPY) as copy:
                copy.set_types(_TYPES)
                for row in rows:
                    copy.write_row(row)
        except psycopg.Error as error:
            raise translate(error) from None
