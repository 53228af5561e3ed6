"""A cursor's row: what it says, and what it becomes when an attempt or a replay ends. No query here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from gateway.model.delivery import Attempt, Delivery, DeliveryState, View

DUE: Final = DeliveryState.DUE.value
KEPT: Final = (*("state", "sent", "planned", "window", "number", "attempts", "due_at", "first_failed_at", "detail"),)
"""The columns that ``Delivery`` knows and that change."""

FREE: Final = dict.fromkeys(("lease_until", "lease_owner", "open_attempt", "rewind", "published_at"))
"""The columns of a cursor that nobody works on."""


def free(row: Any) -> dict[str, Any]:
    """Return a row's values as free of any worker."""
    return {name: getattr(row, name) for name in KEPT} | FREE


def settled(delivery: Delivery, row: Any, attempt: Attempt | None) -> dict[str, Any]:
    """Return what a cursor's row becomes, with what happened to it while the attempt was under way."""
    values = {name: getattr(delivery, name) for name in KEPT} | FREE
    values |= {"state": delivery.state.value, "planned": max(row.planned, delivery.planned), "rewind": row.rewind}
    if delivery.state is DeliveryState.SENDING:
        return values
    now = attempt.settled_at if attempt is not None else delivery.due_at or row.due_at
    if row.rewind is not None and delivery.window is None:
        return rewound(values, further_back(row.rewind, delivery.sent), now)
    if delivery.state is DeliveryState.IDLE and values["planned"] > delivery.sent:
        values |= {"state": DUE, "due_at": now}
    return values


def further_back(one: int, other: int | None) -> int:
    """Return from where both are owed: 0 sends everything once more, so it covers a backfill too."""
    return one if other is None else 0 if 0 in {one, other} else min(one, other)


def fresh(now: datetime) -> dict[str, Any]:
    """Return the values of a cursor that is due now and has not failed."""
    return {"state": DUE, "due_at": now, "attempts": 0, "first_failed_at": None, "detail": ""}


def rewound(values: dict[str, Any], back: int, now: datetime) -> dict[str, Any]:
    """Return the values of a cursor that begins again after change ``back``.

    Another window is another delivery id: a receiver that drops repeats must not drop it.
    """
    begun = {"sent": back, "window": None, "number": values["number"] + 1, "rewind": None}
    return values | fresh(now) | begun


def announced(values: dict[str, Any], at: datetime | None) -> dict[str, Any]:
    """Return the values with the moment its wake-up was published, if it is due and has not failed."""
    if at is None or values["state"] != DUE or values["attempts"] or values["due_at"] > at:
        return values
    return values | {"published_at": at}


def standing(delivery: Delivery, values: dict[str, Any]) -> Delivery:
    """Return a delivery as its row stands with these values."""
    known = {name: values[name] for name in KEPT} | {"state": DeliveryState(values["state"])}
    return replace(delivery, lease_until=values["lease_until"], **known)


def delivery_of(row: Any) -> Delivery:
    """Return the delivery a row describes."""
    return Delivery(
        id=row.id,
        view=View(row.recipient, row.study),
        patient=row.patient,
        state=DeliveryState(row.state),
        sent=row.sent,
        planned=row.planned,
        window=row.window,
        number=row.number,
        attempts=row.attempts,
        due_at=row.due_at,
        first_failed_at=row.first_failed_at,
        lease_until=row.lease_until,
        detail=row.detail,
    )


def shared_out(rows: Sequence[Any], limit: int) -> list[Any]:
    """Return the first ``limit`` rows, taken from one recipient after the other in turn, in the order they came in."""
    if len(rows) <= limit:
        return list(rows)
    counted: Counter[str] = Counter()
    turns = []
    for place, row in enumerate(rows):
        counted[row.recipient] += 1
        turns.append((counted[row.recipient], place))
    return [rows[place] for place in sorted(place for _, place in sorted(turns)[:limit])]
