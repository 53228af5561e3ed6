"""R5 of what care is made of: encounters, results, specimens, orders, conditions, medication.

What R5 has no element for (``Encounter.statusHistory``, container details of a Specimen beyond their description) is
left out here; the view carries it in extensions.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.fhir.r5_steps import (
    CONCEPT,
    LISTED,
    POINTER,
    REASON,
    Change,
    Object,
    Step,
    alter,
    choose,
    coded,
    drop,
    each,
    edited,
    join,
    rename,
    tuck,
)

SUBJECT_STATUS: Final = "http://terminology.hl7.org/CodeSystem/encounter-subject-status"
PARTICIPATION: Final = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
CLINICAL: Final = "http://terminology.hl7.org/CodeSystem/condition-clinical"

_ENCOUNTER_STATUS: Final = {
    "arrived": ("in-progress", "arrived"),
    "triaged": ("in-progress", "triaged"),
    "onleave": ("on-hold", "on-leave"),
    "finished": ("completed", ""),
}
_ENCOUNTER_BACK: Final = {r5: r4 for r4, r5 in _ENCOUNTER_STATUS.items()}
_FUNCTIONS: Final = (("recorder", "enterer"), ("asserter", "informant"))
_DIETS: Final = ("dietPreference", "specialCourtesy", "specialArrangement")


def _encounter_status(it: Object) -> None:
    status, subject = _ENCOUNTER_STATUS.get(it.get("status", ""), ("", ""))
    if status:
        it["status"] = status
    if subject:
        it["subjectStatus"] = coded(SUBJECT_STATUS).there(subject)


def _encounter_status_back(it: Object) -> None:
    subject = it.pop("subjectStatus", None)
    told = (it.get("status", ""), coded("").back(subject) if subject else "")
    if told in _ENCOUNTER_BACK:
        it["status"] = _ENCOUNTER_BACK[told]


def _encounter_diagnosis(it: Object) -> None:
    """R5 takes Conditions alone as diagnoses; a Procedure becomes a reason."""
    procedures = []
    conditions = []
    for diagnosis in it.pop("diagnosis", ()):
        about = diagnosis["condition"]
        if about.get("reference", "").startswith("Procedure/") or about.get("type") == "Procedure":
            procedures.append({"value": [POINTER.there(about)]})
        else:
            conditions.append(_DIAGNOSIS.there(diagnosis))
    if conditions:
        it["diagnosis"] = conditions
    if procedures:
        it["reason"] = [*it.get("reason", ()), *procedures]


def _encounter_diagnosis_back(it: Object) -> None:
    if "diagnosis" in it:
        it["diagnosis"] = [_DIAGNOSIS.back(one) for one in it["diagnosis"]]


def _class(coding: Object) -> list[Object]:
    return [{"coding": [coding]}]


def _class_back(classes: list[Object]) -> Any:
    (only,) = classes
    return only["coding"][0]


def _hospitalization(it: Object) -> None:
    admission = dict(it.pop("hospitalization", {}))
    for element in _DIETS:
        if element in admission:
            it[element] = admission.pop(element)
    if admission:
        it["admission"] = admission


def _hospitalization_back(it: Object) -> None:
    found = dict(it.pop("admission", {}))
    found |= {element: it.pop(element) for element in _DIETS if element in it}
    if found:
        it["hospitalization"] = found


def _participants(it: Object) -> None:
    """``recorder`` and ``asserter`` become participants."""
    found = [
        {"function": coded(PARTICIPATION).there(function), "actor": it.pop(element)}
        for element, function in _FUNCTIONS
        if element in it
    ]
    if found:
        it["participant"] = found


def _participants_back(it: Object) -> None:
    names = {function: element for element, function in _FUNCTIONS}
    for one in it.pop("participant", ()):
        it[names[coded("").back(one["function"])]] = one["actor"]


def _evidence(it: Object) -> None:
    found: list[Any] = []
    for evidence in it.pop("evidence", ()):
        found += [CONCEPT.there(code) for code in evidence.get("code", ())]
        found += [POINTER.there(detail) for detail in evidence.get("detail", ())]
    if found:
        it["evidence"] = found


def _evidence_back(it: Object) -> None:
    if "evidence" in it:
        it["evidence"] = [
            {"code": [one["concept"]]} if "concept" in one else {"detail": [one["reference"]]} for one in it["evidence"]
        ]


_UNKNOWN: Final = coded(CLINICAL).there("unknown")


def _clinical_status(it: Object) -> None:
    """R5 requires one: where R4 had none (entered in error) it is unknown."""
    it.setdefault("clinicalStatus", _UNKNOWN)


def _clinical_status_back(it: Object) -> None:
    if it.get("clinicalStatus") == _UNKNOWN:
        del it["clinicalStatus"]


def _container(container: Object) -> Object | None:
    """Return the R5 container: its device by identifier or description, as R4 has no resource for it."""
    device: Object = {}
    if "identifier" in container:
        device["identifier"] = container["identifier"][0]
    if display := container.get("description") or container.get("type", {}).get("text"):
        device["display"] = display
    if not device:
        return None
    quantity = container.get("specimenQuantity")
    return {"device": device, "specimenQuantity": quantity} if quantity else {"device": device}


def _container_back(container: Object) -> Object:
    device = container["device"]
    found: Object = {"identifier": [device["identifier"]]} if "identifier" in device else {}
    if "display" in device:
        found["description"] = device["display"]
    return found | ({"specimenQuantity": container["specimenQuantity"]} if "specimenQuantity" in container else {})


def _parameter(value: Object) -> Object:
    return {"parameter": [{"code": {"text": "order detail"}, "valueCodeableConcept": value}]}


def _dose_text(it: Object, element: str) -> None:
    """Make a dose's number, a number or a text in R4, the text it is in R5."""
    for kind in ("PositiveInt", "String"):
        old = f"{element}{kind}"
        if old in it:
            it[element] = str(it.pop(old))
        if "_" + old in it:
            it["_" + element] = it.pop("_" + old)


