"""Resource versions and patients: appended once, numbered in order, found again."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from gateway.errors import StoreError, VersionConflict
from gateway.model.translation import PatientKey
from gateway.ports import ChangeRange
from tests.contracts.stores import NOW, uid, version

ANNA, BRUNO, CARLA = uid(900), uid(901), uid(902)


def append(store, *versions):
    with store.begin() as tx:
        tx.resources.lock_patients({one.patient for one in versions})
        return tx.resources.append(versions)


def changes(versions):
    return [one.change for one in versions]


def test_a_version_comes_back_as_it_was_appended(store):
    whole = version(1, own=b'{"own":1.50}', held="implausible", clocks={"": (0, "a", 1), "value": (2, "b", 3)})
    bare = version(2, date=None, clocks={}, patient="", code="", status="")
    stored = append(store, whole, bare)
    with store.begin(write=False) as tx:
        heads = tx.resources.heads([whole.id, bare.id, uid(77)])
    assert heads == {whole.id: whole.but(change=stored[0].change), bare.id: bare.but(change=stored[1].change)}
    assert stored == [heads[whole.id], heads[bare.id]]


def test_changes_ascend_in_the_order_given_and_from_one_append_to_the_next(store):
    with store.begin(write=False) as tx:
        assert tx.resources.newest_changes([uid(900), ""]) == {}
    first = append(store, version(3), version(1), version(2))
    second = append(store, version(1, 2), version(4))
    numbers = changes(first) + changes(second)
    assert numbers == sorted(set(numbers))
    assert [one.id for one in first] == [uid(3), uid(1), uid(2)]
    with store.begin(write=False) as tx:
        assert tx.resources.newest_changes([uid(900), uid(901)]) == {uid(900): numbers[-1]}


def test_the_same_version_twice_is_a_conflict_and_leaves_nothing(store):
    append(store, version(1))
    with pytest.raises(VersionConflict):
        append(store, version(2), version(1))
    with store.begin(write=False) as tx:
        assert set(tx.resources.heads([uid(1), uid(2)])) == {uid(1)}


def test_the_head_is_the_newest_version(store):
    append(store, version(1), version(1, 2), version(2))
    append(store, version(1, 3))
    with store.begin(write=False) as tx:
        assert {id: head.version for id, head in tx.resources.heads([uid(1), uid(2)]).items()} == {uid(1): 3, uid(2): 1}
        assert [one.version for one in tx.resources.versions(uid(1))] == [1, 2, 3]
        assert tx.resources.heads([]) == {}


def test_versions_are_found_by_their_numbers(store):
    append(store, version(1), version(1, 2), version(2))
    append(store, version(1, 3))
    with store.begin(write=False) as tx:
        found = tx.resources.numbered([(uid(1), 2), (uid(1), 3), (uid(2), 1), (uid(2), 2), (uid(3), 1)])
        assert {key: (one.id, one.version) for key, one in found.items()} == {
            key: key for key in [(uid(1), 2), (uid(1), 3), (uid(2), 1)]
        }
        assert tx.resources.numbered([]) == {}


def test_many_heads_are_found_in_one_call(store):
    append(store, *(version(number) for number in range(1, 1301)))
    with store.begin(write=False) as tx:
        assert len(tx.resources.heads(uid(number) for number in range(1, 1401))) == 1300


def test_clocks_are_replaced_by_change(store):
    one, two = append(store, version(1), version(2))
    with store.begin() as tx:
        tx.resources.set_clocks({one.change: {"": (5, "later", 9)}})
        tx.resources.set_clocks({})
        heads = tx.resources.heads([one.id, two.id])
    assert heads[one.id].clocks == {"": (5, "later", 9)}
    assert heads[two.id].clocks == two.clocks


def test_the_changes_of_a_patient_are_the_newest_of_each_resource_in_the_range(store):
    a1, b1, _ = append(store, version(1), version(2), version(3, patient=BRUNO))
    a2, c1 = append(store, version(1, 2), version(4, type="Encounter"))
    with store.begin(write=False) as tx:
        of = tx.resources.of_patient
        assert changes(of(ANNA)) == [b1.change, a2.change, c1.change]
        assert changes(of(ANNA, every_version=True)) == [a1.change, b1.change, a2.change, c1.change]
        assert changes(of(ANNA, after=b1.change)) == [a2.change, c1.change]
        assert changes(of(ANNA, upto=b1.change)) == [b1.change]
        assert changes(of(ANNA, upto=b1.change, every_version=True)) == [a1.change, b1.change]
        assert changes(of(ANNA, types=["Encounter"])) == [c1.change]
        assert changes(of(ANNA, limit=2)) == [b1.change, a2.change]
        assert changes(of(ANNA, after=-1, limit=1)) == [b1.change]
        assert of(CARLA) == []


def test_the_changes_of_many_patients_come_in_one_answer(store):
    a1, a2 = append(store, version(1), version(2))
    (b1,) = append(store, version(3, patient=BRUNO))
    a3, a4 = append(store, version(1, 2), version(4, type="Encounter"))
    asked = [
        ChangeRange(ANNA),
        ChangeRange(BRUNO),
        ChangeRange(CARLA),
        ChangeRange(ANNA, after=a1.change, upto=a3.change),
        ChangeRange(ANNA, after=-1, every_version=True, limit=2),
        ChangeRange(ANNA, types=("Encounter",)),
        ChangeRange(BRUNO, after=b1.change),
    ]
    with store.begin(write=False) as tx:
        found = [changes(versions) for versions in tx.resources.of_patients(asked)]
        assert tx.resources.of_patients([]) == []
    assert found == [
        [a2.change, a3.change, a4.change],
        [b1.change],
        [],
        [a2.change, a3.change],
        [a1.change, a2.change],
        [a4.change],
        [],
    ]


def test_a_message_of_hundreds_of_results_is_read_whole_and_in_parts(store):
    many = append(store, *(version(number) for number in range(1, 301)))
    with store.begin(write=False) as tx:
        assert tx.resources.of_patient(ANNA) == many
        assert tx.resources.of_patient(ANNA, after=many[99].change, upto=many[279].change) == many[100:280]
        assert tx.resources.of_patient(ANNA, after=many[99].change, limit=150) == many[100:250]
        assert tx.resources.heads([uid(150)]) == {uid(150): many[149]}
        assert tx.resources.of_message(1) == many


def test_a_limit_is_met_however_many_messages_the_versions_came_with(store):
    written = [
        one
        for message in range(1, 61)
        for one in append(store, version(message, message=message), version(900, message, message=message))
    ]
    newest = [one for one in written if one.id != uid(900)] + written[-1:]
    with store.begin(write=False) as tx:
        assert tx.resources.of_patient(ANNA, limit=40) == newest[:40]
        assert tx.resources.of_patient(ANNA, limit=100) == newest
        assert tx.resources.of_patient(ANNA, every_version=True, limit=70) == written[:70]
        assert tx.resources.heads([uid(900)]) == {uid(900): written[-1]}


def test_a_version_given_to_another_patient_leaves_the_first_without_it(store):
    first, stays = append(store, version(1), version(2))
    (moved,) = append(store, version(1, 2, patient=BRUNO))
    with store.begin(write=False) as tx:
        assert tx.resources.of_patient(ANNA) == [stays]
        assert tx.resources.of_patient(ANNA, every_version=True) == [first, stays]
        assert tx.resources.of_patient(BRUNO) == [moved]


def test_what_two_workers_append_at_once_is_told_apart(database):
    """Both draw numbers before either commits; with one writer at a time they follow each other."""
    first = database.open()
    second = first if database.is_sqlite else database.open()
    if database.is_sqlite:
        written = (
            append(first, version(1), version(2)),
            append(second, version(3, patient=BRUNO)),
            append(first, version(4)),
        )
    else:
        with first.begin() as one:
            early = one.resources.append([version(1), version(2)])
            with second.begin() as other:
                beside = other.resources.append([version(3, patient=BRUNO)])
            written = early, beside, one.resources.append([version(4)])
    every = {one.id: one for some in written for one in some}
    with first.begin(write=False) as tx:
        assert tx.resources.heads(every) == every
        assert [one.id for one in tx.resources.of_patient(ANNA)] == [uid(1), uid(2), uid(4)]
        assert [one.id for one in tx.resources.of_patient(BRUNO)] == [uid(3)]


def test_text_that_no_database_holds_is_kept_as_near_as_can_be(store):
    append(store, version(1, code="urn:x|\ud800", held="\x00odd"))
    with store.begin(write=False) as tx:
        head = tx.resources.heads([uid(1)])[uid(1)]
    assert head.code == "urn:x|?"
    assert head.held == "\ufffdodd"


def test_a_page_put_in_the_place_of_another_is_noticed(store):
    first, second = append(store, version(1)), append(store, version(2))
    with store.begin() as tx:
        tx._unit.connection.execute(
            text(
                f"UPDATE pages SET body = (SELECT body FROM pages WHERE page = {first[0].change})"
                f" WHERE page = {second[0].change}"
            )
        )
    with store.begin(write=False) as tx, pytest.raises(StoreError, match="changed outside"):
        tx.resources.heads([uid(2)])


def test_shared_resources_are_those_of_nobody(store):
    (shared, _) = append(store, version(1, patient="", type="Organization"), version(2))
    with store.begin(write=False) as tx:
        assert tx.resources.of_patient("") == [shared]


def test_the_versions_a_message_wrote_are_known(store):
    first, _, third = append(store, version(1, message=7), version(2, message=8), version(3, message=7))
    (later,) = append(store, version(1, 2, message=7))
    with store.begin(write=False) as tx:
        assert changes(tx.resources.of_message(7)) == [first.change, third.change, later.change]
        assert tx.resources.of_message(99) == []


def test_subjects_consents_studies_and_patients_are_found_by_type(store):
    append(
        store,
        version(1, type="Consent"),
        version(1, 2, type="Consent", status="inactive"),
        version(2, type="Consent", patient=BRUNO),
        version(3),
        version(4, type="ResearchStudy", patient=""),
    )
    with store.begin(write=False) as tx:
        found = tx.resources.of_type("Consent")
        assert {(one.id, one.version) for one in found} == {(uid(1), 2), (uid(2), 1)}
        assert [one.id for one in tx.resources.of_type("Consent", patients=[BRUNO, CARLA])] == [uid(2)]
        assert tx.resources.of_type("Consent", patients=[]) == []
        assert [one.id for one in tx.resources.of_type("ResearchStudy")] == [uid(4)]
        with pytest.raises(ValueError, match="Observation"):
            tx.resources.of_type("Observation")


def test_identifiers_lead_to_the_patient_they_were_first_registered_for(store):
    mrn, tax = PatientKey(ANNA, "urn:mrn", "1"), PatientKey(ANNA, "urn:tax", "1")
    with store.begin() as tx:
        tx.resources.register_keys([mrn, tax])
        tx.resources.register_keys([replace(mrn, patient=BRUNO)])
    asked = PatientKey(BRUNO, "urn:mrn", "1", joins=False)
    with store.begin(write=False) as tx:
        assert tx.resources.patient_of_key([asked, PatientKey(BRUNO, "urn:mrn", "2")]) == {asked: ANNA}
        assert tx.resources.patient_of_key([]) == {}


def test_merged_patients_lead_to_the_survivor_of_the_whole_chain(store):
    with store.begin() as tx:
        tx.resources.merge(ANNA, BRUNO)
        tx.resources.merge(BRUNO, CARLA)
        tx.resources.merge(CARLA, ANNA)
        tx.resources.merge(CARLA, CARLA)
    with store.begin(write=False) as tx:
        assert tx.resources.canonical([ANNA, BRUNO, CARLA, uid(1)]) == {
            ANNA: CARLA,
            BRUNO: CARLA,
            CARLA: CARLA,
            uid(1): uid(1),
        }


def test_writers_of_the_same_patients_follow_each_other(database):
    """Numbers ascend per patient in commit order: who holds the patient's lock draws them."""
    stores = [database.open()] * 3 if database.is_sqlite else [database.open() for _ in range(3)]
    together = threading.Barrier(len(stores))

    def write(place):
        together.wait()
        for round_ in range(8):
            patients = [ANNA, BRUNO, ""][:: 1 if (place + round_) % 2 else -1]
            with stores[place].begin() as tx:
                tx.resources.lock_patients(patients)
                head = tx.resources.heads([uid(1)]).get(uid(1))
                tx.resources.append([version(1, head.version + 1 if head else 1)])

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(write, range(len(stores))))

    with stores[0].begin(write=False) as tx:
        versions = tx.resources.versions(uid(1))
    assert [one.version for one in versions] == list(range(1, 25))
    assert changes(versions) == sorted(changes(versions))


