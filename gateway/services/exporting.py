"""Writing bulk exports: a few patients at a time, each with all types at once.

Parts and the cursor behind them are committed together, so a process that dies loses nothing and repeats nothing;
whoever has the lease goes on. What is read is released as it is for every other answer (``pull.Chart``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from typing import Final

import structlog

from gateway.errors import GatewayError, RequestRefused, StaleClaim, StoreError
from gateway.ports import Clock, Export, Store
from gateway.services.defect import words_of
from gateway.services.export_course import Course
from gateway.services.export_parts import Writer
from gateway.services.export_process import InlineWriters, Writers
from gateway.services.pull import Sight

log = structlog.get_logger()

_SWEPT: Final = 200
"""Parts that are taken away in one transaction."""

_DEATHS: Final = 2
"""Worker processes that may die on the same patients: the first may have been killed for another reason."""


@dataclass(frozen=True, slots=True)
class ExportingSettings:
    """How long a process holds an export it writes, and how long it waits when there is none.

    ``alone``: transactions for which no worker processes are begun, which takes a second.
    """

    lease: timedelta = timedelta(seconds=60)
    pause: timedelta = timedelta(seconds=0.25)
    alone: int = 5


@dataclass
class Exporter:
    """Writes exports. One instance per process that does so; ``owner`` is its name in leases.

    ``beside`` begins worker processes for an export of which there is much; None: there are none.
    """

    store: Store
    sight: Sight
    clock: Clock
    owner: str
    beside: Callable[[], Writers] | None = None
    settings: ExportingSettings = field(default_factory=ExportingSettings)

    def run(self, stop: Callable[[], bool]) -> None:
        """Write what is ordered until ``stop()``. Raises ``StoreError``; it may be run again."""
        while not stop():
            if not self.step(stop):
                time.sleep(self.settings.pause.total_seconds())

    def step(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Write one export to its end, or take a bit of an old one away; False: there is nothing to do."""
        now = self.clock()
        with self.store.begin(write=False) as tx:
            waits = tx.exports.waits(self.owner, now)
        if not waits:
            return False
        with self.store.begin() as tx:
            swept = tx.exports.sweep(now, _SWEPT)
            export = None if swept else tx.exports.claim(self.owner, now, self.settings.lease)
        if export is not None:
            self._write(export, stop)
        return bool(swept or export)

    def _write(self, export: Export, stop: Callable[[], bool]) -> None:
        writing = _Writing(export)
        try:
            self._go_on(writing, stop, InlineWriters(self._writer), self.settings.alone if self.beside else None)
            if self.beside and writing.goes_on:
                self._go_on_beside(writing, stop, self.beside)
        except StaleClaim:
            log.info("an export was dropped, or another process writes it", export=export.id)
        except StoreError:
            raise  # the database is away: the lease runs out, and the export goes on then
        except RequestRefused as error:
            self._fail(writing.export, error.what)
        except Exception as error:  # noqa: BLE001 - whatever it is, the export must not be tried for ever
            # Not with the traceback: its words may be somebody's data.
            words = str(error) if isinstance(error, GatewayError) else words_of(error)
            log.error("an export failed", export=export.id, error=words)  # noqa: TRY400
            self._fail(writing.export, "this is a fault of the gateway; its log says more")

    def _go_on_beside(self, writing: _Writing, stop: Callable[[], bool], beside: Callable[[], Writers]) -> None:
        """Go on with worker processes; when one dies, others go on behind what was put down."""
        deaths = 0
        while writing.goes_on:
            cursor = writing.export.cursor
            try:
                with closing(beside()) as writers:
                    self._go_on(writing, stop, writers)
            except BrokenProcessPool:
                log.warning("a process that writes an export died", export=writing.export.id)
                deaths = deaths + 1 if writing.export.cursor == cursor else 1
                if deaths == _DEATHS:
                    raise GatewayError("the processes that write it die on it") from None

    def _go_on(self, writing: _Writing, stop: Callable[[], bool], writers: Writers, most: int | None = None) -> None:
        """Write to the end, or until ``stop()``, or for so many transactions."""
        course = Course(self._writer, writers, self.clock, writing.export)
        for _ in count() if most is None else range(most):
            ends = stop()
            writing.export = self._advanced(course, writing.export, goes_on=not ends)
            writing.goes_on = not ends and writing.export.state == "begun"
            if not writing.goes_on:
                return

    def _advanced(self, course: Course, export: Export, *, goes_on: bool) -> Export:
        """Write the next patients; return the export as it stands then."""
        moved, parts = course.advanced(export)
        until = self.clock() + self.settings.lease if goes_on and moved.state == "begun" else None
        with self.store.begin() as tx:
            tx.exports.advance(moved, parts, self.owner, until, export.cursor)
        if moved.state == "done":
            log.info("an export is written", export=export.id, client=export.client)
        return moved

    @property
    def _writer(self) -> Writer:
        return Writer(self.store, self.sight)

    def _fail(self, export: Export, what: str) -> None:
        failed = replace(export, state="failed", detail=what)
        with self.store.begin() as tx:
            tx.exports.advance(failed, (), self.owner, None, export.cursor)


@dataclass(slots=True)
class _Writing:
    """An export as it was last put down, and whether this process goes on with it."""

    export: Export
    goes_on: bool = True
