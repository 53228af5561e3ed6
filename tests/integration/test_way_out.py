"""The way out on real servers: rows to wake-ups to attempts to a trial system, with RabbitMQ wiped on the way."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from adapters.recipient.amqp import Amqp
from adapters.recipient.fhir_server import FhirServer
from fixtures.standins.fhir import FhirStandIn
from fixtures.standins.queues import QueueStandIn
from gateway.model.delivery import Package, Packed, View
from gateway.services.deliver import Deliver
from gateway.services.delivery_worker import DeliveryWorker
from gateway.services.receipts import RecipientOutbox, record_receipts
from gateway.services.relay import Relay, RelaySettings
from tests.contracts.brokers import RabbitBench
from tests.contracts.deliveries import plan
from tests.contracts.packages import internal, observation, patient, recipient, released
from tests.contracts.waiting import running, wait_for

SUBJECTS = [f"s{number}" for number in range(8)]
SETTINGS = RelaySettings(
    interval=timedelta(seconds=0.1),
    republish_after=timedelta(seconds=2),
    receipt_after=timedelta(seconds=2),
    look_at_receipts_every=timedelta(seconds=0.5),
)


def utc_now():
    return datetime.now(UTC)


class SubjectPackager:
    """Packs a Patient and an Observation of the subject a cursor is about."""

    def package(self, delivery, now):
        name = next(one for one in SUBJECTS if internal(one) == delivery.patient)
        body = {**observation(f"o-{name}", subject=name), "issued": "2025-03-01T00:00:00Z"}
        body["valueQuantity"]["value"] = delivery.planned
        entries = (released(patient(name, name)), released(body, version=delivery.planned))
        return Packed(Package(delivery.delivery_id, delivery.view, entries), delivery.planned)

    def package_many(self, deliveries, now):
        return [self.package(delivery, now) for delivery in deliveries]


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


@pytest.fixture
def bench(rabbitmq):
    made = RabbitBench(rabbitmq, 20)
    made.broker.declare(["edc", "registry"], {"registry": 1_000_000})
    yield made
    made.close()


def test_nothing_is_lost_or_doubled_when_rabbitmq_is_wiped_in_the_middle(store, bench):
    broker = bench.broker
    server = FhirStandIn()
    edc = recipient(address=server.address)
    registry = replace(recipient("amqp"), id="registry")
    adapters = {
        "edc": FhirServer(edc),
        "registry": Amqp(registry, broker, RecipientOutbox(store, "registry", utc_now)),
    }
    recipients = {"edc": edc, "registry": registry}
    deliver = Deliver(store, recipients, adapters, SubjectPackager(), utc_now, "w1")
    relay = Relay(store, broker, recipients, lambda *_: True, utc_now, settings=SETTINGS)

    def plan_all(upto):
        for name in recipients:
            for subject in SUBJECTS:
                plan(store, utc_now(), upto, View(name, "mld-01"), internal(subject))
        broker.nudge("relay")

    def held(resources):
        values = {one["subject"]["reference"]: int(one["valueQuantity"]["value"]) for one in resources}
        return set(values.values()) if len(values) == len(SUBJECTS) else set()

    with ExitStack() as roles:
        roles.callback(server.close)
        roles.callback(adapters["edc"].close)
        roles.enter_context(running(relay.run))
        roles.enter_context(running(lambda stop: record_receipts(store, broker, stop)))
        for name in recipients:
            roles.enter_context(running(DeliveryWorker(name, deliver, broker).run))

        plan_all(1)
        wait_for(lambda: held(server.of_type("Observation")) == {1})
        wait_for(lambda: broker.depths()["recipient.registry"] >= 2 * len(SUBJECTS))
        bench.wipe()  # the wake-ups and the registry's unread events with it
        plan_all(2)

        reader = QueueStandIn("registry", url=bench.url, prefix=broker.names.prefix)
        roles.callback(reader.close)
        wait_for(lambda: held(server.of_type("Observation")) == {2})
        wait_for(lambda: len(reader.messages) == 4 * len(SUBJECTS), what="every event, the wiped ones included,")
        wait_for(lambda: not unreceipted(store))

    assert {key.split(".")[2] for key in reader.keys} == {"Patient", "Observation"}
    assert len(set(reader.messages)) == len(reader.messages)
    assert held([one for one in reader.resources.values() if one["resourceType"] == "Observation"]) == {2}
    assert server.repeats == []


def unreceipted(store):
    with store.begin(write=False) as tx:
        return tx.outbox.unreceipted("registry", utc_now() + timedelta(days=1), 100)
