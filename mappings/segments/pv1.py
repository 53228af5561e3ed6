"""``PV1`` (patient visit) to ``Encounter``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway.hl7v2.message import Field, Segment
from mappings.context import Context, Draft
from mappings.datatypes.cwe import concept, site_concept, through_table
from mappings.datatypes.cx import cx_identifier, identifier_type
from mappings.datatypes.hd import hd_system
from mappings.datatypes.ts import period, ts_datetime
from mappings.datatypes.xcn import xcn_practitioner
from mappings.rules import Row, Rule, SegmentMap, code_of
from mappings.tables import load

_CLASSES: Final = load("hl70004_patient_class")
_BY_CLASS: Final = load("hl70004_encounter_status")
_BY_EVENT: Final = load("hl70003_encounter_status")
_ENDING_EVENTS: Final = frozenset({"A03", "A11"})
_UNKNOWN_CLASS: Final = {"system": "http://terminology.hl7.org/CodeSystem/v3-NullFlavor", "code": "UNK"}
_PARTICIPATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"


def encounter_status(pv1: Segment, context: Context) -> str:
    """A cancelling or discharging event, else PV1-45, else the event, else PV1-2 (three sources of the guide, ranked).

    The event counts in ADT messages only. What PV1-2 alone suggests is tentative: an ``ORU`` or an update (A08) that
    names a visit does not say how the visit stands, and never reopens one that has ended.
    """
    event = context.message.event if context.message.type == "ADT" else ""
    if event in _ENDING_EVENTS:
        return _BY_EVENT.targets[event].code
    ended = pv1.field(45)
    if ended and not ended.is_null:
        return "finished"
    if (by_event := _BY_EVENT.targets.get(event)) is not None:
        return by_event.code
    _say_tentatively("status", context)
    context.at(pv1, 2)
    patient_class = pv1.value(2)
    return code_of(_BY_CLASS, patient_class, context, unknown="unknown") if patient_class else "unknown"


def encounter_class(pv1: Segment, context: Context) -> dict[str, str]:
    """PV1-2 through table 0004; FHIR requires a class, so a visit without one has the null flavour ``UNK``."""
    found = pv1.field(2)
    if found and found.component(1):
        return through_table(_CLASSES, found, context)
    context.finding("a visit without a patient class: its class is unknown")
    _say_tentatively("class", context)
    return dict(_UNKNOWN_CLASS)


def _say_tentatively(element: str, context: Context) -> None:
    if context.current is not None:
        context.current.tentative |= {element}


def visit_identifier(found: Field, context: Context) -> dict[str, Any] | None:
    """PV1-19 and PV1-50: type VN; without an assigning authority the number is one of the site's visits."""
    value, hd = found.component(1), found.nested(4)
    if not value:
        return None
    system = hd_system(hd, context) if hd else context.site.scoped("identifier", "visit")
    kind = found.component(5) or "VN"
    return {"type": {"coding": [identifier_type(kind, context)]}, "system": system, "value": value}


def participant(code: str, display: str) -> Callable[[Field, Context], dict[str, Any] | None]:
    """Return the converter of an ``XCN`` to an ``Encounter.participant`` of this type (v3-ParticipationType)."""

    def convert(found: Field, context: Context) -> dict[str, Any] | None:
        individual = xcn_practitioner(found, context)
        if individual is None:
            return None
        kind = {"coding": [{"system": _PARTICIPATION, "code": code, "display": display}]}
        return {"type": [kind], "individual": individual}

    convert.__name__ = f"participant({code!r})"
    convert.__doc__ = f"a Practitioner of its own, participating as {display}"
    return convert


def visit_period(pv1: Segment, context: Context) -> dict[str, Any] | None:
    """PV1-44 (admitted) to PV1-45 (discharged)."""
    ends = []
    for number in (44, 45):
        context.at(pv1, number)
        found = pv1.field(number)
        ends.append(ts_datetime(found, context) if found and not found.is_null else None)
    return period(ends[0], ends[1], context)


_PLACE: Final = "wards, rooms and beds: no recipient is entitled to them"
_BILLING: Final = "of billing"

PV1_ENCOUNTER: Final = SegmentMap(
    "PV1",
    "Encounter",
    rows=(
        Row("PV1-19", "identifier", visit_identifier, repeats=True, note="names the Encounter"),
        Row("PV1-50", "identifier", visit_identifier, repeats=True, note="names it where PV1-19 is empty"),
        Rule(("PV1-2", "PV1-45", "MSH-9"), "status", encounter_status),
        Rule(("PV1-2",), "class", encounter_class),
        Row("PV1-4", "type", concept("hl70007_admission_type"), repeats=True),
        Row("PV1-5", "hospitalization.preAdmissionIdentifier", cx_identifier),
        Row("PV1-7", "participant", participant("ATND", "attender"), repeats=True),
        Row("PV1-8", "participant", participant("REF", "referrer"), repeats=True),
        Row("PV1-9", "participant", participant("CON", "consultant"), repeats=True),
        Row("PV1-10", "serviceType", site_concept("0069")),
        Row("PV1-13", "hospitalization.reAdmission", site_concept("0092")),
        Row("PV1-14", "hospitalization.admitSource", site_concept("0023")),
        Row("PV1-15", "hospitalization.specialArrangement", site_concept("0009"), repeats=True),
        Row("PV1-17", "participant", participant("ADM", "admitter"), repeats=True),
        Row("PV1-36", "hospitalization.dischargeDisposition", site_concept("0112")),
        Row("PV1-38", "hospitalization.dietPreference", site_concept("0114"), repeats=True),
        Rule(("PV1-44", "PV1-45"), "period", visit_period),
        Row("PV1-52", "participant", participant("PART", "Participation"), repeats=True),
    ),
    not_mapped={
        "PV1-1": "set id: a number of the message",
        "PV1-3": _PLACE,
        "PV1-6": _PLACE,
        "PV1-11": _PLACE,
        "PV1-12": "pre-admit test: no FHIR element",
        "PV1-16": "VIP: no recipient is entitled to it",
        "PV1-18": "patient type: the site's own, PV1-2 says the class",
        **{f"PV1-{number}": _BILLING for number in (*range(20, 36), *range(46, 50))},
        "PV1-37": _PLACE,
        "PV1-39": "servicing facility: the feed says it",
        "PV1-40": "bed status: of the ward, not of the patient",
        "PV1-41": "account status: of billing",
        "PV1-42": _PLACE,
        "PV1-43": _PLACE,
        "PV1-51": "visit indicator: PV1-19 is taken at either level",
        "PV1-53": "service episode description: free text",
        "PV1-54": "service episode: no study asks for episodes",
    },
)


def encounter_id(pv1: Segment, context: Context) -> str | None:
    """Return the internal id of the visit: PV1-19, else PV1-50, within the site; None: the visit has no number."""
    if number := pv1.value(19):
        return context.id("Encounter", number)
    if number := pv1.value(50):
        return context.id("Encounter", "alternate", number)
    return None


def encounter(pv1: Segment, context: Context) -> Draft | None:
    """Open and fill the Encounter of the context's patient; None, with a finding, when the visit has no number."""
    id = encounter_id(pv1, context)
    if id is None:
        context.at(pv1, 19)
        context.finding("a visit without a number: no Encounter is made of it")
        return None
    draft = context.draft("Encounter", id)
    draft.body["subject"] = {"reference": f"Patient/{context.patient}"}
    PV1_ENCOUNTER.apply(pv1, context, draft)
    return draft
