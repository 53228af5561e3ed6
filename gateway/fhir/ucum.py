"""UCUM units and what they are multiples of (The Unified Code for Units of Measure, 2.1).

Two sources. The reviewed table ``units.csv`` says which units laboratories use for the same thing, ``{cells}/uL`` and
``10*9/L`` among them. A term of UCUM that is not there, or is for another thing there, is read by its grammar from the
atoms of ``ucum_atoms.csv``: prefixes, exponents, products and quotients, all exact. What UCUM would equate but was
counted apart (an annotation in braces, mole and equivalent, parts of different things) stays apart: a search must not
find another thing. Units that are not multiples (Cel, [degF], [pH]) are equal to themselves alone.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final


@dataclass(frozen=True, slots=True)
class Unit:
    """A UCUM unit: units of one ``dimension`` are multiples (``factor``) of the same thing."""

    ucum: str
    dimension: str
    factor: Fraction


@cache
def units() -> Mapping[str, Unit]:
    """Return the units of the reviewed table by their UCUM code."""
    return {row["ucum"]: Unit(row["ucum"], row["dimension"], Fraction(row["factor"])) for row in _rows("units.csv")}


def _rows(name: str) -> csv.DictReader[str]:
    return csv.DictReader(files("gateway.fhir").joinpath(name).read_text(encoding="utf-8").splitlines())


@lru_cache(maxsize=4096)
def ratio(source: str, target: str) -> Fraction | None:
    """Return how many ``target`` one ``source`` is, None for units that do not convert.

    >>> ratio("g/L", "mg/dL"), ratio("mm[Hg]", "Pa"), ratio("mmol/L", "meq/L")
    (Fraction(100, 1), Fraction(66661, 500), None)
    """
    first, second = units().get(source), units().get(target)
    if first is not None and second is not None and first.dimension == second.dimension:
        return first.factor / second.factor
    first, second = term(source), term(target)
    if first is None or second is None or first.dimension != second.dimension or not first.dimension:
        return None
    return first.factor / second.factor


# --- the grammar ----------------------------------------------------------------------------------------------------

_PREFIXES: Final = {
    "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1,
    "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24,
}  # fmt: skip
_SIGN: Final = re.compile(
    r"(?P<sign>[/.()])|(?P<note>\{[!-z|~]*\})|(?P<number>[0-9]{1,9})(?![0-9*^])"
    r"|(?P<atom>10[*^]|(?:[A-Za-z%'*^_\"]|\[[!-Z\\^-~]+\])+)(?P<power>[+-]?[0-9]{1,2})?"
)
_LONGEST: Final = 60

Dimensions = dict[str, int]


@dataclass(frozen=True, slots=True)
class Atom:
    """An atom of UCUM: its size in base units; ``metric``: it takes prefixes."""

    metric: bool
    factor: Fraction
    dimensions: tuple[tuple[str, int], ...]


class _Unread(Exception):
    """A term is not of the grammar, or has an atom that is not known."""


@cache
def _atoms() -> Mapping[str, Atom]:
    return {
        row["atom"]: Atom(row["metric"] == "yes", Fraction(row["factor"]), tuple(_powers(row["of"])))
        for row in _rows("ucum_atoms.csv")
    }


def _powers(text: str) -> list[tuple[str, int]]:
    pairs = (each.split("^") for each in text.split())
    return [(name, int(power[0]) if power else 1) for name, *power in pairs]


@lru_cache(maxsize=4096)
def term(code: str) -> Unit | None:
    """Read a UCUM term; None where it cannot be read. ``dimension`` names the powers of its base units.

    What cancels out is named too (``g^0``): grams per kilogram are no moles per mole.

    >>> term("mg/dL")
    Unit(ucum='mg/dL', dimension='g m^-3', factor=Fraction(10, 1))
    """
    signs = _signs(code) if 0 < len(code) <= _LONGEST else None
    if not signs:
        return None
    try:
        factor, dimensions, rest = _product(signs)
    except _Unread:
        return None
    if rest:
        return None
    named = (name if power == 1 else f"{name}^{power}" for name, power in sorted(dimensions.items()))
    return Unit(code, " ".join(named), factor)


def _signs(code: str) -> list[re.Match[str]] | None:
    found, at = [], 0
    while at < len(code):
        sign = _SIGN.match(code, at)
        if sign is None or sign.end() == at:
            return None
        found.append(sign)
        at = sign.end()
    return found


def _product(signs: list[re.Match[str]]) -> tuple[Fraction, Dimensions, list[re.Match[str]]]:
    """Read components with ``.`` and ``/`` between them, from the left, up to a closing bracket."""
    factor, dimensions = Fraction(1), Dimensions()
    power = 1
    if signs and signs[0]["sign"] == "/":
        power, signs = -1, signs[1:]
    while True:
        one, of, signs = _component(signs)
        factor *= one**power
        for name, exponent in of.items():
            dimensions[name] = dimensions.get(name, 0) + exponent * power
        if not signs or signs[0]["sign"] == ")":
            return factor, dimensions, signs
        if signs[0]["sign"] not in (".", "/"):
            raise _Unread
        power, signs = (-1 if signs[0]["sign"] == "/" else 1), signs[1:]


def _component(signs: list[re.Match[str]]) -> tuple[Fraction, Dimensions, list[re.Match[str]]]:
    """Read one component with the annotation behind it, which counts as a dimension of its own."""
    if not signs:
        raise _Unread
    head, rest = signs[0], signs[1:]
    if head["note"]:
        return Fraction(1), {head["note"]: 1}, rest
    if head["sign"] == "(":
        factor, dimensions, rest = _product(rest)
        if not rest or rest[0]["sign"] != ")":
            raise _Unread
        rest = rest[1:]
    elif head["number"]:
        factor, dimensions = Fraction(int(head["number"])), Dimensions()
    else:
        factor, dimensions = _simple(head)
    if rest and rest[0]["note"]:
        dimensions[rest[0]["note"]] = dimensions.get(rest[0]["note"], 0) + 1
        rest = rest[1:]
    if not factor:
        raise _Unread
    return factor, dimensions, rest


def _simple(sign: re.Match[str]) -> tuple[Fraction, Dimensions]:
    """Read an atom with its prefix and its exponent."""
    if sign["atom"] is None:
        raise _Unread
    factor, atom = _prefixed(sign["atom"])
    power = int(sign["power"] or 1)
    return (factor * atom.factor) ** power, {name: exponent * power for name, exponent in atom.dimensions}


def _prefixed(text: str) -> tuple[Fraction, Atom]:
    atoms = _atoms()
    if text in atoms:
        return Fraction(1), atoms[text]
    for length in (1, 2):
        prefix, atom = _PREFIXES.get(text[:length]), atoms.get(text[length:])
        if prefix is not None and atom is not None and atom.metric:
            return Fraction(10) ** prefix, atom
    raise _Unread
