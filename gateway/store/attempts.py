"""What came of each attempt, and what a view therefore holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import bindparam, func, select, update

from gateway.model.delivery import Attempt, View
from gateway.ports import Saved
from gateway.store import manifest
from gateway.store.backend import Insert, Unit
from gateway.store.schema import attempts, refused_entries, shared_holdings

_A = attempts.c
_S = shared_holdings.c
_INSERT = attempts.insert()
_NUMBERED = _INSERT.returning(_A.id, sort_by_parameter_order=True)
_LAST = select(func.coalesce(func.max(_A.id), 0))
_ENDED: Final[dict[str, Any]] = {name: bindparam(f"{name}_") for name in ("settled_at", "outcome", "detail")}
_END = update(attempts).where(_A.id == bindparam("row_")).values(_ENDED)
_REWRITE = _END.values(
    {name: bindparam(f"{name}_") for name in ("number", "started_at", "upto", "manifest", "grounds")}
)
_INSERT_REFUSED = refused_entries.insert()
_REFUSED = (
    select(refused_entries).where(refused_entries.c.delivery == bindparam("delivery_")).order_by(refused_entries.c.id)
)
_OF_DELIVERY = select(attempts).where(_A.delivery == bindparam("delivery_")).order_by(_A.id)
_NEWEST_FIRST = (
    select(attempts).where(_A.delivery == bindparam("delivery_")).order_by(_A.id.desc()).limit(bindparam("limit_"))
)
_HELD_SHARED = select(_S.resource, _S.change).where(
    _S.recipient == bindparam("recipient_"), _S.study == bindparam("study_")
)


def attempts_of(unit: Unit, delivery: int, limit: int | None) -> list[Attempt]:
    """Return a cursor's attempts, oldest first; with a limit the newest of them."""
    if limit is None:
        return [attempt_of(row) for row in unit.connection.execute(_OF_DELIVERY, {"delivery_": delivery})]
    rows = unit.connection.execute(_NEWEST_FIRST, {"delivery_": delivery, "limit_": limit})
    return [attempt_of(row) for row in rows][::-1]


def write(unit: Unit, saved: Sequence[tuple[Saved, int | None]]) -> list[int | None]:
    """Write attempts, each to the row that notes it or to a new one; return the numbers of the rows, in order."""
    new = [_row(one.attempt) for one, row in saved if one.attempt is not None and row is None]
    keys = iter(_insert(unit, new))
    known = [(one.attempt, row, one.as_noted) for one, row in saved if one.attempt is not None and row is not None]
    ends = [_end(attempt, row) for attempt, row, as_noted in known if as_noted]
    if ends:
        unit.connection.execute(_END, ends)
    rewritten = [_end(attempt, row) | _carried(attempt) for attempt, row, as_noted in known if not as_noted]
    if rewritten:
        unit.connection.execute(_REWRITE, rewritten)
    return [next(keys) if one.attempt is not None and row is None else row for one, row in saved]


def _insert(unit: Unit, rows: Sequence[dict[str, Any]]) -> Sequence[int]:
    if not rows:
        return ()
    if unit.connection.dialect.name == "sqlite":  # one writer, so the numbers are known before; RETURNING goes singly
        first = unit.connection.execute(_LAST).scalar_one() + 1
        numbers = range(first, first + len(rows))
        unit.connection.execute(_INSERT, [{"id": number, **row} for number, row in zip(numbers, rows, strict=True)])
        return numbers
    return unit.connection.execute(_NUMBERED, rows).scalars().all()


def interrupt(unit: Unit, row: int, now: datetime) -> None:
    """Say that an attempt noted before it was made never came to its end."""
    unit.connection.execute(update(attempts).where(_A.id == row).values(settled_at=now, detail="interrupted"))


def refuse(unit: Unit, delivery: int, refused: Iterable[tuple[str, str]], at: datetime) -> None:
    """List entries a recipient refused, for a person."""
    rows = [
        {"delivery": delivery, "reference": reference, "detail": detail, "refused_at": at}
        for reference, detail in refused
    ]
    if rows:
        unit.connection.execute(_INSERT_REFUSED, rows)


def refused(unit: Unit, delivery: int) -> list[tuple[str, str]]:
    """Return the entries a recipient refused, oldest first."""
    return [(row.reference, row.detail) for row in unit.connection.execute(_REFUSED, {"delivery_": delivery})]


def shared_held(unit: Unit, view: View) -> dict[str, int]:
    """Return the shared resources a view holds: internal id -> the change number it holds."""
    rows = unit.connection.execute(_HELD_SHARED, {"recipient_": view.recipient, "study_": view.study})
    return {row.resource: row.change for row in rows}


def hold_shared(unit: Unit, view: View, held: Mapping[str, int]) -> None:
    """Note the shared resources a view holds now; a higher change number stays."""
    if not held:
        return
    rows = [
        {"recipient": view.recipient, "study": view.study, "resource": resource, "change": held[resource]}
        for resource in sorted(held)
    ]
    unit.connection.execute(_newer(unit.backend.insert), rows)


@cache
def _newer(insert: Insert) -> Any:
    holding = insert(shared_holdings)
    return holding.on_conflict_do_update(
        index_elements=["recipient", "study", "resource"],
        set_={"change": holding.excluded.change},
        where=holding.excluded.change > _S.change,
    )


def _row(attempt: Attempt) -> dict[str, Any]:
    return {
        "delivery": attempt.delivery,
        "number": attempt.number,
        "started_at": attempt.started_at,
        "settled_at": attempt.settled_at,
        "outcome": attempt.outcome,
        "detail": attempt.detail,
        "upto": attempt.upto,
        "manifest": manifest.pack(attempt.manifest),
        "grounds": attempt.grounds,
    }


def _end(attempt: Attempt, row: int) -> dict[str, Any]:
    return {"row_": row, "settled_at_": attempt.settled_at, "outcome_": attempt.outcome, "detail_": attempt.detail}


def _carried(attempt: Attempt) -> dict[str, Any]:
    whole = _row(attempt)
    return {f"{name}_": whole[name] for name in ("number", "started_at", "upto", "manifest", "grounds")}


def attempt_of(row: Any) -> Attempt:
    """Return an attempt as its row holds it."""
    return Attempt(
        delivery=row.delivery,
        number=row.number,
        started_at=row.started_at,
        settled_at=row.settled_at,
        outcome=row.outcome,
        detail=row.detail,
        upto=row.upto,
        manifest=tuple(manifest.unpack(row.manifest)),
        grounds=row.grounds,
    )
