"""One rich, valid, fictional example of every type the gateway writes."""

from decimal import Decimal
from typing import Any

ID = "5f0c8a1e-0000-4000-8000-0000000000"
UCUM = "http://unitsofmeasure.org"


def concept(code: str, system: str = "http://example.org/codes") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}], "text": code}


def quantity(value: str, unit: str = "g/dL") -> dict[str, Any]:
    return {"value": Decimal(value), "unit": unit, "system": UCUM, "code": unit}


def ref(kind: str, number: int = 1) -> dict[str, Any]:
    return {"reference": f"{kind}/{ID}{number:02}"}


PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": f"{ID}01",
    "meta": {"source": "urn:uuid:5f0c8a1e-0000-4000-8000-0000000000aa"},
    "extension": [
        {
            "url": "http://hl7.org/fhir/StructureDefinition/patient-citizenship",
            "extension": [{"url": "code", "valueCodeableConcept": concept("IT", "urn:iso:std:iso:3166")}],
        }
    ],
    "identifier": [
        {
            "use": "official",
            "type": concept("MR", "http://terminology.hl7.org/CodeSystem/v2-0203"),
            "system": "urn:oid:1.2.3",
            "value": "00017",
        }
    ],
    "active": True,
    "name": [{"use": "official", "family": "Ferri", "given": ["Ada", "Maria"], "period": {"start": "2019-02"}}],
    "telecom": [{"system": "phone", "value": "+39 02 1", "use": "home", "rank": 1}],
    "gender": "female",
    "birthDate": "2020-02-29",
    "_birthDate": {"extension": [{"url": "http://example.org/kept", "valueBoolean": True}]},
    "deceasedBoolean": False,
    "address": [{"line": ["Via Prova 1"], "city": "Milano", "postalCode": "20100", "country": "IT"}],
    "contact": [{"relationship": [concept("N")], "name": {"family": "Ferri"}}],
    "managingOrganization": ref("Organization"),
}

OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "id": f"{ID}02",
    "identifier": [{"system": "urn:oid:1.2.3", "value": "L1"}],
    "basedOn": [ref("ServiceRequest")],
    "status": "final",
    "category": [concept("laboratory", "http://terminology.hl7.org/CodeSystem/observation-category")],
    "code": concept("718-7", "http://loinc.org"),
    "subject": ref("Patient"),
    "encounter": ref("Encounter"),
    "effectiveDateTime": "2026-03-01T08:30:00+01:00",
    "issued": "2026-03-01T09:00:00.123Z",
    "performer": [ref("Organization"), {"display": "Night shift"}],
    "valueQuantity": {**quantity("13.50"), "comparator": "<"},
    "interpretation": [concept("N")],
    "note": [{"text": "haemolysed\nrepeat"}],
    "specimen": ref("Specimen"),
    "referenceRange": [{"low": quantity("12.0"), "high": quantity("16.0"), "text": "12.0 - 16.0"}],
    "component": [{"code": concept("x"), "dataAbsentReason": concept("unknown")}],
}

ENCOUNTER: dict[str, Any] = {
    "resourceType": "Encounter",
    "id": f"{ID}03",
    "status": "finished",
    "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
    "serviceType": concept("HEM"),
    "subject": ref("Patient"),
    "participant": [{"type": [concept("ATND")], "individual": ref("Practitioner")}],
    "period": {"start": "2026-03-01T08:00:00Z", "end": "2026-03-01T10:00:00+01:00"},
    "reasonCode": [concept("transplant")],
    "reasonReference": [ref("Condition")],
    "diagnosis": [
        {"condition": ref("Condition"), "use": concept("AD"), "rank": 1},
        {"condition": ref("Procedure"), "use": concept("AD")},
    ],
    "hospitalization": {"admitSource": concept("gp"), "dietPreference": [concept("halal")]},
    "location": [{"location": ref("Location"), "status": "completed", "physicalType": concept("bd")}],
    "serviceProvider": ref("Organization"),
}

CONSENT: dict[str, Any] = {
    "resourceType": "Consent",
    "id": f"{ID}04",
    "status": "active",
    "scope": concept("research", "http://terminology.hl7.org/CodeSystem/consentscope"),
    "category": [concept("59284-0", "http://loinc.org")],
    "patient": ref("Patient"),
    "dateTime": "2026-03-01T08:30:00Z",
    "performer": [ref("RelatedPerson")],
    "organization": [ref("Organization")],
    "sourceReference": ref("DocumentReference"),
    "policy": [{"uri": "http://example.org/policy"}],
    "policyRule": concept("cric"),
    "verification": [{"verified": True, "verificationDate": "2026-03-01"}],
    "provision": {
        "type": "permit",
        "period": {"start": "2026-03-01", "end": "2030-03-01"},
        "class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}],
        "provision": [{"type": "deny", "purpose": [{"system": "http://example.org", "code": "HMARKT"}]}],
    },
}

