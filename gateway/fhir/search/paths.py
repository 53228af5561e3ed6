"""Paths into a resource, compiled: from a table's ``collection.bodySite:CodeableConcept`` to a function."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

Getter = Callable[[dict[str, Any]], Sequence[Any]]
"""Returns what stands at a path of a resource: a repeating element's values all, none where there is nothing."""

_STEP: Final = re.compile(r"(?P<name>\w+)(?:\[(?P<only>[^\]]+)\])?")
_WHOLE: Final = "."


@dataclass(frozen=True, slots=True)
class Path:
    """A path in JSON and the FHIR datatype of what stands there. ``get`` is what it is compiled to."""

    text: str
    datatype: str
    get: Getter = field(compare=False, repr=False)


@lru_cache(maxsize=1024)
def path(term: str) -> Path:
    """Compile one term of a table.

    >>> path("name.given:string").get({"name": [{"given": ["Ada", "May"]}, {"text": "A"}]})
    ['Ada', 'May']
    >>> path("telecom[system=email]:ContactPoint").get({"telecom": [{"system": "phone"}, {"system": "email"}]})
    [{'system': 'email'}]
    """
    text, _, datatype = term.rpartition(":")
    return Path(text, datatype, getter(text))


def getter(text: str) -> Getter:
    """Return what reads a path; ``.`` is the resource itself."""
    if text == _WHOLE:
        return lambda node: (node,)
    first, *more = (_step(each) for each in text.split("."))
    return _through(first, more) if more else first


def _through(first: Getter, more: Sequence[Getter]) -> Getter:
    def walk(node: dict[str, Any]) -> Sequence[Any]:
        nodes = first(node)
        for step in more:
            if not nodes:
                return nodes
            nodes = [found for each in nodes for found in step(each)]
        return nodes

    return walk


def _step(text: str) -> Getter:
    found = _STEP.fullmatch(text)
    if found is None:
        raise ValueError(f"no step of a path: {text}")
    plain = _named(found["name"])
    only = found["only"]
    if only is None:
        return plain
    keep = _only(only)
    return lambda node: [each for each in plain(node) if keep(each)]


def _named(name: str) -> Getter:
    def step(node: dict[str, Any]) -> Sequence[Any]:
        value = node.get(name)
        if value is None:
            return ()
        if type(value) is list:
            return [each for each in value if each is not None] if None in value else value
        return (value,)

    return step


def _only(condition: str) -> Callable[[Any], bool]:
    name, sign, wanted = condition.partition("=")
    if sign:
        return lambda node: bool(node.get(name) == wanted)
    return lambda node: type_of(node) == name


def type_of(reference: dict[str, Any]) -> str:
    """Return the resource type a Reference names, ``""`` when it names none.

    >>> type_of({"reference": "https://example.org/fhir/Patient/1/_history/2"}), type_of({"type": "Group"})
    ('Patient', 'Group')
    """
    literal = reference.get("reference")
    if not isinstance(literal, str):
        return str(reference.get("type", ""))
    if literal.startswith(("#", "urn:")):
        return str(reference.get("type", ""))
    parts = literal.split("/")
    if len(parts) >= 4 and parts[-2] == "_history":
        parts = parts[:-2]
    return parts[-2] if len(parts) >= 2 else ""
