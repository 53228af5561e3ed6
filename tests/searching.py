"""Asking one query of one resource, as the tests of searching do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.fhir.search.parameters import parameters
from gateway.fhir.search.query import Query, parse
from gateway.fhir.search.references import referred

BASE = "https://gateway.example/fhir/r4"


class Resources:
    """A world of the resources it is given, all of them R4."""

    def __init__(self, *resources: Mapping[str, Any]) -> None:
        self._resources = {f"{each['resourceType']}/{each['id']}": dict(each) for each in resources}

    def resolve(self, reference: str) -> dict[str, Any] | None:
        return self._resources.get(reference)

    def referring(self, type: str, parameter: str, to: str) -> Iterable[dict[str, Any]]:
        definition = parameters("R4", type)[parameter]
        of_type = [each for each in self._resources.values() if each["resourceType"] == type]
        return [each for each in of_type if to in referred(definition, each)]


def query(type: str, *pairs: tuple[str, str], release: str = "R4", lenient: bool = False) -> Query:
    return parse(release, type, pairs, base=BASE, lenient=lenient)


def found(resource: Mapping[str, Any], *pairs: tuple[str, str], release: str = "R4", world: Any = None) -> bool:
    """Whether a resource, of the type it says, is found by the parameters."""
    asked = query(resource["resourceType"], *pairs, release=release)
    return asked.matches(dict(resource), world or Resources())
