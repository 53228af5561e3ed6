"""The fictional year and deployments to play it into."""

from __future__ import annotations

import itertools

import pytest

from gateway.cli.demo import story
from tests.deployment import Deployment


@pytest.fixture(scope="session")
def year():
    """The messages of the fictional year, in order."""
    return story()


@pytest.fixture(scope="session")
def captured(tmp_path_factory):
    """The folder that every FHIR document the stand-ins receive is written into."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("captured")
        patch.setenv("FHIR_CAPTURE", str(folder))
        yield folder


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

    def queue_names(self):
        return self._node.control("list_queues", "-p", self.name, "name").split()


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
