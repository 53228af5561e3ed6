"""``ED``, ``RP`` and ``NA`` in OBX-5: documents, pointers to documents, and series of numbers."""

from __future__ import annotations

import base64
import binascii
import re
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

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


_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}").fullmatch
"""A MIME type as RFC 6838 (4.2) writes one, in small letters; whatever else a sender writes goes into no header."""

NOTED: Final = "documents"
"""Where a message's memo holds the documents of the OBX being read: repetition of OBX-5 -> ``Document``."""

UNREADABLE: Final = "document cannot be read"
"""Why a result is held whose document is not what its encoding says."""

OCTETS: Final = "application/octet-stream"
_CODES: Final = "http://terminology.hl7.org/CodeSystem"


class Document(Struct, frozen=True):
    """A document that OBX-5 brings, or says where it is: ``data`` its bytes, ``url`` its address.

    Neither: it cannot be read, or is ``gone``: deleted without being sent again. ``media``: its MIME type, ``""`` where
    nothing says one.
    """

    media: str = ""
    data: bytes = b""
    url: str = ""
    gone: bool = False


def media_type(kind: str, subtype: str) -> str:
    """Return the MIME type of an ED-2 and ED-3 (RP-3 and RP-4); ``""`` when they do not say one.

    >>> media_type("application", "pdf"), media_type("IM", "JPEG"), media_type("TEXT", ""), media_type("NS", "x")
    ('application/pdf', 'image/jpeg', 'text/plain', '')
    """
    if "/" in subtype:
        said = subtype.lower()
    elif kind.lower() in _TOP_LEVEL and subtype and subtype.upper() not in _SUBTYPES:
        said = f"{kind}/{subtype}".lower()
    else:
        said = _SUBTYPES.get(subtype.upper()) or _MEDIA.get(kind.upper(), "")
    return said if _MEDIA_TYPE(said) else ""


def encapsulated(found: Field, context: Context) -> dict[str, Any]:
    """Convert an ``ED`` to an Attachment in the extension for R5's value, and note the document.

    ==========  =======================  =========================================================================
    v2          FHIR                     rule
    ==========  =======================  =========================================================================
    ED-2, ED-3  Attachment.contentType   ``media_type``, else application/octet-stream; of text sent as it is UTF-8
    ED-4        --                       A, Hex or Base64: how ED-5 is to be read; not said: A, of text alone
    ED-5        Attachment.data          as base64; not readable: dataAbsentReason error, and held
    ==========  =======================  =========================================================================

    See HL7 v2.5.1 2.A.24 and the v2-to-FHIR map ``ED[Attachment]``.
    """
    media = media_type(found.component(2), found.component(3)) or OCTETS
    encoding = found.component(4).upper()
    if encoding == "A" or not encoding:
        data = found.component(5).encode() if encoding or media.startswith("text/") else b""
        media = f"{media}; charset=UTF-8" if media.startswith("text/") else media
    else:
        data = _decoded(found.component(5), encoding)
    note(Document(media, data), context)
    if not data:
        said = {"BASE64": "Base64", "HEX": "Hex"}.get(encoding)
        context.finding(f"the document is not {said}: left out" if said else "the document cannot be read: left out", 5)
        context.hold(UNREADABLE)
        return _absent()
    return _attachment({"contentType": media, "data": base64.b64encode(data).decode("ascii")})


def pointer(found: Field, context: Context) -> dict[str, Any]:
    """Convert an ``RP`` (pointer RP-1, types RP-3 and RP-4) to an Attachment in the extension for R5's value.

    The pointer is taken where it is a web address or a URN: any other scheme is for a program of the sender's, or runs
    in the browser of whoever follows it, and an address with a password gives it away.
    """
    url = found.component(1)
    if not _is_address(url):
        context.finding("a pointer that is no address: left out", 1)
        return _absent()
    media = media_type(found.component(3), found.component(4))
    note(Document(media, url=url), context)
    return _attachment({"contentType": media, "url": url} if media else {"url": url})


def note(document: Document, context: Context) -> None:
    """Note a document of the OBX being read, for ``obx_document``."""
    context.memo.setdefault(NOTED, {})[context.repetition] = document


def _is_address(text: str) -> bool:
    if re.fullmatch(r"urn:(?:oid|uuid):[0-9a-f.-]+", text):
        return True
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False


def _absent() -> dict[str, Any]:
    return {"dataAbsentReason": {"coding": [{"system": f"{_CODES}/data-absent-reason", "code": "error"}]}}


def _attachment(attachment: dict[str, str]) -> dict[str, Any]:
    return {"extension": [{"url": VALUE_OF_R5, "valueAttachment": attachment}]}


def _decoded(text: str, encoding: str) -> bytes:
    """Return the bytes of a document; none when it is not in its encoding."""
    try:
        if encoding == "BASE64":
            return base64.b64decode(re.sub(r"\s+", "", text), validate=True)
        return bytes.fromhex(text) if encoding == "HEX" else b""
    except (binascii.Error, ValueError):
        return b""


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
