"""Tell whether a dict is a valid R4 4.0.1 resource (ARCHITECTURE, decision 12).

``check`` guards the hot path: rules compiled once per type. It covers what fhir.resources' models say (elements,
cardinality, types, choices), primitive types to the letter, required code sets, reference targets and the invariants
of ``invariants``. It does not look into LOINC, SNOMED or UCUM, and follows no reference out of the resource.
``validate`` is for what comes from outside.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from gateway.errors import InvalidResource
from gateway.fhir.compiled import check_resource, model
from gateway.fhir.rules import Broken, Scope


def check(resource: dict[str, Any], *, in_transaction: bool = False) -> None:
    """Raise ``InvalidResource`` at the first rule ``resource`` breaks; its path reads ``Observation.code.coding[0]``.

    ``in_transaction`` lets references be searches (``Patient?identifier=…``), which only a transaction may hold; the
    entries of a transaction Bundle are checked so without being told. The resource is not changed.

    >>> check({"resourceType": "Observation", "status": "final"})
    Traceback (most recent call last):
    gateway.errors.InvalidResource: Observation.code: is required
    """
    kind = resource.get("resourceType") if isinstance(resource, dict) else None
    start = kind if isinstance(kind, str) and kind.isalpha() else ""
    try:
        check_resource(resource, Scope(in_transaction))
    except Broken as broken:
        raise InvalidResource(broken.path(start), broken.what) from None
    except RecursionError:
        raise InvalidResource(start, "is nested too deep") from None


def validate(resource: dict[str, Any]) -> None:
    """Raise ``InvalidResource`` when ``check`` or fhir.resources itself finds a fault."""
    check(resource)
    kind = resource["resourceType"]
    try:
        model(kind).model_validate(resource)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise InvalidResource(_path(kind, first["loc"]), f"fhir.resources: {first['type']}") from None
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidResource(kind, f"fhir.resources: {type(error).__name__}") from None


def _path(kind: str, steps: tuple[int | str, ...]) -> str:
    return kind + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
