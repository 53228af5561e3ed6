"""The troubles of the soak: processes killed and started again, servers that fail, far ends that do not answer."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress

from tests.acceptance.test_crashes import processes_of

PACE = 3.0
"""Seconds between two kills, about."""


class Troubles:
    """Makes trouble.

    ``kills`` counts the killed processes by role, ``alone`` those that ended unasked (a database that is away at their
    start), ``others`` what else was done.
    """

    def __init__(self, deployment, server, node, proxies, chance):
        self._deployment = deployment
        self._server = server
        self._node = node
        self._proxies = proxies
        self._chance = chance
        self._back_at = {}
        self._now = ExitStack()
        self._now_until = 0.0
        self.kills = Counter()
        self.others = Counter()
        self.alone = Counter()

    def go_on(self, until, kills):
        """Kill at random until a moment, or until so many were killed, with one other trouble at a time beside it."""
        while time.monotonic() < until and self.kills.total() < kills:
            if not self._now_until and self._chance.random() < 0.25:
                self._begin()
            self._kill()
            pause = time.monotonic() + self._chance.uniform(0.3, 1.7) * PACE
            while time.monotonic() < pause:
                self._look()
                time.sleep(0.1)

    def end(self):
        """End every trouble and have every process run again."""
        self._end_other()
        for name in self._deployment.members:
            if self._ended(name):
                self._back_at[name] = 0.0
        for name in sorted(self._back_at):
            self._deployment.restart(name)
        self._back_at.clear()

    def _look(self):
        now = time.monotonic()
        if self._now_until and now >= self._now_until:
            self._end_other()
        for name, member in self._deployment.members.items():
            if name not in self._back_at and self._ended(name):
                self.alone[f"{member.roles[0]}: {self._last_words(member)}"] += 1
                self._back_at[name] = now + 1.0
            if self._back_at.get(name, now + 1) <= now:
                del self._back_at[name]
                self._deployment.start(name)

    def _ended(self, name):
        return self._deployment.members[name].running.poll() is not None

    def _last_words(self, member):
        lines = [line for line in self._deployment.log_of(member).splitlines() if line.strip()]
        return lines[-1][:200] if lines else ""

    def _kill(self):
        running = [name for name in self._deployment.members if name not in self._back_at and not self._ended(name)]
        if not running:
            return
        name = self._chance.choice(running)
        member = self._deployment.members[name]
        started = [process for process in processes_of(member.running.pid) if process != member.running.pid]
        if started and self._chance.random() < 0.2:
            with suppress(ProcessLookupError):
                os.kill(self._chance.choice(sorted(started)), signal.SIGKILL)
            self.kills[f"{member.roles[0]} (a process of its own)"] += 1
            return
        self._deployment.kill(name)
        self.kills[member.roles[0]] += 1
        self._back_at[name] = time.monotonic() + self._chance.uniform(0.5, 6.0)

    # --- other troubles

    def _begin(self):
        systems, server, node = self._deployment.trial_systems, self._server, self._node
        troubles = {
            "RabbitMQ stopped": node.stopped,
            "RabbitMQ killed": node.killed,
            "RabbitMQ wiped": self._wiped,
            "RabbitMQ cut in a confirm": self._unconfirmed,
            "PostgreSQL restarted": server.stopped,
            "PostgreSQL crashed": server.crashed,
            "far ends silent": systems.silent,
            "far ends answer 500": systems.failing,
            "far ends reset after taking in": self._reset,
            "far ends unreachable": self._unreachable,
        }
        name = self._chance.choice(sorted(troubles))
        self.others[name] += 1
        self._now.enter_context(troubles[name]())
        self._now_until = time.monotonic() + self._chance.uniform(1.0, 6.0)

    def _end_other(self):
        self._now_until = 0.0
        self._now.close()

    @contextmanager
    def _wiped(self):
        """Lose every exchange, queue, message and connection of RabbitMQ."""
        self._node.rabbit.control("delete_vhost", "/")
        self._node.rabbit.add_virtual_host("/")
        yield

    @contextmanager
    def _unconfirmed(self):
        self._node.proxy.hold_answers()
        yield
        self._node.proxy.cut()

    @contextmanager
    def _reset(self):
        for proxy in self._proxies:
            proxy.hold_answers()
        yield
        for proxy in self._proxies:
            proxy.cut()

    @contextmanager
    def _unreachable(self):
        for proxy in self._proxies:
            proxy.refuse()
        yield
        for proxy in self._proxies:
            proxy.accept()
