"""What was released once is not sent again to somebody who may no longer have it."""

from __future__ import annotations

import pytest

from gateway.ports import Unreceipted
from gateway.services.still import may_still_leave
from tests.releasing import World, a_consent, a_patient, a_subject, an_observation, recipient


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path, recipient("registry", kind="amqp"))
    made.write(a_patient(), a_consent(), a_subject(), an_observation())
    yield made
    made.close()


def may(world, change="created", delivery=None):
    delivery = delivery or world.cursor("registry").id
    event = Unreceipted("m.1.1", delivery, f"registry.mld.Observation.{change}", b"{}")
    with world.store.begin(write=False) as tx:
        return may_still_leave(world.policy, tx, event, world.now)


def test_an_event_is_published_again_while_the_consent_stands(world):
    assert may(world)


def test_after_a_withdrawal_only_retractions_are(world):
    world.write(a_consent(status="inactive"))

    assert not may(world)
    assert may(world, "retracted")


def test_an_event_of_a_delivery_nobody_knows_is_not(world):
    assert not may(world, delivery=999)


def test_an_event_for_a_recipient_whose_file_is_gone_is_not(world):
    event = Unreceipted("m.1.1", world.cursor("registry").id, "registry.mld.Observation.created", b"{}")
    world.configure(recipient("edc"))

    with world.store.begin(write=False) as tx:
        assert not may_still_leave(world.policy, tx, event, world.now)
