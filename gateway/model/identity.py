"""Ids that are the same whenever and wherever a message is translated, and that nobody else can compute.

ARCHITECTURE, decision 5: the internal id of a resource is a UUID made from HMAC(id key, business identifiers).
"""

from __future__ import annotations

import hmac

_SEPARATOR = "\x1f"


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
    name = _SEPARATOR.join((resource_type, *business)).encode()
    made = bytearray(hmac.digest(key, name, "sha256")[:16])
    made[6] = made[6] & 0x0F | 0x50  # version 5
    made[8] = made[8] & 0x3F | 0x80  # the variant of RFC 4122
    text = made.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def lane_of(patient_key: str, lanes: int = 64) -> int:
    """Return the lane (0 to ``lanes`` - 1) of a patient identifier: stable across processes and versions."""
    return int.from_bytes(hmac.digest(b"lane", patient_key.encode(), "sha256")[:4], "big") % lanes
