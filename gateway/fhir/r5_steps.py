"""The small moves an R4 resource makes to become R5: renaming, wrapping, joining. Each edits a copy in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Object = dict[str, Any]
Step = Callable[[Object], None]
Change = Callable[[Any], Any]


def same(value: Any) -> Any:
    """Return ``value``."""
    return value


def concept(value: Any) -> Object:
    """Return a CodeableReference of a CodeableConcept."""
    return {"concept": value}


def pointer(value: Any) -> Object:
    """Return a CodeableReference of a Reference."""
    return {"reference": value}


def listed(value: Any) -> list[Any]:
    """Return a list of one."""
    return [value]


def each(change: Change) -> Change:
    """Return a change of every item of a list; an item that becomes None is left out."""
    return lambda values: [new for value in values if (new := change(value)) is not None]


def coded(system: str) -> Change:
    """Return a change of a code into a CodeableConcept."""
    return lambda code: {"coding": [{"system": system, "code": code}]}


def edited(*steps: Step) -> Callable[[Object], Object]:
    """Return a change of an object by steps on a copy of it."""

    def change(value: Object) -> Object:
        copy = dict(value)
        for step in steps:
            step(copy)
        return copy

    return change


def rename(old: str, new: str, change: Change = same) -> Step:
    """Return the step that moves ``old`` to ``new``, changed; what comes out empty is left out."""

    def step(it: Object) -> None:
        if old in it:
            value = change(it.pop(old))
            if value not in (None, [], {}, ""):
                it[new] = value
        if change is same and "_" + old in it:
            it["_" + new] = it.pop("_" + old)

    return step


def alter(element: str, change: Change) -> Step:
    """Return the step that changes an element where it stands."""

    def step(it: Object) -> None:
        if element in it:
            it[element] = change(it[element])

    return step


def drop(*elements: str) -> Step:
    """Return the step that leaves out what R5 has no place for."""

    def step(it: Object) -> None:
        for element in elements:
            it.pop(element, None)
            it.pop("_" + element, None)

    return step


def join(new: str, *parts: tuple[str, Change]) -> Step:
    """Return the step that gathers elements into one list, each of their values changed."""

    def step(it: Object) -> None:
        gathered: list[Any] = []
        for element, change in parts:
            values = it.pop(element, None)
            if values is not None:
                gathered += [change(value) for value in (values if isinstance(values, list) else [values])]
        if gathered:
            it[new] = [*it.get(new, ()), *gathered]

    return step


def to_code(element: str, table: dict[str, str]) -> Step:
    """Return the step that gives a code its R5 spelling; codes not in ``table`` stay."""
    return alter(element, lambda code: table.get(code, code))


REASON: Step = join("reason", ("reasonCode", concept), ("reasonReference", pointer))
