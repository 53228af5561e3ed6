"""Where HTTP becomes a request of the FHIR API and an answer becomes HTTP.

Here alone, for every route: who asks, how often, in which form the answer is wanted, what went wrong in words of
FHIR (OperationOutcome), and that what an answer discloses is noted before it leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final
from urllib.parse import parse_qsl

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import Route, request_response
from starlette.types import Receive, Scope, Send

from gateway.api.fhir.compression import PAYS_FROM, gzipped, takes_gzip
from gateway.api.fhir.documents import wants_content
from gateway.api.fhir.exchange import FHIR_JSON, Asked, Rule, Told
from gateway.api.fhir.routing import Routes
from gateway.errors import InvalidResource, RequestRefused, StoreUnavailable, VersionConflict
from gateway.fhir import codec
from gateway.fhir.outcome import Issue, operation_outcome
from gateway.model.access import Caller
from gateway.ports import Answer, Clock, Store, Transaction
from gateway.services.authorize import Authorizer
from gateway.services.defect import words_of
from gateway.services.seen import Release

log = structlog.get_logger()

BASES: Final[Mapping[str, Release]] = {"/fhir/r4": "R4", "/fhir/r5": "R5"}
VERSIONS: Final[Mapping[Release, str]] = {"R4": "4.0", "R5": "5.0"}
THREADS: Final = 4
MOST: Final = 32 * 1024 * 1024
"""Bytes of a request's body at most."""

_JSON: Final = frozenset(("application/fhir+json", "application/json", "application/json+fhir", "text/json", "json"))
_ANY: Final = frozenset(("*/*", "application/*", "text/*", "text/html"))
_FORM: Final = "application/x-www-form-urlencoded"
_BODIES: Final = _JSON | {"application/json-patch+json"}
_ONE_LOOK: Final = frozenset(("read", "vread", "search-type"))
"""Interactions that look once, in the very transaction in which it is looked up who asks."""

_NOBODY: Final = Caller("", (), ())


@dataclass(frozen=True, slots=True)
class Edge:
    """What every route needs. ``base_url``: where clients reach us, ``""``: where the request says it came to.

    ``note`` keeps what an answer discloses; the answer leaves when that is done. ``threads`` is where
    requests are answered: more of them than there are cores only take the processor from each other.
    """

    store: Store
    authorizer: Authorizer
    note: Callable[[Answer], None]
    clock: Clock
    base_url: str = ""
    timeout: float = 30.0
    threads: Executor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, "fhir"))


def fhir_router(edge: Edge, rules: Iterable[Rule]) -> APIRouter:
    """Return the routes of both releases."""
    router = APIRouter()
    listed = list(rules)
    for base, release in BASES.items():
        served = [rule for rule in listed if release in rule.releases]
        endpoint = partial(_answer, edge, base, release, Routes(served))
        for path in (base, base + "/{path:anything}"):
            router.routes.append(Route(path, _EveryMethod(endpoint)))
    return router