RESEARCH_STUDY: dict[str, Any] = {
    "resourceType": "ResearchStudy",
    "id": "mld-01",
    "identifier": [{"system": "http://example.org/studies", "value": "MLD-01"}],
    "title": "A study of nothing in particular",
    "status": "active",
    "category": [concept("interventional")],
    "focus": [concept("leukodystrophy")],
    "contact": [{"name": "Trial Office", "telecom": [{"system": "email", "value": "office@example.org"}]}],
    "relatedArtifact": [{"type": "documentation", "url": "http://example.org/protocol", "display": "Protocol"}],
    "location": [concept("IT")],
    "enrollment": [ref("Group")],
    "period": {"start": "2026-01"},
    "sponsor": ref("Organization"),
    "principalInvestigator": ref("Practitioner"),
    "site": [ref("Location")],
    "reasonStopped": concept("none"),
    "arm": [{"id": "low", "name": "Low dose", "type": concept("experimental")}, {"name": "High dose"}],
    "objective": [{"name": "Survival", "type": concept("primary")}],
}

RESEARCH_SUBJECT: dict[str, Any] = {
    "resourceType": "ResearchSubject",
    "id": f"{ID}05",
    "identifier": [{"system": "http://example.org/studies/mld-01", "value": "S-001"}],
    "status": "on-study-intervention",
    "period": {"start": "2026-03-01"},
    "study": {"reference": "ResearchStudy/mld-01"},
    "individual": ref("Patient"),
    "assignedArm": "Low dose",
    "actualArm": "Low dose",
    "consent": ref("Consent"),
}

