"""The clock was set back: what waited for a moment waits as long as before, in both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.model.delivery import DeliveryState
from gateway.ports import Breaker, Event
from tests.contracts.deliveries import plan
from tests.contracts.stores import MINUTE, NOW, SECOND, incoming, uid
from tests.contracts.test_store_subscriptions import ONE

HOUR = timedelta(hours=1)
BEFORE = NOW + HOUR
"""What the clock showed; at ``NOW`` it is set back by an hour."""


@pytest.fixture
def cursors(store):
    """Some cursors that were planned before the clock was set back."""
    return [plan(store, BEFORE, patient=uid(number)) for number in range(3)]


def set_back(store, by=HOUR, now=NOW):
    with store.begin() as tx:
        tx.set_back(now, by)


def cursor(store, id):
    with store.begin(write=False) as tx:
        return tx.deliveries.get(id)


def claim(store, id, now, lease=5 * MINUTE):
    with store.begin() as tx:
        return tx.deliveries.claim(id, "w1", now, lease)


def test_what_was_due_is_due_and_a_wait_is_as_long_as_before(store, cursors):
    due, waiting, long = cursors
    for id, wait in ((waiting, 30 * SECOND), (long, 2 * HOUR)):
        claimed = claim(store, id, BEFORE)
        with store.begin() as tx:
            failed = replace(claimed, state=DeliveryState.DUE, due_at=BEFORE + wait, first_failed_at=BEFORE, attempts=1)
            tx.deliveries.save(failed, None, "w1")

    set_back(store)

    assert [cursor(store, id).due_at for id in cursors] == [NOW, NOW + 30 * SECOND, NOW + 2 * HOUR]
    assert cursor(store, waiting).first_failed_at == NOW
    with store.begin(write=False) as tx:
        assert [one.id for one in tx.deliveries.due(NOW, 10, MINUTE)] == [due]


def test_a_lost_wake_up_is_published_again_as_soon_as_before(store, cursors):
    with store.begin() as tx:
        tx.deliveries.published(cursors, BEFORE)

    set_back(store)

    with store.begin(write=False) as tx:
        assert tx.deliveries.due(NOW + 59 * SECOND, 10, MINUTE) == []
        assert [one.id for one in tx.deliveries.due(NOW + MINUTE, 10, MINUTE)] == cursors


def test_a_lease_lasts_as_long_as_before_and_one_taken_since_is_left_alone(store, cursors):
    before, since, _ = cursors
    claim(store, before, BEFORE)
    with store.begin() as tx:
        tx.deliveries.replay(since, NOW)
    claim(store, since, NOW)

    set_back(store)

    assert [cursor(store, id).lease_until for id in (before, since)] == [NOW + 5 * MINUTE] * 2
    with store.begin() as tx:
        assert tx.deliveries.expire(NOW + 4 * MINUTE) == 0
        assert tx.deliveries.expire(NOW + 5 * MINUTE) == 2


def test_a_circuit_is_closed_as_soon_as_before(store):
    with store.begin() as tx:
        tx.breakers.set(Breaker("edc", 5, BEFORE + MINUTE, "could not connect"))
        tx.breakers.set(Breaker("registry", 5, BEFORE - MINUTE, "could not connect"))

    set_back(store)

    with store.begin(write=False) as tx:
        assert [tx.breakers.get(one).open_until for one in ("edc", "registry")] == [NOW + MINUTE, NOW]


def test_an_event_without_a_receipt_is_published_again_as_soon_as_before(store):
    with store.begin() as tx:
        tx.outbox.add("edc", 1, Event("edc.mld-01.Patient.created", b"{}", "m1.1.1"), BEFORE)

    set_back(store)

    with store.begin(write=False) as tx:
        assert len(tx.outbox.unreceipted("edc", NOW + SECOND, 10)) == 1


def test_lanes_and_duties_of_a_dead_process_are_free_as_soon_as_before(store):
    store.receive([incoming()])
    with store.begin() as tx:
        assert tx.lanes.claim("dead", BEFORE, MINUTE, 8)
        assert tx.leases.claim("audit seal", "dead", BEFORE, MINUTE)

    set_back(store)

    for when, free in ((NOW + 59 * SECOND, False), (NOW + MINUTE, True)):
        with store.begin() as tx:
            assert bool(tx.lanes.claim("alive", when, MINUTE, 8)) is free
            assert tx.leases.claim("audit seal", "alive", when, MINUTE) is free


def test_a_heartbeat_comes_and_an_endpoint_is_given_up_as_soon_as_before(store):
    told = ONE.but(told_at=BEFORE - MINUTE, failed_at=BEFORE + SECOND, due_at=BEFORE + MINUTE)
    with store.begin() as tx:
        tx.subscriptions.add(told)

    set_back(store)

    with store.begin(write=False) as tx:
        found = tx.subscriptions.get(ONE.id)
        assert (found.told_at, found.failed_at, found.due_at) == (NOW, NOW + SECOND, NOW + MINUTE)


def test_what_waits_by_the_right_clock_already_is_not_moved(store, cursors):
    set_back(store)
    set_back(store)

    assert [cursor(store, id).due_at for id in cursors] == [NOW] * 3
