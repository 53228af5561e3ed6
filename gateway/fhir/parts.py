"""Parts of a resource as JSON, each checked: what many resources share is checked and written once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway.errors import InvalidResource
from gateway.fhir.codec import encode
from gateway.fhir.learned import learn, looks_valid
from gateway.fhir.piecewise import check_element, refers
from gateway.fhir.primitives import PRIMITIVES
from gateway.fhir.rules import Broken, Rule, Scope

_DATETIME: Final = PRIMITIVES["dateTime"]
_STRING: Final = PRIMITIVES["string"]
_SCOPE: Final = Scope()


def written(kind: str, elements: dict[str, Any]) -> bytes:
    """Check elements of a resource of type ``kind`` and return them as JSON, a comma behind each; none give no bytes.

    What concerns several elements together is left to ``piecewise.check_together``. Raises ``InvalidResource`` as
    ``checks.check`` does, and for an element that can be judged only beside others (a reference to ``#id``, nulls).

    >>> written("Observation", {"status": "final", "valueInteger": 3})
    b'"status":"final","valueInteger":3,'
    """
    if not elements:
        return b""
    text = encode(elements)
    if not looks_valid(kind, elements, text):
        for name, value in elements.items():
            if not check_element(kind, name, value):
                raise InvalidResource(f"{kind}.{name}", "cannot be judged without the rest of the resource")
        learn(kind, elements, text)
    return text[1:-1] + b","


def written_datetime(text: str) -> bytes:
    """Check a ``dateTime`` and return it as JSON; raises ``InvalidResource``.

    >>> written_datetime("2026-03-12T08:00:00+01:00")
    b'"2026-03-12T08:00:00+01:00"'
    """
    return _leaf("dateTime", text, _DATETIME)


def written_string(text: str) -> bytes:
    """Check a ``string`` and return it as JSON; raises ``InvalidResource``.

    >>> written_string("Haemoglobin")
    b'"Haemoglobin"'
    """
    return _leaf("string", text, _STRING)


def written_references(kind: str, name: str, pointers: Sequence[tuple[str, str]]) -> bytes:
    """Return a list of References as an element of a resource of type ``kind``, JSON with a comma behind it.

    ``pointers`` are types and ids, which ``gateway.model.identity`` made, at least one. Raises ``InvalidResource`` for
    a type that may not stand there.

    >>> written_references("DiagnosticReport", "result", [("Observation", "5f0c")])
    b'"result":[{"reference":"Observation/5f0c"}],'
    """
    for target in dict(pointers):
        if not refers(kind, name, target, listed=True):
            raise InvalidResource(f"{kind}.{name}", f"must not refer to {target}")
    made = '"},{"reference":"'.join([f"{target}/{id}" for target, id in pointers])
    return f'"{name}":[{{"reference":"{made}"}}],'.encode()


def _leaf(kind: str, text: str, rule: Rule) -> bytes:
    try:
        rule(text, _SCOPE)
    except Broken as broken:
        raise InvalidResource(kind, broken.what) from None
    return encode(text)