GOOD: tuple[dict[str, Any], ...] = (
    PATIENT,
    OBSERVATION,
    ENCOUNTER,
    CONSENT,
    RESEARCH_STUDY,
    RESEARCH_SUBJECT,
    {
        "resourceType": "DiagnosticReport",
        "id": f"{ID}06",
        "status": "final",
        "code": concept("CBC"),
        "subject": ref("Patient"),
        "effectivePeriod": {"start": "2026-03-01", "end": "2026-03-02"},
        "issued": "2026-03-02T10:00:00Z",
        "specimen": [ref("Specimen")],
        "result": [ref("Observation")],
        "imagingStudy": [ref("ImagingStudy")],
        "conclusion": "unremarkable",
        "presentedForm": [{"contentType": "application/pdf", "data": "aGVsbG8="}],
    },
    {
        "resourceType": "Specimen",
        "id": f"{ID}07",
        "status": "available",
        "type": concept("BLD"),
        "subject": ref("Patient"),
        "collection": {
            "collectedDateTime": "2026-03-01T08:00:00Z",
            "bodySite": concept("arm"),
            "quantity": quantity("5", "mL"),
        },
        "processing": [{"description": "spun", "procedure": concept("CENT")}],
        "container": [
            {"description": "EDTA tube", "specimenQuantity": quantity("4.5", "mL")},
            {"type": {"id": "x", "text": "tube"}},
        ],
    },
    {
        "resourceType": "ServiceRequest",
        "id": f"{ID}08",
        "status": "active",
        "intent": "order",
        "code": concept("CBC"),
        "orderDetail": [concept("fasting")],
        "subject": ref("Patient"),
        "reasonCode": [concept("R")],
        "locationCode": [concept("ward")],
        "supportingInfo": [ref("Observation")],
        "patientInstruction": "come early",
    },
    {
        "resourceType": "Organization",
        "id": f"{ID}09",
        "name": "Example Unit",
        "telecom": [{"system": "phone", "value": "1", "use": "work"}],
        "address": [{"city": "Milano"}, {"city": "Roma"}],
        "contact": [{"name": {"family": "Neri"}, "address": {"city": "Milano"}}],
    },
    {"resourceType": "Practitioner", "id": f"{ID}10", "name": [{"family": "Neri"}], "communication": [concept("it")]},
    {
        "resourceType": "PractitionerRole",
        "id": f"{ID}11",
        "practitioner": ref("Practitioner"),
        "telecom": [{"system": "phone", "value": "1"}],
        "availableTime": [{"daysOfWeek": ["mon"], "availableStartTime": "09:00:00"}],
        "notAvailable": [{"description": "August"}],
    },
    {
        "resourceType": "Location",
        "id": f"{ID}12",
        "status": "active",
        "telecom": [{"system": "phone", "value": "1"}],
        "physicalType": concept("wa"),
        "hoursOfOperation": [{"daysOfWeek": ["mon"], "openingTime": "08:00:00"}],
    },
    {
        "resourceType": "Condition",
        "id": f"{ID}13",
        "clinicalStatus": concept("active", "http://terminology.hl7.org/CodeSystem/condition-clinical"),
        "verificationStatus": concept("confirmed", "http://terminology.hl7.org/CodeSystem/condition-ver-status"),
        "code": concept("E75.2"),
        "subject": ref("Patient"),
        "recorder": ref("Practitioner"),
        "evidence": [{"code": [concept("x")], "detail": [ref("Observation")]}],
    },
    {
        "resourceType": "AllergyIntolerance",
        "id": f"{ID}14",
        "clinicalStatus": concept("active", "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"),
        "type": "allergy",
        "patient": ref("Patient"),
        "recorder": ref("Practitioner"),
        "reaction": [{"manifestation": [concept("hives")], "severity": "mild"}],
    },
    {
        "resourceType": "Procedure",
        "id": f"{ID}15",
        "status": "completed",
        "category": concept("apheresis"),
        "code": concept("AP"),
        "subject": ref("Patient"),
        "performedPeriod": {"start": "2026-03-01T08:00:00Z", "end": "2026-03-01T12:00:00Z"},
        "reasonReference": [ref("Condition")],
        "complication": [concept("none")],
        "usedReference": [ref("Device")],
    },
    {
        "resourceType": "MedicationAdministration",
        "id": f"{ID}16",
        "status": "completed",
        "medicationCodeableConcept": concept("busulfan"),
        "subject": ref("Patient"),
        "context": ref("Encounter"),
        "effectiveDateTime": "2026-03-01",
        "performer": [{"actor": ref("Practitioner")}],
        "dosage": {"dose": quantity("12.80", "mg")},
    },
    {
        "resourceType": "MedicationRequest",
        "id": f"{ID}17",
        "status": "active",
        "intent": "order",
        "medicationReference": ref("Medication"),
        "subject": ref("Patient"),
        "dosageInstruction": [{"asNeededBoolean": True, "doseAndRate": [{"doseQuantity": quantity("1", "mg")}]}],
    },
    {
        "resourceType": "Medication",
        "id": f"{ID}18",
        "form": concept("solution"),
        "ingredient": [
            {
                "itemCodeableConcept": concept("busulfan"),
                "strength": {"numerator": quantity("6", "mg"), "denominator": quantity("1", "mL")},
            }
        ],
    },
    {
        "resourceType": "Provenance",
        "id": f"{ID}19",
        "target": [{"reference": f"Observation/{ID}02/_history/1"}],
        "recorded": "2026-03-01T09:00:00Z",
        "reason": [concept("TREAT")],
        "activity": concept("CREATE"),
        "agent": [{"type": concept("author"), "who": ref("Organization")}],
        "entity": [{"role": "derivation", "what": {"identifier": {"system": "http://example.org", "value": "MSG1"}}}],
    },
    {
        "resourceType": "PlanDefinition",
        "id": f"{ID}20",
        "status": "active",
        "relatedArtifact": [{"type": "documentation", "url": "http://example.org/sap"}],
        "action": [
            {
                "id": "visit1",
                "title": "Visit 1",
                "code": [concept("V1"), concept("SCREEN")],
                "timingDateTime": "2026-03-01",
                "participant": [{"type": "related-person"}],
                "input": [{"type": "Observation"}],
                "relatedAction": [{"actionId": "visit0", "relationship": "after-end"}],
                "action": [{"title": "Blood", "timingPeriod": {"start": "2026-03-01"}}],
            }
        ],
    },
    {
        "resourceType": "Task",
        "id": f"{ID}21",
        "status": "requested",
        "intent": "order",
        "statusReason": concept("waiting"),
        "performerType": [concept("coordinator")],
        "reasonCode": concept("referral"),
        "authoredOn": "2026-03-01",
        "lastModified": "2026-03-02T08:00:00Z",
    },
    {
        "resourceType": "Immunization",
        "id": f"{ID}22",
        "status": "completed",
        "vaccineCode": concept("08"),
        "patient": ref("Patient"),
        "occurrenceDateTime": "2026-03-01",
        "manufacturer": ref("Organization"),
        "reaction": [{"date": "2026-03-02", "detail": ref("Observation")}],
    },
    {"resourceType": "RelatedPerson", "id": f"{ID}23", "patient": ref("Patient"), "name": [{"family": "Ferri"}]},
    {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "invalid", "expression": ["Patient.gender"]}],
    },
)


def good(kind: str) -> dict[str, Any]:
    """Return the example of a type."""
    return next(each for each in GOOD if each["resourceType"] == kind)
