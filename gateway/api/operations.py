"""Probes and metrics: ``/livez``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Readiness = Callable[[], dict[str, str]]
"""Looks at every part the gateway needs; part -> what is wrong with it (``""``: it answers)."""


def operations_router(readiness: Readiness, registry: CollectorRegistry) -> APIRouter:
    """Return the routes. ``/readyz`` is 503 and names the parts while one of them does not answer."""
    router = APIRouter()

    @router.get("/livez")
    def alive() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    @router.get("/readyz")
    def ready() -> JSONResponse:
        parts = readiness()
        good = not any(parts.values())
        return JSONResponse({part: wrong or "ok" for part, wrong in parts.items()}, 200 if good else 503)

    @router.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router
