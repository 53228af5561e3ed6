"""Released bodies in the FHIR version a recipient reads."""

from __future__ import annotations

from typing import Any

from gateway.fhir import codec
from gateway.fhir.r5 import to_r5
from gateway.model.delivery import Released
from gateway.model.recipient import Recipient


def body_for(recipient: Recipient, released: Released) -> dict[str, Any]:
    """Return the body to send: R4 as it is, or its R5 view."""
    return to_r5(released.body) if recipient.fhir_version == "R5" else released.body


def text_for(recipient: Recipient, released: Released) -> bytes:
    """Return the body to send as JSON; where it was written before, not again."""
    if released.text and recipient.fhir_version != "R5":
        return released.text
    return codec.encode(body_for(recipient, released))
