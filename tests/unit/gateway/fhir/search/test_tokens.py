"""FHIR R4 3.1.1.4.10: token."""

from __future__ import annotations

import pytest

from gateway.errors import RequestRefused
from tests.searching import found, query

ACME = "http://acme.example/patient"
PATIENT = {
    "resourceType": "Patient",
    "id": "1",
    "active": True,
    "gender": "male",
    "identifier": [
        {"system": ACME, "value": "2345"},
        {"value": "Loose"},
        {
            "type": {"coding": [{"system": "http://t.example", "code": "MR"}], "text": "Medical Record"},
            "value": "446053",
        },
    ],
    "telecom": [{"system": "phone", "value": "555 1"}, {"system": "email", "value": "P@x.org"}],
}
CONDITION = {
    "resourceType": "Condition",
    "id": "1",
    "code": {
        "coding": [
            {"system": "http://acme.example/conditions/codes", "code": "ha125", "display": "Headache, acute"},
            {"code": "Local"},
        ],
        "text": "Pain in the head",
    },
}


@pytest.mark.parametrize(
    ("asked", "is_found"),
    [
        (f"{ACME}|2345", True),
        ("2345", True),
        ("http://other.example|2345", False),
        ("|Loose", True),
        ("|2345", False),
        (f"{ACME}|", True),
        ("http://other.example|", False),
        ("loose", False),  # the case of an identifier counts
        ("1,2345", True),
        ("234", False),
    ],
)
def test_an_identifier_is_found_by_value_by_system_and_value_or_by_system(asked, is_found):
    assert found(PATIENT, ("identifier", asked)) is is_found


@pytest.mark.parametrize(
    ("asked", "is_found"),
    [
        ("ha125", True),
        ("HA125", True),  # "servers SHOULD treat tokens in a case-insensitive manner"
        ("http://acme.example/conditions/codes|ha125", True),
        ("|ha125", False),
        ("|local", True),
        ("http://acme.example/conditions/codes|", True),
        ("http://acme.example/conditions/codes|local", False),
        ("Pain in the head", False),
    ],
)
def test_a_concept_is_found_by_any_of_its_codings(asked, is_found):
    assert found(CONDITION, ("code", asked)) is is_found


def test_repeated_parameters_must_all_hold_and_commas_are_alternatives():
    assert found(CONDITION, ("code", "other,ha125"), ("code", "local"))
    assert not found(CONDITION, ("code", "other,ha125"), ("code", "other"))


def test_not_finds_what_has_no_such_code_and_what_has_none_at_all():
    assert not found(PATIENT, ("gender:not", "male,female"))
    assert found(PATIENT, ("gender:not", "female"))
    assert found({"resourceType": "Patient", "id": "2"}, ("gender:not", "male"))
    assert not found(CONDITION, ("code:not", "local"))


def test_the_system_of_a_code_is_the_one_its_binding_implies():
    assert found(PATIENT, ("gender", "http://hl7.org/fhir/administrative-gender|male"))
    assert found(PATIENT, ("gender", "http://hl7.org/fhir/administrative-gender|"))
    assert not found(PATIENT, ("gender", "http://loinc.org|male"))


def test_truth_is_a_token():
    assert found(PATIENT, ("active", "true"))
    assert not found(PATIENT, ("active", "false"))
    assert found(PATIENT, ("active", "http://terminology.hl7.org/CodeSystem/special-values|true"))
    with pytest.raises(RequestRefused):
        query("Patient", ("active", "yes"))


@pytest.mark.parametrize(
    ("says", "deceased"),
    [
        ({}, "false"),
        ({"deceasedBoolean": False}, "false"),
        ({"deceasedBoolean": True}, "true"),
        ({"deceasedDateTime": "2024"}, "true"),
    ],
)
def test_somebody_is_deceased_who_is_said_to_be_and_was_not_else(says, deceased):
    patient = {"resourceType": "Patient", "id": "1", **says}

    assert found(patient, ("deceased", deceased))
    assert not found(patient, ("deceased", "true" if deceased == "false" else "false"))


def test_contacts_are_found_by_their_value_and_kind():
    assert found(PATIENT, ("email", "p@x.org"))
    assert not found(PATIENT, ("phone", "p@x.org"))
    assert found(PATIENT, ("telecom", "phone|555 1"))


def test_of_type_asks_for_a_kind_of_identifier_and_its_value():
    assert found(PATIENT, ("identifier:of-type", "http://t.example|MR|446053"))
    assert found(PATIENT, ("identifier:ofType", "http://t.example|MR|446053"))
    assert not found(PATIENT, ("identifier:of-type", "http://t.example|MR|2345"))
    for wrong in ("MR|446053", "|MR|446053", "http://t.example|MR|"):
        with pytest.raises(RequestRefused):
            query("Patient", ("identifier:of-type", wrong))


@pytest.mark.parametrize(
    ("asked", "is_found"), [("headache", True), ("pain in", True), ("acute", False), ("ha125", False)]
)
def test_text_looks_in_what_is_written_beside_the_code(asked, is_found):
    assert found(CONDITION, ("code:text", asked)) is is_found
    assert found(PATIENT, ("identifier:text", "medical"))


def test_missing_asks_whether_there_is_a_value():
    assert found(PATIENT, ("language:missing", "true"))
    assert found(PATIENT, ("gender:missing", "false"))
    assert not found(PATIENT, ("gender:missing", "true"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("gender:in", "x"), ("code:above", "x"), ("code:below", "x"), ("code:not-in", "x"), ("code:exact", "x"),
     ("code:", "x"), ("code:missing", "perhaps"), ("code", ""), ("code", "|"), ("code", "a,,b"), ("code", "a|b|c"),
     ("clinical-status:of-type", "a|b|c")],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_with_the_parameters_name(name, value):
    with pytest.raises(RequestRefused) as refused:
        query("Condition", (name, value))

    assert refused.value.status == 400
    if not name.startswith("gender"):
        assert refused.value.expression == (name,)


def test_escaped_signs_are_part_of_the_value():
    patient = {"resourceType": "Patient", "id": "1", "identifier": [{"system": "a|b", "value": "x,y$\\"}]}

    assert found(patient, ("identifier", r"a\|b|x\,y\$\\"))
    assert not found(patient, ("identifier", r"x\,y\$"))
