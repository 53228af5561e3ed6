"""The answers an operator gets."""

import json

import pytest

from gateway.services.explain import explain
from tests.releasing import a_consent, a_patient, a_study, a_subject, an_observation, recipient, uid, world


@pytest.fixture
def trial(tmp_path):
    with world(tmp_path, recipient(), recipient("registry", purpose="HRESCH")) as made:
        made.write(a_study())
        made.write(a_patient(), a_consent(), a_subject())
        made.write(an_observation(), an_observation("early", effectiveDateTime="2026-01-10T08:30:00+01:00"))
        yield made


def told(trial, id="edc", **asked):
    return explain(trial.store, trial.policy, id, trial.now, **asked)


def test_what_was_sent_is_told_with_version_time_and_outcome(trial):
    trial.deliver()

    answer = told(trial, resource=f"Observation/{an_observation()['id']}")

    assert [(sent.version, sent.outcome) for sent in answer.resources[0].sent] == [(1, "accepted")]
    assert "nothing is owed" in answer.lines()[1]


def test_what_was_not_sent_is_told_with_the_rule_that_said_so(trial):
    answer = told(trial, patient=uid("patient"))

    rules = {line.resource: line.rule for line in answer.resources}
    assert rules[an_observation("early")["id"]] == "before-consent"
    assert rules[an_observation()["id"]] == ""
    assert "owes changes" in answer.lines()[1]


def test_each_recipient_has_its_own_reasons(trial):
    answer = told(trial, "registry", patient=uid("patient"))

    assert {line.rule for line in answer.resources} == {"purpose"}


def test_a_message_is_explained_by_the_resources_it_wrote(trial):
    assert len(told(trial, message=1).resources) == 6


def test_nothing_personal_is_told(trial):
    text = json.dumps(told(trial, patient=uid("patient")).as_json()) + "\n".join(told(trial, message=1).lines())

    assert not any(word in text for word in ("Rossetti", "Gaia", "MRN-4711", "2019", "MLD-007", " 98"))


def test_an_unknown_recipient_or_patient_is_said_to_be_unknown(trial):
    assert "no recipient file" in told(trial, "nobody", patient=uid("patient")).note
    assert "nothing is stored" in told(trial, patient=uid("nobody")).note
