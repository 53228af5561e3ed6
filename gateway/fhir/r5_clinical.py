"""R5 of what care is made of: encounters, results, specimens, orders, conditions, medication, and who gives it.

What R5 moved to another resource has no place and is left out: ``Encounter.statusHistory`` and ``classHistory``,
``diagnosis.rank``, container details of a Specimen beyond their description.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.fhir.r5_steps import (
    REASON,
    Object,
    Step,
    alter,
    coded,
    concept,
    drop,
    each,
    edited,
    join,
    listed,
    pointer,
    rename,
    to_code,
)

SUBJECT_STATUS: Final = "http://terminology.hl7.org/CodeSystem/encounter-subject-status"
PARTICIPATION: Final = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"

_ENCOUNTER_STATUS: Final = {
    "arrived": ("in-progress", "arrived"),
    "triaged": ("in-progress", "triaged"),
    "onleave": ("on-hold", "on-leave"),
    "finished": ("completed", ""),
}
_REASON_USE: Final = (("reasonCode", concept), ("reasonReference", pointer))


def _encounter_status(it: Object) -> None:
    status, subject = _ENCOUNTER_STATUS.get(it.get("status", ""), ("", ""))
    if status:
        it["status"] = status
    if subject:
        it["subjectStatus"] = coded(SUBJECT_STATUS)(subject)


def _encounter_diagnosis(it: Object) -> None:
    """R5 takes Conditions alone as diagnoses; a Procedure becomes a reason."""
    procedures = []
    conditions = []
    for diagnosis in it.pop("diagnosis", ()):
        about = diagnosis["condition"]
        if about.get("reference", "").startswith("Procedure/") or about.get("type") == "Procedure":
            procedures.append({"value": [pointer(about)]})
        else:
            conditions.append(_DIAGNOSIS(diagnosis))
    if conditions:
        it["diagnosis"] = conditions
    if procedures:
        it["reason"] = [*it.get("reason", ()), *procedures]


_DIAGNOSIS: Final = edited(
    rename("condition", "condition", lambda it: [pointer(it)]), alter("use", listed), drop("rank")
)


def _hospitalization(it: Object) -> None:
    admission = dict(it.pop("hospitalization", {}))
    for element in ("dietPreference", "specialCourtesy", "specialArrangement"):
        if element in admission:
            it[element] = admission.pop(element)
    if admission:
        it["admission"] = admission


def _participants(it: Object) -> None:
    """``recorder`` and ``asserter`` become participants."""
    found = [
        {"function": coded(PARTICIPATION)(function), "actor": it.pop(element)}
        for element, function in (("recorder", "enterer"), ("asserter", "informant"))
        if element in it
    ]
    if found:
        it["participant"] = found


def _sampled(element: str) -> Step:
    def sampled(data: Object) -> Object:
        return edited(rename("period", "interval"), lambda it: it.update(intervalUnit="ms"))(data)

    return alter(element, sampled)


def _evidence(it: Object) -> None:
    found: list[Any] = []
    for evidence in it.pop("evidence", ()):
        found += [concept(code) for code in evidence.get("code", ())]
        found += [pointer(detail) for detail in evidence.get("detail", ())]
    if found:
        it["evidence"] = found


def _clinical_status(it: Object) -> None:
    """R5 requires one: where R4 had none (entered in error) it is unknown."""
    it.setdefault("clinicalStatus", coded("http://terminology.hl7.org/CodeSystem/condition-clinical")("unknown"))


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


def _contact(it: Object) -> None:
    """Gather telecom and addresses into contacts; an R4 contact's one name becomes a list."""
    contacts = [edited(alter("name", listed))(contact) for contact in it.pop("contact", ())]
    own = {"telecom": it.pop("telecom")} if "telecom" in it else {}
    addresses = it.pop("address", [])
    if own or addresses:
        contacts.insert(0, {**own, "address": addresses[0]} if addresses else own)
    contacts += [{"address": address} for address in addresses[1:]]
    if contacts:
        it["contact"] = contacts


def _telecom(it: Object) -> None:
    if "telecom" in it:
        it["contact"] = [{"telecom": it.pop("telecom")}]


def _availability(it: Object) -> None:
    times = {"availableTime": it.pop("availableTime", None), "notAvailableTime": it.pop("notAvailable", None)}
    if any(times.values()):
        it["availability"] = [{key: value for key, value in times.items() if value}]
    it.pop("availabilityExceptions", None)


_HOURS: Final = edited(rename("openingTime", "availableStartTime"), rename("closingTime", "availableEndTime"))
_DOSAGE: Final = edited(
    rename("asNeededBoolean", "asNeeded"),
    rename("asNeededCodeableConcept", "asNeededFor", listed),
    alter("maxDosePerPeriod", listed),
)
_MEDICATION: Final = (
    rename("medicationCodeableConcept", "medication", concept),
    rename("medicationReference", "medication", pointer),
)
_COMPONENT: Final = edited(_sampled("valueSampledData"))

