"""``OBR`` (observation request) to ``DiagnosticReport``, and to ``Specimen`` where the message has no ``SPM``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, Final

from gateway.errors import MappingError
from gateway.hl7v2.message import Field, Segment
from gateway.model.translation import Gap
from mappings.codes import is_valid
from mappings.context import Context
from mappings.datatypes.cwe import concept, cwe_concept
from mappings.datatypes.cx import ei_identifier
from mappings.datatypes.ts import period, ts_datetime, ts_instant
from mappings.datatypes.xcn import xcn_practitioner
from mappings.rules import Converter, Row, Rule, SegmentMap, code_of
from mappings.segments.obx_meaning import NO_UNIT, concept_with, entries_for, is_standard
from mappings.segments.obx_order import order_of
from mappings.tables import load

_STATUS: Final = load("hl70123_report_status")
_SPECIMEN_TYPES: Final = load("hl70487_specimen_type")
_CATEGORIES: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
_LABORATORY: Final = frozenset(
    "BG BLB CG CH CP HM IMM LAB MB MCB MYC OSL PAR PAT SP SR TX URN VR".split()  # noqa: SIM905 - a list reads better so
)
_IMAGING: Final = frozenset(("CT", "CUS", "IMG", "NMR", "NMS", "OUS", "RAD", "RUS", "RX", "VUS", "XRC"))


def order_number(kind: str) -> Converter:
    """Return the converter of a placer (PLAC) or filler (FILL) number."""

    def convert(found: Field, context: Context) -> dict[str, Any] | None:
        return ei_identifier(found, context, kind=kind)

    convert.__name__ = f"ei_identifier({kind})"
    return convert


def order_key(obr: Segment, orc: Segment | None, context: Context) -> tuple[str, ...]:
    """Return the business identifiers of an order's results: the filler number, else the placer number.

    OBR is read before ORC. Where neither has a number: the patient, OBR-4 and OBR-7. When these do not name it either,
    the message is held, or refused: ``MappingError`` (101) at OBR-3 (``Site.unidentified``).
    """
    for kind, number in (("filler", 3), ("placer", 2)):
        for segment in (obr, orc):
            found = segment.field(number) if segment is not None else None
            if found and (value := found.component(1)):
                return (kind, found.component(2) or found.component(3), value)
    service, at = obr.field(4), obr.value(7)
    if not at or not (service.component(1) or service.component(4)):
        if context.site.unidentified == "hold":
            return context.of_this_message("no number names the result", str(obr.sequence))
        raise MappingError("no number, and OBR-4 and OBR-7 do not name the result either", obr.place(3), "101")
    return ("unnumbered", context.patient, service.component(1) or service.component(4), at)


def report_key(obr: Segment) -> tuple[str, str]:
    """Return what tells the reports of one order apart: OBR-4 as sent, never a mapped code."""
    service = obr.field(4)
    at = 1 if service.component(1) else 4
    return (service.component(at) or service.verbatim, service.component(at + 2) if service.component(at) else "")


def status(obr: Segment, context: Context) -> str:
    """OBR-25 through table 0123; where it is not valued the site's default, else ``unknown`` with a finding."""
    context.at(obr, 25)
    if sent := obr.value(25):
        return code_of(_STATUS, sent.upper(), context, unknown="" if sent.upper() in _STATUS.without else "unknown")
    if default := context.site.defaults.get(_STATUS.number):
        return default
    context.finding("the status of the report is not said: unknown")
    return "unknown"


def report_code(obr: Segment, context: Context) -> dict[str, Any]:
    """OBR-4 through the site's code map. Raises ``MappingError`` (101) when it is not valued."""
    found = obr.field(4)
    if not found or found.is_null:
        raise MappingError("what was ordered is not said", obr.place(4), "101")
    order = order_of(context)
    key = ("report code", found.raw, order.day, order.dialect)
    made: tuple[dict[str, Any], Gap | None] | None = context.cache.get(key)
    if made is None:
        made = context.cache[key] = _report_code(found, order.day, context)
    if made[1] is not None:
        context.gaps[made[1]] = None
    return made[0]


def _report_code(found: Field, day: date, context: Context) -> tuple[dict[str, Any], Gap | None]:
    entry = next((row for row in entries_for(found, NO_UNIT, context) if is_valid(row, day)), None)
    made = concept_with(found, entry, context)
    if entry is not None or is_standard(made):
        return made, None
    return made, Gap("code", "OBR-4", found.component(1), found.component(3), "", found.component(2))


def effective(obr: Segment, context: Context) -> dict[str, Any] | None:
    """OBR-7, or OBR-7 to OBR-8 where it lasted."""
    moments = []
    for number in (7, 8):
        found = obr.field(number)
        context.at(obr, number)
        moments.append(ts_datetime(found, context) if found and not found.is_null else None)
    start, end = moments
    if end and start != end:
        made = period(start, end, context)
        if made and "end" in made:
            return {"effectivePeriod": made}
    return {"effectiveDateTime": start} if start else None


