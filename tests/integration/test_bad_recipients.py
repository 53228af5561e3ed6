"""One bad recipient never slows another: the healthy one has everything while the others still hang, drip or fail."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from adapters.recipient.fhir_server import FhirServer
from adapters.recipient.webhook import Webhook
from fixtures.standins.fhir import FhirStandIn
from gateway.model.delivery import View
from gateway.services.deliver import Deliver
from gateway.services.delivery_worker import DeliveryWorker
from gateway.services.relay import Relay, RelaySettings
from tests.contracts.brokers import EmbeddedBench, RabbitBench
from tests.contracts.deliveries import FixedPackager, plan
from tests.contracts.far_end import FarEnd, answer
from tests.contracts.packages import internal, observation, patient, recipient, released
from tests.contracts.waiting import PATIENCE, running, wait_for

PAIR = (released(patient()), released(observation()))
PATIENTS = [internal(str(number)) for number in range(60)]
ADAPTERS = {"webhook": Webhook, "fhir_server": FhirServer}
THREADS = 4
SETTINGS = RelaySettings(interval=timedelta(seconds=0.05), batch=40, republish_after=timedelta(seconds=1))


def utc_now():
    return datetime.now(UTC)


@pytest.fixture(params=["embedded", "rabbitmq"])
def bench(request):
    made = EmbeddedBench(20) if request.param == "embedded" else RabbitBench(request.getfixturevalue("rabbitmq"), 20)
    yield made
    made.close()


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


class Bad:
    """Far ends that are no good: ``silent`` says nothing until ``released``, ``busy`` asks to come again at once."""

    def __init__(self):
        self.released = threading.Event()
        self.ends = {
            "silent": FarEnd(lambda _: self.released.wait(PATIENCE) and None),
            "failing": FarEnd(lambda _: answer(500)),
            "busy": FarEnd(lambda _: answer(429, Retry_After="0")),
        }

    def close(self):
        self.released.set()
        for end in self.ends.values():
            end.close()


def test_the_healthy_recipients_have_everything_while_the_bad_ones_hang(store, bench, monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", "only for this test")
    with ExitStack() as ends:
        bad, good = Bad(), FhirStandIn()
        ends.callback(good.close)
        ends.callback(bad.close)
        kinds = {"silent": "webhook", "failing": "fhir_server", "busy": "fhir_server", "zeta": "fhir_server"}
        addresses = {id: end.address for id, end in bad.ends.items()} | {"zeta": good.address}
        recipients = {
            id: replace(recipient(kind, address=addresses[id], timeout=PATIENCE, secret_env="HOOK_SECRET"), id=id)
            for id, kind in kinds.items()
        }
        adapters = {id: ADAPTERS[one.kind](one) for id, one in recipients.items()}
        for adapter in adapters.values():
            ends.callback(adapter.close)
        bench.broker.declare(list(recipients))
        deliver = Deliver(store, recipients, adapters, FixedPackager(PAIR), utc_now, "w1")
        for id in recipients:  # the good one last: whatever is first come, first served, the bad ones come first
            for name in PATIENTS:
                plan(store, utc_now(), view=View(id, "mld-01"), patient=name)
        relay = Relay(store, bench.broker, recipients, lambda *_: True, utc_now, settings=SETTINGS)
        ends.enter_context(running(relay.run))
        for id in recipients:
            worker = DeliveryWorker(id, deliver, bench.broker, THREADS, grace=0.1)
            ends.enter_context(running(worker.run))

        wait_for(lambda: len(bad.ends["silent"].seen) == THREADS, what="attempts that hang")
        wait_for(lambda: len(good.deliveries) == len(PATIENTS), what="everything at the healthy recipient")

        assert not bad.released.is_set()
        assert len(bad.ends["silent"].seen) == THREADS
        wait_for(lambda: bad.ends["failing"].seen and bad.ends["busy"].seen, what="attempts that fail")
        assert good.repeats == []
        for name in PATIENTS[:10]:  # and it goes on so, after the backlog of the others has been announced again
            plan(store, utc_now(), 11, View("zeta", "mld-01"), name)
        wait_for(lambda: len(good.deliveries) == len(PATIENTS) + 10, what="what is new at the healthy recipient")
        assert not bad.released.is_set()
