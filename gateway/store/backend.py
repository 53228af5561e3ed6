"""What differs between the databases: connecting, locking, counting, and who may write when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, Table

from gateway.store.arrivals import Arrivals
from gateway.store.cipher import Cipher
from gateway.store.page_tables import PageTables
from gateway.store.pages import Opened

T = TypeVar("T")

Insert = Callable[[Table], Any]


class Backend(Protocol):
    """One kind of database."""

    @property
    def writer(self) -> Engine:
        """The engine of writing transactions."""

    @property
    def reader(self) -> Engine:
        """The engine of reading transactions."""

    def turn(self, *, urgent: bool = False) -> AbstractContextManager[None]:
        """Wait for the turn to write; urgent ones go first."""

    @property
    def arrivals(self) -> Arrivals:
        """The table behind the front door."""

    @property
    def pages(self) -> PageTables:
        """The tables behind the resource versions."""

    @property
    def insert(self) -> Insert:
        """The INSERT of the dialect (it knows ON CONFLICT)."""

    def lock(self, connection: Connection, keys: Sequence[int]) -> None:
        """Lock 64-bit keys, ascending, until the transaction ends."""

    def close(self) -> None:
        """Let go of everything."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What a query needs: its transaction's connection, the database's kind, the cipher, the pages opened last."""

    connection: Connection
    backend: Backend
    cipher: Cipher
    opened: Opened = field(default_factory=Opened)


@cache
def ignoring(insert: Insert, table: Table, *unique: str) -> Any:
    """Return an INSERT that leaves rows alone that are there already, by these columns."""
    return insert(table).on_conflict_do_nothing(index_elements=list(unique))


@cache
def replacing(insert: Insert, table: Table, *unique: str) -> Any:
    """Return an INSERT that overwrites the other columns where a row is there already, by these columns."""
    statement = insert(table)
    others = {column.name: statement.excluded[column.name] for column in table.c if column.name not in unique}
    return statement.on_conflict_do_update(index_elements=list(unique), set_=others)


def chunks(items: Sequence[T], size: int = 500) -> Iterator[Sequence[T]]:
    """Yield items in runs short enough for one IN list."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def driver(connection: Connection) -> Any:
    """Return the driver's own connection, for what happens so often that the toolkit's part in it counts."""
    return connection.connection.driver_connection


@contextmanager
def no_turn() -> Iterator[None]:
    """Wait for nothing: the server sorts writers out."""
    yield
