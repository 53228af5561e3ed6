"""Our own terminology over a real socket."""

from __future__ import annotations

import pytest

from gateway.model.access import Scope
from gateway.model.names import BASE, OBSERVATION_CODES

V2_STATUS = "http://terminology.hl7.org/CodeSystem/v2-0085"
STATUS = f"{BASE}/ConceptMap/hl70085-observation-status"


@pytest.fixture(scope="module")
def edc(unit):
    with unit.client("edc") as client:
        yield client


def parameters(response):
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["resourceType"] == "Parameters"
    return body["parameter"]


def value(part):
    return next(found for name, found in part.items() if name.startswith("value"))


def matches(response):
    found = parameters(response)
    assert value(found[0]) == any(one["name"] == "match" for one in found)
    return [{part["name"]: value(part) for part in one["part"]} for one in found if one["name"] == "match"]


def issue(response):
    return response.status_code, response.json()["issue"][0]["code"]


@pytest.mark.parametrize("type", ["ConceptMap", "CodeSystem", "ValueSet"])
def test_they_are_read_and_searched(edc, type):
    found = [entry["resource"] for entry in edc.get(type).json()["entry"]]
    assert found
    for one in found:
        assert edc.get(f"{type}/{one['id']}").json() == one
        assert edc.get(type, params={"url": one["url"]}).json()["total"] == 1


@pytest.mark.parametrize("path", ["ConceptMap/$translate", "ConceptMap/hl70085-observation-status/$translate"])
def test_a_code_is_translated(edc, path):
    found = matches(edc.get(path, params={"system": V2_STATUS, "code": "C"}))
    concept = {"system": "http://hl7.org/fhir/observation-status", "code": "corrected", "display": "Corrected"}
    assert {"equivalence": "relatedto", "concept": concept, "source": STATUS} in found


def test_a_code_is_translated_from_a_parameters_resource(edc):
    coding = {"system": "http://hl7.org/fhir/observation-status", "code": "final"}
    parameter = [
        {"name": "url", "valueUri": STATUS},
        {"name": "codeableConcept", "valueCodeableConcept": {"coding": [coding]}},
        {"name": "reverse", "valueBoolean": True},
    ]
    found = matches(edc.post("ConceptMap/$translate", json={"resourceType": "Parameters", "parameter": parameter}))
    assert {one["concept"]["system"] for one in found} == {V2_STATUS}


def test_r5_speaks_of_relationships(unit):
    with unit.client("edc", release="r5") as r5:
        found = matches(r5.get("ConceptMap/$translate", params={"system": V2_STATUS, "sourceCode": "C"}))
        assert (found[0]["relationship"], found[0]["originMap"]) == ("related-to", STATUS)
        back = {"targetCode": "corrected", "system": "http://hl7.org/fhir/observation-status", "url": STATUS}
        assert "C" in {one["concept"]["code"] for one in matches(r5.get("ConceptMap/$translate", params=back))}
        expanded = r5.get("ValueSet/observation/$expand", params={"count": 1}).json()
        assert len(expanded["expansion"]["contains"]) == 1


def test_a_code_is_explained(edc):
    found = parameters(edc.get("CodeSystem/$lookup", params={"system": OBSERVATION_CODES, "code": "GT-HB"}))
    assert [one["name"] for one in found] == ["name", "version", "display"]
    coding = {"name": "coding", "valueCoding": {"system": OBSERVATION_CODES, "code": "GT-HB"}}
    again = edc.post("CodeSystem/$lookup", json={"resourceType": "Parameters", "parameter": [coding]})
    assert parameters(again) == found


def test_a_code_is_explained_in_the_version_and_with_the_properties_there_are(edc):
    asked = {"system": OBSERVATION_CODES, "code": "GT-HB"}
    found = parameters(edc.get("CodeSystem/$lookup", params=asked))
    version = next(value(one) for one in found if one["name"] == "version")
    again = edc.get("CodeSystem/$lookup", params={**asked, "version": version, "property": ["display", "definition"]})
    assert parameters(again) == found


@pytest.mark.parametrize(("release", "code", "scope"), [("r4", "code", "target"), ("r5", "sourceCode", "targetScope")])
def test_a_code_is_translated_into_those_of_a_value_set_alone(unit, release, code, scope):
    with unit.client("edc", release=release) as client:
        asked = {"system": OBSERVATION_CODES, code: "GT-HB"}
        everything = matches(client.get("ConceptMap/$translate", params=asked))
        assert "http://loinc.org" in {one["concept"]["system"] for one in everything}
        own = matches(client.get("ConceptMap/$translate", params={**asked, scope: f"{BASE}/ValueSet/observation"}))
        assert own == []
        every = matches(client.get("ConceptMap/$translate", params={**asked, scope: f"{BASE}/ValueSet/observed"}))
        assert every == everything


def test_a_value_set_is_expanded(edc):
    by_url = edc.get("ValueSet/$expand", params={"url": f"{BASE}/ValueSet/observation", "filter": "gt-hb"}).json()
    assert by_url["expansion"]["total"] == len(by_url["expansion"]["contains"]) > 0
    assert by_url == edc.get("ValueSet/observation/$expand", params={"filter": "gt-hb"}).json()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("ConceptMap/$translate", (400, "required")),
        ("ConceptMap/$translate?code=A&url=http://none.example", (404, "not-found")),
        ("ConceptMap/none/$translate?code=A", (404, "not-found")),
        ("ConceptMap/$translate?code=A&fish=1", (400, "not-supported")),
        ("ConceptMap/$translate?coding=A", (400, "value")),
        ("CodeSystem/$lookup?code=A", (400, "required")),
        ("CodeSystem/$lookup?code=A&system=http://loinc.org", (404, "not-found")),
        ("ValueSet/$expand", (400, "required")),
        ("ValueSet/none/$expand", (404, "not-found")),
        ("ValueSet/observation/$expand?count=x", (400, "value")),
        ("ConceptMap/none", (404, "not-found")),
        ("CodeSystem/$lookup?code=GT-HB&version=99&system=" + OBSERVATION_CODES, (404, "not-found")),
        (f"CodeSystem/$lookup?code=GT-HB&system={OBSERVATION_CODES}|99", (404, "not-found")),
        ("CodeSystem/$lookup?code=GT-HB&property=colour&system=" + OBSERVATION_CODES, (400, "not-supported")),
        ("ValueSet/observation/$expand?valueSetVersion=99", (404, "not-found")),
        (f"ValueSet/$expand?url={BASE}/ValueSet/observation|99", (404, "not-found")),
        ("ConceptMap/$translate?code=A&target=http://none.example", (404, "not-found")),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(edc, path, expected):
    assert issue(edc.get(path)) == expected


def test_a_token_needs_a_scope_for_it(unit):
    with unit.client("edc", scopes=(Scope("Patient", "rs"),)) as narrow:
        assert issue(narrow.get("ValueSet/observation/$expand")) == (403, "forbidden")
        assert issue(narrow.get("ConceptMap/$translate?code=A")) == (403, "forbidden")
