"""``Provenance`` of what a message said: one per Patient it speaks of."""

from __future__ import annotations

from typing import Any, Final

from gateway.errors import StructureError
from gateway.hl7v2.message import Segment
from gateway.hl7v2.peek import content_digest
from gateway.model.names import MESSAGE_DIGEST
from mappings.context import Context, Draft
from mappings.segments.evn import EVN_PROVENANCE
from mappings.segments.msh import AGENT_TYPES, MSH_PROVENANCE

_MOST_TARGETS: Final = 100_000
"""Shared resources times Patients of one message: each Patient's Provenance names all of them."""

_ACTIVITY: Final = {
    "coding": [
        {
            "system": "http://hl7.org/fhir/uv/v2mappings/CodeSystem/provenance-activity-type-v2-to-fhir",
            "code": "v2-fhir-transformation",
        }
    ]
}


def provenance(raw: bytes, context: Context) -> None:
    """Draft the Provenance of every resource drafted so far.

    ``recorded`` is the time of receipt, the author the sending organisation, the assembler the gateway; the source is
    the message by its control id and by the digest of its content (SHA-256 without MSH-7), never by its text. It
    belongs to the Patient of the message; a merge has one, of the surviving Patient. Each has the shared resources too.
    Raises ``StructureError`` where that would be too many.
    """
    digest = content_digest(raw).hex()
    survivors = {link.old: link.survivor for link in context.links}
    drafts = list(context.drafts.values())
    shared = [at for at, draft in enumerate(drafts) if not draft.patient]
    owned: dict[str, list[int]] = {}
    for at, draft in enumerate(drafts):
        if draft.patient:
            owned.setdefault(survivors.get(draft.patient, draft.patient), []).append(at)
    if len(owned) * len(shared) > _MOST_TARGETS:
        raise StructureError("more patients and shared resources than can be taken in one message")
    event = context.message.first("EVN")
    if shared:
        owned = owned or {"": []}
    for owner, its in owned.items():
        _one(owner, [drafts[at] for at in sorted(its + shared)], digest, event, context)


def _one(patient: str, targets: list[Draft], digest: str, event: Segment | None, context: Context) -> None:
    context.patient = patient
    draft = context.draft("Provenance", context.id("Provenance", context.feed, digest, patient))
    body: dict[str, Any] = draft.body
    body["target"] = [target.reference for target in targets]
    body["recorded"] = context.received_at.isoformat().replace("+00:00", "Z")
    body["activity"] = _ACTIVITY
    message = context.message
    MSH_PROVENANCE.apply(message.msh, context, draft)
    if event is not None:
        EVN_PROVENANCE.apply(event, context, draft)
    assembler = {"coding": [{"system": AGENT_TYPES, "code": "assembler"}]}
    body["agent"].append({"type": assembler, "who": {"display": "Trial Gateway"}})
    what = {"identifier": {"system": MESSAGE_DIGEST, "value": digest}, "display": "SHA-256 of the message"}
    body["entity"].append({"role": "source", "what": what})
