"""``SPM`` (specimen) to ``Specimen``."""

from __future__ import annotations

from typing import Any, Final

from gateway.hl7v2.message import Field, Segment
from gateway.model.names import UCUM
from mappings.codes import site_unit
from mappings.context import Context
from mappings.datatypes.cwe import cwe_concept
from mappings.datatypes.cx import cx_identifier
from mappings.datatypes.ts import dr_period, ts_datetime
from mappings.rules import Row, Rule, SegmentMap, code_of
from mappings.segments.obr import order_number, specimen_type
from mappings.segments.obx_order import order_of
from mappings.segments.obx_value import clean
from mappings.tables import load

_AVAILABLE: Final = load("hl70136_specimen_available")


def status(spm: Segment, context: Context) -> str | None:
    """A specimen with a reason for its rejection (SPM-21) is unsatisfactory; else SPM-20 (Y or N)."""
    if spm.repeats(21):
        return "unsatisfactory"
    context.at(spm, 20)
    sent = spm.value(20).upper()
    return code_of(_AVAILABLE, sent, context) if sent in _AVAILABLE.targets else None


def collected(spm: Segment, context: Context) -> dict[str, Any] | None:
    """SPM-17, a moment or a period."""
    found = spm.field(17)
    if not found or found.is_null:
        return None
    context.at(spm, 17)
    if found.component(2) and found.component(2) != found.component(1):
        made = dr_period(found, context)
        return {"collectedPeriod": made} if made else None
    at = ts_datetime(found.nested(1), context)
    return {"collectedDateTime": at} if at else None


def amount(found: Field, context: Context) -> dict[str, Any] | None:
    """Convert a ``CQ`` to a Quantity in the unit as sent."""
    number = order_of(context).format.read(found.component(1))
    if number is None or number.doubtful or number.comparator:
        context.finding("not a number: left out")
        return None
    text = found.nested(2).component(1)
    unit = site_unit(context.site, text) if text else None
    made: dict[str, Any] = {"value": number.value}
    if unit is not None:
        made["unit"] = unit.text
    if unit is not None and unit.ucum:
        made |= {"system": UCUM, "code": unit.ucum}
    return made


def container(spm: Segment, context: Context) -> list[dict[str, Any]]:
    """SPM-27 and SPM-6: the tube and what is in it beside the specimen."""
    made: dict[str, Any] = {}
    for number, element in ((27, "type"), (6, "additiveCodeableConcept")):
        context.at(spm, number)
        found = spm.field(number)
        concept = cwe_concept(found, context) if found and not found.is_null else None
        if concept:
            made[element] = concept
    return [made] if made else []


def note(found: Field, _context: Context) -> dict[str, Any]:
    """SPM-14: an Annotation."""
    return {"text": clean(found.verbatim)}


_HANDLING: Final = "handling in the laboratory: no recipient asks for it"

SPM_SPECIMEN: Final = SegmentMap(
    "SPM",
    "Specimen",
    rows=(
        Row("SPM-2.1", "identifier", order_number("PGN"), repeats=True),
        Row("SPM-2.2", "identifier", order_number("FGN"), repeats=True, note="names the Specimen"),
        Row("SPM-30", "accessionIdentifier", cx_identifier),
        Rule(("SPM-20", "SPM-21"), "status", status),
        Row("SPM-4", "type", specimen_type),
        Row("SPM-18", "receivedTime", ts_datetime),
        Rule(("SPM-17",), "collection.collected[x]", collected),
        Row("SPM-12", "collection.quantity", amount),
        Row("SPM-7", "collection.method", cwe_concept),
        Row("SPM-8", "collection.bodySite", cwe_concept),
        Rule(("SPM-27", "SPM-6"), "container", container, repeats=True),
        Row("SPM-24", "condition", cwe_concept, repeats=True),
        Row("SPM-14", "note", note, repeats=True),
    ),
    not_mapped={
        "SPM-1": "set id: a number of the message",
        "SPM-3": "parent specimens: results name the specimen they were made of",
        "SPM-5": "type modifier: SPM-4 says the type",
        "SPM-9": "site modifier: SPM-8 says the site",
        "SPM-10": "collection site: wards and places are for no recipient",
        "SPM-11": "role: results are of patients' specimens",
        "SPM-13": "grouped specimen count: no FHIR element",
        **{f"SPM-{number}": _HANDLING for number in (15, 16, 19, 22, 23, 25, 26, 28, 29)},
        "SPM-31": "other identifiers: SPM-2 names the specimen",
        "SPM-32": "shipment: of the laboratory's post",
    },
)


def identity(spm: Segment, order: tuple[str, ...]) -> tuple[str, ...]:
    """Return the business identifiers of a specimen: its filler, else placer number; else its place in the order."""
    found = spm.field(2)
    for number in (2, 1):
        assigned = found.nested(number)
        if value := assigned.component(1):
            return (str(number), assigned.component(2) or assigned.component(3), value)
    return (*order, spm.value(4), spm.value(1))
