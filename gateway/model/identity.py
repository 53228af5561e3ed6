"""Ids that are the same whenever and wherever a message is translated, and that nobody else can compute.

ARCHITECTURE, decision 5: the internal id of a resource is a UUID made from HMAC(id key, business identifiers).
"""

from __future__ import annotations

import hashlib
import hmac
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
    keyed_inner, keyed_outer = _halves(key)
    inner, outer = keyed_inner.copy(), keyed_outer.copy()
    inner.update(_SEPARATOR.join((resource_type, *business)).encode())
    outer.update(inner.digest())
    made = bytearray(outer.digest()[:16])
    made[6] = made[6] & 0x0F | 0x50  # version 5
    made[8] = made[8] & 0x3F | 0x80  # the variant of RFC 4122
    text = made.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@lru_cache(maxsize=8)
def _halves(key: bytes) -> tuple[Any, Any]:
    """Return the two hashes of an HMAC (RFC 2104) that have the key behind them: making them anew costs the most."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5C))
    return inner, outer


def lane_of(patient_key: str, lanes: int = 64) -> int:
    """Return the lane (0 to ``lanes`` - 1) of a patient identifier: stable across processes and versions."""
    return int.from_bytes(hmac.digest(b"lane", patient_key.encode(), "sha256")[:4], "big") % lanes
