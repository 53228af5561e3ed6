"""What each answer of the FHIR API disclosed: one row an answer (ARCHITECTURE, decision 18)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from msgspec import Struct

from gateway.model.delivery import View

NO_VIEW: Final = View("", "")


class Shown(Struct, frozen=True, gc=False):
    """One resource of an answer: type, internal id and version, and whose it is (``""``: nobody's).

    ``view``: of the client's, the one that let it be seen.
    """

    type: str
    resource: str
    version: int
    patient: str = ""
    view: View = NO_VIEW


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
        self,
        *,
        patients: Collection[str] = (),
        client: str = "",
        concerning: str = "",
        before: int | None = None,
        limit: int = 50,
    ) -> list[Answer]:
        """Return answers, newest first: those that spoke of one of these patients, those of a client, or all.

        ``concerning``: a client; those of others that showed nothing are left out. Of ``shown`` the patient is not
        known, ``""``.
        """
