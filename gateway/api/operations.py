"""Probes and metrics: ``/livez``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Readiness = Callable[[], dict[str, str]]
"""Looks at every part the gateway needs; part -> what is wrong with it (``""``: it answers)."""


def operations_router(readiness: Readiness, registry: CollectorRegistry) -> APIRouter:
    """Return the routes. ``/readyz`` is 503 and names the parts while one of them does not answer."""
    router = APIRouter(tags=["Operations"])
    wrong: dict[int | str, dict[str, Any]] = {
        503: {"description": "One of the parts does not answer; each is named.", "model": dict[str, str]}
    }

    @router.get("/livez", summary="Whether the process lives", response_class=PlainTextResponse)
    def alive() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    @router.get("/readyz", summary="Whether every part it needs answers", responses=wrong)
    def ready() -> JSONResponse:
        parts = readiness()
        good = not any(parts.values())
        return JSONResponse({part: wrong or "ok" for part, wrong in parts.items()}, 200 if good else 503)

    @router.get(
        "/metrics",
        summary="Metrics as Prometheus reads them",
        response_class=PlainTextResponse,
    )
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router