def interpreter(found: Field, context: Context) -> dict[str, Any] | None:
    """OBR-32: an ``NDL`` holds the person in its first component; some send a plain ``XCN``."""
    person = found if found.component(2) else found.nested(1)
    return xcn_practitioner(person, context)


def category(obr: Segment) -> list[dict[str, Any]]:
    """Return Observation.category for OBR-24: laboratory or imaging, where the section (table 0074) is one of those."""
    section = obr.value(24).upper()
    for code, sections in (("laboratory", _LABORATORY), ("imaging", _IMAGING)):
        if section in sections:
            return [{"coding": [{"system": _CATEGORIES, "code": code}]}]
    return []


_ORDER: Final = "of the order: a result makes no ServiceRequest"
_STAFF: Final = "staff of the laboratory: no recipient is entitled to it"
_SPECIMEN: Final = "read for the Specimen where there is no SPM"

OBR_REPORT: Final = SegmentMap(
    "OBR",
    "DiagnosticReport",
    rows=(
        Row("OBR-2", "identifier", order_number("PLAC"), repeats=True),
        Row("OBR-3", "identifier", order_number("FILL"), repeats=True, note="with OBR-4 names the report"),
        Rule(("OBR-25",), "status", status),
        Row("OBR-24", "category", concept("hl70074_diagnostic_section"), repeats=True),
        Rule(("OBR-4",), "code", report_code),
        Rule(
            ("OBR-7", "OBR-8"),
            "effective[x]",
            effective,
            removes=("effectiveDateTime", "effectivePeriod"),
            note="of the Observations too, where OBX-14 is empty",
        ),
        Row("OBR-22", "issued", ts_instant),
        Row("OBR-32", "resultsInterpreter", interpreter, repeats=True),
    ),
    not_mapped={
        "OBR-1": "set id: a number of the message",
        "OBR-9": "collection volume: SPM-12 is taken",
        "OBR-10": "collector: no recipient is entitled to it",
        "OBR-12": "danger code: of the specimen's handling",
        "OBR-13": "relevant clinical information: free text about the person",
        "OBR-16": "who ordered: no recipient is entitled to it",
        "OBR-17": "telephone of who ordered: no recipient is entitled to it",
        **{f"OBR-{number}": "a field of the sender's own use" for number in (18, 19, 20, 21)},
        "OBR-23": "charge: of billing",
        **{f"OBR-{number}": _ORDER for number in (5, 6, 11, 26, 27, 28, 29, 30, 31, 36, 37, 38, 39, 40, 41, 42, 43)},
        **{f"OBR-{number}": _STAFF for number in (33, 34, 35)},
        **{f"OBR-{number}": _ORDER for number in range(44, 56)},
    },
    elsewhere={"OBR-14": _SPECIMEN, "OBR-15": _SPECIMEN},
)


# --- Specimen -------------------------------------------------------------------------------------------------------


def specimen_type(found: Field, context: Context) -> dict[str, Any] | None:
    """Convert a specimen type: table 0487 where no other coding system is named."""
    code = found.component(1)
    if not code or found.component(3):
        return cwe_concept(found, context)
    target = _SPECIMEN_TYPES.targets.get(code.upper())
    if target is not None:
        return {"coding": [target.coding()]}
    made = cwe_concept(found, context)
    context.gap("table", code, system=_SPECIMEN_TYPES.system, text=found.component(2))
    if made is not None and "coding" in made:
        made["coding"][0]["system"] = context.site.scoped("table", _SPECIMEN_TYPES.number)
    return made


def source_type(found: Field, context: Context) -> dict[str, Any] | None:
    """OBR-15.1, the code of the source; OBR-15.3 (free text) where there is no code."""
    coded = found.nested(1)
    if coded:
        return specimen_type(coded, context)
    text = found.component(3)
    return {"text": text} if text else None


def _nested_concept(number: int) -> Callable[[Field, Context], dict[str, Any] | None]:
    def convert(found: Field, context: Context) -> dict[str, Any] | None:
        inner = found.nested(number)
        return cwe_concept(inner, context) if inner else None

    return convert


def collected(obr: Segment, context: Context) -> dict[str, Any] | None:
    """OBR-7 to OBR-8, when the specimen was taken."""
    found = effective(obr, context)
    return {name.replace("effective", "collected"): at for name, at in found.items()} if found else None


OBR_SPECIMEN: Final = SegmentMap(
    "OBR",
    "Specimen",
    rows=(
        Row("OBR-15", "type", source_type, note="up to 2.6, where the message has no SPM"),
        Rule(("OBR-7", "OBR-8"), "collection.collected[x]", collected),
        Row("OBR-15", "collection.method", _nested_concept(6)),
        Row("OBR-15", "collection.bodySite", _nested_concept(4)),
        Row("OBR-14", "receivedTime", ts_datetime),
    ),
    title="where the message has no SPM",
)
