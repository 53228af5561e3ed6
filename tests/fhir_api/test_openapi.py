"""``/openapi.json`` tells of every route beside FHIR, and nothing that is sent there finds a fault."""

from __future__ import annotations

from contextlib import suppress

import httpx
import pytest
import schemathesis
from hypothesis import Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.contracts.waiting import PATIENCE


@schemathesis.serializer("application/hl7-v2")
def hl7v2(_context, value):
    """A message as it is sent: whatever text it is."""
    return str(value).encode("utf-8", "surrogatepass")


PATHS = {"/hl7v2/{feed_id}", "/auth/token", "/auth/introspect", "/auth/revoke", "/livez", "/readyz", "/metrics"}


@pytest.fixture(scope="module")
def told(unit):
    return httpx.get(f"{unit.address}/openapi.json", timeout=PATIENCE).json()


@pytest.fixture(scope="module")
def described(unit):
    return schemathesis.openapi.from_url(f"{unit.address}/openapi.json")


def test_every_route_beside_fhir_is_told_of_in_words(told):
    assert told["paths"].keys() >= PATHS
    assert all(path in PATHS or path.endswith("smart-configuration") for path in told["paths"])
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), (path, method)
            assert all(answer["description"] for answer in operation["responses"].values())


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_nothing_that_is_sent_finds_a_fault(described, mode):
    asked = 0
    for found in described.get_all_operations():
        operation = found.ok()

        @given(operation.as_strategy(generation_mode=mode))
        @settings(max_examples=40, phases=(Phase.generate,))
        def sent(case):
            nonlocal asked
            asked += 1
            assert case.call(timeout=PATIENCE).status_code < 500 or case.path == "/readyz", case.as_curl_command()

        with suppress(Unsatisfiable):  # there is nothing to spoil where nothing is sent
            sent()
    assert asked > 100
