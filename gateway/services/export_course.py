"""An export on its way: which patients are next, and where it stands when they are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from gateway.fhir import codec
from gateway.fhir.outcome import Issue, operation_outcome
from gateway.model.delivery import View
from gateway.ports import Clock, Export, Part, Transaction
from gateway.services.export_files import Cursor, Files, cursor_of, pieces_of
from gateway.services.export_order import Right, order_of
from gateway.services.export_parts import AT_ONCE, Stretch, Writer, Written
from gateway.services.pull import Pull

ENOUGH: Final = 4_000
"""Resources that are looked at for one transaction, about."""

_MOST: Final = 256
"""Patients of a stretch."""


class Course:
    """An export that is written by ``writer``."""

    def __init__(self, writer: Writer, clock: Clock, export: Export) -> None:
        self._writer = writer
        self._store = writer.store
        self._sight = writer.sight
        self._clock = clock
        self._order = order_of(export)
        self._next = self._stretches(export)
        self._rest: Stretch | None = None
        self._looked = self._patients = 0

    def advanced(self, export: Export) -> tuple[Export, list[Part]]:
        """Return an export as it stands when the next patients are written, and what was written of them."""
        files = Files(cursor_of(export))
        cursor = files.cursor
        if not export.cursor:
            export = replace(export, total=self._total(export))
            self._warn(files)
        looked = patients = 0
        while looked < ENOUGH and cursor.view < len(self._order.views):
            stretch, written = self._written(export)
            for piece in written.pieces:
                files.add(piece)
            looked += written.looked
            patients += _move(cursor, stretch, written.rest)
        self._looked, self._patients = self._looked + looked, self._patients + patients
        done = cursor.view >= len(self._order.views)
        stands = replace(export, state="done" if done else "begun", cursor=cursor.packed(), done=export.done + patients)
        return stands, files.parts

    # --- what is next ---------------------------------------------------------------------------------------------

    def _stretches(self, export: Export) -> Iterator[Stretch]:
        """Yield the stretches behind an export's cursor; each view ends with what belongs to nobody."""
        cursor = cursor_of(export)
        for named in self._order.views[cursor.view :]:
            view = View(*named)
            waiting, after = self._waiting(view, export, cursor), cursor.after
            while waiting:
                yield Stretch(view, waiting[: (size := self._size)], after)
                waiting, after = waiting[size:], 0
            yield Stretch(view)
            cursor = Cursor()

    def _waiting(self, view: View, export: Export, cursor: Cursor) -> tuple[str, ...]:
        """Return the patients of a view behind the cursor, with the one whom it stands within."""
        rights = self._sight.policy.rights(view)
        if rights is None:
            return ()
        with self._store.begin(write=False) as tx:
            behind = self._pull(tx, export).patients_behind(rights, cursor.patient)
        return (cursor.patient, *behind) if cursor.after else behind

    @property
    def _size(self) -> int:
        """How many patients to write at a time, if they are as those before: half of what one transaction takes."""
        return max(1, min(ENOUGH * self._patients // (2 * self._looked), _MOST)) if self._looked else AT_ONCE

    def _written(self, export: Export) -> tuple[Stretch, Written]:
        """Return the next stretch and what was written of it; what was not comes next."""
        stretch = self._rest or next(self._next)
        written = self._writer.write(stretch, self._order, export.client, self._clock(), ENOUGH)
        self._sight.concerns.learn(stretch.view, written.known)
        self._rest = written.rest
        return stretch, written

    # --- before the first -----------------------------------------------------------------------------------------

    def _total(self, export: Export) -> int:
        """Return how many patients there are to look at."""
        with self._store.begin(write=False) as tx:
            pull = self._pull(tx, export)
            return sum(len(pull.patients(rights)) for rights in pull.views)

    def _warn(self, files: Files) -> None:
        """Say what of the order was left out."""
        if self._order.ignored:
            what = "these parameters are not supported and were left out"
            issue = Issue(what, "not-supported", "warning", self._order.ignored)
            for piece in pieces_of("error", "OperationOutcome", Right(), [codec.encode(operation_outcome([issue]))]):
                files.add(piece)

    def _pull(self, tx: Transaction, export: Export) -> Pull:
        return Pull(tx, self._sight, self._order.caller(export.client), self._clock(), self._order.release)


def _move(cursor: Cursor, stretch: Stretch, rest: Stretch | None) -> int:
    """Put the cursor behind what was written of a stretch; return how many patients were written to their end."""
    left = rest.patients if rest else ()
    ended = len(stretch.patients) - len(left)
    if not stretch.patients:
        cursor.next_view()
    elif rest and rest.after:
        cursor.behind(left[0], rest.after)
    else:
        cursor.behind(stretch.patients[ended - 1])
    return ended
