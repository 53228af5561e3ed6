"""Reading who is a subject from ResearchSubject and Consent."""

from datetime import UTC, datetime

import pytest

from gateway.release.policy import Policy
from gateway.services.subjects import standing
from tests.releasing import KEYS, MLD, SIGNED, WAS, a_consent, a_patient, a_subject, recipient, uid, version

POLICY = Policy([recipient()], [MLD, WAS], KEYS.pseudonym)
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActReason"


def subjects(*bodies):
    versions = [version(body, change=number) for number, body in enumerate(bodies, 1)]
    return standing(versions, uid("patient"), POLICY).subjects


def test_number_status_period_and_consent_are_read():
    found = subjects(a_subject(period={"start": "2026-03-01", "end": "2026-03"}), a_consent())["mld"]

    assert (found.number, found.status) == ("MLD-007", "on-study")
    assert found.started_at == datetime(2026, 3, 1, tzinfo=UTC)
    assert found.ended_at == datetime(2026, 3, 31, 23, 59, 59, 999999, tzinfo=UTC)
    assert [(c.active, c.given_at, c.purposes) for c in found.consents] == [(True, SIGNED, frozenset({"CLINTRCH"}))]


def test_a_consent_counts_when_it_names_the_study_though_the_subject_does_not_name_it():
    url = "http://hl7.org/fhir/StructureDefinition/consent-ResearchStudyContext"
    second = a_consent(
        id=uid("second"),
        extension=[{"url": url, "valueReference": {"reference": f"ResearchStudy/{MLD.resource}"}}],
    )

    assert {c.resource for c in subjects(a_subject(), a_consent(), second)["mld"].consents} == {
        a_consent()["id"], uid("second"),
    }  # fmt: skip


def test_a_consent_to_another_study_does_not_count():
    assert subjects(a_subject(), a_consent(study=WAS))["mld"].consents == ()


def test_a_study_of_no_file_makes_no_subject():
    undeclared = a_subject() | {"study": {"reference": f"ResearchStudy/{uid('undeclared')}"}}

    assert subjects(undeclared) == {}


@pytest.mark.parametrize(
    ("provision", "purposes"),
    [
        ({"type": "permit", "purpose": [{"system": ACT, "code": "CLINTRCH"}, {"system": ACT, "code": "HRESCH"}]},
         {"CLINTRCH", "HRESCH"}),
        ({"type": "deny", "purpose": [{"system": ACT, "code": "CLINTRCH"}]}, set()),
        ({"purpose": [{"code": "CLINTRCH"}, {"code": "HRESCH"}],
          "provision": [{"type": "deny", "purpose": [{"code": "HRESCH"}]}]}, {"CLINTRCH"}),
        ({}, set()),
    ],
)  # fmt: skip
def test_a_denied_purpose_is_not_permitted(provision, purposes):
    found = subjects(a_subject(), a_consent(provision=provision))["mld"]

    assert found.consents[0].purposes == purposes


def test_of_two_subjects_in_one_study_the_one_taking_part_counts():
    ended = a_subject(id=uid("earlier registration"), status="off-study")

    assert subjects(ended, a_subject())["mld"].resource == a_subject()["id"]
    assert subjects(a_subject(), ended)["mld"].resource == a_subject()["id"]


def test_patients_merged_into_this_one_are_known():
    versions = [version(a_patient()), version(a_patient(uid("old")))]

    assert standing(versions, uid("patient"), POLICY).merged == (uid("old"),)
