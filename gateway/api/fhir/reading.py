"""read, vread and history (FHIR R4, 3.1.0 RESTful API)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from gateway.api.fhir.documents import BINARY, told_content
from gateway.api.fhir.exchange import RELEASES, Asked, Handler, Method, Rule, Told, told_seen
from gateway.api.fhir.histories import History
from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.fhir.search.elements import subset
from gateway.fhir.search.parameters import types
from gateway.model.resource import ResourceVersion
from gateway.ports import Store
from gateway.release.policy import REQUIRED
from gateway.services.chart import Chart
from gateway.services.graves import deleted, is_gone
from gateway.services.histories import Grave
from gateway.services.made import Form, Made, Source, version_of
from gateway.services.page_tokens import PageTokens
from gateway.services.pull import Pull, Sight
from gateway.services.search import Search
from gateway.services.seen import Seen

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
        """Look at what is stored, for a request: in its transaction, or in one of its own."""
        with nullcontext(asked.tx) if asked.tx else self.store.begin(write=False) as tx:
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
        """Return a page of the versions of a resource, newest first."""
        asked.scopes(asked.type, "r")
        history = History(asked, self._shelf.tokens)
        with self._shelf.search(asked) as search:
            past, gone = self._past(search, asked)
            grave = None if gone is None else Grave(asked.type, asked.id, gone.version, gone.stored_at)
            return history.of_one(past, grave)

    def type_history(self, asked: Asked) -> Told:
        """Return a page of the versions of all resources of a type, newest first."""
        asked.scopes(asked.type, "s")
        history = History(asked, self._shelf.tokens)
        with self._shelf.search(asked) as search:
            return history.of_type(search)

    def _found(self, search: Search, asked: Asked) -> tuple[Chart, Seen]:
        """Return a resource the caller sees. Raises ``RequestRefused``: 404, or 410 when it was deleted."""
        found = search.pull.read(asked.type, asked.id)
        if found is None and is_gone(search.pull, asked.type, asked.id):
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


def _shaped(asked: Asked, seen: Form) -> Told:
    """Return a resource, cut down where that is asked for (``_elements``, ``_summary``)."""
    cuts = dict(asked.parameters)
    unknown = cuts.keys() - _PLAIN
    if unknown and not asked.lenient:
        raise RequestRefused(400, "not-supported", "a read takes no such parameter", tuple(sorted(unknown)))
    whole = told_seen(asked, seen)
    if whole.status != 200 or not cuts.keys() & _PLAIN:
        return whole
    elements = tuple(one for one in cuts.get("_elements", "").split(",") if one)
    cut = subset(asked.release, seen.body, elements=elements, summary=cuts.get("_summary", ""))
    return Told(200, codec.encode(cut), whole.headers, whole.shown)
