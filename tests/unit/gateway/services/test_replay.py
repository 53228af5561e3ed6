from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.model.delivery import DeliveryState, View
from gateway.services.replay import replay_delivery, replay_message
from tests.contracts.deliveries import HandClock, plan
from tests.contracts.packages import recipient
from tests.contracts.stores import incoming, uid, version

ANNA, BRUNO = uid(900), uid(901)
EDC = recipient()
REGISTRY = replace(EDC, id="registry")


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


@pytest.fixture
def clock():
    return HandClock()


def delivered(store, clock, upto, patient=ANNA, recipient="edc"):
    """Plan a cursor and settle it; return its id."""
    id = plan(store, clock(), upto, View(recipient, "mld-01"), patient)
    with store.begin() as tx:
        claimed = tx.deliveries.claim(id, "w1", clock(), timedelta(minutes=1))
        done = replace(claimed, state=DeliveryState.IDLE, sent=upto, number=2, due_at=None)
        tx.deliveries.save(done, None, "w1")
    return id


def get(store, id):
    with store.begin(write=False) as tx:
        return tx.deliveries.get(id)


def write(store, *versions):
    """Store a message and what it became; return its id and the change numbers."""
    (stored,) = store.receive([incoming(f"M{versions[0].id}")])
    with store.begin() as tx:
        appended = tx.resources.append([one.but(message=stored.id) for one in versions])
    return stored.id, [one.change for one in appended]


def test_a_message_goes_again_to_the_chosen_recipient_alone(store, clock):
    write(store, version(1))
    message, changes = write(store, version(2), version(3))
    edc, registry = (delivered(store, clock, changes[-1], recipient=name) for name in ("edc", "registry"))

    assert replay_message(store, message, EDC, clock, actor="operator") == [edc]

    again = get(store, edc)
    assert (again.state, again.sent) == (DeliveryState.DUE, changes[0] - 1)
    assert get(store, registry).state is DeliveryState.IDLE


def test_a_message_about_two_patients_goes_again_for_both(store, clock):
    message, changes = write(store, version(1), version(2, patient=BRUNO))
    cursors = [delivered(store, clock, changes[-1], patient) for patient in (ANNA, BRUNO)]

    assert sorted(replay_message(store, message, EDC, clock, actor="operator")) == cursors


def test_after_a_merge_the_survivors_cursor_is_replayed(store, clock):
    message, changes = write(store, version(1, patient=BRUNO))
    survivor = delivered(store, clock, changes[-1], ANNA)
    with store.begin() as tx:
        tx.resources.merge(BRUNO, ANNA)

    assert replay_message(store, message, EDC, clock, actor="operator") == [survivor]


def test_a_message_that_concerns_no_view_of_the_recipient_replays_nothing(store, clock):
    message, _ = write(store, version(1))

    assert replay_message(store, message, EDC, clock, actor="operator") == []
    assert replay_message(store, 999, EDC, clock, actor="operator") == []


def test_a_dead_delivery_is_revived_where_it_stands_and_who_did_it_is_written_down(store, clock):
    id = plan(store, clock(), 5, patient=ANNA)
    with store.begin() as tx:
        claimed = tx.deliveries.claim(id, "w1", clock(), timedelta(minutes=1))
        tx.deliveries.save(replace(claimed, state=DeliveryState.DEAD, attempts=9, due_at=None), None, "w1")

    assert replay_delivery(store, id, clock, actor="maria")

    again = get(store, id)
    assert (again.state, again.sent, again.attempts) == (DeliveryState.DUE, 0, 0)
    with store.begin(write=False) as tx:
        (line,) = tx.audit.find(action="delivery-replayed")
    assert (line.actor, line.subject) == ("maria", f"delivery/{id}")


def test_a_delivery_that_does_not_exist_is_not_replayed(store, clock):
    assert not replay_delivery(store, 999, clock, actor="maria")
