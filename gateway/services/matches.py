"""What a search finds: a match, and where the search goes on behind it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from gateway.fhir.search.query import Query
from gateway.services.chart import Chart
from gateway.services.made import Made
from gateway.services.page_tokens import Position
from gateway.services.seen import Seen


@dataclass(frozen=True, slots=True)
class Match:
    """A stored resource that matches, and the chart it is in."""

    seen: Seen
    chart: Chart

    @property
    def place(self) -> Position:
        """Where a search goes on behind it."""
        view = self.chart.rights.view
        return Position(view.recipient, view.study, self.chart.patient, self.seen.stored.id)


@dataclass(frozen=True, slots=True)
class MadeMatch:
    """A resource that matches and was made."""

    seen: Made

    @property
    def place(self) -> Position:
        """Where a search goes on behind it."""
        return Position("", "", "", self.seen.id)


Found = Match | MadeMatch


def mark(match: Found, query: Query) -> bytes:
    """Return by what a match is recognised in a sorted list, as long as it is sorted by the same."""
    at = match.place
    place = (at.recipient, at.study, at.resource, query.sort_key(match.seen.body))
    return blake2b(repr(place).encode("utf-8", "replace"), digest_size=12).digest()
