"""Released bodies in the FHIR version a recipient reads."""

from __future__ import annotations

from typing import Any

from gateway.fhir import codec
from gateway.fhir.r5 import to_r5
from gateway.model.delivery import ChangeKind, Released
from gateway.model.recipient import Recipient


def body_for(recipient: Recipient, released: Released) -> dict[str, Any]:
    """Return the body to send: R4 as it is, or its R5 view."""
    body: dict[str, Any] = codec.decode(released.text)
    return to_r5(body) if recipient.fhir_version == "R5" else body


def text_for(recipient: Recipient, released: Released) -> bytes:
    """Return the body to send as JSON."""
    return codec.encode(body_for(recipient, released)) if recipient.fhir_version == "R5" else released.text


def deletion(released: Released) -> bytes:
    """Return the Bundle that says which resource is gone, as JSON: for ways out that have no DELETE of their own."""
    request = {"method": "DELETE", "url": released.reference}
    return codec.encode({"resourceType": "Bundle", "type": "transaction", "entry": [{"request": request}]})


def is_deleted(recipient: Recipient, released: Released) -> bool:
    """Whether an entry leaves as a DELETE: the recipient wants that, or nothing can be said but that it is gone."""
    if released.kind is not ChangeKind.RETRACTED:
        return False
    return recipient.retraction == "delete" or released.text == b"{}"
