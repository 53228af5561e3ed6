"""What goes with the matches of a search (FHIR R4, 3.1.1.4.13: ``_include``, ``_revinclude``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from gateway.fhir.search.parameters import parameters
from gateway.fhir.search.query import Include, Query
from gateway.services.chart import Chart
from gateway.services.matches import Match
from gateway.services.seen import Release, Seen

if TYPE_CHECKING:
    from gateway.services.search import Search


def references_of(release: Release, resource: dict[str, Any], parameter: str) -> list[str]:
    """Return the references (``Type/id``) a reference parameter finds in a resource."""
    known = parameters(release, resource["resourceType"]).get(parameter)
    found = (value for path in (known.paths if known else ()) for value in path.get(resource))
    return [one["reference"] for one in found if isinstance(one, dict) and isinstance(one.get("reference"), str)]


MOST_ROUNDS: Final = 3
"""How often ``:iterate`` goes on."""


class Inclusion:
    """Finds what goes with the matches of one query."""

    def __init__(self, search: Search, query: Query) -> None:
        self._search = search
        self._query = query
        self._found: dict[tuple[str, str], Match] = {}

    def of(self, matches: list[Match]) -> list[Seen]:
        """Return what is included with matches, each once."""
        known = {_name(match) for match in matches}
        new, first = matches, True
        for _ in range(MOST_ROUNDS):
            found = {_name(one): one for match in new for one in self._beside(match, first=first)}
            new = [one for name, one in found.items() if name not in known]
            known |= found.keys()
            self._found.update((_name(one), one) for one in new)
            first = False
            if not new:
                break
        return [match.seen for match in self._found.values()]

    def _beside(self, match: Match, *, first: bool) -> Iterator[Match]:
        body = match.seen.body
        for include in self._query.include:
            if include.source in ("*", match.seen.type) and (first or include.iterate):
                yield from self._named(match.chart, references_of(self._release, body, include.parameter), include)
        for include in self._query.revinclude:
            if (first or include.iterate) and self._search.may_see(include.source):
                yield from self._naming(match, include)

    @cached_property
    def _release(self) -> Release:
        return self._search.pull.release

    def _named(self, chart: Chart, references: Iterable[str], include: Include) -> Iterator[Match]:
        for reference in references:
            type = reference.partition("/")[0]
            if (include.target and include.target != type) or not self._search.may_see(type):
                continue
            seen = chart.by_reference(reference)
            if seen is not None and self._search.within(seen) is not None:
                yield Match(seen, chart)

    def _naming(self, match: Match, include: Include) -> Iterator[Match]:
        for chart in self._search.beside(match.chart):
            for seen in chart.of_type(include.source):
                body = self._search.within(seen)
                if body is None:
                    continue
                if match.seen.reference in references_of(self._release, body, include.parameter):
                    yield Match(seen, chart)


def _name(match: Match) -> tuple[str, str]:
    return match.seen.type, match.seen.id
