"""``ED``, ``RP`` and ``NA`` in OBX-5: documents, pointers to documents, and series of numbers."""

from __future__ import annotations

import base64
import binascii
import re
from decimal import Decimal
from typing import Any, Final

from gateway.hl7v2.message import Field
from mappings.context import Context
from mappings.numbers import plain
from mappings.segments.obx_order import meaning, order_of

VALUE_OF_R5: Final = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value"
"""R4's Observation.value[x] takes no Attachment; this is HL7's extension for the R5 element that does."""

DATA_ABSENT_REASON: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"

_MEDIA: Final = {"TEXT": "text/plain", "TX": "text/plain", "FT": "text/plain", "AP": "application/octet-stream"}
_SUBTYPES: Final = {
    "PDF": "application/pdf",
    "RTF": "application/rtf",
    "HTML": "text/html",
    "XML": "application/xml",
    "JPEG": "image/jpeg",
    "JPG": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
    "DICOM": "application/dicom",
}
_TOP_LEVEL: Final = frozenset({"application", "audio", "image", "text", "video", "multipart", "model"})


def media_type(kind: str, subtype: str) -> str:
    """Return the MIME type of an ED-2 and ED-3 (RP-3 and RP-4); ``""`` when they do not say one.

    >>> media_type("application", "pdf"), media_type("IM", "JPEG"), media_type("TEXT", ""), media_type("NS", "x")
    ('application/pdf', 'image/jpeg', 'text/plain', '')
    """
    if "/" in subtype:
        return subtype.lower()
    if kind.lower() in _TOP_LEVEL and subtype and subtype.upper() not in _SUBTYPES:
        return f"{kind}/{subtype}".lower()
    return _SUBTYPES.get(subtype.upper()) or _MEDIA.get(kind.upper(), "")


def encapsulated(found: Field, context: Context) -> dict[str, Any]:
    """Convert an ``ED`` to an Attachment in the extension for R5's value.

    ==========  =======================  ==================================================
    v2          FHIR                     rule
    ==========  =======================  ==================================================
    ED-2, ED-3  Attachment.contentType   ``media_type``, else application/octet-stream
    ED-4        --                       A, Hex or Base64: how ED-5 is to be read
    ED-5        Attachment.data          as base64; not readable: dataAbsentReason error
    ==========  =======================  ==================================================

    See HL7 v2.5.1 2.A.24 and the v2-to-FHIR map ``ED[Attachment]``.
    """
    data = _base64(found.component(5), found.component(4).upper())
    if not data:
        context.finding("the document cannot be decoded: left out", 5)
        return {"dataAbsentReason": {"coding": [{"system": f"{_CODES}/data-absent-reason", "code": "error"}]}}
    media = media_type(found.component(2), found.component(3)) or "application/octet-stream"
    return _attachment({"contentType": media, "data": data})


_CODES: Final = "http://terminology.hl7.org/CodeSystem"


def pointer(found: Field, context: Context) -> dict[str, Any]:
    """Convert an ``RP`` (pointer RP-1, types RP-3 and RP-4) to an Attachment in the extension for R5's value."""
    url = found.component(1)
    if not re.fullmatch(r"\S+", url):
        context.finding("a pointer that is no address: left out", 1)
        return {"dataAbsentReason": {"coding": [{"system": f"{_CODES}/data-absent-reason", "code": "error"}]}}
    media = media_type(found.component(3), found.component(4))
    return _attachment({"contentType": media, "url": url} if media else {"url": url})


def _attachment(attachment: dict[str, str]) -> dict[str, Any]:
    return {"extension": [{"url": VALUE_OF_R5, "valueAttachment": attachment}]}


def _base64(text: str, encoding: str) -> str:
    try:
        if encoding == "BASE64":
            compact = re.sub(r"\s+", "", text)
            return base64.b64encode(base64.b64decode(compact, validate=True)).decode("ascii")
        if encoding == "HEX":
            return base64.b64encode(bytes.fromhex(text)).decode("ascii")
    except (binascii.Error, ValueError):
        return ""
    return base64.b64encode(text.encode()).decode("ascii")


def sampled(found: Field, context: Context) -> dict[str, Any]:
    """Convert an ``NA`` (a series of numbers) to SampledData.

    ``NA`` says nothing of the time between samples, which FHIR requires: the period says that it is unknown. A series
    with anything that is no number is kept as text.
    """
    texts = found.components()
    numbers = [order_of(context).format.read(text) for text in texts]
    if any(number is None or number.doubtful or number.comparator for number in numbers):
        context.finding("a series with values that are no numbers: kept as text")
        return {"valueString": " ".join(text or "-" for text in texts)}
    known = meaning(context)
    origin = {"value": Decimal(0), **known.unit_elements()}
    values = [plain(known.convert(number.value)) for number in numbers if number is not None]
    unknown = {"extension": [{"url": DATA_ABSENT_REASON, "valueCode": "unknown"}]}
    data = " ".join(f"{value:f}" for value in values)
    return {"valueSampledData": {"origin": origin, "_period": unknown, "dimensions": 1, "data": data}}
