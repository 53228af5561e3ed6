"""The fictional year and deployments to play it into."""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pika
import pytest

from fixtures.story import story
from gateway.cli.demo import Demo
from gateway.settings import load
from tests.deployment import ROOT, Deployment, clean_environment, write_keys
from tests.ends import end_of


@pytest.fixture(scope="session")
def year():
    """The messages of the fictional year, in order."""
    return story()


WANTED = os.environ.get("FHIR_CAPTURE")
OURS = TemporaryDirectory(prefix="gateway-captured-")
CAPTURED = Path(WANTED) / f"acceptance-{os.getpid()}" if WANTED else Path(OURS.name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Keep what trial systems receive in these tests, and in no other tests that this process happens to run."""
    with pytest.MonkeyPatch.context() as patch:
        if Path(__file__).parent in item.path.parents:
            patch.setenv("FHIR_CAPTURE", str(CAPTURED))
        return (yield)


@pytest.fixture(scope="session")
def captured():
    """The folder that every FHIR document the stand-ins receive is written into."""
    return CAPTURED


class VirtualHost:
    """A virtual host of the private RabbitMQ, for one deployment."""

    def __init__(self, node, name):
        self._node = node
        self.name = name
        self.url = node.add_virtual_host(name)

    def wipe(self):
        """Lose every exchange, queue, message and connection."""
        self._node.control("delete_vhost", self.name)
        self._node.add_virtual_host(self.name)

    def declared(self):
        """Every exchange, queue and binding with its arguments, as an administrator lists them."""
        listings = (("exchanges", "name"), ("queues", "name"), ("bindings", "routing_key"))
        return "\n".join(
            self._node.control(f"list_{what}", "-p", self.name, name, "arguments") for what, name in listings
        )

    def trace(self):
        """Note what is published from now on, whatever the exchange: RabbitMQ's firehose."""
        self._node.control("trace_on", "-p", self.name)
        return Firehose(self.url)


class Firehose:
    """Everything that is published in a virtual host: ``heads`` holds exchanges, routing keys and properties."""

    def __init__(self, url):
        self.heads = []
        self._stop = threading.Event()
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = self._connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "amq.rabbitmq.trace", "publish.#")
        self._thread = threading.Thread(target=self._read, args=(channel, queue), daemon=True)
        self._thread.start()

    def _read(self, channel, queue):
        for method, properties, _ in channel.consume(queue, auto_ack=True, inactivity_timeout=0.2):
            if method is not None:
                self.heads.append(f"{method.routing_key} {properties.headers}")
            if self._stop.is_set():
                return

    def close(self):
        self._stop.set()
        self._thread.join(60)
        self._connection.close()


@pytest.fixture(scope="session")
def new_virtual_host(rabbitmq):
    numbers = itertools.count(1)
    return lambda: VirtualHost(rabbitmq, f"deployment-{next(numbers)}")


@pytest.fixture(scope="session")
def deploy(tmp_path_factory, new_postgres_database, new_virtual_host, captured):
    """Makes deployments on PostgreSQL and RabbitMQ, or embedded; each on databases and queues of its own."""

    def make(*, processes=1, embedded=False):
        folder = tmp_path_factory.mktemp("deployment")
        if embedded:
            return Deployment(folder)
        host = new_virtual_host()
        made = Deployment(folder, database_url=new_postgres_database(), broker_url=host.url, processes=processes)
        made.virtual_host = host
        return made

    return make


@pytest.fixture(scope="session")
def embedded(tmp_path_factory, captured):
    """The end of the year in one process without any server: what the demo does, with the keys of the tests."""
    folder = tmp_path_factory.mktemp("embedded")
    environment = {"GATEWAY_DATA": str(folder / "data"), "GATEWAY_KEY_FILE": str(write_keys(folder / "keys.json"))}
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - clean_environment().keys():
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        with Demo(load(ROOT / "fixtures" / "config", environment)) as demo:
            demo.play()
            return end_of(demo.gateway.store, demo.received)


@pytest.fixture(scope="session")
def lived(deploy, year):
    """One process on PostgreSQL and RabbitMQ that has lived through the year and still runs."""
    with deploy() as deployment:
        deployment.firehose = deployment.virtual_host.trace()
        deployment.play_and_note(year)
        yield deployment
        deployment.firehose.close()
        deployment.stop()
