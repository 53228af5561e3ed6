"""What one message says, once translated: statements about resources, and what a person should know.

Translating is pure (ARCHITECTURE, decision 4): these objects cross a process boundary, so bodies are encoded JSON.
``Statement`` and ``Translation`` are structs: there are twenty-odd to a message, and a struct is made, pickled and
unpickled several times faster than a dataclass (``msgspec.structs.replace`` makes a changed one). A statement holds
texts alone, so that the garbage collector need not look for cycles in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from msgspec import Struct


class Statement(Struct, frozen=True, gc=False):
    """What a message says of one resource.

    ``body`` is the whole resource as this message states it: canonical JSON of ``gateway.fhir.codec.encode``.
    ``removes`` are top-level elements the sender nulled (``""``): they are taken away from what earlier messages said.
    ``patient`` is the internal id of the Patient the resource belongs to, ``""`` for shared resources (Organization,
    Practitioner, ResearchStudy). ``rank`` is the feed's rank for this type. ``code`` (``system|code``, the preferred
    coding), ``date`` (effective or start, UTC) and ``status`` are what search needs.
    ``held`` names why a person must look before it may leave (implausible value …), ``""`` otherwise.
    ``tentative`` are top-level elements stated only because FHIR requires them or as what goes without saying: they
    stand where nothing else was ever said, and never change what was.
    """

    type: str
    id: str
    body: bytes
    patient: str = ""
    removes: tuple[str, ...] = ()
    rank: int = 0
    code: str = ""
    date: datetime | None = None
    status: str = ""
    held: str = ""
    tentative: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PatientKey:
    """An identifier a message gives for a patient: the Patient's internal id, system and value.

    ``joins``: another Patient known by the same identifier is the same person.
    """

    patient: str
    system: str
    value: str
    joins: bool = True


@dataclass(frozen=True, slots=True)
class PatientLink:
    """A merge (A40): everything about ``old`` belongs to ``survivor`` from now on. Internal Patient ids."""

    old: str
    survivor: str


@dataclass(frozen=True, slots=True)
class Gap:
    """An unmapped code: a work item (ARCHITECTURE, decision 14). Listed once per (feed, field, code, unit).

    ``kind``: ``code`` (local code without a standard one), ``unit``, ``table`` (HL7 table value), ``authority``,
    ``study``.
    """

    kind: Literal["code", "unit", "table", "authority", "study"]
    place: str
    code: str
    system: str = ""
    unit: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should know about a message that did not stop it. ``what`` holds no personal data."""

    place: str
    what: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message could not be translated: the place, the words, the code of HL7 table 0357."""

    place: str
    what: str
    code: str = "207"


@dataclass(frozen=True, slots=True)
class Trace:
    """Which field an element came from, for ``gateway translate --trace``."""

    resource: str
    element: str
    source: str


class Translation(Struct, frozen=True):
    """What one message became. ``sent_at`` is MSH-7 in UTC (None: not said; the time of receipt then orders it).

    With ``failure`` set, ``statements`` is empty. ``handled`` is False for an event the gateway does not translate.
    """

    statements: tuple[Statement, ...] = ()
    keys: tuple[PatientKey, ...] = ()
    links: tuple[PatientLink, ...] = ()
    gaps: tuple[Gap, ...] = ()
    findings: tuple[Finding, ...] = ()
    trace: tuple[Trace, ...] = ()
    sent_at: datetime | None = None
    failure: Failure | None = None
    handled: bool = True
    not_mapped: tuple[str, ...] = ()
    """Valued fields that no rule reads and no reason excuses, as ``PID-31``; for ``--report``."""
