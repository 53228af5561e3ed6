"""Who received what of a person."""

import pytest

from gateway.model.translation import PatientKey
from gateway.services.disclose import disclosures, patient_known_by
from tests.releasing import a_consent, a_patient, a_study, a_subject, an_observation, recipient, uid, world


@pytest.fixture
def trial(tmp_path):
    with world(tmp_path, recipient(), recipient("registry", purpose="HRESCH")) as made:
        made.write(a_study())
        made.write(a_patient(), a_consent(), a_subject(), an_observation())
        yield made


def told(trial, name="patient"):
    patient = uid(name)
    return {line.recipient: line for line in disclosures(trial.store, patient)}


def test_what_was_accepted_is_listed_by_type_and_time_and_for_whom(trial):
    trial.deliver()
    first = trial.now
    trial.write(an_observation("later"))
    trial.deliver()

    lines = told(trial)

    assert set(lines) == {"edc"}
    assert dict(lines["edc"].certain) == {"Patient": 1, "Consent": 1, "ResearchSubject": 1, "Observation": 2}
    assert (lines["edc"].study, lines["edc"].attempts) == ("mld", 2)
    assert (lines["edc"].first, lines["edc"].last) == (first, trial.now)
    assert not lines["edc"].uncertain


def test_what_may_have_arrived_is_listed_as_such(trial):
    trial.deliver(outcome="unknown")

    line = told(trial)["edc"]

    assert not line.certain
    assert line.uncertain["Observation"] == 1


def test_what_was_refused_was_not_received(trial):
    trial.deliver(outcome="refused")

    assert told(trial) == {}


def test_what_was_taken_back_is_listed_too(trial):
    trial.deliver()
    trial.write(an_observation(status="entered-in-error"))
    trial.write(a_subject(status="not-registered"))
    trial.deliver()

    line = told(trial)["edc"]

    assert line.certain["ResearchSubject"] == 1
    assert line.retracted["ResearchSubject"] == 1


def test_a_merged_patient_stands_for_the_person(trial):
    trial.deliver()
    with trial.store.begin() as tx:
        tx.resources.merge(uid("patient"), uid("survivor"))

    assert told(trial, "survivor") == told(trial, "patient")
    assert told(trial, "survivor")["edc"].certain["Observation"] == 1


def test_a_result_sent_as_another_patients_is_a_disclosure_of_both(trial):
    """A correction moved the result to another patient after it was sent."""
    trial.deliver()
    other = uid("the other patient")
    trial.write(an_observation() | {"subject": {"reference": f"Patient/{other}"}}, patient=other)

    assert dict(told(trial, "the other patient")["edc"].certain) == {"Observation": 1}
    assert told(trial)["edc"].certain["Observation"] == 1


def test_a_patient_is_found_by_identifier_and_an_unknown_one_is_none(trial):
    with trial.store.begin() as tx:
        tx.resources.register_keys([PatientKey(uid("patient"), "urn:oid:1.2.3", "MRN-4711")])

    assert patient_known_by(trial.store, "urn:oid:1.2.3", "MRN-4711") == uid("patient")
    assert patient_known_by(trial.store, "urn:oid:1.2.3", "MRN-4712") is None
    assert disclosures(trial.store, uid("nobody")) is None
