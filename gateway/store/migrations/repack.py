"""Moving the resource versions of 0.1.0, a row with its own encrypted body each, into pages.

Change numbers stay what they are. What is read is opened under the key it names and sealed under the active one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa

from gateway.model.resource import ResourceVersion
from gateway.store.cipher import Cipher
from gateway.store.pages import paged
from gateway.store.types import Id, Moment, packed

_ROWS: Final = 5000

_OLD: Final = sa.table(
    "resource_versions",
    *(sa.column(name) for name in ("change", "version", "type", "message", "code", "status", "held", "clocks")),
    *(sa.column(name, Id()) for name in ("id", "patient")),
    *(sa.column(name, Moment()) for name in ("stored_at", "date")),
    *(sa.column(name, sa.LargeBinary()) for name in ("body", "own")),
)
_PAGES: Final = sa.table(
    "pages",
    *(sa.column(name) for name in ("page", "first_change", "message")),
    sa.column("patient", Id()),
    sa.column("body", sa.LargeBinary()),
)
_COPIED: Final = (
    "INSERT INTO versions (id, version, change) SELECT id, version, change FROM resource_versions ORDER BY id, version",
    "INSERT INTO amended (change, superseded) SELECT o.change, true FROM resource_versions o WHERE EXISTS"
    " (SELECT 1 FROM resource_versions n WHERE n.id = o.id AND n.version > o.version)",
    "INSERT INTO typed (type, patient, change, page) SELECT o.type, o.patient, o.change,"
    " (SELECT min(p.page) FROM pages p WHERE p.page >= o.change) FROM resource_versions o"
    " WHERE o.type IN ('Consent', 'Patient', 'ResearchStudy', 'ResearchSubject')",
)


def repack(connection: sa.Connection, cipher: Cipher) -> None:
    """Fill ``pages``, ``versions``, ``typed`` and ``amended`` from ``resource_versions``."""
    for some in _read(connection, cipher):
        rows = [
            {
                "page": row.page,
                "first_change": row.first,
                "patient": row.patient,
                "message": row.message,
                "body": row.body,
            }
            for row in paged(cipher, some)
        ]
        connection.execute(_PAGES.insert(), rows)
    for statement in _COPIED:
        connection.execute(sa.text(statement))


def _read(connection: sa.Connection, cipher: Cipher) -> Iterator[list[ResourceVersion]]:
    last = 0
    while True:
        query = sa.select(_OLD).where(_OLD.c.change > last).order_by(_OLD.c.change).limit(_ROWS)
        found = [_version(row, cipher) for row in connection.execute(query)]
        if not found:
            return
        yield found
        last = found[-1].change


def _version(row: Any, cipher: Cipher) -> ResourceVersion:
    place = b"%s|%s|%d" % (row.type.encode(), packed(row.id), row.version)
    return ResourceVersion(
        type=row.type,
        id=row.id,
        version=row.version,
        body=cipher.open(row.body, b"resource_versions.body|" + place),
        message=row.message,
        stored_at=row.stored_at,
        patient=row.patient,
        clocks={name: tuple(clock) for name, clock in json.loads(row.clocks).items()},
        own=None if row.own is None else cipher.open(row.own, b"resource_versions.own|" + place),
        code=row.code,
        date=row.date,
        status=row.status,
        held=row.held,
        change=row.change,
    )