def test_dates_far_away_keep_their_moment(store):
    far = NOW.replace(year=1889) + timedelta(microseconds=1)
    append(store, version(1, date=far))
    with store.begin(write=False) as tx:
        assert tx.resources.heads([uid(1)])[uid(1)].date == far


def test_a_moment_without_a_zone_is_refused(store):
    naive = NOW.replace(tzinfo=None)
    for wrong in (version(1, date=naive), version(1, stored_at=naive)):
        with pytest.raises((TypeError, ValueError)):
            append(store, wrong)
    append(store, version(1))


def test_a_resource_id_that_is_no_uuid_is_refused(store):
    with pytest.raises(ValueError, match=r"UUID|hexadecimal"):
        append(store, version(1, id="Observation-1"))


def test_of_a_few_types_the_newest_versions_come_in_the_order_of_their_changes(store):
    person = append(store, version(900, type="Patient", patient=uid(900)))[0]
    place = append(store, version(5, type="ResearchSubject", patient=uid(900)), version(6, patient=uid(900)))[0]
    append(store, version(7, type="ResearchSubject", patient=uid(901)))
    newer = append(store, version(900, 2, type="Patient", patient=uid(900)))[0]

    with store.begin(write=False) as tx:
        found = tx.resources.of_patient(uid(900), types=("Patient", "ResearchSubject"))

    assert person.change < place.change < newer.change
    assert found == [place, newer]
