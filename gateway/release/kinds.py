"""The resource types that can be released, and what FHIR R4 4.0.1 says of each (the resource pages)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SHARED: Final = ("Organization", "Practitioner", "PlanDefinition", "Group", "ResearchStudy")
"""Types that belong to no patient. A PlanDefinition and a Group are those of the study that refers to them."""

SAYS_OF_OTHERS: Final = ("Provenance",)
"""Types that belong to a patient or to nobody, as what they speak of does: they are seen where that is seen."""

UNDATED: Final = ("Patient", "ResearchSubject", "Consent", "Provenance", *SHARED)
"""Types without a clinical date: membership alone governs them."""

CODED: Final = ("Observation", "DiagnosticReport")
"""Types of which a recipient's file can list the codes."""

REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "Patient": (),
    "ResearchSubject": ("status", "study", "individual"),
    "ResearchStudy": ("status",),
    "Consent": ("status", "scope", "category"),
    "Encounter": ("status", "class"),
    "Specimen": (),
    "Observation": ("status", "code"),
    "DiagnosticReport": ("status", "code"),
    "Condition": ("subject",),
    "Procedure": ("status", "subject"),
    "MedicationAdministration": ("status", "subject"),
    "Immunization": ("status", "vaccineCode", "patient"),
    "DocumentReference": ("status", "content"),
    "Binary": ("contentType",),
    "ServiceRequest": ("status", "intent", "subject"),
    "Task": ("status", "intent"),
    "Provenance": ("target", "recorded", "agent"),
    "Organization": (),
    "Practitioner": (),
    "PlanDefinition": ("status",),
    "Group": ("type", "actual"),
}
"""Elements without which a resource is not valid, by releasable type."""

ANY_OF: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "Organization": (("identifier", "name"),),
    "Consent": (("policy", "policyRule"),),
    "MedicationAdministration": (
        ("medicationCodeableConcept", "medicationReference"),
        ("effectiveDateTime", "effectivePeriod"),
    ),
    "Immunization": (("occurrenceDateTime", "occurrenceString"),),
}
"""Elements of which one is needed: invariants org-1 and ppc-1, and choices that are required."""

NEEDS_TYPE: Final[Mapping[str, tuple[str, ...]]] = {
    "ResearchSubject": ("ResearchStudy", "Patient"),
    "Provenance": ("Organization",),
    "Condition": ("Patient",),
    "Procedure": ("Patient",),
    "MedicationAdministration": ("Patient",),
    "Immunization": ("Patient",),
    "ServiceRequest": ("Patient",),
    "Binary": ("DocumentReference",),
}
"""Types a required reference points to: a view that may not see them cannot receive the resource."""


_DOMAIN = frozenset({"text", "contained", "extension", "modifierExtension", "meta", "implicitRules", "language"})


def _elements(text: str) -> frozenset[str]:
    return _DOMAIN | frozenset(text.split())


