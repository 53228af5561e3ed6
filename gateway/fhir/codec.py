"""JSON with exact numbers: what was ``1.50`` stays ``1.50`` (ARCHITECTURE, decision 12).

Numbers with a fraction or an exponent are ``Decimal``, all others ``int``. Key order is kept, so the same dict gives
the same bytes.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from gateway.errors import InvalidResource

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def encode(value: Any) -> bytes:
    """Return ``value`` as compact UTF-8 JSON, keys in their order, each ``Decimal`` with all its digits.

    A ``Decimal`` is written as Python prints it, which JSON and FHIR both take: ``1.50``, ``1E-8``.
    Raises ``InvalidResource`` for what JSON cannot hold: NaN, infinity, a lone surrogate, too deep nesting, a foreign
    type.

    >>> encode({"value": Decimal("1.50")})
    b'{"value":1.50}'
    """
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidResource("", f"cannot be written as JSON ({type(error).__name__})") from None
    if b"NaN" in text or b"Infinity" in text:
        decode(text)  # the words may stand in a string, where they do no harm
    return text


def decode(text: bytes | str) -> Any:
    """Return the value of a JSON text: ``Decimal`` for numbers with a fraction or exponent, ``int`` for the rest.

    Raises ``InvalidResource`` when it is not JSON, not UTF-8 or nested too deep; the words name the byte, never what
    stands there.

    >>> decode(b'{"value": 1.50, "count": 2}')
    {'value': Decimal('1.50'), 'count': 2}
    """
    try:
        return _DECODER.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidResource("", f"not JSON: {error}") from None
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise InvalidResource("", f"not JSON ({type(error).__name__})") from None


def members(text: bytes) -> dict[str, msgspec.Raw]:
    """Return the members of a JSON object, each as it is written (``bytes`` of it): no body is built.

    Raises ``InvalidResource`` when it is no JSON object.

    >>> {name: bytes(raw) for name, raw in members(b'{"status":"final","value":{"value":1.50}}').items()}
    {'status': b'"final"', 'value': b'{"value":1.50}'}
    """
    try:
        return _MEMBERS.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidResource("", f"not a JSON object: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidResource("", f"not a JSON object ({type(error).__name__})") from None


def pretty(text: bytes) -> bytes:
    """Return JSON with line breaks and indents, every number as it is written.

    >>> print(pretty(b'{"value":1.50}').decode())
    {
      "value": 1.50
    }
    """
    return msgspec.json.format(text, indent=2)
