"""Whatever goes wrong on the way to an answer, the client gets an OperationOutcome with the right code."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import httpx
import pytest
from fastapi import FastAPI

from gateway.api.fhir.edge import Edge, fhir_router
from gateway.api.fhir.exchange import Rule, told
from gateway.errors import StoreUnavailable
from gateway.services.authorize import Authorizer
from gateway.services.throttle import Throttle
from tests.releasing import NOON


class AwayStore:
    """A database that does not answer."""

    @contextmanager
    def begin(self, *, write=True):
        raise StoreUnavailable("the database did not answer")
        yield


def asked(method, path):
    """The answer to a request, the database being away."""
    store = AwayStore()
    authorizer = Authorizer(store, b"k" * 32, lambda: NOON, Throttle(100), lambda _view: True)
    rules = [
        Rule("GET", "{type}/{id}", "read", lambda _asked: told({"resourceType": "Patient"}), types=("Patient",)),
        Rule("POST", "{type}", "create", lambda _asked: told({"resourceType": "Patient"}), types=("Patient",)),
    ]
    app = FastAPI()
    app.include_router(fhir_router(Edge(store, authorizer, [].append, lambda: NOON), rules))

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://unit.test") as client:
            return await client.request(method, path, headers={"Authorization": "Bearer something"})

    return asyncio.run(ask())


@pytest.mark.parametrize(("method", "path"), [("GET", "/fhir/r4/Patient/1"), ("POST", "/fhir/r4/Patient")])
def test_who_asks_cannot_be_looked_up(method, path):
    answer = asked(method, path)
    assert answer.status_code == 503
    assert answer.json()["issue"][0]["code"] == "transient"
    assert int(answer.headers["retry-after"]) > 0
