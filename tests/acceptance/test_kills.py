"""``kill -9`` at each step of the way, the process held there from outside: the end is that of an undisturbed run."""

from __future__ import annotations

import itertools
import os
import re
import signal
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from gateway.settings import load
from tests.acceptance.test_crashes import assert_same_end, processes_of
from tests.contracts.waiting import PATIENCE, wait_for
from tests.deployment import Deployment, Limits
from tests.ends import end_of
from tests.load import ACCEPTED, MONITOR, enrolment, histories, result, values
from tests.servers.proxy import Proxy
from tests.story import play

PATIENT = 7


class Way:
    """A process for each role; what each asks of PostgreSQL, RabbitMQ and the recipients passes a proxy of its own."""

    def __init__(self, folder, database_url, broker_url):
        self._database_url = database_url
        self.databases = {role: _before(database_url) for role in ("listen", "translate", "deliver")}
        self.brokers = {role: _before(broker_url) for role in ("relay", "deliver")}
        own = defaultdict(dict)
        for role, proxy in self.databases.items():
            own[role]["GATEWAY_DATABASE_URL"] = _through(proxy, database_url)
        for role, proxy in self.brokers.items():
            own[role]["GATEWAY_BROKER_URL"] = _through(proxy, broker_url)
        self.deployment = Deployment(
            folder,
            database_url=database_url,
            broker_url=broker_url,
            processes=5,
            own=own,
            recipients={"monitor": MONITOR},
            limits=Limits(translate="workers = 1"),
        )
        self.recipients = {}
        for id, address in self.deployment.trial_systems.addresses.items():
            path = self.deployment.config / "recipients" / f"{id}.toml"
            self.recipients[id] = _before(address)
            path.write_text(path.read_text().replace(address, _through(self.recipients[id], address)))
        self._versions = itertools.count(1)
        self._sent = [enrolment(PATIENT)]

    @property
    def proxies(self):
        return [*self.databases.values(), *self.brokers.values(), *self.recipients.values()]

    def close(self):
        for proxy in self.proxies:
            proxy.close()

    def next(self):
        """Return the next version of the patient's result."""
        message = result(PATIENT, 1, next(self._versions))
        self._sent.append(message)
        return message

    def crash(self, name, *, together=False):
        """Kill a process, or with ``together`` those it started too, lose what was held for it, and start it again."""
        if together:
            os.killpg(self.deployment.members[name].running.pid, signal.SIGKILL)
        self.deployment.kill(name)
        for proxy in self.proxies:
            proxy.cut()
        self.deployment.restart(name)

    def stored(self, message):
        """How often a message is stored, in whatever state."""
        control_id = message.raw.split(b"|")[9].decode()
        return self.ask("SELECT count(*) FROM messages WHERE control_id = %s", control_id)

    def state_of(self, message):
        control_id = message.raw.split(b"|")[9].decode()
        return self.ask("SELECT state FROM messages WHERE control_id = %s", control_id)

    def ask(self, query, *values):
        with psycopg.connect(self._database_url) as connection:
            return connection.execute(query, values).fetchone()[0]

    def assert_undisturbed(self, tmp_path):
        """Everything comes to what it comes to without any trouble, and no far end was told anything twice."""
        self.deployment.settle()
        unit = load(self.deployment.config, {"GATEWAY_DATA": str(tmp_path)})
        year = play(unit, messages=self._sent)
        try:
            assert_same_end(self.deployment, end_of(year.store, year.received))
        finally:
            year.store.close()
        systems = self.deployment.trial_systems
        every_version = {(PATIENT, 1): list(range(1, len(self._sent)))}
        assert histories(values(systems.told["registry"])) == every_version
        assert histories(values(systems.told["monitor"])) == every_version
        assert systems.altered == []


def _before(address):
    return Proxy(int(re.search(r"127\.0\.0\.1:(\d+)", address)[1]))


def _through(proxy, address):
    return re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{proxy.port}", address)


@pytest.fixture(scope="module")
def way(tmp_path_factory, new_postgres_database, new_virtual_host, captured):
    made = Way(tmp_path_factory.mktemp("way"), new_postgres_database(), new_virtual_host().url)
    try:
        with made.deployment as deployment:
            assert deployment.send(enrolment(PATIENT)) in ACCEPTED
            deployment.settle()
            yield made
    finally:
        made.close()


COMMITTED = pytest.mark.parametrize("committed", [False, True], ids=["before-the-commit", "before-it-knows-of-it"])


