"""Parts of a resource as JSON, each checked: what many resources share is checked and written once."""

from __future__ import annotations

from typing import Any

from gateway.errors import InvalidResource
from gateway.fhir.codec import encode
from gateway.fhir.piecewise import check_element


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
