"""The code map of a site: which standard code a sender's code stands for, by code, coding system, unit and date.

A row says what a code means *while it is valid* (a laboratory that reuses a code after an upgrade has two), for one
unit or for any. The most telling row wins: one that names the coding system before one that does not, one for this unit
before one for any; among equals the first, which is how a row added by a person comes before an imported one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from gateway.model.site import CodeMapEntry, Site
from mappings.units import ucum_of


@dataclass(frozen=True, slots=True)
class UnitText:
    """A sender's unit: the text as written and the UCUM code it stands for (``""``: not known)."""

    text: str
    ucum: str


def site_unit(site: Site, text: str) -> UnitText:
    """Read a unit as this site writes it: its own table first, then the spellings everybody uses."""
    return UnitText(text, site.units.get(text) or ucum_of(text))


class CodeMap:
    """The rows of a site, found by the sender's code."""

    def __init__(self, entries: Iterable[CodeMapEntry], units: Mapping[str, str] | None = None) -> None:
        self._units = units or {}
        self._by_code: dict[str, list[CodeMapEntry]] = defaultdict(list)
        for entry in entries:
            self._by_code[entry.code].append(entry)

    def candidates(self, code: str, systems: tuple[str, ...], unit: UnitText) -> tuple[CodeMapEntry, ...]:
        """Return the rows that fit, whenever they are valid, best first. ``systems``: the names of OBX-3.3."""
        ranked = [(self._rank(entry, systems, unit), entry) for entry in self._by_code.get(code, ())]
        fitting = [(rank, entry) for rank, entry in ranked if rank is not None]
        return tuple(entry for _, entry in sorted(fitting, key=lambda pair: pair[0]))

    def find(self, code: str, system: str, unit: UnitText, on: date) -> CodeMapEntry | None:
        """Return the row for a code of a coding system (OBX-3.3) with a unit, on a day; None: there is none.

        >>> hb = CodeMapEntry("HB", (("http://loinc.org", "718-7", ""),), ucum="g/dL", valid_from=date(2025, 1, 1))
        >>> CodeMap([hb]).find("HB", "L", UnitText("g/L", "g/L"), date(2025, 6, 1)) is hb
        True
        >>> CodeMap([hb]).find("HB", "L", UnitText("g/L", "g/L"), date(2024, 6, 1)) is None
        True
        """
        return next((entry for entry in self.candidates(code, (system,), unit) if is_valid(entry, on)), None)

    def _rank(self, entry: CodeMapEntry, systems: tuple[str, ...], unit: UnitText) -> tuple[int, int] | None:
        """Return how well a row fits, lower is better; None: not at all."""
        if entry.system and entry.system not in systems:
            return None
        of_unit = self._unit_rank(entry.unit, unit)
        return None if of_unit is None else (0 if entry.system else 1, of_unit)

    def _unit_rank(self, wanted: str, unit: UnitText) -> int | None:
        if not wanted:
            return 2
        if wanted == unit.text:
            return 0
        ucum = self._units.get(wanted) or ucum_of(wanted)
        return 1 if ucum and ucum == unit.ucum else None


def is_valid(entry: CodeMapEntry, on: date) -> bool:
    """Say whether a row holds on a day; its last day counts."""
    return (entry.valid_from is None or entry.valid_from <= on) and (
        entry.valid_until is None or on <= entry.valid_until
    )
