from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from msgspec import structs

from gateway.errors import InvalidResource, StoreUnavailable
from gateway.model.delivery import (
    BACKFILL,
    Accepted,
    ChangeKind,
    Deferred,
    DeliveryState,
    Refused,
    RefusedEntry,
    Unknown,
    View,
)
from gateway.model.recipient import Retry
from gateway.ports import Breaker
from gateway.services.deliver import Deliver
from tests.contracts.deliveries import FixedPackager, HandClock, ScriptedRecipient, plan
from tests.contracts.packages import VIEW, internal, observation, patient, recipient, released
from tests.contracts.waiting import wait_for

PAIR = (released(patient()), released(observation(), change=2))
OTHER = View("registry", "mld-01")


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def world(store, clock):
    """Build a ``Deliver`` of one recipient with scripted outcomes."""

    def build(*outcomes, entries=PAIR, owner="w1", retry=None, **packing):
        far_end = ScriptedRecipient(outcomes or (Accepted(),))
        known = recipient(**({"retry": retry} if retry else {}))
        packager = FixedPackager(entries, **packing)
        return Deliver(store, {"edc": known}, {"edc": far_end}, packager, clock, owner), far_end

    return build


def cursor(store, id):
    with store.begin(write=False) as tx:
        return tx.deliveries.get(id)


def attempts(store, id):
    with store.begin(write=False) as tx:
        return tx.deliveries.attempts(id)


def audited(store, action):
    with store.begin(write=False) as tx:
        return tx.audit.find(action=action)


def test_an_accepted_delivery_owes_nothing_and_is_written_down(store, clock, world):
    deliver, far_end = world(Accepted("HTTP 200"))
    id = plan(store, clock())

    deliver(id)

    after = cursor(store, id)
    (attempt,) = attempts(store, id)
    assert (after.state, after.sent, after.number) == (DeliveryState.IDLE, 10, 2)
    assert (attempt.outcome, attempt.upto) == ("accepted", 10)
    assert [entry.resource for entry in attempt.manifest] == [internal("p1"), internal("o1")]
    assert len(audited(store, "delivery-accepted")) == 1
    assert far_end.packages[0].delivery_id == f"{id}-1"


def test_a_delivery_that_owes_nothing_is_left_alone(store, clock, world):
    deliver, far_end = world()
    id = plan(store, clock())
    deliver(id)

    assert deliver(id) is None
    assert deliver(999) is None
    assert len(far_end.packages) == 1


def test_a_delivery_is_not_tried_before_its_time(store, clock, world):
    deliver, far_end = world(Deferred("HTTP 503"), Accepted())
    id = plan(store, clock())
    deliver(id)

    assert deliver(id) is None
    clock.advance(hours=2)
    deliver(id)

    assert cursor(store, id).state is DeliveryState.IDLE
    assert len(far_end.packages) == 2


def test_a_repeat_after_an_open_end_carries_the_same_id_and_says_so(store, clock, world):
    deliver, far_end = world(Unknown("ReadTimeout"), Deferred("could not connect"), Accepted())
    id = plan(store, clock())
    for _ in range(3):
        deliver(id)
        clock.advance(hours=2)

    first, second, third = far_end.packages
    assert first.delivery_id == second.delivery_id == third.delivery_id
    assert [one.repeat for one in far_end.packages] == [False, True, True]
    assert [one.outcome for one in attempts(store, id)] == ["unknown", "deferred", "accepted"]


def test_what_is_planned_meanwhile_waits_until_the_open_end_is_settled(store, clock, world):
    deliver, _ = world(Unknown("ReadTimeout"), Accepted())
    id = plan(store, clock(), 10)
    deliver(id)
    plan(store, clock(), 20)
    clock.advance(hours=2)

    deliver(id)

    after = cursor(store, id)
    assert (after.sent, after.planned, after.state) == (10, 20, DeliveryState.DUE)
    assert after.due_at <= clock()


def test_a_repeat_of_other_content_gets_another_id(store, clock, world):
    deliver, far_end = world(Unknown("ReadTimeout"), Accepted())
    id = plan(store, clock())
    deliver(id)
    gone = released({**observation(), "status": "entered-in-error"}, ChangeKind.RETRACTED, 2)
    deliver.packager.entries = (PAIR[0], gone)
    clock.advance(hours=2)

    deliver(id)

    assert far_end.packages[0].delivery_id != far_end.packages[1].delivery_id


def test_where_nothing_may_leave_the_cursor_moves_and_the_network_rests(store, clock, world):
    deliver, far_end = world(entries=(), withheld={"consent": 2})
    id = plan(store, clock())

    deliver(id)

    assert cursor(store, id).state is DeliveryState.IDLE
    assert cursor(store, id).sent == 10
    assert not far_end.packages
    assert attempts(store, id) == []
    assert audited(store, "withheld")[0].detail == "consent: 2"


