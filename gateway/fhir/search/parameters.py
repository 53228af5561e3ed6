"""What can be searched: the search parameters of our types, read from HL7's definitions (see the package)."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, Literal

from gateway.errors import RequestRefused
from gateway.fhir.search.paths import Path, path

Release = Literal["R4", "R5"]

DEFINITIONS: Final = "http://hl7.org/fhir/SearchParameter/"
ANY: Final = "*"
"""As a target: a reference may name any type."""

LINKED: Final = frozenset(
    {
        "Binary", "Condition", "Consent", "DiagnosticReport", "DocumentReference", "Encounter", "Group", "Immunization",
        "MedicationAdministration", "Observation", "Organization", "Patient", "PlanDefinition", "Practitioner",
        "Procedure", "Provenance", "ResearchStudy", "ResearchSubject", "ServiceRequest", "Specimen", "Task",
    }
)  # fmt: skip
"""The types that are stored: these alone are included with others, or have others included with them."""

_LINKING: Final = LINKED | {"AuditEvent"}

_ALL: Final = "Resource"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a composite: its kind and where it stands in what the composite is found in."""

    type: str
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A search parameter of one type. ``type``: of http://hl7.org/fhir/search-param-type; ``url``: its definition.

    ``paths``: where it looks, of a composite the element its ``parts`` stand in. ``targets``: types a reference may
    name. ``systems``: the code systems of ``code`` elements, which write none.
    """

    name: str
    type: str
    url: str
    paths: tuple[Path, ...]
    targets: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()

    def may_name(self, type: str) -> bool:
        """Whether a reference of this parameter may name a resource of a type."""
        return type in self.targets or ANY in self.targets


def parameters(release: Release, type: str) -> Mapping[str, Parameter]:
    """Return the parameters of a type by name, those of every type (``_id`` …) among them.

    Raises ``RequestRefused`` (404) for a type that is not served.

    >>> parameters("R4", "ResearchStudy")["principalinvestigator"].targets
    ('Practitioner', 'PractitionerRole')
    """
    found = _tables(release).get(type)
    if found is None or type == _ALL:
        raise RequestRefused(404, "not-supported", "resources of this type are not served")
    return found


def types(release: Release) -> tuple[str, ...]:
    """Return the types that have search parameters, in alphabetical order."""
    return tuple(sorted(_tables(release).keys() - {_ALL}))


@cache
def includes(release: Release, type: str) -> tuple[str, ...]:
    """Return what ``_include`` may name for a type: its references to what is stored, ``Observation:subject`` ….

    >>> includes("R4", "ResearchSubject")
    ('ResearchSubject:individual', 'ResearchSubject:patient', 'ResearchSubject:study')
    """
    found = parameters(release, type).values() if type in _LINKING else ()
    return tuple(f"{type}:{each.name}" for each in found if _leads(each))


def _leads(parameter: Parameter) -> bool:
    """Whether a parameter may lead to a resource that is stored; a canonical URL does not."""
    refers = any(path.datatype == "Reference" for path in parameter.paths)
    return parameter.type == "reference" and refers and any(map(parameter.may_name, LINKED))


@cache
def revincludes(release: Release, type: str) -> tuple[str, ...]:
    """Return what ``_revinclude`` may name for a type: references of what is stored that may name it.

    >>> "Provenance:target" in revincludes("R4", "ResearchSubject")
    True
    """
    return tuple(
        name
        for source in sorted(LINKED)
        for name in includes(release, source)
        if type in LINKED and parameters(release, source)[name.partition(":")[2]].may_name(type)
    )


@cache
def _tables(release: Release) -> Mapping[str, Mapping[str, Parameter]]:
    found: dict[str, dict[str, Parameter]] = {}
    text = files("gateway.fhir.search").joinpath(f"{release.lower()}_parameters.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        found.setdefault(row["type"], {})[row["name"]] = _parameter(row)
    return {type: dict(sorted((found[_ALL] | own).items())) for type, own in found.items()} | _bare(found)


def _bare(found: dict[str, dict[str, Parameter]]) -> dict[str, dict[str, Parameter]]:
    """Binary has no parameter of its own."""
    return {"Binary": found[_ALL]}


def _parameter(row: dict[str, str]) -> Parameter:
    composite = row["kind"] == "composite"
    return Parameter(
        name=row["name"],
        type=row["kind"],
        url=DEFINITIONS + row["definition"],
        paths=tuple(path(f"{term}:" if composite else term) for term in row["values"].split()),
        targets=tuple(row["targets"].split()),
        systems=tuple(row["systems"].split()),
        parts=tuple(_part(part) for part in row["parts"].split(" + ")) if composite else (),
    )


def _part(text: str) -> Part:
    kind, *terms = text.split()
    return Part(kind, tuple(path(term) for term in terms))
