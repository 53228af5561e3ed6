"""The R5 view of a resource (ARCHITECTURE, decision 11): R4 in, R5 5.0.0 out.

``r5_trial``, ``r5_clinical`` and ``r5_more`` hold the moves per type. What a move cannot take back is carried in HL7's
cross-version extensions (``gateway.fhir.across``), so that nothing R4 says is lost. A resource of R4 may itself carry
what only R5 has (``http://hl7.org/fhir/5.0/StructureDefinition/extension-ResearchSubject.progress``): it becomes the
element it stands for, in place of what the R4 element would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway.errors import InvalidResource
from gateway.fhir import r5_audit as audit
from gateway.fhir import r5_clinical as clinical
from gateway.fhir import r5_more as more
from gateway.fhir import r5_plans as plans
from gateway.fhir import r5_terminology as terminology
from gateway.fhir import r5_trial as trial
from gateway.fhir.across import R4_IN_R5, R5_IN_R4, R5_ONLY, without_empty_shadows
from gateway.fhir.r5_steps import Object, Step, walk, walk_back
from gateway.fhir.r5_types import recast

CROSS_VERSION: Final = R5_ONLY

STEPS: Final[dict[str, tuple[Step, ...]]] = {
    "AllergyIntolerance": clinical.ALLERGY,
    "AuditEvent": audit.AUDIT_EVENT,
    "Binary": (),
    "CodeSystem": (),
    "ConceptMap": terminology.CONCEPT_MAP,
    "Condition": clinical.CONDITION,
    "Consent": trial.CONSENT,
    "DiagnosticReport": clinical.DIAGNOSTIC_REPORT,
    "DocumentReference": more.DOCUMENT_REFERENCE,
    "Encounter": clinical.ENCOUNTER,
    "Group": more.GROUP,
    "Immunization": clinical.IMMUNIZATION,
    "Location": more.LOCATION,
    "Medication": clinical.MEDICATION,
    "MedicationAdministration": clinical.MEDICATION_ADMINISTRATION,
    "MedicationRequest": clinical.MEDICATION_REQUEST,
    "Observation": (),
    "OperationOutcome": (),
    "Organization": more.ORGANIZATION,
    "Parameters": (),
    "Patient": (),
    "PlanDefinition": plans.PLAN_DEFINITION,
    "Practitioner": more.PRACTITIONER,
    "PractitionerRole": more.PRACTITIONER_ROLE,
    "Procedure": clinical.PROCEDURE,
    "Provenance": more.PROVENANCE,
    "Questionnaire": (),
    "RelatedPerson": (),
    "ResearchStudy": trial.RESEARCH_STUDY,
    "ResearchSubject": trial.RESEARCH_SUBJECT,
    "ServiceRequest": clinical.SERVICE_REQUEST,
    "Specimen": clinical.SPECIMEN,
    "Task": more.TASK,
    "ValueSet": (),
}
"""The moves per type, in order; the types here are those there is an R5 view of."""

_ONE_WAY: Final = frozenset({"AuditEvent", "ConceptMap"})
"""Types that are the gateway's own and are never taken in R5."""


def to_r5(resource: dict[str, Any], past: Sequence[str] = ()) -> dict[str, Any]:
    """Return the R5 form of a valid R4 resource or Bundle; what did not change is shared with it.

    ``past``: the states in which a ResearchSubject was before, oldest first, which R4 does not tell.
    Raises ``InvalidResource`` for a type there is no R5 view of.

    >>> subject = to_r5({"resourceType": "ResearchSubject", "status": "on-study", "assignedArm": "Arm A",
    ...                  "study": {"reference": "ResearchStudy/1"}, "individual": {"reference": "Patient/1"}})
    >>> subject["status"], subject["subject"], subject["assignedComparisonGroup"]
    ('active', {'reference': 'Patient/1'}, 'arm-a')
    >>> subject["extension"][0]["url"].rpartition("/")[2], subject["extension"][0]["valueString"]
    ('extension-ResearchSubject.assignedArm', 'Arm A')
    """
    if resource.get("resourceType") == "Bundle":
        return _bundle(resource)
    return _viewed(resource, past)


def _bundle(bundle: Object) -> Object:
    copy = dict(bundle)
    if "entry" in copy:
        copy["entry"] = [
            {**entry, "resource": to_r5(entry["resource"])} if "resource" in entry else entry for entry in copy["entry"]
        ]
    return copy


def _viewed(resource: Object, past: Sequence[str] = ()) -> Object:
    kind = str(resource.get("resourceType", ""))
    if kind not in STEPS:
        raise InvalidResource(kind, "there is no R5 view of this type")
    own = recast({name: value for name, value in resource.items() if name != "contained"})
    made = walk(own, STEPS[kind])
    if STEPS[kind] and kind not in _ONE_WAY:
        _carry(resource, own, made)
    if past and "progress" in made:
        made = trial.with_past(made, past)
    if "extension" in made:
        _unfold(made, kind)
    if "contained" in resource:
        made["contained"] = [_viewed(each) for each in resource["contained"]]
    return made


def _carry(resource: Object, own: Object, made: Object) -> None:
    """Put what the way back would lose into extensions. ``own``: the resource, its datatypes as R5 has them."""
    kind = resource["resourceType"]
    back = walk_back(made, STEPS[kind])
    if back == own:
        return
    names = dict.fromkeys([*own, *back])
    lost = dict.fromkeys(name.removeprefix("_") for name in names if own.get(name) != back.get(name))
    carried = [each for name in lost for each in recast(R4_IN_R5.carried(kind, name, resource))]
    made["extension"] = [*made.get("extension", ()), *carried]


def _unfold(made: Object, kind: str) -> None:
    """Turn cross-version extensions into the elements they stand for."""
    if not any(each["url"].startswith(R5_ONLY) for each in made["extension"]):
        return
    found, others = R5_IN_R4.heard(kind, made.pop("extension"))
    now = made.get("progress", [])[-1:]
    made |= without_empty_shadows({name: value for name, value in found.items() if value is not None})
    if kind == "ResearchSubject" and now and trial.states(made["progress"])[-1:] != trial.states(now):
        made["progress"] = [*made["progress"], *now]
    if others:
        made["extension"] = others
