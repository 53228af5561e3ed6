"""Taking back says nothing but that it is taken back."""

import pytest

from gateway.fhir.checks import validate
from gateway.release.policy import REQUIRED, Policy
from gateway.release.retraction import holds_wrongly, retraction
from tests.releasing import KEYS, MLD, a_subject, an_observation, recipient, uid, version


def rights_of(**changes):
    return Policy([recipient(**changes)], [MLD], KEYS.pseudonym).of_study("mld")[0]


@pytest.mark.parametrize("identity", ["pseudonymous", "identified"])
@pytest.mark.parametrize("kind", ["Observation", "DiagnosticReport", "Encounter", "Specimen", "Consent", "Patient",
                                  "ResearchSubject"])  # fmt: skip
def test_a_retraction_is_valid_and_takes_nothing_from_the_body(kind, identity):
    stored = version(an_observation() | {"resourceType": kind})
    public, body = retraction(stored, rights_of(identity=identity))

    validate(body)
    assert body["id"] == public
    assert set(body) <= {"resourceType", "id", "meta", "status", "active", "code", "class", "scope", "category",
                         "policyRule", "study", "individual"}  # fmt: skip


def test_what_r4_has_no_mark_for_is_deleted():
    for kind in REQUIRED.keys() - {"Observation", "DiagnosticReport", "Encounter", "Specimen", "Consent", "Patient",
                                   "ResearchSubject"}:  # fmt: skip
        assert retraction(version(an_observation() | {"resourceType": kind}), rights_of())[1] == {}


def test_a_recipient_may_ask_for_deletion():
    public, body = retraction(version(an_observation()), rights_of(retraction="delete"))

    assert body == {}
    assert public == rights_of().public_id(an_observation()["id"])


def test_a_subject_taken_back_points_to_the_views_own_patient():
    _, body = retraction(version(a_subject()), rights_of())

    assert body["individual"] == {"reference": f"Patient/{rights_of().public_id(uid('patient'))}"}
    assert body["status"] == "not-registered"


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"status": "entered-in-error"}, True),
        ({"status": "cancelled"}, True),
        ({"status": "corrected"}, False),
        ({"valueQuantity": {"value": 97, "unit": "g/L"}}, True),
        ({"effectiveDateTime": "2026-03-11T08:30:00+01:00"}, True),
        ({"code": {"text": "other"}}, True),
        ({"note": [{"text": "x"}]}, False),
        ({"issued": "2026-03-11T08:30:00+01:00"}, False),
    ],
)
def test_a_view_holds_wrongly_what_was_measured_otherwise(change, wrong):
    assert holds_wrongly(an_observation(), an_observation(**change)) is wrong
