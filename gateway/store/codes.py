"""The code maps: the database is the truth, CSV is how they come and go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select, update

from gateway.model.site import CodeMapEntry
from gateway.store.backend import Unit
from gateway.store.schema import code_map, code_map_changes

_C = code_map.c


class SqlCodeMaps:
    """The code maps of one transaction. Rows taken away stay, marked: who changed what and why can be answered."""

    def __init__(self, unit: Unit) -> None:
        self._connection = unit.connection

    def import_entries(
        self, site: str, entries: Sequence[CodeMapEntry], *, author: str, reason: str, at: datetime
    ) -> bool:
        """Replace a site's imported rows when they differ; return whether anything changed."""
        if self._rows(site, imported=True) == tuple(entries):
            return False
        change = self._change(site, author, reason, at)
        gone = update(code_map).where(_C.site == site, _C.imported, _C.removed.is_(None))
        self._connection.execute(gone.values(removed=change))
        if entries:
            rows = [_row(site, entry, change, imported=True) for entry in entries]
            self._connection.execute(code_map.insert(), rows)
        return True

    def add(self, site: str, entry: CodeMapEntry, *, author: str, reason: str, at: datetime) -> None:
        """Add one row (``gaps map``); it outlives the next import."""
        change = self._change(site, author, reason, at)
        self._connection.execute(code_map.insert(), _row(site, entry, change, imported=False))

    def of_site(self, site: str) -> tuple[CodeMapEntry, ...]:
        """Return a site's rows: those a person added, newest first, then the imported ones in their order."""
        return self._rows(site, imported=False)[::-1] + self._rows(site, imported=True)

    def revision(self) -> int:
        """Return a number that grows with every change of any map."""
        newest = select(func.coalesce(func.max(code_map_changes.c.id), 0))
        return int(self._connection.execute(newest).scalar_one())

    def _rows(self, site: str, *, imported: bool) -> tuple[CodeMapEntry, ...]:
        query = select(code_map).where(_C.site == site, _C.imported.is_(imported), _C.removed.is_(None))
        return tuple(_entry(row) for row in self._connection.execute(query.order_by(_C.id)))

    def _change(self, site: str, author: str, reason: str, at: datetime) -> int:
        row = {"site": site, "author": author, "reason": reason, "at": at}
        key = self._connection.execute(code_map_changes.insert(), row).inserted_primary_key
        return int(key[0]) if key else 0


def _row(site: str, entry: CodeMapEntry, change: int, *, imported: bool) -> dict[str, Any]:
    return {
        "site": site,
        "imported": imported,
        "added": change,
        "code": entry.code,
        "system": entry.system,
        "unit": entry.unit,
        "codings": json.dumps(entry.codings, ensure_ascii=False, separators=(",", ":")),
        "ucum": entry.ucum,
        "assumed_unit": entry.assumed_unit,
        "low": None if entry.low is None else str(entry.low),
        "high": None if entry.high is None else str(entry.high),
        "method_required": entry.method_required,
        "valid_from": entry.valid_from,
        "valid_until": entry.valid_until,
    }


def _entry(row: Any) -> CodeMapEntry:
    return CodeMapEntry(
        code=row.code,
        codings=tuple((system, code, display) for system, code, display in json.loads(row.codings)),
        system=row.system,
        unit=row.unit,
        ucum=row.ucum,
        assumed_unit=row.assumed_unit,
        low=None if row.low is None else Decimal(row.low),
        high=None if row.high is None else Decimal(row.high),
        method_required=row.method_required,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
    )
