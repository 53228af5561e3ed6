"""Documents as they are: a Binary is answered in its own content type (FHIR R4, Binary: serving Binary resources).

Only whoever names a FHIR type gets the Binary resource. The bytes came from a hospital system and are served to be
stored, never to be run: as an attachment, in the type that was sent and no other, and in a sandbox where a browser
opens them all the same.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Final

from gateway.api.fhir.exchange import Asked, Told
from gateway.errors import RequestRefused
from gateway.fhir import codec

BINARY: Final = "Binary"
_READS: Final = ("read", "vread")
_FHIR: Final = re.compile(r"application/fhir\+[a-z]+|(application|text)/json|application/(json|xml)\+fhir|json|xml|ttl")
"""What names a FHIR type; text/xml and application/xml are documents' own, too."""

_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+(; charset=[A-Za-z0-9-]+)?").fullmatch
_SAFE: Final = {
    "Content-Disposition": "attachment",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Vary": "Accept",
}


def wants_content(interaction: str, type: str, headers: Mapping[str, str], pairs: Sequence[tuple[str, str]]) -> bool:
    """Whether a request is for a document as it is: a read of a Binary that names no FHIR type."""
    return type == BINARY and interaction in _READS and not any(map(_FHIR.fullmatch, _asked(headers, pairs)))


def told_content(asked: Asked, resource: Told) -> Told:
    """Return the answer with the content of a Binary for the one that is the resource.

    Raises ``RequestRefused``: 406 when another type is asked for, 404 when the view's file does not let the data out.
    """
    if resource.status != 200 or not isinstance(resource.body, bytes):
        return resource
    body = codec.decode(resource.body)
    if "data" not in body:
        raise RequestRefused(404, "not-found", "this client's view holds no content of the document")
    said = body["contentType"]
    kind = said if _MEDIA_TYPE(said) else "application/octet-stream"
    if not _is_accepted(kind.partition(";")[0], _asked(asked.headers, asked.pairs)):
        raise RequestRefused(406, "not-supported", "the document is of another type than those that are accepted")
    return Told(200, base64.b64decode(body["data"]), {**resource.headers, **_SAFE}, resource.shown, kind)


def _asked(headers: Mapping[str, str], pairs: Sequence[tuple[str, str]]) -> list[str]:
    named = [value for name, value in pairs if name == "_format"]
    named = named or headers.get("accept", "*/*").split(",")
    return [one.partition(";")[0].strip().lower() for one in named]


def _is_accepted(kind: str, asked: Sequence[str]) -> bool:
    return any(one in ("*/*", "", kind, f"{kind.partition('/')[0]}/*") for one in asked)
