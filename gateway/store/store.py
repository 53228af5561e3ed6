"""The store: transactions over one database, and its durable front door for received messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import make_url, text
from sqlalchemy.exc import ArgumentError

from gateway import ports
from gateway.errors import StoreError
from gateway.model.keys import Keys
from gateway.model.message import Incoming, Stored
from gateway.ports import Backup, QueueLine
from gateway.store import (  # noqa: F401 - api_tables: the metadata is whole only with them
    api_tables,
    backup,
    clock,
    migrate,
    operations,
)
from gateway.store.accounts import SqlAccounts
from gateway.store.alerts import SqlAlerts
from gateway.store.answers import SqlAnswers
from gateway.store.audit import SqlAudit
from gateway.store.backend import Backend, Unit
from gateway.store.cipher import Cipher
from gateway.store.clients import SqlClients
from gateway.store.codes import SqlCodeMaps
from gateway.store.deliveries import SqlDeliveries
from gateway.store.exports import SqlExports
from gateway.store.faults import pool_errors
from gateway.store.intake import receive
from gateway.store.lanes import SqlLanes
from gateway.store.leases import SqlLeases
from gateway.store.messages import SqlMessages
from gateway.store.outbox import SqlOutbox
from gateway.store.pages import Opened
from gateway.store.resources import SqlResources
from gateway.store.sealed import SqlSealing
from gateway.store.seals import SqlSeals
from gateway.store.subscriptions import SqlSubscriptions
from gateway.store.worklist import SqlWorkList

_PARTS: Final[Mapping[str, Callable[[Unit], Any]]] = {
    "messages": SqlMessages,
    "lanes": SqlLanes,
    "resources": SqlResources,
    "deliveries": SqlDeliveries,
    "worklist": SqlWorkList,
    "codes": SqlCodeMaps,
    "audit": SqlAudit,
    "alerts": SqlAlerts,
    "accounts": SqlAccounts,
    "answers": SqlAnswers,
    "seals": SqlSeals,
    "leases": SqlLeases,
    "outbox": SqlOutbox,
    "breakers": operations.SqlBreakers,
    "processes": operations.SqlProcesses,
    "sealing": SqlSealing,
    "clients": SqlClients,
    "subscriptions": SqlSubscriptions,
    "exports": SqlExports,
}


class SqlTransaction:
    """One unit of work: everything in it is committed together, or nothing."""

    messages: ports.Messages
    lanes: ports.Lanes
    resources: ports.Resources
    deliveries: ports.Deliveries
    worklist: ports.WorkList
    codes: ports.CodeMaps
    audit: ports.Audit
    alerts: ports.Alerts
    accounts: ports.Accounts
    answers: ports.Answers
    seals: ports.Seals
    leases: ports.Leases
    outbox: ports.Outbox
    breakers: ports.Breakers
    processes: ports.Processes
    sealing: ports.Sealing
    clients: ports.Clients
    subscriptions: ports.Subscriptions
    exports: ports.Exports

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def __getattr__(self, name: str) -> Any:
        """Make a part when it is first asked for: a transaction needs few of them."""
        if name not in _PARTS:
            raise AttributeError(name)
        part = _PARTS[name](self._unit)
        setattr(self, name, part)
        return part

    def feed_queues(self) -> list[QueueLine]:
        """Return what waits per feed."""
        return operations.feed_queues(self._unit)

    def recipient_queues(self) -> list[QueueLine]:
        """Return what waits per recipient."""
        return operations.recipient_queues(self._unit)

    def set_back(self, now: datetime, by: timedelta) -> None:
        """Note that the clock was set back by this: what waits for a moment waits no longer than before."""
        clock.set_back(self._unit, now, by)


class SqlStore:
    """A database behind the ``Store`` port. Safe from any thread; a transaction belongs to the thread that began it."""

    def __init__(self, backend: Backend, keys: Keys, changed: Callable[[], Keys | None]) -> None:
        self._backend = backend
        self._keys = keys
        self._cipher = Cipher(keys, changed)
        self._opened = Opened()

    def receive(self, batch: Sequence[Incoming]) -> list[Stored]:
        """Store messages in one durable transaction and say what to answer each, in the same order.

        A crash before it returns leaves either all of the batch or nothing; what was stored unanswered is a repeat
        when the sender tries again.
        """
        self._cipher.refresh()
        with self._backend.turn(urgent=True), pool_errors():
            return receive(self._backend, self._cipher, batch)

    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[SqlTransaction]:
        """Open a transaction; commits when the block ends, rolls back when it raises. Never held across a network."""
        self._cipher.refresh()
        if write:
            with self._backend.turn(), pool_errors(), self._backend.writer.begin() as connection:
                yield SqlTransaction(Unit(connection, self._backend, self._cipher, self._opened))
        else:
            with pool_errors(), self._backend.reader.begin() as connection:
                yield SqlTransaction(Unit(connection, self._backend, self._cipher, self._opened))

    def check_schema(self) -> None:
        """Raise ``SchemaMismatch`` when the database is not of this program's version.

        Raises ``KeysMissing`` when the keys are not those the database was written with.
        """
        with pool_errors(), self._backend.reader.begin() as connection:
            migrate.check(connection)
            migrate.check_keys(connection, self._keys)

    def upgrade(self) -> None:
        """Bring the schema up to this program's version, and note by what the keys are recognised again."""
        with self._backend.turn(), pool_errors(), self._backend.writer.begin() as connection:
            migrate.upgrade(connection, self._keys)
            migrate.note_keys(connection, self._keys)

    def take_keys(self, keys: Keys) -> None:
        """Encrypt under the active one of these keys from now on, and note by what each is recognised again."""
        with self._backend.turn(), pool_errors(), self._backend.writer.begin() as connection:
            migrate.note_keys(connection, keys)
        self._keys = keys
        self._cipher.take(keys)

    def backup(self, folder: Path, now: datetime) -> Backup:
        """Copy the whole database, as it is at one moment, into an empty folder. Raises ``BackupError``."""
        with pool_errors():
            return backup.take(self._backend, folder, now)

    def restore(self, folder: Path, now: datetime) -> Backup:
        """Make an empty database what a backup says, ready to go on with its work.

        Raises ``BackupError``; ``KeysMissing`` when the keys are not those the backup was written with.
        """
        with pool_errors():
            return backup.put(self._backend, folder, self._keys, now)

    def ping(self) -> None:
        """Make one round trip."""
        with pool_errors(), self._backend.reader.begin() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Let go of every connection."""
        self._backend.close()


def create_store(
    url: str, keys: Keys, *, read_only: bool = False, changed: Callable[[], Keys | None] = lambda: None
) -> SqlStore:
    """Return the store at a database URL: ``sqlite:///path`` or ``postgresql://user@host/database``.

    A SQLite file is created, and owned by this process until the store is closed. ``read_only`` opens an existing
    file beside its owner, for commands that only look. ``changed`` returns the keys when they were rotated, else None.
    Raises ``StoreUnavailable`` when another process owns the file, ``KeysMissing`` without an active encryption key,
    ``StoreError`` for another kind of URL. A server is first spoken to when something is asked of it.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # a port that is no number; its words quote it
        raise StoreError("the database URL cannot be read") from None
    kind = parsed.get_backend_name()
    if kind == "sqlite" and parsed.database:
        from gateway.store.sqlite import SqliteBackend

        return SqlStore(SqliteBackend(parsed, read_only=read_only), keys, changed)
    if kind in {"postgresql", "postgres"}:
        from gateway.store.postgres import PostgresBackend

        return SqlStore(PostgresBackend(parsed), keys, changed)
    raise StoreError("the database URL begins with neither sqlite:/// nor postgresql://")
