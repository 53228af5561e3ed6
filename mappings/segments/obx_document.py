"""An ``OBX`` whose value is a document (``ED``, ``RP``) to ``DocumentReference``, and to ``Binary`` for its bytes.

The Observation is what the v2-to-FHIR map ``OBX[Observation]`` makes of it. The DocumentReference says the same of the
document and where its bytes are: in FHIR a document is found by its DocumentReference and fetched as a Binary.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from gateway.hl7v2.message import Segment
from mappings.context import Context, Draft
from mappings.datatypes.ts import moment_of, ts_instant
from mappings.rules import Rule, SegmentMap
from mappings.segments.obx import code, effective, identifiers, performers, status
from mappings.segments.obx_media import DATA_ABSENT_REASON, NOTED, OCTETS, Document
from mappings.segments.obx_order import order_of
from mappings.statements import date_text, preferred_code, seal

_BEING: Final = "document"
"""Where the memo holds what is being stated: the Document and its Binary's id."""

_DOC_STATUS: Final = {
    "registered": "preliminary",
    "preliminary": "preliminary",
    "final": "final",
    "amended": "amended",
    "corrected": "amended",
    "cancelled": "entered-in-error",
    "entered-in-error": "entered-in-error",
}
_UNKNOWN: Final = {"extension": [{"url": DATA_ABSENT_REASON, "valueCode": "unknown"}]}


def state_documents(obx: Segment, observation: Draft, context: Context) -> None:
    """State the documents that were noted while an OBX was converted to ``observation``: one a repetition of OBX-5.

    They are of the time and the status of the result, so that consent and a later version count for them as for it, and
    are held as it is.
    """
    noted: Mapping[int, Document] = context.memo.pop(NOTED)
    said = observation.body["status"]
    for repetition, document in noted.items():
        names = (observation.id, str(repetition))
        reference = context.draft("DocumentReference", context.id("DocumentReference", *names))
        reference.held = observation.held
        reference.body = {"resourceType": reference.type, "id": reference.id, "subject": observation.body["subject"]}
        binary = context.id("Binary", *names)
        context.memo[_BEING] = document, binary, observation
        OBX_DOCUMENT.apply(obx, context, reference)
        text = date_text(reference.body)
        at = moment_of(text, context) if text else None
        seal(reference, said, preferred_code(reference.body), at)
        if document.data or document.gone:
            stored = context.draft("Binary", binary)
            stored.held = observation.held
            stored.body = _binary(binary, document, reference)
            seal(stored, said, "", at)


def _binary(id: str, document: Document, reference: Draft) -> dict[str, Any]:
    made: dict[str, Any] = {"resourceType": "Binary", "id": id, "contentType": document.media or OCTETS}
    made["securityContext"] = reference.reference
    if document.data:
        made["data"] = base64.b64encode(document.data).decode("ascii")
    return made


def reference_status(obx: Segment, context: Context) -> str:
    """OBX-11: entered-in-error where the result is deleted, wrong or cannot be obtained, else current."""
    return "entered-in-error" if doc_status(obx, context) == "entered-in-error" else "current"


def doc_status(obx: Segment, context: Context) -> str | None:
    """OBX-11 as Observation.status says it; corrected is amended."""
    return _DOC_STATUS.get(status(obx, context))


def issued(_obx: Segment, context: Context) -> str | None:
    """OBR-22, when the report was issued."""
    obr = order_of(context).obr
    found = obr.field(22) if obr is not None else None
    if obr is None or not found or found.is_null:
        return None
    context.at(obr, 22)
    return ts_instant(found, context)


def content(_obx: Segment, context: Context) -> list[dict[str, Any]]:
    """OBX-5: contentType, and the url ``Binary/<id>`` with size and hash (SHA-1); of a pointer its own url."""
    document, binary, _ = _being(context)
    made: dict[str, Any] = {"contentType": document.media} if document.media else {}
    if document.data:
        digest = hashlib.sha1(document.data, usedforsecurity=False).digest()
        made |= {"url": f"Binary/{binary}", "size": len(document.data)}
        made["hash"] = base64.b64encode(digest).decode("ascii")
    elif document.url:
        made["url"] = document.url
    return [{"attachment": made or _UNKNOWN}]


def about(obx: Segment, context: Context) -> dict[str, Any]:
    """OBX-14 and what OBX inherits of its order: the encounter, the time of the result, the Observation."""
    observation = _being(context)[2]
    made: dict[str, Any] = {}
    if encounter := order_of(context).encounter:
        made["encounter"] = [encounter]
    when = effective(obx, context) or {}
    at = when.get("effectiveDateTime")
    if period := {"start": at, "end": at} if at else when.get("effectivePeriod"):
        made["period"] = period
    return made | {"related": [observation.reference]}


def _being(context: Context) -> tuple[Document, str, Draft]:
    being: tuple[Document, str, Draft] = context.memo[_BEING]
    return being


OBX_DOCUMENT: Final = SegmentMap(
    "OBX",
    "DocumentReference",
    rows=(
        Rule(("OBX-21",), "identifier", identifiers, repeats=True, note="type FILL"),
        Rule(("OBX-11",), "status", reference_status),
        Rule(("OBX-11",), "docStatus", doc_status),
        Rule(("OBX-3", "OBX-6"), "type", code, note="as Observation.code"),
        Rule(("OBR-22",), "date", issued),
        Rule(("OBX-16", "OBX-15", "OBX-23"), "author", performers, repeats=True),
        Rule(("OBX-5", "OBX-2"), "content", content, note="one for each repetition; the bytes are a Binary"),
        Rule(("OBX-14",), "context", about, note="else OBR-7 and OBR-8, else SPM-17"),
    ),
    title="where OBX-2 is ED or RP",
)
