"""Check a resource element by element, each once: what ``checks.check`` says of the whole, in two steps.

An element that was found valid is valid in every resource of its type, so that a verdict can be kept for its very
words. What concerns several elements together (what is required, what excludes what, the invariants of the type) is
left to ``check_together``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from gateway.errors import InvalidResource
from gateway.fhir.compiled import resource_shape
from gateway.fhir.invariants_more import Invariant
from gateway.fhir.rules import Broken, Scope


def check_element(kind: str, name: str, value: Any, *, in_transaction: bool = False) -> bool:
    """Check one element of a resource type; raise ``InvalidResource`` at the first rule it breaks.

    True: the verdict holds whatever stands beside it. False: it does not (references into the resource itself, nulls,
    extensions of a primitive, contained resources), and only ``checks.check`` can tell of the whole.
    ``in_transaction`` is as there.

    >>> check_element("Observation", "status", "final")
    True
    """
    if name.startswith("_") or name == "contained":
        return False
    scope = Scope(in_transaction)
    try:
        rule = resource_shape(kind).element(name)
        rule(value, scope)
    except Broken as broken:
        broken.steps.append(name)
        raise InvalidResource(broken.path(kind), broken.what) from None
    except RecursionError:
        raise InvalidResource(kind, "is nested too deep") from None
    return not (scope.local or scope.nulls)


def check_together(resource: dict[str, Any]) -> None:
    """Check what concerns several elements of a resource whose elements are each valid by themselves.

    Raises ``InvalidResource`` as ``checks.check`` does.
    """
    kind = resource["resourceType"]
    try:
        for test in resource_shape(kind).after:
            test(resource)
    except Broken as broken:
        raise InvalidResource(broken.path(kind), broken.what) from None


@lru_cache(maxsize=1024)
def stand_together(kind: str, names: frozenset[str]) -> bool:
    """Whether elements of these names make a valid resource whatever their values are, each valid by itself.

    False: only ``check_together`` can tell, since a rule is broken or looks at a value.

    >>> stand_together("Observation", frozenset({"status", "code", "valueQuantity"}))
    True
    >>> stand_together("Observation", frozenset({"status", "code", "valueQuantity", "component"}))
    False
    """
    return pass_by_names(resource_shape(kind).after, names)


def pass_by_names(tests: Iterable[Invariant], names: frozenset[str]) -> bool:
    """Whether an object with elements of these names passes the tests whatever their values are."""
    named: Any = _Names(names)
    try:
        for test in tests:
            test(named)
    except (Broken, _Looked):
        return False
    return True


@lru_cache(maxsize=4096)
def refers(kind: str, name: str, target: str, *, listed: bool) -> bool:
    """Whether a plain Reference (``Type/id``, nothing beside it) to a ``target`` is valid there, ``listed`` in a list.

    >>> refers("Observation", "subject", "Patient", listed=False)
    True
    >>> refers("Observation", "subject", "Bundle", listed=False)
    False
    """
    plain = {"reference": f"{target}/1"}
    try:
        return check_element(kind, name, [plain] if listed else plain)
    except InvalidResource:
        return False


class _Looked(Exception):
    """A rule looked at a value."""


class _Names(Mapping[str, Any]):
    """A resource of which nothing but the names of its elements is known."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> Any:
        if name in self._names:
            raise _Looked
        raise KeyError(name)
