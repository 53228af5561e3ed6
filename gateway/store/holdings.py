"""What a view holds of a patient, without reading all attempts ever made (ADR 3).

A cursor's row here says what its attempts up to one of them left with the view; later attempts are replayed on top.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from sqlalchemy import bindparam, select

from gateway.model.delivery import ManifestEntry
from gateway.store import manifest
from gateway.store.backend import Insert, Unit, replacing
from gateway.store.schema import attempts, holdings
from gateway.store.types import packed, unpacked

EVERY: Final = 64
"""Delivery numbers from one snapshot of a cursor to the next."""

ARRIVED: Final = ("accepted", "unknown")
"""Outcomes after which the recipient holds, or may hold, what was sent."""

_A = attempts.c
_SNAPSHOT = select(holdings).where(holdings.c.delivery == bindparam("delivery_"))
_SINCE = (
    select(_A.id, _A.outcome, _A.manifest)
    .where(_A.delivery == bindparam("delivery_"), _A.id > bindparam("after_"), _A.outcome.in_(ARRIVED))
    .order_by(_A.id)
)
_ID: Final = 16


class Holdings:
    """What a view holds, or may hold: internal resource id -> newest entry that arrived, or may have.

    ``unsure`` are the resources of which nobody knows whether that entry arrived. ``upto`` is the newest attempt that
    counts.
    """

    def __init__(self, entries: Iterable[ManifestEntry] = (), unsure: Iterable[str] = (), upto: int = 0) -> None:
        self.entries = {entry.resource: entry for entry in entries}
        self.unsure = set(unsure)
        self.upto = upto

    def add(self, attempt: int, outcome: str, carried: Iterable[ManifestEntry]) -> None:
        """Count in what one more attempt carried."""
        self.upto = attempt
        for entry in carried:
            self.entries[entry.resource] = entry
            (self.unsure.add if outcome == "unknown" else self.unsure.discard)(entry.resource)


def read(unit: Unit, delivery: int) -> Holdings:
    """Return what a cursor's view holds."""
    row = unit.connection.execute(_SNAPSHOT, {"delivery_": delivery}).one_or_none()
    held = Holdings()
    if row is not None:
        unsure = [unpacked(row.unsure[start : start + _ID]) for start in range(0, len(row.unsure), _ID)]
        held = Holdings(manifest.unpack(row.manifest), unsure, row.upto)
    for each in unit.connection.execute(_SINCE, {"delivery_": delivery, "after_": held.upto}):
        held.add(each.id, each.outcome, manifest.unpack(each.manifest))
    return held


def keep(unit: Unit, deliveries: Iterable[int]) -> None:
    """Write down what the views of some cursors hold. No attempt at them may be under way."""
    rows = [_row(delivery, read(unit, delivery)) for delivery in sorted(deliveries)]
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