class _EveryMethod:
    """An application, as a function would be asked by the methods alone that its route lists: we refuse the others."""

    def __init__(self, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        self._application = request_response(endpoint)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._application(scope, receive, send)


class _Anything(Convertor[str]):
    """The rest of an address, whatever is in it: Starlette's own ends at a line break."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anything", _Anything())


# --- one request ------------------------------------------------------------------------------------------------------


async def _answer(edge: Edge, base: str, release: Release, routes: Routes, request: Request) -> Response:
    headers = {name.lower(): value for name, value in request.headers.items()}
    pairs = parse_qsl(request.url.query, keep_blank_values=True)
    try:
        method = "GET" if request.method == "HEAD" else request.method
        path = request.path_params.get("path", "").rstrip("/")
        rule, names = routes.find(method, path)
        native = wants_content(rule.interaction, names.get("type", ""), headers, pairs)
        media_type = FHIR_JSON if native else _wanted(release, headers, pairs)
        body = await _body(request, edge.timeout)
        asked = Asked(
            method=method,
            base=(edge.base_url or f"{request.url.scheme}://{request.url.netloc}") + base,
            release=release,
            path=path,
            names=names,
            pairs=tuple(pairs),
            headers=headers,
            body=body,
            caller=_NOBODY,
            now=edge.clock(),
            native=native,
        )
        # One thread does all that asks the database: to go to another costs as much as a small query.
        serving = partial(_served, edge, rule, asked, request.scope.get("client_thumbprint"), media_type)
        response = await asyncio.get_running_loop().run_in_executor(edge.threads, serving)
    except RequestRefused as error:
        return _refusal(error)
    return response


def _served(edge: Edge, rule: Rule, asked: Asked, thumbprint: str | None, media_type: str) -> Response:
    """Return the answer to a request of whom it shows to be; what it discloses is noted before it leaves."""
    response, answer = _found(edge, rule, asked, thumbprint, media_type)
    if answer is not None:
        try:
            edge.note(answer)
        except StoreUnavailable:
            what = "what the answer discloses cannot be noted, so nothing is shown; try again"
            raise RequestRefused(503, "transient", what, retry_after=5) from None
    return response


def _found(
    edge: Edge, rule: Rule, asked: Asked, thumbprint: str | None, media_type: str
) -> tuple[Response, Answer | None]:
    """Return an answer and what is to be noted of it."""
    look = edge.store.begin(write=False) if rule.interaction in _ONE_LOOK else nullcontext()
    with _refusing(asked), look as tx:
        caller = _NOBODY if rule.open else _caller(edge, asked.headers, thumbprint, tx)
        pairs = asked.pairs + tuple(_form(rule, asked.headers, asked.body))
        known = replace(asked, caller=caller, pairs=pairs, tx=tx)
        try:
            with _refusing(known):
                told = rule.handler(known)
            response = _response(told, media_type, known)
        except RequestRefused as error:
            told, response = Told(error.status), _refusal(error)
        return response, None if rule.open else _noted(rule, known, told)


def _wanted(release: Release, headers: Mapping[str, str], pairs: Sequence[tuple[str, str]]) -> str:
    """Return the content type to answer in. Raises ``RequestRefused`` (406): only JSON of this release is served."""
    formats = [value for name, value in pairs if name == "_format"]
    for text in (headers.get("accept", ""), headers.get("content-type", ""), *formats):
        version = _parameter(text, "fhirVersion")
        if version and version != VERSIONS[release]:
            raise RequestRefused(406, "not-supported", f"here FHIR {VERSIONS[release]} is spoken, not the one named")
    for text in formats or (headers.get("accept", "").strip() or "*/*").split(","):
        one = text.partition(";")[0].strip().lower()
        if one in _ANY or one in _JSON or one == "application/fhir+ndjson":
            return "application/json" if one == "application/json" else FHIR_JSON
    raise RequestRefused(406, "not-supported", "only JSON is served: application/fhir+json")


def _parameter(value: str, name: str) -> str:
    found = (one.strip().partition("=") for one in value.replace(",", ";").split(";"))
    return next((text.strip('" ') for key, _, text in found if key.strip().lower() == name.lower()), "")


async def _body(request: Request, seconds: float) -> bytes:
    """Return the body. Raises ``RequestRefused``: 413 too large, 408 it did not come in time."""
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                pieces.append(piece)
                size += len(piece)
                if size > MOST:
                    raise RequestRefused(413, "too-long", f"the body is larger than {MOST} bytes")
    except TimeoutError:
        raise RequestRefused(408, "timeout", "the request did not arrive in time; send it again") from None
    return b"".join(pieces)


def _form(rule: Rule, headers: Mapping[str, str], body: bytes) -> list[tuple[str, str]]:
    """Return the parameters of a form. Raises ``RequestRefused`` (415) for a body of a type that is not taken."""
    if not body:
        return []
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if rule.path.endswith("_search"):
        if kind == _FORM:
            return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        raise RequestRefused(415, "not-supported", f"a search is sent as {_FORM}")
    if kind and kind not in _BODIES and not (kind == _FORM and rule.path.startswith("$")):
        raise RequestRefused(415, "not-supported", "a resource is sent as application/fhir+json")
    return []


def _caller(edge: Edge, headers: Mapping[str, str], thumbprint: str | None, tx: Transaction | None) -> Caller:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        what = "a bearer token is needed: get one at the token endpoint"
        raise RequestRefused(401, "login", what, headers={"WWW-Authenticate": "Bearer"})
    caller = edge.authorizer.caller(token.strip(), thumbprint, tx)
    edge.authorizer.take(caller.client)
    return caller


@contextmanager
def _refusing(asked: Asked) -> Iterator[None]:
    """Let every error leave as a ``RequestRefused``."""
    try:
        yield
    except RequestRefused:
        raise
    except InvalidResource as error:
        raise RequestRefused(422, "invalid", error.what, (error.path,) if error.path else ()) from None
    except VersionConflict:
        raise RequestRefused(409, "conflict", "somebody else wrote this at the same moment; try again") from None
    except StoreUnavailable:
        raise RequestRefused(503, "transient", "the database does not answer; try again", retry_after=5) from None
    except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
        # Not with the traceback: its words may be somebody's data.
        log.error("a FHIR request failed", method=asked.method, type=asked.type, error=words_of(error))  # noqa: TRY400
        raise RequestRefused(500, "exception", "this is a fault of the gateway; its log says more") from None


def _noted(rule: Rule, asked: Asked, told: Told) -> Answer:
    words = "&".join(f"{name}={value}" for name, value in asked.pairs)
    request = f"{asked.method} {asked.path}" + (f"?{words}" if words else "")
    return Answer(asked.now, asked.caller.client, rule.interaction, asked.type, told.status, request, told.shown)


def _response(told: Told, media_type: str, asked: Asked) -> Response:
    headers = dict(told.headers)
    kind = media_type if told.media_type == FHIR_JSON else told.media_type
    if not isinstance(told.body, bytes):
        return StreamingResponse(told.body, told.status, headers, kind)
    pretty = dict(asked.pairs).get("_pretty") == "true"
    body = codec.pretty(told.body) if pretty and told.body and kind == media_type else told.body
    if len(body) >= PAYS_FROM:
        headers["Vary"] = ", ".join(filter(None, (headers.get("Vary"), "Accept-Encoding")))
        if takes_gzip(asked.headers.get("accept-encoding", "")):
            body, headers["Content-Encoding"] = gzipped(body), "gzip"
    response = Response(body, told.status, headers)
    if body:
        response.headers["Content-Type"] = kind
    return response


def _refusal(error: RequestRefused) -> Response:
    issue = Issue(error.what, error.code, "error", error.expression)
    response = Response(codec.encode(operation_outcome([issue])), error.status, error.headers)
    response.headers["Content-Type"] = FHIR_JSON
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        response.headers.setdefault("WWW-Authenticate", 'Bearer error="invalid_token"')  # RFC 6750, 3.1
    return response
