"""The database: transactions, and the one way a message is stored."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from gateway.model.keys import Keys
from gateway.model.message import Incoming, Stored
from gateway.ports.accounts import Accounts
from gateway.ports.alerts import Alerts
from gateway.ports.answers import Answers
from gateway.ports.clients import Clients
from gateway.ports.exports import Exports
from gateway.ports.rows import Backup, QueueLine
from gateway.ports.sealing import Leases, Seals
from gateway.ports.subscriptions import Subscriptions
from gateway.ports.tables import (
    Audit,
    Breakers,
    CodeMaps,
    Deliveries,
    Lanes,
    Messages,
    Outbox,
    Processes,
    Resources,
    Sealing,
    WorkList,
)


class Transaction(Protocol):
    """One unit of work: everything in it is committed together, or nothing."""

    messages: Messages
    lanes: Lanes
    resources: Resources
    deliveries: Deliveries
    worklist: WorkList
    codes: CodeMaps
    audit: Audit
    alerts: Alerts
    accounts: Accounts
    answers: Answers
    seals: Seals
    leases: Leases
    outbox: Outbox
    breakers: Breakers
    processes: Processes
    sealing: Sealing
    clients: Clients
    subscriptions: Subscriptions
    exports: Exports

    def feed_queues(self) -> list[QueueLine]:
        """Return what waits per feed."""

    def recipient_queues(self) -> list[QueueLine]:
        """Return what waits per recipient."""

    def set_back(self, now: datetime, by: timedelta) -> None:
        """Note that the clock was set back by this: what waits for a moment waits no longer than before.

        Due times, circuits and leases of the time before are taken as far back; what was due by then is due ``now``.
        """


class Store(Protocol):
    """The database. Every method raises ``StoreUnavailable`` when it does not answer or cannot commit."""

    def receive(self, batch: Sequence[Incoming]) -> list[Stored]:
        """Store messages in one durable transaction and say what to answer each, in the same order.

        A repeat (same feed, MSH-10 and digest, answered positively within the window, or earlier in this batch) is
        not stored again and gets the stored acknowledgment. Same MSH-10 with another digest is stored as a
        ``conflict``, with a hold, and gets what its ``answer_conflict`` writes.
        """

    def begin(self, *, write: bool = True) -> AbstractContextManager[Transaction]:
        """Open a transaction; commits when the block ends, rolls back when it raises. Never held across a network."""

    def check_schema(self) -> None:
        """Raise ``SchemaMismatch`` when the database is not of this program's version."""

    def upgrade(self) -> None:
        """Bring the schema up to this program's version."""

    def take_keys(self, keys: Keys) -> None:
        """Encrypt under the active one of these keys from now on, and note by what each is recognised again."""

    def backup(self, folder: Path, now: datetime) -> Backup:
        """Copy the whole database, as it is at one moment, into an empty folder. Raises ``BackupError``."""

    def restore(self, folder: Path, now: datetime) -> Backup:
        """Make an empty database what a backup says, ready to go on with its work.

        Raises ``BackupError``; ``KeysMissing`` when the keys are not those the backup was written with.
        """

    def ping(self) -> None:
        """Make one round trip."""

    def close(self) -> None:
        """Let go of every connection."""
