"""One parameter of a query, compiled: from ``code`` and ``http://loinc.org|718-7,4548-4`` to a test of a resource."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.fhir.search import dates, quantities, references, strings, tokens
from gateway.fhir.search.grammar import Test, Unfit, split
from gateway.fhir.search.parameters import Parameter, Part
from gateway.fhir.search.paths import Getter, Path


class World(Protocol):
    """What lies beyond the resource in hand, for chains and ``_has``: released resources, in the release asked for."""

    def resolve(self, reference: str) -> dict[str, Any] | None:
        """Return the resource a reference of a released resource names (``Patient/<id>``), None: not to be seen."""

    def referring(self, type: str, parameter: str, to: str) -> Iterable[dict[str, Any]]:
        """Return the resources of a type that refer to ``Type/id`` through a reference parameter."""


Holds = Callable[[dict[str, Any], World], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition of a query.

    ``must``: where there are any, one of them stands in the bytes of every resource that fulfils it. ``subjects``: ids
    of the Patients one of which it belongs to, None: not said. ``of_time``: it looks at ``meta.lastUpdated`` alone;
    ``rising``: and what fulfils it, everything later does. ``named``: ids to one of which it refers, None: not said.
    ``beyond``: types of one of which it asks another resource; empty: it looks at the resource alone.
    """

    holds: Holds
    must: tuple[bytes, ...] = ()
    subjects: frozenset[str] | None = None
    of_time: bool = False
    rising: bool = False
    named: frozenset[str] | None = None
    beyond: frozenset[str] = frozenset()


MODIFIERS: Final = {
    "token": frozenset({"missing", "not", "text", "of-type", "ofType"}),
    "string": frozenset({"missing", "exact", "contains"}),
    "uri": frozenset({"missing", "above", "below"}),
    "reference": frozenset({"missing", "identifier"}),
    "date": frozenset({"missing"}),
    "number": frozenset({"missing"}),
    "quantity": frozenset({"missing"}),
    "composite": frozenset[str](),
}
"""The modifiers taken, by type of parameter (FHIR R4 3.1.1.4.4); a reference takes the types it may name as well."""

_CODES: Final = frozenset(
    {
        "code", "combo-code", "component-code", "category", "method", "vaccine-code",
        "value-concept", "component-value-concept", "combo-value-concept",
        "code-value-quantity", "code-value-concept", "code-value-string", "code-value-date",
        "component-code-value-quantity", "component-code-value-concept",
        "combo-code-value-quantity", "combo-code-value-concept",
    }
)  # fmt: skip
"""Parameters whose codes leave as they are stored: no view and no release of FHIR rewrites them."""

MOST: Final = 500
"""Alternatives of one parameter: each of them is asked of each resource."""

_RISING: Final = ("gt", "ge", "sa")
"""Prefixes of a date that everything later fulfils as well."""

_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]{2,64}")


def compiled(parameter: Parameter, modifier: str, text: str, *, base: str) -> Filter:
    """Compile one parameter; commas are alternatives. Raises ``Unfit``."""
    _check_modifier(parameter, modifier)
    if not text:
        raise Unfit("is empty")
    if modifier == "missing":
        return Filter(_missing(parameter, text))
    alternatives = split(text, ",")
    if "" in alternatives:
        raise Unfit("has an empty alternative")
    if len(alternatives) > MOST:
        raise Unfit(f"has more than {MOST} alternatives", "too-costly")
    if parameter.type == "composite":
        return Filter(_composite(parameter, alternatives, base), _must(parameter, alternatives))
    found = _any(_tests(parameter, modifier, alternatives, base))
    if modifier == "not":
        return Filter(lambda resource, world: not found(resource, world))
    must = _must(parameter, alternatives) if not modifier else ()
    subjects = _subjects(parameter, modifier, alternatives, base)
    timed = parameter.name == "_lastUpdated"
    rising = timed and all(each[:2] in _RISING for each in alternatives)
    return Filter(found, must, subjects, timed, rising, _referred(parameter, modifier, alternatives, base))


def _check_modifier(parameter: Parameter, modifier: str) -> None:
    sounding = parameter.name == strings.PHONETIC and modifier != "missing"
    if not modifier or (modifier in MODIFIERS[parameter.type] and not sounding):
        return
    if parameter.type == "reference" and modifier[0].isupper() and parameter.may_name(modifier):
        return
    raise Unfit("has a modifier that it does not take", "not-supported")


def _missing(parameter: Parameter, text: str) -> Holds:
    """Return the test of ``:missing`` (3.1.1.4.4): whether the element has no value."""
    if text not in ("true", "false"):
        raise Unfit("with :missing must be true or false")
    getters, wanted = tuple(path.get for path in parameter.paths), text == "true"
    return lambda resource, _: wanted is not any(get(resource) for get in getters)


