"""Ids that are the same whenever and wherever a message is translated, and that nobody else can compute.

ARCHITECTURE, decision 5: the internal id of a resource is a UUID made from HMAC(id key, business identifiers).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

_SEPARATOR = "\x1f"
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
    made = bytearray(mac(key, _SEPARATOR.join((resource_type, *business)).encode())[:16])
    made[6] = made[6] & 0x0F | 0x50  # version 5
    made[8] = made[8] & 0x3F | 0x80  # the variant of RFC 4122
    text = made.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


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
