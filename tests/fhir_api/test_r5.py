"""What is shown in R5 is R5: by fhir.resources' models, and by the codes they know to be required."""

from __future__ import annotations

import pytest
from fhir.resources import get_fhir_model_class

from gateway.fhir.search.parameters import types
from tests.r5_codes import faults


@pytest.fixture(scope="module")
def r5(unit):
    with unit.client("monitor", release="r5") as client:
        yield client


def test_every_resource_and_bundle_shown_is_valid_r5(r5):
    looked = 0
    for type in types("R5"):
        response = r5.get(type, params={"_count": 200})
        if response.status_code in (403, 404):
            continue
        assert response.status_code == 200, (type, response.text)
        bundle = get_fhir_model_class("Bundle").model_validate_json(response.content)
        for entry in bundle.entry or ():
            looked += 1
            assert list(faults(entry.resource, type)) == []
    assert looked > 100


def test_the_statement_is_valid_r5(r5):
    statement = get_fhir_model_class("CapabilityStatement").model_validate_json(r5.get("metadata").content)
    assert statement.fhirVersion == "5.0.0"
    assert list(faults(statement, "CapabilityStatement")) == []


def test_a_history_is_valid_r5(r5):
    subject = r5.get("ResearchSubject", params={"_count": 1}).json()["entry"][0]["resource"]["id"]
    bundle = r5.get(f"ResearchSubject/{subject}/_history").content
    assert get_fhir_model_class("Bundle").model_validate_json(bundle).type == "history"
