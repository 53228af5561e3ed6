"""The worker of the subscriptions: looks for what is due and tells several endpoints side by side.

An endpoint that takes long holds one sender; a client has only some of them, so that its endpoints cannot hold up those
of the others.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.errors import StoreError
from gateway.model.subscription import Subscription
from gateway.ports import Clock, Store
from gateway.services.defect import words_of
from gateway.services.delivery_worker import GRACE_SECONDS
from gateway.services.notify import Notify

log = structlog.get_logger()

LOOK_SECONDS: Final = 0.5
"""How often is looked when nothing ends."""

SWEEP: Final = timedelta(hours=1)
PER_CLIENT: Final = 4
"""Of its endpoints so many are told at the same moment at most."""


class NotifyWorker:
    """Tells endpoints until it is stopped. ``keep``: how long settled events can still be asked for."""

    def __init__(self, notify: Notify, store: Store, clock: Clock, keep: timedelta, threads: int = 8) -> None:
        self._notify = notify
        self._store = store
        self._clock = clock
        self._keep = keep
        self._threads = threads
        self._changed = threading.Condition()
        self._busy: Counter[str] = Counter()
        self._swept: datetime | None = None

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until ``stop()``. What is under way then may go on for a little; else its lease tells of it.

        Raises ``StoreError``.
        """
        senders = ThreadPoolExecutor(self._threads, "notify")
        try:
            while not stop():
                self._sweep()
                claimed = self._claim()
                if claimed is None:
                    self._pause()
                else:
                    senders.submit(self._attend, claimed)
            with self._changed:
                self._changed.wait_for(lambda: not self._busy.total(), GRACE_SECONDS)
        finally:
            senders.shutdown(wait=False)  # what is claimed is attended to: there is a thread for each

    def _claim(self) -> Subscription | None:
        with self._changed:
            if self._busy.total() >= self._threads:
                return None
            full = [client for client, count in self._busy.items() if count >= PER_CLIENT]
        claimed = self._notify.claim(full)
        if claimed is not None:
            with self._changed:
                self._busy[claimed.client] += 1
        return claimed

    def _attend(self, claimed: Subscription) -> None:
        try:
            self._notify.attend(claimed)
        except StoreError as error:
            log.warning("a subscription waits for its lease", subscription=claimed.id, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - it must not hold up the others; its lease says so in time
            log.error("a subscription failed", subscription=claimed.id, error=words_of(error))  # noqa: TRY400 - it may quote
        finally:
            with self._changed:
                self._busy[claimed.client] -= 1
                self._changed.notify()

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait(LOOK_SECONDS)

    def _sweep(self) -> None:
        now = self._clock()
        if self._swept is not None and abs(now - self._swept) < SWEEP:
            return
        self._swept = now
        with self._store.begin() as tx:
            tx.subscriptions.forget(now - self._keep)
