"""Whose turn it is to write."""

import threading

import pytest

from gateway.errors import StoreUnavailable
from gateway.store.gate import WriterGate


def in_order(gate, wanted):
    """Hold the gate, let others queue up in this order, let go, and return the order of their turns."""
    turns, threads = [], []

    def take(place, urgent):
        with gate.turn(urgent=urgent):
            turns.append((place, urgent))

    with gate.turn():
        for place, urgent in enumerate(wanted):
            thread = threading.Thread(target=take, args=(place, urgent))
            thread.start()
            threads.append(thread)
            while sum(gate._waiting.values()) < len(threads):
                threading.Event().wait(0.001)
    for thread in threads:
        thread.join()
    return turns


def test_an_acknowledgment_goes_before_every_waiting_result():
    assert in_order(WriterGate(), [False, False, True, False])[0] == (2, True)


def test_results_get_a_turn_however_many_acknowledgments_come():
    turns = in_order(WriterGate(), [False] + [True] * 20)
    assert 0 < turns.index((0, False)) < 20


def test_one_at_a_time():
    gate, inside, most = WriterGate(), 0, 0

    def work():
        nonlocal inside, most
        for _ in range(50):
            with gate.turn(urgent=threading.get_ident() % 2 == 0):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_turn_that_never_comes_is_unavailable():
    gate = WriterGate(patience=0.01)
    held, done = threading.Event(), threading.Event()

    def hold():
        with gate.turn():
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    with pytest.raises(StoreUnavailable), gate.turn():
        pass
    done.set()
    thread.join()
    with gate.turn():
        pass


def test_a_transaction_inside_another_is_an_error_not_a_deadlock():
    gate = WriterGate()
    with gate.turn(), pytest.raises(RuntimeError), gate.turn():
        pass
