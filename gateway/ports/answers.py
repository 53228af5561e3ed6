"""What each answer of the FHIR API disclosed: one row an answer (ARCHITECTURE, decision 18)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from msgspec import Struct


class Shown(Struct, frozen=True, gc=False):
    """One resource of an answer: type, internal id and version, and whose it is (``""``: nobody's)."""

    type: str
    resource: str
    version: int
    patient: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Who asked what, and what the answer held. ``at`` is UTC.

    ``interaction``: of http://hl7.org/fhir/restful-interaction, or an operation (``$everything``). ``request``: method,
    path and parameters; kept encrypted, as they can name a person.
    """

    at: datetime
    client: str
    interaction: str
    type: str
    status: int
    request: str
    shown: tuple[Shown, ...] = ()
    id: int = 0


class Answers(Protocol):
    """The answers: append only."""

    def add(self, answers: Sequence[Answer]) -> None:
        """Append answers."""

    def find(
        self, *, patients: Collection[str] = (), client: str = "", before: int | None = None, limit: int = 50
    ) -> list[Answer]:
        """Return answers, newest first: those that spoke of one of these patients, those of a client, or all.

        Of ``shown`` only type, resource and version are known; ``patient`` is ``""``.
        """
