"""One casebook: all that a view sees of one subject, in a fixed order that pages can go on in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.fhir import codec
from gateway.fhir.search.query import Query, parse
from gateway.release.policy import SHARED
from gateway.services.chart import Chart
from gateway.services.concerns import closed, referred
from gateway.services.limits import NOWHERE
from gateway.services.page_tokens import Position
from gateway.services.search import Search
from gateway.services.seen import Seen

CARE_DATES: Final[Mapping[str, str]] = {
    "Condition": "onset-date",
    "DiagnosticReport": "date",
    "DocumentReference": "period",
    "Encounter": "date",
    "Immunization": "date",
    "MedicationAdministration": "effective-time",
    "Observation": "date",
    "Procedure": "date",
    "Specimen": "collected",
}
"""The search parameter that finds a resource by when care was given; the other types are of all times."""

_R5: Final[Mapping[str, str]] = {"MedicationAdministration": "date"}
"""Where R5 names it differently."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What of a casebook is asked for. ``start`` and ``end``: days of care, as FHIR writes them, both included.

    ``types`` empty: all. ``since``: only what could be had first after this moment (UTC).
    """

    start: str = ""
    end: str = ""
    since: datetime | None = None
    types: frozenset[str] = frozenset()


class Casebook:
    """What a caller sees of one patient in one of its views."""

    def __init__(self, search: Search, chart: Chart, extent: Extent) -> None:
        self._search = search
        self._chart = chart
        self._extent = extent
        self._during: dict[str, Sequence[Query]] = {}

    def position(self, seen: Seen) -> Position:
        """Return the place behind one of its resources."""
        view = self._chart.rights.view
        trail = (seen.type.encode(),)
        return Position(view.recipient, view.study, self._chart.patient, seen.stored.id, trail)

    def behind(self, after: Position | None) -> Iterator[Seen]:
        """Yield what is in it behind a place: what is the patient's own, then what belongs to nobody."""
        place = ("", "")
        if after is not None and after.trail:
            place = after.trail[0].decode(), self._chart.rights.public_id(after.resource)
        if place[0] not in SHARED:
            own = [type for type in self._chart.types() if type >= place[0] and self._wants(type)]
            for type in own:
                yield from self._kept(seen for seen in self._chart.of_type(type) if (type, seen.id) > place)
            place = ("", "")
        yield from self._kept(seen for seen in self._shared() if (seen.type, seen.id) > place)

    def _shared(self) -> list[Seen]:
        """Return what belongs to nobody and the patient's data refer to, as the view sees it."""
        tx, rights = self._search.pull.tx, self._chart.rights
        shared = self._search.pull.shared(rights)
        named = closed(shared, {*referred(self._chart), rights.study.resource})
        found = (shared.seen(head) for head in tx.resources.heads(named).values() if self._wants(head.type))
        return sorted((seen for seen in found if seen is not None), key=lambda seen: (seen.type, seen.id))

    def _wants(self, type: str) -> bool:
        return (not self._extent.types or type in self._extent.types) and self._search.may_see(type)

    def _kept(self, found: Iterator[Seen]) -> Iterator[Seen]:
        since = self._extent.since
        for seen in found:
            if since is not None and seen.last_updated <= since:
                continue
            body = self._search.within(seen)
            if body is not None and self._is_in_time(self._dated(seen, body)):
                yield seen

    def _dated(self, seen: Seen, body: dict[str, Any]) -> dict[str, Any]:
        """Return what says when care was given: of a document's bytes, its DocumentReference."""
        if seen.type != "Binary" or not (self._extent.start or self._extent.end):
            return body
        id = codec.decode(seen.stored.body)["securityContext"]["reference"].partition("/")[2]
        document = self._chart.by_reference(f"DocumentReference/{self._chart.rights.public_id(id)}")
        return body if document is None else document.body

    def _is_in_time(self, body: dict[str, Any]) -> bool:
        """Whether care was given in the days asked for, or the resource does not say when."""
        type = body["resourceType"]
        if type not in CARE_DATES or not (self._extent.start or self._extent.end):
            return True
        if type not in self._during:
            self._during[type] = during(self._search, type, self._extent)
        return any(query.matches(body, NOWHERE) for query in self._during[type])


def during(search: Search, type: str, extent: Extent) -> Sequence[Query]:
    """Return the searches for care in the days of an extent, or without a day. Raises ``RequestRefused`` (400)."""
    release = search.pull.release
    name = _R5.get(type, CARE_DATES[type]) if release == "R5" else CARE_DATES[type]
    bounds = [(name, sign + day) for sign, day in (("ge", extent.start), ("le", extent.end)) if day]
    return [parse(release, type, pairs, base=search.base) for pairs in (bounds, [(f"{name}:missing", "true")])]
