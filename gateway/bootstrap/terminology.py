"""Our own terminology, made from the mappings' tables and the sites' code maps."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from gateway import __version__
from gateway.bootstrap.parts import utc_now
from gateway.model.names import LOINC, OBSERVATION_CODES

if TYPE_CHECKING:
    from gateway.services.terminology import Code, Terminology
    from gateway.settings import Settings

_NOT_MAPS: Final = frozenset({"hl70396_coding_system"})
"""Tables of codes that stand for URIs, not for codes."""


def terminology_of(settings: Settings) -> Terminology:
    """Return the ConceptMaps, CodeSystems and ValueSets that are served."""
    from gateway.services.terminology import Terminology, code_system, concept_map, value_set

    pairs = sorted(set(_observed(settings)))
    own = sorted({one.code: one for pair in pairs for one in pair if one.system == OBSERVATION_CODES}.values())
    every = sorted({(one.system, one.code): one for pair in pairs for one in pair}.values())
    resources = [concept_map(*_table(name), "relatedto") for name in _tables()]
    loinc = [(one, other) for one, other in pairs if one != other]
    if loinc:
        title = "Observation codes of the unit to LOINC"
        resources.append(concept_map("observation-to-loinc", title, loinc, "relatedto"))
    if own:
        resources.append(code_system("observation", "Observation codes of the unit", OBSERVATION_CODES, own))
        resources.append(value_set("observation", "Observation codes of the unit", own))
    if every:
        resources.append(value_set("observed", "Codes under which the unit's sites send observations", every))
    return Terminology(resources, __version__, utc_now())


def _tables() -> list[str]:
    """Return the names of the tables that map codes to codes."""
    from mappings.tables import COLUMNS

    tables = [file for file in files("mappings.tables").iterdir() if file.name.endswith(".csv")]
    maps = [file for file in tables if file.read_text("utf-8").splitlines()[0] == ",".join(COLUMNS)]
    return sorted({file.name.removesuffix(".csv") for file in maps} - _NOT_MAPS)


def _table(name: str) -> tuple[str, str, list[tuple[Code, Code | None]]]:
    """Return a table's id, title and rows."""
    from gateway.services.terminology import Code
    from mappings.tables import load, user_table

    table = load(name) if name.startswith("hl7") else user_table(name)
    rows: list[tuple[Code, Code | None]] = [
        (Code(table.system, code), Code(target.system, target.code, target.display))
        for code, target in table.targets.items()
    ]
    rows += [(Code(table.system, code), None) for code in sorted(table.without)]
    what = name.partition("_")[2].replace("_", " ")
    return name.replace("_", "-"), f"HL7 v2 {table.number} to FHIR: {what}", rows


def _observed(settings: Settings) -> Iterator[tuple[Code, Code]]:
    """Yield the unit's own code and the LOINC code of each row of a site's code map; one stands for both alone."""
    from gateway.services.terminology import Code

    for site in settings.sites.values():
        for entry in site.codes:
            codes = [Code(*coding) for coding in entry.codings]
            own = [one for one in codes if one.system == OBSERVATION_CODES]
            loinc = [one for one in codes if one.system == LOINC]
            for one in own or loinc:
                named = one if one.display or not loinc else one._replace(display=loinc[0].display)
                yield from ((named, other) for other in (loinc if own and loinc else [named]))
