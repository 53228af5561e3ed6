"""A Subscription as clients write it, in the form of the R4 Backport IG 1.1 or of R5: both say the same.

What a client sends as a header is a credential: it is never shown again. ``(kept)`` stands in its place when the
resource is read, and stands for it when a client sends that back.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Final, NoReturn, cast
from urllib.parse import parse_qsl

from pydantic import ValidationError

from gateway.errors import InvalidResource, RequestRefused
from gateway.fhir.checks import validate
from gateway.fhir.subscriptions import PROFILES, Release, Resource
from gateway.model.subscription import Content, Criterion, Terms

SECRET_HEADER: Final = "X-Gateway-Secret"  # noqa: S105 - the name of a header
"""Under this name a client says the secret that its notifications are signed with; it is sent nowhere."""

KEPT: Final = "(kept)"
CHANNELS: Final = "http://terminology.hl7.org/CodeSystem/subscription-channel-type"
MOST_EVENTS: Final = 100
USUAL_EVENTS: Final = 20
LONGEST: Final = 60
"""Seconds an attempt may take at most."""

USUAL_TIMEOUT: Final = 10
LEAST_HEARTBEAT: Final = 10
_DAY: Final = 24 * 60 * 60
_CONTENTS: Final = ("empty", "id-only", "full-resource")
JSON: Final = ("application/fhir+json", "application/json")
_COUNTS: Final = ("heartbeatPeriod", "timeout", "maxCount", "rank", "userSelected", "valueBoolean", "valueInteger")
"""Elements of a Subscription that are no text."""

_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE: Final = re.compile(r"[!-~]([ -~]{0,3998}[!-~])?")
_HOPS: Final = frozenset(
    ("host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect")
)
_OURS: Final = _HOPS | {"accept", "accept-encoding", "user-agent", "content-encoding", "idempotency-key"}
EXTENSIONS: Final = {
    name: f"{PROFILES}/backport-{name}"
    for name in ("filter-criteria", "heartbeat-period", "timeout", "max-count", "payload-content")
}


def refuse(what: str, path: str, code: str = "value") -> NoReturn:
    """Raise the refusal (422) of an element."""
    raise RequestRefused(422, code, what, (f"Subscription.{path}",))


def read_subscription(resource: Resource, release: Release, base: str) -> tuple[str, Terms]:
    """Return the status and the terms that a client wrote; ``secret`` is ``""`` when it said none.

    Whether the topic, its filters and the endpoint are allowed is not looked at. Raises ``RequestRefused`` (422).
    """
    _check(resource, release)
    status = resource.get("status", "")
    terms = _read_r5(resource, base) if release == "R5" else _read_r4(resource, base)
    if status not in ("requested", "active", "off"):
        refuse("a client writes requested, active or off", "status")
    return status, terms


def _check(resource: Resource, release: Release) -> None:
    """Raise ``RequestRefused`` when it is no Subscription of the release."""
    if resource.get("resourceType") != "Subscription":
        raise RequestRefused(422, "invalid", "the body is no Subscription", ("resourceType",))
    if release == "R4":
        try:
            validate(resource)
        except InvalidResource as error:
            raise RequestRefused(422, "invalid", error.what, (error.path,) if error.path else ()) from None
        return
    try:
        import_module("fhir.resources.subscription").Subscription.model_validate(resource)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(str(step) for step in first["loc"] if isinstance(step, str))
        raise RequestRefused(422, "invalid", f"not as R5 has it: {first['type']}", (f"Subscription.{path}",)) from None
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise RequestRefused(422, "invalid", "no Subscription of R5") from None
    _check_plain(resource)


def _check_plain(value: Any, path: str = "Subscription") -> None:
    """Raise ``RequestRefused`` for what the models take and JSON of FHIR has not: null, and other types for text."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_plain(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            _check_plain(inner, path)
    elif value is None or isinstance(value, str) == (path.rpartition(".")[2] in _COUNTS):
        raise RequestRefused(422, "invalid", "is of another type", (path,))


# --- R4 ---------------------------------------------------------------------------------------------------------------


def _read_r4(resource: Resource, base: str) -> Terms:
    channel = resource["channel"]
    if channel.get("type") != "rest-hook":
        refuse("only rest-hook is served", "channel.type", "not-supported")
    criteria = resource.get("_criteria", {}).get("extension", ())
    filters = [one.get("valueString", "") for one in criteria if one.get("url") == EXTENSIONS["filter-criteria"]]
    payload = _extension(channel.get("_payload", {}), "payload-content")
    return _terms(
        topic=resource.get("criteria", ""),
        criteria=tuple(_criterion(text) for text in filters),
        endpoint=channel.get("endpoint", ""),
        headers=[_split_header(line) for line in channel.get("header", ())],
        content=payload if payload is not None else "id-only" if channel.get("payload") else "empty",
        numbers=tuple(_extension(channel, name) for name in ("heartbeat-period", "timeout", "max-count")),
        type=channel.get("payload", JSON[0]),
        release="R4",
        base=base,
        resource=resource,
    )


