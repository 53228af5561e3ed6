"""The terminology that is served: valid in both releases, and true to the tables it is made from."""

from __future__ import annotations

import pytest
from fhir.resources import get_fhir_model_class as r5_model
from fhir.resources.R4B import get_fhir_model_class as r4_model

from gateway.bootstrap.terminology import terminology_of
from gateway.errors import RequestRefused
from gateway.fhir.checks import check
from gateway.model.names import BASE, LOINC, OBSERVATION_CODES
from gateway.services.terminology import TYPES, Code
from gateway.settings import load
from mappings.tables import load as table
from tests.configuration import ROOT

STATUS = f"{BASE}/ConceptMap/hl70085-observation-status"


@pytest.fixture(scope="module")
def terminology():
    return terminology_of(load(ROOT / "fixtures" / "config", {}))


@pytest.mark.parametrize("type", TYPES)
def test_every_resource_is_valid_in_both_releases(terminology, type):
    found = terminology.of_type("R4", type)
    assert found
    for resource in found:
        check(resource)
        r4_model(type).model_validate(resource)
    for resource in terminology.of_type("R5", type):
        r5_model(type).model_validate(resource)
    assert [one["id"] for one in terminology.of_type("R5", type)] == [one["id"] for one in found]


def test_a_map_leads_where_its_table_leads(terminology):
    status = terminology.named("ConceptMap", url=STATUS)
    for code, target in table("hl70085_observation_status").targets.items():
        found = terminology.translate([status], [Code("http://terminology.hl7.org/CodeSystem/v2-0085", code)])
        assert [(one.code.system, one.code.code) for one in found] == [(target.system, target.code)]


def test_a_map_can_be_gone_back(terminology):
    status = terminology.named("ConceptMap", url=STATUS)
    found = terminology.translate([status], [Code("http://hl7.org/fhir/observation-status", "final")], reverse=True)
    assert "F" in {one.code.code for one in found}


def test_the_units_own_codes_have_a_meaning_and_a_loinc_code(terminology):
    system, code = terminology.lookup(Code(OBSERVATION_CODES, "GT-HB"))
    assert (system["url"], bool(code.display)) == (OBSERVATION_CODES, True)
    maps = terminology.of_type("R4", "ConceptMap")
    found = terminology.translate(maps, [Code(OBSERVATION_CODES, "GT-HB")], LOINC)
    assert "718-7" in {one.code.code for one in found}


def test_a_value_set_is_listed_page_by_page(terminology):
    wanted = terminology.named("ValueSet", id="observation")
    whole = terminology.expand(wanted)["expansion"]
    paged = [terminology.expand(wanted, offset=at, count=7)["expansion"] for at in range(0, whole["total"], 7)]
    assert [one for page in paged for one in page.get("contains", ())] == whole["contains"]
    assert len(whole["contains"]) == whole["total"] > 7
    few = terminology.expand(wanted, "gt-hb")["expansion"]
    assert 0 < few["total"] < whole["total"]
    assert "contains" not in terminology.expand(wanted, "no such code")["expansion"]
    r4_model("ValueSet").model_validate(terminology.expand(wanted, "gt-hb"))


@pytest.mark.parametrize("code", [Code("http://loinc.org", "718-7"), Code(OBSERVATION_CODES, "GT-NONE")])
def test_what_is_not_ours_is_not_found(terminology, code):
    with pytest.raises(RequestRefused) as refused:
        terminology.lookup(code)
    assert refused.value.status == 404
