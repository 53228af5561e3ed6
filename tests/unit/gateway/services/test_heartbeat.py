"""When a process runs stands in the audit trail."""

import pytest

from gateway.services.heartbeat import Heartbeat
from tests.contracts.waiting import running, wait_for
from tests.releasing import NOON, recipient, world


@pytest.fixture
def store(tmp_path):
    with world(tmp_path, recipient()) as made:
        yield made.store


def lines(store):
    with store.begin(write=False) as tx:
        return [(line.action, line.actor, line.detail) for line in tx.audit.find()][::-1]


def test_a_process_is_noted_once_when_it_starts_and_once_when_it_has_stopped(store):
    heartbeat = Heartbeat(store, "host-1", ("deliver", "relay"), lambda: NOON)

    with running(heartbeat.run):
        wait_for(lambda: lines(store))
        assert lines(store) == [("started", "host-1", "deliver relay")]
        heartbeat.end()

    assert lines(store) == [("started", "host-1", "deliver relay"), ("stopped", "host-1", "deliver relay")]
