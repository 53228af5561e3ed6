"""Everything that is wrong with a resource, not the first fault alone: for ``$validate``, where a person reads it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final, Literal

from pydantic import ValidationError

from gateway.errors import InvalidResource
from gateway.fhir.checks import check
from gateway.fhir.codes import resource_types
from gateway.fhir.compiled import model
from gateway.fhir.outcome import Issue
from gateway.fhir.piecewise import check_element, check_together
from gateway.fhir.rules import Broken

_WORDS: Final = {
    "missing": "is required",
    "extra_forbidden": "is no element of its type",
    "string_type": "is no string",
    "bool_type": "is no boolean",
    "int_type": "is no whole number",
    "list_type": "is no list",
    "string_pattern_mismatch": "has a form that its type does not have",
    "string_too_short": "is empty",
}
"""What pydantic finds, in words of FHIR."""


def faults(resource: dict[str, Any], release: Literal["R4", "R5"] = "R4") -> list[Issue]:
    """Return what is wrong with a resource, each fault with its element path, each path once.

    R4: shape, required codes, reference targets and invariants, element by element, and what fhir.resources finds.
    R5: what fhir.resources finds.
    """
    found: dict[str, Issue] = {}
    errors = _of_r4(resource) if release == "R4" else _of_models(_model_r5(resource), resource)
    for error in errors:
        found.setdefault(error.path, Issue.of(error))
    return list(found.values())


def _of_r4(resource: dict[str, Any]) -> Iterator[InvalidResource]:
    kind = resource.get("resourceType")
    if not isinstance(kind, str) or kind not in resource_types():
        yield InvalidResource("resourceType", "is no resource type of FHIR R4")
        return
    broken = False
    for name, value in resource.items():
        for error in _of_element(kind, name, value):
            broken = True
            yield error
    try:
        if broken:
            check_together(resource)
        else:
            check(resource)
    except InvalidResource as error:
        yield error
    except (TypeError, AttributeError, KeyError, ValueError, IndexError, RecursionError):
        pass  # an element of another shape than these tests expect: it is among the faults already
    try:
        known = model(kind)
    except Broken:
        return
    yield from _of_models(known, resource)


def _of_element(kind: str, name: str, value: Any) -> Iterator[InvalidResource]:
    """Yield the fault of an element, of a list's items each its own."""
    if name == "resourceType":
        return
    try:
        check_element(kind, name, value)
    except InvalidResource as error:
        if not isinstance(value, list) or len(value) < 2:
            yield error
            return
        items = list(_of_items(kind, name, value))
        yield from items or [error]


def _of_items(kind: str, name: str, values: list[Any]) -> Iterator[InvalidResource]:
    for index, item in enumerate(values):
        try:
            check_element(kind, name, [item])
        except InvalidResource as error:
            path = error.path.replace(f"{kind}.{name}[0]", f"{kind}.{name}[{index}]", 1)
            yield InvalidResource(path, error.what)


def _model_r5(resource: dict[str, Any]) -> Any:
    kind = resource.get("resourceType")
    if not isinstance(kind, str) or not kind.isalpha() or not kind.isascii():
        return None
    try:
        return getattr(import_module(f"fhir.resources.{kind.lower()}"), kind)
    except (ModuleNotFoundError, AttributeError):
        return None


def _of_models(known: Any, resource: dict[str, Any]) -> Iterator[InvalidResource]:
    """Yield every fault that fhir.resources finds."""
    kind = str(resource.get("resourceType"))
    if known is None:
        yield InvalidResource("resourceType", "is no resource type")
        return
    try:
        known.model_validate(resource)
    except ValidationError as error:
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            path = kind + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in one["loc"])
            yield InvalidResource(path, _WORDS.get(one["type"], "has no value of its type"))
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
        yield InvalidResource(kind, "is not of the structure of its type")
