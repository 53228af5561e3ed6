"""FHIR R4 3.1.1.5: managing returned resources."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.errors import RequestRefused
from gateway.fhir.search.elements import subset
from tests.searching import query

UCUM = "http://unitsofmeasure.org"


def order(resources, sort, release="R4"):
    asked = query(resources[0]["resourceType"], ("_sort", sort), release=release)
    return [each["id"] for each in sorted(resources, key=asked.sort_key)]


def observations(**by_id):
    return [{"resourceType": "Observation", "id": id, **elements} for id, elements in by_id.items()]


def quantity(value, unit):
    return {"valueQuantity": {"value": Decimal(value), "system": UCUM, "code": unit}}


# --- order ------------------------------------------------------------------------------------------------------------


def test_what_has_no_value_comes_last_up_and_down():
    resources = observations(a={"effectiveDateTime": "2024-02"}, b={}, c={"effectiveDateTime": "2023"})

    assert order(resources, "date") == ["c", "a", "b"]
    assert order(resources, "-date") == ["a", "c", "b"]


def test_quantities_are_ordered_by_size_whatever_their_unit():
    resources = observations(a=quantity("5.4", "g/L"), b=quantity("500", "mg/dL"), c=quantity("5500", "mg/L"))

    assert order(resources, "value-quantity") == ["b", "a", "c"]
    assert order(resources, "-value-quantity") == ["c", "a", "b"]


def test_several_keys_go_one_after_the_other():
    resources = observations(
        a={"status": "final", "issued": "1", "code": {"coding": [{"code": "b"}]}},
        b={"status": "amended", "code": {"coding": [{"code": "B"}, {"code": "A"}]}},
        c={"status": "final", "code": {"coding": [{"code": "a"}]}},
    )

    assert order(resources, "status,-code") == ["b", "a", "c"]
    assert order(resources, "code,_id") == ["b", "c", "a"]


def test_names_are_ordered_without_case_and_accents():
    people = [
        {"resourceType": "Patient", "id": id, "name": [{"family": family}]}
        for id, family in (("1", "Zola"), ("2", "émile"), ("3", "Adam"))
    ]

    assert order(people, "family") == ["3", "2", "1"]
    assert order(people, "-name,_id") == ["1", "2", "3"]


def test_an_order_can_be_told_from_another_by_what_it_is_written_as():
    one = query("Observation", ("_sort", "-date")).sort_key({"effectiveDateTime": "2024"})
    two = query("Observation", ("_sort", "-date")).sort_key({"effectiveDateTime": "2024"})

    assert one == two
    assert repr(one) == repr(two)
    assert hash(one) == hash(two)


# --- the other parameters ---------------------------------------------------------------------------------------------


def test_the_parameters_of_results_are_read():
    asked = query(
        "Observation", ("_count", "20"), ("_total", "accurate"), ("_summary", "data"), ("_elements", "code,value"),
        ("_include", "Observation:subject:Patient"), ("_include:iterate", "Patient:organization"),
        ("_revinclude", "Provenance:target"), ("_sort", "-date"),
    )  # fmt: skip

    assert (asked.count, asked.total, asked.summary, asked.elements) == (20, "accurate", "data", ("code", "value"))
    assert [(each.source, each.parameter, each.target, each.iterate) for each in asked.include] == [
        ("Observation", "subject", "Patient", False),
        ("Patient", "organization", "", True),
    ]
    assert [each.source for each in asked.revinclude] == ["Provenance"]
    assert [(key.parameter, key.descending) for key in asked.sort] == [("date", True)]
    assert query("Observation").count is None
    assert query("Observation", ("_count", "0")).count == 0


def test_an_include_says_what_a_resource_refers_to():
    include, *_ = query("Observation", ("_include", "Observation:subject")).include

    assert list(include.references({"resourceType": "Observation", "subject": {"reference": "Patient/1"}})) == [
        "Patient/1"
    ]
    assert list(include.references({"resourceType": "Condition", "subject": {"reference": "Patient/1"}})) == []


def test_a_star_includes_by_every_reference():
    asked = query("ResearchSubject", ("_include", "*"), ("_revinclude", "Provenance:*"))

    assert {each.parameter for each in asked.include} == {"individual", "patient", "study"}
    assert "target" in {each.parameter for each in asked.revinclude}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("_count", "-1"), ("_count", "many"), ("_count", ""), ("_total", "some"), ("_summary", "all"), ("_sort", ""),
        ("_sort", "colour"), ("_sort", "subject"), ("_sort", "code-value-quantity"), ("_elements", ""),
        ("_elements", "a b"), ("_include", "subject"), ("_include", "Observation:code"), ("_include", "Account:x"),
        ("_include", "Observation:subject:Practitioner"), ("_include:recurse", "*"), ("_revinclude", "a:b:c:d"),
        ("_page", "a b"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_of_results_is_refused(name, wrong):
    with pytest.raises(RequestRefused) as refused:
        query("Observation", (name, wrong))

    assert refused.value.expression == (name,)


def test_what_may_stand_once_stands_once():
    with pytest.raises(RequestRefused):
        query("Observation", ("_count", "1"), ("_count", "2"))


# --- parts of resources -----------------------------------------------------------------------------------------------

OBSERVATION = {
    "resourceType": "Observation",
    "id": "1",
    "meta": {"versionId": "3", "tag": [{"code": "x"}]},
    "text": {"status": "generated", "div": "<div/>"},
    "status": "final",
    "code": {"text": "Hb"},
    "valueQuantity": {"value": 1},
    "note": [{"text": "n"}],
    "component": [{"code": {"text": "c"}, "valueString": "v", "referenceRange": [{"text": "r"}]}],
    "method": {"text": "m"},
}
SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}


@pytest.mark.parametrize(
    ("asked", "elements"),
    [
        ({"elements": ("method",)}, "status code method"),
        ({"elements": ("value",)}, "status code valueQuantity"),
        ({"elements": ("value[x]", "nothing")}, "status code valueQuantity"),
        ({"summary": "true"}, "status code valueQuantity component"),
        ({"summary": "text"}, "text status code"),
        ({"summary": "data"}, "status code valueQuantity note component method"),
    ],
)
def test_a_part_of_a_resource_keeps_what_is_mandatory_and_says_that_it_is_one(asked, elements):
    part = subset("R4", OBSERVATION, **asked)

    assert list(part) == ["resourceType", "id", "meta", *elements.split()]
    assert part["meta"] == {"versionId": "3", "tag": [{"code": "x"}, SUBSETTED]}
    assert len(OBSERVATION["meta"]["tag"]) == 1


def test_a_summary_goes_into_the_parts_of_an_element():
    part = subset("R4", OBSERVATION, summary="true")

    assert part["component"] == [{"code": {"text": "c"}, "valueString": "v"}]


def test_the_whole_is_not_tagged():
    for asked in ({}, {"summary": "false"}, {"summary": ""}):
        assert subset("R4", OBSERVATION, **asked) is OBSERVATION


def test_a_primitives_extension_stays_with_it():
    patient = {"resourceType": "Patient", "id": "1", "birthDate": "2024", "_birthDate": {"id": "b"}, "gender": "male"}

    assert "_birthDate" in subset("R4", patient, elements=("birthDate",))
    assert "_birthDate" not in subset("R4", patient, elements=("gender",))


def test_a_date_does_not_mean_a_datetime():
    consent = {"resourceType": "Consent", "id": "1", "status": "active", "dateTime": "2024"}

    assert "dateTime" not in subset("R4", consent, elements=("date",))


def test_r5_has_its_own_mandatory_and_summary_elements():
    subject = {"resourceType": "ResearchSubject", "id": "1", "status": "active", "subject": {"reference": "Patient/1"}}

    assert "subject" in subset("R5", subject, elements=("progress",))
