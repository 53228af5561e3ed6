from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import pytest

from gateway.broker.embedded import EmbeddedBroker
from gateway.errors import BrokerError, BrokerUnavailable, StoreUnavailable
from gateway.model.delivery import Accepted, Deferred, DeliveryState, Unknown
from gateway.services.deliver import Deliver
from gateway.services.delivery_worker import DeliveryWorker
from gateway.services.wake_ups import bodies_of
from tests.contracts.deliveries import FixedPackager, HandClock, ScriptedRecipient, plan
from tests.contracts.packages import VIEW, internal, observation, patient, recipient, released
from tests.contracts.waiting import PATIENCE, running, wait_for

PAIR = (released(patient()), released(observation(), change=2))


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def broker():
    made = EmbeddedBroker(delivery_limit=3)
    made.declare(["edc"])
    return made


class Blocking(ScriptedRecipient):
    """Takes its time with the packages of one cursor."""

    def __init__(self, slow=None):
        super().__init__()
        self.slow = slow
        self.go_on = threading.Event()
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def deliver(self, package):
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
        if self.slow in {None, package.delivery}:
            assert self.go_on.wait(PATIENCE)
        with self._lock:
            self.at_once -= 1
            return super().deliver(package)


class Counting:
    """A store that counts its writing transactions, and fails some when told to."""

    def __init__(self, store):
        self._store = store
        self.written = 0
        self.fails = 0

    def begin(self, *, write=True):
        self.written += write
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("away")
        return self._store.begin(write=write)


def deliver_to(store, clock, far_end, **changes):
    return Deliver(store, {"edc": recipient()}, {"edc": far_end}, FixedPackager(PAIR), clock, "w1", **changes)


def plan_many(store, clock, count, upto=10):
    return [plan(store, clock(), upto, patient=internal(str(number))) for number in range(count)]


def cursor(store, id):
    with store.begin(write=False) as tx:
        return tx.deliveries.get(id)


def paid(store, ids):
    with store.begin(write=False) as tx:
        return all(tx.deliveries.get(id).state is DeliveryState.IDLE for id in ids)


def drained(broker):
    return broker.depths()["deliver.edc"] == 0


def test_a_worker_goes_on_until_the_cursor_owes_nothing(store, clock, broker):
    far_end = ScriptedRecipient()
    id = plan(store, clock(), 10)
    far_end.before = lambda: plan(store, clock(), 20)
    broker.wake("deliver.edc", [str(id), "not a number"])

    with running(DeliveryWorker("edc", deliver_to(store, clock, far_end), broker, 2).run):
        wait_for(lambda: cursor(store, id).sent == 20)

    assert [one.delivery_id for one in far_end.packages] == [f"{id}-1", f"{id}-2"]


def test_a_wake_up_that_is_none_ends_with_the_dead_letters(store, clock, broker):
    broker.wake("deliver.edc", ["not a number"])

    with running(DeliveryWorker("edc", deliver_to(store, clock, ScriptedRecipient()), broker).run):
        wait_for(lambda: broker.depths()["dead"] == 1)


def test_what_waits_is_paid_in_few_transactions_and_each_once(store, clock, broker):
    far_end = ScriptedRecipient()
    counting = Counting(store)
    ids = plan_many(store, clock, 64)
    broker.wake("deliver.edc", bodies_of(ids))

    with running(DeliveryWorker("edc", deliver_to(counting, clock, far_end), broker).run):
        wait_for(lambda: paid(store, ids))

    assert Counter(one.delivery_id for one in far_end.packages) == {f"{id}-1": 1 for id in ids}
    assert counting.written < len(ids)
    with store.begin(write=False) as tx:
        assert len(tx.audit.find(action="delivery-accepted")) == len(ids)


def test_what_has_ended_is_settled_with_what_begins(store, clock):
    counting = Counting(store)
    deliver = deliver_to(counting, clock, ScriptedRecipient())
    first, second = plan_many(store, clock, 2)
    begun, _ = deliver.begin("edc", [first])
    ended = deliver.send(begun)
    counting.written = 0

    begun, stands = deliver.begin("edc", [second], ended)

    assert counting.written == 2  # to claim; to note and to settle
    assert ([one.delivery.id for one in begun], [one.id for one in stands]) == ([second], [first])
    assert paid(store, [first])


def test_what_has_ended_is_settled_though_nothing_begins(store, clock):
    deliver = deliver_to(store, clock, ScriptedRecipient())
    (id,) = plan_many(store, clock, 1)
    begun, _ = deliver.begin("edc", [id])

    assert deliver.begin("edc", [id], deliver.send(begun))[0] == []
    assert paid(store, [id])


