"""The keys. They live outside the database; without them the gateway does not start (ARCHITECTURE, 8 and 17)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Keys:
    """Every key, 32 bytes each. Id, index and pseudonym keys never rotate; encryption keys do.

    ``identity`` makes resource ids, ``index`` hashes identifiers and content for look-up, ``pseudonym`` is the root of
    the studies' keys, ``audit`` seals the audit trail. ``encryption`` maps key id -> key; ``active`` names the one
    that new bodies are encrypted under.
    """

    identity: bytes = field(repr=False)
    index: bytes = field(repr=False)
    pseudonym: bytes = field(repr=False)
    audit: bytes = field(repr=False)
    encryption: Mapping[str, bytes] = field(repr=False)
    active: str
