"""The tables of subscriptions: what clients asked to be told of, what may be an event of it, and what was one."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text

from gateway.store.schema import metadata, numbered
from gateway.store.types import Id, Key, Line, Moment


def terms_place(id: str) -> bytes:
    """Return the associated data of what a client asked for."""
    return f"subscriptions.terms|{id}".encode()


subscriptions: Final = Table(
    "subscriptions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("client", Key, nullable=False),
    Column("state", Text, nullable=False),
    Column("terms", LargeBinary, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("version", Integer, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("settled", BigInteger, nullable=False),
    Column("sending", BigInteger),
    Column("failures", Integer, nullable=False),
    Column("failed_at", Moment),
    Column("told_at", Moment),
    Column("due_at", Moment),
    Column("lease_until", Moment),
    Column("lease_owner", Line),
    Column("detail", Line, nullable=False),
    Index("subscriptions_client", "client"),
    Index("subscriptions_due", "due_at"),
)

subscription_triggers: Final = Table(
    "subscription_triggers",
    metadata,
    numbered(),
    Column("subscription", Id, nullable=False),
    Column("patient", Id, nullable=False),
    Column("type", Text, nullable=False),
    Column("resource", Id, nullable=False),
    Column("version", Integer, nullable=False),
    Column("cause", Text, nullable=False),
    Column("due_at", Moment),
    Index("subscription_triggers_of", "subscription", "id"),
)
"""Changes that may be events, written with the change itself; what was decided on is gone. ``due_at``: not before."""

subscription_events: Final = Table(
    "subscription_events",
    metadata,
    Column("subscription", Id, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("recipient", Key, nullable=False),
    Column("study", Key, nullable=False),
    Column("patient", Id, nullable=False),
    Column("type", Text, nullable=False),
    Column("resource", Id, nullable=False),
    Column("version", Integer, nullable=False),
    Index("subscription_events_at", "at"),
    sqlite_with_rowid=False,
)
"""What happened, by its number: for repeats, and for who missed something (``$events``)."""
