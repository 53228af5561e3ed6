"""RabbitMQ stopped, killed, out of disk, cut in the middle of a confirm: messages are taken in, everything arrives."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.story import decides
from tests.acceptance.test_crashes import assert_same_end
from tests.acceptance.test_shutdown import longest_run
from tests.contracts.waiting import PATIENCE, wait_for
from tests.deployment import Deployment
from tests.servers import rabbitmq
from tests.servers.proxy import Proxy


class Node:
    """A RabbitMQ of this module's own, to be ill-treated, behind a proxy."""

    def __init__(self, folder):
        self.rabbit, self._running = rabbitmq.start(folder)
        self.proxy = Proxy(self.rabbit.port)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.proxy.port}/%2F"

    def close(self):
        self.proxy.close()
        rabbitmq.stop(self.rabbit, self._running)

    def connections(self):
        """The states of the connections, as an administrator lists them."""
        return self.rabbit.control("list_connections", "state").split()

    @contextmanager
    def stopped(self):
        """Inside, the node is shut down as an administrator does."""
        self.rabbit.control("stop")
        self._running.wait(PATIENCE)
        yield
        self._running = rabbitmq.run(self.rabbit)

    @contextmanager
    def killed(self):
        """Inside, the node is gone without a word."""
        os.killpg(self._running.pid, signal.SIGKILL)
        self._running.wait(PATIENCE)
        yield
        self._running = rabbitmq.run(self.rabbit)

    @contextmanager
    def out_of_disk(self):
        """Inside, the node's disk alarm blocks everybody who publishes."""
        self.rabbit.control("set_disk_free_limit", "1000000GB")
        yield
        self.rabbit.control("set_disk_free_limit", "50MB")

    @contextmanager
    def cut_in_a_confirm(self):
        """Inside, what is published arrives and its confirm does not; at the end the connections are cut."""
        self.proxy.hold_answers()
        before = self.proxy.asked
        yield
        wait_for(lambda: self.proxy.asked > before, what="something published")
        self.proxy.cut()

    @contextmanager
    def unreachable(self):
        """Inside, no connection comes through."""
        self.proxy.refuse()
        yield
        self.proxy.accept()


TROUBLES = ("stopped", "killed", "out_of_disk", "cut_in_a_confirm", "unreachable")


@pytest.fixture(scope="module")
def node():
    folder = Path(tempfile.mkdtemp(prefix="gateway-rabbitmq-"))
    folder.chmod(0o755)
    made = Node(folder)
    yield made
    made.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.usefixtures("captured")
def test_whatever_happens_to_rabbitmq_messages_are_taken_in_and_everything_arrives(
    node, tmp_path, year, embedded, new_postgres_database
):
    calm = quiet_stretches(year, len(TROUBLES))
    with Deployment(tmp_path, database_url=new_postgres_database(), broker_url=node.url) as deployment:
        start = 0
        for trouble, (first, last) in zip(TROUBLES, calm, strict=True):
            deployment.play(year[start:first])
            with getattr(node, trouble)():
                answers = [deployment.send(message) for message in year[first:last]]
            assert set(answers) <= {"AA", "CA", "AE", "CE", "AR", "CR"}, trouble
            deployment.settle()
            start = last
        deployment.play(year[start:])
        assert_same_end(deployment, embedded)
        deployment.stop()


@pytest.mark.usefixtures("captured")
def test_sigterm_is_heard_in_time_though_rabbitmq_confirms_nothing(
    node, tmp_path, year, embedded, new_postgres_database
):
    first, last = longest_run(year)
    with Deployment(tmp_path, database_url=new_postgres_database(), broker_url=node.url) as deployment:
        deployment.play(year[:first])
        with node.out_of_disk():
            for message in year[first:last]:
                deployment.send(message)
            wait_for(lambda: "blocked" in node.connections(), what="a publisher that is blocked")
            deployment.stop()
        deployment.run()
        deployment.play(year[last:])
        assert_same_end(deployment, embedded)
        deployment.stop()


def quiet_stretches(year, count):
    """Pairs of places between which messages come in over the network and decide nothing, spread over the year."""
    found = []
    for number, (one, other) in enumerate(itertools.pairwise(year)):
        fit = not any(each.feed == "ankara" or decides(each) for each in (one, other))
        if fit and (not found or number >= found[-1][1]):
            found.append((number, number + 2))
    return [found[(place + 1) * len(found) // (count + 1)] for place in range(count)]
