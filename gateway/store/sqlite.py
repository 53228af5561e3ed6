"""SQLite: one file, one process that owns it, one writer at a time, readers beside it (WAL).

What was committed is on the disk before its transaction counts as ended, as with synchronous=FULL; but nobody waits
with the turn for the disk (``gateway.store.log``).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import URL
from sqlalchemy.pool import QueuePool

from gateway.errors import StoreUnavailable
from gateway.store.arrivals import Arrivals
from gateway.store.backend import Insert, driver
from gateway.store.checkpoints import LIMIT_PAGES, Checkpointer
from gateway.store.faults import translate, translate_errors
from gateway.store.gate import WriterGate
from gateway.store.log import LogFile
from gateway.store.page_tables import PageTables
from gateway.store.sqlite_arrivals import SqliteArrivals
from gateway.store.sqlite_pages import SqlitePages

_PRAGMAS: Final = (
    "PRAGMA busy_timeout = 10000",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -32768",
    "PRAGMA mmap_size = 268435456",
)
_FIRST: Final = ("PRAGMA journal_mode = WAL", f"PRAGMA wal_autocheckpoint = {LIMIT_PAGES}")
_READERS: Final = 8


class OwnedFile:
    """The right to a database file, held until closed. Another process, or a second store in this one, is refused."""

    _taken: ClassVar[set[str]] = set()
    _guard = Lock()

    def __init__(self, database: Path) -> None:
        self._name = str(database.resolve())
        with self._guard:
            if self._name in self._taken:
                raise StoreUnavailable("this process has the database file open already")
            self._file = self._locked(Path(f"{self._name}.lock"))
            self._taken.add(self._name)

    @staticmethod
    def _locked(beside: Path) -> int:
        file = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # A record lock ends with its process and is not inherited by a fork, so nothing stale can stay behind.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(file, 20).decode("ascii", "replace").strip()
            os.close(file)
            raise StoreUnavailable(f"another gateway process ({owner or 'unknown'}) owns the database file") from None
        os.truncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        return file

    def close(self) -> None:
        """Give the file back."""
        with self._guard:
            if self._name in self._taken:
                os.close(self._file)
                self._taken.discard(self._name)


class SqliteBackend:
    """One SQLite file. ``read_only`` opens it beside its owner and never writes."""

    def __init__(self, url: URL, *, read_only: bool = False) -> None:
        path = Path(url.database or "")
        self._owned = None if read_only else _own(path)
        if read_only and not path.exists():
            raise StoreUnavailable(f"{path}: there is no database yet; `gateway serve` makes it")
        self._gate = WriterGate()
        self._log = LogFile(path)
        self.pages: PageTables = SqlitePages()
        self.reader = _engine(url, _READERS, read_only=True)
        self.writer = self.reader if read_only else _engine(url, 1, read_only=False)
        self.arrivals: Arrivals = SqliteArrivals(self.writer)
        self._checkpointer = None if read_only else Checkpointer(path)

    @contextmanager
    def turn(self, *, urgent: bool = False) -> Iterator[None]:
        """Wait for the turn to write; urgent ones go first. When it returns, what was committed is on the disk."""
        with self._gate.turn(urgent=urgent):
            yield
        self._log.sync()

    @property
    def insert(self) -> Insert:
        """SQLite's INSERT."""
        return insert

    def lock(self, connection: Connection, keys: Sequence[int]) -> None:
        """Do nothing: the writer's turn is held already."""

    def close(self) -> None:
        """Close every connection and give the file back."""
        if self._checkpointer:
            self._checkpointer.close()
        self.reader.dispose()
        self.writer.dispose()
        if self._owned:
            self._owned.close()


def _own(path: Path) -> OwnedFile:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        owned = OwnedFile(path)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"the database file cannot be opened: {error.strerror}") from None
    return owned


def _engine(url: URL, connections: int, *, read_only: bool) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=60,
        connect_args={"check_same_thread": False, "cached_statements": 512},
    )

    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        pragmas = (*_PRAGMAS, "PRAGMA query_only = ON") if read_only else (*_FIRST, *_PRAGMAS)
        for pragma in pragmas:
            connection.execute(pragma)

    def begun(connection: Connection) -> None:
        try:  # past the toolkit, which takes longer over it than the database
            driver(connection).execute("BEGIN" if read_only else "BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise translate(error) from None

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    translate_errors(engine)
    return engine
