"""Search (FHIR R4, 3.1.1): by GET and by ``POST _search``, paged by opaque tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from msgspec.structs import replace

from gateway.api.fhir.bundles import Entry, address, searchset
from gateway.api.fhir.exchange import Asked, Rule, Told
from gateway.api.fhir.reading import Shelf
from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.fhir.outcome import Issue, operation_outcome
from gateway.fhir.search.elements import subset
from gateway.fhir.search.query import Query, parse
from gateway.services.made import Form, shown_of
from gateway.services.matches import Found, mark
from gateway.services.page_tokens import Page, Position
from gateway.services.search import Search

USUAL: Final = 50
"""Matches of a page when ``_count`` is not given."""

MOST: Final = 1000
"""Matches of a page at most."""

TRAIL: Final = 20
"""Matches that a page of a sort is recognised by again."""

_CUTTING: Final = ("true", "text", "data")


def searching_rules(shelf: Shelf) -> list[Rule]:
    """Return the routes."""
    searching = _Searching(shelf)
    return [
        *shelf.rules("GET", "{type}", "search-type", searching.search, shelf.searched),
        *shelf.rules("POST", "{type}/_search", "search-type", searching.search, shelf.searched),
    ]


class _Searching:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def search(self, asked: Asked) -> Told:
        """Return a page of what matches."""
        asked.scopes(asked.type, "s")
        pairs, after = self._begun(asked)
        query = parse(asked.release, asked.type, pairs, base=asked.base, lenient=asked.lenient)
        with self._shelf.search(asked) as search:
            search.check(query)
            return self._told(asked, search, query, after)

    def _begun(self, asked: Asked) -> tuple[Sequence[tuple[str, str]], Position | None]:
        """Return the parameters of the search, and where it goes on (None: at its beginning)."""
        token = asked.page
        if token is None:
            return [_spelt(name, value) for name, value in asked.parameters], None
        page = self._shelf.tokens.page(asked.caller.client, token)
        if (page.release, page.path) != (asked.release, asked.type):
            raise RequestRefused(400, "value", "this page is of another search", ("_page",))
        return page.pairs, page.position

    # --- one page ---------------------------------------------------------------------------------------------------

    def _told(self, asked: Asked, search: Search, query: Query, after: Position | None) -> Told:
        if query.count == 0 or query.summary == "count":
            counted = sum(1 for _ in search.matches(query))
            return Told(200, searchset((), counted, {"self": _self(asked, query)}))
        most = min(query.count or USUAL, MOST)
        found, total = _matches(search, query, after, most + 1)
        matches = found[:most]
        if total is None and query.total == "accurate":
            total = sum(1 for _ in search.matches(query))
        included = search.included(query, matches)
        links = {"self": _self(asked, query)}
        if len(found) > most:
            links["next"] = self._next(asked, query, matches)
        entries = [_entry(asked, query, match.seen, "match") for match in matches]
        entries += [_entry(asked, query, seen, "include") for seen in included]
        shown = shown_of([*(match.seen for match in matches), *included])
        return Told(200, searchset([*entries, *_warnings(query)], total, links), shown=shown)

    def _next(self, asked: Asked, query: Query, matches: Sequence[Found]) -> str:
        """Return the URL of the next page: it holds no parameter in clear, as one may name a person."""
        trail = tuple(mark(match, query) for match in matches[-TRAIL:]) if query.sort else ()
        page = Page(asked.release, asked.type, tuple(query.pairs), replace(matches[-1].place, trail=trail))
        return address(asked.base, asked.type, [("_page", self._shelf.tokens.token(asked.caller.client, page))])


def _matches(search: Search, query: Query, after: Position | None, most: int) -> tuple[list[Found], int | None]:
    """Return the next matches, ``most`` of them, and how many there are in all where that is known already."""
    if query.sort:
        everything = search.sorted(query)
        rest = everything if after is None else search.behind(query, everything, after)
        return rest[:most], len(everything)
    found = search.first(query, most, after)
    return found, len(found) if after is None and len(found) < most else None


def _spelt(name: str, value: str) -> tuple[str, str]:
    """Return a parameter as FHIR spells it: fhirpy counts with another server's name for ``_total``."""
    return ("_total", "accurate" if value == "count" else value) if name == "_totalMethod" else (name, value)


def _self(asked: Asked, query: Query) -> str:
    return address(asked.base, asked.type, query.pairs)


def _entry(asked: Asked, query: Query, seen: Form, mode: str) -> Entry:
    text = seen.text
    if query.elements or query.summary in _CUTTING:
        text = codec.encode(subset(asked.release, seen.body, elements=query.elements, summary=query.summary))
    return f"{asked.base}/{seen.reference}", text, mode


def _warnings(query: Query) -> list[Entry]:
    """Return an OperationOutcome that names the parameters left out, where some were (handling=lenient)."""
    if not query.ignored:
        return []
    issue = Issue("these parameters are not supported and were left out", "not-supported", "warning", query.ignored)
    return [("urn:uuid:" + str(uuid4()), codec.encode(operation_outcome([issue])), "outcome")]
