"""``NTE`` (notes and comments) to the ``note`` of what it stands behind."""

from __future__ import annotations

from typing import Any, Final

from gateway.hl7v2.message import Segment
from mappings.context import Context
from mappings.rules import Rule, SegmentMap
from mappings.segments.obx_value import clean

NOTE_OF_R5: Final = "http://hl7.org/fhir/5.0/StructureDefinition/extension-DiagnosticReport.note"
"""R4's DiagnosticReport has no note, and a laboratory's remark is no conclusion: HL7's extension for R5's element."""


def note(nte: Segment, _context: Context) -> list[dict[str, Any]]:
    """NTE-3: an Annotation; its repetitions are lines of one."""
    texts = [found.verbatim for found in nte.repeats(3) if not found.is_null]
    return [{"text": clean("\n".join(texts))}] if texts else []


def report_note(nte: Segment, context: Context) -> list[dict[str, Any]]:
    """NTE-3 behind an OBR: the extension for R5's DiagnosticReport.note."""
    return [{"url": NOTE_OF_R5, "valueAnnotation": made} for made in note(nte, context)]


_NOT_MAPPED: Final = {
    "NTE-1": "set id: a number of the message",
    "NTE-2": "source of the comment: the feed says it",
    "NTE-4": "comment type: no FHIR element",
    "NTE-5": "who entered it: no recipient is entitled to clerks' names",
    "NTE-6": "when it was entered: the message is dated",
    "NTE-7": "effective start: no FHIR element",
    "NTE-8": "expiration: no FHIR element",
    "NTE-9": "coded comment: NTE-3 says it in words",
}

NTE_OBSERVATION: Final = SegmentMap(
    "NTE",
    "Observation",
    rows=(Rule(("NTE-3",), "note", note, repeats=True),),
    not_mapped=_NOT_MAPPED,
    title="behind an OBX",
)
NTE_REPORT: Final = SegmentMap(
    "NTE",
    "DiagnosticReport",
    rows=(Rule(("NTE-3",), "extension", report_note, repeats=True, note="DiagnosticReport.note of R5"),),
    not_mapped=_NOT_MAPPED,
    title="behind an OBR",
)
NTE_PATIENT: Final = SegmentMap(
    "NTE",
    "Patient",
    rows=(),
    not_mapped=_NOT_MAPPED
    | {"NTE-3": "free text about the person (names, telephones, diagnoses): kept in the message, taken nowhere"},
    title="behind a PID",
)
