"""The worker of the subscriptions: side by side, and no client holds up another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from gateway.errors import StoreUnavailable
from gateway.fhir.subscription_read import read_subscription
from gateway.model.access import Caller
from gateway.services.notify_worker import PER_CLIENT, NotifyWorker
from gateway.services.subscribe import Wish
from tests.contracts.waiting import running, wait_for
from tests.releasing import a_consent, a_patient, a_subject, an_observation
from tests.subscribing import BASE, OBSERVATION, numbers, r4, trial


@pytest.fixture
def unit(tmp_path):
    with trial(tmp_path) as made:
        yield made


def worker(unit, keep=timedelta(days=30), threads=8):
    return NotifyWorker(unit.notify, unit.store, lambda: unit.world.now, keep, threads).run


def settled(unit):
    with unit.store.begin(write=False) as tx:
        return all(
            one.state == "active"
            and one.events == one.settled
            and not tx.subscriptions.triggers(one.id, unit.world.now, 1)
            for one in tx.subscriptions.every()
        )


def test_what_happens_is_told_until_it_is_stopped(unit):
    with running(worker(unit)):
        unit.create(r4(OBSERVATION))
        wait_for(lambda: settled(unit))
        unit.world.write(a_patient(), a_consent(), a_subject())
        for name in ("one", "two", "three"):
            unit.world.write(an_observation(name))
        wait_for(lambda: settled(unit) and numbers(unit.endpoint.bundles))
    assert numbers(unit.endpoint.bundles) == [1, 2, 3]
    unit.world.write(an_observation("four"))
    assert numbers(unit.endpoint.bundles) == [1, 2, 3]


def test_the_slow_endpoints_of_a_client_hold_up_no_other(unit):
    other = replace(unit.client, name="other")
    with unit.store.begin() as tx:
        tx.clients.add(other)
    free, told = threading.Event(), unit.endpoint.notify

    def slow(notification):
        if notification.endpoint.endswith("/slow"):
            free.wait(30)
        return told(notification)

    unit.endpoint.notify = slow
    for _ in range(PER_CLIENT + 2):
        unit.create(r4(channel={"endpoint": "https://ctms.example/slow"}))
    status, terms = read_subscription(r4(), "R4", BASE)
    wish = Wish(Caller("other", other.views, other.scopes), unit.world.now, "R4")
    made, _ = unit.subscribe.create(wish, status, terms)

    with running(worker(unit)):
        wait_for(lambda: unit.stands(made).state == "active")
        assert [one.endpoint for one in unit.endpoint.told] == [made.terms.endpoint]
        free.set()
        wait_for(lambda: settled(unit))


def test_a_defect_in_one_stops_nothing(unit):
    broken, fine = unit.create(), unit.create()
    attend = unit.notify.attend

    def failing(claimed):
        if claimed.id == broken.id:
            raise ZeroDivisionError
        return attend(claimed)

    unit.notify.attend = failing
    with running(worker(unit)):
        wait_for(lambda: unit.stands(fine).state == "active")
    assert unit.stands(broken).state == "requested"


def test_what_is_claimed_when_the_database_goes_away_is_attended_to(unit, monkeypatch):
    made = unit.create()
    claim, begins = unit.notify.claim, threading.Event()

    def once(without):
        found = claim(without)
        if found is None:
            raise StoreUnavailable("the disk is gone")
        return found

    slow = partial(ThreadPoolExecutor, initializer=lambda: begins.wait(30))
    monkeypatch.setattr("gateway.services.notify_worker.ThreadPoolExecutor", slow)
    monkeypatch.setattr(unit.notify, "claim", once)
    with pytest.raises(StoreUnavailable):
        worker(unit)(lambda: False)
    begins.set()

    wait_for(lambda: unit.stands(made).state == "active")


def test_two_workers_tell_everything_once_and_in_order(unit):
    made = unit.subscribed(r4(OBSERVATION))
    first = worker(unit)
    unit.begin_again("another")
    with running(first), running(worker(unit)):
        unit.world.write(a_patient(), a_consent(), a_subject())
        for number in range(30):
            unit.world.write(an_observation(f"lab {number}"))
        wait_for(lambda: settled(unit) and unit.stands(made).events == 30)
    assert numbers(unit.endpoint.bundles) == list(range(1, 31))


def test_events_are_forgotten_after_their_time(unit):
    made = unit.subscribed(r4(OBSERVATION))
    unit.world.write(a_patient(), a_consent(), a_subject())
    unit.world.write(an_observation())
    unit.tell()
    unit.pass_time(days=31)
    with running(worker(unit)):
        wait_for(lambda: not kept(unit, made))


def kept(unit, made):
    with unit.store.begin(write=False) as tx:
        return tx.subscriptions.events(made.id, 0, 99, 99)
