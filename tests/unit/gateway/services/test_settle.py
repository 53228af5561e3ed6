from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.model.delivery import Accepted, Deferred, Delivery, DeliveryState, Refused, Unknown, View
from gateway.model.recipient import Retry
from gateway.ports import Breaker
from gateway.services.settle import FAILURES_TO_OPEN, breaker_after, settle

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
RETRY = Retry(timedelta(seconds=2), timedelta(minutes=1), timedelta(days=7))
CLAIMED = Delivery(7, View("edc", "mld-01"), "p1", DeliveryState.SENDING, 10, 20, None, 3, 0, NOON)
FAILURES = [Deferred("no"), Unknown("perhaps")]


@pytest.mark.parametrize(
    ("outcome", "state", "sent", "window", "number"),
    [
        (Accepted(), DeliveryState.IDLE, 20, None, 4),
        (Refused("HTTP 422"), DeliveryState.DEAD, 10, None, 4),
        (Deferred("HTTP 503"), DeliveryState.DUE, 10, None, 3),
        (Unknown("ReadTimeout"), DeliveryState.DUE, 10, 20, 3),
    ],
)
def test_one_attempt_settles_the_cursor(outcome, state, sent, window, number):
    after = settle(CLAIMED, outcome, NOON, RETRY, 20)

    assert (after.state, after.sent, after.window, after.number) == (state, sent, window, number)
    assert after.lease_until is None


def test_what_was_planned_beyond_the_attempt_is_due_at_once():
    after = settle(CLAIMED, Accepted(), NOON, RETRY, 15)

    assert (after.state, after.sent, after.due_at) == (DeliveryState.DUE, 15, NOON)


@pytest.mark.parametrize(("asked", "waited"), [(0, 2), (1, 2), (30, 30), (10**7, 86_400)])
def test_it_waits_as_long_as_was_asked_for_and_never_not_at_all(asked, waited):
    outcome = Deferred("HTTP 503", wait=timedelta(seconds=asked))
    then = NOON + timedelta(seconds=waited)

    assert settle(CLAIMED, outcome, NOON, RETRY, 20).due_at == then
    assert breaker_after(Breaker("edc"), outcome, NOON, RETRY).open_until == then


def test_success_forgets_earlier_failures():
    failed = replace(CLAIMED, attempts=4, first_failed_at=NOON - timedelta(days=1), detail="HTTP 500", window=20)

    after = settle(failed, Accepted(), NOON, RETRY, 20)

    assert (after.attempts, after.first_failed_at, after.detail, after.window) == (0, None, "", None)


def test_a_deferred_repeat_keeps_the_window_because_the_first_attempt_may_have_arrived():
    repeat = replace(CLAIMED, window=18)

    after = settle(repeat, Deferred("could not connect"), NOON, RETRY, 18)

    assert (after.window, after.delivery_id) == (18, repeat.delivery_id)


@pytest.mark.parametrize("outcome", FAILURES)
def test_waits_grow_from_the_first_to_the_longest(outcome):
    waits = []
    cursor = CLAIMED
    for _ in range(10):
        cursor = settle(cursor, outcome, NOON, RETRY, 20)
        waits.append(cursor.due_at - NOON)

    assert RETRY.first <= waits[0] <= 2 * RETRY.first
    assert waits[-1] == RETRY.longest
    assert cursor.attempts == 10


def test_retry_after_is_honoured_up_to_a_day():
    assert settle(CLAIMED, Deferred("", timedelta(minutes=5)), NOON, RETRY, 20).due_at == NOON + timedelta(minutes=5)
    assert settle(CLAIMED, Deferred("", timedelta(days=900)), NOON, RETRY, 20).due_at == NOON + timedelta(days=1)


@pytest.mark.parametrize("outcome", FAILURES)
def test_after_a_week_of_failures_it_is_dead_and_not_before(outcome):
    first = settle(CLAIMED, outcome, NOON, RETRY, 20)

    before = settle(first, outcome, NOON + timedelta(days=6), RETRY, 20)
    after = settle(first, outcome, NOON + timedelta(days=7), RETRY, 20)

    assert (before.state, after.state) == (DeliveryState.DUE, DeliveryState.DEAD)
    assert after.due_at is None


CLOSED = Breaker("edc")


@pytest.mark.parametrize("outcome", [Accepted(), Refused("HTTP 400")])
def test_an_answer_about_the_content_closes_the_circuit(outcome):
    assert breaker_after(Breaker("edc", 3, NOON, "HTTP 401"), outcome, NOON, RETRY) == CLOSED


def test_what_concerns_every_delivery_opens_the_circuit_longer_each_time():
    breaker, waits = CLOSED, []
    for _ in range(8):
        breaker = breaker_after(breaker, Deferred("HTTP 401", breaker=True), NOON, RETRY)
        waits.append(breaker.open_until - NOON)

    assert waits == sorted(waits)
    assert waits[0] < RETRY.first * 2
    assert waits[-1] == RETRY.longest
    assert breaker.reason == "HTTP 401"


def test_connect_failures_in_a_row_open_the_circuit():
    breaker = CLOSED
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker = breaker_after(breaker, Deferred("could not connect"), NOON, RETRY)
        assert breaker.open_until is None

    assert breaker_after(breaker, Deferred("could not connect"), NOON, RETRY).open_until > NOON


def test_a_success_between_connect_failures_starts_the_count_again():
    breaker = CLOSED
    for outcome in [*[Deferred("could not connect")] * 4, Accepted(), Deferred("could not connect")]:
        breaker = breaker_after(breaker, outcome, NOON, RETRY)

    assert (breaker.failures, breaker.open_until) == (1, None)


def test_retry_after_holds_back_the_whole_recipient():
    breaker = breaker_after(CLOSED, Deferred("HTTP 429", timedelta(minutes=3)), NOON, RETRY)

    assert breaker.open_until == NOON + timedelta(minutes=3)


def test_one_delivery_that_always_times_out_does_not_close_the_door_for_the_others():
    breaker = CLOSED
    for _ in range(50):
        breaker = breaker_after(breaker, Unknown("HTTP 500"), NOON, RETRY)

    assert breaker == CLOSED


def test_a_half_open_circuit_opens_again_when_the_trial_fails():
    half_open = Breaker("edc", 2, NOON - timedelta(seconds=1), "HTTP 401")

    for outcome in (Deferred("could not connect"), Unknown("ReadTimeout"), Deferred("HTTP 401", breaker=True)):
        assert breaker_after(half_open, outcome, NOON, RETRY).open_until > NOON
