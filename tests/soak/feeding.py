"""The load of the soak: a steady rate of results and their corrections, each sent until it is acknowledged."""

from __future__ import annotations

import threading
import time
from contextlib import closing

from tests.load import ACCEPTED, Feeder, enrolment, result

SENDERS = 4
PATIENTS = 60
VERSIONS = 5
PATIENCE = 120


class Feeding:
    """Senders that go on until ``stop``. ``answers``: (patient, order, version) -> MSA-1; ``troubles``: what failed."""

    def __init__(self, deployment, rate):
        self._deployment = deployment
        self._pause = SENDERS / rate
        self._over = threading.Event()
        self._given_up = threading.Event()
        self._ports = {feed: deployment.ports_of(feed) for feed in ("lis", "trials")}
        self._senders = [threading.Thread(target=self._feed, args=(number,)) for number in range(SENDERS)]
        self.patients = range(1, PATIENTS + 1)
        self.answers = {}
        self.troubles = []
        self.resent = 0

    def enrol(self):
        """Register every patient on a study."""
        with closing(self._feeder(0)) as feeder:
            for patient in self.patients:
                code = feeder.send(enrolment(patient))
                if code not in ACCEPTED:
                    raise AssertionError(f"a registration was answered {code!r}")

    def start(self):
        for sender in self._senders:
            sender.start()

    def stop(self):
        """Send nothing new; what was begun is sent until it is acknowledged."""
        self._over.set()
        until = time.monotonic() + PATIENCE
        for sender in self._senders:
            sender.join(max(until - time.monotonic(), 0))
        self._given_up.set()
        for sender in self._senders:
            sender.join()

    def _feeder(self, number):
        own = {feed: [*some[number % len(some) :], *some] for feed, some in self._ports.items()}
        return Feeder(own, self._deployment.try_once, self._given_up)

    def _feed(self, number):
        due = time.monotonic()
        with closing(self._feeder(number)) as feeder:
            for one in self._results(number):
                due = max(due + self._pause, time.monotonic() - self._pause)
                if self._over.wait(max(due - time.monotonic(), 0)):
                    break
                self.answers[one] = code = feeder.send(result(*one))
                if code not in ACCEPTED:
                    self.troubles.append(f"{result(*one).name} was answered {code!r}")
            self.resent += feeder.resent

    def _results(self, number):
        own = self.patients[number::SENDERS]
        for order in range(1, 100):
            for version in range(1, VERSIONS + 1):
                for patient in own:
                    yield patient, order, version
