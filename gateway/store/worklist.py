"""What waits for a person: gaps and holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select, update

from gateway.model.translation import Gap
from gateway.ports import GapLine, Hold
from gateway.store.backend import Unit, chunks, ignoring
from gateway.store.schema import gap_messages, gaps, holds

_GAP = gaps.c
_HOLD = holds.c
_KNOWN = (
    select(_GAP.id, _GAP.mark, _GAP.mapped_at)
    .where(_GAP.mark.in_(bindparam("marks", expanding=True)))
    .order_by(_GAP.id)
    .with_for_update(read=True)
)
"""Rows that nobody closes until the transaction has ended."""
_FIND_HOLD = select(_HOLD.id).where(
    _HOLD.kind == bindparam("kind_"),
    _HOLD.message == bindparam("message_"),
    _HOLD.resource == bindparam("resource_"),
)


class SqlWorkList:
    """Gaps and holds of one transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._connection = unit.connection
        self._insert = unit.backend.insert

    def record_gaps(self, seen: Iterable[tuple[str, int, Gap]], at: datetime) -> None:
        """Count gaps, each with its feed and the message that showed it; a mapped one that shows again is open again.

        The count is one row per sighting: a counter would make every message with the same gap wait for the last.
        Whoever closes one of them waits until the transaction has ended, and then finds these messages.
        """
        marked: dict[bytes, tuple[str, Gap]] = {}
        sights: list[tuple[bytes, int]] = []
        for feed, message, gap in seen:
            mark = self._mark(feed, gap)
            marked[mark] = feed, gap
            sights.append((mark, message))
        if not marked:
            return
        known = self._known(marked)
        missing = marked.keys() - known.keys()
        if missing:
            add = ignoring(self._insert, _GAP.id.table, "mark")
            self._connection.execute(add, [_gap_row(mark, *marked[mark]) for mark in sorted(missing)])
            known = self._known(marked)
        reopened = sorted(id for id, mapped_at in known.values() if mapped_at is not None)
        if reopened:
            self._connection.execute(update(_GAP.id.table).where(_GAP.id.in_(reopened)).values(mapped_at=None))
        rows = sorted({(known[mark][0], message) for mark, message in sights})
        self._connection.execute(
            ignoring(self._insert, gap_messages, "gap", "message"),
            [{"gap": gap, "message": message, "seen_at": at} for gap, message in rows],
        )

    def gaps(self, *, open_only: bool = True) -> list[GapLine]:
        """Return gaps, most frequent first."""
        seen = gap_messages.c
        count = func.count(seen.message)
        query = (
            select(
                gaps, count.label("seen"), func.min(seen.seen_at).label("first"), func.max(seen.seen_at).label("last")
            )
            .join(gap_messages, seen.gap == _GAP.id)
            .group_by(*_GAP)
            .order_by(count.desc(), _GAP.id)
        )
        if open_only:
            query = query.where(_GAP.mapped_at.is_(None))
        return [_gap_line(row) for row in self._connection.execute(query)]

    def close_gap(self, gap: int, at: datetime) -> None:
        """Mark a gap as mapped."""
        self._connection.execute(update(gaps).where(_GAP.id == gap).values(mapped_at=at))

    def open_hold(self, hold: Hold) -> int:
        """Open a hold and return its id; the same kind, message and resource is opened once, even when closed since."""
        row = {
            "kind": hold.kind,
            "message": hold.message or 0,
            "resource": hold.resource,
            "reason": hold.reason,
            "opened_at": hold.opened_at,
        }
        self._connection.execute(ignoring(self._insert, holds, "kind", "message", "resource"), row)
        named = {"kind_": hold.kind, "message_": hold.message or 0, "resource_": hold.resource}
        return int(self._connection.execute(_FIND_HOLD, named).scalar_one())

    def holds(self, *, open_only: bool = True) -> list[Hold]:
        """Return holds, oldest first."""
        query = select(holds).order_by(_HOLD.id)
        if open_only:
            query = query.where(_HOLD.closed_at.is_(None))
        return [_hold(row) for row in self._connection.execute(query)]

    def close_hold(self, hold: int, at: datetime) -> None:
        """Close a hold."""
        self._connection.execute(update(holds).where(_HOLD.id == hold).values(closed_at=at))

    def _known(self, marked: Mapping[bytes, object]) -> dict[bytes, tuple[int, datetime | None]]:
        found: dict[bytes, tuple[int, datetime | None]] = {}
        for some in chunks(sorted(marked)):
            rows = self._connection.execute(_KNOWN, {"marks": some})
            found |= {bytes(row.mark): (row.id, row.mapped_at) for row in rows}
        return found

    def _mark(self, feed: str, gap: Gap) -> bytes:
        return self._unit.cipher.hash("gap", feed, gap.kind, gap.place, gap.code, gap.system, gap.unit)[:16]


def _gap_row(mark: bytes, feed: str, gap: Gap) -> dict[str, Any]:
    return {
        "mark": mark,
        "feed": feed,
        "kind": gap.kind,
        "place": gap.place,
        "code": gap.code,
        "system": gap.system,
        "unit": gap.unit,
        "text": gap.text,
    }


def _gap_line(row: Any) -> GapLine:
    gap = Gap(row.kind, row.place, row.code, system=row.system, unit=row.unit, text=row.text)
    return GapLine(row.id, row.feed, gap, row.seen, row.first, row.last, mapped_at=row.mapped_at)


def _hold(row: Any) -> Hold:
    return Hold(
        row.kind,
        row.reason,
        message=row.message or None,
        resource=row.resource,
        id=row.id,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
    )
