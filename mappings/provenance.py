"""``Provenance`` of what a message said: one per Patient it speaks of."""

from __future__ import annotations

from datetime import UTC
from typing import Any, Final

from gateway.errors import InvalidResource, StructureError
from gateway.fhir.parts import written, written_references, written_string
from gateway.hl7v2.peek import content_digest
from gateway.model.names import GATEWAY, MESSAGE_DIGEST
from mappings.context import Context, Draft, Sealed
from mappings.segments.evn import EVN_PROVENANCE
from mappings.segments.msh import AGENT_TYPES, MSH_PROVENANCE, of_message, sender

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


_ASSEMBLER: Final = {
    "type": {"coding": [{"system": AGENT_TYPES, "code": "assembler"}]},
    "who": {"display": GATEWAY},
}
_KIND: Final = "Provenance"
_NAMES: Final = ("target", "recorded", "activity", "agent", "entity")
_PLACE: Final = "place of a value"


def provenance(raw: bytes, context: Context) -> None:
    """Draft the Provenance of every resource drafted so far.

    ``recorded`` is the time of receipt, the author the sending organisation, the assembler the gateway; the source is
    the message by its control id and by the digest of its content (SHA-256 without MSH-7), never by its text. It
    belongs to the Patient of the message; a merge has one, of the surviving Patient. Each has the shared resources too.
    Raises ``StructureError`` where that would be too many.
    """
    digest = content_digest(raw).hex()
    event = context.message.first("EVN")
    for owner, targets in _by_owner(context):
        made = _one(owner, targets, digest, context)
        if event is not None:
            EVN_PROVENANCE.apply(event, context, made)


def _by_owner(context: Context) -> list[tuple[str, list[Draft]]]:
    """Return each Patient with its drafts and the shared ones, in the order they were made."""
    survivors = {link.old: link.survivor for link in context.links}
    drafts = list(context.drafts.values())
    owners = [survivors.get(draft.patient, draft.patient) if draft.patient else "" for draft in drafts]
    names = set(owners)
    if len(names - {""}) <= 1:
        return [(max(names), drafts)] if names else []
    shared = [at for at, owner in enumerate(owners) if not owner]
    owned: dict[str, list[int]] = {}
    for at, owner in enumerate(owners):
        if owner:
            owned.setdefault(owner, []).append(at)
    if len(owned) * len(shared) > _MOST_TARGETS:
        raise StructureError("more patients and shared resources than can be taken in one message")
    return [(owner, [drafts[at] for at in sorted(its + shared)]) for owner, its in owned.items()]


def _one(patient: str, targets: list[Draft], digest: str, context: Context) -> Draft:
    context.patient = patient
    draft = context.draft("Provenance", context.id("Provenance", context.feed, digest, patient))
    sealed = None if context.tracing else _put_together(draft, targets, digest, context)
    if sealed is None:
        _convert(draft, targets, digest, context)
    else:
        draft.sealed, draft.body = sealed, {}
    return draft


def _convert(draft: Draft, targets: list[Draft], digest: str, context: Context) -> None:
    """Fill a Provenance by the segment map."""
    body: dict[str, Any] = draft.body
    body["target"] = [target.reference for target in targets]
    body["recorded"] = _recorded(context)
    body["activity"] = _ACTIVITY
    MSH_PROVENANCE.apply(context.message.msh, context, draft)
    body["agent"].append(_ASSEMBLER)
    body["entity"].append(_by_digest(digest))


def _put_together(draft: Draft, targets: list[Draft], digest: str, context: Context) -> Sealed | None:
    """Return the Provenance as ``_convert`` makes it, of parts that are checked and written already.

    None: something is not valid FHIR, and the check of the whole says what.
    """
    try:
        text = b"".join((
            b'{"resourceType":"Provenance","id":"%b",' % draft.id.encode(),
            written_references(_KIND, "target", [(target.type, target.id) for target in targets]),
            written(_KIND, {"recorded": _recorded(context)}),
            _agents(context),
            _sources(digest, context),
        ))  # fmt: skip
    except InvalidResource:
        return None
    return Sealed(text, _NAMES, "", context.received_at.astimezone(UTC), "", ())


def _agents(context: Context) -> bytes:
    """Return the activity and the agents, which are the same for all messages of a sender."""
    author = sender(context.message.msh, context)
    key = ("agents", *author[0]["who"].items())
    kept: bytes | None = context.cache.get(key)
    if kept is None:
        elements = {"activity": _ACTIVITY, "agent": [*author, _ASSEMBLER]}
        kept = context.cache[key] = written(_KIND, elements)
    return kept


def _sources(digest: str, context: Context) -> bytes:
    """Return the message by its control id and by its digest."""
    message = context.message
    key = ("sources", context.feed, message.type, message.event)
    kept: tuple[bytes, ...] | None = context.cache.get(key)
    if kept is None:
        empty = {"entity": [of_message(_PLACE, context), _by_digest(_PLACE)]}
        kept = context.cache[key] = tuple(written(_KIND, empty).split(b'"value":"%b"' % _PLACE.encode()))
    before, between, after = kept
    value = written_string(message.control_id)
    return b'%b"value":%b%b"value":"%b"%b' % (before, value, between, digest.encode(), after)


def _recorded(context: Context) -> str:
    return context.received_at.isoformat().replace("+00:00", "Z")


def _by_digest(digest: str) -> dict[str, Any]:
    what = {"identifier": {"system": MESSAGE_DIGEST, "value": digest}, "display": "SHA-256 of the message"}
    return {"role": "source", "what": what}
