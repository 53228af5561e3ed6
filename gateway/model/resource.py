"""A version of a resource as the store keeps it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

Clock = tuple[int, str, int]
"""How recent a statement is: (feed's rank, MSH-7 in UTC as ISO text, message id). Compared in that order."""


class ResourceVersion(Struct, frozen=True, gc=False, array_like=True):
    """One version of one resource; versions count from 1 and are never changed, but for their clocks.

    ``change`` is the position in the one sequence of all changes: ascending per patient in commit order (0: not yet
    stored). ``clocks`` says per top-level element how recent the statement behind it is; ``""`` is the clock of every
    element not named. ``own`` is what the message itself said, where the merged ``body`` differs from it.
    ``patient`` is the canonical Patient id, ``""`` for shared resources. Times are UTC. ``gone``: this version says
    that the resource was deleted (FHIR API); its body is what the version before said. ``study``: into which study a
    client wrote what belongs to no patient.

    Stored pages list the fields in this order: a new one goes to the end and has a default.
    """

    type: str
    id: str
    version: int
    body: bytes
    message: int
    stored_at: datetime
    patient: str = ""
    clocks: dict[str, Clock] = field(default_factory=dict)
    own: bytes | None = None
    code: str = ""
    date: datetime | None = None
    status: str = ""
    held: str = ""
    change: int = 0
    gone: bool = False
    study: str = ""

    @property
    def reference(self) -> str:
        """``Type/id``."""
        return f"{self.type}/{self.id}"

    def but(self, **values: Any) -> ResourceVersion:
        """Return a copy with other values in these fields."""
        return replace(self, **values)
