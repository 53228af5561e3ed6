"""What of a view's charts becomes lines of an export's files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from gateway.fhir import codec
from gateway.fhir.outcome import Issue, operation_outcome
from gateway.model.resource import ResourceVersion
from gateway.ports import ChangeRange
from gateway.release.consent import Entitlement, entitlement
from gateway.release.policy import Rights
from gateway.release.release import Releasing
from gateway.services.chart import Chart, Seen
from gateway.services.export_content import Content
from gateway.services.export_deleted import gone
from gateway.services.export_files import Files
from gateway.services.export_order import Order, Right
from gateway.services.pull import Pull, Sight

AT_ONCE: Final = 4
"""Patients read together."""

SLICE: Final = 4_000
"""Resources of one patient that are in memory at once: one who has more is written in slices."""


class PartWriter:
    """Writes the parts of some patients, or of what belongs to nobody."""

    def __init__(self, pull: Pull, sight: Sight, order: Order, files: Files) -> None:
        self._pull = pull
        since = order.since
        self._past = None if since is None else Pull(pull.tx, sight, pull.caller, since, pull.release)
        self._order = order
        self._files = files
        self._sight = sight
        self._content = Content(pull, order)

    def warnings(self) -> None:
        """Say what of the order was left out."""
        if self._order.ignored:
            what = "these parameters are not supported and were left out"
            issue = Issue(what, "not-supported", "warning", self._order.ignored)
            self._files.add("error", "OperationOutcome", Right(), [codec.encode(operation_outcome([issue]))])

    def patients(self, rights: Rights, waiting: Sequence[str]) -> int:
        """Write the next patients of a view; return how many resources were looked at."""
        begun = self._files.cursor.after
        some = waiting[:1] if begun else waiting[:AT_ONCE]
        ranges = [ChangeRange(patient, after=begun, limit=SLICE + 1) for patient in some]
        newest = self._pull.tx.resources.newest_changes(some)
        releasing = Releasing(rights, self._pull.now)
        whole = self._order.since is None and all(map(self._content.wants, rights.types))
        looked = 0
        for patient, heads in zip(some, self._pull.tx.resources.of_patients(ranges), strict=True):
            if begun or len(heads) > SLICE:
                return looked + self._slice(rights, patient, heads)
            chart = Chart(self._pull, rights, patient, heads, releasing)
            self._chart(chart, None)
            if whole:
                self._sight.concerns.learn(chart, newest.get(patient, 0))
            looked += len(heads) + 1
            self._finish(chart)
        return looked

    def _slice(self, rights: Rights, patient: str, heads: Sequence[ResourceVersion]) -> int:
        """Write some of a patient of whom there is much."""
        taken = heads[:SLICE]
        chart = Chart(self._pull, rights, patient)
        self._chart(chart, taken)
        if len(heads) > SLICE:
            self._files.cursor.after = taken[-1].change
        else:
            self._finish(chart)
        return len(taken)

    def _finish(self, chart: Chart) -> None:
        self._take_back(chart)
        self._files.cursor.behind(chart.patient)
        self._files.finished += 1

    def shared(self, rights: Rights) -> None:
        """Write what belongs to nobody and concerns a view."""
        self._chart(self._pull.shared(rights), None)
        self._take_back(self._pull.shared(rights))

    def _take_back(self, chart: Chart) -> None:
        """Write what a view held at the moment named by ``_since``, and may hold no longer."""
        if self._past is not None:
            entries = gone(chart, self._past, self._content.wants)
            lines = [codec.encode(_deletion(entries))] if entries else []
            self._files.add("deleted", "Bundle", self._right(chart.rights, None, ""), lines)

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
            self._files.add("output", type, right, lines, [seen.shown for _, seen in written])

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


def _deletion(entries: Sequence[str]) -> dict[str, Any]:
    """Return the Bundle that says which resources are no longer to be held (Bulk Data Access, "deleted")."""
    asked = [{"request": {"method": "DELETE", "url": reference}} for reference in entries]
    return {"resourceType": "Bundle", "type": "transaction", "entry": asked}
