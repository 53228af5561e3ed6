"""SMART Backend Services over HTTP: ``/auth/token``, ``/auth/introspect``, ``/auth/revoke``, smart-configuration.

Errors are JSON of RFC 6749, 5.2. What takes long (a database, a client's web server) is done in a few threads of its
own, so that no key set that is slow to come keeps the other routes waiting.
"""

from __future__ import annotations

import asyncio
import binascii
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from gateway.api.auth_shapes import ANSWERS, Configuration, Granted, Introspected, form_of
from gateway.errors import StoreUnavailable, TokenRefused
from gateway.jose import ALGORITHMS
from gateway.services.recognise import Asking
from gateway.services.tokens import Tokens

TOKEN_PATH: Final = "/auth/token"  # noqa: S105 - an address
INTROSPECT_PATH: Final = "/auth/introspect"
REVOKE_PATH: Final = "/auth/revoke"
MOST_BYTES: Final = 64 * 1024
BODY_SECONDS: Final = 10.0
THREADS: Final = 8

STEP_SECONDS: Final = 0.25
"""Whether there is such a client, and what it is recognised by, must not show in how long it takes to refuse one."""

_FORM: Final = "application/x-www-form-urlencoded"
_NOT_KEPT: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_SCOPES: Final = (
    "system/*.rs",
    "system/*.cruds",
    "system/*.read",
    "system/Patient.rs",
    "system/ResearchStudy.rs",
    "system/ResearchSubject.rs",
    "system/Observation.rs",
)


def smart_configuration(token_url: str, *, secrets: bool = False, certificates: bool = False) -> dict[str, Any]:
    """Return what ``[base]/.well-known/smart-configuration`` says (SMART App Launch 2.2, conformance).

    It is the same for every base, and names no issuer: there is no OpenID Connect. ``secrets``: some clients may have
    one; ``certificates``: tokens can be bound to one (RFC 8705).
    """
    root = token_url.removesuffix(TOKEN_PATH)
    methods = ["private_key_jwt"] + (["client_secret_basic", "client_secret_post"] if secrets else [])
    shown = {"auth_methods_supported": methods, "auth_signing_alg_values_supported": list(ALGORITHMS)}
    told: dict[str, Any] = {
        "token_endpoint": token_url,
        "introspection_endpoint": root + INTROSPECT_PATH,
        "revocation_endpoint": root + REVOKE_PATH,
        "grant_types_supported": ["client_credentials"],
        "scopes_supported": list(_SCOPES),
        # Asked for by SMART App Launch 2.2 of every server; of use only with an authorization endpoint.
        "code_challenge_methods_supported": ["S256"],
        "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
    }
    for endpoint in ("token_endpoint", "introspection_endpoint", "revocation_endpoint"):
        told |= {f"{endpoint}_{name}": value for name, value in shown.items()}
    if secrets:
        told["capabilities"].append("client-confidential-symmetric")
    if certificates:
        told["tls_client_certificate_bound_access_tokens"] = True
    return told


def auth_router(
    tokens: Tokens,
    base_url: Callable[[], str],
    *,
    secrets: bool = False,
    certificates: bool = False,
    hold: Hold = asyncio.sleep,  # nothing is waited for but the time, which tells nothing then
) -> APIRouter:
    """Return the routes. ``base_url``: where clients reach us, without a slash at its end; ``hold`` waits."""
    router = APIRouter(tags=["SMART Backend Services"])
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="auth")

    @router.post(TOKEN_PATH, response_model=Granted, responses=ANSWERS, openapi_extra=form_of("Token request"))
    async def token(request: Request) -> JSONResponse:
        """Grant an access token to a client that shows who it is (client_credentials)."""
        return await _answered(request, threads, lambda asking, _: tokens.grant(asking), hold)

    @router.post(
        INTROSPECT_PATH,
        response_model=Introspected,
        responses=ANSWERS,
        openapi_extra=form_of("Introspection request", token=True),
    )
    async def introspect(request: Request) -> JSONResponse:
        """Say what a token is to the client that holds it (RFC 7662)."""
        return await _answered(request, threads, tokens.introspect, hold)

    @router.post(REVOKE_PATH, responses=ANSWERS, openapi_extra=form_of("Revocation request", token=True))
    async def revoke(request: Request) -> JSONResponse:
        """Take a token back (RFC 7009); 200 too when there is nothing to take."""
        return await _answered(request, threads, revoked, hold)

    def revoked(asking: Asking, _bearer: str) -> dict[str, Any]:
        tokens.revoke(asking)
        return {}

    for path in ("/fhir/r4", "/fhir/r5"):
        router.add_api_route(
            f"{path}/.well-known/smart-configuration",
            _configuration(base_url, secrets=secrets, certificates=certificates),
            methods=["GET"],
            response_model=Configuration,
            name=f"smart-configuration {path[-2:]}",
            summary="Where and how a client gets a token",
        )
    return router


