"""Connecting to one of several addresses: however many there are, it takes no longer than was said."""

import pytest

from adapters.connecting import first_of


class Silence:
    """Addresses that do not answer, and a clock that goes on while they are waited for."""

    def __init__(self, answering=""):
        self.now, self.answering = 100.0, answering

    def connect(self, where, timeout):
        if where[0] == self.answering:
            return self
        self.now += timeout
        raise TimeoutError

    def settimeout(self, seconds):
        self.timeout = seconds


@pytest.mark.parametrize("count", [1, 2, 100])
def test_addresses_that_do_not_answer_take_no_longer_than_one(count):
    silence = Silence()
    with pytest.raises(TimeoutError):
        first_of([f"192.0.2.{one}" for one in range(count)], 443, 5.0, silence.connect, lambda: silence.now)
    assert silence.now == pytest.approx(105.0)


def test_one_that_does_not_answer_leaves_time_for_the_next():
    silence = Silence("192.0.2.2")
    assert first_of(["192.0.2.1", "192.0.2.2"], 443, 5.0, silence.connect, lambda: silence.now) is silence
    assert (silence.now, silence.timeout) == (102.5, 5.0)