def test_a_refused_delivery_is_dead_and_listed(store, clock, world):
    deliver, _ = world(Refused("HTTP 422"))
    id = plan(store, clock())

    deliver(id)

    with store.begin(write=False) as tx:
        (dead,) = tx.deliveries.find(state="dead")
    assert (dead.id, dead.detail) == (id, "HTTP 422")


def test_refused_entries_are_listed_by_their_internal_name_and_not_held(store, clock, world):
    deliver, _ = world(Accepted("one by one", (RefusedEntry("Observation/o1", "HTTP 422"),)))
    id = plan(store, clock())

    deliver(id)

    with store.begin(write=False) as tx:
        assert tx.deliveries.refused(id) == [(f"Observation/{internal('o1')}", "HTTP 422")]
        assert set(tx.deliveries.held([id])[id].entries) == {internal("p1")}


def test_shared_resources_are_noted_once_they_were_taken(store, clock, world):
    study = {"resourceType": "ResearchStudy", "id": "s1", "status": "active"}
    deliver, _ = world(
        Deferred("HTTP 503"), Accepted(), entries=(structs.replace(released(study, change=4), shared=True),)
    )
    id = plan(store, clock())

    deliver(id)
    with store.begin(write=False) as tx:
        assert tx.deliveries.shared_held(VIEW) == {}
    clock.advance(hours=2)
    deliver(id)

    with store.begin(write=False) as tx:
        assert tx.deliveries.shared_held(VIEW) == {internal("s1"): 4}


def test_no_transaction_is_open_while_the_network_is_used(store, clock, world):
    deliver, far_end = world()
    id = plan(store, clock())
    far_end.before = lambda: plan(store, clock(), 20)  # would wait for itself inside one

    deliver(id)

    assert (cursor(store, id).sent, cursor(store, id).planned) == (10, 20)
    assert cursor(store, id).state is DeliveryState.DUE


def test_a_crash_while_sending_leaves_an_attempt_that_may_have_arrived(store, clock, world):
    deliver, far_end = world(KeyboardInterrupt(), Accepted())
    id = plan(store, clock())
    with pytest.raises(KeyboardInterrupt):
        deliver(id)

    with store.begin(write=False) as tx:
        assert set(tx.deliveries.held([id])[id].entries) == {internal("p1"), internal("o1")}
    with store.begin() as tx:
        assert tx.deliveries.expire(clock.advance(minutes=10)) == 1
    deliver(id)

    assert far_end.packages[0].delivery_id == far_end.packages[1].delivery_id
    assert far_end.packages[1].repeat
    assert cursor(store, id).state is DeliveryState.IDLE


def test_a_restarted_worker_takes_up_what_it_had_begun(store, clock, world):
    deliver, _ = world(KeyboardInterrupt(), Accepted())
    id = plan(store, clock())
    with pytest.raises(KeyboardInterrupt):
        deliver(id)

    with store.begin() as tx:
        tx.deliveries.expire(clock(), "w1")

    assert deliver(id).state is DeliveryState.IDLE


def test_a_lease_lost_to_another_worker_writes_nothing(store, clock, world):
    deliver, far_end = world(Accepted())
    other, _ = world(Accepted(), owner="w2")
    id = plan(store, clock())

    def taken_over():
        with store.begin() as tx:
            tx.deliveries.expire(clock.advance(hours=1))
        other(id)

    far_end.before = taken_over
    deliver(id)

    assert cursor(store, id).state is DeliveryState.IDLE
    assert len(audited(store, "delivery-accepted")) == 1


def test_an_adapter_that_breaks_leaves_the_end_open_and_the_worker_working(store, clock, world):
    deliver, _ = world(RuntimeError("bug"), Accepted())
    id = plan(store, clock())

    after = deliver(id)

    assert (after.state, after.detail) == (DeliveryState.DUE, "the adapter failed: RuntimeError")


def test_what_cannot_be_packed_waits_and_says_why(store, clock, world):
    deliver, far_end = world(fails=InvalidResource("Observation.status", "missing"))
    id = plan(store, clock())

    after = deliver(id)

    assert after.state is DeliveryState.DUE
    assert "Observation.status" in after.detail
    assert not far_end.packages


def test_a_store_that_is_away_is_said_to_the_caller(store, clock, world):
    deliver, _ = world(fails=StoreUnavailable("down"))
    id = plan(store, clock())

    with pytest.raises(StoreUnavailable):
        deliver(id)


