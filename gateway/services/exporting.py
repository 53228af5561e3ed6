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

from gateway.errors import RequestRefused, StaleClaim, StoreError
from gateway.model.delivery import View
from gateway.ports import Clock, Export, Store, Transaction
from gateway.services.defect import words_of
from gateway.services.export_files import Cursor, Files, cursor_of
from gateway.services.export_order import order_of
from gateway.services.export_parts import PartWriter
from gateway.services.pull import Pull, Sight

log = structlog.get_logger()

ENOUGH: Final = 8_000
"""Resources that are looked at in one transaction; one more patient's may be added."""

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
        try:
            while export.state == "begun":
                ends = stop()
                export = self._advanced(export, goes_on=not ends)
                if ends:
                    return
        except StaleClaim:
            log.info("an export was dropped, or another process writes it", export=export.id)
        except StoreError:
            raise  # the database is away: the lease runs out, and the export goes on then
        except RequestRefused as error:
            self._fail(export, error.what)
        except Exception as error:  # noqa: BLE001 - whatever it is, the export must not be tried for ever
            # Not with the traceback: its words may be somebody's data.
            log.error("an export failed", export=export.id, error=words_of(error))  # noqa: TRY400
            self._fail(export, "this is a fault of the gateway; its log says more")

    def _advanced(self, export: Export, *, goes_on: bool) -> Export:
        """Write the next patients; return the export as it stands then."""
        files = Files(cursor_of(export))
        with self.store.begin(write=False) as tx:
            moved = _Step(self._pull(tx, export), self.sight, export, files).taken()
        now = self.clock()
        until = now + self.settings.lease if goes_on and moved.state == "begun" else None
        with self.store.begin() as tx:
            tx.exports.advance(moved, files.parts, self.owner, until, export.cursor)
        if moved.state == "done":
            log.info("an export is written", export=export.id, client=export.client, files=files.number)
        return moved

    def _pull(self, tx: Transaction, export: Export) -> Pull:
        order = order_of(export)
        return Pull(tx, self.sight, order.caller(export.client), self.clock(), order.release)

    def _fail(self, export: Export, what: str) -> None:
        failed = replace(export, state="failed", detail=what)
        with self.store.begin() as tx:
            tx.exports.advance(failed, (), self.owner, None, export.cursor)


class _Step:
    """The next patients of an export, in one read transaction."""

    def __init__(self, pull: Pull, sight: Sight, export: Export, files: Files) -> None:
        self._order = order_of(export)
        self._pull = pull
        self._export = export
        self._files = files
        self._writer = PartWriter(pull, sight, self._order, files)

    def taken(self) -> Export:
        """Write enough, or all there is, and return the export as it stands then."""
        cursor = self._files.cursor
        export = self._export
        if not export.cursor:
            export = replace(export, total=sum(len(self._pull.patients(rights)) for rights in self._pull.views))
            self._writer.warnings()
        looked = 0
        while cursor.view < len(self._order.views) and looked < ENOUGH:
            looked += self._of_view(cursor)
        done = cursor.view >= len(self._order.views)
        counted = self._files.finished + export.done
        return replace(export, state="done" if done else "begun", cursor=cursor.packed(), done=counted)

    def _of_view(self, cursor: Cursor) -> int:
        """Write some patients of the view that is next, or end with it; return how many resources were looked at."""
        rights = self._pull.policy.rights(View(*self._order.views[cursor.view]))
        if rights is not None:
            waiting = self._pull.patients_behind(rights, cursor.patient)
            if waiting:
                return self._writer.patients(rights, waiting)
            if self._order.shared:
                self._writer.shared(rights)
        cursor.next_view()
        return 0
