"""FHIR R4 3.1.1.4.9: reference."""

from __future__ import annotations

import pytest

from gateway.errors import RequestRefused
from gateway.fhir.search.parameters import parameters
from gateway.fhir.search.references import referred
from tests.searching import BASE, found, query


def about(reference, **more):
    return {"resourceType": "Observation", "id": "1", "subject": {"reference": reference, **more}}


@pytest.mark.parametrize(
    ("name", "asked", "has", "is_found"),
    [
        ("subject", "Patient/23", "Patient/23", True),
        ("subject", "23", "Patient/23", True),
        ("subject", "23", "Group/23", False),  # a bare id there is a Patient's
        ("subject", "Group/23", "Group/23", True),
        ("subject", f"{BASE}/Patient/23", "Patient/23", True),
        ("subject", "Patient/23", f"{BASE}/Patient/23", True),
        ("subject", "http://other.example/Patient/23", "Patient/23", False),
        ("subject", "Patient/23", "http://other.example/Patient/23", False),
        ("subject", "23", "http://other.example/Patient/23", False),
        ("subject", "http://other.example/Patient/23", "http://other.example/Patient/23", True),
        ("subject", "Patient/23", "Patient/23/_history/2", True),
        ("subject", "Patient/23/_history/2", "Patient/23/_history/2", True),
        ("subject", "Patient/23/_history/2", "Patient/23/_history/3", False),
        ("subject", "Patient/23/_history/2", "Patient/23", False),
        ("subject", "Patient/2", "Patient/23", False),
        ("subject:Patient", "23", "Patient/23", True),
        ("subject:Group", "23", "Patient/23", False),
        ("patient", "23", "Patient/23", True),
        ("patient", "Patient/23", "Group/23", False),
        ("subject", "1,Patient/23", "Patient/23", True),
        ("subject", "23", "#23", False),
        (
            "subject",
            "urn:uuid:0f0e0d0c-0000-4000-8000-000000000001",
            "urn:uuid:0f0e0d0c-0000-4000-8000-000000000001",
            True,
        ),
        ("patient:missing", "true", "Group/1", True),
        ("subject:missing", "true", "Group/1", False),
    ],
)
def test_a_reference_is_asked_for_by_id_type_and_id_or_url(name, asked, has, is_found):
    assert found(about(has), (name, asked)) is is_found


@pytest.mark.parametrize(
    ("asked", "is_found"), [("7", True), ("Organization/7", True), ("Practitioner/7", False), ("8", False)]
)
def test_a_bare_id_is_of_any_type_the_parameter_names(asked, is_found):
    observation = {"resourceType": "Observation", "id": "1", "performer": [{"reference": "Organization/7"}]}

    assert found(observation, ("performer", asked)) is is_found


def test_a_logical_reference_is_found_by_its_identifier():
    logical = {
        "resourceType": "Observation",
        "id": "1",
        "subject": {"type": "Patient", "identifier": {"system": "s", "value": "9"}},
    }

    for name in ("subject:identifier", "patient:identifier"):
        assert found(logical, (name, "s|9"))
        assert found(logical, (name, "9"))
        assert not found(logical, (name, "t|9"))
    assert not found(about("Patient/9"), ("subject:identifier", "9"))


def test_a_canonical_is_a_reference_too():
    procedure = {"resourceType": "Procedure", "id": "1", "instantiatesCanonical": ["http://a.example/Plan|2"]}

    assert found(procedure, ("instantiates-canonical", "http://a.example/Plan"))
    assert found(procedure, ("instantiates-canonical", "http://a.example/Plan|2"))
    assert not found(procedure, ("instantiates-canonical", "http://a.example/Plan|1"))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("subject", "Patient/"), ("subject", "patient/1"), ("subject", "a b"), ("subject:Patient", "Group/1"),
     ("subject:Practitioner", "1"), ("subject:patient", "1"), ("subject:exact", "1"), ("subject", "x" * 65)],
)  # fmt: skip
def test_what_is_no_reference_of_the_parameter_is_refused(name, wrong):
    with pytest.raises(RequestRefused) as refused:
        query("Observation", (name, wrong))

    assert refused.value.expression == (name,)


@pytest.mark.parametrize(
    ("pairs", "subjects"),
    [
        ([("patient", "1")], {"1"}),
        ([("subject", "Patient/1,2")], {"1", "2"}),
        ([("subject", "Patient/1,2"), ("patient", f"{BASE}/Patient/2")], {"2"}),
        ([("patient", "1"), ("subject", "2")], set()),
        ([("subject", "Patient/1,Group/2")], None),
        ([("subject:identifier", "s|1")], None),
        ([("subject:missing", "false")], None),
        ([("performer", "Patient/1")], None),
        ([("patient.gender", "male")], None),
        ([], None),
    ],
)
def test_a_query_says_whom_its_matches_belong_to(pairs, subjects):
    assert query("Observation", *pairs).subjects() == (None if subjects is None else frozenset(subjects))


def test_a_patient_is_its_own_subject():
    assert query("Patient", ("_id", "1,2"), ("_id", "|2")).subjects() == {"2"}
    assert query("Patient", ("_id:not", "1")).subjects() is None
    assert query("Observation", ("_id", "1")).subjects() is None
    assert query("ResearchSubject", ("individual", "7")).subjects() == {"7"}
    assert query("ResearchSubject", ("subject", "7"), release="R5").subjects() == {"7"}


def test_what_a_resource_refers_to_is_given_without_version_and_of_one_type_alone():
    performer = parameters("R4", "Observation")["performer"]
    observation = {
        "performer": [
            {"reference": "Organization/1"}, {"reference": "Patient/2/_history/3"}, {"reference": "#x"},
            {"display": "A"}, {"reference": "https://other.example/Patient/4"},
        ]
    }  # fmt: skip

    assert list(referred(performer, observation)) == ["Organization/1", "Patient/2"]
    assert list(referred(performer, observation, "Patient")) == ["Patient/2"]
