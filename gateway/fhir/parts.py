"""Parts of a resource as JSON, each checked: what many resources share is checked and written once."""

from __future__ import annotations

from typing import Any, Final

from gateway.errors import InvalidResource
from gateway.fhir.codec import encode
from gateway.fhir.piecewise import check_element
from gateway.fhir.primitives import PRIMITIVES
from gateway.fhir.rules import Broken, Scope

_DATETIME: Final = PRIMITIVES["dateTime"]
_SCOPE: Final = Scope()


def written(kind: str, elements: dict[str, Any]) -> bytes:
    """Check elements of a resource of type ``kind`` and return them as JSON, a comma behind each; none give no bytes.

    What concerns several elements together is left to ``piecewise.check_together``. Raises ``InvalidResource`` as
    ``checks.check`` does, and for an element that can be judged only beside others (a reference to ``#id``, nulls).

    >>> written("Observation", {"status": "final", "valueInteger": 3})
    b'"status":"final","valueInteger":3,'
    """
    for name, value in elements.items():
        if not check_element(kind, name, value):
            raise InvalidResource(f"{kind}.{name}", "cannot be judged without the rest of the resource")
    return encode(elements)[1:-1] + b"," if elements else b""


def written_datetime(text: str) -> bytes:
    """Check a ``dateTime`` and return it as JSON; raises ``InvalidResource``.

    >>> written_datetime("2026-03-12T08:00:00+01:00")
    b'"2026-03-12T08:00:00+01:00"'
    """
    try:
        _DATETIME(text, _SCOPE)
    except Broken as broken:
        raise InvalidResource("dateTime", broken.what) from None
    return b'"%b"' % text.encode()
