"""What an ``OBX`` inherits from the order it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

from gateway.hl7v2.message import Segment
from mappings.context import Context
from mappings.datatypes.ts import moment_of
from mappings.numbers import NumberFormat
from mappings.segments.obx_meaning import Meaning

_KEY: Final = "order"

CLOCK_TOLERANCE: Final = timedelta(days=1)
"""How far in the future a result may lie before a person must look: a wrong zone is hours, a wrong clock is more."""

AHEAD: Final = "effective time in the future"
"""Why such a result or report is held."""


@dataclass(slots=True)
class Order:
    """An order (OBR) while its results are mapped.

    ``key`` are the business identifiers of its results, ``prefix`` what their ids are made of before their own names;
    ``effective`` the elements its own times make, ``day`` the day in the sender's calendar. ``category`` are
    Observation.category, ``specimen`` and ``encounter`` References.
    ``meaning`` is that of the OBX being read, ``obr`` the order's own segment. ``dialect`` stands for the delimiters of
    the message in cache keys. ``days`` maps OBX-14 as sent -> its day, ``ordinals`` a result's names -> how many have
    them so far.
    """

    key: tuple[str, ...]
    prefix: str
    day: date
    format: NumberFormat
    dialect: int
    effective: dict[str, Any] = field(default_factory=dict)
    category: list[dict[str, Any]] = field(default_factory=list)
    specimen: dict[str, Any] | None = None
    encounter: dict[str, Any] | None = None
    meaning: Meaning | None = None
    obr: Segment | None = None
    days: dict[str, date] = field(default_factory=dict)
    ordinals: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def ordinal(self, named: tuple[str, str, str]) -> str:
        """Count one more result of these names; return how many there are now."""
        count = self.ordinals[named] = self.ordinals.get(named, 0) + 1
        return str(count)

    def around(self, patient: str) -> dict[str, Any]:
        """Return the elements every result of the order has of it, Observation.subject first."""
        made: dict[str, Any] = {"subject": {"reference": f"Patient/{patient}"}}
        if self.category:
            made["category"] = self.category
        if self.encounter:
            made["encounter"] = self.encounter
        if self.specimen:
            made["specimen"] = self.specimen
        return made


def lies_ahead(elements: dict[str, Any], context: Context) -> bool:
    """Say whether effective[x] lies in the future by more than clocks differ."""
    text = elements.get("effectiveDateTime") or elements.get("effectivePeriod", {}).get("start")
    return bool(text) and moment_of(text, context) > context.received_at + CLOCK_TOLERANCE


def day_of(obx: Segment, order: Order) -> date:
    """Return the day of OBX-14 as sent, for the code map; the order's where it is empty or none of HL7's dates."""
    raw = obx.raw(14)
    day = order.days.get(raw)
    if day is None:
        sent = obx.value(14)
        try:
            day = date.fromisoformat(f"{sent[:4]}-{sent[4:6] or '01'}-{sent[6:8] or '01'}") if sent else order.day
        except ValueError:
            day = order.day
        order.days[raw] = day
    return day


def order_of(context: Context) -> Order:
    """Return the order being read."""
    found: Order = context.memo[_KEY]
    return found


def open_order(order: Order, context: Context) -> None:
    """Make this the order being read; another of the same key before it goes on counting its results."""
    context.memo[_KEY] = order
    order.ordinals = context.memo.setdefault(("ordinals", order.key), order.ordinals)


def meaning(context: Context) -> Meaning:
    """Return what OBX-3 and OBX-6 of the OBX being read mean."""
    found = order_of(context).meaning
    if found is None:
        raise LookupError("no OBX is being read")
    return found