def _extension(element: Resource, name: str) -> Any:
    """Return the value of an extension of the IG, None where there is none."""
    found = [one for one in element.get("extension", ()) if one.get("url") == EXTENSIONS[name]]
    return next((value for one in found for key, value in one.items() if key.startswith("value")), None)


def _criterion(text: str) -> Criterion:
    """Return what ``Observation?code=…`` says."""
    type, mark, query = text.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    if not mark or not pairs:
        refuse("a filter is a search: Observation?code=http://loinc.org|718-7", "criteria")
    return Criterion(type, tuple(pairs))


def _split_header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


# --- R5 ---------------------------------------------------------------------------------------------------------------


def _read_r5(resource: Resource, base: str) -> Terms:
    kind = resource["channelType"]
    if kind.get("code") != "rest-hook" or kind.get("system", CHANNELS) != CHANNELS:
        refuse("only rest-hook is served", "channelType", "not-supported")
    return _terms(
        topic=resource.get("topic", ""),
        criteria=tuple(_filter(one) for one in resource.get("filterBy", ())),
        endpoint=resource.get("endpoint", ""),
        headers=[(one["name"], one["value"]) for one in resource.get("parameter", ())],
        content=resource.get("content", "id-only"),
        numbers=tuple(resource.get(name) for name in ("heartbeatPeriod", "timeout", "maxCount")),
        type=resource.get("contentType", JSON[0]),
        release="R5",
        base=base,
        resource=resource,
    )


def _filter(one: Resource) -> Criterion:
    comparator = one.get("comparator", "eq")
    if comparator != "eq":
        refuse("only eq is served", "filterBy.comparator", "not-supported")
    modifier = one.get("modifier", "")
    name = one["filterParameter"] + (f":{modifier}" if modifier and modifier != "=" else "")
    return Criterion(one.get("resourceType", "").rpartition("/")[2], ((name, one["value"]),))


# --- both -------------------------------------------------------------------------------------------------------------


def _terms(
    *,
    topic: str,
    criteria: tuple[Criterion, ...],
    endpoint: str,
    headers: list[tuple[str, str]],
    content: str,
    numbers: tuple[Any, ...],
    type: str,
    release: Release,
    base: str,
    resource: Resource,
) -> Terms:
    if not endpoint:
        refuse("rest-hook needs an endpoint", "endpoint", "required")
    if content not in _CONTENTS:
        refuse(f"is one of {', '.join(_CONTENTS)}", "content")
    if type.partition(";")[0].strip() not in JSON:
        refuse("only application/fhir+json is sent", "contentType", "not-supported")
    named, secret = _headers(headers)
    heartbeat, timeout, most = numbers
    return Terms(
        topic=topic.partition("|")[0],
        criteria=_by_type(criteria),
        endpoint=endpoint,
        headers=named,
        secret=secret,
        content=cast(Content, content),
        heartbeat=0 if not heartbeat else _within(heartbeat, LEAST_HEARTBEAT, _DAY, "heartbeatPeriod"),
        timeout=_within(timeout or USUAL_TIMEOUT, 1, LONGEST, "timeout"),
        max_count=_within(most or USUAL_EVENTS, 1, MOST_EVENTS, "maxCount"),
        release=release,
        base=base,
        reason=resource.get("reason", ""),
        ends_at=_end(resource.get("end")),
        contact=tuple(resource.get("contact", ())),
    )


def _by_type(criteria: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
    """Return one criterion for each type: all that is said of it holds at once."""
    pairs: dict[str, tuple[tuple[str, str], ...]] = {}
    for one in criteria:
        pairs[one.type] = pairs.get(one.type, ()) + one.pairs
    return tuple(Criterion(type, said) for type, said in pairs.items())


def _within(value: int, least: int, most: int, path: str) -> int:
    if isinstance(value, bool) or not least <= value <= most:
        refuse(f"is from {least} to {most}", path)
    return value


def _end(text: Any) -> datetime | None:
    if text is None:
        return None
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        refuse("is no instant", "end")
    if end.tzinfo is None:
        refuse("is an instant with its zone", "end")
    return end.astimezone(UTC)


def _headers(given: list[tuple[str, str]]) -> tuple[tuple[tuple[str, str], ...], str]:
    """Return the headers, and the secret that stands among them."""
    secret = ""
    named: list[tuple[str, str]] = []
    if len(given) > 20:
        refuse("has 20 headers at most", "channel.header")
    for name, value in given:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            refuse("is no header that can be sent (Name: value)", "channel.header")
        if name.lower() == SECRET_HEADER.lower():
            secret = value
        elif name.lower() in _OURS or name.lower().startswith("x-gateway-"):
            refuse("is a header that the gateway writes itself", "channel.header")
        elif name.lower() in {other.lower() for other, _ in named}:
            refuse("has a header twice", "channel.header")
        else:
            named.append((name, value))
    if secret and secret != KEPT and len(secret) < 32:
        refuse(f"{SECRET_HEADER} has 32 characters at least", "channel.header")
    return tuple(named), secret
