"""FHIR R4 3.1.1.4.15 and 3.1.1.4.16: chains and _has."""

from __future__ import annotations

import pytest

from gateway.errors import RequestRefused
from tests.searching import Resources, found, query

STUDY = {
    "resourceType": "ResearchStudy",
    "id": "s",
    "status": "active",
    "identifier": [{"system": "nct", "value": "NCT01"}],
}
PETER = {"resourceType": "Patient", "id": "p", "gender": "male", "identifier": [{"system": "n", "value": "7"}]}
SUBJECT = {
    "resourceType": "ResearchSubject",
    "id": "r",
    "status": "on-study",
    "study": {"reference": "ResearchStudy/s"},
    "individual": {"reference": "Patient/p/_history/1"},
}
OBSERVATION = {
    "resourceType": "Observation",
    "id": "o",
    "subject": {"reference": "Patient/p"},
    "code": {"coding": [{"code": "1234-5"}]},
    "effectiveDateTime": "2024",
}
WORLD = Resources(STUDY, PETER, SUBJECT, OBSERVATION)


@pytest.mark.parametrize(
    ("resource", "name", "asked", "is_found"),
    [
        (SUBJECT, "study.identifier", "nct|NCT01", True),
        (SUBJECT, "study.identifier", "NCT02", False),
        (SUBJECT, "study:ResearchStudy.status", "active", True),
        (SUBJECT, "patient.identifier", "n|7", True),
        (SUBJECT, "individual.gender:not", "male", False),
        (OBSERVATION, "subject:Patient.identifier", "7", True),
        (OBSERVATION, "subject.identifier", "7", True),
        (OBSERVATION, "subject:Group.identifier", "7", False),
        (OBSERVATION, "patient._id", "p", True),
        (PETER, "_has:Observation:patient:code", "1234-5", True),
        (PETER, "_has:Observation:patient:code", "other", False),
        (PETER, "_has:Observation:subject:date", "ge2024", True),
        (PETER, "_has:ResearchSubject:individual:status:not", "on-study", False),
        (STUDY, "_has:ResearchSubject:study:status", "on-study", True),
    ],
)
def test_conditions_on_what_a_resource_refers_to_and_what_refers_to_it(resource, name, asked, is_found):
    assert found(resource, (name, asked), world=WORLD) is is_found


def test_what_is_not_to_be_seen_is_not_searched_through():
    assert not found(SUBJECT, ("study.identifier", "NCT01"), world=Resources(SUBJECT))
    assert not found(PETER, ("_has:Observation:patient:code", "1234-5"), world=Resources(PETER))


@pytest.mark.parametrize(
    ("type", "name"),
    [
        ("ResearchSubject", "study.partof.title"),
        ("Patient", "_has:Observation:patient:_has:Provenance:target:agent"),
        ("Observation", "subject:Practitioner.name"),
        ("Observation", "code.name"),
        ("Observation", "patient.colour"),
        ("Observation", "patient.identifier:exact"),
        ("Patient", "_has:Observation:code:code"),
        ("Patient", "_has:Observation:specimen:code"),
        ("Patient", "_has:Observation:patient"),
        ("Patient", "_has:Account:patient:name"),
        ("Patient", "_has:Observation:patient:colour"),
        ("Observation", "patient."),
    ],
)
def test_a_chain_that_leads_nowhere_or_too_far_is_refused(type, name):
    with pytest.raises(RequestRefused) as refused:
        query(type, (name, "x"))

    assert refused.value.status == 400
    assert refused.value.expression == (name,)
