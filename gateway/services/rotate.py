"""Rotate: bring every encrypted row under the active key, a few rows at a time, while the gateway runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.errors import VersionConflict
from gateway.ports import Resealed, Store


@dataclass
class Rotation:
    """How far it came. ``unreadable``: rows left as they are, as ``table key``; ``finished``: no row was left out."""

    rows: int = 0
    unreadable: list[str] = field(default_factory=list)
    finished: bool = False


def reseal(store: Store, stop: Callable[[], bool], progress: Callable[[int], None]) -> Rotation:
    """Encrypt every row anew that is not under the active key, until there is none or ``stop()``.

    Each few rows are a transaction of their own, so it may be interrupted and begun again, and others go on working.
    Raises ``KeysMissing`` when a row's key is not in the key file.
    """
    rotation = Rotation()
    with store.begin(write=False) as tx:
        tables = tx.sealing.tables()
    for table in tables:
        after: tuple[object, ...] | None = ()
        while after is not None:
            if stop():
                return rotation
            some = _some(store, table, after)
            after = some.after
            rotation.rows += some.rows
            rotation.unreadable += [f"{table} {row}" for row in some.unreadable]
            progress(rotation.rows)
    rotation.finished = True
    return rotation


def _some(store: Store, table: str, after: tuple[object, ...]) -> Resealed:
    """Encrypt some rows anew; where another transaction stands in the way it is let pass."""
    while True:
        try:
            with store.begin() as tx:
                return tx.sealing.reseal(table, after)
        except VersionConflict:
            continue
