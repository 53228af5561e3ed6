"""Raising the cursors that changes concern: the one statement of the deliveries that every batch of messages makes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import and_, bindparam, case, func, literal, null, select
from sqlalchemy.dialects.postgresql import ARRAY

from gateway.model.delivery import DeliveryState, View
from gateway.store.backend import Insert, Unit
from gateway.store.schema import deliveries

_D = deliveries.c
_IDLE: Final = DeliveryState.IDLE.value
_DUE: Final = DeliveryState.DUE.value
_NEW: Final[Mapping[str, Any]] = {"state": _DUE, "sent": 0, "number": 1, "attempts": 0, "detail": ""}
"""What every new cursor begins with."""

_GIVEN: Final = ("recipient", "study", "patient", "planned")


def plan(unit: Unit, due: Mapping[tuple[View, str], int], now: datetime) -> None:
    """Raise the ``planned`` change of (view, patient) cursors, make them due now if they owe nothing yet.

    Always in the same order, so that two transactions do not wait for each other in a ring.
    """
    if not due:
        return
    rows = sorted((view.recipient, view.study, patient, change) for (view, patient), change in due.items())
    if unit.connection.dialect.name == "postgresql":
        columns = dict(zip(_GIVEN, (list(values) for values in zip(*rows, strict=True)), strict=True))
        unit.connection.execute(_all_at_once(unit.backend.insert), columns | {"due_at_": now})
    else:
        cursors = [{**_NEW, **dict(zip(_GIVEN, row, strict=True)), "due_at": now} for row in rows]
        unit.connection.execute(_one_by_one(unit.backend.insert), cursors)


@cache
def _one_by_one(insert: Insert) -> Any:
    return _raising(insert(deliveries))


@cache
def _all_at_once(insert: Insert) -> Any:
    """Return the statement that takes its rows as arrays: on a server each statement costs a turn."""
    arrays = [bindparam(name, type_=ARRAY(_D[name].type)) for name in _GIVEN]
    given = func.unnest(*arrays).table_valued(*_GIVEN).render_derived()
    others = [
        bindparam("due_at_", type_=_D.due_at.type),
        *(literal(value, _D[name].type) for name, value in _NEW.items()),
    ]
    return _raising(insert(deliveries).from_select([*_GIVEN, "due_at", *_NEW], select(*given.c, *others)))


def _raising(cursor: Any) -> Any:
    raised = cursor.excluded.planned
    wakes = and_(_D.state == _IDLE, raised > _D.sent)
    return cursor.on_conflict_do_update(
        index_elements=["recipient", "study", "patient"],
        set_={
            "planned": raised,
            "state": case((wakes, _DUE), else_=_D.state),
            "due_at": case((wakes, cursor.excluded.due_at), else_=_D.due_at),
            "published_at": case((wakes, null()), else_=_D.published_at),
        },
        where=raised > _D.planned,
    )
