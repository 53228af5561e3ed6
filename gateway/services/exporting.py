"""Writing bulk exports: a few patients at a time, each with all types at once.

Parts and the cursor behind them are committed together, so a process that dies loses nothing and repeats nothing;
whoever has the lease goes on. What is read is released as it is for every other answer (``pull.Chart``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

import structlog

from gateway.errors import GatewayError, RequestRefused, StaleClaim, StoreError
from gateway.ports import Clock, Export, Store
from gateway.services.defect import words_of
from gateway.services.export_course import Course
from gateway.services.export_parts import Writer
from gateway.services.pull import Sight

log = structlog.get_logger()

_SWEPT: Final = 200
"""Parts that are taken away in one transaction."""


@dataclass(frozen=True, slots=True)
class ExportingSettings:
    """How long a process holds an export it writes, and how long it waits when there is none."""

    lease: timedelta = timedelta(seconds=60)
    pause: timedelta = timedelta(seconds=0.25)


@dataclass
class Exporter:
    """Writes exports. One instance per process that does so; ``owner`` is its name in leases."""

    store: Store
    sight: Sight
    clock: Clock
    owner: str
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
        goes_on = True
        try:
            course = Course(Writer(self.store, self.sight), self.clock, export)
            while goes_on:
                goes_on = not stop()
                export = self._advanced(course, export, goes_on=goes_on)
                goes_on = goes_on and export.state == "begun"
        except StaleClaim:
            log.info("an export was dropped, or another process writes it", export=export.id)
        except StoreError:
            raise  # the database is away: the lease runs out, and the export goes on then
        except RequestRefused as error:
            self._fail(export, error.what)
        except Exception as error:  # noqa: BLE001 - whatever it is, the export must not be tried for ever
            # Not with the traceback: its words may be somebody's data.
            words = str(error) if isinstance(error, GatewayError) else words_of(error)
            log.error("an export failed", export=export.id, error=words)  # noqa: TRY400
            self._fail(export, "this is a fault of the gateway; its log says more")

    def _advanced(self, course: Course, export: Export, *, goes_on: bool) -> Export:
        """Write the next patients; return the export as it stands then."""
        moved, parts = course.advanced(export)
        until = self.clock() + self.settings.lease if goes_on and moved.state == "begun" else None
        with self.store.begin() as tx:
            tx.exports.advance(moved, parts, self.owner, until, export.cursor)
        if moved.state == "done":
            log.info("an export is written", export=export.id, client=export.client)
        return moved

    def _fail(self, export: Export, what: str) -> None:
        failed = replace(export, state="failed", detail=what)
        with self.store.begin() as tx:
            tx.exports.advance(failed, (), self.owner, None, export.cursor)
