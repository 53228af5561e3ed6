"""The small moves an R4 resource makes to become R5, each with its way back: renaming, wrapping, joining.

A ``Change`` makes another value; a ``Step`` edits a copy in place. Where a way back cannot tell what was there, the R5
view carries it in HL7's cross-version extension (``gateway.fhir.across``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Object = dict[str, Any]
Edit = Callable[[Object], None]

SAID: Final = "value"
"""The part of an extension that holds an extended primitive's value: fhir.resources knows no ``_valueString``."""

R4_ONLY: Final = "http://hl7.org/fhir/4.0/StructureDefinition/extension-"
"""Start of the URL of an extension that carries an R4 element in R5; the element's path follows."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a value becomes in R5, and what it was. ``primitive``: both are, so what extends one extends the other."""

    there: Callable[[Any], Any]
    back: Callable[[Any], Any]
    primitive: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """An edit that makes R5 of R4, and one that makes R4 of it again."""

    there: Edit
    back: Edit


SAME: Final = Change(lambda value: value, lambda value: value, primitive=True)
CONCEPT: Final = Change(lambda value: {"concept": value}, lambda value: value["concept"])
"""A CodeableReference of a CodeableConcept."""
POINTER: Final = Change(lambda value: {"reference": value}, lambda value: value["reference"])
"""A CodeableReference of a Reference."""


def _one(values: list[Any]) -> Any:
    (value,) = values
    return value


LISTED: Final = Change(lambda value: [value], _one)
"""A list of one."""


def each(change: Change) -> Change:
    """Return a change of every item of a list; an item that becomes None is left out."""
    return Change(
        lambda values: [new for value in values if (new := change.there(value)) is not None],
        lambda values: [change.back(value) for value in values],
    )


def coded(system: str) -> Change:
    """Return a change of a code into a CodeableConcept."""
    return Change(lambda code: {"coding": [{"system": system, "code": code}]}, lambda value: value["coding"][0]["code"])


def edited(*steps: Step) -> Change:
    """Return a change of an object by steps on a copy of it."""
    return Change(lambda value: walk(value, steps), lambda value: walk_back(value, steps))


def walk(value: Object, steps: tuple[Step, ...]) -> Object:
    """Return a copy of an object to which the steps were done."""
    copy = dict(value)
    for step in steps:
        step.there(copy)
    return copy


def walk_back(value: Object, steps: tuple[Step, ...]) -> Object:
    """Return a copy of an object to which the ways back were done, the last first."""
    copy = dict(value)
    for step in reversed(steps):
        step.back(copy)
    return copy


def _move(it: Object, old: str, new: str, change: Callable[[Any], Any], extensions: bool) -> None:
    if old in it:
        value = change(it.pop(old))
        if value not in (None, [], {}, ""):
            it[new] = value
    shadow = it.pop("_" + old, None)
    if shadow is not None and extensions:
        it["_" + new] = shadow


def rename(old: str, new: str, change: Change = SAME) -> Step:
    """Return the step that moves ``old`` to ``new``, changed; what comes out empty is left out."""
    return Step(
        lambda it: _move(it, old, new, change.there, change.primitive),
        lambda it: _move(it, new, old, change.back, change.primitive),
    )


def alter(element: str, change: Change) -> Step:
    """Return the step that changes an element where it stands."""

    def altered(it: Object, make: Callable[[Any], Any]) -> None:
        if element in it:
            value = make(it.pop(element))
            if value not in (None, [], {}):
                it[element] = value
        shadow = "_" + element
        if change is LISTED and shadow in it:
            it[shadow] = make(it[shadow])

    return Step(lambda it: altered(it, change.there), lambda it: altered(it, change.back))


def drop(*elements: str) -> Step:
    """Return the step that leaves out what R5 has no place for."""

    def there(it: Object) -> None:
        for element in elements:
            it.pop(element, None)
            it.pop("_" + element, None)

    return Step(there, lambda it: None)


def choose(new: str, concept: str, reference: str) -> Step:
    """Return the step that makes one CodeableReference of a choice between a concept and a Reference."""

    def there(it: Object) -> None:
        for element, change in ((concept, CONCEPT), (reference, POINTER)):
            if element in it:
                it[new] = change.there(it.pop(element))

    def back(it: Object) -> None:
        value = it.pop(new, None)
        if value is not None:
            it[concept if "concept" in value else reference] = value.get("concept") or value["reference"]

    return Step(there, back)


def join(new: str, concepts: str, references: str, *, single: bool = False, wrap: Change = SAME) -> Step:
    """Return the step that gathers concepts and References into one list of CodeableReferences, wrapped.

    ``single``: in R4 there is one of each at most.
    """
    parts = ((concepts, CONCEPT, "concept"), (references, POINTER, "reference"))

    def there(it: Object) -> None:
        gathered: list[Any] = []
        for element, change, _ in parts:
            values = it.pop(element, None)
            if values is not None:
                gathered += [wrap.there(change.there(one)) for one in ([values] if single else values)]
        if gathered:
            it[new] = gathered

    def back(it: Object) -> None:
        found = [wrap.back(one) for one in it.pop(new, ())]
        for element, change, key in parts:
            values = [change.back(one) for one in found if key in one]
            if values:
                it[element] = values[0] if single else values

    return Step(there, back)


def to_code(element: str, table: Mapping[str, str], back: Mapping[str, str]) -> Step:
    """Return the step that gives a code its R5 spelling, and by ``back`` that of R4; other codes stay."""
    return alter(element, Change(lambda code: table.get(code, code), lambda code: back.get(code, code)))


def with_said(url: str, key: str, value: Any, shadow: Object) -> Object:
    """Return the extension that carries a primitive (None: not said) and what extends it."""
    said = [] if value is None else [{"url": SAID, key: value}]
    return {**shadow, "url": url, "extension": [*said, *shadow.get("extension", ())]}


def without_said(extension: Object, key: str) -> tuple[list[Any], Object]:
    """Return the value that ``with_said`` carried, if any, and what extends it."""
    said = [part[key] for part in extension["extension"] if part["url"] == SAID]
    rest = [part for part in extension["extension"] if part["url"] != SAID]
    own = {"id": extension["id"]} if "id" in extension else {}
    return said, own | ({"extension": rest} if rest else {})


def tuck(element: str, path: str, value: str) -> Step:
    """Return the step that carries an element R5 does not have in an extension of what it stood in.

    ``path``: of the element, as R4 has it. ``value``: the name of its type in the extension (``valueCode``).
    """
    url = R4_ONLY + path
    return Step(lambda it: _tuck(it, element, url, value), lambda it: _untuck(it, element, url, value))


def _tuck(it: Object, element: str, url: str, key: str) -> None:
    values, shadow = it.pop(element, None), it.pop("_" + element, None)
    if shadow is not None:
        carried = [with_said(url, key, values, shadow)]
    else:
        listed = values if isinstance(values, list) else [values]
        carried = [{"url": url, key: one} for one in listed if one is not None]
    if carried:
        it["extension"] = [*it.get("extension", ()), *carried]


def _untuck(it: Object, element: str, url: str, key: str) -> None:
    carried = [one for one in it.get("extension", ()) if one["url"] == url]
    if not carried:
        return
    values = [one[key] for one in carried if key in one]
    if key not in carried[0]:
        values, it["_" + element] = without_said(carried[0], key)
    if values:
        it[element] = values if key == "valueContactPoint" else values[0]
    it["extension"] = [one for one in it["extension"] if one["url"] != url]
    if not it["extension"]:
        del it["extension"]


REASON: Final = join("reason", "reasonCode", "reasonReference")
