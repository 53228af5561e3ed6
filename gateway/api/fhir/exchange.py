"""A request and its answer, without a web framework: what the handlers of the FHIR API take and give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, Literal

from gateway.errors import InvalidResource, RequestRefused
from gateway.fhir import codec
from gateway.model.access import Caller, Scope
from gateway.ports import Shown, Transaction
from gateway.services.made import Form, shown_of, version_of
from gateway.services.seen import Release

FHIR_JSON: Final = "application/fhir+json; charset=utf-8"
CONTROLS: Final = frozenset(("_format", "_pretty", "fhirVersion"))
"""Parameters of every request, which search for nothing."""


@dataclass(frozen=True)
class Asked:
    """A request that was read, and whose sender is known.

    ``base``: the FHIR base URL it came to, without a slash at its end. ``names``: what the rule's path names
    (``{type}/{id}``). ``pairs``: the parameters of the URL, then those of a form, in their order. ``headers``: by name
    in small letters. ``now``: UTC. ``native``: a document is wanted as it is, not as a Binary resource.
    """

    method: str
    base: str
    release: Release
    path: str
    names: Mapping[str, str]
    pairs: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    caller: Caller
    now: datetime
    native: bool = False
    tx: Transaction | None = None

    @property
    def type(self) -> str:
        """The resource type of the path, ``""`` where it names none."""
        return self.names.get("type", "")

    @property
    def id(self) -> str:
        """The id of the path, ``""`` where it names none."""
        return self.names.get("id", "")

    @cached_property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """The parameters without those of every request."""
        return tuple((name, value) for name, value in self.pairs if name not in CONTROLS)

    @property
    def page(self) -> str | None:
        """The token of the page asked for, None: the first. Raises ``RequestRefused`` (400) when it is not alone."""
        token = dict(self.parameters).get("_page")
        if token is not None and len(self.parameters) > 1:
            what = "a page is of the search that it was told for: begin another one for other parameters"
            raise RequestRefused(400, "invalid", what, ("_page",))
        return token

    @cached_property
    def prefer(self) -> Mapping[str, str]:
        """The preferences, ``respond-async`` with the value ``""`` (RFC 7240)."""
        found = {}
        for one in self.headers.get("prefer", "").replace(";", ",").split(","):
            name, _, value = one.strip().partition("=")
            if name:
                found[name.lower()] = value.strip('" ')
        return found

    @property
    def lenient(self) -> bool:
        """Whether what is not understood may be left out."""
        return self.prefer.get("handling") == "lenient"

    def scopes(self, type: str, interaction: str) -> tuple[Scope, ...]:
        """Return the scopes that allow this. Raises ``RequestRefused`` (403) when none does."""
        scopes = self.caller.scopes_for(type, interaction)
        if not scopes:
            raise RequestRefused(403, "forbidden", f"the token has no scope for this with {type}")
        return scopes

    @cached_property
    def resource(self) -> dict[str, Any]:
        """The resource in the body, numbers exact. Raises ``RequestRefused`` (400) when there is no JSON object."""
        try:
            read = codec.decode(self.body)
        except InvalidResource as error:
            raise RequestRefused(400, "structure", error.what) from None
        if not isinstance(read, dict):
            raise RequestRefused(400, "structure", "the body is not a JSON object")
        return read


@dataclass(frozen=True)
class Told:
    """An answer. ``shown``: what it discloses; it is noted before the answer leaves.

    ``body``: JSON, or pieces of it that are sent as they come.
    """

    status: int = 200
    body: bytes | Iterator[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    shown: tuple[Shown, ...] = ()
    media_type: str = FHIR_JSON


Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
RELEASES: Final[tuple[Release, ...]] = ("R4", "R5")

Handler = Callable[[Asked], Told]
"""Answers a request; runs in a thread. Raises ``RequestRefused``."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A route below the base: ``path`` of segments, ``{name}`` stands for any one of them.

    ``interaction``: of http://hl7.org/fhir/restful-interaction, or the operation's name (``$everything``).
    ``open``: no token is asked for. ``releases``: in which it is served. ``types``: the types that ``{type}`` stands
    for, empty: every one. ``definition``: of an operation, where HL7 has none under its name.
    """

    method: Method
    path: str
    interaction: str
    handler: Handler
    open: bool = False
    releases: tuple[Release, ...] = RELEASES
    types: tuple[str, ...] = ()
    definition: str = ""

    def serves(self, type: str) -> bool:
        """Whether it is a route of this resource type."""
        first = self.path.partition("/")[0]
        return type in self.types or (not self.types and first == "{type}") or first == type


UNSTEADY: Final = frozenset({"Subscription"})
"""Types whose resources change without a new version: how its endpoint does is no act of the client's."""


# --- answers ----------------------------------------------------------------------------------------------------------


def told(resource: Mapping[str, Any], status: int = 200, **headers: str) -> Told:
    """Return an answer that is a resource nobody needs to note (a CapabilityStatement, an OperationOutcome)."""
    return Told(status, codec.encode(resource), headers)


def told_seen(asked: Asked, seen: Form, status: int = 200) -> Told:
    """Return a resource with its version; 304 when the sender has it already (RFC 9110, If-None-Match)."""
    headers = {"ETag": etag(seen)}
    if seen.last_updated is not None:
        headers["Last-Modified"] = http_date(seen.last_updated)
    if status == 200 and seen.type not in UNSTEADY and _is_held(asked, seen):
        return Told(304, b"", headers)
    return Told(status, seen.text, headers, shown_of([seen]))


def _is_held(asked: Asked, seen: Form) -> bool:
    """Whether the sender names the version; strong and weak tags are alike here (RFC 9110, 13.1.2)."""
    held = {one.strip().removeprefix("W/") for one in asked.headers.get("if-none-match", "").split(",")}
    return not held.isdisjoint(("*", f'"{version_of(seen)}"'))


def etag(seen: Form) -> str:
    """Return the version as FHIR tells it (FHIR R4, 3.1.0.1.3)."""
    return f'W/"{version_of(seen)}"'


def http_date(moment: datetime) -> str:
    """Return a moment as HTTP writes it (RFC 9110, 5.6.7)."""
    return moment.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
