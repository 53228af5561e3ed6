"""Telling subscriptions while others write: the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest

from gateway.model.delivery import View
from gateway.services.clients import Change, change_clients
from gateway.services.notify_worker import NotifyWorker
from tests.contracts.waiting import running, wait_for
from tests.releasing import NOON, World, a_consent, a_patient, a_subject, an_observation, recipient, uid
from tests.subscribing import OBSERVATION, Trial, events, numbers, r4

PATIENTS = [uid(f"patient {number}") for number in range(4)]


class OfDatabase(World):
    """The small world in whichever database."""

    def __init__(self, store):
        self.store = store
        self.now = NOON
        self.configure(recipient())


@pytest.fixture
def unit(store):
    made = Trial(OfDatabase(store))
    for patient in PATIENTS:
        made.world.write(a_patient(patient), a_consent(patient), a_subject(patient), patient=patient)
    return made


class Killed(BaseException):
    """Nothing catches it: as if the process were killed there."""


def test_killed_between_telling_and_settling_it_repeats_under_the_same_number(unit):
    made = unit.subscribed(r4(OBSERVATION))
    unit.world.write(an_observation(patient=PATIENTS[0]), patient=PATIENTS[0])
    told = unit.endpoint.notify

    def killed(notification):
        told(notification)
        raise Killed

    unit.endpoint.notify = killed
    with pytest.raises(Killed):
        unit.tell()
    unit.endpoint.notify = told
    unit.pass_time(minutes=3)
    unit.begin_again("another")
    unit.tell()

    assert [one.key.partition("/")[2] for one in unit.endpoint.told] == ["1-1", "1-1"]
    assert (unit.stands(made).settled, unit.stands(made).sending) == (1, None)


def test_revoking_a_client_ends_its_subscriptions_at_once_and_the_one_that_is_under_way(unit):
    idle, busy = unit.subscribed(r4(OBSERVATION)), unit.subscribed(r4(OBSERVATION))
    unit.world.write(an_observation(patient=PATIENTS[0]), patient=PATIENTS[0])
    told = unit.endpoint.notify

    def revoked_meanwhile(notification):
        change_clients(unit.store, Change(unit.world.now, "an operator", revoke="ctms"))
        return told(notification)

    unit.endpoint.notify = revoked_meanwhile
    unit.step()

    assert len(unit.endpoint.told) == 1
    for one in (idle, busy):
        assert (unit.stands(one).state, unit.stands(one).detail) == ("off", "its client was revoked")
        assert unit.audit(one).count(("subscription-off", "its client was revoked")) == 1
    unit.world.write(an_observation("wbc", PATIENTS[0]), patient=PATIENTS[0])
    assert unit.tell() == []


def test_whoever_begins_again_under_the_same_name_need_not_wait_for_its_lease(unit):
    unit.subscribed(r4(OBSERVATION))
    unit.world.write(an_observation(patient=PATIENTS[0]), patient=PATIENTS[0])
    assert unit.notify.claim() is not None
    assert unit.tell() == []
    with unit.store.begin() as tx:
        tx.subscriptions.release("test")
    assert numbers(unit.tell()) == [1]


def test_of_many_who_write_at_once_everything_is_told_once_and_each_patients_in_order(unit):
    made = unit.subscribed(r4(OBSERVATION, content="full-resource"))

    def write(patient):
        for number in range(8):
            quantity = an_observation()["valueQuantity"] | {"value": number}
            unit.world.write(an_observation("hb", patient, valueQuantity=quantity), patient=patient)

    workers = [unit.notify]
    unit.begin_again("another")
    workers.append(unit.notify)
    loops = [NotifyWorker(one, unit.store, lambda: unit.world.now, timedelta(days=1), 2).run for one in workers]
    writers = [threading.Thread(target=write, args=(patient,)) for patient in PATIENTS]
    with running(loops[0]), running(loops[1]):
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        wait_for(lambda: unit.stands(made).settled == 32)

    told = [entry["resource"] for bundle in unit.endpoint.bundles for entry in bundle["entry"][1:]]
    assert [number for bundle in unit.endpoint.bundles for number, _ in events(bundle)] == list(range(1, 33))
    rights = unit.world.policy.rights(View("edc", "mld"))
    for patient in PATIENTS:
        own = [one for one in told if one["subject"]["reference"] == f"Patient/{rights.public_id(patient)}"]
        assert [int(one["valueQuantity"]["value"]) for one in own] == list(range(8))
    assert Counter(one["id"] for one in told).total() == 32


def test_what_is_rolled_back_is_never_told(unit):
    made = unit.subscribed(r4(OBSERVATION))
    planner = unit.world.planner

    def killed(*arguments):
        planner(*arguments)
        raise Killed

    unit.world.planner = killed
    with pytest.raises(Killed):
        unit.world.write(an_observation(patient=PATIENTS[0]), patient=PATIENTS[0])
    unit.world.planner = planner
    assert unit.tell() == []
    assert unit.stands(made).events == 0
