"""Find and rewrite the literal references of a resource, wherever they stand (FHIR R4, 2.3 References).

A Reference is an object whose ``reference`` is a string: in an element, in a contained resource, in an extension's
``valueReference``. Canonical URLs, ``Attachment.url`` and the like are not references.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

Mapping = Callable[[str], str | None]

_GONE: Final = object()


def references(resource: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (path of the Reference, its ``reference``) in document order; ``#contained`` ones too.

    >>> list(references({"resourceType": "Observation", "performer": [{"reference": "Organization/1"}]}))
    [('Observation.performer[0]', 'Organization/1')]
    """
    yield from _references(resource, str(resource.get("resourceType", "")))


def _references(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        literal = value.get("reference")
        if isinstance(literal, str):
            yield path, literal
        for key, child in value.items():
            if isinstance(child, dict | list):
                yield from _references(child, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _references(child, f"{path}[{index}]")


def rewrite(resource: dict[str, Any], mapping: Mapping) -> dict[str, Any]:
    """Return a deep copy in which each ``reference`` is what ``mapping`` made of it.

    ``mapping`` sees every reference as it stands (``#contained`` too) and returns the new one. None removes the whole
    Reference, ``display`` and ``identifier`` included; what it leaves empty goes with it: a list, an object, an
    extension that has only its ``url`` left. A required Reference can be removed so: check the result.

    >>> rewrite({"subject": {"reference": "Patient/1"}, "focus": [{"reference": "Group/2"}]},
    ...         {"Patient/1": "Patient/9"}.get)
    {'subject': {'reference': 'Patient/9'}}
    """
    copy = _rewrite(resource, mapping)
    return copy if isinstance(copy, dict) else {}


def _rewrite(value: Any, mapping: Mapping) -> Any:
    if isinstance(value, dict):
        return _rewrite_object(value, mapping)
    if isinstance(value, list):
        kept = [new for child in value if (new := _rewrite(child, mapping)) is not _GONE]
        return kept if kept or not value else _GONE
    return value


def _rewrite_object(value: dict[str, Any], mapping: Mapping) -> Any:
    literal = value.get("reference")
    replaced: str | None = None
    if isinstance(literal, str):
        replaced = mapping(literal)
        if replaced is None:
            return _GONE
    copy: dict[str, Any] = {}
    for key, child in value.items():
        if isinstance(child, dict | list):
            new = _rewrite(child, mapping)
            if new is not _GONE:
                copy[key] = new
        else:
            copy[key] = child
    if replaced is not None:
        copy["reference"] = replaced
    if len(copy) < len(value) and not copy.keys() - {"url", "id"}:
        return _GONE
    return copy


def split(reference: str) -> tuple[str, str] | None:
    """Return (type, id) of a relative or absolute reference, None for ``#contained``, ``urn:`` and searches.

    >>> split("https://example.org/fhir/Patient/1/_history/2")
    ('Patient', '1')
    >>> split("urn:uuid:0f0e0d0c-0000-4000-8000-000000000001") is None
    True
    """
    if reference.startswith(("#", "urn:")) or "?" in reference:
        return None
    parts = reference.split("/")
    if len(parts) >= 4 and parts[-2] == "_history":
        parts = parts[:-2]
    if len(parts) < 2 or not parts[-2][:1].isupper() or not parts[-1]:
        return None
    return parts[-2], parts[-1]