def test_a_slow_attempt_holds_up_neither_the_others_nor_their_settling(store, clock, broker):
    ids = plan_many(store, clock, 40)
    far_end = Blocking(slow=ids[0])
    broker.wake("deliver.edc", bodies_of(ids))

    with running(DeliveryWorker("edc", deliver_to(store, clock, far_end), broker, 4).run):
        wait_for(lambda: paid(store, ids[1:]))
        assert cursor(store, ids[0]).state is DeliveryState.SENDING
        far_end.go_on.set()
        wait_for(lambda: paid(store, ids))


def test_no_more_attempts_are_in_flight_than_the_recipient_is_to_bear(store, clock, broker):
    far_end = Blocking()
    ids = plan_many(store, clock, 12)
    broker.wake("deliver.edc", bodies_of(ids))

    with running(DeliveryWorker("edc", deliver_to(store, clock, far_end), broker, 3).run):
        wait_for(lambda: far_end.at_once == 3)
        far_end.go_on.set()
        wait_for(lambda: paid(store, ids))

    assert far_end.most_at_once == 3


def test_a_wake_up_stays_open_until_its_last_attempt_is_settled(store, clock, broker):
    ids = plan_many(store, clock, 2)
    far_end = Blocking(slow=ids[1])
    broker.wake("deliver.edc", [f"{ids[0]} {ids[1]}"])
    left = []

    with running(DeliveryWorker("edc", deliver_to(store, clock, far_end), broker).run) as stopped:
        wait_for(lambda: paid(store, ids[:1]))
        with running(lambda stop: broker.consume("deliver.edc", left.append, stop)):
            far_end.go_on.set()
            wait_for(lambda: paid(store, ids))
            stopped.set()

    assert left == []


def test_a_worker_that_is_to_end_finishes_the_attempts_at_hand_and_no_more(store, clock, broker):
    far_end = Blocking()
    ids = plan_many(store, clock, 9)
    broker.wake("deliver.edc", bodies_of(ids))
    with running(DeliveryWorker("edc", deliver_to(store, clock, far_end), broker, 2).run) as stopped:
        wait_for(lambda: far_end.at_once == 2)
        stopped.set()
        far_end.go_on.set()

    with store.begin(write=False) as tx:
        states = Counter(tx.deliveries.get(id).state for id in ids)
    assert states[DeliveryState.SENDING] == 0
    assert states[DeliveryState.IDLE] == len(far_end.packages)
    assert states[DeliveryState.DUE] == len(ids) - len(far_end.packages) > 0
    assert not drained(broker)


def test_an_attempt_that_hangs_does_not_hold_a_worker_that_is_to_end(store, clock, broker):
    hanging, *others = ids = plan_many(store, clock, 4)
    far_end = Blocking(slow=hanging)
    broker.wake("deliver.edc", [" ".join(map(str, ids))])
    with running(DeliveryWorker("edc", deliver_to(store, clock, far_end), broker, grace=0.2).run):
        wait_for(lambda: paid(store, others))

    left = cursor(store, hanging)
    assert (left.state, left.attempts, left.detail) == (DeliveryState.DUE, 1, "interrupted")
    assert drained(broker)
    far_end.go_on.set()
    wait_for(lambda: hanging in [one.delivery for one in far_end.packages], what="the late end of the attempt")
    assert cursor(store, hanging) == left
    assert deliver_to(store, clock, ScriptedRecipient()).begin("edc", [hanging]) == ([], [])

    clock.advance(minutes=1)
    repeat = ScriptedRecipient()
    deliver_to(store, clock, repeat)(hanging)
    assert [(one.delivery_id, one.repeat) for one in repeat.packages] == [(f"{hanging}-1", True)]


def test_failures_of_attempts_made_side_by_side_open_the_circuit_as_one_after_another_would(store, clock, broker):
    far_end = Blocking()
    far_end.outcomes = (Deferred("could not connect"),)
    ids = plan_many(store, clock, 16)
    broker.wake("deliver.edc", bodies_of(ids))

    with running(DeliveryWorker("edc", deliver_to(store, clock, far_end), broker).run):
        wait_for(lambda: far_end.at_once == 16)
        far_end.go_on.set()
        wait_for(lambda: all(cursor(store, id).attempts for id in ids))

    with store.begin(write=False) as tx:
        breaker = tx.breakers.get("edc")
    assert breaker.open_until is not None
    assert breaker.failures == 5


