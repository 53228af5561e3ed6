"""Packages of fictional subjects for delivery tests."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from gateway.fhir import codec
from gateway.model.delivery import ChangeKind, Package, Released, View
from gateway.model.names import SUBJECT_NUMBER
from gateway.model.recipient import Recipient
from tests.contracts.waiting import PATIENCE

VIEW = View("edc", "mld-01")


def internal(name: str) -> str:
    """Return the internal id of what a view knows as ``name``."""
    return str(uuid5(NAMESPACE_URL, name))


def recipient(kind="fhir_server", **changes: Any) -> Recipient:
    return Recipient(id="edc", kind=kind, studies=("mld-01",), release={}, **{"timeout": PATIENCE, **changes})


def patient(number: str = "S-001", id: str = "p1") -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": id,
        "identifier": [{"system": f"{SUBJECT_NUMBER}/mld-01", "value": number}],
        "gender": "female",
        "birthDate": "2019",
    }


def observation(id: str = "o1", value: str = "1.50", subject: str = "p1") -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "24078-8"}]},
        "subject": {"reference": f"Patient/{subject}"},
        "effectiveDateTime": "2025-03-01",
        "valueQuantity": {"value": Decimal(value), "unit": "nmol/h/mg"},
    }


def released(
    body: dict[str, Any], kind: ChangeKind = ChangeKind.CREATED, version: int = 1, change: int = 1
) -> Released:
    return Released(body["resourceType"], body["id"], codec.encode(body), kind, internal(body["id"]), version, change)


def package(*entries: Released, delivery_id: str = "7-1", repeat: bool = False, view: View = VIEW) -> Package:
    return Package(delivery_id, view, entries or (released(patient()), released(observation())), repeat)
