"""URIs of this project's own code systems and extensions, and of the public ones used in several places."""

from __future__ import annotations

from typing import Final

GATEWAY: Final = "Trial Gateway"
"""What the gateway calls itself in a Provenance."""

BASE: Final = "https://trial-gateway.example/fhir"

OBSERVATION_CODES: Final = f"{BASE}/CodeSystem/observation"
"""The unit's own observation codes (``GT-…``): most gene-therapy measurements have no LOINC."""

SITE_SYSTEM: Final = f"{BASE}/sid"
"""Where identifiers and codes live whose authority a site does not declare: ``…/<site>/<kind>/<authority>``."""

SOURCE_VALUE: Final = f"{BASE}/StructureDefinition/source-value"
"""Extension on ``Observation.valueQuantity``: the value, comparator and unit exactly as the sender wrote them."""

SOURCE_CODE_GAP: Final = f"{BASE}/CodeSystem/gap"
SUB_ID: Final = f"{BASE}/StructureDefinition/observation-sub-id"
NATURE_OF_ABNORMAL: Final = f"{BASE}/StructureDefinition/observation-nature-of-abnormal-test"
ANALYSED: Final = f"{BASE}/StructureDefinition/observation-analysis-date-time"
CONSENT_STUDY: Final = f"{BASE}/StructureDefinition/consent-research-study"
"""Extension on Consent: the study it is given for (R4's core has none)."""
PROTOCOL_VISIT: Final = f"{BASE}/StructureDefinition/protocol-visit"
TREATMENT_PHASE: Final = f"{BASE}/StructureDefinition/treatment-phase"
REASON_ENDED: Final = f"{BASE}/StructureDefinition/reason-ended"
SUBJECT_NUMBER: Final = f"{BASE}/sid/subject-number"
"""System of the subject number: ``SUBJECT_NUMBER/<study id>``."""
STUDY_ID: Final = f"{BASE}/sid/study"
MESSAGE_DIGEST: Final = f"{BASE}/sid/message-digest"
CONTROL_ID: Final = f"{BASE}/sid/control-id"
CLIENT_ID: Final = f"{BASE}/sid/client"
"""System of the ids of clients of the FHIR API."""

LOINC: Final = "http://loinc.org"
UCUM: Final = "http://unitsofmeasure.org"
V2_TABLE: Final = "http://terminology.hl7.org/CodeSystem/v2-"
