"""Studies and their subjects, as releasing needs them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

ON_STUDY = ("on-study", "on-study-intervention", "on-study-observation", "follow-up")


@dataclass(frozen=True, slots=True)
class Study:
    """A study of ``studies/*.json``. ``id`` is the short id used in recipient files; ``resource`` its internal id.

    ``identifiers`` are ``(system, value)``. ``arms`` are names that reveal an allocation.
    """

    id: str
    resource: str
    identifiers: tuple[tuple[str, str], ...] = ()
    arms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Consent:
    """A consent as releasing sees it: purposes (v3-ActReason), active or not, when given and when it ends (UTC).

    ``resource`` is its internal id, ``status`` of R4 Consent.status (``inactive``: it was valid and was withdrawn).
    """

    active: bool
    given_at: datetime | None
    purposes: frozenset[str] = frozenset()
    ends_at: datetime | None = None
    resource: str = ""
    status: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """A patient's place in a study: made from the current ResearchSubject and the Consents it stands on.

    ``status`` is of R4 ResearchSubject.status; ``number`` the subject number; ``started_at`` and ``ended_at`` UTC.
    """

    study: str
    patient: str
    resource: str
    status: str
    number: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    consents: tuple[Consent, ...] = ()
