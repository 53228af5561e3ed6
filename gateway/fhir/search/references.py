"""Parameters of type reference (FHIR R4 3.1.1.4.9 "reference"): an id, ``Type/id``, either with a version, or a URL.

A URL that begins with our base is the resource here it names; any other matches only a reference written the same. A
bare id names a resource of any type the parameter may name, but in ``patient``, ``subject`` and ``individual``, where
it names a Patient (the page leaves that to the server): what belongs to a person is looked for with that person.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from gateway.fhir.search.grammar import Test, Unfit, unescape
from gateway.fhir.search.parameters import Parameter
from gateway.fhir.search.paths import type_of
from gateway.fhir.search.strings import canonical
from gateway.fhir.search.tokens import identifier

PERSONAL: Final = frozenset({"patient", "subject", "individual"})
PATIENT: Final = "Patient"

_ID: Final = r"[A-Za-z0-9\-.]{1,64}"
_HERE: Final = re.compile(rf"(?:(?P<type>[A-Z][A-Za-z]+)/)?(?P<id>{_ID})(?:/_history/(?P<version>{_ID}))?")


@dataclass(frozen=True, slots=True)
class Named:
    """A resource asked for. ``type`` ``""``: of any type; ``version`` ``""``: any; ``url``: one that is not here."""

    type: str = ""
    id: str = ""
    version: str = ""
    url: str = ""


def read(text: str, parameter: Parameter, modifier: str, base: str) -> Named:
    """Read a reference; ``modifier`` is a type or ``""``. Raises ``Unfit``.

    ``base``: the URL of this server, without a slash at its end.
    """
    written = unescape(text)
    found = _HERE.fullmatch(written.removeprefix(base + "/"))
    if found is None:
        if "://" in written or written.startswith("urn:"):
            return Named(url=written)
        raise Unfit("is not an id, Type/id or a URL")
    type = found["type"] or modifier
    if modifier and type != modifier:
        raise Unfit("names another type than its modifier")
    if not type and parameter.name in PERSONAL and parameter.may_name(PATIENT):
        type = PATIENT
    return Named(type, found["id"], found["version"] or "")


def reference(text: str, datatype: str, parameter: Parameter, modifier: str, base: str) -> Test | None:
    """Return the test for one reference, None where the datatype holds none."""
    if modifier == "identifier":
        return _identified(text) if datatype == "Reference" else None
    named = read(text, parameter, modifier, base)
    if datatype in ("canonical", "uri"):
        return canonical(named.url) if named.url else None
    if datatype != "Reference":
        return None
    if named.url:
        return lambda value: bool(value.get("reference") == named.url)
    return _typed(named, base) if named.type else _untyped(named, base)


def _identified(text: str) -> Test:
    """Return the test of ``:identifier``: the Reference's own ``identifier``, as a token."""
    right = identifier(text)
    return lambda value: right(value.get("identifier", {}))


def _typed(named: Named, base: str) -> Test:
    here = f"{named.type}/{named.id}" + (f"/_history/{named.version}" if named.version else "")
    whole = frozenset((here, f"{base}/{here}"))
    versions = () if named.version else (f"{here}/_history/", f"{base}/{here}/_history/")

    def test(value: Any) -> bool:
        literal = value.get("reference")
        return literal is not None and (literal in whole or literal.startswith(versions))

    return test


def _untyped(named: Named, base: str) -> Test:
    start, id, version = base + "/", named.id, f"{named.id}/_history/"
    exact = version + named.version if named.version else ""

    def test(value: Any) -> bool:
        literal = value.get("reference")
        if literal is None:
            return False
        _, _, rest = literal.removeprefix(start).partition("/")
        return bool(rest == exact) if exact else bool(rest == id or rest.startswith(version))

    return test


# --- what a resource refers to --------------------------------------------------------------------------------------


def referred(parameter: Parameter, resource: dict[str, Any], target: str = "", *, base: str = "") -> Iterator[str]:
    """Yield each ``Type/id`` that a resource refers to in a parameter, without its version; ``target``: of that type.

    ``base``: a URL of this server; a reference that begins with it is one of ours as well.

    >>> from gateway.fhir.search.parameters import parameters
    >>> list(referred(parameters("R4", "Observation")["subject"], {"subject": {"reference": "Patient/1/_history/2"}}))
    ['Patient/1']
    """
    for path in parameter.paths:
        if path.datatype != "Reference":
            continue
        for value in path.get(resource):
            found = _HERE.fullmatch(value.get("reference", "").removeprefix(f"{base}/"))
            if found and found["type"] and target in ("", type_of(value)):
                yield f"{found['type']}/{found['id']}"
