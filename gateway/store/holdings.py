"""What a view holds of a patient, without reading all attempts ever made (ADR 3).

A cursor's row here says what its attempts up to one of them left with the view; later attempts are replayed on top.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, cached_property
from typing import Any, Final

from sqlalchemy import and_, bindparam, func, select

from gateway.model.delivery import ManifestEntry
from gateway.store import manifest
from gateway.store.backend import Insert, Unit, chunks, replacing
from gateway.store.schema import attempts, deliveries, holdings
from gateway.store.types import packed, unpacked

EVERY: Final = 64
"""Delivery numbers from one snapshot of a cursor to the next."""

FEW: Final = 16
"""Resources that are looked up singly; who asks for more has all entries unpacked."""

ARRIVED: Final = ("accepted", "unknown")
"""Outcomes after which the recipient holds, or may hold, what was sent."""

_A = attempts.c
_D = deliveries.c
_SNAPSHOTS = select(holdings).where(holdings.c.delivery.in_(bindparam("ids", expanding=True)))
_SINCE = (
    select(_A.delivery, _A.id, _A.outcome, _A.manifest)
    .select_from(deliveries)
    .outerjoin(holdings, holdings.c.delivery == _D.id)
    .join(attempts, and_(_A.delivery == _D.id, _A.id > func.coalesce(holdings.c.upto, 0)))
    .where(_D.id.in_(bindparam("ids", expanding=True)), _A.outcome.in_(ARRIVED))
    .order_by(_A.id)
)
_ID: Final = 16


class Holdings:
    """What a view holds, or may hold, of a patient (``ports.Holding``). ``upto`` is the newest attempt that counts."""

    def __init__(self, carried: bytes = b"", unsure: bytes = b"", upto: int = 0) -> None:
        self.upto = upto
        self._carried = carried
        self._unsure = frozenset(unsure[start : start + _ID] for start in range(0, len(unsure), _ID))
        self._since: list[tuple[str, bytes]] = []
        self._asked = 0

    def add(self, attempt: int, outcome: str, carried: bytes) -> None:
        """Count in what one more attempt carried."""
        self.upto = attempt
        self._since.append((outcome, carried))

    def find(self, resource: str) -> tuple[ManifestEntry, bool] | None:
        """Return the entry of a resource, and whether it certainly arrived."""
        self._asked += 1
        if self._asked > FEW:
            listed = self.entries.get(resource)
            return None if listed is None else (listed, resource not in self.unsure)
        id = packed(resource)
        for outcome, carried in reversed(self._since):
            if entry := manifest.find(carried, id):
                return entry, outcome != "unknown"
        entry = manifest.find(self._carried, id)
        return None if entry is None else (entry, id not in self._unsure)

    @cached_property
    def entries(self) -> dict[str, ManifestEntry]:
        """All entries, by internal id of the resource."""
        found = {entry.resource: entry for entry in manifest.unpack(self._carried)}
        for _, carried in self._since:
            found.update((entry.resource, entry) for entry in manifest.unpack(carried))
        return found

    @cached_property
    def unsure(self) -> set[str]:
        """The internal ids of those of which nobody knows whether they arrived as they were sent last."""
        found = {unpacked(id) for id in self._unsure}
        for outcome, carried in self._since:
            ids = {entry.resource for entry in manifest.unpack(carried)}
            found = found | ids if outcome == "unknown" else found - ids
        return found


def read(unit: Unit, cursors: Iterable[int]) -> dict[int, Holdings]:
    """Return what the views of some cursors hold, by cursor."""
    ids = list(cursors)
    held = {delivery: Holdings() for delivery in ids}
    for some in chunks(ids):
        for row in unit.connection.execute(_SNAPSHOTS, {"ids": some}):
            held[row.delivery] = Holdings(row.manifest, row.unsure, row.upto)
        for row in unit.connection.execute(_SINCE, {"ids": some}):
            held[row.delivery].add(row.id, row.outcome, row.manifest)
    return held


def keep(unit: Unit, cursors: Iterable[int]) -> None:
    """Write down what the views of some cursors hold. No attempt at them may be under way."""
    rows = [_row(delivery, held) for delivery, held in read(unit, sorted(cursors)).items()]
    if rows:
        unit.connection.execute(_replace(unit.backend.insert), rows)


@cache
def _replace(insert: Insert) -> Any:
    return replacing(insert, holdings, "delivery")


def _row(delivery: int, held: Holdings) -> dict[str, Any]:
    return {
        "delivery": delivery,
        "upto": held.upto,
        "manifest": manifest.pack(held.entries.values()),
        "unsure": b"".join(packed(id) for id in sorted(held.unsure)),
    }
