"""Parameters of type quantity and number (FHIR R4 3.1.1.4.6 "number", 3.1.1.4.11 "quantity").

``5.4`` asks for 5.35 up to 5.45: what is written is as precise as its digits say, for ``eq`` and ``ne``; the ordering
prefixes take the number as it is. Everything is computed in fractions, so that 5.4 g/L and 540 mg/dL are equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import inf
from typing import Any, Final

from gateway.fhir.search.grammar import Test, Unfit, prefixed, split, unescape
from gateway.fhir.ucum import ratio
from gateway.model.names import UCUM

Bound = tuple[Fraction | float, int]
"""A bound: its number, and 0 where it is part of the range, -1 just below it, 1 just above."""
Holds = Callable[[Bound, Bound], bool]

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?P<power>[eE][+-]?[0-9]{1,2})?")
_UNBOUNDED: Final = ((-inf, 0), (inf, 0))
_LARGEST: Final = 400
"""Powers of ten a stored number may have; one beyond, which no measurement has, matches nothing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A number asked for: itself, and the range its digits stand for."""

    prefix: str
    value: Fraction
    low: Fraction
    high: Fraction

    def scaled(self, factor: Fraction) -> Asked:
        """Return the same in a unit of which one of this is ``factor``."""
        return Asked(self.prefix, self.value * factor, self.low * factor, self.high * factor)


def read(text: str) -> Asked:
    """Read a number with its prefix.

    R4's example ``1e2`` is 95 up to 105: an exponent leaves one digit more than it writes.

    >>> asked = read("100"), read("100.00"), read("1e2")
    >>> [(float(each.low), float(each.high)) for each in asked]
    [(99.5, 100.5), (99.995, 100.005), (95.0, 105.0)]
    """
    prefix, written = prefixed(text)
    found = _NUMBER.fullmatch(written)
    if found is None:
        raise Unfit("is not a number")
    number = Decimal(written)
    digits = int(number.as_tuple().exponent)
    if found["power"] and digits > 0:
        digits -= 1
    value, half = Fraction(number), Fraction(10) ** digits / 2
    return Asked(prefix, value, value - half, value + half)


# --- comparisons ----------------------------------------------------------------------------------------------------


def _inside(asked: Asked) -> Holds:
    first, last = (asked.low, 0), (asked.high, 0)
    return lambda low, high: first <= low and high < last


def _not_inside(asked: Asked) -> Holds:
    inside = _inside(asked)
    return lambda low, high: not inside(low, high)


def _near(asked: Asked) -> Holds:
    """Return ``ap``: within a tenth of the number asked for."""
    width = abs(asked.value) / 10
    first, last = (asked.value - width, 0), (asked.value + width, 0)
    return lambda low, high: low <= last and high >= first


def _ordered(prefix: str) -> Callable[[Asked], Holds]:
    def compare(asked: Asked) -> Holds:
        at = (asked.value, 0)
        return {
            "gt": lambda low, high: high > at,
            "ge": lambda low, high: high >= at,
            "lt": lambda low, high: low < at,
            "le": lambda low, high: low <= at,
            "sa": lambda low, high: low > at,
            "eb": lambda low, high: high < at,
        }[prefix]

    return compare


_COMPARISONS: Final[dict[str, Callable[[Asked], Holds]]] = {
    "eq": _inside,
    "ne": _not_inside,
    "ap": _near,
    **{prefix: _ordered(prefix) for prefix in ("gt", "ge", "lt", "le", "sa", "eb")},
}


def holds(asked: Asked) -> Holds:
    """Return the comparison of a range with what is asked."""
    return _COMPARISONS[asked.prefix](asked)


def fraction(value: Any) -> Fraction | None:
    """Return a number of a resource exactly, None for what is none or no measurement has."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | float):
        return None
    if isinstance(value, Decimal) and (not value.is_finite() or abs(value.adjusted()) > _LARGEST):
        return None
    return Fraction(value)


