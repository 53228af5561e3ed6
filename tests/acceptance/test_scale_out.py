"""Several processes of each role on one RabbitMQ and one PostgreSQL; one of each kind is killed and stays away."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain

import pytest

from gateway.services.reconcile import Unit, reconcile
from tests.contracts.waiting import wait_for
from tests.deployment import Deployment, Limits
from tests.load import ACCEPTED, MONITOR, Feeder, enrolment, histories, result, value_of, values

LAYOUT = {
    "office": ("relay", "api"),
    "listen-1": ("listen",),
    "listen-2": ("listen",),
    **{f"translate-{number}": ("translate",) for number in range(1, 5)},
    **{f"deliver-{number}": ("deliver",) for number in range(1, 5)},
}
SENDERS = 4
PATIENTS = range(1, 33)
ORDERS = (1, 2)
VERSIONS = 5
SEED = 7


@pytest.mark.usefixtures("captured")
def test_the_work_of_killed_processes_is_taken_over_and_order_is_kept(
    tmp_path, new_postgres_database, new_virtual_host
):
    with Deployment(
        tmp_path,
        database_url=new_postgres_database(),
        broker_url=new_virtual_host().url,
        layout=LAYOUT,
        recipients={"monitor": MONITOR},
        limits=Limits(lease_seconds=9.0, deadline_seconds=4.0, translate="workers = 0"),
    ) as deployment:
        play(deployment, [[enrolment(patient)] for patient in PATIENTS])
        deployment.settle()
        stories = [results_of(patient) for patient in PATIENTS]
        victims = random.Random(SEED)
        points = sorted(victims.sample(range(40, sum(map(len, stories)) - 40), 3))
        kinds = victims.sample(["listen", "translate", "deliver"], 3)
        kills = {
            point: victims.choice([name for name in LAYOUT if name.startswith(kind)])
            for point, kind in zip(points, kinds, strict=True)
        }
        play(deployment, stories, kills)
        deployment.settle()
        assert_everything_once_and_in_order(deployment)


def results_of(patient):
    """What is sent of a patient, in order: the results, corrected in turn."""
    return [result(patient, order, version) for version in range(1, VERSIONS + 1) for order in ORDERS]


def play(deployment, stories, kills=None):
    """Send stories side by side, each in its order and over whichever process listens; kill as so many are answered."""
    waiting, answered = iter(stories), []
    ports = {feed: deployment.ports_of(feed) for feed in ("lis", "trials")}
    over = threading.Event()

    def send(number):
        own = {feed: [*some[number % len(some) :], *some] for feed, some in ports.items()}
        with closing(Feeder(own, deployment.try_once, over)) as feeder:
            for message in chain.from_iterable(waiting):
                answer = feeder.send(message)
                answered.append(answer)

    with ThreadPoolExecutor(SENDERS) as senders:
        sending = [senders.submit(send, number) for number in range(SENDERS)]
        try:
            for point, victim in (kills or {}).items():
                wait_for(lambda point=point: len(answered) >= point, what=f"{point} answers")
                deployment.kill(victim)
            for one in sending:
                one.result()
        finally:
            over.set()
    assert len(answered) == sum(map(len, stories))
    assert set(answered) <= ACCEPTED


def assert_everything_once_and_in_order(deployment):
    systems = deployment.trial_systems
    every_version = {(patient, order): list(range(1, VERSIONS + 1)) for patient in PATIENTS for order in ORDERS}
    for recipient in ("registry", "monitor"):
        assert histories(values(systems.told[recipient])) == every_version, recipient
    newest = {value_of(patient, order, VERSIONS) for patient, order in every_version}
    assert set(values(systems.received["edc"].values())) == newest
    assert systems.altered == []
    found = reconcile(deployment.store, Unit({}, frozenset(systems.queues)))
    assert (found.lost, found.doubled) == ([], [])