def _configuration(base_url: Callable[[], str], *, secrets: bool, certificates: bool) -> Callable[[], JSONResponse]:
    def configuration() -> JSONResponse:
        return JSONResponse(smart_configuration(base_url() + TOKEN_PATH, secrets=secrets, certificates=certificates))

    return configuration


Work = Callable[[Asking, str], dict[str, Any]]
Hold = Callable[[float], Awaitable[None]]


async def _answered(request: Request, threads: ThreadPoolExecutor, work: Work, hold: Hold) -> JSONResponse:
    """Read a request, do its work in a thread, and say what came of it."""
    began = time.monotonic()
    try:
        asking, bearer = await _read(request)
        done = asyncio.get_running_loop().run_in_executor(threads, partial(work, asking, bearer))
        return JSONResponse(await done, headers=_NOT_KEPT)
    except TokenRefused as error:
        if error.status == 401:
            await hold(until_step(time.monotonic() - began))
        return _refusal(request, error)
    except StoreUnavailable:
        what = "the database does not answer; try again"
        return _refusal(request, TokenRefused("temporarily_unavailable", what, 503, retry_after=5))


def until_step(elapsed: float) -> float:
    """Return for how many seconds more a refusal is held: it leaves a whole number of steps after it was asked for.

    >>> [until_step(elapsed) for elapsed in (0.0, 0.125, 0.5, 0.625)]
    [0.25, 0.125, 0.25, 0.125]
    """
    return STEP_SECONDS - elapsed % STEP_SECONDS


def _refusal(request: Request, error: TokenRefused) -> JSONResponse:
    headers = dict(_NOT_KEPT)
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        kind = "Basic" if request.headers.get("Authorization", "").lower().startswith("basic") else "Bearer"
        headers["WWW-Authenticate"] = f'{kind} realm="gateway", error="{error.code}"'
    return JSONResponse({"error": error.code, "error_description": error.what}, error.status, headers)


async def _read(request: Request) -> tuple[Asking, str]:
    """Return what is asked, and a bearer token in the header. Raises ``TokenRefused``."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != _FORM:
        raise TokenRefused("invalid_request", f"the content type is not {_FORM}")
    pairs = _pairs(await _body(request))
    form = dict(pairs)
    if len(form) != len(pairs):
        raise TokenRefused("invalid_request", "a parameter is there twice")
    kind, _, shown = request.headers.get("Authorization", "").strip().partition(" ")
    basic = _basic(shown.strip()) if kind.lower() == "basic" else None
    asking = Asking(form, basic, request.scope.get("client_thumbprint"))
    return asking, shown.strip() if kind.lower() == "bearer" else ""


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise TokenRefused("invalid_request", "the form cannot be read") from None


def _basic(encoded: str) -> tuple[str, str]:
    """Return client id and secret (RFC 6749, 2.3.1: both are form-encoded before they are joined)."""
    try:
        name, colon, secret = b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        name = colon = secret = ""
    if not colon:
        raise TokenRefused("invalid_client", "the Authorization header is not one of HTTP Basic", 401)
    return unquote_plus(name), unquote_plus(secret)


async def _body(request: Request) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                pieces.append(piece)
                size += len(piece)
                if size > MOST_BYTES:
                    raise TokenRefused("invalid_request", f"the request is larger than {MOST_BYTES} bytes", 413)
    except TimeoutError:
        raise TokenRefused("invalid_request", "the request did not arrive in time", 408) from None
    return b"".join(pieces)
