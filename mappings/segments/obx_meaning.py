"""What OBX-3 and OBX-6 mean together on a day: the code, the unit, and how to get to the canonical one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from gateway.errors import MappingError
from gateway.hl7v2.message import Field, Segment
from gateway.model.names import LOINC, UCUM
from gateway.model.site import CodeMapEntry
from gateway.model.translation import Finding, Gap
from mappings.codes import CodeMap, UnitText, site_unit
from mappings.context import Context
from mappings.datatypes.cwe import codings_of, concept_of
from mappings.tables import systems
from mappings.units import ONE, factor_of, is_unitless, multiply

NO_UNIT: Final = UnitText("", "")


@dataclass(frozen=True, slots=True)
class Meaning:
    """A sender's code and unit, resolved.

    ``concept`` is the CodeableConcept (shared: never changed). ``unit`` is what the sender wrote; ``ucum`` the unit
    values are given in, ``factor`` times the sent number; with ``ucum`` empty the sent text is the unit. ``assumed`` is
    the unit the code map reads where none was sent. ``unit_missing`` and ``unfit`` say why a number must wait.
    """

    concept: dict[str, Any]
    entry: CodeMapEntry | None
    unit: UnitText
    ucum: str
    factor: Fraction = ONE
    assumed: str = ""
    unit_missing: bool = False
    unfit: bool = False
    gaps: tuple[Gap, ...] = ()
    finding: str = ""

    @property
    def is_numeric(self) -> bool:
        """Whether a text that is a number stands for a quantity: a unit was sent, or the code map names one."""
        return bool(self.unit.text or (self.entry is not None and self.entry.ucum))

    @property
    def same_unit(self) -> bool:
        """Whether the unit of the result is the text the sender wrote."""
        return self.ucum in {"", self.unit.text}

    def convert(self, value: Decimal) -> Decimal:
        """Return a number of the sender's unit in ``ucum``."""
        return multiply(value, self.factor)

    def unit_elements(self) -> dict[str, str]:
        """Return unit, system and code of a Quantity: a UCUM code where it is known, else the sender's text."""
        if self.ucum:
            return {"unit": self.ucum, "system": UCUM, "code": self.ucum}
        return {"unit": self.unit.text} if self.unit.text else {}

    def is_implausible(self, value: Decimal) -> bool:
        """Whether a converted value lies outside the bounds of the code map."""
        entry = self.entry
        if entry is None or not self.ucum or self.unfit:
            return False
        return (entry.low is not None and value < entry.low) or (entry.high is not None and value > entry.high)


def meanings_of(obx: Segment, dialect: int, context: Context) -> Sequence[Meaning]:
    """Return what OBX-3 and OBX-6 mean, one for each row of the code map that fits, and one without any as the last.

    The first whose row is valid on the day is meant: the most telling row for the first triplet of OBX-3, or else the
    second. ``dialect`` stands for the delimiters of the message. Raises ``MappingError`` (101) when OBX-3 is not
    valued.
    """
    key = ("meaning", obx.raw(3), obx.raw(6), dialect)
    choices: Sequence[Meaning] | None = context.cache.get(key)
    if choices is None:
        choices = context.cache[key] = _choices(obx, context)
    return choices


def say(known: Meaning, obx: Segment, context: Context) -> None:
    """List what is not mapped of an OBX of this meaning."""
    for gap in known.gaps:
        context.gaps[gap] = None
    if known.finding:
        context.findings[Finding(str(obx.place(3)), known.finding)] = None


def _choices(obx: Segment, context: Context) -> tuple[Meaning, ...]:
    found = obx.field(3)
    if not found or found.is_null:
        raise MappingError("what was observed is not said", obx.place(3), "101")
    unit = _unit_of(obx.field(6), context)
    entries = entries_for(found, unit, context)
    return (*(_mapped(found, unit, entry, context) for entry in entries), _unmapped(found, unit, context))


def entries_for(found: Field, unit: UnitText, context: Context) -> tuple[CodeMapEntry, ...]:
    """Return the rows of the site's code map for a coded field, best first: the first triplet's before the second's."""
    code_map: CodeMap | None = context.cache.get("code map")
    if code_map is None:
        code_map = context.cache["code map"] = CodeMap(context.site.codes, context.site.units)
    entries: tuple[CodeMapEntry, ...] = ()
    for code_at, system_at in ((1, 3), (4, 6)):
        if code := found.component(code_at):
            named = found.component(system_at)
            entries += code_map.candidates(code, (named, context.site.coding_systems.get(named, named)), unit)
    return entries


def _unit_of(found: Field, context: Context) -> UnitText:
    """Read OBX-6. An unescaped ``10^9/L``, which the delimiter has cut in two, is put together again."""
    if not found or found.is_null:
        return NO_UNIT
    whole = found.verbatim.strip()
    joined = site_unit(context.site, whole)
    if joined.ucum:
        return joined
    text = found.component(1) or found.component(2)
    if found.component(3).upper() == "UCUM" and found.component(1):
        return UnitText(text, found.component(1))
    if _is_broken_power(found):
        return UnitText(whole, "")
    return site_unit(context.site, text)


