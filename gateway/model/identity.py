"""Ids that are the same whenever and wherever a message is translated, and that nobody else can compute.

ARCHITECTURE, decision 5: the internal id of a resource is a UUID made from HMAC(id key, business identifiers).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, Final

SEPARATOR: Final = "\x1f"
"""Stands between the resource type and each of the business identifiers in what an id is made of."""

_VARIANT: Final = {digit: f"{int(digit, 16) & 3 | 8:x}" for digit in "0123456789abcdef"}
_BLOCK = 64
"""Bytes of a block of SHA-256."""


def resource_id(key: bytes, resource_type: str, *business: str) -> str:
    """Return the id (UUID text, 36 characters) of the resource that these business identifiers name.

    >>> resource_id(b"k" * 32, "Patient", "urn:x", "1") == resource_id(b"k" * 32, "Patient", "urn:x", "1")
    True
    >>> resource_id(b"k" * 32, "Patient", "urn:x", "1") == resource_id(b"j" * 32, "Patient", "urn:x", "1")
    False
    >>> from uuid import UUID
    >>> UUID(resource_id(b"k" * 32, "Patient", "urn:x", "1")).version
    5
    """
    return named_id(key, SEPARATOR.join((resource_type, *business)))


def named_id(key: bytes, name: str) -> str:
    """Return the id of the resource whose type and business identifiers ``name`` holds, joined by ``SEPARATOR``."""
    text = mac(key, name.encode()).hex()
    # version 5 and the variant of RFC 4122 stand in the place of six bits
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def mac(key: bytes, value: bytes) -> bytes:
    """Return HMAC-SHA-256 of a short value. ``hmac.digest`` lets other threads in, which takes far longer than this."""
    keyed_inner, keyed_outer = _halves(key)
    inner, outer = keyed_inner.copy(), keyed_outer.copy()
    inner.update(value)
    outer.update(inner.digest())
    made: bytes = outer.digest()
    return made


@lru_cache(maxsize=8)
def _halves(key: bytes) -> tuple[Any, Any]:
    """Return the two hashes of an HMAC (RFC 2104) that have the key behind them: making them anew costs the most."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5C))
    return inner, outer


def lane_of(patient_key: str, lanes: int = 64) -> int:
    """Return the lane (0 to ``lanes`` - 1) of a patient identifier: stable across processes and versions."""
    return int.from_bytes(mac(b"lane", patient_key.encode())[:4], "big") % lanes
