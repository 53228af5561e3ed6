"""The HL7 tables and what their codes are in FHIR: one CSV per table, in the columns of the v2-to-FHIR guide.

``hl70001_administrative_gender.csv`` is table 0001. Columns: ``v2_code``, ``v2_text``, ``v2_system``, ``code``,
``display``, ``system``, ``comment``. A row whose ``code`` is empty says on purpose that there is no FHIR code.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from gateway.model.names import V2_TABLE

COLUMNS = ("v2_code", "v2_text", "v2_system", "code", "display", "system", "comment")


@dataclass(frozen=True, slots=True)
class Target:
    """A FHIR coding."""

    code: str
    display: str
    system: str

    def coding(self) -> dict[str, str]:
        """Return a fresh FHIR Coding."""
        coding = {"system": self.system, "code": self.code}
        if self.display:
            coding["display"] = self.display
        return coding


@dataclass(frozen=True, slots=True)
class Table:
    """An HL7 table. ``number`` is ``"0001"``, ``system`` the URI of its codes, ``targets`` v2 code -> FHIR.

    ``without`` are the codes that on purpose have no FHIR code.
    """

    name: str
    number: str
    system: str
    targets: Mapping[str, Target]
    without: frozenset[str] = frozenset()


@cache
def load(name: str) -> Table:
    """Read a table; each file is read once per process.

    Raises ``FileNotFoundError`` when there is none of that name and ``ValueError`` when its columns are wrong.
    """
    number = name[3:7]
    text = files(__name__).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ValueError(f"{name}.csv: the columns are not {', '.join(COLUMNS)}")
    rows = list(reader)
    targets = {row["v2_code"]: Target(row["code"], row["display"], row["system"]) for row in rows if row["code"]}
    without = frozenset(row["v2_code"] for row in rows if not row["code"])
    return Table(name, number, f"{V2_TABLE}{number}", targets, without)


@cache
def user_table(name: str) -> Table:
    """Read a table of a field that HL7 gives no table, ``csr16_reason_ended``: its number is the field, ``CSR-16``.

    Raises as ``load``.
    """
    segment, number = name[:3].upper(), name[3:].partition("_")[0]
    found = load(name)
    return Table(name, f"{segment}-{number}", "", found.targets, found.without)


@cache
def systems() -> Mapping[str, str]:
    """Return the URIs of published coding systems by their name of table 0396, in capitals."""
    text = files(__name__).joinpath("hl70396_coding_system.csv").read_text(encoding="utf-8")
    return {row["v2_code"].upper(): row["code"] for row in csv.DictReader(text.splitlines()) if row["code"]}


@cache
def hl7_codes() -> Mapping[str, frozenset[str]]:
    """Return the codes FHIR R4 publishes for each HL7 table, by the system's URI (``hl7_codes.csv``: table, code).

    What a sender uses beyond them is its own: HL7's user-defined tables invite it.
    """
    text = files(__name__).joinpath("hl7_codes.csv").read_text(encoding="utf-8")
    found: dict[str, set[str]] = {}
    for row in csv.DictReader(text.splitlines()):
        found.setdefault(f"{V2_TABLE}{row['table']}", set()).add(row["code"])
    return {system: frozenset(codes) for system, codes in found.items()}
