"""One word when trouble begins and one when it has ended: on both databases, with a simulated clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.errors import NotTold
from gateway.model.alert import Trouble
from gateway.model.message import MessageState
from gateway.model.subscription import SubscriptionState
from gateway.ports import Breaker
from gateway.services.alerts import Alerter, AlertTiming
from gateway.services.troubles import GROWTH, GROWTH_LOOKS, KNOWN_AFTER, Limits, Watch
from tests.contracts.stores import MINUTE, NOW, VIEW, incoming, uid
from tests.contracts.test_store_subscriptions import ONE

LOOK = timedelta(seconds=30)
HOUR = timedelta(hours=1)


class Listener:
    """A channel that keeps what it was told, and is away while ``away``."""

    def __init__(self, name="listener"):
        self.name = name
        self.heard = []
        self.away = False

    def tell(self, alert):
        if self.away:
            raise NotTold("away")
        self.heard.append((alert.trouble, alert.subject, "began" if alert.ended_at is None else "ended"))


class Post:
    """A gateway's alerting, its clock, and who listens."""

    def __init__(self, store, folder):
        self.store = store
        self.folder = folder
        self.now = NOW
        self.certificates = {}
        self.limits = Limits(disk_free=0)
        self.listener = Listener()
        self.restart()

    def restart(self, owner="one"):
        watch = Watch(("lab",), ("edc",), self.folder, self.limits, lambda: self.certificates)
        timing = AlertTiming(LOOK, 5 * MINUTE)
        self.alerter = Alerter(self.store, lambda: self.now, owner, watch, [self.listener], timing)

    def look(self, times=1):
        for _ in range(times):
            self.now += LOOK
            self.alerter.step()

    def break_circuit(self):
        with self.store.begin() as tx:
            tx.breakers.set(Breaker("edc", 9, self.now + HOUR, "HTTP 401"))

    def mend_circuit(self):
        with self.store.begin() as tx:
            tx.breakers.set(Breaker("edc"))

    def receive(self, *control_ids, state=MessageState.TRANSLATED):
        self.store.receive([incoming(name, received_at=self.now, state=state) for name in control_ids])


@pytest.fixture
def post(store, tmp_path):
    return Post(store, tmp_path)


FAILING = (Trouble.RECIPIENT_FAILING, "edc")


def test_a_failing_recipient_is_told_once_and_once_when_it_is_over(post):
    post.break_circuit()
    post.look(20)
    assert post.listener.heard == [(*FAILING, "began")]
    post.mend_circuit()
    post.look(20)
    assert post.listener.heard == [(*FAILING, "began"), (*FAILING, "ended")]


def test_what_comes_and_goes_is_one_trouble(post):
    for _ in range(10):
        post.break_circuit()
        post.look(3)
        post.mend_circuit()
        post.look(3)
    assert post.listener.heard == [(*FAILING, "began")]


def test_what_one_look_alone_finds_is_no_trouble(post):
    post.break_circuit()
    post.look()
    post.mend_circuit()
    post.look(20)
    assert post.listener.heard == []


def test_a_restart_tells_nothing_twice(post):
    post.break_circuit()
    post.look(3)
    for _ in range(3):
        post.restart()
        post.look(3)
    assert post.listener.heard == [(*FAILING, "began")]


def test_a_channel_that_is_away_is_told_when_it_is_back(post):
    post.listener.away = True
    post.break_circuit()
    post.look(5)
    post.listener.away = False
    post.look()
    assert post.listener.heard == [(*FAILING, "began")]


def test_a_trouble_that_nobody_was_told_of_is_not_told_to_be_over(post):
    post.listener.away = True
    post.break_circuit()
    post.look(5)
    post.mend_circuit()
    post.look(20)
    post.listener.away = False
    post.look(5)
    assert post.listener.heard == []
    with post.store.begin(write=False) as tx:
        assert tx.alerts.list_all() == []


def test_of_two_processes_one_tells(post):
    other = Listener()
    second = replace(post.alerter, owner="two", channels=[other])
    post.break_circuit()
    for _ in range(5):
        post.look()
        second.step()
    assert (len(post.listener.heard), other.heard) == (1, [])


