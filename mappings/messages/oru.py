"""``ORU^R01``: results. Each OBR becomes a DiagnosticReport, each OBX an Observation, each SPM a Specimen."""

from __future__ import annotations

from datetime import date
from typing import Any

from gateway.errors import Place, StructureError
from gateway.fhir.parts import written_references
from gateway.hl7v2.message import Message, Segment
from gateway.hl7v2.structures import Group, group
from gateway.model.identity import SEPARATOR
from mappings.context import Context, Draft
from mappings.messages.passing import passing_visit
from mappings.numbers import NumberFormat
from mappings.segments.nte import NTE_OBSERVATION, NTE_REPORT
from mappings.segments.obr import OBR_REPORT, OBR_SPECIMEN, category, effective, order_key, report_key
from mappings.segments.obx_order import AHEAD, Order, lies_ahead, open_order
from mappings.segments.obx_whole import Results
from mappings.segments.orc import ORC_REPORT
from mappings.segments.pd1 import PD1_PATIENT
from mappings.segments.pid import patient
from mappings.segments.spm import SPM_SPECIMEN
from mappings.segments.spm import identity as specimen_identity
from mappings.trials.cti import OUTSIDE, link


def result(message: Message, context: Context) -> None:
    """Translate the results of a message, patient by patient, order by order.

    Raises ``StructureError`` when it has no PID or no OBR, ``MappingError`` as the segment maps do. A result that
    belongs to no order is left out with a finding.
    """
    patients = group(message).groups("PATIENT_RESULT")
    if not patients or message.first("OBR") is None:
        raise StructureError("the segment is missing", Place("OBR" if message.first("PID") else "PID"), "100")
    used: set[int] = set()
    for found in patients:
        visit = _person(found, context)
        for order in found.groups("ORDER_OBSERVATION"):
            used.update([segment.position for segment in _report(order, visit, context)])
    for obx in message.all("OBX"):
        if obx.position not in used:
            context.at(obx)
            context.finding("a result that belongs to no order: left out")
    context.memo[OUTSIDE] = [cti for cti in message.all("CTI") if cti.position not in used]


def _person(found: Group, context: Context) -> Draft | None:
    """State the Patient and the Encounter of a PATIENT_RESULT group; return the Encounter."""
    by_name: dict[str, Segment] = {}
    for child in found.children:
        if child.name != "ORDER_OBSERVATION":
            for segment in [child] if isinstance(child, Segment) else child.all_segments():
                by_name.setdefault(segment.name, segment)
    if "PID" not in by_name:
        raise StructureError("the segment is missing", Place("PID"), "100")
    person = patient(by_name["PID"], context)
    if "PD1" in by_name:
        PD1_PATIENT.apply(by_name["PD1"], context, person)
    return passing_visit(by_name["PV1"], context) if "PV1" in by_name else None


def _report(found: Group, visit: Draft | None, context: Context) -> list[Segment]:
    """State the report of one order and its results; return the segments of the order behind its OBR."""
    obr, orc = found.first("OBR"), found.first("ORC")
    if obr is None:
        raise StructureError("the segment is missing", Place("OBR"), "100")
    order = _order(obr, orc, visit, context)
    groups = found.groups("SPECIMEN")
    specimens = _specimens(groups, obr, order, context)
    if len(specimens) == 1:
        order.specimen = specimens[0].reference

    report = context.draft("DiagnosticReport", context.id("DiagnosticReport", *order.key, *report_key(obr)))
    report.body["subject"] = {"reference": f"Patient/{context.patient}"}
    if order.encounter:
        report.body["encounter"] = order.encounter
    OBR_REPORT.apply(obr, context, report)
    if orc is not None:
        ORC_REPORT.apply(orc, context, report)
    if lies_ahead(report.body, context):
        report.hold(AHEAD)
    _add(report, "specimen", specimens)
    all_segments = found.all_segments()
    behind = all_segments[all_segments.index(obr) + 1 :]
    of_specimens = {segment.position for each in groups for segment in each.all_segments()}
    own = [each for each in behind if each.position not in of_specimens] if of_specimens else behind
    stating = Results(order, context)
    results = _results(own, report, stating, context)
    _add_results(report, results)
    about_specimens = _of_specimens(groups, specimens, stating)
    link([each for each in all_segments if each.name == "CTI"], [report, *results, *about_specimens], context)
    return behind


