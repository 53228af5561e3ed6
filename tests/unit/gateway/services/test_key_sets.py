"""The clients' published key sets: kept for a while, looked at again for a kid that is not known, within limits."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.errors import InvalidKeySet, TokenRefused
from gateway.jose import read_assertion
from gateway.services.key_sets import FETCHES_PER_MINUTE, FRESH_SECONDS, STALE_SECONDS, WAITING, KeySets
from tests.contracts.waiting import wait_for
from tests.smart import assertion, key_set

URL = "https://edc.example/jwks"


class Published:
    """A client's web server."""

    def __init__(self, *keys):
        self.keys = keys
        self.asked = 0

    def fetch(self, url):
        assert url == URL
        self.asked += 1
        if not self.keys:
            raise InvalidKeySet("HTTP 503")
        return key_set(*self.keys).encode()


class Seconds:
    now = 5000.0

    def __call__(self):
        return self.now


@pytest.fixture
def seconds():
    return Seconds()


def by(kid, algorithm="ES384"):
    return read_assertion(assertion("edc", "https://gateway.example/auth/token", algorithm, kid))


def test_a_set_is_fetched_once_and_used_again(seconds):
    published = Published(("ES384", "k1"), ("RS384", "k1"))
    sets = KeySets(published, seconds)

    assert [sets.signed(URL, by("k1")), sets.signed(URL, by("k1", "RS384")), sets.signed(URL, by("k1"))] == [True] * 3
    assert published.asked == 1


def test_a_new_key_is_found_at_once_and_one_taken_out_is_no_longer_good_after_a_while(seconds):
    published = Published(("ES384", "k1"))
    sets = KeySets(published, seconds)
    assert sets.signed(URL, by("k1"))
    published.keys = (("ES384", "k2"),)

    assert sets.signed(URL, by("k2"))
    assert not sets.signed(URL, by("k1"))
    published.keys = (("ES384", "k3"),)
    assert sets.signed(URL, by("k2"))
    seconds.now += FRESH_SECONDS
    assert not sets.signed(URL, by("k2"))


def test_whoever_sends_unknown_kids_makes_us_fetch_a_few_times_a_minute(seconds):
    published = Published(("ES384", "k1"))
    sets = KeySets(published, seconds)

    for _ in range(50):
        assert not sets.signed(URL, by("k9"))
    assert published.asked == FETCHES_PER_MINUTE
    assert sets.signed(URL, by("k1"))


class Slow(Published):
    """A web server that answers when it is told to."""

    def __init__(self, *keys):
        super().__init__(*keys)
        self.begun, self.free = threading.Event(), threading.Event()
        self.free.set()

    def fetch(self, url):
        self.begun.set()
        assert self.free.wait(30)
        return super().fetch(url)


@pytest.fixture
def slow():
    made = Slow(("ES384", "k1"))
    yield made
    made.free.set()


def test_a_key_that_is_known_is_not_kept_waiting_by_who_asks_for_another(seconds, slow):
    sets = KeySets(slow, seconds)
    assert sets.signed(URL, by("k1"))
    slow.begun.clear()
    slow.free.clear()
    with ThreadPoolExecutor(2) as threads:
        stranger = threads.submit(sets.signed, URL, by("k9"))
        assert slow.begun.wait(30)
        own = threads.submit(sets.signed, URL, by("k1"))
        try:
            assert own.result(timeout=30)
            assert not stranger.done()
        finally:
            slow.free.set()


def test_those_who_wait_for_a_slow_server_leave_room_for_others(seconds, slow):
    sets = KeySets(slow, seconds)
    slow.free.clear()

    def ask():
        try:
            return sets.signed(URL, by("k1"))
        except TokenRefused as error:
            return error.status

    with ThreadPoolExecutor(WAITING + 5) as threads:
        asked = [threads.submit(ask) for _ in range(WAITING + 5)]
        try:
            wait_for(lambda: sum(one.done() for one in asked) == 5)
        finally:
            slow.free.set()
    assert sorted(one.result() for one in asked) == [True] * WAITING + [503] * 5
    assert sets.signed(URL, by("k1"))


def test_a_set_is_used_for_a_while_when_its_address_does_not_answer(seconds):
    published = Published(("ES384", "k1"))
    sets = KeySets(published, seconds)
    sets.signed(URL, by("k1"))
    published.keys = ()

    seconds.now += FRESH_SECONDS + 1
    assert sets.signed(URL, by("k1"))
    seconds.now += STALE_SECONDS
    assert not sets.signed(URL, by("k1"))
    published.keys = (("ES384", "k1"),)
    assert sets.signed(URL, by("k1"))


def test_a_set_that_was_never_had_makes_nobody_known(seconds):
    assert not KeySets(Published(), seconds).signed(URL, by("k1"))
