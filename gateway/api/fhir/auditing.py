"""AuditEvents: who was shown what, for the clients that may look at it (``gateway clients add --audits``).

Each client sees them as its views see what they speak of (``gateway.services.audits``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from gateway.api.fhir.bundles import Entry, address, searchset
from gateway.api.fhir.exchange import Asked, Rule, Told, told_seen
from gateway.api.fhir.reading import Shelf, not_found
from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.fhir.audit_events import Access, audit_event
from gateway.fhir.r5 import to_r5
from gateway.fhir.r5_audit import patients_of
from gateway.fhir.search.elements import subset
from gateway.fhir.search.query import Query, parse
from gateway.services.audits import Audits
from gateway.services.made import Made
from gateway.services.page_tokens import Page, Position
from gateway.services.search import Search
from gateway.services.seen import Release, Seen

_USUAL: Final = 50
_MOST: Final = 500

LOOKED_AT: Final = 2_000
"""Accesses that are looked at for a page: one on which few match has few, and goes on."""

COUNTED: Final = 20_000
"""Accesses that are looked at to count them."""

_NEWEST_FIRST: Final = ("", "-date", "-_lastUpdated")
_LED: Final = frozenset({"patient", "entity"})
"""Parameters whose references lead to resources."""


def auditing_rules(shelf: Shelf) -> list[Rule]:
    """Return the routes."""
    auditing = _Auditing(shelf)
    return [
        Rule("GET", "AuditEvent", "search-type", auditing.search),
        Rule("POST", "AuditEvent/_search", "search-type", auditing.search),
        Rule("GET", "AuditEvent/{id}", "read", auditing.read),
    ]


class _Auditing:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def read(self, asked: Asked) -> Told:
        """Return one AuditEvent."""
        _permit(asked, "r")
        query = parse(asked.release, "AuditEvent", asked.parameters, base=asked.base, lenient=asked.lenient)
        if not asked.id.isdecimal() or len(asked.id) > 18 or str(int(asked.id)) != asked.id:
            raise not_found()
        with self._shelf.search(asked) as search:
            access = Audits(search.pull).read(int(asked.id))
            event = None if access is None else _event(asked.release, access)
            if event is None or not _within(search, event):
                raise not_found()
            whole = told_seen(asked, Made(event))
            if whole.status != 200:
                return whole
            return Told(200, codec.encode(_part(asked, query, event)), whole.headers)

    def search(self, asked: Asked) -> Told:
        """Return a page of the AuditEvents that match, newest first."""
        _permit(asked, "s")
        page = self._page(asked)
        pairs = asked.parameters if page is None else page.pairs
        query = parse(asked.release, "AuditEvent", pairs, base=asked.base, lenient=asked.lenient)
        _check(query)
        with self._shelf.search(asked) as search:
            if query.count == 0 or query.summary == "count":
                return Told(200, searchset((), _counted(search, query), {"self": _self(asked, query)}))
            found = _Gathering(search, query, None if page is None else int(page.position.resource))
            total = _counted(search, query) if query.total == "accurate" else found.total
            included = _included(search, query, found.events)
        links = {"self": _self(asked, query)}
        if found.more:
            links["next"] = self._next(asked, query, found.last)
        entries = [_entry(asked, query, event) for event in found.events]
        entries += [(f"{asked.base}/{seen.reference}", seen.text, "include") for seen in included]
        shown = tuple(seen.shown for seen in included)
        return Told(200, searchset(entries, total, links), shown=shown)

    def _page(self, asked: Asked) -> Page | None:
        token = asked.page
        page = None if token is None else self._shelf.tokens.page(asked.caller.client, token)
        if page is not None and (page.release, page.path) != (asked.release, "AuditEvent"):
            raise RequestRefused(400, "value", "this page is of another search", ("_page",))
        return page

    def _next(self, asked: Asked, query: Query, last: int) -> str:
        page = Page(asked.release, "AuditEvent", tuple(query.pairs), Position("", "", "", str(last)))
        token = self._shelf.tokens.token(asked.caller.client, page)
        return address(asked.base, "AuditEvent", [("_page", token)])


class _World:
    """What AuditEvents refer to, as far as the caller may search for it. Nothing refers to them."""

    def __init__(self, search: Search) -> None:
        self._search = search

    def resolve(self, reference: str) -> dict[str, Any] | None:
        seen = _resolved(self._search, reference)
        return None if seen is None else self._search.within(seen)

    def referring(self, type: str, parameter: str, to: str) -> Iterable[dict[str, Any]]:
        return ()


class _Gathering:
    """The events of a page; ``last``: the number of the last access that was looked at.

    ``total``: of all matches, where that is known.
    """

    def __init__(self, search: Search, query: Query, before: int | None) -> None:
        most = min(query.count or _USUAL, _MOST)
        self.events: list[dict[str, Any]] = []
        self.more = False
        self.last = 0
        for looked, (number, event) in enumerate(_looked_at(search, query, before)):
            if looked == LOOKED_AT or (event is not None and len(self.events) == most):
                self.more = True
                break
            self.last = number
            if event is not None:
                self.events.append(event)
        self.total = None if self.more or before is not None else len(self.events)


def _looked_at(search: Search, query: Query, before: int | None) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield the numbers of accesses, newest first, each with its event, if that matches."""
    world, release = _World(search), search.pull.release
    for number, access in Audits(search.pull).before(before, query.subjects()):
        event = None if access is None else _event(release, access)
        if event is not None and _within(search, event) and query.matches(_spread(release, event), world):
            yield number, event
        else:
            yield number, None


