"""Packing in a worker process: deciding what may leave takes a core, and must not hold up who answers and writes.

It only reads, so it may look into the file of an embedded database beside its owner.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import datetime
from typing import Final

import structlog

from gateway.errors import GatewayError
from gateway.model.delivery import Delivery, Packed
from gateway.ports import Packager
from gateway.services.defect import words_of
from gateway.services.processes import processes

log = structlog.get_logger()

PackagerFactory = Callable[[], Packager]

_factory: list[PackagerFactory] = []
_packager: list[Packager] = []

_TRIES_ALONE: Final = 2
"""Tries of one cursor alone: the first process may have been killed for another reason."""


class ProcessPackager:
    """``gateway.ports.Packager`` in one worker process. Safe from any thread.

    ``factory`` must be picklable; it is called in the process when there is something to pack, and what it raises is
    raised by packing. A process that dies
    (killed, out of memory) is replaced; the cursors it had are packed one by one, and an error stands in the place of
    the one that kills its process alone, twice.
    """

    def __init__(self, factory: PackagerFactory) -> None:
        self._factory = factory
        self._changing = threading.Lock()
        self._pool = self._start()

    def package(self, delivery: Delivery, now: datetime) -> Packed:
        """Pack what a cursor owes, as ``gateway.services.package``."""
        (packed,) = self.package_many([delivery], now)
        if isinstance(packed, Exception):
            raise packed
        return packed

    def package_many(self, deliveries: Sequence[Delivery], now: datetime) -> list[Packed | Exception]:
        """Pack several cursors at one moment, as ``gateway.services.package``."""
        try:
            return self._ask(deliveries, now)
        except BrokenProcessPool:
            log.warning("the packing process died; its deliveries are packed one by one", deliveries=len(deliveries))
        return [self._alone(delivery, now) for delivery in deliveries]

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _alone(self, delivery: Delivery, now: datetime) -> Packed | Exception:
        for _ in range(_TRIES_ALONE):
            try:
                return self._ask([delivery], now)[0]
            except BrokenProcessPool:
                log.warning("the packing process died on this delivery", delivery=delivery.delivery_id)
        return GatewayError("the packing process died on it")

    def _ask(self, deliveries: Sequence[Delivery], now: datetime) -> list[Packed | Exception]:
        with self._changing:
            pool = self._pool
        try:
            return pool.submit(_pack, deliveries, now).result()
        except BrokenProcessPool:
            self._replace(pool)
            raise

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        with self._changing:
            if self._pool is broken:  # else another thread was faster
                self._pool = self._start()
        broken.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        return processes(1, _begin, self._factory)


def _begin(factory: PackagerFactory) -> None:
    _factory.append(factory)


def _pack(deliveries: Sequence[Delivery], now: datetime) -> list[Packed | Exception]:
    if not _packager:
        _packager.append(_factory[-1]())
    return [_told(packed) for packed in _packager[-1].package_many(deliveries, now)]


def _told(packed: Packed | Exception) -> Packed | Exception:
    """Return an error of ours as its words: where it was raised cannot be seen from another process."""
    if isinstance(packed, Exception) and not isinstance(packed, GatewayError):
        return GatewayError(words_of(packed))
    return packed
