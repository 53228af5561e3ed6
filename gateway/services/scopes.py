"""Scopes under which nothing could ever be read: refused at registration, left out of tokens."""

from __future__ import annotations

from typing import Final, Literal
from urllib.parse import parse_qsl

from gateway.errors import RequestRefused
from gateway.fhir.search.parameters import types
from gateway.fhir.search.query import parse
from gateway.model.access import Scope

_RELEASES: Final[tuple[Literal["R4", "R5"], ...]] = ("R4", "R5")
_BASE: Final = "https://gateway"


def fault_of(scope: Scope) -> str:
    """Say what is wrong with a scope: its type is not served, or its query is no search of it. ``""``: nothing."""
    served = {release: set(types(release)) for release in _RELEASES}
    kinds = {scope.type} if scope.type != "*" else served["R4"]
    if not any(kinds <= known for known in served.values()):
        return f"{scope.type} is not served"
    pairs = parse_qsl(scope.query, keep_blank_values=True)
    try:
        for release, known in served.items():
            for kind in kinds & known if pairs else ():
                parse(release, kind, pairs, base=_BASE)
    except RequestRefused as error:
        return error.what
    return ""
