"""Writing exports: what is in them, what is not, and that a process that dies loses and repeats nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.errors import RequestRefused
from gateway.model.recipient import ReleaseRule
from gateway.services import export_course, export_files, export_parts
from gateway.services.export import ExportLimits
from tests.exporting import Exports, kinds
from tests.releasing import (
    EVERYTHING,
    MLD,
    NOON,
    WAS,
    a_consent,
    a_patient,
    a_study,
    a_subject,
    an_observation,
    an_organization,
    recipient,
    uid,
    world,
)

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
BOTH = recipient(studies=("mld", "was"), kind="pull")
LABORATORY = [{"reference": f"Organization/{uid('laboratory')}"}]


def enrolled(made, number, study=MLD, observations=2):
    """Write a subject with some Observations and return the Patient's internal id."""
    patient = uid(f"patient {number}")
    bodies = [a_patient(patient), a_subject(patient, study), a_consent(patient, study)]
    named = (f"{number}-{one}" for one in range(observations))
    bodies += [an_observation(name, patient, performer=LABORATORY) for name in named]
    made.write(*bodies, patient=patient)
    return patient


@pytest.fixture
def made(tmp_path):
    with world(tmp_path, BOTH) as made:
        made.write(a_study(MLD), a_study(WAS), an_organization())
        yield made


def texts(found):
    return {resource["id"] for listed in found.values() for resource in listed if "id" in resource}


def test_everything_the_views_see_is_in_an_export_once(made):
    for number in range(3):
        enrolled(made, number)
    enrolled(made, 9, WAS)

    found = Exports(made).written()

    assert kinds(found) == {
        "Consent": 4,
        "Observation": 8,
        "Patient": 4,
        "ResearchSubject": 4,
        "Organization": 2,
        "ResearchStudy": 2,
    }
    assert len(texts(found)) == 24
    assert all(one["meta"]["lastUpdated"] for listed in found.values() for one in listed)


def test_what_no_view_sees_is_not_in_it(made):
    patient = enrolled(made, 1)
    stranger = uid("stranger")
    made.write(a_patient(stranger), an_observation("his", stranger), patient=stranger)
    made.write(an_observation("old", patient, effectiveDateTime="2025-01-01T08:00:00+01:00"), patient=patient)

    assert kinds(Exports(made).written())["Observation"] == 2


def test_an_export_of_patients_holds_nothing_that_belongs_to_nobody(made):
    enrolled(made, 1)

    assert "ResearchStudy" not in Exports(made).written(shared=False)


def test_types_filters_and_elements_are_those_asked_for(made):
    patient = enrolled(made, 1)
    made.write(an_observation("none", patient, status="registered"), patient=patient)

    found = Exports(made).written(
        types=("Observation", "Patient"),
        filters=("Observation?status=registered,final&code=718-7", "Observation?status=registered", "Consent?_id=x"),
        elements=("Observation.status",),
    )

    assert kinds(found) == {"Observation": 3, "Patient": 1}
    assert "SUBSETTED" in {tag["code"] for tag in found["Observation"][0]["meta"]["tag"]}
    assert "valueQuantity" not in found["Observation"][0]
    assert "gender" in found["Patient"][0]


def test_the_query_of_a_scope_limits_an_export(made):
    patient = enrolled(made, 1)
    made.write(an_observation("none", patient, status="registered"), patient=patient)

    narrow = Exports(made, "system/Observation.rs?status=registered")

    assert kinds(narrow.written()) == {"Observation": 1}


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_a_patient_of_whom_there_is_much_is_written_in_slices(made, monkeypatch, at_once):
    monkeypatch.setattr(export_parts, "SLICE", at_once)
    for number in range(3):
        enrolled(made, number, observations=7)

    found = Exports(made).written()

    assert kinds(found)["Observation"] == len({one["id"] for one in found["Observation"]}) == 21
    assert kinds(found)["Patient"] == 3


def test_large_files_are_divided(made, monkeypatch):
    monkeypatch.setattr(export_files, "MOST", 3)
    for number in range(4):
        enrolled(made, number)
    exports = Exports(made)
    id = exports.begin()
    exports.write()

    files = exports.desk.files(exports.desk.get(id, "edc"), exports.caller)

    assert [file.count for file in files if file.type == "Observation"] == [4, 4]


@pytest.fixture
def little_at_once(monkeypatch):
    monkeypatch.setattr(export_course, "ENOUGH", 1)
    monkeypatch.setattr(export_parts, "AT_ONCE", 1)


def test_another_process_goes_on_where_one_was_killed(made, little_at_once):
    for number in range(4):
        enrolled(made, number)
    exports = Exports(made)
    id = exports.begin()
    stops = iter([False, False, True])
    first = exports.exporter("first")
    assert first.step(lambda: next(stops))
    begun = exports.desk.get(id, "edc")
    assert (begun.state, 0 < begun.done < 4, begun.total) == ("begun", True, 4)

    exports.write(exports.exporter("second"))

    assert len(texts(exports.read(id))) == 4 * 5 + 3
    assert kinds(exports.read(id)) == kinds(exports.written())


