"""Which cursors a change concerns."""

import pytest

from gateway.model.delivery import BACKFILL, DeliveryState, View
from gateway.services.plan import replan
from tests.releasing import (
    MLD,
    WAS,
    a_consent,
    a_patient,
    a_study,
    a_subject,
    an_observation,
    an_organization,
    kinds,
    recipient,
    uid,
    world,
)


@pytest.fixture
def trial(tmp_path):
    with world(tmp_path, recipient(), recipient("registry", studies=("mld", "was"))) as made:
        yield made


def enrol(trial):
    trial.write(a_patient(), a_consent(), a_subject())


def test_a_change_concerns_every_view_of_the_patients_studies_and_no_other(trial):
    enrol(trial)

    assert trial.cursor("edc")
    assert trial.cursor("registry")
    assert trial.cursor("registry", "was") is None


def test_a_patient_in_no_study_owes_nothing(trial):
    trial.write(a_patient(), an_observation())

    assert trial.cursor() is None


def test_a_study_concerns_its_own_views(trial):
    trial.write(a_study(WAS))

    assert trial.cursor("registry", "was", patient="").planned == 1
    assert trial.cursor("registry", "mld", patient="") is None
    assert trial.cursor("edc", "mld", patient="") is None


def test_a_new_organization_concerns_nobody_until_somebody_holds_it(trial):
    trial.write(an_organization())

    assert trial.cursor(patient="") is None


def test_an_ordinary_result_does_not_begin_anything_again(trial):
    enrol(trial)
    trial.deliver()
    trial.write(an_observation())

    assert trial.cursor().sent > 0


@pytest.mark.parametrize(
    ("change", "begins_again"),
    [
        (a_consent(dateTime="2026-02-20T10:00:00+01:00"), True),
        (a_consent(dateTime="2026-03-02T10:00:00+01:00"), False),
        (a_subject(status="follow-up"), False),
        (a_subject(status="withdrawn"), False),
        (a_subject(period={"start": "2026-03-01", "end": "2026-12-31"}), False),
        (a_consent(status="inactive"), False),
    ],
)
def test_only_what_widens_the_entitlement_begins_again(trial, change, begins_again):
    enrol(trial)
    trial.deliver()
    trial.write(change)

    assert (trial.cursor().sent == BACKFILL) is begins_again


def test_coming_back_on_study_begins_again(trial):
    enrol(trial)
    trial.deliver()
    trial.write(a_subject(status="off-study"))
    trial.deliver()
    trial.write(a_subject(status="follow-up"))

    assert trial.cursor().sent == BACKFILL


def test_an_end_moved_later_begins_again(trial):
    trial.write(a_patient(), a_consent(), a_subject(period={"end": "2026-03-15"}))
    trial.deliver()
    trial.write(a_subject(period={"end": "2026-06-30"}))

    assert trial.cursor().sent == BACKFILL


def replanned(trial):
    with trial.store.begin() as tx:
        return replan(tx, trial.policy, trial.now)


def test_a_new_recipient_is_owed_everything_of_its_studies(trial):
    enrol(trial)
    replanned(trial)
    trial.configure(recipient(), recipient("registry", studies=("mld", "was")), recipient("ctms"))

    assert replanned(trial) == ["ctms"]
    assert "Patient" in {type for type, _ in kinds(trial.deliver("ctms"))}


def test_a_file_that_did_not_change_plans_nothing(trial):
    enrol(trial)
    replanned(trial)
    trial.deliver()

    assert replanned(trial) == []
    assert trial.cursor().state is DeliveryState.IDLE


def test_a_changed_file_sends_everything_again_in_its_new_form(trial):
    trial.write(a_study())
    enrol(trial)
    replanned(trial)
    trial.deliver()
    rules = dict(recipient().release)
    del rules["Consent"]
    trial.configure(recipient(release=rules, statuses=("on-study",)), recipient("registry", studies=("mld", "was")))

    assert replanned(trial) == ["edc"]
    assert kinds(trial.deliver())[-2:] == [("Patient", "updated"), ("ResearchSubject", "updated")]


def test_a_view_is_a_recipient_and_a_study(trial):
    assert set(trial.policy.views) == {View("edc", "mld"), View("registry", "mld"), View("registry", "was")}
    assert trial.policy.study_of(MLD.resource) == MLD
    assert trial.policy.study_of(uid("unknown")) is None
