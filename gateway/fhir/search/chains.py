"""Chains and ``_has`` (FHIR R4 3.1.1.4.15 "Chained Parameters", 3.1.1.4.16 "Reverse Chaining"), one level of each."""

from __future__ import annotations

from typing import Any

from gateway.fhir.search import filters
from gateway.fhir.search.filters import Filter, Holds, World
from gateway.fhir.search.grammar import Unfit, split
from gateway.fhir.search.parameters import Parameter, Release, parameters, types
from gateway.fhir.search.references import PATIENT, referred
from gateway.fhir.search.tokens import read


def condition(release: Release, type: str, name: str, text: str, *, base: str) -> Filter | None:
    """Compile one parameter of a search as it is named in the request; None: there is no such parameter.

    Raises ``Unfit``.
    """
    if name.startswith("_has:"):
        return _has(release, type, name, text, base)
    if "." in name:
        return _chain(release, type, name, text, base)
    parameter, modifier = _named(release, type, name)
    if parameter is None:
        return None
    made = filters.compiled(parameter, modifier, text, base=base)
    if name == "_id" and type == PATIENT:
        return Filter(made.holds, made.must, frozenset(read(each).code for each in split(text, ",")))
    return made


def _named(release: Release, type: str, name: str) -> tuple[Parameter | None, str]:
    """Return the parameter and the modifier that a name such as ``subject:Patient`` asks for."""
    head, sign, modifier = name.partition(":")
    if sign and not modifier:
        raise Unfit("has a modifier that it does not take", "not-supported")
    return parameters(release, type).get(head), modifier


def _inner(release: Release, type: str, name: str, text: str, base: str) -> Filter | None:
    if "." in name or name.startswith("_has"):
        raise Unfit("goes over more than one reference", "not-supported")
    return condition(release, type, name, text, base=base)


# --- chains ---------------------------------------------------------------------------------------------------------


def _chain(release: Release, type: str, name: str, text: str, base: str) -> Filter | None:
    head, _, rest = name.partition(".")
    parameter, target = _named(release, type, head)
    if parameter is None:
        return None
    if parameter.type != "reference":
        raise Unfit("is no reference, so that nothing can be chained to it")
    found = {each: _inner(release, each, rest, text, base) for each in _targets(release, parameter, target)}
    known = {each: condition for each, condition in found.items() if condition is not None}
    return Filter(_followed(parameter, known, base), beyond=frozenset(known)) if known else None


def _targets(release: Release, parameter: Parameter, target: str) -> tuple[str, ...]:
    """Return the types a chain goes to: the one it names, or all that are served."""
    if not target:
        return tuple(each for each in types(release) if parameter.may_name(each))
    if not parameter.may_name(target):
        raise Unfit("never names a resource of that type")
    return (target,) if target in types(release) else ()


def _followed(parameter: Parameter, conditions: dict[str, Filter], base: str) -> Holds:
    def holds(resource: dict[str, Any], world: World) -> bool:
        for reference in referred(parameter, resource, base=base):
            condition = conditions.get(reference.partition("/")[0])
            if condition is None:
                continue
            found = world.resolve(reference)
            if found is not None and condition.holds(found, world):
                return True
        return False

    return holds


# --- _has -----------------------------------------------------------------------------------------------------------


def _has(release: Release, type: str, name: str, text: str, base: str) -> Filter | None:
    """Compile ``_has:Observation:patient:code``: a resource of the type refers here and fulfils the rest."""
    parts = name.split(":", 3)
    if len(parts) != 4 or not all(parts):
        raise Unfit("must be _has:Type:reference:parameter")
    _, source, through, rest = parts
    if source not in types(release):
        return None
    parameter = parameters(release, source).get(through)
    if parameter is None or parameter.type != "reference" or not parameter.may_name(type):
        raise Unfit("names no reference to the type that is searched")
    inner = _inner(release, source, rest, text, base)
    return Filter(_referred_to(source, through, type, inner), beyond=frozenset({source})) if inner else None


def _referred_to(source: str, through: str, type: str, inner: Filter) -> Holds:
    def holds(resource: dict[str, Any], world: World) -> bool:
        found = world.referring(source, through, f"{type}/{resource.get('id', '')}")
        return any(inner.holds(each, world) for each in found)

    return holds
