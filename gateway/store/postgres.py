"""PostgreSQL through psycopg 3: many processes, one server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from select import POLLIN, poll
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError

from gateway.store.backend import Insert, no_turn
from gateway.store.faults import translate_errors
from gateway.store.page_tables import PageTables
from gateway.store.postgres_arrivals import PostgresArrivals
from gateway.store.postgres_pages import PostgresPages

_CONNECTIONS: Final = 10
_OVERFLOW: Final = 30
_OPTIONS: Final = "-c timezone=UTC -c client_encoding=UTF8 -c jit=off"
"""Compiling a query of many ids takes longer than answering it, and a large database takes each for a dear one."""

_LOCK = text("SELECT count(pg_advisory_xact_lock(k)) FROM unnest(CAST(:keys AS bigint[])) AS k")


class PostgresBackend:
    """One PostgreSQL database."""

    def __init__(self, url: URL) -> None:
        self.writer: Engine = _engine(url.set(drivername="postgresql+psycopg"))
        self.reader = self.writer
        self.arrivals = PostgresArrivals(self.writer)
        self.pages: PageTables = PostgresPages()

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

    def close(self) -> None:
        """Close every connection."""
        self.arrivals.close()
        self.writer.dispose()


def _engine(url: URL) -> Engine:
    engine = create_engine(
        url,
        pool_size=_CONNECTIONS,
        max_overflow=_OVERFLOW,
        pool_timeout=30,
        connect_args={"connect_timeout": 5, "options": _OPTIONS},
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
