"""AuditEvents of what clients were shown: IHE Basic Audit Log Patterns 1.1, RESTful activities (R4 AuditEvent)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

_DICOM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_TYPE: Final = {
    "system": "http://terminology.hl7.org/CodeSystem/audit-event-type",
    "code": "rest",
    "display": "RESTful Operation",
}
_INTERACTION: Final = "http://hl7.org/fhir/restful-interaction"
_OBJECT: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE: Final = "http://terminology.hl7.org/CodeSystem/object-role"
_SOURCE: Final = {"system": _DICOM, "code": "110153", "display": "Source Role ID"}
_DESTINATION: Final = {"system": _DICOM, "code": "110152", "display": "Destination Role ID"}
_ACTIONS: Final = {
    "create": "C", "update": "U", "patch": "U", "delete": "D", "read": "R", "vread": "R",
    "history-instance": "R", "history-type": "R", "search-type": "E", "transaction": "E", "batch": "E",
}  # fmt: skip
CLIENT: Final = "https://trial-gateway.example/fhir/sid/client"
"""The system of the names of clients."""


@dataclass(frozen=True, slots=True)
class Access:
    """One access. ``at`` is UTC; ``shown`` are the references of what the answer held, ``patients`` whose they are.

    ``request``: what was asked, ``""`` where that is not told.
    """

    number: int
    at: datetime
    client: str
    interaction: str
    status: int
    request: str
    shown: Sequence[str] = ()
    patients: Sequence[str] = ()


def audit_event(access: Access) -> dict[str, Any]:
    """Return the AuditEvent of an access (R4).

    >>> from datetime import UTC
    >>> event = audit_event(Access(7, datetime(2026, 3, 1, tzinfo=UTC), "edc", "read", 200, "GET Patient/1"))
    >>> event["id"], event["action"], event["outcome"], event["recorded"]
    ('7', 'R', '0', '2026-03-01T00:00:00.000Z')
    """
    moment = access.at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{access.at.microsecond // 1000:03d}Z"
    event = {
        "resourceType": "AuditEvent",
        "id": str(access.number),
        "meta": {"versionId": "1", "lastUpdated": moment},
        "type": _TYPE,
        "subtype": [_subtype(access.interaction)],
        "action": _ACTIONS.get(access.interaction, "E"),
        "recorded": moment,
        "outcome": _outcome(access.status),
        "agent": [
            {"type": {"coding": [_SOURCE]}, "who": _client(access.client), "requestor": True},
            {"type": {"coding": [_DESTINATION]}, "who": {"display": "Trial Gateway"}, "requestor": False},
        ],
        "source": {"observer": {"display": "Trial Gateway"}},
    }
    entities = [*map(_patient, access.patients), *map(_data, access.shown)]
    entities += [_query(access.request)] if access.request else []
    return event | {"entity": entities}


def _subtype(interaction: str) -> dict[str, str]:
    if interaction.startswith("$"):
        return {"system": _INTERACTION, "code": "operation", "display": interaction}
    return {"system": _INTERACTION, "code": interaction}


def _outcome(status: int) -> str:
    """Return a code of http://hl7.org/fhir/audit-event-outcome: success, minor or serious failure."""
    return "0" if status < 400 else "4" if status < 500 else "8"


def _client(name: str) -> dict[str, Any]:
    return {"identifier": {"system": CLIENT, "value": name}}


def _patient(reference: str) -> dict[str, Any]:
    return {
        "what": {"reference": reference},
        "type": {"system": _OBJECT, "code": "1", "display": "Person"},
        "role": {"system": _ROLE, "code": "1", "display": "Patient"},
    }


def _data(reference: str) -> dict[str, Any]:
    return {
        "what": {"reference": reference},
        "type": {"system": _OBJECT, "code": "2", "display": "System Object"},
        "role": {"system": _ROLE, "code": "4", "display": "Domain Resource"},
    }


def _query(request: str) -> dict[str, Any]:
    return {
        "type": {"system": _OBJECT, "code": "2", "display": "System Object"},
        "role": {"system": _ROLE, "code": "24", "display": "Query"},
        "query": base64.b64encode(request.encode()).decode(),
    }
