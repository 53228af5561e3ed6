from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import structlog

from gateway.broker.embedded import EmbeddedBroker
from gateway.errors import BrokerUnavailable
from gateway.model.delivery import Deferred, DeliveryState, View
from gateway.ports import AuditEvent, Breaker, Event
from gateway.services.receipts import RecipientOutbox, record_receipts
from gateway.services.relay import EXPIRED, SET_BACK, Relay, RelaySettings
from gateway.services.settle import settle
from gateway.services.wake_ups import ids_of
from tests.contracts.deliveries import HandClock, plan
from tests.contracts.packages import internal, recipient
from tests.contracts.stores import incoming
from tests.contracts.waiting import running, wait_for

SETTINGS = RelaySettings(interval=timedelta(seconds=0.05), batch=10)
EDC = recipient()
QUEUED = replace(recipient("amqp"), id="registry")


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


@pytest.fixture
def clock():
    return HandClock()


def may_leave(tx, event, now):
    """Everything may leave again but what is of message m9."""
    return not event.message_id.startswith("m9.")


@pytest.fixture
def in_rome(monkeypatch):
    """A machine whose own time is Rome's."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Rome")
        time.tzset()
        yield
    time.tzset()


class Shaky(EmbeddedBroker):
    """An embedded broker that can go away."""

    def __init__(self):
        super().__init__()
        self.away = False

    def wake(self, queue, bodies=("",)):
        if self.away:
            raise BrokerUnavailable("gone")
        super().wake(queue, bodies)


@pytest.fixture
def broker():
    made = Shaky()
    made.declare(["edc", "registry"], {"registry": 100_000})
    return made


@pytest.fixture
def relay(store, broker, clock):
    return Relay(store, broker, {"edc": EDC, "registry": QUEUED}, may_leave, clock, settings=SETTINGS)


def woken(broker, queue="deliver.edc"):
    """Take what waits in a queue."""
    taken = []
    left = broker.depths()[queue]
    broker.consume(queue, taken.append, lambda: len(taken) >= left)
    return taken


def test_what_became_due_again_while_it_was_being_woken_is_woken_again_at_once(store, broker, clock, relay):
    cursor = plan(store, clock())

    def paid_and_planned(queue, bodies=("",)):
        with store.begin() as tx:
            claimed = tx.deliveries.claim(cursor, "worker", clock(), timedelta(minutes=1))
            tx.deliveries.save(replace(claimed, state=DeliveryState.IDLE, sent=10), None, "worker")
        plan(store, clock.advance(milliseconds=5), upto=11)

    broker.wake, woke = paid_and_planned, broker.wake
    assert relay.step(clock()) == 1
    broker.wake = woke

    assert relay.step(clock()) == 1


def test_what_is_due_is_woken_once(store, broker, clock, relay):
    ids = [plan(store, clock(), patient=internal(name)) for name in "abc"]

    assert relay.step(clock()) == 3
    assert relay.step(clock.advance(seconds=1)) == 0

    assert sorted(map(int, woken(broker))) == ids


def test_a_wake_up_that_was_lost_is_published_again_after_a_while(store, broker, clock, relay):
    plan(store, clock())
    relay.step(clock())
    woken(broker)

    assert relay.step(clock.advance(seconds=59)) == 0
    assert relay.step(clock.advance(seconds=2)) == 1


def test_a_recipient_with_an_open_circuit_is_not_woken_until_it_is_over(store, broker, clock, relay):
    plan(store, clock())
    with store.begin() as tx:
        tx.breakers.set(Breaker("edc", 1, clock() + timedelta(minutes=1), "HTTP 401"))

    assert relay.step(clock()) == 0
    assert relay.step(clock.advance(minutes=2)) == 1


def test_a_recipient_nobody_serves_does_not_crowd_out_the_others(store, broker, clock, relay):
    for number in range(20):
        plan(store, clock(), view=View("forgotten", "mld-01"), patient=internal(str(number)))
    plan(store, clock.advance(seconds=1))

    for _ in range(3):
        relay.step(clock.advance(seconds=1))

    assert len(woken(broker)) == 1


def test_a_lease_that_ran_out_is_settled_and_woken_again(store, broker, clock, relay):
    id = plan(store, clock())
    with store.begin() as tx:
        tx.deliveries.claim(id, "dead worker", clock(), timedelta(minutes=5))

    assert relay.step(clock.advance(minutes=4)) == 0
    assert relay.step(clock.advance(minutes=2)) == 1
    with store.begin(write=False) as tx:
        assert tx.deliveries.get(id).state is DeliveryState.DUE


def test_a_clock_that_is_set_back_delays_nothing_doubles_nothing_and_is_told(store, broker, clock, relay):
    announced = plan(store, clock(), patient=internal("announced"))
    relay.step(clock())
    taken = plan(store, clock(), patient=internal("taken"))
    new = plan(store, clock(), patient=internal("new"))
    with store.begin() as tx:
        tx.deliveries.claim(taken, "worker", clock(), timedelta(minutes=5))

    with structlog.testing.capture_logs() as logs:
        assert relay.step(clock.advance(hours=-1)) == 1
        assert relay.step(clock.advance(seconds=1)) == 0

    assert woken(broker) == [str(announced), str(new)]
    with store.begin(write=False) as tx:
        assert tx.deliveries.get(taken).state is DeliveryState.SENDING
        (noted,) = tx.audit.find(action=SET_BACK)
    assert noted.detail == "by 1:00:00"
    assert [line["event"] for line in logs].count(
        "the clock was set back; what waits is due as soon as it was before"
    ) == 1
    assert relay.step(clock.advance(seconds=60)) == 2
    assert relay.step(clock.advance(minutes=4)) == 3


def test_a_clock_that_was_set_back_while_nothing_ran_is_noticed_at_the_start(store, broker, clock, relay):
    plan(store, clock())
    with store.begin() as tx:
        tx.audit.write([AuditEvent(clock(), "stopped", "embedded", "process/embedded")])
    clock.advance(hours=-1)

    assert relay.step(clock()) == 1
    assert Relay(store, broker, {"edc": EDC}, may_leave, clock, settings=SETTINGS).step(clock()) == 0
    with store.begin(write=False) as tx:
        assert len(tx.audit.find(action=SET_BACK)) == 1


def test_feeds_and_receipts_are_looked_at_though_the_clock_was_set_back(store, broker, clock, relay):
    publish(store, broker, clock, 1)
    broker.take("registry")  # the queue lost it
    relay.step(clock())
    store.receive([incoming()])
    relay.step(clock.advance(hours=-1))
    assert broker.depths()["translate"] == 1

    relay.step(clock.advance(seconds=61))
    assert [one.message_id for one in broker.take("registry")] == ["m1.1.1"]


@pytest.mark.usefixtures("in_rome")
@pytest.mark.parametrize(
    "moment", ["2024-02-29T23:59:59+00:00", "2026-03-29T00:59:59+00:00", "2026-10-25T00:59:59+00:00"]
)
def test_what_is_due_across_a_leap_day_or_a_change_of_summer_time_is_due_when_its_wait_is_over(
    moment, store, clock, relay
):
    clock.now = datetime.fromisoformat(moment)
    id = plan(store, clock())
    with store.begin() as tx:
        claimed = tx.deliveries.claim(id, "worker", clock(), timedelta(minutes=5))
        failed = settle(claimed, Deferred("HTTP 503", timedelta(hours=2)), clock(), EDC.retry, 10)
        tx.deliveries.save(failed, None, "worker")

    assert relay.step(clock.advance(hours=2, seconds=-1)) == 0
    assert relay.step(clock.advance(seconds=1)) == 1


def test_stored_messages_nudge_the_translators(store, broker, clock, relay):
    relay.step(clock())
    assert broker.depths()["translate"] == 0

    store.receive([incoming()])
    relay.step(clock.advance(seconds=3))

    assert broker.depths()["translate"] == 1


def test_a_nudge_is_answered_at_once_and_not_at_the_next_interval(store, broker, clock):
    slow = replace(SETTINGS, interval=timedelta(minutes=5))
    relay = Relay(store, broker, {"edc": EDC}, may_leave, clock, settings=slow)
    with running(relay.run):
        wait_for(lambda: broker.depths()["relay"] == 0)
        plan(store, clock())
        broker.nudge("relay")
        wait_for(lambda: broker.depths()["deliver.edc"] == 1)


def test_a_broker_that_is_away_is_waited_for_and_told_once(store, broker, clock, relay):
    broker.away = True
    plan(store, clock())
    with structlog.testing.capture_logs() as logs, running(relay.run):
        wait_for(lambda: any(line["event"] == "the relay cannot work" for line in logs))
        broker.nudge("relay")
        broker.nudge("relay")
        broker.away = False
        broker.nudge("relay")
        wait_for(lambda: broker.depths()["deliver.edc"] == 1)
        wait_for(lambda: any(line["event"] == "the relay works again" for line in logs))

    assert [line["event"] for line in logs].count("the relay cannot work") == 1


def event(number):
    return Event("registry.mld-01.Observation.created", b'{"resourceType":"Observation"}', f"m{number}.1.{number}")


def publish(store, broker, clock, *numbers):
    events = [event(number) for number in numbers]
    broker.publish(events)
    RecipientOutbox(store, "registry", clock).keep([(1, event) for event in events])


def outbox(store, clock):
    with store.begin(write=False) as tx:
        found = tx.outbox.unreceipted("registry", clock() + timedelta(days=99), 100)
    return [each.message_id for each in found]


def test_an_event_without_a_receipt_is_published_again_with_the_same_message_id(store, broker, clock, relay):
    publish(store, broker, clock, 1, 2)
    broker.take("registry")  # the queue lost them

    relay.step(clock.advance(seconds=30))
    assert broker.depths()["recipient.registry"] == 0
    relay.step(clock.advance(seconds=31))

    assert [one.message_id for one in broker.take("registry")] == ["m1.1.1", "m2.1.2"]
    relay.step(clock.advance(seconds=30))
    assert broker.depths()["recipient.registry"] == 0


def test_an_event_that_may_no_longer_leave_is_forgotten_and_that_is_audited(store, broker, clock, relay):
    publish(store, broker, clock, 1, 9)
    broker.take("registry")  # the queue lost them

    relay.step(clock.advance(seconds=61))

    assert [one.message_id for one in broker.take("registry")] == ["m1.1.1"]
    assert outbox(store, clock) == ["m1.1.1"]
    with store.begin(write=False) as tx:
        assert [(each.actor, each.subject) for each in tx.audit.find(action="withheld")] == [("registry", "delivery/1")]


def test_events_that_still_wait_in_the_queue_are_not_doubled(store, broker, clock, relay):
    publish(store, broker, clock, 1, 2)

    relay.step(clock.advance(minutes=10))
    assert broker.depths()["recipient.registry"] == 2

    relay.step(clock.advance(hours=1))
    assert broker.depths()["recipient.registry"] == 4


def test_a_receipt_ends_the_waiting(store, broker, clock, relay):
    publish(store, broker, clock, 1, 2)
    for one in broker.take("registry"):
        broker.give_receipt("registry", one.message_id)
    broker.give_receipt("registry", "never heard of")

    with running(lambda stop: record_receipts(store, broker, stop)):
        wait_for(lambda: not outbox(store, clock))

    relay.step(clock.advance(hours=2))
    assert broker.depths()["recipient.registry"] == 0


def test_another_recipient_cannot_sign_for_an_event(store, broker, clock, relay):
    publish(store, broker, clock, 1)
    broker.give_receipt("edc", "m1.1.1")

    with running(lambda stop: record_receipts(store, broker, stop)):
        wait_for(lambda: broker.depths()["receipts"] == 0)

    assert outbox(store, clock) == ["m1.1.1"]


def test_after_the_keeping_time_an_event_is_let_go_and_that_is_audited(store, broker, clock, relay):
    publish(store, broker, clock, 1)

    relay.step(clock.advance(days=8))
    relay.step(clock.advance(days=1))

    assert outbox(store, clock) == []
    with store.begin(write=False) as tx:
        assert [(each.actor, each.detail) for each in tx.audit.find(action=EXPIRED)] == [("registry", "1 events")]


def test_a_backlog_is_woken_in_few_wake_ups(store, broker, clock):
    relay = Relay(store, broker, {"edc": EDC}, may_leave, clock)
    ids = [plan(store, clock(), patient=internal(str(number))) for number in range(300)]

    assert relay.step(clock()) == 300

    bodies = woken(broker)
    assert [id for body in bodies for id in ids_of(body)] == ids
    assert len(bodies) < 20


def test_what_was_announced_before_a_broker_that_forgets_began_is_announced_again(store, broker, clock, relay):
    plan(store, clock())
    relay.step(clock())
    clock.advance(seconds=1)
    restarted = EmbeddedBroker()
    restarted.declare(["edc"])
    forgets = replace(SETTINGS, broker_forgets=True)
    again = Relay(store, restarted, {"edc": EDC}, may_leave, clock, settings=forgets)

    assert again.step(clock.advance(seconds=1)) == 1
    assert again.step(clock.advance(seconds=1)) == 0
    assert relay.step(clock()) == 0


def test_a_relay_that_fails_leaves_no_thread_behind(store, broker, clock):
    def broken(tx, event, now):
        raise KeyError

    publish(store, broker, clock, 1)
    broker.take("registry")  # the queue lost it
    relay = Relay(store, broker, {"registry": QUEUED}, broken, clock, settings=SETTINGS)
    clock.advance(hours=1)

    with pytest.raises(KeyError):
        relay.run(lambda: False)

    assert not [one for one in threading.enumerate() if one.name == "relay-nudges"]