def test_a_process_that_was_taken_for_dead_writes_nothing_more(made, little_at_once):
    for number in range(4):
        enrolled(made, number)
    exports = Exports(made)
    id = exports.begin()

    def hangs():
        made.now += 2 * MINUTE
        exports.write(exports.exporter("quick"))
        return False

    assert exports.exporter("slow").step(hangs)

    assert kinds(exports.read(id))["Patient"] == 4


def test_a_dropped_export_is_written_no_further_and_swept_away(made):
    enrolled(made, 1)
    exports = Exports(made)
    id = exports.begin()
    exports.desk.drop(id, "edc")

    exports.write()

    with pytest.raises(RequestRefused, match="no such export"):
        exports.desk.get(id, "edc")


def test_an_order_that_cannot_be_filled_fails_in_words(made):
    enrolled(made, 1)
    exports = Exports(made, "system/*.rs?fish=1")
    id = exports.begin()

    exports.write()

    failed = exports.desk.get(id, "edc")
    assert (failed.state, failed.detail) == ("failed", "fish is no search parameter of this type")


# --- what may be fetched ----------------------------------------------------------------------------------------------


def test_who_withdrew_meanwhile_is_left_out(made):
    staying, leaving = enrolled(made, 1), enrolled(made, 2)
    exports = Exports(made)
    id = exports.begin()
    exports.write()
    assert kinds(exports.read(id))["Observation"] == 4

    made.write(a_consent(leaving, status="inactive"), patient=leaving)

    found = exports.read(id)
    assert kinds(found) == {
        "Consent": 1,
        "Observation": 2,
        "Patient": 1,
        "ResearchSubject": 1,
        "Organization": 1,
        "ResearchStudy": 2,
    } | {"Organization": len(found["Organization"])}
    with made.store.begin(write=False) as tx:
        subject = tx.resources.of_patient(staying, types=("ResearchSubject",))[0]
    assert found["ResearchSubject"][0]["id"] == made.policy.rights(made.policy.views[0]).public_id(subject.id)


def test_a_group_that_was_written_no_longer_names_who_withdrew(made):
    staying, leaving = enrolled(made, 1), enrolled(made, 2)
    made.configure(replace(BOTH, release=EVERYTHING | {"Group": ReleaseRule(("type", "actual", "member"))}))
    member = [{"entity": {"reference": f"Patient/{patient}"}} for patient in (staying, leaving)]
    group = {"resourceType": "Group", "id": uid("cohort"), "type": "person", "actual": True, "member": member}
    made.write(group, patient="", study="mld")
    exports = Exports(made)
    id = exports.begin()
    exports.write()
    assert len(exports.read(id)["Group"][0]["member"]) == 2

    made.write(a_consent(leaving, status="inactive"), patient=leaving)

    found = exports.read(id)
    assert [one["entity"]["reference"] for one in found["Group"][0]["member"]] == [
        f"Patient/{found['Patient'][0]['id']}"
    ]


def test_a_file_that_lets_less_out_takes_back_what_was_written_by_another(made):
    enrolled(made, 1)
    exports = Exports(made)
    id = exports.begin()
    exports.write()

    made.configure(replace(BOTH, release=EVERYTHING | {"Patient": ReleaseRule(("active",))}))

    assert exports.read(id) == {}


def test_a_client_that_lost_a_view_gets_nothing_of_it(made):
    enrolled(made, 1)
    enrolled(made, 2, WAS)
    exports = Exports(made)
    id = exports.begin()
    exports.write()

    narrowed = replace(exports.caller, views=exports.caller.views[1:])

    assert kinds(exports.read(id, narrowed))["Patient"] == 1


def test_a_narrower_token_fetches_no_file_of_a_wider_one(made):
    enrolled(made, 1)
    exports = Exports(made)
    id = exports.begin()
    exports.write()
    narrow = Exports(made, "system/Observation.rs?code=718-7").caller

    with pytest.raises(RequestRefused) as refused:
        exports.desk.fetch(exports.desk.get(id, "edc"), 0, narrow)

    assert refused.value.status == 403


def test_what_is_fetched_names_what_it_shows(made):
    patient = enrolled(made, 1)
    exports = Exports(made)
    id = exports.begin()
    exports.write()
    export = exports.desk.get(id, "edc")
    files = {file.type: file.number for file in exports.desk.files(export, exports.caller)}

    _, pieces = exports.desk.fetch(export, files["Observation"], exports.caller)

    shown = [one for piece in pieces for one in piece.shown]
    assert {(one.type, one.version, one.patient) for one in shown} == {("Observation", 1, patient)}
    assert {one.resource for one in shown} == {uid(f"observation 1-{n} {patient}") for n in range(2)}


