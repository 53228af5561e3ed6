"""What of a view's charts becomes lines of an export's files: some patients at a time, each with all types at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from gateway.fhir import codec
from gateway.model.delivery import View
from gateway.model.resource import ResourceVersion
from gateway.ports import ChangeRange, Store
from gateway.release.consent import Entitlement, entitlement
from gateway.release.policy import Rights
from gateway.release.release import Releasing
from gateway.services.chart import Chart
from gateway.services.concerns import Known, learnt
from gateway.services.export_content import Content
from gateway.services.export_deleted import gone
from gateway.services.export_files import Piece, pieces_of
from gateway.services.export_order import Order, Right
from gateway.services.pull import Pull, Sight
from gateway.services.seen import Seen

AT_ONCE: Final = 4
"""Patients read together."""

SLICE: Final = 4_000
"""Resources of one patient that are in memory at once: one who has more is written in slices."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Patients of a view who follow each other, by their internal ids; none: what belongs to nobody.

    ``after``: of the first, what lies behind this change.
    """

    view: View
    patients: tuple[str, ...] = ()
    after: int = 0


@dataclass(slots=True)
class Written:
    """What of a stretch was written, and the ``rest`` of it that was not; None: all was.

    ``looked``: how many resources were looked at. ``known``: what the patients' data refer to.
    """

    rest: Stretch | None = None
    pieces: list[Piece] = field(default_factory=list)
    known: dict[str, Known] = field(default_factory=dict)
    looked: int = 0


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes stretches, each as it may be seen at one moment. It only reads the database."""

    store: Store
    sight: Sight

    def write(self, stretch: Stretch, order: Order, client: str, now: datetime, enough: int) -> Written:
        """Write the beginning of a stretch: no further patient once ``enough`` resources were looked at."""
        with self.store.begin(write=False) as tx:
            pull = Pull(tx, self.sight, order.caller(client), now, order.release)
            return _Writing(pull, self.sight, order).write(stretch, enough)


class _Writing:
    """A stretch that is written in one read transaction."""

    def __init__(self, pull: Pull, sight: Sight, order: Order) -> None:
        self._written = Written()
        self._pull = pull
        since = order.since
        self._past = None if since is None else Pull(pull.tx, sight, pull.caller, since, pull.release)
        self._order = order
        self._content = Content(pull, order)

    def write(self, stretch: Stretch, enough: int) -> Written:
        """Write until so many resources were looked at, or to the end."""
        rights = self._pull.policy.rights(stretch.view)
        if rights is not None and not stretch.patients:
            self._shared(rights)
        rest: Stretch | None = stretch if rights is not None and stretch.patients else None
        while rights is not None and rest is not None and self._written.looked < enough:
            rest = self._patients(rights, rest)
        self._written.rest = rest
        return self._written

    def _shared(self, rights: Rights) -> None:
        """Write what belongs to nobody and concerns a view."""
        if self._order.shared:
            self._chart(self._pull.shared(rights), None)
            self._take_back(self._pull.shared(rights))

    def _patients(self, rights: Rights, stretch: Stretch) -> Stretch | None:
        """Write the next patients; return what is left."""
        some = stretch.patients[: 1 if stretch.after else AT_ONCE]
        ranges = [ChangeRange(patient, after=stretch.after, limit=SLICE + 1) for patient in some]
        newest = self._pull.tx.resources.newest_changes(some)
        releasing = Releasing(rights, self._pull.now)
        whole = self._order.shared and self._order.since is None and all(map(self._content.wants, rights.types))
        for place, heads in enumerate(self._pull.tx.resources.of_patients(ranges)):
            if stretch.after or len(heads) > SLICE:
                return self._slice(rights, stretch, place, heads)
            chart = Chart(self._pull, rights, some[place], heads, releasing)
            self._chart(chart, None)
            if whole:
                self._written.known[chart.patient] = learnt(chart, newest.get(chart.patient, 0))
            self._written.looked += len(heads) + 1
            self._take_back(chart)
        return _left(stretch, len(some))

    def _slice(self, rights: Rights, stretch: Stretch, place: int, heads: Sequence[ResourceVersion]) -> Stretch | None:
        """Write some of a patient of whom there is much; return what is left."""
        taken = heads[:SLICE]
        chart = Chart(self._pull, rights, stretch.patients[place])
        self._chart(chart, taken)
        self._written.looked += len(taken)
        if len(heads) > SLICE:
            return _left(stretch, place, taken[-1].change)
        self._take_back(chart)
        return _left(stretch, place + 1)

    def _take_back(self, chart: Chart) -> None:
        """Write what a view held at the moment named by ``_since``, and may hold no longer."""
        if self._past is not None:
            entries = gone(chart, self._past, self._content.wants)
            lines = [codec.encode(_deletion(entries))] if entries else []
            self._add(pieces_of("deleted", "Bundle", self._right(chart.rights, None, ""), lines))

    def _add(self, pieces: Iterable[Piece]) -> None:
        self._written.pieces.extend(pieces)

    # --- one chart ----------------------------------------------------------------------------------------------------

    def _chart(self, chart: Chart, heads: Sequence[ResourceVersion] | None) -> None:
        entitled = self._entitled(chart) if chart.patient else None
        if chart.patient and entitled is None:
            return
        if heads is None and self._order.since is None:
            chart.meet([type for type in chart.rights.types if self._content.wants(type)])
        right = self._right(chart.rights, entitled, chart.patient)
        for type in chart.types() if heads is None else sorted({head.type for head in heads}):
            if type not in chart.rights.types or not self._content.wants(type):
                continue
            of_type = chart.heads(type) if heads is None else [head for head in heads if head.type == type]
            written = list(self._lines(chart, of_type))
            lines = [line for line, _ in written]
            self._add(pieces_of("output", type, right, lines, [seen.shown for _, seen in written]))

    def _lines(self, chart: Chart, heads: Sequence[ResourceVersion]) -> Iterator[tuple[bytes, Seen]]:
        since = self._order.since
        entitled_at = chart.entitled_at if since is not None and chart.patient else None
        for head in heads:
            if since is not None and head.stored_at <= since and (entitled_at is None or entitled_at <= since):
                continue
            seen = chart.seen(head)
            line = None if seen is None else self._content.line(seen)
            if seen is not None and line is not None:
                yield line, seen

    def _entitled(self, chart: Chart) -> Entitlement | None:
        found = entitlement(chart.subject, chart.rights.recipient, chart.pull.now)
        return found if isinstance(found, Entitlement) else None

    def _right(self, rights: Rights, entitled: Entitlement | None, patient: str) -> Right:
        since, until = (entitled.since, entitled.until) if entitled else (None, None)
        return Right(rights.view.recipient, rights.view.study, rights.digest, patient, since, until)


def _left(stretch: Stretch, written: int, after: int = 0) -> Stretch | None:
    """Return a stretch without its first patients; None: nobody is left."""
    left = stretch.patients[written:]
    return Stretch(stretch.view, left, after) if left else None


def _deletion(entries: Sequence[str]) -> dict[str, Any]:
    """Return the Bundle that says which resources are no longer to be held (Bulk Data Access, "deleted")."""
    asked = [{"request": {"method": "DELETE", "url": reference}} for reference in entries]
    return {"resourceType": "Bundle", "type": "transaction", "entry": asked}
