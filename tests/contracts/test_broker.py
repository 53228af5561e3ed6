"""What every broker must do, run on the embedded one and on a real RabbitMQ."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from gateway.errors import BrokerError, QueueFull, Unroutable
from gateway.ports import Event
from tests.contracts.brokers import EmbeddedBench, RabbitBench
from tests.contracts.waiting import PATIENCE, running, wait_for

LIMIT = 3


@pytest.fixture(params=["embedded", "rabbitmq"])
def bench(request):
    if request.param == "embedded":
        made = EmbeddedBench(LIMIT)
    else:
        made = RabbitBench(request.getfixturevalue("rabbitmq"), LIMIT)
    made.broker.declare(["edc", "registry", "safety"], {"registry": 10_000, "safety": 10_000})
    yield made
    made.close()


def event(recipient, number, size=2):
    return Event(f"{recipient}.mld-01.Observation.created", b"x" * size, f"{recipient}-{number}", {"version": "1"})


def test_every_wake_up_is_handled_in_order(bench):
    handled = []
    bodies = [str(number) for number in range(200)]
    bench.broker.wake("deliver.edc", bodies)

    with running(lambda stop: bench.broker.consume("deliver.edc", handled.append, stop)):
        wait_for(lambda: len(handled) == 200)

    assert handled == bodies
    assert bench.broker.depths()["deliver.edc"] == 0


def test_wake_ups_wait_until_somebody_consumes(bench):
    bench.broker.wake("deliver.edc", ["1", "2"])

    wait_for(lambda: bench.broker.depths()["deliver.edc"] == 2)

    assert bench.broker.depths()["deliver.registry"] == 0


def test_a_wake_up_for_nobody_is_said_to_be_unroutable(bench):
    with pytest.raises(Unroutable):
        bench.broker.wake("deliver.nobody", ["1"])


def test_consuming_what_was_not_declared_is_refused(bench):
    with pytest.raises(BrokerError):
        bench.broker.consume("deliver.nobody", lambda _: None, lambda: True)


def test_a_handler_that_fails_sees_the_body_again_and_the_others_go_on(bench):
    seen = Counter()

    def handle(body):
        seen[body] += 1
        if body == "shaky" and seen[body] < LIMIT:
            raise RuntimeError

    bench.broker.wake("deliver.edc", ["shaky", "sound"])
    with running(lambda stop: bench.broker.consume("deliver.edc", handle, stop)):
        wait_for(lambda: seen["shaky"] == LIMIT and seen["sound"] == 1)

    assert bench.broker.depths()["dead"] == 0


def test_a_body_whose_handler_keeps_failing_is_dead_lettered(bench):
    seen = Counter()

    def handle(body):
        seen[body] += 1
        raise RuntimeError

    bench.broker.wake("deliver.edc", ["poison"])
    with running(lambda stop: bench.broker.consume("deliver.edc", handle, stop)):
        wait_for(lambda: bench.broker.depths()["dead"] == 1)

    assert seen["poison"] == LIMIT + 1
    assert bench.broker.depths()["deliver.edc"] == 0


def test_two_consumers_share_a_queue_and_handle_each_body_once(bench):
    seen = Counter()
    both = threading.Barrier(2, timeout=PATIENCE)

    def handle(body):
        if body == "meet":
            both.wait()
        seen[body] += 1

    def consume(stop):
        bench.broker.consume("deliver.edc", handle, stop, prefetch=1)

    with running(consume), running(consume):
        bench.broker.wake("deliver.edc", ["meet", "meet", *map(str, range(50))])
        wait_for(lambda: seen.total() == 52)

    assert seen["meet"] == 2
    assert all(seen[str(number)] == 1 for number in range(50))


def test_wake_ups_that_wait_come_together_and_no_more_than_may_be_open(bench):
    taken = []
    bodies = [str(number) for number in range(50)]
    bench.broker.wake("deliver.edc", bodies)

    with running(lambda stop: bench.broker.consume_many("deliver.edc", taken.append, stop, limit=8)):
        wait_for(lambda: sum(map(len, taken)) == 8)
        assert len(taken) < 8, "one came after the other"
        while settled := [one for group in taken for one in group][: len(bodies)]:
            for one in settled:
                one.done()
            if len(settled) == len(bodies):
                break
            wait_for(lambda: sum(map(len, taken)) > len(settled))
        wait_for(lambda: bench.broker.depths()["deliver.edc"] == 0)

    assert [one.body for group in taken for one in group] == bodies
    assert max(map(len, taken)) <= 8


def test_a_wake_up_settled_from_another_thread_after_its_handler_returned_does_not_come_again(bench):
    taken = []
    bench.broker.wake("deliver.edc", ["1"])

    with running(lambda stop: bench.broker.consume_many("deliver.edc", taken.extend, stop)):
        wait_for(lambda: taken)
        taken[0].done()
        taken[0].again()  # too late: it is dealt with
        bench.broker.wake("deliver.edc", ["2"])
        wait_for(lambda: len(taken) == 2)
        taken[1].done()

    assert [one.body for one in taken] == ["1", "2"]
    with running(lambda stop: bench.broker.consume_many("deliver.edc", taken.extend, stop)):
        bench.broker.wake("deliver.edc", ["3"])
        wait_for(lambda: len(taken) == 3)


def test_open_wake_ups_come_again_when_their_consumer_ends(bench):
    taken = []
    bench.broker.wake("deliver.edc", ["1", "2", "3"])
    with running(lambda stop: bench.broker.consume_many("deliver.edc", taken.extend, stop)):
        wait_for(lambda: len(taken) == 3)
        taken[1].done()

    left = []
    with running(lambda stop: bench.broker.consume("deliver.edc", left.append, stop)):
        wait_for(lambda: len(left) == 2)

    assert sorted(left) == ["1", "3"]


def test_wake_ups_that_are_given_back_come_again_and_are_dead_lettered_in_the_end(bench):
    seen = Counter()

    def handle(taken):
        for one in taken:
            seen[one.body] += 1
            if one.body == "poison":
                one.again()
            elif one.body == "shaky" and seen["shaky"] == 1:
                raise RuntimeError
            else:
                one.done()

    bench.broker.wake("deliver.edc", ["poison", "shaky"])
    with running(lambda stop: bench.broker.consume_many("deliver.edc", handle, stop)):
        wait_for(lambda: bench.broker.depths()["dead"] == 1)
        wait_for(lambda: seen["shaky"] == 2)

    assert seen["poison"] == LIMIT + 1
    assert bench.broker.depths()["deliver.edc"] == 0


def test_a_thousand_nudges_come_as_a_few_and_the_last_one_is_heard(bench):
    heard = []
    with running(lambda stop: bench.broker.consume("relay", heard.append, stop)):
        bench.broker.nudge("relay")
        wait_for(lambda: heard)
        for _ in range(1000):
            bench.broker.nudge("relay")
        wait_for(lambda: len(heard) > 1)
        before = len(heard)
        bench.broker.nudge("relay")
        wait_for(lambda: len(heard) > before)

    assert set(heard) == {""}


def test_nudging_a_queue_that_is_not_there_is_silent(bench):
    bench.broker.nudge("nowhere")
    bench.broker.wake("relay")

    wait_for(lambda: bench.broker.depths()["relay"] == 1)


def test_an_event_reaches_the_recipient_its_key_names_and_no_other(bench):
    assert bench.broker.publish([event("registry", 1), event("safety", 2), event("registry", 3)]) == [None] * 3

    assert [message_id for message_id, _ in bench.read("registry")] == ["registry-1", "registry-3"]
    assert [message_id for message_id, _ in bench.read("safety")] == ["safety-2"]


def test_an_event_for_nobody_is_unroutable_and_its_neighbours_arrive(bench):
    first, second, third = bench.broker.publish([event("registry", 1), event("nobody", 2), event("registry", 3)])

    assert (first, third) == (None, None)
    assert isinstance(second, Unroutable)
    assert len(bench.read("registry")) == 2


def test_a_full_queue_refuses_and_stops_nobody_else(bench):
    results = []
    for number in range(30):
        results += bench.broker.publish([event("registry", number, 1000)])
    assert any(isinstance(result, QueueFull) for result in results)

    assert bench.broker.publish([event("safety", 1)]) == [None]

    accepted = results.count(None)
    assert len(bench.read("registry")) == accepted
    wait_for(lambda: bench.broker.publish([event("registry", 99)]) == [None], what="room after reading")


def test_a_receipt_names_the_recipient_and_the_event(bench):
    heard = []
    bench.give_receipt("registry", "abc")
    bench.give_receipt("safety", "def")

    with running(lambda stop: bench.broker.receipts(heard.extend, stop)):
        wait_for(lambda: len(heard) == 2)

    assert heard == [("registry", "abc"), ("safety", "def")]


def test_receipts_that_were_not_recorded_come_again(bench):
    heard = []

    def record(receipts):
        heard.extend(receipts)
        if len(heard) == 1:
            raise RuntimeError

    bench.give_receipt("registry", "abc")
    with running(lambda stop: bench.broker.receipts(record, stop)):
        wait_for(lambda: len(heard) == 2)

    assert heard == [("registry", "abc")] * 2
    assert bench.broker.depths()["receipts"] == 0


def test_declaring_again_changes_nothing(bench):
    bench.broker.wake("deliver.edc", ["1"])
    bench.broker.declare(["edc", "registry", "safety"], {"registry": 10_000, "safety": 10_000})

    wait_for(lambda: bench.broker.depths()["deliver.edc"] == 1)


@pytest.mark.parametrize("recipient", ["a.b", "*", "#", "", "a b"])
def test_a_recipient_id_that_would_bend_routing_keys_is_refused(bench, recipient):
    with pytest.raises(BrokerError):
        bench.broker.declare([], {recipient: 1000})


def test_many_threads_may_wake_at_once(bench):
    def wake():
        for _ in range(20):
            bench.broker.wake("deliver.edc", ["1", "2", "3"])

    threads = [threading.Thread(target=wake) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    wait_for(lambda: bench.broker.depths()["deliver.edc"] == 480)


def test_pinging_a_broker_that_is_there_is_quiet(bench):
    bench.broker.ping()