def test_an_open_circuit_holds_back_every_delivery_of_that_recipient(store, clock, world):
    deliver, far_end = world(Deferred("HTTP 401", breaker=True), Accepted(), Accepted())
    first, second = plan(store, clock(), patient=internal("1")), plan(store, clock(), patient=internal("2"))
    deliver(first)

    assert deliver(second) is None
    clock.advance(hours=2)
    deliver(second)

    assert cursor(store, second).state is DeliveryState.IDLE
    with store.begin(write=False) as tx:
        assert tx.breakers.get("edc") == Breaker("edc")
    assert len(far_end.packages) == 2


def test_in_a_half_open_circuit_one_delivery_tries_for_all(store, clock, world):
    deliver, far_end = world(Accepted())
    first, second = plan(store, clock(), patient=internal("1")), plan(store, clock(), patient=internal("2"))
    with store.begin() as tx:
        tx.breakers.set(Breaker("edc", 3, clock() - timedelta(seconds=1), "HTTP 401"))
    seen = []
    far_end.before = lambda: seen.append(deliver(second) if len(far_end.packages) == 1 else None)

    deliver(first)

    assert seen == [None]
    assert deliver(second).state is DeliveryState.IDLE


def test_a_half_open_circuit_is_not_held_by_a_delivery_that_sends_nothing(store, clock, world):
    nothing, _ = world(entries=())
    deliver, _ = world(Accepted())
    first, second = plan(store, clock(), patient=internal("1")), plan(store, clock(), patient=internal("2"))
    with store.begin() as tx:
        tx.breakers.set(Breaker("edc", 3, clock() - timedelta(seconds=1), "HTTP 401"))

    nothing(first)

    assert deliver(second).state is DeliveryState.IDLE


def test_after_the_last_attempt_it_is_dead_and_a_replay_revives_it(store, clock, world):
    deliver, _ = world(Unknown("HTTP 500"), Unknown("HTTP 500"), Accepted(), retry=Retry(give_up=timedelta(hours=1)))
    id = plan(store, clock())
    deliver(id)
    clock.advance(hours=2)
    assert deliver(id).state is DeliveryState.DEAD
    assert deliver(id) is None

    with store.begin() as tx:
        tx.deliveries.replay(id, clock())

    assert deliver(id).state is DeliveryState.IDLE


def test_two_workers_never_send_the_same_cursor_at_once(store, clock, world):
    deliver, far_end = world()
    id = plan(store, clock())
    inside = threading.Event()
    far_end.before = lambda: inside.wait(5)
    first = threading.Thread(target=deliver, args=(id,))
    first.start()
    wait_for(lambda: far_end.packages)

    assert deliver(id) is None

    inside.set()
    first.join()
    assert len(far_end.packages) == 1


def test_a_delivery_that_meets_a_defect_of_ours_waits_and_says_where(store, clock, world):
    deliver, far_end = world(fails=KeyError("Rossetti"))

    settled = deliver(plan(store, clock()))

    assert settled.state is DeliveryState.DUE
    assert settled.due_at > clock()
    assert "KeyError in package" in settled.detail
    assert "Rossetti" not in settled.detail
    assert not far_end.packages


def test_a_cursor_begins_again_at_the_moment_from_which_more_may_leave(store, clock, world):
    moment = clock() + timedelta(minutes=7)
    deliver, far_end = world(entries=(), again_at=moment)
    id = plan(store, clock())

    settled = deliver(id)

    assert (settled.state, settled.due_at, settled.sent) == (DeliveryState.DUE, moment, BACKFILL)
    assert deliver(id) is None
    assert not far_end.packages


class Faltering:
    """A store that fails one transaction when told to."""

    def __init__(self, store):
        self._store = store
        self.fails = False

    def begin(self, *, write=True):
        failing, self.fails = self.fails, False
        if failing:
            raise StoreUnavailable("one statement in a hundred")
        return self._store.begin(write=write)


def test_what_came_of_an_attempt_is_noted_though_the_store_fails_once(store, clock, world):
    deliver, far_end = world()
    faltering = Faltering(store)
    far_end.before = lambda: setattr(faltering, "fails", True)
    id = plan(store, clock())

    assert replace(deliver, store=faltering)(id).state is DeliveryState.IDLE


def test_every_attempt_is_counted_with_its_outcome(store, clock, world):
    deliver, _ = world(Unknown("x"))
    told = []
    id = plan(store, clock())

    replace(deliver, observe=lambda *line: told.append(line[:2]))(id)

    assert told == [("edc", "unknown")]


def test_a_recipient_that_is_not_configured_is_left_alone(store, clock, world):
    deliver, _ = world()

    assert deliver(plan(store, clock(), view=OTHER)) is None
