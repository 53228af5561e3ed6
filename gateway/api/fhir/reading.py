"""read, vread and history (FHIR R4, 3.1.0 RESTful API)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from gateway.api.fhir.bundles import address, history
from gateway.api.fhir.documents import BINARY, told_content
from gateway.api.fhir.exchange import RELEASES, Asked, Handler, Method, Rule, Told, etag, told_seen
from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.fhir.search.elements import subset
from gateway.fhir.search.parameters import types
from gateway.model.resource import ResourceVersion
from gateway.ports import Store
from gateway.release.policy import REQUIRED, SHARED
from gateway.services.chart import Chart, Seen
from gateway.services.graves import deleted
from gateway.services.made import Form, Made, Source, shown_of, version_of
from gateway.services.page_tokens import PageTokens
from gateway.services.pull import Pull, Sight
from gateway.services.search import Search

_PLAIN: Final = frozenset(("_elements", "_summary"))


@dataclass(frozen=True, slots=True)
class Shelf:
    """What reading needs: the store, who may see what, page tokens, and by type what makes what is not stored."""

    store: Store
    sight: Sight
    tokens: PageTokens
    sources: dict[str, Source]

    @contextmanager
    def search(self, asked: Asked) -> Iterator[Search]:
        """Open a read transaction for a request."""
        with self.store.begin(write=False) as tx:
            yield Search(Pull(tx, self.sight, asked.caller, asked.now, asked.release), asked.base, self.sources)

    @property
    def types(self) -> tuple[str, ...]:
        """The types that are read: those a view may be let see, and those of the sources."""
        return tuple(sorted({*REQUIRED, *self.sources}))

    @property
    def searched(self) -> tuple[str, ...]:
        """Those of them that are searched: a document is found by its DocumentReference."""
        return tuple(type for type in self.types if type != BINARY)

    def rules(self, method: Method, path: str, interaction: str, handler: Handler, wanted: Iterable[str]) -> list[Rule]:
        """Return a route for the types wanted, in each release for those that it has."""
        return [
            Rule(method, path, interaction, handler, releases=(release,), types=served)
            for release in RELEASES
            if (served := tuple(type for type in wanted if type in types(release)))
        ]


def reading_rules(shelf: Shelf) -> list[Rule]:
    """Return the routes."""
    reading = _Reading(shelf)
    kept = tuple(sorted(REQUIRED))
    listed = tuple(type for type in kept if type in shelf.searched)
    return [
        *shelf.rules("GET", "{type}/{id}", "read", reading.read, shelf.types),
        Rule("GET", "{type}/{id}/_history/{version}", "vread", reading.vread, types=kept),
        Rule("GET", "{type}/{id}/_history", "history-instance", reading.history, types=kept),
        Rule("GET", "{type}/_history", "history-type", reading.type_history, types=listed),
    ]


def not_found() -> RequestRefused:
    """Return the refusal of what does not exist, or not for this caller: nobody can tell which."""
    return RequestRefused(404, "not-found", "there is no such resource, or it is not for this client")


class _Reading:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def read(self, asked: Asked) -> Told:
        """Return a resource in its newest version."""
        asked.scopes(asked.type, "r")
        with self._shelf.search(asked) as search:
            seen = _made(search, asked) or self._found(search, asked)[1]
            return told_content(asked, told_seen(asked, seen)) if asked.native else _shaped(asked, seen)

    def vread(self, asked: Asked) -> Told:
        """Return one version of a resource, as the caller would see it today."""
        asked.scopes(asked.type, "r")
        with self._shelf.search(asked) as search:
            past, gone = self._past(search, asked)
            for seen in past:
                if version_of(seen) == asked.names["version"]:
                    told = told_seen(asked, seen)
                    return told_content(asked, told) if asked.native else told
        raise _deleted() if gone is not None and str(gone.version) == asked.names["version"] else not_found()

    def history(self, asked: Asked) -> Told:
        """Return the versions of a resource, newest first."""
        asked.scopes(asked.type, "r")
        with self._shelf.search(asked) as search:
            return _history(asked, *self._past(search, asked))

    def type_history(self, asked: Asked) -> Told:
        """Return the newest versions of the resources of a type that changed since a moment (``_since``)."""
        asked.scopes(asked.type, "s")
        since = _since(asked)
        with self._shelf.search(asked) as search:
            by_id: dict[str, Form] = {}
            for rights in search.pull.views:
                charts = [search.pull.shared(rights)] if asked.type in SHARED else search.pull.charts(rights)
                seen = (one for chart in charts for one in chart.of_type(asked.type) if search.within(one) is not None)
                for one in seen:
                    if since is None or one.last_updated >= since:
                        by_id.setdefault(one.id, one)
            for made in search.made(asked.type):
                if since is None or _moment(made) >= since:
                    by_id.setdefault(made.id, made)
        found = list(by_id.values())
        found.sort(key=lambda one: (_moment(one), one.id), reverse=True)
        return _history(asked, found[: _count(asked)])

    def _found(self, search: Search, asked: Asked) -> tuple[Chart, Seen]:
        """Return a resource the caller sees. Raises ``RequestRefused``: 404, or 410 when it was deleted."""
        found = search.pull.read(asked.type, asked.id)
        if found is None and deleted(search.pull, asked.type, asked.id) is not None:
            raise _deleted()
        if found is None or search.within(found[1]) is None:
            raise not_found()
        return found

    def _past(self, search: Search, asked: Asked) -> tuple[Sequence[Form], ResourceVersion | None]:
        """Return the versions of a resource as the caller sees them today, newest first, and its deletion."""
        if made := _made(search, asked):
            return [made], None
        grave = deleted(search.pull, asked.type, asked.id)
        if grave is None:
            chart, seen = self._found(search, asked)
            newest, before, gone = [seen], search.pull.tx.resources.versions(seen.stored.id)[:-1], None
        else:
            chart, gone = grave
            newest, before = [], search.pull.tx.resources.versions(gone.id)[:-1]
        earlier = [one for version in before if (one := chart.past(version)) is not None]
        return [*newest, *reversed([one for one in earlier if search.within(one) is not None])], gone


def _made(search: Search, asked: Asked) -> Made | None:
    return next((one for one in search.made(asked.type) if one.id == asked.id), None)


def _deleted() -> RequestRefused:
    return RequestRefused(410, "deleted", "this resource was deleted")


def _history(asked: Asked, versions: Sequence[Form], gone: ResourceVersion | None = None) -> Told:
    entries = [(f"{asked.base}/{seen.reference}", seen.text, _said(seen)) for seen in versions]
    if gone is not None:
        entries.insert(0, (f"{asked.base}/{asked.type}/{asked.id}", b"", _said_gone(asked, gone)))
    links = {"self": address(asked.base, asked.path, asked.parameters)}
    return Told(200, history(entries, links), shown=shown_of(versions))


def _said(seen: Form) -> dict[str, Any]:
    method = "POST" if version_of(seen) == "1" else "PUT"
    url = seen.type if method == "POST" else seen.reference
    status = "201" if method == "POST" else "200"
    response = {"status": status, "etag": etag(seen), "lastModified": _moment(seen).strftime("%Y-%m-%dT%H:%M:%SZ")}
    return {"request": {"method": method, "url": url}, "response": response}


def _moment(seen: Form) -> datetime:
    """Return when it could be had first; what has been there all along comes before everything."""
    return seen.last_updated or datetime(1970, 1, 1, tzinfo=UTC)


def _said_gone(asked: Asked, gone: ResourceVersion) -> dict[str, Any]:
    response = {
        "status": "204",
        "etag": f'W/"{gone.version}"',
        "lastModified": gone.stored_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return {"request": {"method": "DELETE", "url": f"{asked.type}/{asked.id}"}, "response": response}


def _since(asked: Asked) -> datetime | None:
    text = dict(asked.parameters).get("_since")
    if text is None:
        return None
    try:
        since = datetime.fromisoformat(text)
    except ValueError:
        since = None
    if since is None or since.tzinfo is None:
        raise RequestRefused(400, "value", "_since is an instant with its zone, 2026-03-01T00:00:00Z", ("_since",))
    return since


def _count(asked: Asked) -> int:
    text = dict(asked.parameters).get("_count", "1000")
    if not text.isdecimal():
        raise RequestRefused(400, "value", "_count is a whole number", ("_count",))
    return min(int(text[:9]), 1000)


def _shaped(asked: Asked, seen: Form) -> Told:
    """Return a resource, cut down where that is asked for (``_elements``, ``_summary``)."""
    wanted = dict(asked.parameters)
    unknown = wanted.keys() - _PLAIN
    if unknown and not asked.lenient:
        raise RequestRefused(400, "not-supported", "a read takes no such parameter", tuple(sorted(unknown)))
    whole = told_seen(asked, seen)
    if whole.status != 200 or not wanted.keys() & _PLAIN:
        return whole
    elements = tuple(one for one in wanted.get("_elements", "").split(",") if one)
    cut = subset(asked.release, seen.body, elements=elements, summary=wanted.get("_summary", ""))
    return Told(200, codec.encode(cut), whole.headers, whole.shown)
