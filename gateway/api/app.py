"""The web application: every HTTP route of the gateway, built from what ``bootstrap`` hands in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry

from gateway import __version__
from gateway.api.hl7v2 import hl7v2_router
from gateway.api.operations import Readiness, operations_router
from gateway.model.site import Feed
from gateway.services.receive import Intake

_DESCRIPTION: Final = (
    "HL7 v2 over HTTP, access tokens of SMART Backend Services, probes and metrics. "
    "What the FHIR API serves is told by its CapabilityStatement: /fhir/r4/metadata and /fhir/r5/metadata."
)


def create_app(
    intake: Intake | None,
    feeds: Mapping[str, Feed],
    readiness: Readiness,
    registry: CollectorRegistry,
    more: Iterable[APIRouter] = (),
) -> FastAPI:
    """Return the application. ``intake`` None: this process does not listen, only probes and metrics are served.

    ``more``: other routes, those of the FHIR API.
    """
    app = FastAPI(
        title="Trial Gateway",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(operations_router(readiness, registry))
    if intake is not None:
        app.include_router(hl7v2_router(intake, feeds))
    for router in more:
        app.include_router(router)
    return app
