"""What a batch of translations does to what is stored, alone and beside another process."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from gateway.errors import VersionConflict
from gateway.model.message import Message, MessageState
from gateway.model.translation import PatientKey, PatientLink, Statement, Translation
from gateway.ports import Store
from gateway.services.apply import Batch
from gateway.store import create_store
from tests.releasing import KEYS, NOON, a_patient, an_observation, an_organization, uid, version, world

ANNA, BRUNO, CARLA = uid("anna"), uid("bruno"), uid("carla")


def mrn(patient: str) -> PatientKey:
    """The one record number that these patients have in common."""
    return PatientKey(patient, "urn:mrn", "1")


def said(*bodies: dict, patient: str = ANNA, at: datetime = NOON, **changes: object) -> Translation:
    """A message that states these resources."""
    rows = [version(body, patient) for body in bodies]
    return replace(
        Translation(tuple(Statement(row.type, row.id, row.body, row.patient) for row in rows), sent_at=at), **changes
    )


def message(number: int) -> Message:
    return Message(number, "lis", "north", str(number), "ORU^R01", 3, NOON, MessageState.STORED, b"")


class Open:
    """A batch in an open transaction of its own."""

    def __init__(self, tx, *translations: Translation, number: int = 1) -> None:
        self.batch = Batch(tx, NOON)
        self.batch.prepare(translations)
        for place, translation in enumerate(translations):
            self.batch.apply(message(number + place), translation)

    def finish(self) -> None:
        self.batch.flush()
        self.batch.settle_shared()


@contextmanager
def begun(store: Store, *translations: Translation, number: int = 1) -> Iterator[Open]:
    with store.begin() as tx:
        yield Open(tx, *translations, number=number)


def write(store: Store, *translations: Translation, number: int = 1) -> None:
    with begun(store, *translations, number=number) as batch:
        batch.finish()


def holds(store: Store) -> list[tuple[str, str]]:
    with store.begin(write=False) as tx:
        return [(hold.kind, hold.resource) for hold in tx.worklist.holds()]


def heads(store: Store, *ids: str) -> list:
    with store.begin(write=False) as tx:
        found = tx.resources.heads(ids)
        return [found[id] for id in ids]


@pytest.fixture
def store(tmp_path):
    with world(tmp_path) as made:
        yield made.store


@pytest.fixture
def server(postgres_url):
    made = create_store(postgres_url, KEYS)
    made.upgrade()
    yield made
    made.close()


LABORATORY = uid("laboratory")


def named(name: str, minutes: int) -> Translation:
    """A message sent so many minutes past noon that says what the laboratory is called."""
    return said(an_organization(name=name), at=NOON + timedelta(minutes=minutes))


def clock_of(store: Store, id: str) -> str:
    return heads(store, id)[0].clocks[""][1]


def at(minutes: int) -> str:
    return (NOON + timedelta(minutes=minutes)).astimezone(UTC).isoformat()


def test_two_patients_of_one_identifier_in_one_batch_are_for_a_person(store):
    write(
        store,
        said(a_patient(ANNA), keys=(mrn(ANNA),)),
        said(a_patient(BRUNO), patient=BRUNO, keys=(mrn(BRUNO),)),
        said(a_patient(BRUNO), patient=BRUNO, keys=(mrn(BRUNO),)),
    )

    assert holds(store) == [("identity", " and ".join(sorted((f"Patient/{ANNA}", f"Patient/{BRUNO}"))))]


def test_an_identifier_of_a_patient_who_was_merged_is_the_survivors(store):
    write(store, said(a_patient(ANNA), keys=(mrn(ANNA),)))
    write(store, said(a_patient(BRUNO), patient=BRUNO, links=(PatientLink(ANNA, BRUNO),)), number=2)
    write(store, said(a_patient(BRUNO), patient=BRUNO, keys=(mrn(BRUNO),)), number=3)

    assert holds(store) == []


def test_of_two_processes_that_register_one_identifier_at_once_the_second_lists_it(server):
    with begun(server, said(a_patient(BRUNO), patient=BRUNO, keys=(mrn(BRUNO),))) as second:
        write(server, said(a_patient(ANNA), keys=(mrn(ANNA),)))
        assert holds(server) == []
        second.finish()

    assert [kind for kind, _ in holds(server)] == ["identity"]


def test_a_number_merged_into_two_patients_is_for_a_person_and_stays_with_the_first(store):
    write(store, said(a_patient(ANNA), an_observation(patient=ANNA)))
    for number, survivor in enumerate((BRUNO, CARLA, BRUNO), 2):
        link = PatientLink(ANNA, survivor)
        write(store, said(a_patient(survivor), patient=survivor, links=(link,)), number=number)

    (result,) = heads(store, an_observation(patient=ANNA)["id"])
    assert (result.patient, result.version) == (BRUNO, 2)
    assert holds(store) == [("merge", f"Patient/{ANNA}")]


def test_a_corrected_value_is_no_longer_for_a_person(store):
    held = said(an_observation(patient=ANNA))
    held = replace(held, statements=(replace(held.statements[0], held="unit missing"),))
    write(store, held)
    assert [kind for kind, _ in holds(store)] == ["implausible"]

    write(store, said(an_observation(patient=ANNA, status="corrected"), at=NOON + timedelta(hours=1)), number=2)

    assert holds(store) == []


def test_what_a_message_that_fails_would_have_listed_is_not_listed(store):
    write(store, said(an_organization(alias=["Lab"])))
    one = said(an_observation(patient=ANNA), an_organization(active="yes"), at=NOON + timedelta(hours=1))
    one = replace(one, statements=(replace(one.statements[0], held="unit missing"), one.statements[1]))

    with begun(store, one, number=2) as batch:
        batch.finish()

    assert list(batch.batch.failures) == [2]
    assert holds(store) == []


def test_one_message_that_states_a_resource_twice_makes_one_version_of_it(store):
    write(store, said(a_patient(ANNA), a_patient(ANNA, gender="other")))

    (patient,) = heads(store, ANNA)
    assert (patient.version, b'"other"' in patient.body) == (1, True)


def test_the_clock_of_a_shared_resource_does_not_go_back_when_processes_write_at_once(server):
    write(server, named("San Celso", 0))
    with begun(server, named("San Celso", 5)) as slow:
        write(server, named("San Celso", 9))
        slow.finish()

    assert clock_of(server, LABORATORY) == at(9)


@pytest.mark.parametrize(
    ("slow_says", "quick_says"),
    [(("San Celso", 5), ("Renamed", 9)), (("Renamed", 5), ("San Celso", 9)), (("Renamed", 5), ("Also renamed", 9))],
)
def test_a_shared_resource_another_process_spoke_of_meanwhile_is_merged_again(server, slow_says, quick_says):
    write(server, named("San Celso", 0))
    with begun(server, named(*slow_says)) as slow:
        write(server, named(*quick_says))
        with pytest.raises(VersionConflict):
            slow.finish()

    write(server, named(*slow_says), number=3)
    (laboratory,) = heads(server, LABORATORY)
    assert quick_says[0].encode() in laboratory.body, "the newer word stands"
