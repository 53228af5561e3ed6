"""The tables of the FHIR API: who may ask, what each answer disclosed, and what is exported.

A request's text and the list of what an answer held are encrypted: both can say something of a person.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, Text

from gateway.store.schema import metadata, numbered
from gateway.store.types import Id, Key, Line, Moment


def export_place(id: str, column: str) -> bytes:
    """Return the associated data of an encrypted value of an export."""
    return f"exports.{column}|{id}".encode()


def part_place(export: str, file: int, number: int, column: str) -> bytes:
    """Return the associated data of an encrypted value of a part of an export's file."""
    return f"export_parts.{column}|{export}|{file}|{number}".encode()


clients: Final = Table(
    "clients",
    metadata,
    Column("name", Key, primary_key=True),
    Column("views", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("jwks", Text, nullable=False),
    Column("jwks_url", Line, nullable=False),
    Column("secret", LargeBinary),
    Column("old_jwks", Text, nullable=False),
    Column("old_jwks_url", Line, nullable=False),
    Column("old_secret", LargeBinary),
    Column("old_until", Moment),
    Column("thumbprints", Text, nullable=False),
    Column("writes", Boolean, nullable=False),
    Column("audits", Boolean, nullable=False),
    Column("per_minute", Integer, nullable=False),
    Column("added_at", Moment, nullable=False),
    Column("revoked_at", Moment),
)
"""Trial systems that may ask. ``views`` is JSON of [recipient, study]; secrets are keyed hashes, key sets public."""

tokens: Final = Table(
    "tokens",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("client", Key, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("thumbprint", Text, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("tokens_client", "client"),
    Index("tokens_expires_at", "expires_at"),
)

assertions: Final = Table(
    "assertions",
    metadata,
    Column("client", Key, primary_key=True),
    Column("jti", LargeBinary, primary_key=True),
    Column("expires_at", Moment, nullable=False),
    Index("assertions_expires_at", "expires_at"),
)
"""The ``jti`` of assertions that were used (digests), until they would be refused for their age."""

answers: Final = Table(
    "answers",
    metadata,
    numbered(),
    Column("at", Moment, nullable=False),
    Column("client", Key, nullable=False),
    Column("interaction", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Index("answers_client", "client", "id"),
)
"""One row per answer: who asked what, and which versions of which resources the answer held."""

answered: Final = Table(
    "answered",
    metadata,
    Column("patient", Id, primary_key=True),
    Column("answer", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
"""Of which patients an answer spoke."""

exports: Final = Table(
    "exports",
    metadata,
    Column("id", Id, primary_key=True),
    Column("client", Key, nullable=False),
    Column("state", Text, nullable=False),
    Column("asked", LargeBinary, nullable=False),
    Column("cursor", LargeBinary, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("lease_until", Moment),
    Column("lease_owner", Line),
    Column("detail", Line, nullable=False),
    Index("exports_state", "state", "started_at"),
    Index("exports_client", "client"),
)
"""Bulk exports. ``asked`` and ``cursor`` are the exporter's own; ``done`` of ``total`` patients are written."""

export_parts: Final = Table(
    "export_parts",
    metadata,
    Column("export", Id, primary_key=True),
    Column("file", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("resources", Integer, nullable=False),
    Column("about", LargeBinary, nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""The files of exports in parts: ndjson of one patient. ``kind``: output, deleted or error."""
