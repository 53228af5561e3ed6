"""What is remembered of what was let out never outlives a reason for it: each read is as if it were the first."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.model.access import Caller, Scope
from gateway.model.delivery import View
from gateway.services.concerns import Concerns
from gateway.services.enrolments import Enrolments
from gateway.services.pull import Pull, Sight
from tests.releasing import NOON, a_consent, a_patient, a_study, a_subject, an_observation, recipient, uid, world

PATIENT = uid("patient")
RESULT = uid(f"observation hb {PATIENT}")
CALLER = Caller("edc", (View("edc", "mld"),), (Scope("*", "rs"),))


@pytest.fixture
def here(tmp_path):
    with world(tmp_path, recipient("edc", identity="identified")) as made:
        made.write(a_study())
        made.write(a_patient(), a_consent(), a_subject(), an_observation(), patient=PATIENT)
        yield made


@pytest.fixture
def read(here):
    """Read the result with what was remembered, and without: both say the same, which is returned."""
    remembering = Sight(here.policy, Enrolments(here.policy), Concerns())

    def read(now=NOON + timedelta(days=9)):
        told = []
        for sight in (remembering, remembering, Sight(here.policy, Enrolments(here.policy), Concerns())):
            with here.store.begin(write=False) as tx:
                found = Pull(tx, sight, CALLER, now).read("Observation", RESULT)
                told.append(None if found is None else found[1].body)
        assert told[0] == told[1] == told[2]
        return told[0]

    return read


def test_what_is_seen_stays_seen(read):
    assert read()["subject"] == {"reference": f"Patient/{PATIENT}"}


def test_a_withdrawn_consent_is_heard_at_once(here, read):
    assert read() is not None
    here.write(a_consent(status="inactive"), patient=PATIENT)
    assert read() is None


def test_a_consent_ends_by_time_alone(here, read):
    ending = a_consent()
    ending["provision"]["period"] = {"end": "2026-06-30"}
    here.write(ending, patient=PATIENT)
    assert read() is not None
    assert read(NOON + timedelta(days=365)) is None
    assert read() is not None


def test_a_reference_goes_with_what_it_names(here, read):
    assert "subject" in read()
    here.write(a_patient(), patient=PATIENT, gone=True)
    assert "subject" not in (read() or {})


def test_a_corrected_result_is_read_as_it_is_now(here, read):
    read()
    here.write(an_observation(status="corrected"), patient=PATIENT)
    assert read()["status"] == "corrected"
