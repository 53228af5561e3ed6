"""Bundles of type ``transaction`` and ``batch`` (FHIR R4, 3.1.0.11).

The writes of a transaction are done together or not at all, deletions first, then what is new, then the rest; its
reads, operations among them, see what was written. The entries of a batch are independent. Answers stand in the order
of the entries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from gateway.api.fhir.bodies import (
    Pairs,
    carried_patch,
    check_may,
    if_match,
    location,
    resource_of,
    search_pairs,
    status_of,
)
from gateway.api.fhir.edge import BASES
from gateway.api.fhir.exchange import Asked, Rule, Told
from gateway.api.fhir.routing import Routes
from gateway.errors import InvalidResource, RequestRefused, VersionConflict
from gateway.fhir import codec
from gateway.fhir.outcome import Issue, operation_outcome
from gateway.ports import Shown
from gateway.services.commit import Office
from gateway.services.wanted import Done, Letter, Wanted

Headers = Mapping[str, str]

MOST: Final = 1000
"""Entries of a Bundle at most."""

_LETTERS: Final = {"create": "c", "update": "u", "patch": "u", "delete": "d"}
_EXPORTS: Final = re.compile(r"(^|/)\$export$|^_export/")
_METHODS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry as it was read: a write (``wanted``), or a read or operation (``method``, ``path``, ``pairs``)."""

    place: str
    raw: dict[str, Any]
    wanted: Wanted | None = None
    method: str = "GET"
    path: str = ""
    pairs: Pairs = ()
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What an entry is answered; ``text``: a resource as JSON, ``b""`` for none."""

    response: dict[str, Any]
    text: bytes = b""
    shown: tuple[Shown, ...] = ()


class Reader:
    """Answers the entries that write nothing: by the rules of reading and of operations."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        got = [rule for rule in rules if _reads(rule)]
        self._routes = {
            release: Routes([rule for rule in got if release in rule.releases]) for release in BASES.values()
        }

    def __call__(self, asked: Asked) -> Told:
        """Return the answer. Raises ``RequestRefused``."""
        if asked.path == "metadata" or _EXPORTS.search(asked.path):
            raise RequestRefused(400, "not-supported", "this is asked for by itself, not in a Bundle")
        rule, names = self._routes[asked.release].find(asked.method, asked.path)
        return rule.handler(replace(asked, names=names))


def _reads(rule: Rule) -> bool:
    if rule.open or rule.interaction.startswith("$export"):
        return False
    return rule.method == "GET" or (rule.method == "POST" and rule.interaction.startswith("$"))


class Batching:
    """Answers Bundles. ``reader`` answers an entry that writes nothing."""

    def __init__(self, office: Office, reader: Callable[[Asked], Told]) -> None:
        self._office = office
        self._reader = reader

    def answer(self, asked: Asked) -> Told:
        """Do what a Bundle asks. Raises ``RequestRefused``."""
        bundle = resource_of(asked)
        kind = bundle.get("type")
        if bundle.get("resourceType") != "Bundle" or kind not in ("transaction", "batch"):
            raise RequestRefused(
                400, "invalid", "a Bundle of type transaction or batch is taken here", ("Bundle.type",)
            )
        entries = bundle.get("entry", [])
        if not isinstance(entries, list):
            raise RequestRefused(400, "structure", "must be a list", ("Bundle.entry",))
        if len(entries) > MOST:
            raise RequestRefused(413, "too-costly", f"a Bundle has at most {MOST} entries", ("Bundle.entry",))
        answers = self._transaction(asked, entries) if kind == "transaction" else self._batch(asked, entries)
        shown = tuple(one for answer in answers for one in answer.shown)
        return Told(200, _bundle(f"{kind}-response", answers), shown=shown)

    def _transaction(self, asked: Asked, listed: list[Any]) -> list[_Answer]:
        entries = [_read(asked, one, at) for at, one in enumerate(listed)]
        writes = [entry.wanted for entry in entries if entry.wanted is not None]
        for entry in entries:
            if entry.wanted is not None:
                _check_may(asked, entry.wanted)
        letter = Letter(asked.base, asked.release, asked.caller, asked.body, "POST transaction")
        done = iter(self._office.commit(writes, letter) if writes else ())
        return [
            self._got(asked, entry) if entry.wanted is None else _written(asked, entry.wanted, next(done))
            for entry in entries
        ]

    def _batch(self, asked: Asked, listed: list[Any]) -> list[_Answer]:
        return [self._alone(asked, one, at) for at, one in enumerate(listed)]

    def _alone(self, asked: Asked, one: Any, at: int) -> _Answer:
        try:
            entry = _read(asked, one, at)
            if entry.wanted is None:
                return self._got(asked, entry)
            _check_may(asked, entry.wanted)
            words = f"batch {_method_of(entry.wanted)} {entry.wanted.type}"
            letter = Letter(asked.base, asked.release, asked.caller, codec.encode(entry.raw), words)
            (done,) = self._office.commit([entry.wanted], letter)
            return _written(asked, entry.wanted, done)
        except (RequestRefused, InvalidResource, VersionConflict) as error:
            return _refused(error)

    def _got(self, asked: Asked, entry: _Entry) -> _Answer:
        """Return what an entry that writes nothing is answered."""
        headers = {name: value for name, value in asked.headers.items() if name == "prefer"} | dict(entry.headers or {})
        resource = entry.raw.get("resource") if entry.method == "POST" else None
        body = b"" if resource is None else codec.encode(resource)
        inner = replace(
            asked, method=entry.method, path=entry.path, pairs=entry.pairs, names={}, headers=headers, body=body
        )
        try:
            told = self._reader(inner)
        except (RequestRefused, InvalidResource) as error:
            return _refused(error)
        text = told.body if isinstance(told.body, bytes) else b"".join(told.body)
        response: dict[str, Any] = {"status": _status(told.status)}
        if etag := told.headers.get("ETag"):
            response["etag"] = etag
        return _Answer(response, text, told.shown)


