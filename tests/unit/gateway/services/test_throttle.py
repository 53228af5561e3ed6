"""How many requests a client may make."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RequestRefused
from gateway.services.throttle import Throttle


class Seconds:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def taken(throttle, *words):
    """Count requests until one is refused; return how many were let through and how long to wait."""
    for count in range(10_000):
        try:
            throttle.take(*words)
        except RequestRefused as error:
            return count, error.retry_after
    raise AssertionError("nothing was refused")


def test_a_client_may_make_so_many_requests_and_then_waits():
    seconds = Seconds()
    throttle = Throttle(30, seconds)

    assert taken(throttle, "edc") == (30, 2)
    seconds.now += 2
    assert taken(throttle, "edc") == (1, 2)
    seconds.now += 3600
    assert taken(throttle, "edc") == (30, 2)


def test_each_client_has_its_own_permissions_and_its_own_rate():
    throttle = Throttle(30, Seconds())

    assert taken(throttle, "edc") == (30, 2)
    assert taken(throttle, "ctms", 6) == (6, 10)


def test_a_clock_that_is_set_back_gives_no_permissions():
    seconds = Seconds()
    throttle = Throttle(30, seconds)
    taken(throttle, "edc")
    seconds.now -= 0.5

    with pytest.raises(RequestRefused) as refused:
        throttle.take("edc")
    assert (refused.value.status, refused.value.code) == (429, "throttled")


@given(st.integers(1, 120), st.lists(st.floats(0, 90), max_size=200))
def test_in_no_time_are_more_let_through_than_at_once_and_in_that_time(most, pauses):
    seconds = Seconds()
    throttle = Throttle(most, seconds)
    through = 0
    for pause in pauses:
        seconds.now += pause
        through += not throttle.wait("edc")

    assert through <= most + sum(pauses) * most / 60 + 1e-6


@given(st.integers(1, 1000))
def test_after_the_wait_that_was_said_there_is_room(most):
    seconds = Seconds()
    throttle = Throttle(most, seconds)
    _, wait = taken(throttle, "edc")
    seconds.now += wait

    throttle.take("edc")
