"""Why something might leave stands with the attempt that carried it."""

import pytest

from tests.releasing import a_consent, a_patient, a_study, a_subject, an_observation, recipient, uid, world


@pytest.fixture
def trial(tmp_path):
    with world(tmp_path, recipient()) as made:
        made.write(a_study())
        made.write(a_patient(), a_consent(), a_subject(), an_observation())
        yield made


def test_a_release_names_the_file_the_status_and_the_versions_it_stands_on(trial):
    file, status, *read = trial.pack().grounds.split(", ")

    assert file == f"file {trial.policy.digest('edc')}"
    assert status == "on-study"
    assert sorted(read) == [f"Consent/{a_consent()['id']} v1", f"ResearchSubject/{a_subject()['id']} v1"]


def test_a_new_version_of_the_consent_is_another_ground(trial):
    trial.write(a_consent(dateTime="2026-03-01T09:00:00+01:00"))

    assert f"Consent/{a_consent()['id']} v2" in trial.pack().grounds


def test_what_belongs_to_no_patient_stands_on_the_file_alone(trial):
    assert trial.pack(patient="").grounds == f"file {trial.policy.digest('edc')}"


def test_nothing_personal_stands_there(trial):
    assert not any(word in trial.pack().grounds for word in ("Rossetti", "MRN-4711", "MLD-007", uid("patient")))
