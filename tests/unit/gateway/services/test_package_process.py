"""Packing in a process that may be killed."""

import os
import signal
from datetime import UTC, datetime
from functools import partial

import pytest

from gateway.errors import GatewayError, StoreUnavailable
from gateway.model.delivery import Delivery, DeliveryState, Packed, View
from gateway.services.package_process import ProcessPackager

NOON = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
DEADLY, DEADLY_ONCE, SPOILT = "deadly", "deadly once", "spoilt"


class Mortal:
    """A packager that some patients kill, and that fails at another."""

    def __init__(self, once):
        self._once = once

    def package_many(self, deliveries, now):
        return [self._pack(delivery) for delivery in deliveries]

    def _pack(self, delivery):
        if delivery.patient == DEADLY or (delivery.patient == DEADLY_ONCE and self._once.exists()):
            self._once.unlink(missing_ok=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if delivery.patient == SPOILT:
            try:
                return {}["a value nobody may read"]
            except KeyError as error:
                return error
        return Packed(None, delivery.planned, grounds=str(os.getpid()))


def away():
    raise StoreUnavailable("the database does not answer")


@pytest.fixture
def packager(tmp_path):
    once = tmp_path / "once"
    once.touch()
    made = ProcessPackager(partial(Mortal, once))
    yield made
    made.close()


def deliveries(*patients):
    return [
        Delivery(number, View("edc", "mld"), patient, DeliveryState.SENDING, 0, number, None, 1, 0, None)
        for number, patient in enumerate(patients, 1)
    ]


def test_cursors_are_packed_in_their_order_beside_this_process(packager):
    first, second = packager.package_many(deliveries("a", "b"), NOON)

    assert (first.upto, second.upto) == (1, 2)
    assert first.grounds == second.grounds != str(os.getpid())


def test_the_cursor_that_kills_its_process_fails_and_the_others_do_not(packager):
    first, deadly, last = packager.package_many(deliveries("a", DEADLY, "b"), NOON)

    assert (first.upto, last.upto) == (1, 3)
    assert isinstance(deadly, GatewayError)
    assert "died" in str(deadly)


def test_a_process_killed_from_outside_costs_no_cursor(packager):
    (only,) = packager.package_many(deliveries(DEADLY_ONCE), NOON)

    assert only.upto == 1


def test_what_is_wrong_with_one_cursor_is_told_without_a_value(packager):
    fine, spoilt = packager.package_many(deliveries("a", SPOILT), NOON)

    assert fine.upto == 1
    assert isinstance(spoilt, GatewayError)
    assert "KeyError in _pack" in str(spoilt)
    assert "nobody may read" not in str(spoilt)
    with pytest.raises(GatewayError, match="KeyError"):
        packager.package(*deliveries(SPOILT), NOON)


def test_a_database_that_is_away_is_said_to_be_away():
    packager = ProcessPackager(away)
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                packager.package_many(deliveries("a"), NOON)
    finally:
        packager.close()
