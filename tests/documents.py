"""A document of a patient for tests: its DocumentReference, its Binary, and recipients' files that let them out."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gateway.model.names import LOINC
from gateway.model.recipient import Recipient, ReleaseRule
from tests.releasing import EVERYTHING, recipient, uid

WORDS = b"%PDF-1.4 Rossetti Gaia"
DRAWN = datetime(2026, 3, 10, 7, 30, tzinfo=UTC)
REFERENCE = ReleaseRule(("status", "docStatus", "type", "subject", "date", "content", "context"))
BINARY = ReleaseRule(("contentType", "data"))


def a_reference(patient: str = uid("patient"), **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "DocumentReference",
        "id": uid(f"document {patient}"),
        "status": "current",
        "type": {"coding": [{"system": LOINC, "code": "11502-2"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "date": "2026-03-11T09:00:00+01:00",
        "content": [
            {
                "attachment": {
                    "contentType": "application/pdf",
                    "url": f"Binary/{uid(f'binary {patient}')}",
                    "size": len(WORDS),
                    "title": "Rossetti Gaia",
                }
            }
        ],
        "context": {"period": {"start": "2026-03-10T08:30:00+01:00", "end": "2026-03-10T08:30:00+01:00"}},
    } | changes


def a_binary(patient: str = uid("patient"), **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "Binary",
        "id": uid(f"binary {patient}"),
        "contentType": "application/pdf",
        "securityContext": {"reference": f"DocumentReference/{uid(f'document {patient}')}"},
        "data": base64.b64encode(WORDS).decode(),
    } | changes


def reader(reference: ReleaseRule = REFERENCE, binary: ReleaseRule = BINARY, **changes: Any) -> Recipient:
    """A recipient that lists documents; identified where nothing else is said."""
    release = dict(EVERYTHING) | {"DocumentReference": reference, "Binary": binary}
    return replace(recipient(identity="identified", release=release), **changes)
