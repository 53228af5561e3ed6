"""What an ``OBX`` inherits from the order it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from mappings.context import Context
from mappings.numbers import NumberFormat
from mappings.segments.obx_meaning import Meaning

_KEY: Final = "order"


@dataclass(slots=True)
class Order:
    """An order (OBR) while its results are mapped.

    ``key`` are the business identifiers of its results; ``effective`` the elements its own times make, ``day`` the
    day in the sender's calendar. ``category`` are Observation.category, ``specimen`` and ``encounter`` References.
    ``study`` are the extensions that place a result in a study. ``meaning`` is that of the OBX being read. ``dialect``
    stands for the delimiters of the message in cache keys.
    """

    key: tuple[str, ...]
    day: date
    format: NumberFormat
    dialect: int
    effective: dict[str, Any] = field(default_factory=dict)
    category: list[dict[str, Any]] = field(default_factory=list)
    specimen: dict[str, Any] | None = None
    encounter: dict[str, Any] | None = None
    study: list[dict[str, Any]] = field(default_factory=list)
    meaning: Meaning | None = None


def order_of(context: Context) -> Order:
    """Return the order being read."""
    found: Order = context.memo[_KEY]
    return found


def open_order(order: Order, context: Context) -> None:
    """Make this the order being read."""
    context.memo[_KEY] = order


def meaning(context: Context) -> Meaning:
    """Return what OBX-3 and OBX-6 of the OBX being read mean."""
    found = order_of(context).meaning
    if found is None:
        raise LookupError("no OBX is being read")
    return found
