"""What writing needs of HTTP, alone and in a Bundle: bodies, preconditions, patches, what a write is answered.

What is no FHIR JSON is refused here, and never fails later.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl

from gateway.api.fhir.exchange import Asked
from gateway.errors import InvalidResource, RequestRefused
from gateway.fhir import codec
from gateway.fhir.bounds import within_bounds
from gateway.fhir.patch_json import json_patch
from gateway.fhir.patch_path import fhirpath_patch
from gateway.services.wanted import WRITABLE, Done, Wanted

JSON_PATCH: Final = "application/json-patch+json"
_ETAG: Final = re.compile(r'(?:W/)?"([A-Za-z0-9.\-]{1,64})"')

Pairs = tuple[tuple[str, str], ...]


def decoded(body: bytes) -> Any:
    """Return the JSON of a body. Raises ``RequestRefused`` (400) for none, or one nested too deep."""
    try:
        read = codec.decode(body)
    except InvalidResource as error:
        raise RequestRefused(400, "structure", error.what) from None
    if not within_bounds(read):
        raise RequestRefused(400, "structure", "the body is nested too deep")
    return read


def resource_of(asked: Asked) -> dict[str, Any]:
    """Return the resource in the body. Raises ``RequestRefused`` (400) when there is no JSON object."""
    return as_object(decoded(asked.body))


def as_object(read: Any) -> dict[str, Any]:
    """Return a JSON value that is an object. Raises ``RequestRefused`` (400)."""
    if not isinstance(read, dict):
        raise RequestRefused(400, "structure", "the body is not a JSON object")
    return read


def check_may(asked: Asked, type: str, letter: str, *, conditional: bool = False) -> None:
    """Raise ``RequestRefused`` when a client may not write so: 405 for a type, 403 for a client or its token."""
    if type not in WRITABLE:
        raise RequestRefused(405, "not-supported", f"{type if type.isalpha() else 'this'} is not written here")
    if not asked.caller.writes:
        raise RequestRefused(403, "forbidden", "this client reads; it does not write")
    scopes = asked.scopes(type, letter)
    if all(scope.query for scope in scopes):
        raise RequestRefused(403, "forbidden", f"a scope with a query does not let {type} be written")
    if conditional:
        asked.scopes(type, "s")


def search_pairs(text: str) -> Pairs:
    """Return the parameters of ``identifier=…&…``, with or without what stands before a ``?``."""
    return tuple(parse_qsl(text.rpartition("?")[2], keep_blank_values=True))


def if_match(headers: Mapping[str, str]) -> str:
    """Return the version an ``If-Match`` names, ``""`` when there is none. Raises ``RequestRefused`` (400)."""
    text = headers.get("if-match", "").strip()
    if text in ("", "*"):
        return text
    found = _ETAG.fullmatch(text)
    if found is None:
        raise RequestRefused(400, "value", 'If-Match is one version: W/"3"', ("If-Match",))
    return found[1]


def patch_of(content_type: str, read: Any) -> Callable[[dict[str, Any]], Any]:
    """Return what a patch does. Raises ``RequestRefused`` (400)."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == JSON_PATCH or isinstance(read, list):
        return partial(json_patch, read)
    if as_object(read).get("resourceType") != "Parameters":
        raise RequestRefused(400, "invalid", f"a patch is a Parameters resource, or a list sent as {JSON_PATCH}")
    return partial(fhirpath_patch, read)


def carried_patch(resource: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """Return what the patch in a Bundle's entry does: a JSON Patch travels as a Binary (FHIR R4, http.html#patch).

    Raises ``RequestRefused`` (400).
    """
    if resource.get("resourceType") != "Binary":
        return patch_of("", resource)
    kind, data = resource.get("contentType"), resource.get("data")
    if not isinstance(kind, str) or kind.partition(";")[0].strip().lower() != JSON_PATCH:
        raise RequestRefused(400, "not-supported", f"a Binary that is a patch has the contentType {JSON_PATCH}")
    try:
        content = b64decode("".join(str(data).split()), validate=True)
    except ValueError:
        raise RequestRefused(400, "structure", "the data of the Binary is no base64") from None
    return patch_of(JSON_PATCH, decoded(content))


def status_of(wanted: Wanted, done: Done) -> int:
    """Return the HTTP status that says what came of a write."""
    if wanted.interaction == "delete":
        return 204
    return 201 if done.interaction == "create" else 200


def location(base: str, done: Done) -> str:
    """Return the URL of the version that was written."""
    return f"{base}/{done.type}/{done.id}/_history/{done.version}"
