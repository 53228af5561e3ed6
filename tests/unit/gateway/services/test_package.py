"""What a view gets, and what it is asked to give back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.errors import InvalidResource
from gateway.fhir import codec
from gateway.fhir.checks import validate
from gateway.model.delivery import BACKFILL
from tests.releasing import (
    EVERYTHING,
    MLD,
    NOON,
    WAS,
    World,
    a_consent,
    a_patient,
    a_study,
    a_subject,
    an_observation,
    an_organization,
    kinds,
    recipient,
    uid,
    version,
    world,
)


@pytest.fixture
def trial(tmp_path):
    with world(tmp_path, recipient(studies=("mld", "was"))) as made:
        yield made


def enrol(trial: World, **changes):
    trial.write(a_study())
    trial.write(a_patient(), a_consent(), a_subject(**changes))


def test_a_subject_travels_with_all_it_refers_to_in_an_order_a_server_can_check(trial):
    enrol(trial)
    trial.write(an_observation())

    packages = trial.deliver()

    assert kinds(packages) == [
        ("ResearchStudy", "created"),
        ("Patient", "created"),
        ("ResearchSubject", "created"),
        ("Consent", "created"),
        ("Observation", "created"),
    ]
    for entry in packages[0].entries:
        validate(codec.decode(entry.text))
        assert codec.decode(entry.text)["id"] == entry.id != entry.resource


def test_an_entry_names_the_message_that_said_it_for_the_log(trial):
    enrol(trial)
    trial.deliver()
    trial.write(an_observation(), message=7)

    (package,) = trial.deliver()

    assert [entry.message for entry in package.entries] == [7]


def test_the_next_result_travels_alone(trial):
    enrol(trial)
    trial.write(an_observation())
    trial.deliver()

    trial.write(an_observation("plt"))
    package = trial.deliver()[0]

    assert [entry.type for entry in package.entries] == ["Observation"]
    assert codec.decode(package.entries[0].text)["subject"]["reference"].startswith("Patient/")


def test_nothing_leaves_of_a_patient_who_is_no_subject(trial):
    trial.write(a_patient(), an_observation())

    assert trial.cursor() is None


def test_what_was_stored_before_consent_came_is_sent_when_it_comes(trial):
    trial.write(a_study())
    trial.write(a_patient(), a_subject(status="screening"))
    trial.write(an_observation())
    assert kinds(trial.deliver()) == []

    trial.write(a_consent(), a_subject())

    assert trial.cursor().sent == BACKFILL
    assert [type for type, _ in kinds(trial.deliver())] == [
        "ResearchStudy", "Patient", "ResearchSubject", "Consent", "Observation",
    ]  # fmt: skip


def test_a_backfill_sends_only_what_the_view_lacks(trial):
    enrol(trial)
    old = an_observation("old", effectiveDateTime="2026-02-10T08:30:00+01:00")
    trial.write(an_observation(), old)
    trial.deliver()

    trial.write(a_consent(dateTime="2026-02-01T10:00:00+01:00"))

    assert kinds(trial.deliver()) == [("Consent", "updated"), ("Observation", "created")]


def test_a_replay_a_person_asks_for_sends_everything_once_more(trial):
    enrol(trial)
    trial.write(an_observation())
    trial.deliver()

    with trial.store.begin() as tx:
        tx.deliveries.replay(trial.cursor().id, trial.now, from_change=0)

    assert kinds(trial.deliver()) == [
        ("Patient", "updated"), ("ResearchSubject", "updated"), ("Consent", "updated"), ("Observation", "updated"),
    ]  # fmt: skip


def test_withdrawal_drops_what_is_due_and_takes_nothing_back(trial):
    enrol(trial)
    trial.write(an_observation())
    trial.deliver()

    trial.write(an_observation("plt"))
    trial.write(a_subject(status="withdrawn"))
    packed = trial.pack()

    assert packed.package is None
    assert packed.withheld == {"status": 2}


def test_consent_withdrawn_between_planning_and_sending_is_seen_at_sending(trial):
    enrol(trial)
    trial.write(an_observation())
    trial.deliver()
    trial.write(an_observation("plt"))
    trial.write(a_consent(status="inactive"))

    assert trial.pack().package is None


def test_a_registration_deleted_takes_everything_back(trial):
    enrol(trial)
    trial.write(an_observation())
    trial.deliver()

    trial.write(a_subject(status="not-registered"))
    packages = trial.deliver()

    assert sorted(kinds(packages)) == [
        ("Consent", "retracted"), ("Observation", "retracted"), ("Patient", "retracted"),
        ("ResearchSubject", "retracted"),
    ]  # fmt: skip
    for entry in packages[0].entries:
        validate(codec.decode(entry.text))
    assert kinds(trial.deliver()) == []


def test_a_consent_entered_in_error_takes_everything_back(trial):
    enrol(trial)
    trial.write(an_observation())
    trial.deliver()

    trial.write(a_consent(status="entered-in-error"))

    assert {kind for _, kind in kinds(trial.deliver())} == {"retracted"}


@pytest.mark.parametrize(
    ("correction", "expected"),
    [
        ({"status": "entered-in-error"}, [("Observation", "retracted")]),
        ({"status": "cancelled"}, [("Observation", "retracted")]),
        ({"valueQuantity": {"value": 101, "unit": "g/L", "system": "http://unitsofmeasure.org", "code": "g/L"}},
         [("Observation", "retracted")]),
        ({"note": [{"text": "drawn twice"}]}, []),
        ({"status": "amended"}, []),
    ],
)  # fmt: skip
def test_after_withdrawal_a_correction_takes_back_what_the_view_holds_wrongly(trial, correction, expected):
    enrol(trial)
    trial.write(an_observation())
    trial.deliver()
    trial.write(a_subject(status="withdrawn"))
    trial.deliver()

    trial.write(an_observation(**correction))

    assert kinds(trial.deliver()) == expected


def test_an_error_of_a_subject_still_on_study_is_an_update(trial):
    enrol(trial)
    trial.write(an_observation())
    trial.deliver()

    trial.write(an_observation(status="entered-in-error"), an_observation("never sent", status="entered-in-error"))
    packages = trial.deliver()

    assert kinds(packages) == [("Observation", "updated")]
    assert codec.decode(packages[0].entries[0].text)["status"] == "entered-in-error"


def test_a_change_the_view_cannot_see_sends_nothing(trial):
    enrol(trial)
    trial.deliver()

    trial.write(a_patient(name=[{"family": "Rossetti-Bianchi"}]))

    assert kinds(trial.deliver()) == []


def test_after_an_unknown_outcome_the_same_package_travels_again(trial):
    enrol(trial)
    trial.write(an_observation())
    first = trial.deliver(outcome="unknown")
    trial.write(an_observation("plt"))

    repeated = trial.pack().package

    assert repeated.entries == first[0].entries
    assert (repeated.delivery_id, repeated.repeat) == (first[0].delivery_id, True)


def test_a_retraction_that_may_not_have_arrived_is_asked_for_again(trial):
    enrol(trial)
    trial.write(an_observation())
    trial.deliver()
    trial.write(a_subject(status="not-registered"))
    first = trial.deliver(outcome="unknown")

    again = trial.deliver()

    assert kinds(first) == kinds(again)
    assert {kind for _, kind in kinds(again)} == {"retracted"}


def test_a_reference_to_what_may_not_leave_is_dropped(trial):
    enrol(trial)
    early = an_observation("early", effectiveDateTime="2026-01-10T08:30:00+01:00")
    report = {
        "resourceType": "DiagnosticReport",
        "id": uid("report"),
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "58410-2"}]},
        "subject": {"reference": f"Patient/{uid('patient')}"},
        "effectiveDateTime": "2026-03-10T08:30:00+01:00",
        "result": [{"reference": f"Observation/{early['id']}"}, {"reference": f"Observation/{an_observation()['id']}"}],
    }
    trial.write(early, an_observation(), report)

    entries = {entry.type: entry for entry in trial.deliver()[0].entries}

    sent = entries["Observation"]
    assert codec.decode(entries["DiagnosticReport"].text)["result"] == [{"reference": sent.reference}]


def test_a_shared_resource_comes_along_once_and_again_when_it_changed(tmp_path):
    rules = dict(EVERYTHING) | {"Observation": replace(EVERYTHING["Observation"])}
    performed = {"performer": [{"reference": f"Organization/{uid('laboratory')}"}]}
    with world(tmp_path, recipient(release=rules)) as trial:
        trial.write(an_organization())
        enrol(trial)
        trial.write(an_observation(**performed))
        first = trial.deliver()
        trial.write(an_observation("plt", **performed))
        second = trial.deliver()
        trial.write(an_organization(name="San Celso laboratories"))
        third = trial.deliver(patient="")

    assert ("Organization", "created") in kinds(first)
    assert kinds(second) == [("Observation", "created")]
    assert ("Organization", "updated") in kinds(third)


def test_a_recipient_that_must_see_each_version_gets_them_in_order(tmp_path):
    with world(tmp_path, recipient(kind="webhook", delivery="every-version")) as trial:
        enrol(trial)
        trial.write(an_observation(status="preliminary"))
        trial.write(an_observation(status="final"))
        packages = trial.deliver()

    observed = [entry for entry in packages[0].entries if entry.type == "Observation"]
    assert [(entry.version, entry.kind.value, codec.decode(entry.text)["status"]) for entry in observed] == [
        (1, "created", "preliminary"),
        (2, "updated", "final"),
    ]


def test_a_version_that_a_later_one_shows_to_be_older_than_the_consent_does_not_leave(tmp_path):
    with world(tmp_path, recipient(kind="webhook", delivery="every-version")) as trial:
        enrol(trial)
        trial.write(an_observation())
        trial.write(an_observation(effectiveDateTime="2026-02-10T08:30:00+01:00"))

        assert "Observation" not in {type for type, _ in kinds(trial.deliver())}


def test_what_may_never_have_arrived_is_sent_though_nothing_changed_in_it(trial):
    enrol(trial)
    trial.deliver(outcome="unknown")
    trial.write(a_subject())

    assert ("ResearchSubject", "updated") in kinds(trial.deliver())


def test_a_long_record_leaves_in_batches_and_leaves_nothing_out(tmp_path):
    with world(tmp_path, recipient(batch=10)) as trial:
        enrol(trial)
        trial.write(*(an_observation(f"hb {n}") for n in range(35)))
        packages = trial.deliver()

    sent = [entry.resource for package in packages for entry in package.entries]
    assert len(packages) == 4
    assert len(sent) == len(set(sent)) == 39


def test_what_a_merge_moves_away_from_a_subject_is_taken_back(trial):
    """An A40 that was wrong is undone: results return to another patient, who is no subject."""
    enrol(trial)
    trial.write(an_observation())
    trial.deliver()
    stranger = uid("stranger")

    with trial.store.begin() as tx:
        head = tx.resources.heads([an_observation()["id"]])[an_observation()["id"]]
        moved = tx.resources.append([head.but(version=2, patient=stranger, change=0)])
        trial.planner(tx, moved, lost=[uid("patient")])

    assert kinds(trial.deliver()) == [("Observation", "retracted")]


def test_after_a_merge_the_survivor_is_a_subject_and_the_old_patient_is_taken_back(trial):
    enrol(trial)
    trial.write(an_observation())
    trial.deliver()
    survivor = uid("survivor")
    trial.write(a_patient(survivor), patient=survivor)

    bodies = [a_subject(), a_consent(), an_observation(), a_patient()]
    moved = []
    for body in bodies:
        links = {name: {"reference": f"Patient/{survivor}"} for name in ("individual", "patient", "subject")}
        moved.append(body | {name: link for name, link in links.items() if name in body})
    with trial.store.begin() as tx:
        tx.resources.merge(uid("patient"), survivor)
    trial.write(*moved, patient=survivor)

    assert kinds(trial.deliver()) == []
    packages = trial.deliver(patient=survivor)
    assert kinds(packages) == [
        ("Patient", "created"), ("Patient", "retracted"), ("ResearchSubject", "updated"), ("Consent", "updated"),
        ("Observation", "updated"),
    ]  # fmt: skip


def test_a_study_sees_nothing_of_the_same_patients_other_study(trial):
    enrol(trial)
    trial.write(a_study(WAS))
    trial.write(a_consent(study=WAS), a_subject(study=WAS))
    trial.write(an_observation())

    mld = {entry.resource for package in trial.deliver(study="mld") for entry in package.entries}
    was = {entry.resource for package in trial.deliver(study="was") for entry in package.entries}

    assert mld & was == {uid("patient"), an_observation()["id"]}
    assert a_subject(study=WAS)["id"] not in mld


def test_a_recipient_no_file_names_any_more_gets_nothing(trial):
    enrol(trial)
    trial.configure(recipient("other"))

    assert trial.pack().package is None


def test_a_consent_of_tomorrow_lets_nothing_out_today(trial):
    tomorrow = (NOON + timedelta(days=1)).isoformat()
    trial.write(a_study(MLD))
    trial.write(a_patient(), a_consent(dateTime=tomorrow), a_subject())

    assert trial.pack().package is None


def test_a_consent_that_begins_later_is_looked_at_again_when_it_does(trial):
    moment = trial.now + timedelta(minutes=2)
    trial.write(a_patient(), a_consent(dateTime=moment.isoformat()), a_subject())
    early = trial.pack()
    trial.now = moment

    assert (early.package, early.again_at) == (None, moment)
    assert trial.pack().package is not None
    assert trial.pack().again_at is None


def test_many_cursors_are_packed_as_each_would_be_alone(trial):
    enrol(trial)
    second = uid("second")
    trial.write(a_patient(second), a_consent(second), a_subject(second), patient=second)
    trial.write(an_observation(), an_observation("plt"))
    cursors = [trial.cursor(), trial.cursor(patient=""), trial.cursor(patient=second), trial.cursor(study="was")]
    cursors = [cursor for cursor in cursors if cursor is not None]

    together = trial.packager.package_many(cursors, trial.now)

    assert len(cursors) == 3
    assert together == [trial.packager.package(cursor, trial.now) for cursor in cursors]
    assert [len(packed.package.entries) for packed in together] == [6, 1, 4]


def test_what_is_wrong_with_one_cursor_spoils_no_other(trial):
    enrol(trial)
    second = uid("second")
    trial.write(a_patient(second), a_consent(second), a_subject(second), patient=second)
    with trial.store.begin() as tx:
        broken = version(an_observation(patient=second), second).but(body=b"{")
        trial.planner(tx, tx.resources.append([broken]))

    first, other = trial.packager.package_many([trial.cursor(patient=second), trial.cursor()], trial.now)

    assert isinstance(first, InvalidResource)
    assert [entry.type for entry in other.package.entries][1:] == ["Patient", "ResearchSubject", "Consent"]
    with pytest.raises(InvalidResource):
        trial.packager.package(trial.cursor(patient=second), trial.now)


def test_a_long_message_that_a_person_replays_is_sent_once_more(trial):
    enrol(trial)
    trial.deliver()
    before = trial.cursor().sent
    trial.write(*(an_observation(f"hb {n}") for n in range(24)))
    (first,) = trial.deliver()

    with trial.store.begin() as tx:
        tx.deliveries.replay(trial.cursor().id, trial.now, from_change=before)
    (again,) = trial.deliver()

    assert [entry.text for entry in again.entries] == [entry.text for entry in first.entries]