def _is_broken_power(found: Field) -> bool:
    """``10^9/L``: component 1 ends in 10, component 2 goes on with a digit."""
    return found.component(1).lower().removeprefix("x").strip() == "10" and found.component(2)[:1].isdigit()


def _mapped(found: Field, unit: UnitText, entry: CodeMapEntry, context: Context) -> Meaning:
    codes = tuple(code for _, code, _ in entry.codings)
    if not entry.ucum:
        return _as_sent(concept_with(found, entry, context), entry, unit, _unit_gaps(unit))
    if not unit.text:
        return _without_unit(found, entry, codes, context)
    if not unit.ucum:
        return _as_sent(concept_with(found, entry, context), entry, unit, _unit_gaps(unit))
    factor = ONE if unit.ucum == entry.ucum else factor_of(unit.ucum, entry.ucum, codes)
    if factor is not None:
        return Meaning(concept_with(found, entry, context), entry, unit, entry.ucum, factor)
    # A standard code says what property is measured; a unit of another property contradicts it.
    gap = Gap("unit", "OBX-6", found.component(1), found.component(3), unit.text, found.component(2))
    return Meaning(concept_with(found, None, context), entry, unit, unit.ucum, unfit=True, gaps=(gap,))


def _without_unit(found: Field, entry: CodeMapEntry, codes: tuple[str, ...], context: Context) -> Meaning:
    concept = concept_with(found, entry, context)
    if entry.assumed_unit:
        assumed = site_unit(context.site, entry.assumed_unit)
        factor = ONE if assumed.ucum == entry.ucum else factor_of(assumed.ucum, entry.ucum, codes)
        if factor is not None:
            return Meaning(concept, entry, NO_UNIT, entry.ucum, factor, assumed=entry.assumed_unit)
    if is_unitless(entry.ucum):
        return Meaning(concept, entry, NO_UNIT, entry.ucum)
    return Meaning(concept, entry, NO_UNIT, "", unit_missing=True)


def _unmapped(found: Field, unit: UnitText, context: Context) -> Meaning:
    concept = concept_with(found, None, context)
    gaps = _unit_gaps(unit)
    if not is_standard(concept):
        code, system = (1, 3) if found.component(1) else (4, 6)
        text = found.component(code + 1)
        gaps += (Gap("code", "OBX-3", found.component(code) or text, found.component(system), unit.text, text),)
    wrong = any(coding.get("system") == LOINC and not is_loinc(coding["code"]) for coding in concept.get("coding", ()))
    finding = "a LOINC code whose check digit is wrong" if wrong else ""
    return _as_sent(concept, None, unit, gaps, finding)


def _as_sent(
    concept: dict[str, Any], entry: CodeMapEntry | None, unit: UnitText, gaps: tuple[Gap, ...], finding: str = ""
) -> Meaning:
    missing = not unit.text and entry is None
    return Meaning(concept, entry, unit, unit.ucum, unit_missing=missing, gaps=gaps, finding=finding)


def _unit_gaps(unit: UnitText) -> tuple[Gap, ...]:
    return (Gap("unit", "OBX-6", unit.text, unit=unit.text),) if unit.text and not unit.ucum else ()


def is_standard(concept: dict[str, Any]) -> bool:
    """Say whether a concept holds a code of a published coding system."""
    published = systems().values()
    return any(coding.get("system") in published for coding in concept.get("coding", ()))


def concept_with(found: Field, entry: CodeMapEntry | None, context: Context) -> dict[str, Any]:
    """Return the standard codings of a row of the code map in its order, then the sender's own as they came."""
    sent, text = codings_of(found, context)
    for coding in sent:
        coding.setdefault("system", context.site.scoped("codes", ""))
    standard = [_coding(*coding) for coding in entry.codings] if entry is not None else []
    known = {(coding["system"], coding["code"]) for coding in standard}
    codings = standard + [coding for coding in sent if (coding["system"], coding["code"]) not in known]
    return concept_of(codings, text) or {"text": found.verbatim}


def _coding(system: str, code: str, display: str) -> dict[str, str]:
    made = {"system": system, "code": code}
    if display:
        made["display"] = display
    return made


def is_loinc(code: str) -> bool:
    """Say whether a LOINC code's check digit is right (Luhn's, over the digits before the hyphen).

    >>> is_loinc("718-7"), is_loinc("718-8"), is_loinc("HB")
    (True, False, False)
    """
    number, _, check = code.partition("-")
    if not (number.isdecimal() and check.isdecimal() and len(check) == 1):
        return False
    total = 0
    for at, digit in enumerate(reversed(number)):
        doubled = int(digit) * (2 if at % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return (10 - total % 10) % 10 == int(check)
