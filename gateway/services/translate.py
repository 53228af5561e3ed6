"""Turning stored messages into resource versions: claim lanes, read what waits, translate, write.

Translating itself touches no database (ARCHITECTURE, decision 4). Where worker processes do it, they have the next
messages while the last are written (``gateway.services.write``); where this process does it (``workers = 0``), more of
such processes use the cores. Batches are written in the order they were read, and none after one that was not: a
crash or a lost lane leaves messages waiting, and the next worker translates them to the same ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from gateway.errors import StaleClaim
from gateway.model.message import Message
from gateway.model.site import CodeMapEntry
from gateway.ports import Clock, LaneClaim, Store, Transaction
from gateway.services.lanes import HeldLanes
from gateway.services.pace import Pace
from gateway.services.pool import Begun
from gateway.services.write import OutdatedCodeMaps, Planner, Settled, Translated, Writer

log = structlog.get_logger()


class TranslatorPool(Protocol):
    """Translates many messages at once, in as many processes as there are."""

    @property
    def ahead(self) -> bool:
        """Whether messages that were begun are translated beside the caller."""

    def begin(self, messages: Sequence[Message]) -> Begun:
        """Begin to translate messages."""

    def renew(self, codes: Mapping[str, tuple[CodeMapEntry, ...]]) -> None:
        """Translate with these code maps (site -> rows) from now on. Nothing is in work."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is done at a time.

    ``batch``: messages per transaction at most; ``lanes``: lanes claimed by a worker; ``lease``: for how long a lane
    stays with a worker that stopped answering; ``write``: about how long a transaction is to last.
    """

    batch: int = 256
    lanes: int = 16
    lease: timedelta = timedelta(seconds=30)
    write: timedelta = timedelta(seconds=0.5)


@dataclass(frozen=True, slots=True)
class _Round:
    """Messages in work: read, begun to be translated, not written."""

    messages: Sequence[Message]
    claims: Sequence[LaneClaim]
    begun: Begun
    revision: int


class Translate:
    """The ``translate`` role. One instance per process; ``owner`` names it in its claims."""

    def __init__(
        self,
        store: Store,
        pool: TranslatorPool,
        planner: Planner,
        *,
        sites: Sequence[str],
        clock: Clock,
        owner: str,
        limits: Limits | None = None,
        on_settled: Settled = lambda _settled: None,
    ) -> None:
        limits = limits or Limits()
        self._store = store
        self._pool = pool
        self._writer = Writer(store, planner, clock, on_settled)
        self._lanes = HeldLanes(store, owner, clock, lease=limits.lease, limit=limits.lanes)
        self._pace = Pace(limits.batch, limits.write)
        self._sites = sites
        self._revision = -1
        self._busy = False
        """More may wait in the lanes: as much was read as was asked for."""

    def wake(self, _body: str, stop: Callable[[], bool] = lambda: False) -> None:
        """Answer a wake-up."""
        self.run(stop)

    def run(self, stop: Callable[[], bool] = lambda: False) -> int:
        """Translate until nothing waits in the lanes this worker can have; return how many messages were settled.

        Ends after the batch at hand when ``stop()`` turns true; the lanes are given back.
        """
        settled = 0
        in_work: list[_Round] = []
        try:
            while not stop() and self._fill(in_work):
                try:
                    self._settle(in_work[0])
                except StaleClaim:
                    log.warning("another worker has taken the lanes over")
                    self._abandon(in_work)
                except OutdatedCodeMaps:
                    self._abandon(in_work)
                else:
                    settled += len(in_work.pop(0).messages)
        finally:
            self._abandon(in_work)
            self._busy = False
            self._lanes.give_back()
        return settled

    def _fill(self, in_work: list[_Round]) -> bool:
        """Have a batch in work, and the next one beside it where more waits; say whether there is any."""
        if not in_work and (first := self._read(None)):
            in_work.append(first)
        if len(in_work) == 1 and self._busy and self._pool.ahead and (following := self._read(in_work[0])):
            in_work.append(following)
        return bool(in_work)

    def _read(self, before: _Round | None) -> _Round | None:
        """Read the next messages and begin to translate them; None when nothing waits in the lanes there are.

        ``before``: the batch that is in work.
        """
        size = self._pace.size
        in_work = before.messages if before else ()
        claims = not self._busy or self._lanes.turn_is_over
        with self._store.begin(write=claims) as tx:
            codes = self._changed_codes(tx)
            if codes is not None and before is not None:
                return None  # what is in work was read by the old ones, and will be read again
            if claims:
                self._lanes.claim(tx, {message.lane for message in in_work})
            messages = tx.messages.waiting(self._lanes.all, size, {message.id for message in in_work})
        self._busy = len(messages) >= size
        if codes is not None:
            revision, maps = codes
            self._pool.renew(maps)
            self._revision = revision
        if not messages:
            return None if claims or before is not None else self._read(None)
        begun = self._pool.begin(messages)
        return _Round(messages, self._lanes.of(messages), begun, self._revision)

    def _changed_codes(self, tx: Transaction) -> tuple[int, dict[str, tuple[CodeMapEntry, ...]]] | None:
        """The database is the truth of the code maps: read them anew when a person or an import changed one."""
        revision = tx.codes.revision()
        if revision == self._revision:
            return None
        return revision, {site: tx.codes.of_site(site) for site in self._sites}

    def _settle(self, work: _Round) -> None:
        translations = work.begun.result(self._lanes.renew)
        began = time.monotonic()
        self._writer.write(Translated(list(zip(work.messages, translations, strict=True)), work.claims, work.revision))
        self._pace.took(len(work.messages), time.monotonic() - began)

    @staticmethod
    def _abandon(in_work: list[_Round]) -> None:
        """Let go of what is in work: it still waits in its lanes."""
        for work in in_work:
            work.begun.cancel()
        in_work.clear()