# --- alternatives ---------------------------------------------------------------------------------------------------


def _tests(parameter: Parameter, modifier: str, alternatives: Sequence[str], base: str) -> list[tuple[Getter, Test]]:
    """Return what reads a value and what tests it, for each place the parameter looks in and each alternative."""
    if parameter.type == "token":
        datatypes = frozenset(path.datatype for path in parameter.paths)
        for text in alternatives:
            tokens.fits(text, datatypes, modifier)
    found = []
    for path in parameter.paths:
        made = [_test(parameter, modifier, text, path, base) for text in alternatives]
        tests = [test for test in made if test is not None]
        if tests:
            found.append((path.get, tests[0] if len(tests) == 1 else _either(tests)))
    return found


def _either(tests: Sequence[Test]) -> Test:
    def test(value: Any) -> bool:
        for each in tests:  # noqa: SIM110 - any() with a generator costs twice the time here
            if each(value):
                return True
        return False

    return test


def _any(tests: Sequence[tuple[Getter, Test]]) -> Holds:
    if len(tests) == 1:
        get, test = tests[0]

        def one(resource: dict[str, Any], _: World) -> bool:
            for value in get(resource):  # noqa: SIM110 - as above
                if test(value):
                    return True
            return False

        return one
    return lambda resource, _: any(test(value) for get, test in tests for value in get(resource))


def _test(parameter: Parameter, modifier: str, text: str, path: Path, base: str) -> Test | None:
    match parameter.type:
        case "token":
            return tokens.token(text, path.datatype, modifier, parameter.systems)
        case "string":
            return strings.string(text, path.datatype, modifier, name=parameter.name)
        case "uri":
            return strings.uri(text, path.datatype, modifier)
        case "reference":
            return references.reference(text, path.datatype, parameter, modifier, base)
        case measured:
            return _MEASURED[measured](text, path.datatype)


_MEASURED: Final = {"date": dates.day, "number": quantities.number, "quantity": quantities.quantity}


# --- composites -----------------------------------------------------------------------------------------------------


def _composite(parameter: Parameter, alternatives: Sequence[str], base: str) -> Holds:
    """Return the test of a composite (3.1.1.4.13): all parts hold in one and the same element."""
    asked = [_parts(parameter, text, base) for text in alternatives]
    getters = tuple(path.get for path in parameter.paths)

    def holds(resource: dict[str, Any], world: World) -> bool:
        for get in getters:
            for node in get(resource):
                if any(all(part(node, world) for part in parts) for parts in asked):
                    return True
        return False

    return holds


def _parts(parameter: Parameter, text: str, base: str) -> list[Holds]:
    values = split(text, "$")
    if len(values) != len(parameter.parts) or "" in values:
        raise Unfit(f"must have {len(parameter.parts)} parts with $ between them")
    return [
        _any(_tests(_as_parameter(parameter, part), "", [value], base))
        for part, value in zip(parameter.parts, values, strict=True)
    ]


def _as_parameter(parameter: Parameter, part: Part) -> Parameter:
    return Parameter(parameter.name, part.type, parameter.url, part.paths, ("*",))


# --- what narrows a search ------------------------------------------------------------------------------------------


def _must(parameter: Parameter, alternatives: Sequence[str]) -> tuple[bytes, ...]:
    """Return the codes one of which stands in a resource's bytes; none where that cannot be said."""
    if parameter.name not in _CODES:
        return ()
    codes = [tokens.read(split(text, "$")[0]).code for text in alternatives]
    return tuple(code.encode() for code in codes) if all(map(_PLAIN.fullmatch, codes)) else ()


def _subjects(parameter: Parameter, modifier: str, alternatives: Sequence[str], base: str) -> frozenset[str] | None:
    """Return the ids of the Patients a parameter asks for, None where it asks for anything else as well."""
    if parameter.type != "reference" or parameter.name not in references.PERSONAL or modifier == "identifier":
        return None
    named = [references.read(text, parameter, modifier, base) for text in alternatives]
    return frozenset(each.id for each in named) if all(each.type == references.PATIENT for each in named) else None


def _referred(parameter: Parameter, modifier: str, alternatives: Sequence[str], base: str) -> frozenset[str] | None:
    """Return the ids one of which a resource refers to, None where a reference may be written in another way."""
    if parameter.type != "reference" or modifier == "identifier":
        return None
    named = [references.read(text, parameter, modifier, base).id for text in alternatives]
    return frozenset(named) if all(map(_ID.fullmatch, named)) else None
