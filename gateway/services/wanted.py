"""A write as a client of the FHIR API asks for it, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from gateway.model.access import Caller
from gateway.services.seen import Release, Seen

WRITABLE: Final = ("ResearchStudy", "PlanDefinition", "Group", "ResearchSubject", "Consent", "Organization")
"""The types a client that may can write."""

OF_PATIENTS: Final = {"ResearchSubject": "individual", "Consent": "patient"}
"""Of those the ones that belong to a patient, and the element that names it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One write. ``id``: of the resource as its view knows it, ``""`` for one to be created.

    ``query``: the search that finds the resource (conditional create, update, patch and delete; FHIR R4, 3.1.0.8);
    None: it is not conditional. ``patch`` makes of the resource as the client sees it what it is to be.
    ``if_match``: the version it must have, ``""``: not said. ``full_url`` and ``place`` are those of a Bundle's entry.
    """

    interaction: Literal["create", "update", "patch", "delete"]
    type: str
    id: str = ""
    query: tuple[tuple[str, str], ...] | None = None
    body: dict[str, Any] | None = None
    patch: Callable[[dict[str, Any]], Any] | None = None
    if_match: str = ""
    full_url: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Letter:
    """What the writes of one request have in common.

    ``base``: the FHIR base URL; ``raw``: the request's body, which is kept as a message is; ``words``: what it asked.
    """

    base: str
    release: Release
    caller: Caller
    raw: bytes
    words: str


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a write. ``id``: as the view knows the resource; ``at``: UTC.

    ``interaction`` ``none``: nothing was to be written, as it is so already. ``seen``: the resource as the view sees it
    now; None: it was deleted, or is not for this view as it stands now.
    """

    interaction: Literal["create", "update", "delete", "none"]
    type: str
    id: str = ""
    version: int = 0
    at: datetime | None = None
    seen: Seen | None = None
