"""The web application: every HTTP route of the gateway, built from what ``bootstrap`` hands in."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from gateway.api.hl7v2 import hl7v2_router
from gateway.api.operations import Readiness, operations_router
from gateway.model.site import Feed
from gateway.services.receive import Intake


def create_app(
    intake: Intake | None, feeds: Mapping[str, Feed], readiness: Readiness, registry: CollectorRegistry
) -> FastAPI:
    """Return the application. ``intake`` None: this process does not listen, only probes and metrics are served."""
    app = FastAPI(title="Trial Gateway", openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(operations_router(readiness, registry))
    if intake is not None:
        app.include_router(hl7v2_router(intake, feeds))
    return app
