"""Searching what a caller sees: candidates in a fixed order, matched in the form in which they would leave.

The order is that of (view, patient, resource), by the view's own ids, which says nothing to anybody: what exists all
along appears on exactly one page, whatever is written meanwhile. What is made instead of stored comes last, by its id.
A sort gathers every match first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from gateway.errors import RequestRefused
from gateway.fhir.search.query import Query
from gateway.model.resource import ResourceVersion
from gateway.release.policy import SAYS_OF_OTHERS, SHARED, Rights
from gateway.services.chart import Chart
from gateway.services.inclusion import Inclusion, references_of
from gateway.services.limits import NOWHERE, Limits, limits_of
from gateway.services.made import Made, Source
from gateway.services.matches import Found, MadeMatch, Match, mark
from gateway.services.page_tokens import Position
from gateway.services.pull import Pull
from gateway.services.seen import Seen
from gateway.services.subjects import ENTITLING


class ChartWorld:
    """What a resource of a chart is linked with, as far as the caller may search for it (chaining, ``_has``)."""

    def __init__(self, search: Search, chart: Chart) -> None:
        self._search = search
        self._chart = chart

    def resolve(self, reference: str) -> dict[str, Any] | None:
        """Return the resource a reference names."""
        type = reference.partition("/")[0]
        seen = self._chart.by_reference(reference) if self._search.may_see(type) else None
        return None if seen is None else self._search.within(seen)

    def referring(self, type: str, parameter: str, to: str) -> Iterator[dict[str, Any]]:
        """Yield the resources of a type that refer to one."""
        if not self._search.may_see(type):
            return
        for chart in self._search.beside(self._chart):
            for seen in chart.of_type(type):
                body = self._search.within(seen)
                if body is not None and to in references_of(self._search.pull.release, body, parameter):
                    yield body


class Search:
    """Searches for one caller in one transaction. ``base``: the FHIR base URL, for absolute references.

    ``sources``: by type, what makes resources that are not stored.
    """

    def __init__(self, pull: Pull, base: str, sources: Mapping[str, Source] | None = None) -> None:
        self.pull = pull
        self.base = base
        self._sources = sources or {}
        self._limits: dict[str, Limits | None] = {}

    # --- what the scopes allow --------------------------------------------------------------------------------------

    def may_see(self, type: str) -> bool:
        """Whether the token lets its bearer search for a type."""
        return bool(self.pull.caller.scopes_for(type, "s"))

    def check(self, query: Query) -> None:
        """Raise ``RequestRefused`` (403) when the token lets nothing be searched that a chain or ``_has`` leads to."""
        for types in query.beyond:
            if not any(map(self.may_see, types)):
                what = (
                    f"the token has no scope to search for {' or '.join(sorted(types))}, which decides on what matches"
                )
                raise RequestRefused(403, "forbidden", what)

    def limits(self, type: str) -> Limits | None:
        """Return what the scopes' queries let through of a type."""
        if type not in self._limits:
            caller = self.pull.caller
            scopes = caller.scopes_for(type, "s") or caller.scopes_for(type, "r")
            self._limits[type] = limits_of(scopes, self.pull, self.base)
        return self._limits[type]

    def within(self, seen: Seen) -> dict[str, Any] | None:
        """Return a resource's body when the scopes let it be seen."""
        limits, body = self.limits(seen.type), seen.body
        return body if limits is None or limits(body) else None

    # --- matches ----------------------------------------------------------------------------------------------------

    def matches(self, query: Query, after: Position | None = None) -> Iterator[Found]:
        """Yield what matches, in the fixed order, behind a position."""
        if after is None or after.recipient:
            yield from self.stored(query, after)
            after = None
        for made in self.made(query.type):
            if (after is None or made.id > after.resource) and query.matches(made.body, NOWHERE):
                yield MadeMatch(made)

    def made(self, type: str) -> list[Made]:
        """Return what is made of a type and the scopes let be seen, by id."""
        limits, source = self.limits(type), self._sources.get(type)
        found = (Made(body) for body in source(self.pull)) if source else ()
        return sorted((one for one in found if limits is None or limits(one.body)), key=lambda one: one.id)

    def stored(self, query: Query, after: Position | None = None) -> Iterator[Match]:
        """Yield what matches of what is stored, in the fixed order, behind a position."""
        for chart in self._charts(query, after):
            world = ChartWorld(self, chart)
            limits = self.limits(query.type)
            behind = after.resource if after is not None and self._is_at(after, chart) else ""
            for head in chart.heads(query.type, behind, _may_match(query, chart)):
                seen = chart.seen(head)
                if seen is None:
                    continue
                body = seen.body
                found = (limits is None or limits(body)) and query.matches(body, world)
                if found and not self._found_before(query, chart.rights, head):
                    yield Match(seen, chart)

    def _found_before(self, query: Query, rights: Rights, head: ResourceVersion) -> bool:
        """Whether an earlier view of the caller's, which knows the resource by the same id, has it as a match."""
        for earlier in self.pull.views[: self.pull.views.index(rights)]:
            if query.type not in earlier.types or not rights.same_ids(earlier):
                continue
            chart = self.pull.chart(earlier, head.patient)
            seen = chart.seen(head)
            body = None if seen is None else self.within(seen)
            if body is not None and query.matches(body, ChartWorld(self, chart)):
                return True
        return False

    def first(self, query: Query, count: int, after: Position | None = None) -> list[Found]:
        """Return the first matches behind a position, ``count`` at most."""
        return list(islice(self.matches(query, after), count))

    def sorted(self, query: Query) -> list[Found]:
        """Return every match, as the query sorts them; equals stay in the fixed order."""
        return sorted(self.matches(query), key=lambda match: query.sort_key(match.seen.body))

    def behind(self, query: Query, matches: list[Found], after: Position) -> list[Found]:
        """Return the sorted matches behind a position: behind the last of its trail that is sorted as it was.

        Raises ``RequestRefused`` (410) when none of them is.
        """
        places = {mark(match, query): place for place, match in enumerate(matches)}
        known = [places[each] for each in after.trail if each in places]
        if not known:
            raise RequestRefused(410, "expired", "too much has changed to go on: begin the search again", ("_page",))
        return matches[known[-1] + 1 :]

    def _charts(self, query: Query, after: Position | None) -> Iterator[Chart]:
        views = [rights for rights in self.pull.views if query.type in rights.types]
        if after is not None:
            places = [(rights.view.recipient, rights.view.study) for rights in views]
            begun = (after.recipient, after.study)
            views = views[places.index(begun) :] if begun in places else []
        for place, rights in enumerate(views):
            here = after if not place else None
            if query.type in SHARED or (query.type in SAYS_OF_OTHERS and not (here and here.patient)):
                yield self.pull.shared(rights)
            if query.type not in SHARED:
                yield from self._personal(rights, query, here)

    def _personal(self, rights: Rights, query: Query, after: Position | None) -> Iterator[Chart]:
        """Yield the charts of a view's patients behind a position in it."""
        patients = self._patients(rights, query)
        if after is not None:
            behind = {after.patient, *self.pull.patients_behind(rights, after.patient)}
            patients = [one for one in patients if one in behind]
        if query.type in ENTITLING:
            yield from self.pull.charts_of_persons(rights, patients)
        elif len(patients) == 1:
            yield self.pull.chart(rights, patients[0])
        elif query.narrow:
            yield from self.pull.charts_worth(rights, patients, query, NOWHERE)
        else:
            yield from self.pull.whole_charts(rights, patients)

    def _patients(self, rights: Rights, query: Query) -> Sequence[str]:
        subjects = query.subjects()
        everyone = self.pull.patients(rights)
        if subjects is None:
            return everyone
        named = set()
        for public in subjects:
            try:
                named.add(rights.internal_id(public))
            except ValueError:
                continue
        return [one for one in everyone if one in named] if named else []

    def _is_at(self, after: Position, chart: Chart) -> bool:
        view = chart.rights.view
        return (after.recipient, after.study, after.patient) == (view.recipient, view.study, chart.patient)

    def beside(self, chart: Chart) -> Iterator[Chart]:
        """Yield the charts in which something may refer to a resource of a chart."""
        yield chart
        if not chart.patient:
            yield from self.pull.charts(chart.rights)

    # --- what goes with them ----------------------------------------------------------------------------------------

    def included(self, query: Query, matches: Iterable[Found]) -> list[Seen]:
        """Return what the query includes with its matches, each once (FHIR R4, 3.1.1.4.13).

        With what is made goes nothing: it refers to nothing that is stored, nor does that to it.
        """
        return Inclusion(self, query).of([match for match in matches if isinstance(match, Match)])


def _may_match(query: Query, chart: Chart) -> Callable[[ResourceVersion], bool]:
    """Return whether a version of a chart may match, which is asked before anything is made of it."""
    named = [_internal(chart.rights, ids) for ids in query.named]
    timed = query.timed
    known: dict[str, bool] = {}

    def of_time(head: ResourceVersion) -> bool:
        moment = chart.last_updated(head)
        if moment not in known:
            known[moment] = query.may_be_of(moment, NOWHERE)
        return known[moment]

    def may(head: ResourceVersion) -> bool:
        body = head.body
        for ids in named:
            if not any(id in body for id in ids):
                return False
        return query.may(body) and (not timed or of_time(head))

    return may


def _internal(rights: Rights, publics: Iterable[str]) -> list[bytes]:
    """Return the internal ids that a view's own stand for: these are what stored resources refer to."""
    found = []
    for public in publics:
        with suppress(ValueError):
            found.append(rights.internal_id(public).encode())
    return found
