"""The code sets R4 4.0.1 requires, from two tables: element -> set, set -> system and codes.

``required_bindings.csv`` names every element whose binding strength is ``required`` (FHIR R4, 4.1.5) and whose value
set lists its codes; ``code_sets.csv`` holds those. Media types and currencies are checked by form: their lists live
outside FHIR.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import Final

CodeSet = frozenset[tuple[str, str]]
"""Pairs of system and code."""

MIME_TYPED: Final = frozenset(
    {
        "Attachment.contentType",
        "Binary.contentType",
        "CapabilityStatement.format",
        "CapabilityStatement.patchFormat",
        "ElementDefinitionMapping.language",
        "Endpoint.payloadMimeType",
        "Signature.targetFormat",
        "Signature.sigFormat",
        "SubscriptionChannel.payload",
        "TestScriptSetupActionOperation.accept",
        "TestScriptSetupActionOperation.contentType",
        "TestScriptSetupActionAssert.contentType",
    }
)


def model_name(path: str) -> str:
    """Return the element as our checks name it: the path's types run together.

    >>> model_name("Observation.referenceRange.type")
    'ObservationReferenceRange.type'
    """
    *types, element = path.split(".")
    return "".join(name[:1].upper() + name[1:] for name in types) + "." + element


def _rows(table: str) -> list[list[str]]:
    text = files("gateway.fhir").joinpath(table).read_text(encoding="utf-8")
    return list(csv.reader(text.splitlines()))[1:]


@cache
def _sets() -> dict[str, CodeSet]:
    sets: dict[str, set[tuple[str, str]]] = {}
    for name, system, codes in _rows("code_sets.csv"):
        sets.setdefault(name, set()).update((system, code) for code in codes.split())
    return {name: frozenset(pairs) for name, pairs in sets.items()}


@cache
def _bindings() -> dict[str, str]:
    return {model_name(path): name for path, name in _rows("required_bindings.csv")}


def required(element: str) -> CodeSet | None:
    """Return the set an element is bound to, None when its codes are free. ``element`` as ``model_name`` gives it.

    >>> sorted(code for _, code in required("Bundle.type"))[:3]
    ['batch', 'batch-response', 'collection']
    """
    name = _bindings().get(element)
    return _sets()[name] if name else None


@cache
def codes_of(name: str) -> frozenset[str]:
    """Return the codes of a named set, without their systems. Raises ``KeyError`` for a set no element is bound to."""
    return frozenset(code for _, code in _sets()[name])


@cache
def resource_types() -> frozenset[str]:
    """Return the names of the resource types of R4 4.0.1."""
    return codes_of("resource-types") - {"Resource", "DomainResource"}
