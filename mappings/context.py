"""What a rule may see and say while one message is translated.

A ``Context`` is made per message. Converters read the site's facts from it and say through it what is not a value:
gaps, findings, holds. Message rules open a ``Draft`` per resource; the translator turns drafts into statements.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from dataclasses import field as default
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from gateway.errors import Place
from gateway.fhir.codec import decode
from gateway.hl7v2.message import Message, Segment
from gateway.model.identity import resource_id
from gateway.model.site import Site
from gateway.model.translation import Finding, Gap, PatientKey, PatientLink, Statement, Trace


class Sealed(Struct, frozen=True, gc=False):
    """The beginning of a body, checked and written: ``text`` is its JSON, a comma behind the last element.

    ``names`` are its elements without resourceType and id, ``code`` (``preferred_code``), ``date`` and ``status`` what
    a statement says of it. ``ousted`` are the other forms of the choices it makes (``statements.ousted``).
    """

    text: bytes
    names: tuple[str, ...]
    code: str
    date: datetime | None
    status: str
    ousted: tuple[str, ...]


class Draft(Struct):
    """A resource while it is being built: ``body`` is the FHIR resource, ``removes`` what the sender nulled.

    ``patient`` is the internal id of the Patient it belongs to, ``""`` for shared resources. ``held`` names why a
    person must look before it may leave. ``stated``: feed -> the finished statement, where the draft is kept for later
    messages (``Context.share``). While it is ``sealed``, ``body`` holds only what came after; ``last`` is an element
    that ends it, written already (name, JSON with a comma behind it). Who looks at the whole or changes what is there
    calls ``unseal`` first.
    """

    type: str
    id: str
    body: dict[str, Any]
    patient: str = ""
    removes: frozenset[str] = frozenset()
    held: str = ""
    tentative: frozenset[str] = frozenset()
    stated: dict[str, Statement] | None = None
    sealed: Sealed | None = None
    last: tuple[str, bytes] | None = None

    @property
    def reference(self) -> dict[str, Any]:
        """A FHIR Reference to this resource (a fresh dict)."""
        return {"reference": f"{self.type}/{self.id}"}

    def unseal(self) -> None:
        """Make ``body`` the whole resource again, to be checked and written in the end."""
        if self.sealed is not None:
            self.body = decode(self.sealed.text[:-1] + b"}") | self.body
            self.sealed = None
        if self.last is not None:
            self.body |= decode(b"{%b}" % self.last[1][:-1])
            self.last = None

    def hold(self, reason: str) -> None:
        """Keep the resource back until a person has looked; the first reason stays."""
        self.held = self.held or reason


def shared_draft(resource_type: str, id: str) -> Draft:
    """Return an empty draft of a resource that belongs to no patient."""
    return Draft(resource_type, id, {"resourceType": resource_type, "id": id}, stated={})


@dataclass(slots=True)
class Context:
    """One message on its way to FHIR. ``received_at`` is UTC; ``zone`` is the site's.

    ``cache`` lives as long as the site's translator and may hold only what depends on the site and the key alone;
    ``memo`` lives for this message. ``segment``, ``number`` and ``repetition`` are where the engine is reading, which
    is how a converter's gap or finding gets its place. ``patient`` is the internal id of the Patient that newly opened
    drafts belong to. ``unnamed`` says why everything of this message is held: it does not name its patient or result.
    """

    site: Site
    feed: str
    message: Message
    received_at: datetime
    id_key: bytes = default(repr=False)
    zone: ZoneInfo
    cache: dict[Hashable, Any] = default(default_factory=dict, repr=False)
    tracing: bool = False
    memo: dict[Hashable, Any] = default(default_factory=dict)
    drafts: dict[tuple[str, str], Draft] = default(default_factory=dict)
    gaps: dict[Gap, None] = default(default_factory=dict)
    findings: dict[Finding, None] = default(default_factory=dict)
    traces: list[Trace] = default(default_factory=list)
    keys: dict[PatientKey, None] = default(default_factory=dict)
    links: dict[PatientLink, None] = default(default_factory=dict)
    patient: str = ""
    unnamed: str = ""
    segment: Segment | None = None
    number: int = 0
    repetition: int = 1
    current: Draft | None = None
    ranks: dict[str, int] = default(default_factory=dict)

    def of_this_message(self, reason: str, *names: str) -> tuple[str, ...]:
        """Return business identifiers that no other message can repeat, and hold what this message says."""
        self.unnamed = self.unnamed or reason
        header = self.message.msh
        return ("of-message", self.feed, header.value(7), header.value(10), *names)

    def rank(self, kind: str) -> int:
        """Return how much the feed's word counts for a resource type."""
        known = self.ranks.get(kind)
        if known is None:
            known = self.ranks[kind] = self.site.rank(self.feed, kind)
        return known

    # --- resources --------------------------------------------------------------------------------------------------

    def id(self, resource_type: str, *business: str) -> str:
        """Return the internal id of a resource named by business identifiers of this site (ARCHITECTURE, 5)."""
        return resource_id(self.id_key, resource_type, self.site.id, *business)

    def common_id(self, resource_type: str, *business: str) -> str:
        """Return the internal id of a resource whose business identifiers mean the same at every site."""
        return resource_id(self.id_key, resource_type, *business)

    def draft(self, resource_type: str, id: str, *, shared: bool = False) -> Draft:
        """Open a resource, or return the one this message opened already under that id.

        It belongs to the context's patient unless it is ``shared``.
        """
        key = (resource_type, id)
        found = self.drafts.get(key)
        if found is None:
            body = {"resourceType": resource_type, "id": id}
            found = self.drafts[key] = Draft(resource_type, id, body, "" if shared else self.patient)
        else:
            found.unseal()
        return found

    def share(self, key: Hashable, build: Callable[[], Draft | None]) -> dict[str, Any] | None:
        """State a shared resource (Practitioner, Organization ...) and return a reference to it; None: there is none.

        ``key`` names what ``build`` reads, which must be nothing but the site and that key: what it returns is kept for
        later messages and never changed again. Of two that a message states under one id the fuller one stays.
        """
        kept: tuple[Draft | None, tuple[Gap, ...]] | None = self.cache.get(key)
        if kept is None:
            kept = self._build(key, build)
        draft, gaps = kept
        for gap in gaps:
            self.gap(gap.kind, gap.code, system=gap.system, unit=gap.unit, text=gap.text)
        if draft is None:
            return None
        self.state(draft)
        return draft.reference

    def state(self, shared: Draft) -> None:
        """Let the message state a shared resource, unless it states a fuller one under that id."""
        here = (shared.type, shared.id)
        other = self.drafts.get(here)
        if other is None or len(shared.body) > len(other.body):
            self.drafts[here] = shared

    def _build(self, key: Hashable, build: Callable[[], Draft | None]) -> tuple[Draft | None, tuple[Gap, ...]]:
        gaps, self.gaps, said = self.gaps, {}, len(self.findings)
        try:
            kept = (build(), tuple(self.gaps))
        finally:
            self.gaps = gaps
        if len(self.findings) == said:  # a finding names a place of this message: it must be made anew
            self.cache[key] = kept
        return kept

    # --- what is not a value ----------------------------------------------------------------------------------------

    def at(self, segment: Segment, number: int = 0, repetition: int = 1) -> None:
        """Say where the rule is reading, for rules that read fields themselves."""
        self.segment = segment
        self.number = number
        self.repetition = repetition

    def place(self, component: int = 0) -> Place:
        """Return where the engine is reading."""
        if self.segment is None:
            return Place()
        return self.segment.place(self.number, self.repetition, component)

    def field_name(self) -> str:
        """Return the field being read, without counts: ``OBX-3``. Gaps are listed once per field."""
        return f"{self.segment.name}-{self.number}" if self.segment is not None else "message"

    def gap(
        self,
        kind: Literal["code", "unit", "table", "authority", "study"],
        code: str,
        *,
        system: str = "",
        unit: str = "",
        text: str = "",
    ) -> None:
        """List an unmapped code of the field being read, once."""
        self.gaps[Gap(kind, self.field_name(), code, system, unit, text)] = None

    def finding(self, what: str, component: int = 0) -> None:
        """Tell a person something about the field being read. ``what`` holds no personal data."""
        self.findings[Finding(str(self.place(component)), what)] = None

    def hold(self, reason: str) -> None:
        """Keep back the resource being built."""
        if self.current is not None:
            self.current.hold(reason)