def _dose_text_back(it: Object, element: str) -> None:
    text = it.pop(element, "")
    kind = "PositiveInt" if text.isdecimal() and text.isascii() and text[0] != "0" else "String"
    if text:
        it[f"{element}{kind}"] = int(text) if kind == "PositiveInt" else text
    if "_" + element in it:
        it[f"_{element}{kind}"] = it.pop("_" + element)


def _dose(element: str) -> Step:
    return Step(lambda it: _dose_text(it, element), lambda it: _dose_text_back(it, element))


_DIAGNOSIS: Final = edited(
    rename("condition", "condition", Change(lambda it: [POINTER.there(it)], lambda it: POINTER.back(LISTED.back(it)))),
    alter("use", LISTED),
    tuck("rank", "Encounter.diagnosis.rank", "valuePositiveInt"),
)
_REASON_VALUE: Final = Change(lambda it: {"value": [it]}, lambda it: LISTED.back(it["value"]))
_DEVICES: Final = Change(_container, _container_back)
_MEDICATION: Final = choose("medication", "medicationCodeableConcept", "medicationReference")

ENCOUNTER: Final[tuple[Step, ...]] = (
    Step(_encounter_status, _encounter_status_back),
    alter("class", Change(_class, _class_back)),
    alter("serviceType", Change(lambda it: [CONCEPT.there(it)], lambda it: CONCEPT.back(LISTED.back(it)))),
    alter("participant", each(edited(rename("individual", "actor")))),
    alter("location", each(edited(rename("physicalType", "form")))),
    rename("period", "actualPeriod"),
    join("reason", "reasonCode", "reasonReference", wrap=_REASON_VALUE),
    Step(_encounter_diagnosis, _encounter_diagnosis_back),
    Step(_hospitalization, _hospitalization_back),
    drop("classHistory", "statusHistory"),
)
DIAGNOSTIC_REPORT: Final[tuple[Step, ...]] = (rename("imagingStudy", "study"),)
SPECIMEN: Final[tuple[Step, ...]] = (
    alter("collection", edited(alter("bodySite", CONCEPT))),
    alter("processing", each(edited(rename("procedure", "method")))),
    alter("container", each(_DEVICES)),
)
SERVICE_REQUEST: Final[tuple[Step, ...]] = (
    alter("code", CONCEPT),
    alter("orderDetail", each(Change(_parameter, lambda it: LISTED.back(it["parameter"])["valueCodeableConcept"]))),
    join("location", "locationCode", "locationReference"),
    REASON,
    alter("supportingInfo", each(POINTER)),
    rename(
        "patientInstruction",
        "patientInstruction",
        Change(lambda text: [{"instructionMarkdown": text}], lambda it: LISTED.back(it)["instructionMarkdown"]),
    ),
)
CONDITION: Final[tuple[Step, ...]] = (
    Step(_clinical_status, _clinical_status_back),
    Step(_participants, _participants_back),
    Step(_evidence, _evidence_back),
)
ALLERGY: Final[tuple[Step, ...]] = (
    rename("type", "type", coded("http://hl7.org/fhir/allergy-intolerance-type")),
    Step(_participants, _participants_back),
    alter("reaction", each(edited(alter("manifestation", each(CONCEPT))))),
)
PROCEDURE: Final[tuple[Step, ...]] = (
    alter("category", LISTED),
    *(rename(f"performed{kind}", f"occurrence{kind}") for kind in ("DateTime", "Period", "String", "Age", "Range")),
    rename("asserter", "reportedReference"),
    REASON,
    join("complication", "complication", "complicationDetail"),
    join("used", "usedCode", "usedReference"),
)
MEDICATION_ADMINISTRATION: Final[tuple[Step, ...]] = (
    _MEDICATION,
    alter("category", LISTED),
    rename("context", "encounter"),
    rename("effectiveDateTime", "occurenceDateTime"),
    rename("effectivePeriod", "occurencePeriod"),
    alter("performer", each(edited(alter("actor", POINTER)))),
    REASON,
    alter("device", each(POINTER)),
    drop("instantiates"),
)
MEDICATION_REQUEST: Final[tuple[Step, ...]] = (
    _MEDICATION,
    rename("reportedBoolean", "reported"),
    rename("reportedReference", "informationSource", LISTED),
    alter("performer", LISTED),
    REASON,
    alter("dispenseRequest", edited(rename("performer", "dispenser"))),
    drop("detectedIssue", "instantiatesCanonical", "instantiatesUri"),
)
_INGREDIENT: Final = edited(
    choose("item", "itemCodeableConcept", "itemReference"),
    rename("strength", "strengthRatio"),
)
MEDICATION: Final[tuple[Step, ...]] = (
    rename("form", "doseForm"),
    rename("manufacturer", "marketingAuthorizationHolder"),
    rename("amount", "totalVolume", Change(lambda ratio: ratio.get("numerator"), lambda it: {"numerator": it})),
    alter("ingredient", each(_INGREDIENT)),
)
IMMUNIZATION: Final[tuple[Step, ...]] = (
    alter("manufacturer", POINTER),
    rename("reportOrigin", "informationSource", CONCEPT),
    REASON,
    alter("reaction", each(edited(rename("detail", "manifestation", POINTER)))),
    alter("protocolApplied", each(edited(_dose("doseNumber"), _dose("seriesDoses")))),
    drop("education", "programEligibility", "recorded"),
)
