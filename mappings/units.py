"""Units: what a sender's spelling means in UCUM, and exact conversion between the units of our observations.

Small, reviewed and written out: every row of ``unit_factors.csv``, ``unit_spellings.csv`` and ``units.csv`` (which
``gateway.fhir.ucum`` reads) has a test.
Units of one dimension convert by their factors; mass and amount, or anything else that depends on what was measured,
only for the codes a row of ``unit_factors.csv`` names. Whatever is not written there is not converted.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

import mappings.tables
from gateway.fhir.ucum import Unit, units
from mappings.numbers import plain

_EXACT: Final = Context(prec=60)
ONE: Final = Fraction(1)
"""No conversion; compared by identity, which is what most values meet."""


@dataclass(frozen=True, slots=True)
class Factor:
    """For these codes, 1 ``one`` is ``factor`` ``of``."""

    component: str
    codes: frozenset[str]
    one: str
    factor: Fraction
    of: str


def _rows(name: str) -> list[dict[str, str]]:
    text = files(mappings.tables).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def factors() -> tuple[Factor, ...]:
    """Return the conversions that depend on what was measured."""
    return tuple(
        Factor(row["component"], frozenset(row["codes"].split()), row["one"], Fraction(row["is"]), row["of"])
        for row in _rows("unit_factors.csv")
    )


# --- spelling -------------------------------------------------------------------------------------------------------

_SAME: Final = str.maketrans(
    {"\u00b5": "u", "\u03bc": "u", "\u00d7": "x", "\u00a0": " ", "\u00b2": "2", "\u00b3": "3", "\u2076": "6"}
    | {"\u2079": "9", "^": None, "*": None}
)


def _key(text: str) -> str:
    """Fold what laboratories vary without meaning anything: case, blanks, the micro sign, signs for a power."""
    return " ".join(unicodedata.normalize("NFC", text).translate(_SAME).split()).casefold()


@cache
def _as_written() -> Mapping[str, str]:
    return {row["sent"]: row["ucum"] for row in _rows("unit_spellings.csv")} | {code: code for code in units()}


@cache
def spellings() -> Mapping[str, str]:
    """Return folded spelling -> UCUM. Where case has a meaning (``g/L``, ``G/L``) the folded spelling is left out."""
    found: dict[str, str] = {}
    clash: set[str] = set()
    for sent, ucum in _as_written().items():
        key = _key(sent)
        if found.setdefault(key, ucum) != ucum:
            clash.add(key)
    return {key: ucum for key, ucum in found.items() if key not in clash}


@lru_cache(maxsize=4096)
def ucum_of(text: str) -> str:
    """Return the UCUM code of a unit as laboratories write it, ``""`` when it is not known.

    >>> ucum_of("10^9/L"), ucum_of("mmc"), ucum_of("lakh/cumm"), ucum_of("µg/L"), ucum_of("furlong")
    ('10*9/L', '/uL', '10*5/uL', 'ug/L', '')
    """
    known = _as_written().get(text)
    return spellings().get(_key(text), "") if known is None else known


def is_unitless(ucum: str) -> bool:
    """Say whether a unit only annotates a plain number, so that a sender who writes none left nothing out.

    >>> is_unitless("{score}"), is_unitless("1"), is_unitless("{copies}/{genome}"), is_unitless("[pH]")
    (True, True, False, True)
    """
    return ucum in {"1", "[pH]"} or re.fullmatch(r"\{[^{}]*\}", ucum) is not None


# --- conversion -----------------------------------------------------------------------------------------------------


def convert(value: Decimal, source: str, target: str, codes: Iterable[str] = ()) -> Decimal | None:
    """Convert a value between UCUM units, exactly; None: these units do not convert for these codes.

    ``codes`` are the standard codes of the observation (LOINC, ``GT-…``). The result has no exponent. Where it has no
    finite decimal form (a division by 17.1) it is rounded to one digit more than the value was written with, three at
    least, so that converting it back gives the value sent.

    >>> convert(Decimal("98"), "g/L", "g/dL")
    Decimal('9.8')
    >>> convert(Decimal("22"), "umol/L", "mg/dL", ["1975-2"])
    Decimal('1.29')
    >>> convert(Decimal("22"), "umol/L", "mg/dL") is None
    True
    """
    if source == target:
        return plain(value)
    factor = factor_of(source, target, tuple(codes))
    return None if factor is None else multiply(plain(value), factor)


@lru_cache(maxsize=4096)
def factor_of(source: str, target: str, codes: tuple[str, ...] = ()) -> Fraction | None:
    """Return how many ``target`` one ``source`` is, for these codes; None: they do not convert.

    A row that names the code goes before the dimension.
    """
    found = _factor(source, target, codes)
    return ONE if found == ONE else found


def _factor(source: str, target: str, codes: tuple[str, ...]) -> Fraction | None:
    first, second = units().get(source), units().get(target)
    if first is None or second is None:
        return None
    for row in factors():
        if not row.codes.isdisjoint(codes):
            found = _through(row, first, second)
            if found is not None:
                return found
    return first.factor / second.factor if first.dimension == second.dimension else None


def _through(row: Factor, source: Unit, target: Unit) -> Fraction | None:
    one, of = units()[row.one], units()[row.of]
    if (source.dimension, target.dimension) == (one.dimension, of.dimension):
        return source.factor / one.factor * row.factor * of.factor / target.factor
    if (source.dimension, target.dimension) == (of.dimension, one.dimension):
        return source.factor / of.factor / row.factor * one.factor / target.factor
    return None


def multiply(value: Decimal, factor: Fraction) -> Decimal:
    """Multiply exactly; the digits of the result are as ``convert`` says. ``value`` has no exponent."""
    if factor is ONE or factor == ONE:
        return value
    shift = _power_of_ten(factor)
    if shift is not None and value.as_tuple().exponent != 0:
        return plain(value.scaleb(shift, _EXACT))  # keeps the digits the sender wrote: 98.0 g/L is 9.80 g/dL
    exact = Fraction(value) * factor
    if _is_finite(exact.denominator):
        return _normal(_EXACT.divide(Decimal(exact.numerator), Decimal(exact.denominator)))
    digits = max(3, len(value.as_tuple().digits) + 1)
    return _normal(Context(prec=digits).divide(Decimal(exact.numerator), Decimal(exact.denominator)))


@lru_cache(maxsize=1024)
def _power_of_ten(factor: Fraction) -> int | None:
    for number, sign in ((factor.numerator, 1), (factor.denominator, -1)):
        other = factor.denominator if sign == 1 else factor.numerator
        if other == 1 and set(str(number)[1:]) <= {"0"} and str(number)[0] == "1":
            return sign * (len(str(number)) - 1)
    return None


def _is_finite(denominator: int) -> bool:
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator == 1


def _normal(value: Decimal) -> Decimal:
    return plain(value.normalize(_EXACT))
