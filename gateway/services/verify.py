"""Verifying the audit trail: every seal and every sealed row, and that the end was not cut off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from gateway.ports import Misfit, Seal, Store, Transaction
from gateway.services.seal import Anchor

AT_ONCE: Final = 20
"""Seals looked at in one transaction."""

ENOUGH: Final = 100
"""Findings after which verifying ends."""


@dataclass
class Verdict:
    """What verifying came to. ``rows``: sealed rows by ledger; ``unsealed``: younger ones, not protected yet."""

    seals: int = 0
    sealed_at: datetime | None = None
    rows: Counter[str] = field(default_factory=Counter)
    unsealed: dict[str, int] = field(default_factory=dict)
    misfits: list[Misfit] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether everything fits."""
        return not self.misfits

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as JSON values; times are ISO 8601 UTC."""
        return {
            "intact": self.intact,
            "seals": self.seals,
            "sealed_at": self.sealed_at.isoformat() if self.sealed_at else None,
            "rows": dict(self.rows),
            "unsealed": self.unsealed,
            "misfits": [{"ledger": each.ledger, "row": each.row, "what": each.what} for each in self.misfits],
        }


def verify(store: Store, anchors: Iterable[Anchor] = (), progress: Callable[[int], None] = lambda _: None) -> Verdict:
    """Compare every sealed row with its seal, and the chain with the seals known outside the database."""
    verdict = Verdict()
    while len(verdict.misfits) < ENOUGH and _some(store, verdict):
        progress(verdict.seals)
    with store.begin(write=False) as tx:
        verdict.unsealed = tx.seals.unsealed()
        for anchor in anchors:
            verdict.misfits += _anchored(tx, anchor)
    return verdict


def _some(store: Store, verdict: Verdict) -> bool:
    """Check the next seals; False at the end of the chain."""
    seal: Seal | None = None
    with store.begin(write=False) as tx:
        for seal, misfits in tx.seals.check(verdict.seals, AT_ONCE):
            verdict.seals = seal.number
            verdict.sealed_at = seal.at
            verdict.rows[seal.ledger] += seal.rows
            verdict.misfits += misfits
    return seal is not None


def _anchored(tx: Transaction, anchor: Anchor) -> list[Misfit]:
    seal = tx.seals.get(anchor.number)
    if anchor.fits(seal):
        return []
    told = f" (known from {anchor.source})" if anchor.source else ""
    if seal is None:
        newest = tx.seals.newest()
        left = f"the newest left is seal {newest.number}" if newest else "none is left"
        what = f"seal {anchor.number} is gone: the tail was cut{told}; {left}"
    else:
        what = f"seal {anchor.number} is not the one that was made then{told}: the chain was written anew"
    return [Misfit("seals", anchor.number, what)]