def _check_may(asked: Asked, wanted: Wanted) -> None:
    conditional = wanted.query is not None
    check_may(asked, wanted.type, _LETTERS[wanted.interaction], conditional=conditional)
    if conditional and wanted.interaction == "update":
        check_may(asked, wanted.type, "c")


# --- reading an entry -------------------------------------------------------------------------------------------------


def _read(asked: Asked, one: Any, at: int) -> _Entry:
    """Return an entry. Raises ``RequestRefused`` (400)."""
    place = f"Bundle.entry[{at}]"
    request = one.get("request") if isinstance(one, dict) else None
    method, url = (request.get(name) for name in ("method", "url")) if isinstance(request, dict) else (None, None)
    if not isinstance(request, dict) or not isinstance(method, str) or not isinstance(url, str):
        raise RequestRefused(400, "required", "an entry has a request with method and url", (f"{place}.request",))
    path, pairs = _address(asked.base, url, place)
    headers = _headers(request, place)
    if method in ("GET", "HEAD"):
        return _Entry(place, one, None, "GET", path, pairs, headers)
    if method == "POST" and path.rpartition("/")[2].startswith("$"):
        return _Entry(place, one, None, "POST", path, pairs, headers)
    if method not in _METHODS:
        raise RequestRefused(400, "value", "this method is not done in a Bundle", (f"{place}.request.method",))
    return _Entry(place, one, _wanted(one, place, method, (path, pairs), headers))


def _wanted(one: dict[str, Any], place: str, method: str, address: tuple[str, Pairs], headers: Headers) -> Wanted:
    type, _, id = address[0].partition("/")
    pairs, posted = address[1], method == "POST"
    if "/" in id or (bool(id) if posted else bool(id) == bool(pairs)):
        raise RequestRefused(400, "invalid", "this url does not say what is to be written", (f"{place}.request.url",))
    query: Pairs | None = None if id else pairs
    if posted:
        header = headers.get("if-none-exist")
        query = search_pairs(header) if header is not None else pairs or None
    plain = Wanted("delete", type, id, query, if_match=if_match(headers), place=place)
    return plain if method == "DELETE" else _with_resource(plain, one, method)


def _with_resource(plain: Wanted, one: dict[str, Any], method: str) -> Wanted:
    full_url, resource = one.get("fullUrl", ""), one.get("resource")
    if not isinstance(full_url, str):
        raise RequestRefused(400, "structure", "must be a string", (f"{plain.place}.fullUrl",))
    if not isinstance(resource, dict):
        raise RequestRefused(400, "required", "the resource is missing", (f"{plain.place}.resource",))
    if method == "PATCH":
        return replace(plain, interaction="patch", patch=carried_patch(resource))
    return replace(plain, interaction="create" if method == "POST" else "update", body=resource, full_url=full_url)


def _headers(request: Mapping[str, Any], place: str) -> dict[str, str]:
    found = {}
    for name, header in (("ifMatch", "if-match"), ("ifNoneExist", "if-none-exist"), ("ifNoneMatch", "if-none-match")):
        value = request.get(name)
        if value is not None and not isinstance(value, str):
            raise RequestRefused(400, "structure", "must be a string", (f"{place}.request.{name}",))
        if value is not None:
            found[header] = value
    return found


def _address(base: str, url: str, place: str) -> tuple[str, Pairs]:
    """Return path and parameters of an entry's url, which is relative to the base or begins with it."""
    try:
        parts = urlsplit(url.removeprefix(base + "/"))
        pairs = tuple(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise RequestRefused(400, "value", "is no URL", (f"{place}.request.url",)) from None
    if parts.scheme or parts.netloc or parts.fragment:
        raise RequestRefused(400, "value", "is no URL of this server", (f"{place}.request.url",))
    return parts.path.strip("/"), pairs


# --- answering --------------------------------------------------------------------------------------------------------


def _method_of(wanted: Wanted) -> str:
    return next(method for method, interaction in _METHODS.items() if interaction == wanted.interaction)


def _written(asked: Asked, wanted: Wanted, done: Done) -> _Answer:
    response: dict[str, Any] = {"status": _status(status_of(wanted, done))}
    if done.type and wanted.interaction != "delete":
        response["location"] = location(asked.base, done)
    if done.type:
        response["etag"] = f'W/"{done.version}"'
    if done.at is not None:
        response["lastModified"] = done.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    if done.seen is None or asked.prefer.get("return") in ("minimal", "OperationOutcome"):
        return _Answer(response)
    return _Answer(response, done.seen.text, (done.seen.shown,))


def _refused(error: Exception) -> _Answer:
    if isinstance(error, InvalidResource):
        error = RequestRefused(422, "invalid", error.what, (error.path,) if error.path else ())
    if not isinstance(error, RequestRefused):
        error = RequestRefused(409, "conflict", "somebody else wrote this at the same moment; try again")
    outcome = operation_outcome([Issue(error.what, error.code, "error", error.expression)])
    return _Answer({"status": _status(error.status), "outcome": outcome})


def _status(code: int) -> str:
    return f"{code} {HTTPStatus(code).phrase}"


def _bundle(kind: str, answers: list[_Answer]) -> bytes:
    entries = b",".join(
        b'{%b"response":%b}' % (b'"resource":%b,' % one.text if one.text else b"", codec.encode(one.response))
        for one in answers
    )
    head = codec.encode({"resourceType": "Bundle", "type": kind})
    return b'%b,"entry":[%b]}' % (head[:-1], entries) if answers else head