def test_in_a_half_open_circuit_one_of_a_group_tries_for_all(store, clock, broker):
    far_end = Blocking()
    ids = plan_many(store, clock, 8)
    with store.begin() as tx:
        tx.breakers.set(replace(tx.breakers.get("edc"), failures=3, open_until=clock()))
    broker.wake("deliver.edc", [" ".join(map(str, ids))])

    with running(DeliveryWorker("edc", deliver_to(store, clock, far_end), broker).run):
        wait_for(lambda: far_end.at_once and drained(broker))
        with store.begin(write=False) as tx:
            assert [tx.deliveries.get(id).state for id in ids].count(DeliveryState.SENDING) == 1
        far_end.go_on.set()
        wait_for(lambda: far_end.packages)

    assert len(far_end.packages) == 1


def test_a_store_that_fails_for_a_moment_doubles_and_loses_nothing(store, clock, broker):
    counting = Counting(store)
    far_end = ScriptedRecipient()
    far_end.before = lambda: setattr(counting, "fails", 2)
    ids = plan_many(store, clock, 3)
    broker.wake("deliver.edc", bodies_of(ids))

    with running(DeliveryWorker("edc", deliver_to(counting, clock, far_end), broker).run):
        wait_for(lambda: paid(store, ids))

    assert len(far_end.packages) == 3


def test_wake_ups_that_could_not_be_begun_come_again(store, clock, broker):
    counting = Counting(store)
    counting.fails = 1
    ids = plan_many(store, clock, 3)
    broker.wake("deliver.edc", bodies_of(ids))

    with running(DeliveryWorker("edc", deliver_to(counting, clock, ScriptedRecipient()), broker).run):
        wait_for(lambda: paid(store, ids))


def test_a_recipient_that_takes_groups_gets_one(store, clock, broker):
    class Together(ScriptedRecipient):
        groups = ()

        def deliver_many(self, packages):
            self.groups += (len(packages),)
            return [Accepted() if package.delivery != ids[0] else Unknown("x") for package in packages]

    far_end = Together()
    ids = plan_many(store, clock, 4)
    broker.wake("deliver.edc", [" ".join(map(str, ids))])

    with running(DeliveryWorker("edc", deliver_to(store, clock, far_end), broker).run):
        wait_for(lambda: paid(store, ids[1:]))

    assert far_end.groups == (4,)
    assert cursor(store, ids[0]).attempts == 1


def test_what_owes_more_goes_behind_what_waits(store, clock, broker):
    busy, calm = plan_many(store, clock, 2)
    far_end = ScriptedRecipient()
    far_end.before = lambda: len(far_end.packages) == 1 and plan(store, clock(), 20, patient=internal("0"))
    broker.wake("deliver.edc", [str(busy)])
    broker.wake("deliver.edc", [str(calm)])

    with running(DeliveryWorker("edc", deliver_to(store, clock, far_end), broker, 1).run):
        wait_for(lambda: paid(store, [busy, calm]))

    assert [one.delivery for one in far_end.packages] == [busy, calm, busy]


def test_a_broker_that_takes_no_wake_up_leaves_the_rest_to_the_relay(store, clock, broker):
    far_end = ScriptedRecipient()
    id = plan(store, clock(), 10)
    broker.wake("deliver.edc", [str(id)])

    def away(queue, bodies=("",)):
        raise BrokerUnavailable("gone")

    broker.wake = away
    far_end.before = lambda: plan(store, clock(), 20)
    with running(DeliveryWorker("edc", deliver_to(store, clock, far_end), broker).run):
        wait_for(lambda: cursor(store, id).sent == 10)

    with store.begin(write=False) as tx:
        assert tx.deliveries.get(id).state is DeliveryState.DUE


def test_a_queue_that_was_not_declared_is_said_to_whoever_runs_the_worker(store, clock):
    worker = DeliveryWorker("edc", deliver_to(store, clock, ScriptedRecipient()), EmbeddedBroker())

    with pytest.raises(BrokerError):
        worker.run(lambda: False)


def test_two_workers_share_the_wake_ups_and_send_nothing_twice(store, clock, broker):
    far_ends = ScriptedRecipient(), ScriptedRecipient()
    ids = plan_many(store, clock, 60)
    workers = [
        DeliveryWorker("edc", replace(deliver_to(store, clock, far_end), owner=f"w{number}"), broker, 4)
        for number, far_end in enumerate(far_ends)
    ]
    broker.wake("deliver.edc", bodies_of(ids) * 2)

    with running(workers[0].run), running(workers[1].run):
        wait_for(lambda: paid(store, ids) and drained(broker))

    sent = Counter(one.delivery_id for far_end in far_ends for one in far_end.packages)
    assert sent == {f"{id}-1": 1 for id in ids}
    assert all(one.view == VIEW for far_end in far_ends for one in far_end.packages)
