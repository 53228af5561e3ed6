"""Bulk exports and the parts of their files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import and_, bindparam, delete, func, or_, select, update

from gateway.errors import StaleClaim
from gateway.model.delivery import ChangeKind, ManifestEntry
from gateway.ports.answers import Shown
from gateway.ports.exports import Export, Part, PartLine
from gateway.store import manifest
from gateway.store.api_tables import export_parts, export_place, exports, part_place
from gateway.store.backend import Unit

_E, _P = exports.c, export_parts.c
_LINES: Final = (
    select(_P.file, _P.number, _P.kind, _P.type, _P.resources, _P.about)
    .where(_P.export == bindparam("export_"))
    .order_by(_P.file, _P.number)
)
_AT_ONCE: Final = 500


class SqlExports:
    """The exports of one transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._connection = unit.connection

    def add(self, export: Export) -> None:
        """Add an export."""
        seal = self._unit.cipher.seal
        row = {
            "id": export.id,
            "client": export.client,
            "asked": seal(export.asked, export_place(export.id, "asked")),
            "started_at": export.started_at,
        }
        self._connection.execute(exports.insert(), row | self._progress(export))

    def get(self, id: str) -> Export | None:
        """Return an export that was not dropped; None for what is no id, too."""
        if not _is_id(id):
            return None
        row = self._connection.execute(select(exports).where(_E.id == id, _E.state != "dropped")).one_or_none()
        return self._export(row) if row else None

    def kept(self, client: str) -> tuple[int, int]:
        """Return how many exports of a client go on and how many there are in all."""
        begun = func.count().filter(_E.state == "begun")
        query = select(begun, func.count()).where(_E.client == client, _E.state != "dropped")
        going, there = self._connection.execute(query).one()
        return going, there

    def waits(self, owner: str, now: datetime) -> bool:
        """Whether there is an export that this owner may write, or something to take away."""
        free = or_(_E.lease_until.is_(None), _E.lease_until <= now, _E.lease_owner == owner)
        going = and_(_E.state == "begun", free)
        query = select(_E.id).where(or_(going, _E.state == "dropped", _E.expires_at <= now)).limit(1)
        return self._connection.execute(query).scalar() is not None

    def claim(self, owner: str, now: datetime, lease: timedelta) -> Export | None:
        """Take the oldest export that goes on and that nobody else writes, or this owner's."""
        free = or_(_E.lease_until.is_(None), _E.lease_until <= now, _E.lease_owner == owner)
        oldest = select(exports).where(_E.state == "begun", _E.expires_at > now, free)
        row = self._connection.execute(
            oldest.order_by(_E.started_at, _E.id).limit(1).with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        taken = {"lease_owner": owner, "lease_until": now + lease}
        self._connection.execute(update(exports).where(_E.id == row.id).values(taken))
        return self._export(row)

    def advance(
        self, export: Export, parts: Sequence[Part], owner: str, until: datetime | None, began_at: bytes
    ) -> None:
        """Write parts and how far the export is; ``until`` None: let go of it.

        ``began_at`` is the cursor behind which the parts go on. Raises ``StaleClaim`` when the export was dropped, or
        another writes it.
        """
        mine = and_(_E.id == export.id, _E.state == "begun", _E.lease_owner == owner)
        sealed = self._connection.execute(select(_E.cursor).where(mine).with_for_update()).scalar()
        if sealed is None or self._open_cursor(export.id, sealed) != began_at:
            raise StaleClaim(f"export {export.id} is no longer this process's to write")
        held = {"lease_until": until, "lease_owner": owner if until else None}
        self._connection.execute(update(exports).where(_E.id == export.id).values(self._progress(export) | held))
        if parts:
            self._connection.execute(export_parts.insert(), [self._part_row(export.id, part) for part in parts])

    def lines(self, id: str) -> Iterator[PartLine]:
        """Yield the parts of every file without their content."""
        rows = self._connection.execution_options(yield_per=_AT_ONCE).execute(_LINES, {"export_": id})
        for row in rows:
            about = self._unit.cipher.open(row.about, part_place(id, row.file, row.number, "about"))
            yield PartLine(row.file, row.number, row.kind, row.type, row.resources, about)

    def parts(self, id: str, file: int, after: int, limit: int) -> list[Part]:
        """Return the parts of a file behind a number (-1: from the first), in order."""
        query = select(export_parts).where(_P.export == id, _P.file == file, _P.number > after)
        return [self._part(id, row) for row in self._connection.execute(query.order_by(_P.number).limit(limit))]

    def drop(self, id: str) -> None:
        """Forget an export; ``sweep`` takes its files away."""
        self._connection.execute(update(exports).where(_E.id == id).values(state="dropped"))

    def sweep(self, now: datetime, limit: int) -> int:
        """Take away parts of exports that have expired or were dropped and return how many rows went."""
        over = or_(_E.state == "dropped", _E.expires_at <= now)
        query = select(_E.id).where(over).order_by(_E.started_at).limit(1)
        id = self._connection.execute(query.with_for_update(skip_locked=True)).scalar()
        if id is None:
            return 0
        some = select(_P.file, _P.number).where(_P.export == id).order_by(_P.file, _P.number).limit(limit)
        rows = self._connection.execute(some).all()
        if not rows:
            return self._connection.execute(delete(exports).where(_E.id == id)).rowcount
        gone = delete(export_parts).where(
            _P.export == bindparam("export_"), _P.file == bindparam("file_"), _P.number == bindparam("number_")
        )
        self._connection.execute(gone, [{"export_": id, "file_": row.file, "number_": row.number} for row in rows])
        return len(rows)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _progress(self, export: Export) -> dict[str, Any]:
        return {
            "state": export.state,
            "cursor": self._unit.cipher.seal(export.cursor, export_place(export.id, "cursor")),
            "expires_at": export.expires_at,
            "done": export.done,
            "total": export.total,
            "detail": export.detail,
        }

    def _open_cursor(self, id: str, sealed: bytes) -> bytes:
        return self._unit.cipher.open(sealed, export_place(id, "cursor"))

    def _export(self, row: Any) -> Export:
        return Export(
            id=row.id,
            client=row.client,
            asked=self._unit.cipher.open(row.asked, export_place(row.id, "asked")),
            started_at=row.started_at,
            expires_at=row.expires_at,
            state=row.state,
            cursor=self._open_cursor(row.id, row.cursor),
            done=row.done,
            total=row.total,
            detail=row.detail,
        )

    def _part_row(self, export: str, part: Part) -> dict[str, Any]:
        seal = self._unit.cipher.seal
        entries = [ManifestEntry(one.type, one.resource, one.version, ChangeKind.CREATED) for one in part.shown]
        return {
            "export": export,
            "file": part.file,
            "number": part.number,
            "kind": part.kind,
            "type": part.type,
            "resources": part.count,
            "about": seal(part.about, part_place(export, part.file, part.number, "about")),
            "manifest": manifest.pack(entries),
            "body": seal(part.body, part_place(export, part.file, part.number, "body")),
        }

    def _part(self, export: str, row: Any) -> Part:
        unseal = self._unit.cipher.open
        return Part(
            file=row.file,
            number=row.number,
            kind=row.kind,
            type=row.type,
            count=row.resources,
            about=unseal(row.about, part_place(export, row.file, row.number, "about")),
            body=unseal(row.body, part_place(export, row.file, row.number, "body")),
            shown=tuple(Shown(one.type, one.resource, one.version) for one in manifest.unpack(row.manifest)),
        )


def _is_id(text: str) -> bool:
    """Whether a text is an id as ids are written here."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
