"""read, vread and history (FHIR R4, 3.1.0 RESTful API)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from gateway.api.fhir.bundles import address, history
from gateway.api.fhir.documents import BINARY, told_content
from gateway.api.fhir.exchange import Asked, Rule, Told, etag, told_seen
from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.fhir.search.elements import subset
from gateway.model.resource import ResourceVersion
from gateway.ports import Store
from gateway.release.policy import REQUIRED, SHARED
from gateway.services.chart import Chart, Seen
from gateway.services.graves import deleted
from gateway.services.page_tokens import PageTokens
from gateway.services.pull import Pull, Sight
from gateway.services.search import Search

_PLAIN: Final = frozenset(("_elements", "_summary"))


class Source(Protocol):
    """Where resources of a type come from that are not among those stored for patients and studies."""

    def all(self, pull: Pull, asked: Asked) -> Iterator[dict[str, Any]]:
        """Yield all that a caller sees, in a fixed order, each with its id and meta."""

    def read(self, pull: Pull, asked: Asked, id: str) -> dict[str, Any] | None:
        """Return one of them."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """What reading needs: the store, who may see what, page tokens, and the sources of other types (by type).

    ``besides``: what is made beside what is stored of a type, few of them: the Group of each study.
    """

    store: Store
    sight: Sight
    tokens: PageTokens
    sources: dict[str, Source]
    besides: dict[str, Callable[[Pull], Iterable[dict[str, Any]]]] = field(default_factory=dict)

    @contextmanager
    def search(self, asked: Asked) -> Iterator[Search]:
        """Open a read transaction for a request."""
        with self.store.begin(write=False) as tx:
            yield Search(Pull(tx, self.sight, asked.caller, asked.now, asked.release), asked.base)

    def made(self, search: Search, type: str) -> list[dict[str, Any]]:
        """Return what is made of a type, as far as the scopes let it be seen."""
        limits = search.limits(type)
        found = self.besides[type](search.pull) if type in self.besides else ()
        return [body for body in found if limits is None or limits(body)]

    @property
    def types(self) -> tuple[str, ...]:
        """The types that are read: those a view may be let see, and those of the sources."""
        return tuple(sorted({*REQUIRED, *self.sources}))

    @property
    def searched(self) -> tuple[str, ...]:
        """Those of them that are searched: a document is found by its DocumentReference."""
        return tuple(type for type in self.types if type != BINARY)


def reading_rules(shelf: Shelf) -> list[Rule]:
    """Return the routes."""
    reading = _Reading(shelf)
    kept = tuple(type for type in shelf.types if type not in shelf.sources)
    listed = tuple(type for type in kept if type in shelf.searched)
    return [
        Rule("GET", "{type}/{id}", "read", reading.read, types=shelf.types),
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
            source = self._shelf.sources.get(asked.type)
            if source is not None:
                return _whole(asked, source.read(search.pull, asked, asked.id))
            made = next((body for body in self._shelf.made(search, asked.type) if body["id"] == asked.id), None)
            if made is not None:
                return _whole(asked, made)
            _, seen = self._found(search, asked)
            return told_content(asked, told_seen(asked, seen)) if asked.native else _shaped(asked, seen)

    def vread(self, asked: Asked) -> Told:
        """Return one version of a resource, as the caller would see it today."""
        asked.scopes(asked.type, "r")
        with self._shelf.search(asked) as search:
            past, gone = self._past(search, asked)
            for seen in past:
                if str(seen.stored.version) == asked.names["version"]:
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
            by_id: dict[str, Seen] = {}
            for rights in search.pull.views:
                charts = [search.pull.shared(rights)] if asked.type in SHARED else search.pull.charts(rights)
                seen = (one for chart in charts for one in chart.of_type(asked.type) if search.within(one) is not None)
                for one in seen:
                    if since is None or one.last_updated >= since:
                        by_id.setdefault(one.id, one)
        found = list(by_id.values())
        found.sort(key=lambda one: (one.last_updated, one.id), reverse=True)
        return _history(asked, found[: _count(asked)])

    def _found(self, search: Search, asked: Asked) -> tuple[Chart, Seen]:
        """Return a resource the caller sees. Raises ``RequestRefused``: 404, or 410 when it was deleted."""
        found = search.pull.read(asked.type, asked.id)
        if found is None and deleted(search.pull, asked.type, asked.id) is not None:
            raise _deleted()
        if found is None or search.within(found[1]) is None:
            raise not_found()
        return found

    def _past(self, search: Search, asked: Asked) -> tuple[list[Seen], ResourceVersion | None]:
        """Return the versions of a resource as the caller sees them today, newest first, and its deletion."""
        grave = deleted(search.pull, asked.type, asked.id)
        if grave is None:
            chart, seen = self._found(search, asked)
            newest, before, gone = [seen], search.pull.tx.resources.versions(seen.stored.id)[:-1], None
        else:
            chart, gone = grave
            newest, before = [], search.pull.tx.resources.versions(gone.id)[:-1]
        earlier = [one for version in before if (one := chart.past(version)) is not None]
        return [*newest, *reversed([one for one in earlier if search.within(one) is not None])], gone


def _deleted() -> RequestRefused:
    return RequestRefused(410, "deleted", "this resource was deleted")


def _history(asked: Asked, versions: list[Seen], gone: ResourceVersion | None = None) -> Told:
    entries = [(f"{asked.base}/{seen.reference}", seen.text, _said(seen)) for seen in versions]
    if gone is not None:
        entries.insert(0, (f"{asked.base}/{asked.type}/{asked.id}", b"", _said_gone(asked, gone)))
    links = {"self": address(asked.base, asked.path, asked.parameters)}
    return Told(200, history(entries, links), shown=tuple(seen.shown for seen in versions))


def _said(seen: Seen) -> dict[str, Any]:
    method = "POST" if seen.stored.version == 1 else "PUT"
    url = seen.type if method == "POST" else seen.reference
    status = "201" if method == "POST" else "200"
    moment = seen.last_updated.strftime("%Y-%m-%dT%H:%M:%SZ")
    response = {"status": status, "etag": etag(seen), "lastModified": moment}
    return {"request": {"method": method, "url": url}, "response": response}


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


def _shaped(asked: Asked, seen: Seen) -> Told:
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


def _whole(asked: Asked, resource: dict[str, Any] | None) -> Told:
    if resource is None:
        raise not_found()
    return Told(200, codec.encode(resource), {"ETag": f'W/"{resource.get("meta", {}).get("versionId", "1")}"'})
