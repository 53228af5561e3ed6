"""Saying that a process runs, so that ``gateway status`` can list the roles."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from gateway.ports import AuditEvent, Clock, Process, Store

EVERY_SECONDS: Final = 10.0


class Heartbeat:
    """Says every 10 s that a process runs, and at the end that it has ended. ``run`` it in a thread."""

    def __init__(self, store: Store, owner: str, roles: Sequence[str], clock: Clock) -> None:
        self._store = store
        self._owner = owner
        self._roles = tuple(roles)
        self._clock = clock
        self._began = clock()
        self._ends = threading.Event()
        self._noted = False

    def run(self, stop: Callable[[], bool]) -> None:
        """Beat until ``stop()`` or ``end``. Raises ``StoreUnavailable``; it may be run again."""
        while not (stop() or self._ends.is_set()):
            with self._store.begin() as tx:
                tx.processes.beat(Process(self._owner, self._roles, self._began, self._clock()))
                if not self._noted:
                    tx.audit.write([self._line("started")])
            self._noted = True
            self._ends.wait(EVERY_SECONDS)
        with self._store.begin() as tx:
            tx.processes.leave(self._owner)
            tx.audit.write([self._line("stopped")])

    def _line(self, action: str) -> AuditEvent:
        return AuditEvent(self._clock(), action, self._owner, f"process/{self._owner}", " ".join(self._roles))

    def end(self) -> None:
        """Wake ``run`` so that it ends now."""
        self._ends.set()