def test_an_export_is_seen_by_its_own_client_until_it_expires(made):
    exports = Exports(made)
    id = exports.begin()

    with pytest.raises(RequestRefused):
        exports.desk.get(id, "ctms")
    made.now += DAY
    with pytest.raises(RequestRefused):
        exports.desk.get(id, "edc")


def test_a_client_has_so_many_exports_and_no_more(made):
    exports = Exports(made, limits=ExportLimits(at_once=2, kept=3))
    first, second = exports.begin(), exports.begin()
    with pytest.raises(RequestRefused) as refused:
        exports.begin()
    assert (refused.value.status, refused.value.retry_after) == (429, 60)

    exports.write()
    exports.begin()
    exports.write()
    with pytest.raises(RequestRefused, match="delete those"):
        exports.begin()
    exports.desk.drop(first, "edc")
    assert exports.begin() != second


# --- what changed since -----------------------------------------------------------------------------------------------


def test_since_a_moment_there_is_what_was_stored_after_it(made):
    patient = enrolled(made, 1)
    enrolled(made, 2)
    made.write(an_observation("new", patient), patient=patient, stored_at=NOON + MINUTE)
    made.now = NOON + DAY

    found = Exports(made).written(since=NOON)

    assert kinds(found) == {"Observation": 1}


def test_since_a_moment_there_is_all_of_who_consented_after_it(made):
    patient = uid("patient 1")
    made.write(a_patient(patient), a_subject(patient), an_observation("a", patient), patient=patient)
    made.write(a_consent(patient), patient=patient, stored_at=NOON + MINUTE)
    made.now = NOON + DAY

    assert kinds(Exports(made).written(since=NOON)) == {
        "Consent": 1,
        "Observation": 1,
        "Patient": 1,
        "ResearchSubject": 1,
    }


def deleted(found):
    return [entry["request"]["url"].split("/")[0] for bundle in found.get("Bundle", ()) for entry in bundle["entry"]]


def test_what_a_view_held_and_sees_no_more_is_told_as_deleted(made):
    leaving = enrolled(made, 1)
    enrolled(made, 2)
    before = {one["id"] for one in Exports(made).written()["Patient"]}
    made.write(a_consent(leaving, status="inactive"), patient=leaving, stored_at=NOON + MINUTE)
    made.now = NOON + DAY

    found = Exports(made).written(since=NOON)

    assert sorted(deleted(found)) == ["Consent", "Observation", "Observation", "Patient", "ResearchSubject"]
    patients = [
        entry["request"]["url"] for entry in found["Bundle"][0]["entry"] if "Patient/" in entry["request"]["url"]
    ]
    assert patients[0].split("/")[1] in before
    assert found["Bundle"][0]["type"] == "transaction"


def test_what_moved_to_another_patient_is_deleted_where_nobody_sees_it(made):
    patient = enrolled(made, 1)
    stranger = uid("stranger")
    moved = an_observation("1-0", patient)
    made.write(moved | {"subject": {"reference": f"Patient/{stranger}"}}, patient=stranger, stored_at=NOON + MINUTE)
    made.now = NOON + DAY

    assert deleted(Exports(made).written(since=NOON)) == ["Observation"]


def test_what_a_view_never_held_is_not_told_as_deleted(made):
    patient = uid("patient 1")
    made.write(a_patient(patient), a_subject(patient), an_observation("a", patient), patient=patient)
    made.write(a_consent(patient), patient=patient, stored_at=NOON + MINUTE)
    made.write(a_consent(patient, status="inactive"), patient=patient, stored_at=NOON + 2 * MINUTE)
    made.now = NOON + DAY

    assert Exports(made).written(since=NOON) == {}


def test_what_was_deleted_is_told_as_deleted(made):
    patient = enrolled(made, 1)
    enrolled(made, 2)
    made.write(an_organization(id=uid("of the study")), study="mld")
    made.write(an_observation("1-0", patient), patient=patient, stored_at=NOON + MINUTE, gone=True)
    made.write(an_organization(id=uid("of the study")), study="mld", stored_at=NOON + MINUTE, gone=True)
    made.now = NOON + DAY

    assert sorted(deleted(Exports(made).written(since=NOON))) == ["Observation", "Organization"]


def test_who_was_merged_into_another_is_told_as_deleted(made):
    old, survivor = enrolled(made, 1), enrolled(made, 2)
    with made.store.begin() as tx:
        tx.resources.merge(old, survivor)
        moved = [one.but(version=one.version + 1, patient=survivor) for one in tx.resources.of_patient(old)]
        tx.resources.append([one.but(stored_at=NOON + MINUTE) for one in moved])
    made.now = NOON + DAY

    found = deleted(Exports(made).written(since=NOON))

    assert "Patient" in found


def test_what_of_an_order_was_left_out_is_said(made):
    found = Exports(made).written(ignored=("fish",))

    assert found["OperationOutcome"][0]["issue"][0]["expression"] == ["fish"]
