"""Literal references: their form and the types they may point to (FHIR R4, 2.3.0.1)."""

from __future__ import annotations

import re
from typing import Any, Final

from gateway.fhir.codes import resource_types
from gateway.fhir.rules import Broken, Scope

_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}").fullmatch
_LITERAL: Final = re.compile(
    r"(?:https?://\S+/)?(?P<kind>[A-Z][A-Za-z]+)/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?"
).fullmatch
_POINTERS: Final = re.compile(r"(?:[A-Za-z]+/[A-Za-z0-9\-.]{1,64}(?:\n|\Z))+").fullmatch
_URN: Final = re.compile(
    r"urn:(?:uuid:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|oid:[0-2](?:\.(?:0|[1-9][0-9]*))+)"
).fullmatch
_SEARCH: Final = re.compile(r"(?P<kind>[A-Z][A-Za-z]+)\?\S+=\S*").fullmatch


def is_pointer(literal: Any, targets: frozenset[str]) -> bool:
    """Say whether this is the plainest reference there is, and right: ``Type/id`` with a type of ``targets``."""
    if not isinstance(literal, str):
        return False
    kind, _, id_ = literal.partition("/")
    return kind in targets and _ID(id_) is not None


def are_pointers(values: Any, targets: frozenset[str]) -> bool:
    """Say whether this is a list of References with nothing but a literal, each as ``is_pointer`` wants it."""
    if not isinstance(values, list):
        return False
    try:
        literals = [value["reference"] for value in values if len(value) == 1]
        lines = "\n".join(literals)
    except (TypeError, LookupError):
        return False
    if len(literals) < len(values) or lines.count("\n") + 1 != len(literals) or not _POINTERS(lines):
        return False
    return {literal.partition("/")[0] for literal in literals} <= targets


def check_pointer(reference: dict[str, Any], targets: frozenset[str], scope: Scope) -> None:
    """Raise ``Broken`` when ``reference.reference`` is malformed or of a type not in ``targets``.

    A search (``Patient?identifier=…``) is a reference only in a transaction. ``#id`` is noted in ``scope``: what it
    points to is known when the whole resource has been seen.
    """
    literal = reference.get("reference")
    if literal is None:
        return
    kind = literal.partition("/")[0] if is_pointer(literal, targets) else _kind(literal, scope, targets)
    if kind and kind in resource_types() and kind not in targets:
        raise Broken(f"must not refer to {kind}")
    if kind and reference.get("type", kind) != kind:
        raise Broken("is not of the reference's type", "type")


def _kind(literal: str, scope: Scope, targets: frozenset[str]) -> str:
    """Return the type a reference names, ``""`` when it names none. Raises ``Broken`` when it is no reference."""
    if literal.startswith("#"):
        scope.local.append((literal, targets))
        return ""
    if literal.startswith("urn:"):
        if not _URN(literal):
            raise Broken("is not urn:uuid: with a UUID or urn:oid: with an OID", "reference")
        return ""
    found = _LITERAL(literal) or (_SEARCH(literal) if scope.conditional else None)
    if found is None:
        if literal.startswith(("http://", "https://")) and " " not in literal:
            return ""
        raise Broken("is not a reference: Type/id, a URL, urn:uuid:, urn:oid: or #id", "reference")
    if found["kind"] not in resource_types() and not literal.startswith("http"):
        raise Broken("names no resource type of FHIR R4", "reference")
    return str(found["kind"])