ELEMENTS: Final[Mapping[str, frozenset[str]]] = {
    "Patient": _elements(
        "identifier active name telecom gender birthDate deceasedBoolean deceasedDateTime address maritalStatus "
        "multipleBirthBoolean multipleBirthInteger photo contact communication generalPractitioner "
        "managingOrganization link"
    ),
    "ResearchSubject": _elements("identifier status period study individual assignedArm actualArm consent"),
    "ResearchStudy": _elements(
        "identifier title protocol partOf status primaryPurposeType phase category focus condition contact "
        "relatedArtifact keyword location description enrollment period sponsor principalInvestigator site "
        "reasonStopped note arm objective"
    ),
    "Consent": _elements(
        "identifier status scope category patient dateTime performer organization sourceAttachment sourceReference "
        "policy policyRule verification provision"
    ),
    "Encounter": _elements(
        "identifier status statusHistory class classHistory type serviceType priority subject episodeOfCare basedOn "
        "participant appointment period length reasonCode reasonReference diagnosis account hospitalization location "
        "serviceProvider partOf"
    ),
    "Specimen": _elements(
        "identifier accessionIdentifier status type subject receivedTime parent request collection processing "
        "container condition note"
    ),
    "Observation": _elements(
        "identifier basedOn partOf status category code subject focus encounter effectiveDateTime effectivePeriod "
        "effectiveTiming effectiveInstant issued performer valueQuantity valueCodeableConcept valueString "
        "valueBoolean valueInteger valueRange valueRatio valueSampledData valueTime valueDateTime valuePeriod "
        "dataAbsentReason interpretation note bodySite method specimen device referenceRange hasMember derivedFrom "
        "component"
    ),
    "DiagnosticReport": _elements(
        "identifier basedOn status category code subject encounter effectiveDateTime effectivePeriod issued "
        "performer resultsInterpreter specimen result imagingStudy media conclusion conclusionCode presentedForm"
    ),
    "Provenance": _elements(
        "target occurredPeriod occurredDateTime recorded policy location reason activity agent entity signature"
    ),
    "Organization": _elements("identifier active type name alias telecom address partOf contact endpoint"),
    "Practitioner": _elements(
        "identifier active name telecom address gender birthDate photo qualification communication"
    ),
    "Condition": _elements(
        "identifier clinicalStatus verificationStatus category severity code bodySite subject encounter onsetDateTime "
        "onsetAge onsetPeriod onsetRange onsetString abatementDateTime abatementAge abatementPeriod abatementRange "
        "abatementString recordedDate recorder asserter stage evidence note"
    ),
    "Procedure": _elements(
        "identifier instantiatesCanonical instantiatesUri basedOn partOf status statusReason category code subject "
        "encounter performedDateTime performedPeriod performedString performedAge performedRange recorder asserter "
        "performer location reasonCode reasonReference bodySite outcome report complication complicationDetail "
        "followUp note focalDevice usedReference usedCode"
    ),
    "MedicationAdministration": _elements(
        "identifier instantiates partOf status statusReason category medicationCodeableConcept medicationReference "
        "subject context supportingInformation effectiveDateTime effectivePeriod performer reasonCode reasonReference "
        "request device note dosage eventHistory"
    ),
    "Immunization": _elements(
        "identifier status statusReason vaccineCode patient encounter occurrenceDateTime occurrenceString recorded "
        "primarySource reportOrigin location manufacturer lotNumber expirationDate site route doseQuantity performer "
        "note reasonCode reasonReference isSubpotent subpotentReason education programEligibility fundingSource "
        "reaction protocolApplied"
    ),
    "DocumentReference": _elements(
        "masterIdentifier identifier status docStatus type category subject date author authenticator custodian "
        "relatesTo description securityLabel content context"
    ),
    "Binary": frozenset({"contentType", "securityContext", "data", "meta", "implicitRules", "language"}),
    "ServiceRequest": _elements(
        "identifier instantiatesCanonical instantiatesUri basedOn replaces requisition status intent category "
        "priority doNotPerform code orderDetail quantityQuantity quantityRatio quantityRange subject encounter "
        "occurrenceDateTime occurrencePeriod occurrenceTiming asNeededBoolean asNeededCodeableConcept authoredOn "
        "requester performerType performer locationCode locationReference reasonCode reasonReference insurance "
        "supportingInfo specimen bodySite note patientInstruction relevantHistory"
    ),
    "Task": _elements(
        "identifier instantiatesCanonical instantiatesUri basedOn groupIdentifier partOf status statusReason "
        "businessStatus intent priority code description focus for encounter executionPeriod authoredOn lastModified "
        "requester performerType owner location reasonCode reasonReference insurance note relevantHistory "
        "restriction input output"
    ),
    "PlanDefinition": _elements(
        "url identifier version name title subtitle type status experimental subjectCodeableConcept subjectReference "
        "date publisher contact description useContext jurisdiction purpose usage copyright approvalDate "
        "lastReviewDate effectivePeriod topic author editor reviewer endorser relatedArtifact library goal action"
    ),
    "Group": _elements("identifier active type actual code name quantity managingEntity characteristic member"),
}
"""The top-level elements of the releasable types."""