ENCOUNTER: Final[tuple[Step, ...]] = (
    _encounter_status,
    alter("class", lambda coding: [{"coding": [coding]}]),
    alter("serviceType", lambda value: [concept(value)]),
    alter("participant", each(edited(rename("individual", "actor")))),
    alter("location", each(edited(rename("physicalType", "form")))),
    rename("period", "actualPeriod"),
    join("reason", *((name, lambda value, wrap=wrap: {"value": [wrap(value)]}) for name, wrap in _REASON_USE)),
    _encounter_diagnosis,
    _hospitalization,
    drop("classHistory", "statusHistory"),
)
OBSERVATION: Final[tuple[Step, ...]] = (_sampled("valueSampledData"), alter("component", each(_COMPONENT)))
DIAGNOSTIC_REPORT: Final[tuple[Step, ...]] = (rename("imagingStudy", "study"),)
SPECIMEN: Final[tuple[Step, ...]] = (
    alter("collection", edited(alter("bodySite", concept))),
    alter("processing", each(edited(rename("procedure", "method")))),
    rename("container", "container", each(_container)),
)
SERVICE_REQUEST: Final[tuple[Step, ...]] = (
    alter("code", concept),
    alter(
        "orderDetail",
        each(lambda it: {"parameter": [{"code": {"text": "order detail"}, "valueCodeableConcept": it}]}),
    ),
    join("location", ("locationCode", concept), ("locationReference", pointer)),
    REASON,
    alter("supportingInfo", each(pointer)),
    alter("patientInstruction", lambda text: [{"instructionMarkdown": text}]),
)
CONDITION: Final[tuple[Step, ...]] = (_clinical_status, _participants, _evidence)
ALLERGY: Final[tuple[Step, ...]] = (
    alter("type", coded("http://hl7.org/fhir/allergy-intolerance-type")),
    _participants,
    alter("reaction", each(edited(alter("manifestation", each(concept))))),
)
PROCEDURE: Final[tuple[Step, ...]] = (
    alter("category", listed),
    *(rename(f"performed{kind}", f"occurrence{kind}") for kind in ("DateTime", "Period", "String", "Age", "Range")),
    rename("asserter", "reportedReference"),
    REASON,
    join("complication", ("complication", concept), ("complicationDetail", pointer)),
    join("used", ("usedReference", pointer), ("usedCode", concept)),
)
MEDICATION_ADMINISTRATION: Final[tuple[Step, ...]] = (
    *_MEDICATION,
    alter("category", listed),
    rename("context", "encounter"),
    rename("effectiveDateTime", "occurenceDateTime"),
    rename("effectivePeriod", "occurencePeriod"),
    alter("performer", each(edited(alter("actor", pointer)))),
    REASON,
    alter("device", each(pointer)),
    drop("instantiates"),
)
MEDICATION_REQUEST: Final[tuple[Step, ...]] = (
    *_MEDICATION,
    rename("reportedBoolean", "reported"),
    rename("reportedReference", "informationSource", listed),
    alter("performer", listed),
    REASON,
    alter("dosageInstruction", each(_DOSAGE)),
    alter("dispenseRequest", edited(rename("performer", "dispenser"))),
    drop("detectedIssue", "instantiatesCanonical", "instantiatesUri"),
)
_INGREDIENT: Final = edited(
    rename("itemCodeableConcept", "item", concept),
    rename("itemReference", "item", pointer),
    rename("strength", "strengthRatio"),
)
MEDICATION: Final[tuple[Step, ...]] = (
    rename("form", "doseForm"),
    rename("manufacturer", "marketingAuthorizationHolder"),
    rename("amount", "totalVolume", lambda ratio: ratio.get("numerator")),
    alter("ingredient", each(_INGREDIENT)),
)
IMMUNIZATION: Final[tuple[Step, ...]] = (
    alter("manufacturer", pointer),
    rename("reportOrigin", "informationSource", concept),
    REASON,
    alter("reaction", each(edited(rename("detail", "manifestation", pointer)))),
    drop("education", "programEligibility", "recorded", "protocolApplied"),
)
TASK: Final[tuple[Step, ...]] = (
    alter("statusReason", concept),
    rename("performerType", "requestedPerformer", each(concept)),
    REASON,
)
ORGANIZATION: Final[tuple[Step, ...]] = (_contact,)
PRACTITIONER: Final[tuple[Step, ...]] = (alter("communication", each(lambda language: {"language": language})),)
PRACTITIONER_ROLE: Final[tuple[Step, ...]] = (_telecom, _availability)
LOCATION: Final[tuple[Step, ...]] = (
    _telecom,
    rename("physicalType", "form"),
    alter("hoursOfOperation", lambda hours: [{"availableTime": [_HOURS(hour) for hour in hours]}]),
    drop("availabilityExceptions"),
)
PROVENANCE: Final[tuple[Step, ...]] = (
    rename("reason", "authorization", each(concept)),
    alter("entity", each(edited(to_code("role", {"derivation": "source"})))),
)