def test_a_feed_that_is_silent_beyond_its_usual_is_told_and_when_it_speaks_again(post):
    post.look()
    post.receive(*(f"A{number}" for number in range(KNOWN_AFTER)))
    post.look()
    post.now += 2 * HOUR  # its longest silence: three hours are usual
    post.receive("B")
    post.look(2)
    post.now += 2.9 * HOUR
    post.look(2)
    assert post.listener.heard == []
    post.now += HOUR
    post.look(3)
    assert post.listener.heard == [(Trouble.FEED_SILENT, "lab", "began")]
    post.receive("C")
    post.look(20)
    assert post.listener.heard[1:] == [(Trouble.FEED_SILENT, "lab", "ended")]


def test_a_feed_whose_habits_nobody_knows_may_be_silent(post):
    post.look()
    post.receive("A")
    post.look()
    post.now += 100 * HOUR
    post.look(3)
    assert post.listener.heard == []


@pytest.mark.parametrize(("minutes", "heard"), [(10, [(Trouble.FEED_SILENT, "lab", "began")]), (0, [])])
def test_a_feed_whose_file_names_a_silence_is_told_after_it(post, minutes, heard):
    post.limits = Limits(disk_free=0, silent={"lab": minutes * MINUTE})
    post.restart()
    post.look()
    post.receive("A")
    post.look()
    post.now += 11 * MINUTE
    post.look(3)
    assert post.listener.heard == heard


def test_a_queue_that_grows_old_is_told(post):
    post.receive("A", state=MessageState.STORED)
    post.now += 16 * MINUTE
    post.look(2)
    assert post.listener.heard == [(Trouble.QUEUE_GROWING, "lab", "began")]


def test_a_queue_that_grows_and_grows_is_told(post):
    step = GROWTH // (GROWTH_LOOKS - 1) + 1
    for look in range(GROWTH_LOOKS + 1):
        post.receive(*(f"{look}-{number}" for number in range(step)), state=MessageState.STORED)
        post.look()
    assert post.listener.heard == [(Trouble.QUEUE_GROWING, "lab", "began")]


def test_a_subscription_in_error_is_told_until_its_client_asks_anew(post):
    failing = ONE.but(state=SubscriptionState.ERROR, detail="HTTP 422")
    with post.store.begin() as tx:
        tx.subscriptions.add(failing)
        tx.subscriptions.add(ONE.but(id=uid(2)))
    post.look(2)
    subject = f"edc {ONE.id}"
    assert post.listener.heard == [(Trouble.SUBSCRIPTION_FAILING, subject, "began")]
    with post.store.begin() as tx:
        tx.subscriptions.save(failing.but(state=SubscriptionState.REQUESTED, version=2))
    post.look(20)
    assert post.listener.heard[1:] == [(Trouble.SUBSCRIPTION_FAILING, subject, "ended")]


def test_the_queue_of_a_failing_recipient_is_no_second_trouble(post):
    with post.store.begin() as tx:
        tx.deliveries.plan({(VIEW, uid(900)): 1}, post.now)
    post.break_circuit()
    post.now += 16 * MINUTE
    post.look(3)
    assert post.listener.heard == [(*FAILING, "began")]


def test_a_full_disk_is_told(post):
    post.limits = Limits(disk_free=1.0)
    post.restart()
    post.look(2)
    assert post.listener.heard == [(Trouble.DISK_LOW, "data", "began")]


def test_a_certificate_near_its_end_is_told(post):
    post.certificates = {"far.pem": NOW + timedelta(days=40), "near.pem": NOW + timedelta(days=20)}
    post.look(2)
    assert post.listener.heard == [(Trouble.CERTIFICATE_ENDING, "near.pem", "began")]


def test_what_was_told_stands_in_the_audit_trail(post):
    post.break_circuit()
    post.look(2)
    post.mend_circuit()
    post.look(20)
    with post.store.begin(write=False) as tx:
        lines = tx.audit.find(subject="recipient-failing/edc")
    assert [line.action for line in lines] == ["alert-ended", "alert-began"]