def _counted(search: Search, query: Query) -> int:
    """Return how many match. Raises ``RequestRefused`` (400) when too many would have to be looked at."""
    count = 0
    for looked, (_, event) in enumerate(_looked_at(search, query, None)):
        if looked == COUNTED:
            what = "too many accesses to count: name a patient, or go through the pages"
            raise RequestRefused(400, "too-costly", what, ("_total",))
        count += event is not None
    return count


def _permit(asked: Asked, interaction: str) -> None:
    asked.scopes("AuditEvent", interaction)
    if not asked.caller.audits:
        raise RequestRefused(403, "forbidden", "this client may not look at who was shown what")


def _check(query: Query) -> None:
    """Raise ``RequestRefused`` (400) for what is not done with AuditEvents."""
    said = dict(query.pairs)
    if said.get("_sort", "") not in _NEWEST_FIRST:
        raise RequestRefused(400, "not-supported", "AuditEvents are sorted by -date alone", ("_sort",))
    for name in said:
        led, _, chained = name.partition(".")
        head = led.partition(":")[0]
        if head == "_has" or (chained and head not in _LED):
            what = f"{head}: nothing refers to an AuditEvent, and it refers to resources as patient and entity alone"
            raise RequestRefused(400, "not-supported", what, (head,))


def _within(search: Search, event: dict[str, Any]) -> bool:
    limits = search.limits("AuditEvent")
    return limits is None or limits(event)


def _event(release: Release, access: Access) -> dict[str, Any]:
    event = audit_event(access)
    return event if release == "R4" else to_r5(event)


def _spread(release: Release, event: dict[str, Any]) -> dict[str, Any]:
    """Return an event as it is searched: in R5 one of several Patients is found by each, though it can name but one."""
    return event if release == "R4" else {**event, "patient": patients_of(event)}


def _resolved(search: Search, reference: str) -> Seen | None:
    type, _, id = reference.partition("/")
    found = search.pull.read(type, id) if search.may_see(type) else None
    return None if found is None or search.within(found[1]) is None else found[1]


def _included(search: Search, query: Query, events: Iterable[dict[str, Any]]) -> list[Seen]:
    named = [reference for event in events for one in query.include for reference in one.references(event)]
    found = (_resolved(search, reference) for reference in dict.fromkeys(named))
    return [seen for seen in found if seen is not None]


def _part(asked: Asked, query: Query, event: dict[str, Any]) -> dict[str, Any]:
    return subset(asked.release, event, elements=query.elements, summary=query.summary)


def _entry(asked: Asked, query: Query, event: dict[str, Any]) -> Entry:
    return f"{asked.base}/AuditEvent/{event['id']}", codec.encode(_part(asked, query, event)), "match"


def _self(asked: Asked, query: Query) -> str:
    return address(asked.base, "AuditEvent", query.pairs)
