"""The R5 view of a resource (ARCHITECTURE, decision 11): R4 in, R5 5.0.0 out.

``r5_trial`` and ``r5_clinical`` hold the moves per type. A resource of R4 may carry what only R5 has in HL7's
cross-version extensions (``http://hl7.org/fhir/5.0/StructureDefinition/extension-ResearchSubject.progress``): they
become the elements they stand for, in place of what the R4 element would give.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.errors import InvalidResource
from gateway.fhir import r5_clinical as clinical
from gateway.fhir import r5_trial as trial
from gateway.fhir.r5_steps import Object, Step

CROSS_VERSION: Final = "http://hl7.org/fhir/5.0/StructureDefinition/extension-"
"""Start of the URL of an extension that carries an R5 element in R4; the element's path follows."""

_LISTS: Final = frozenset(
    {
        "ResearchStudy.progressStatus",
        "ResearchStudy.comparisonGroup",
        "ResearchStudy.associatedParty",
        "ResearchStudy.label",
        "ResearchStudy.outcomeMeasure",
        "ResearchStudy.studyDesign",
        "ResearchStudy.result",
        "ResearchSubject.progress",
    }
)

STEPS: Final[dict[str, tuple[Step, ...]]] = {
    "AllergyIntolerance": clinical.ALLERGY,
    "Binary": (),
    "Condition": clinical.CONDITION,
    "Consent": trial.CONSENT,
    "DiagnosticReport": clinical.DIAGNOSTIC_REPORT,
    "Encounter": clinical.ENCOUNTER,
    "Immunization": clinical.IMMUNIZATION,
    "Location": clinical.LOCATION,
    "Medication": clinical.MEDICATION,
    "MedicationAdministration": clinical.MEDICATION_ADMINISTRATION,
    "MedicationRequest": clinical.MEDICATION_REQUEST,
    "Observation": clinical.OBSERVATION,
    "OperationOutcome": (),
    "Organization": clinical.ORGANIZATION,
    "Parameters": (),
    "Patient": (),
    "PlanDefinition": trial.PLAN_DEFINITION,
    "Practitioner": clinical.PRACTITIONER,
    "PractitionerRole": clinical.PRACTITIONER_ROLE,
    "Procedure": clinical.PROCEDURE,
    "Provenance": clinical.PROVENANCE,
    "Questionnaire": (),
    "RelatedPerson": (),
    "ResearchStudy": trial.RESEARCH_STUDY,
    "ResearchSubject": trial.RESEARCH_SUBJECT,
    "ServiceRequest": clinical.SERVICE_REQUEST,
    "Specimen": clinical.SPECIMEN,
    "Task": clinical.TASK,
}
"""The moves per type, in order; the types here are those there is an R5 view of."""


def to_r5(resource: dict[str, Any]) -> dict[str, Any]:
    """Return the R5 form of a valid R4 resource or Bundle; what did not change is shared with it.

    Raises ``InvalidResource`` for a type there is no R5 view of.

    >>> subject = to_r5({"resourceType": "ResearchSubject", "status": "on-study", "assignedArm": "Arm A",
    ...                  "study": {"reference": "ResearchStudy/1"}, "individual": {"reference": "Patient/1"}})
    >>> subject["status"], subject["subject"], subject["assignedComparisonGroup"]
    ('active', {'reference': 'Patient/1'}, 'arm-a')
    """
    kind = str(resource.get("resourceType", ""))
    if kind == "Bundle":
        return _bundle(resource)
    if kind not in STEPS:
        raise InvalidResource(kind, "there is no R5 view of this type")
    copy = dict(resource)
    for step in STEPS[kind]:
        step(copy)
    if "extension" in copy:
        _unfold(copy, kind)
    if "contained" in copy:
        copy["contained"] = [to_r5(each) for each in copy["contained"]]
    return copy


def _bundle(bundle: Object) -> Object:
    copy = dict(bundle)
    if "entry" in copy:
        copy["entry"] = [
            {**entry, "resource": to_r5(entry["resource"])} if "resource" in entry else entry for entry in copy["entry"]
        ]
    return copy


def _unfold(copy: Object, kind: str) -> None:
    """Turn cross-version extensions into the elements they stand for."""
    start = f"{CROSS_VERSION}{kind}."
    found: dict[str, list[Any]] = {}
    others = []
    for extension in copy.pop("extension"):
        if extension["url"].startswith(start):
            found.setdefault(extension["url"].removeprefix(start), []).append(_value(extension))
        else:
            others.append(extension)
    for element, values in found.items():
        copy[element] = values if f"{kind}.{element}" in _LISTS else values[0]
    if others:
        copy["extension"] = others


def _value(extension: Object) -> Any:
    """Return what an extension says: its value, or an object of what its parts say."""
    if "extension" in extension:
        return {part["url"]: _value(part) for part in extension["extension"]}
    return next(value for key, value in extension.items() if key.startswith("value"))