@COMMITTED
def test_killed_while_a_message_is_stored(way, tmp_path, committed):
    message = way.next()
    control_id = message.raw.split(b"|")[9]
    trap = way.databases["listen"].trap(control_id, b"COMMIT", answers=committed)
    with ThreadPoolExecutor(1) as sender:
        answer = sender.submit(way.deployment.try_once, message)
        assert trap.sprung.wait(PATIENCE)
        wait_for(lambda: way.stored(message) == committed, what="the commit")
        way.crash("listen")
        assert answer.result() == "", "it was acknowledged: the test would prove nothing"
    assert way.stored(message) == committed
    assert way.deployment.send(message) in ACCEPTED
    assert way.stored(message) == 1
    way.assert_undisturbed(tmp_path)


def test_killed_while_a_message_is_translated(way, tmp_path):
    message = way.next()
    session = way.deployment.members["translate"].running.pid
    for process in processes_of(session):
        if process != session:
            os.kill(process, signal.SIGSTOP)
    assert way.deployment.send(message) in ACCEPTED
    lane = way.ask("SELECT lane FROM messages ORDER BY id DESC LIMIT 1")
    wait_for(lambda: way.ask("SELECT owner FROM lanes WHERE lane = %s", lane) == "translate", what="the lane's claim")
    way.crash("translate", together=True)
    way.assert_undisturbed(tmp_path)


@COMMITTED
def test_killed_while_a_translation_is_written(way, tmp_path, committed):
    message = way.next()
    trap = way.databases["translate"].trap(b"translated", b"COMMIT", answers=committed)
    assert way.deployment.send(message) in ACCEPTED
    assert trap.sprung.wait(PATIENCE)
    wait_for(lambda: (way.state_of(message) == "translated") == committed, what="the commit")
    way.crash("translate")
    way.assert_undisturbed(tmp_path)


def test_killed_when_a_wake_up_was_published_and_not_confirmed(way, tmp_path):
    message = way.next()
    before = way.deployment.trial_systems.taken
    trap = way.brokers["relay"].trap(b"deliver.edc", answers=True)
    assert way.deployment.send(message) in ACCEPTED
    assert trap.sprung.wait(PATIENCE)
    wait_for(lambda: way.deployment.trial_systems.taken["edc"] != before["edc"], what="what the wake-up asked for")
    way.crash("relay")
    way.assert_undisturbed(tmp_path)


def test_killed_when_an_event_was_published_and_not_confirmed(way, tmp_path):
    message = way.next()
    systems = way.deployment.trial_systems
    before = systems.taken["monitor"]
    trap = way.brokers["deliver"].trap(b"monitor.mld.Observation", answers=True)
    assert way.deployment.send(message) in ACCEPTED
    assert trap.sprung.wait(PATIENCE)
    wait_for(lambda: systems.taken["monitor"] != before, what="the event")
    way.crash("deliver")
    way.assert_undisturbed(tmp_path)
    event = systems.taken["monitor"][-1]
    wait_for(lambda: event in systems.repeats["monitor"], what="the event once more, under the same id")


@pytest.mark.parametrize("accepted", [False, True], ids=["mid-delivery", "between-acceptance-and-settling"])
def test_killed_while_it_delivers(way, tmp_path, accepted):
    message = way.next()
    systems = way.deployment.trial_systems
    before = systems.taken
    traps = [proxy.trap(b"POST ", answers=accepted) for proxy in way.recipients.values()]
    assert way.deployment.send(message) in ACCEPTED
    assert all(trap.sprung.wait(PATIENCE) for trap in traps)
    for id in way.recipients:
        wait_for(lambda id=id: (systems.taken[id] != before[id]) == accepted, what=f"what {id} takes")
    way.crash("deliver")
    way.assert_undisturbed(tmp_path)
    again = set(systems.repeats["registry"]) & set(systems.taken["registry"][len(before["registry"]) :])
    assert bool(again) == accepted, "it repeats what may have arrived, under the same delivery id, and nothing else"


def test_killed_when_it_has_settled_and_does_not_know_it(way, tmp_path):
    message = way.next()
    before = way.deployment.trial_systems.repeats["registry"]
    held = "SELECT count(*) FROM attempts JOIN deliveries ON deliveries.id = delivery"
    query = f"{held} WHERE recipient = 'registry' AND outcome = 'accepted'"
    count = way.ask(query)
    trap = way.databases["deliver"].trap(b" to registry, ", b"COMMIT", answers=True)
    assert way.deployment.send(message) in ACCEPTED
    assert trap.sprung.wait(PATIENCE)
    wait_for(lambda: way.ask(query) > count, what="the commit")
    way.crash("deliver")
    way.assert_undisturbed(tmp_path)
    assert way.deployment.trial_systems.repeats["registry"] == before, "what was settled is not repeated"
