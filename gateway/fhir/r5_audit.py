"""R5 of an AuditEvent ("R4 Differences" of R5 AuditEvent). The gateway alone makes them, so that none is taken back.

====================================  ================================================================
R4                                    R5
====================================  ================================================================
type, subtype                         category[], code, each a CodeableConcept
outcome, a code                       outcome.code, a Coding
entity.type                           is no more
entity.role, a Coding                 a CodeableConcept
entity of the one Patient there is    patient as well
====================================  ================================================================
"""

from __future__ import annotations

from typing import Final

from gateway.errors import InvalidResource
from gateway.fhir.r5_steps import Object, Step

_OUTCOMES: Final = "http://terminology.hl7.org/CodeSystem/audit-event-outcome"


def _event(it: Object) -> None:
    it["category"] = [{"coding": [it.pop("type")]}]
    it["code"] = {"coding": [it.pop("subtype")[0]]}
    it["outcome"] = {"code": {"system": _OUTCOMES, "code": it["outcome"]}}
    it["entity"] = [_entity(one) for one in it["entity"]]
    patients = patients_of(it)
    if len(patients) == 1:
        it["patient"] = patients[0]


def _entity(entity: Object) -> Object:
    kept = {name: value for name, value in entity.items() if name != "type"}
    return {**kept, "role": {"coding": [entity["role"]]}}


def patients_of(event: Object) -> list[Object]:
    """Return the references of an AuditEvent to Patients, in either release."""
    found = (entity.get("what", {}) for entity in event["entity"])
    return [what for what in found if what.get("reference", "").startswith("Patient/")]


def _unread(it: Object) -> None:
    raise InvalidResource("AuditEvent", "is not taken in")


AUDIT_EVENT: Final = (Step(_event, _unread),)
