"""Subscriptions, their triggers and events: the same on SQLite and on PostgreSQL."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from gateway.errors import StoreError
from gateway.model.subscription import Criterion, Happening, Subscription, SubscriptionState, Terms, Trigger
from gateway.ports import Telling
from gateway.services.rotate import reseal
from tests.contracts.stores import DAY, KEYS, MINUTE, NOW, SECOND, VIEW, uid
from tests.contracts.test_store_clients import CLIENT

TERMS = Terms(
    topic="https://trial-gateway.example/fhir/SubscriptionTopic/observation",
    criteria=(Criterion("Observation", (("code", "http://loinc.org|718-7"),)),),
    endpoint="https://edc.example/notify",
    headers=(("Authorization", "Bearer abc"),),
    secret="a secret of this subscription",
    content="id-only",
    heartbeat=60,
    timeout=10,
    max_count=20,
    release="R4",
    base="https://gateway.example/fhir/r4",
    reason="tests",
    ends_at=NOW + DAY,
    contact=({"system": "email", "value": "ctms@example.org"},),
)
ONE = Subscription(uid(1), "edc", SubscriptionState.ACTIVE, TERMS, NOW)
LEASE = MINUTE


def happening(number, resource=77, at=NOW):
    return Happening(number, at, VIEW.recipient, VIEW.study, uid(900), "Observation", uid(resource), 1)


def trigger(number=1, subscription=ONE.id):
    return Trigger(subscription, uid(900), "Observation", uid(number), 1)


@pytest.fixture
def begun(store):
    with store.begin() as tx:
        tx.clients.add(CLIENT)
        tx.subscriptions.add(ONE)
    return store


def claimed(store, at=NOW, owner="worker", **more):
    with store.begin() as tx:
        return tx.subscriptions.claim(at, owner, LEASE, **more)


def test_a_subscription_is_found_as_it_was_added(database):
    store = database.open()
    with store.begin() as tx:
        tx.subscriptions.add(ONE)

    with database.again().begin() as tx:
        assert tx.subscriptions.get(ONE.id, lock=True) == ONE
        assert tx.subscriptions.of_client("edc") == tx.subscriptions.every() == [ONE]
        assert tx.subscriptions.of_client("other") == []
        assert tx.subscriptions.get(uid(2)) is None


def test_what_is_saved_replaces_what_was(begun):
    changed = ONE.but(
        state=SubscriptionState.OFF, version=2, terms=TERMS.__class__(**{**_fields(TERMS), "secret": "x"})
    )
    with begun.begin() as tx:
        tx.subscriptions.save(changed)
        assert tx.subscriptions.get(ONE.id) == changed


def _fields(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def test_credentials_stand_nowhere_in_clear(database):
    store = database.open()
    with store.begin() as tx:
        tx.subscriptions.add(ONE)
    kept = database.bytes_on_disk()

    assert not [word for word in (b"Bearer abc", b"a secret of this", b"ctms@example") if word in kept]


def test_what_a_client_asked_for_comes_under_a_new_key(begun):
    begun.take_keys(replace(KEYS, encryption={**KEYS.encryption, "k2": b"n" * 32}, active="k2"))
    reseal(begun, lambda: False, lambda _: None)

    with begun.begin(write=False) as tx:
        assert tx.sealing.keys_in_use() == {"k2": 1}
        assert tx.subscriptions.get(ONE.id) == ONE


def test_terms_that_were_exchanged_outside_are_refused(begun):
    with begun.begin() as tx:
        tx.subscriptions.add(ONE.but(id=uid(2)))
    with begun._backend.writer.begin() as connection:
        connection.execute(
            text("UPDATE subscriptions SET terms = (SELECT terms FROM subscriptions ORDER BY id LIMIT 1)")
        )

    with begun.begin() as tx, pytest.raises(StoreError):
        tx.subscriptions.every()


def test_listeners_have_the_views_of_their_client_and_are_not_off(begun):
    with begun.begin() as tx:
        tx.subscriptions.add(ONE.but(id=uid(2), state=SubscriptionState.OFF))
        tx.subscriptions.add(ONE.but(id=uid(3), client="nobody"))
        found = tx.subscriptions.listeners()
        assert [(one.subscription, one.views) for one in found] == [(ONE, CLIENT.views)]
        tx.clients.save(replace(CLIENT, revoked_at=NOW))
        assert tx.subscriptions.listeners() == []


def test_triggers_wait_in_their_order_until_they_are_decided_on(begun):
    with begun.begin() as tx:
        tx.subscriptions.note([trigger(1), trigger(2), trigger(3, uid(9))])
        found = tx.subscriptions.triggers(ONE.id, NOW, 10)
        assert [one.resource for one in found] == [uid(1), uid(2)]
        assert len(tx.subscriptions.triggers(ONE.id, NOW, 1)) == 1
    mine = claimed(begun)
    with begun.begin() as tx:
        assert tx.subscriptions.begin(mine, Telling((), [found[0].id]), "worker")
        assert [one.resource for one in tx.subscriptions.triggers(ONE.id, NOW, 10)] == [uid(2)]


def test_a_trigger_of_a_later_moment_wakes_nobody_until_their_moment(begun):
    later = Trigger(ONE.id, uid(900), "ResearchSubject", uid(1), 1, "entitled", NOW + MINUTE)
    with begun.begin() as tx:
        tx.subscriptions.note([later])

    assert claimed(begun, NOW + MINUTE - SECOND) is None
    assert claimed(begun, NOW + MINUTE).id == ONE.id
    with begun.begin() as tx:
        assert tx.subscriptions.triggers(ONE.id, NOW, 9) == []
        [found] = tx.subscriptions.triggers(ONE.id, NOW + MINUTE, 9)
        assert (found.cause, found.due_at) == ("entitled", NOW + MINUTE)


def test_one_is_claimed_at_its_time_or_when_something_may_have_happened(begun):
    assert claimed(begun) is None
    with begun.begin() as tx:
        tx.subscriptions.save(ONE.but(due_at=NOW + SECOND))
    assert claimed(begun) is None
    assert claimed(begun, NOW + SECOND).id == ONE.id
    assert claimed(begun, NOW + SECOND) is None
    assert claimed(begun, NOW + SECOND + LEASE).lease_until == NOW + SECOND + 2 * LEASE


def test_one_that_is_off_is_left_alone(begun):
    with begun.begin() as tx:
        tx.subscriptions.save(ONE.but(state=SubscriptionState.OFF, due_at=NOW))
        tx.subscriptions.note([trigger()])
    assert claimed(begun) is None


def test_clients_that_are_busy_wait(begun):
    with begun.begin() as tx:
        tx.subscriptions.note([trigger()])
    assert claimed(begun, without=["edc", "other"]) is None
    assert claimed(begun, without=["other"]).id == ONE.id


def test_two_workers_never_claim_the_same(begun):
    with begun.begin() as tx:
        tx.subscriptions.note([trigger()])
        tx.subscriptions.add(ONE.but(id=uid(2), due_at=NOW))
    assert {claimed(begun).id, claimed(begun, owner="other").id} == {ONE.id, uid(2)}
    assert claimed(begun, owner="third") is None


def test_events_are_numbered_once_and_kept_for_those_who_missed_them(begun):
    with begun.begin() as tx:
        tx.subscriptions.note([trigger()])
    mine = claimed(begun).but(events=2, sending=2)
    with begun.begin() as tx:
        assert tx.subscriptions.begin(mine, Telling([happening(1), happening(2)]), "worker")
    with begun.begin() as tx:
        assert tx.subscriptions.events(ONE.id, 0, 9, 10) == [happening(1), happening(2)]
        assert tx.subscriptions.events(ONE.id, 1, 2, 10) == [happening(2)]
        assert tx.subscriptions.events(ONE.id, 0, 2, 1) == [happening(1)]
        stands = tx.subscriptions.get(ONE.id)
        assert (stands.events, stands.sending, stands.settled) == (2, 2, 0)
        settled = tx.subscriptions.settle(mine.but(settled=2, sending=None), "worker")
    assert (settled.settled, settled.sending, settled.lease_until) == (2, None, None)


def test_whoever_lost_the_lease_writes_nothing(begun):
    with begun.begin() as tx:
        tx.subscriptions.note([trigger()])
    mine = claimed(begun)
    theirs = claimed(begun, NOW + LEASE, owner="other")
    with begun.begin() as tx:
        assert not tx.subscriptions.begin(mine.but(events=1), Telling([happening(1)]), "worker")
        assert tx.subscriptions.settle(mine.but(settled=1), "worker") is None
        assert tx.subscriptions.events(ONE.id, 0, 9, 9) == []
        assert tx.subscriptions.settle(theirs, "other") is not None


def test_what_a_client_wrote_meanwhile_stays(begun):
    with begun.begin() as tx:
        tx.subscriptions.note([trigger()])
    mine = claimed(begun)
    with begun.begin() as tx:
        tx.subscriptions.save(ONE.but(version=2, state=SubscriptionState.OFF))
        stands = tx.subscriptions.settle(
            mine.but(state=SubscriptionState.ERROR, events=3, settled=3, due_at=NOW, detail="HTTP 500"), "worker"
        )
    assert (stands.state, stands.due_at, stands.detail) == (SubscriptionState.OFF, None, "")
    assert (stands.events, stands.settled) == (3, 3)


def test_settled_events_are_forgotten_after_their_time_and_no_others(begun):
    with begun.begin() as tx:
        tx.subscriptions.note([trigger()])
    mine = claimed(begun).but(events=3)
    with begun.begin() as tx:
        tx.subscriptions.begin(mine, Telling([happening(1), happening(2), happening(3, at=NOW + DAY)]), "worker")
        tx.subscriptions.settle(mine.but(settled=1), "worker")
        assert tx.subscriptions.forget(NOW + SECOND) == 1
        assert [one.number for one in tx.subscriptions.events(ONE.id, 0, 9, 9)] == [2, 3]


def test_what_is_dropped_is_gone_with_all_of_it(begun):
    with begun.begin() as tx:
        tx.subscriptions.note([trigger()])
    mine = claimed(begun)
    with begun.begin() as tx:
        tx.subscriptions.begin(mine.but(events=1), Telling([happening(1)]), "worker")
        tx.subscriptions.drop(ONE.id)
        assert tx.subscriptions.get(ONE.id) is None
        assert tx.subscriptions.triggers(ONE.id, NOW, 9) == tx.subscriptions.events(ONE.id, 0, 9, 9) == []
        assert tx.subscriptions.settle(mine, "worker") is None


def test_a_process_that_begins_again_lets_go_of_what_it_held(begun):
    with begun.begin() as tx:
        tx.subscriptions.note([trigger()])
    claimed(begun)
    with begun.begin() as tx:
        tx.subscriptions.release("other")
    assert claimed(begun) is None
    with begun.begin() as tx:
        tx.subscriptions.release("worker")
    assert claimed(begun).id == ONE.id


def test_a_clock_that_is_set_back_delays_nothing(begun):
    with begun.begin() as tx:
        tx.subscriptions.save(ONE.but(due_at=NOW + timedelta(hours=1)))
        tx.subscriptions.note([trigger()])
    mine = claimed(begun, NOW)
    with begun.begin() as tx:
        tx.set_back(NOW - DAY, DAY)
        stands = tx.subscriptions.get(ONE.id)
    assert stands.due_at == NOW - DAY + timedelta(hours=1)
    assert stands.lease_until == mine.lease_until - DAY
