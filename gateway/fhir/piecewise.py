"""Check a resource element by element, each once: what ``checks.check`` says of the whole, in two steps.

An element that was found valid is valid in every resource of its type, so that a verdict can be kept for its very
words. What concerns several elements together (what is required, what excludes what, the invariants of the type) is
left to ``check_together``.
"""

from __future__ import annotations

from typing import Any

from gateway.errors import InvalidResource
from gateway.fhir.compiled import resource_shape
from gateway.fhir.rules import Broken, Scope


def check_element(kind: str, name: str, value: Any) -> bool:
    """Check one element of a resource type; raise ``InvalidResource`` at the first rule it breaks.

    True: the verdict holds whatever stands beside it. False: it does not (references into the resource itself, nulls,
    extensions of a primitive, contained resources), and only ``checks.check`` can tell of the whole.

    >>> check_element("Observation", "status", "final")
    True
    """
    if name.startswith("_") or name == "contained":
        return False
    scope = Scope()
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