def number(text: str, datatype: str) -> Test | None:
    """Return the test for one number, None where the datatype is no number."""
    right = holds(read(text))
    if datatype not in ("integer", "unsignedInt", "positiveInt", "decimal"):
        return None

    def test(value: Any) -> bool:
        at = fraction(value)
        return at is not None and right((at, 0), (at, 0))

    return test


# --- quantities -----------------------------------------------------------------------------------------------------

_COMPARATORS: Final[dict[str, Callable[[Fraction], tuple[Bound, Bound]]]] = {
    "<": lambda at: ((-inf, 0), (at, -1)),
    "<=": lambda at: ((-inf, 0), (at, 0)),
    ">": lambda at: ((at, 1), (inf, 0)),
    ">=": lambda at: ((at, 0), (inf, 0)),
}


def bounds(value: dict[str, Any]) -> tuple[Bound, Bound] | None:
    """Return the range of a Quantity: a point, or what its comparator leaves open; None without a value."""
    at = fraction(value.get("value"))
    if at is None:
        return None
    make = _COMPARATORS.get(value.get("comparator", ""))
    return make(at) if make else ((at, 0), (at, 0))


class InUnits:
    """The comparison asked for, in the unit of each value it meets.

    ``system`` and ``code`` as asked: ``""`` for any. UCUM units of one dimension convert; any other unit is compared by
    its code, or by what is written for it when no system is asked for.
    """

    def __init__(self, asked: Asked, system: str, code: str) -> None:
        self._asked = asked
        self._system = system
        self._code = code
        self._plain = holds(asked)
        self._known: dict[tuple[str, str, str], Holds | None] = {}

    def holds(self, value: dict[str, Any]) -> Holds | None:
        """Return the comparison for a value's unit, None for a unit that is not asked for."""
        if not (self._system or self._code):
            return self._plain
        unit = (value.get("system", ""), value.get("code", ""), value.get("unit", ""))
        if unit not in self._known:
            if len(self._known) > 256:
                self._known.clear()
            self._known[unit] = self._made(*unit)
        return self._known[unit]

    def _made(self, system: str, code: str, unit: str) -> Holds | None:
        if not self._system:
            return self._plain if self._code in (code, unit) else None
        if system != self._system:
            return None
        if self._code in ("", code):
            return self._plain
        factor = ratio(self._code, code) if system == UCUM else None
        return None if factor is None else holds(self._asked.scaled(factor))


def quantity(text: str, datatype: str) -> Test | None:
    """Return the test for one quantity: ``5.4|system|code``, ``5.4||code`` or ``5.4``."""
    parts = [unescape(part) for part in split(text, "|")]
    if len(parts) not in (1, 3):
        raise Unfit("must be a number, or number|system|code")
    compared = InUnits(read(parts[0]), *(parts[1:] or ("", "")))
    make = _MAKERS.get(datatype)
    return make(compared) if make else None


def _one(compared: InUnits) -> Test:
    def test(value: Any) -> bool:
        right = compared.holds(value)
        if right is None:
            return False
        found = bounds(value)
        return found is not None and right(*found)

    return test


def _range(compared: InUnits) -> Test:
    """Return the test of a Range, its ends in one unit as its own rule asks (rng-2)."""

    def test(value: Any) -> bool:
        low, high = value.get("low"), value.get("high")
        right = compared.holds(low or high or {})
        if right is None or (low is None and high is None):
            return False
        first = bounds(low) if low else _UNBOUNDED
        last = bounds(high) if high else _UNBOUNDED
        return first is not None and last is not None and right(first[0], last[1])

    return test


def _money(compared: InUnits) -> Test:
    of = _one(compared)
    return lambda value: of({**value, "system": "urn:iso:std:iso:4217", "code": value.get("currency", "")})


_MAKERS: Final[dict[str, Callable[[InUnits], Test]]] = {
    "Quantity": _one,
    "Age": _one,
    "Duration": _one,
    "Range": _range,
    "Money": _money,
}
