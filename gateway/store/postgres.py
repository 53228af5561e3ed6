"""PostgreSQL through psycopg 3: many processes, one server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from select import POLLIN, poll
from typing import Any, Final
from uuid import UUID

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError

from gateway.store.backend import Insert, VersionRow, no_turn
from gateway.store.faults import translate, translate_errors
from gateway.store.schema import resource_versions
from gateway.store.types import NOBODY

_CONNECTIONS: Final = 10
_OVERFLOW: Final = 30
_VERSION_TYPES: Final = (
    *("int8", "uuid", "int4", "text", "uuid", "int8", "timestamptz", "text", "timestamptz", "text", "text", "text"),
    *("bytea", "bytea"),
)
_COPY_VERSIONS: Final = f"COPY resource_versions ({', '.join(resource_versions.c.keys())}) FROM STDIN (FORMAT BINARY)"
_LOCK = text("SELECT count(pg_advisory_xact_lock(k)) FROM unnest(CAST(:keys AS bigint[])) AS k")
_LOCK_AND_NUMBER = text(
    "WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock(k) FROM unnest(CAST(:keys AS bigint[])) AS k),"
    " waited AS MATERIALIZED (SELECT count(*) AS n FROM locked)"
    " SELECT nextval('messages_id_seq') FROM waited, generate_series(1, CAST(:count AS int) + 0 * waited.n)"
)
_CHANGES = text("SELECT nextval('changes') FROM generate_series(1, :count)")


class PostgresBackend:
    """One PostgreSQL database."""

    def __init__(self, url: URL) -> None:
        self.writer: Engine = _engine(url.set(drivername="postgresql+psycopg"))
        self.reader = self.writer

    def turn(self, *, urgent: bool = False) -> AbstractContextManager[None]:
        """Wait for nothing: the server sorts writers out."""
        return no_turn()

    @property
    def insert(self) -> Insert:
        """PostgreSQL's INSERT."""
        return insert

    def lock(self, connection: Connection, keys: Sequence[int]) -> None:
        """Take advisory locks until the transaction ends, in one round trip, ascending so that none waits in a ring."""
        connection.execute(_LOCK, {"keys": sorted(set(keys))})

    def number_messages(self, connection: Connection, count: int, keys: Sequence[int]) -> Sequence[int]:
        """Take the advisory locks and draw ids, in one round trip; ids are drawn once the locks are held."""
        found = connection.execute(_LOCK_AND_NUMBER, {"keys": sorted(set(keys)), "count": count})
        return sorted(found.scalars())

    def number_changes(self, connection: Connection, count: int) -> Sequence[int]:
        """Draw a block from the sequence; the patients' locks are held already, so it ascends per patient."""
        return sorted(connection.execute(_CHANGES, {"count": count}).scalars())

    def insert_versions(self, connection: Connection, rows: Sequence[VersionRow]) -> None:
        """Copy rows into ``resource_versions``: about twice as fast as inserting them."""
        try:
            with connection.connection.cursor().copy(_COPY_VERSIONS) as copy:
                copy.set_types(_VERSION_TYPES)
                for row in rows:
                    copy.write_row(_version(row))
        except psycopg.Error as error:
            raise translate(error) from None

    def close(self) -> None:
        """Close every connection."""
        self.writer.dispose()


def _version(row: VersionRow) -> tuple[Any, ...]:
    change, id, version, type, patient, message, stored_at, code, date, *rest = row
    if stored_at.tzinfo is None or (date is not None and date.tzinfo is None):
        raise ValueError("a moment without a time zone cannot be stored")
    ids = UUID(id or NOBODY), UUID(patient or NOBODY)
    return (change, ids[0], version, type, ids[1], message, stored_at, code, date, *rest)


def _engine(url: URL) -> Engine:
    engine = create_engine(
        url,
        pool_size=_CONNECTIONS,
        max_overflow=_OVERFLOW,
        pool_timeout=30,
        connect_args={"connect_timeout": 5, "options": "-c timezone=UTC -c client_encoding=UTF8"},
    )
    event.listen(engine, "checkout", _checked_out)
    translate_errors(engine)
    return engine


def _checked_out(connection: Any, _record: object, _proxy: object) -> None:
    """Drop a connection the server has closed: an idle one has nothing to say, so whatever is readable is its end.

    A microsecond, where a ping costs a round trip.
    """
    if connection.closed:
        raise DisconnectionError
    waiting = poll()
    waiting.register(connection.fileno(), POLLIN)
    if waiting.poll(0):
        raise DisconnectionError