def _results(segments: list[Segment], report: Draft, stating: Results, context: Context) -> list[Draft]:
    """State the results of an order; a note belongs to the result it stands behind, else to the report."""
    made: list[Draft] = []
    for segment in segments:
        if segment.name == "OBX":
            made.append(stating.state(segment))
        elif segment.name == "NTE":
            to_report = not made
            (NTE_REPORT if to_report else NTE_OBSERVATION).apply(segment, context, report if to_report else made[-1])
    return made


def _add_results(report: Draft, results: list[Draft]) -> None:
    """Let the report refer to its results, many as they are: written at once where it had none before."""
    if not results or "result" in report.body:
        _add(report, "result", results)
        return
    pointers = list(dict.fromkeys([(each.type, each.id) for each in results]))
    report.last = "result", written_references(report.type, "result", pointers)


def _add(report: Draft, element: str, drafts: list[Draft]) -> None:
    references = report.body.setdefault(element, []) if drafts else []
    known = {each["reference"] for each in references}
    for draft in drafts:
        reference = draft.reference
        if reference["reference"] not in known:
            known.add(reference["reference"])
            references.append(reference)


def _order(obr: Segment, orc: Segment | None, visit: Draft | None, context: Context) -> Order:
    site = context.site
    elements = effective(obr, context) or {}
    key = order_key(obr, orc, context)
    order = Order(
        key=key,
        prefix=SEPARATOR.join(("Observation", site.id, *key, "")),
        day=_day(elements, context),
        format=NumberFormat(site.decimal_comma, site.thousands),
        dialect=_dialect(context),
        effective=elements,
        category=category(obr),
        encounter=visit.reference if visit else None,
        obr=obr,
    )
    open_order(order, context)
    return order


def _dialect(context: Context) -> int:
    """Return a small number for the delimiters of the message, to tell fields of different ones apart in the cache."""
    known: dict[Any, int] = context.cache.setdefault("dialects", {})
    return known.setdefault(context.message.delimiters, len(known))


def _day(elements: dict[str, Any], context: Context) -> date:
    """Return the day that code maps are read for: of the result, else of the message, in the sender's calendar."""
    text = elements.get("effectiveDateTime") or elements.get("effectivePeriod", {}).get("start")
    if not text:
        return context.received_at.astimezone(context.zone).date()
    return date.fromisoformat(text[:10] if len(text) >= 10 else f"{text}-01-01"[:10])


def _specimens(groups: list[Group], obr: Segment, order: Order, context: Context) -> list[Draft]:
    """State the specimens of an order: of its SPM segments, else of OBR-15."""
    drafts = [_specimen(segment, order, context) for each in groups if (segment := each.first("SPM"))]
    if drafts or not obr.repeats(15):
        return drafts
    draft = context.draft("Specimen", context.id("Specimen", *order.key, "OBR-15"))
    draft.body["subject"] = {"reference": f"Patient/{context.patient}"}
    OBR_SPECIMEN.apply(obr, context, draft)
    return [draft]


def _specimen(spm: Segment, order: Order, context: Context) -> Draft:
    draft = context.draft("Specimen", context.id("Specimen", *specimen_identity(spm, order.key)))
    draft.body["subject"] = {"reference": f"Patient/{context.patient}"}
    SPM_SPECIMEN.apply(spm, context, draft)
    if not order.effective:
        taken = draft.body.get("collection", {})
        order.effective = {
            name.replace("collected", "effective"): at for name, at in taken.items() if name.startswith("collected")
        }
        order.day = _day(order.effective, context)
    return draft


def _of_specimens(groups: list[Group], specimens: list[Draft], stating: Results) -> list[Draft]:
    """State the Observations about a specimen itself (OBX behind SPM): ``focus`` is the Specimen."""
    made = []
    with_specimen = [each for each in groups if each.first("SPM")]
    for each, specimen in zip(with_specimen, specimens, strict=False):
        for obx in [segment for segment in each.all_segments() if segment.name == "OBX"]:
            draft = stating.state(obx)
            draft.body["focus"] = [specimen.reference]
            made.append(draft)
    return made
