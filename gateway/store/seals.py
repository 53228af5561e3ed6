"""Seals over the ledgers of the audit trail, each chained to the one before (ARCHITECTURE, decision 18).

A seal holds a mark for every row of a run of ids, and an HMAC over these, its own head and the HMAC of the seal before:
nobody without the audit key can change, take away or add a sealed row, or write another chain. What no chain can
show is that its end was cut off; for that the newest seal is also kept outside the database.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from itertools import groupby
from typing import Any, Final

from sqlalchemy import bindparam, func, select

from gateway.ports import Draft, Horizon, Misfit, Seal
from gateway.store import ledgers
from gateway.store.backend import Unit
from gateway.store.ledgers import BEFORE_ALL, LEDGERS, MARK, encoded, equal
from gateway.store.schema import seals

_S = seals.c
_A_FEW: Final = 100
_A_MOMENT: Final = 0.001
_INSERT: Final = seals.insert()
_HEADS: Final = (_S.number, _S.at, _S.ledger, _S.after, _S.upto, func.length(_S.marks).label("size"), _S.mac)
_GET: Final = select(*_HEADS).where(_S.number == bindparam("number_"))
_NEWEST: Final = select(*_HEADS).order_by(_S.number.desc()).limit(1)
_REACHED: Final = select(_S.upto).where(_S.ledger == bindparam("ledger_")).order_by(_S.number.desc()).limit(1)
_AFTER: Final = select(seals).where(_S.number > bindparam("after_")).order_by(_S.number).limit(bindparam("limit_"))
_REACHED_BEFORE: Final = (
    select(_S.upto)
    .where(_S.ledger == bindparam("ledger_"), _S.number < bindparam("number_"))
    .order_by(_S.number.desc())
    .limit(1)
)


class SqlSeals:
    """The seals of one transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._connection = unit.connection

    def horizon(self) -> Horizon:
        """Return up to where the ledgers are written now."""
        return ledgers.horizon(self._unit)

    def passed(self, horizon: Horizon) -> bool:
        """Say whether every transaction that was writing then has ended: no row at or below it can still come."""
        return ledgers.passed(self._unit, horizon)

    def draft(self, horizon: Horizon, limit: int) -> Draft | None:
        """Mark the next rows of one ledger that are not sealed; None when all are. Reads only."""
        for ledger in LEDGERS:
            after = self._reached(ledger)
            upto = ledgers.final(self._unit, ledger, horizon.upto[ledger])
            marked = list(_unhurried(ledgers.marks(self._unit, ledger, after, upto, limit))) if upto > after else []
            if marked:
                end = marked[-1][0] if len(marked) == limit else upto
                return Draft(ledger, after, end, b"".join(MARK.pack(*each) for each in marked), len(marked))
        return None

    def add(self, draft: Draft, at: datetime) -> Seal | None:
        """Append a seal to the chain; None when another process has sealed those rows meanwhile.

        Raises ``VersionConflict`` when it does so at this moment.
        """
        if self._reached(draft.ledger) != draft.after:
            return None
        before = self.newest()
        number, chained = (before.number + 1, before.mac) if before else (1, b"")
        head = (number, at, draft.ledger, draft.after, draft.upto)
        mac = self._mac(chained, head, draft.marks)
        names = ("number", "at", "ledger", "after", "upto")
        row = {**dict(zip(names, head, strict=True)), "marks": draft.marks, "mac": mac}
        self._connection.execute(_INSERT, row)
        return Seal(*head, rows=draft.rows, mac=mac)

    def get(self, number: int) -> Seal | None:
        """Return one seal."""
        return _seal(self._connection.execute(_GET, {"number_": number}).one_or_none())

    def newest(self) -> Seal | None:
        """Return the head of the chain."""
        return _seal(self._connection.execute(_NEWEST).one_or_none())

    def check(self, after: int, limit: int) -> Iterator[tuple[Seal, Sequence[Misfit]]]:
        """Yield the seals after a number, each with what does not fit: the chain itself, and its rows."""
        before = self.get(after)
        number, chained = (before.number, before.mac) if before else (0, b"")
        reached = {ledger: self._reached_before(ledger, after + 1) for ledger in LEDGERS}
        for row in self._connection.execute(_AFTER, {"after_": after, "limit_": limit}).all():
            seal = Seal(row.number, row.at, row.ledger, row.after, row.upto, len(row.marks) // MARK.size, row.mac)
            misfits = list(_chain(seal, number, reached.get(seal.ledger)) or self._unchained(row, chained))
            yield seal, misfits or list(_compared(seal, dict(MARK.iter_unpack(row.marks)), self._marks_now(seal)))
            number, chained = seal.number, row.mac
            reached[seal.ledger] = seal.upto

    def unsealed(self) -> dict[str, int]:
        """Return per ledger how many rows are younger than its newest seal."""
        return {ledger: ledgers.younger(self._unit, ledger, self._reached(ledger)) for ledger in LEDGERS}

    def _reached(self, ledger: str) -> int:
        found = self._connection.execute(_REACHED, {"ledger_": ledger}).scalar()
        return BEFORE_ALL if found is None else found

    def _reached_before(self, ledger: str, number: int) -> int:
        found = self._connection.execute(_REACHED_BEFORE, {"ledger_": ledger, "number_": number}).scalar()
        return BEFORE_ALL if found is None else found

    def _mac(self, chained: bytes, head: tuple[Any, ...], marks: bytes) -> bytes:
        return self._unit.cipher.mark(b"seal|" + chained + encoded(head) + sha256(marks).digest())

    def _unchained(self, row: Any, chained: bytes) -> list[Misfit]:
        head = (row.number, row.at, row.ledger, row.after, row.upto)
        if equal(self._mac(chained, head, row.marks), row.mac):
            return []
        return [Misfit("seals", row.number, f"seal {row.number} or the one before it is not the one that was made")]

    def _marks_now(self, seal: Seal) -> dict[int, bytes]:
        return dict(ledgers.marks(self._unit, seal.ledger, seal.after, seal.upto))


def _unhurried(marks: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Let the other threads of an embedded gateway in every millisecond or so: a sender waits for one of them."""
    for place, mark in enumerate(marks, 1):
        yield mark
        if place % _A_FEW == 0:
            time.sleep(_A_MOMENT)


def _seal(row: Any) -> Seal | None:
    if row is None:
        return None
    return Seal(row.number, row.at, row.ledger, row.after, row.upto, row.size // MARK.size, row.mac)


def _chain(seal: Seal, number: int, reached: int | None) -> list[Misfit]:
    """Say where the chain is broken: a seal is missing, or rows between two seals were never sealed."""
    missing = range(number + 1, seal.number)
    if missing:
        which = f"seal {missing[0]} is" if len(missing) == 1 else f"seals {missing[0]} to {missing[-1]} are"
        return [Misfit("seals", missing[0], f"{which} missing, before the one made at {_when(seal)}")]
    if reached is None or seal.after != reached:
        return [Misfit("seals", seal.number, f"seal {seal.number} does not begin where the one before it ended")]
    return []


def _compared(seal: Seal, then: Mapping[int, bytes], now: Mapping[int, bytes]) -> Iterator[Misfit]:
    """Say which rows are not as they were sealed; rows missing one after the other are one finding."""
    order = {id: place for place, id in enumerate(sorted(then))}
    gone = enumerate(sorted(then.keys() - now.keys()))
    for _, run in groupby(gone, lambda each: order[each[1]] - each[0]):
        yield _missing(seal, [id for _, id in run])
    for id in sorted(now):
        if id not in then:
            yield Misfit(seal.ledger, id, f"{seal.ledger} row {id} was not there when it was sealed at {_when(seal)}")
        elif not equal(then[id], now[id]):
            yield Misfit(seal.ledger, id, f"{seal.ledger} row {id} was changed after it was sealed at {_when(seal)}")


def _missing(seal: Seal, ids: Sequence[int]) -> Misfit:
    first, last = ids[0], ids[-1]
    rows = f"row {first} is" if len(ids) == 1 else f"rows {first} to {last} ({len(ids)} rows) are"
    return Misfit(seal.ledger, first, f"{seal.ledger} {rows} missing: sealed at {_when(seal)} in seal {seal.number}")


def _when(seal: Seal) -> str:
    return seal.at.isoformat(" ", "seconds")
