"""create, update, patch, delete, each by id or by search, and Bundles (FHIR R4, 3.1.0 RESTful API).

For clients of a trial office alone. An update names the version it changes: by ``If-Match``, or by ``meta.versionId``
of the resource as it was read, which some clients send instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.api.fhir.batching import Batching
from gateway.api.fhir.bodies import (
    Pairs,
    check_may,
    decoded,
    if_match,
    location,
    patch_of,
    resource_of,
    search_pairs,
    status_of,
)
from gateway.api.fhir.exchange import Asked, Rule, Told, etag, http_date
from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.fhir.outcome import Issue, operation_outcome
from gateway.services.commit import Office
from gateway.services.wanted import WRITABLE, Done, Letter, Wanted

_HIDDEN: Final = "it is written; the client's view does not show it as it stands now"


def writing_rules(office: Office, reader: Callable[[Asked], Told]) -> list[Rule]:
    """Return the routes. ``reader`` answers the GET entries of a Bundle."""
    writing = _Writing(office)
    batching = Batching(office, reader)
    return [
        Rule("POST", "{type}", "create", writing.create, types=WRITABLE),
        Rule("PUT", "{type}/{id}", "update", writing.update, types=WRITABLE),
        Rule("PUT", "{type}", "update", writing.update, types=WRITABLE),
        Rule("PATCH", "{type}/{id}", "patch", writing.patch, types=WRITABLE),
        Rule("PATCH", "{type}", "patch", writing.patch, types=WRITABLE),
        Rule("DELETE", "{type}/{id}", "delete", writing.delete, types=WRITABLE),
        Rule("DELETE", "{type}", "delete", writing.delete, types=WRITABLE),
        Rule("POST", "", "transaction", batching.answer),
        Rule("POST", "", "batch", batching.answer),
    ]


class _Writing:
    def __init__(self, office: Office) -> None:
        self._office = office

    def create(self, asked: Asked) -> Told:
        """Create a resource, where none is found by ``If-None-Exist`` (or by the URL's parameters)."""
        query = _none_exist(asked)
        check_may(asked, asked.type, "c", conditional=query is not None)
        wanted = Wanted("create", asked.type, query=query, body=resource_of(asked))
        return self._done(asked, wanted)

    def update(self, asked: Asked) -> Told:
        """Write the next version of a resource."""
        query = _by_search(asked)
        check_may(asked, asked.type, "u", conditional=query is not None)
        if query is not None:
            check_may(asked, asked.type, "c")
        body = resource_of(asked)
        return self._done(asked, Wanted("update", asked.type, asked.id, query, body, if_match=if_match(asked.headers)))

    def patch(self, asked: Asked) -> Told:
        """Change a part of a resource: JSON Patch, or FHIRPath Patch."""
        query = _by_search(asked)
        check_may(asked, asked.type, "u", conditional=query is not None)
        patch = patch_of(asked.headers.get("content-type", ""), decoded(asked.body))
        wanted = Wanted("patch", asked.type, asked.id, query, patch=patch, if_match=if_match(asked.headers))
        return self._done(asked, wanted)

    def delete(self, asked: Asked) -> Told:
        """Delete a resource: its last version says that it is gone."""
        query = _by_search(asked)
        check_may(asked, asked.type, "d", conditional=query is not None)
        return self._done(asked, Wanted("delete", asked.type, asked.id, query, if_match=if_match(asked.headers)))

    def _done(self, asked: Asked, wanted: Wanted) -> Told:
        words = f"{asked.method} {asked.type}"
        letter = Letter(asked.base, asked.release, asked.caller, asked.body, words)
        (done,) = self._office.commit([wanted], letter)
        return told_done(asked, wanted, done)


# --- what was asked ---------------------------------------------------------------------------------------------------


def _none_exist(asked: Asked) -> Pairs | None:
    """Return the search of a conditional create; a POST with parameters in its URL is one, too (3.1.0.8.1)."""
    header = asked.headers.get("if-none-exist")
    if header is not None:
        return search_pairs(header)
    return asked.parameters or None


def _by_search(asked: Asked) -> Pairs | None:
    """Return the search by which a resource is found; None when the URL has its id."""
    if asked.id and asked.parameters:
        raise RequestRefused(400, "invalid", "a resource is named by its id or found by a search, not both")
    return None if asked.id else asked.parameters


# --- what is answered -------------------------------------------------------------------------------------------------


def told_done(asked: Asked, wanted: Wanted, done: Done) -> Told:
    """Return the answer to one write, as ``Prefer`` wants it (FHIR R4, 3.1.0.1.6)."""
    status = status_of(wanted, done)
    headers: dict[str, str] = {}
    if done.type:
        headers["ETag"] = f'W/"{done.version}"'
    if done.at is not None and done.type:
        headers["Last-Modified"] = http_date(done.at)
    if done.type and status != 204:
        headers["Location"] = location(asked.base, done)
    wish = asked.prefer.get("return", "")
    if status == 204:
        return Told(200, _outcome("deleted"), headers) if wish == "OperationOutcome" else Told(204, b"", headers)
    if wish == "minimal":
        return Told(status, b"", headers)
    if wish == "OperationOutcome":
        return Told(status, _outcome("written" if done.interaction != "none" else "it is so already"), headers)
    if done.seen is None:
        return Told(status, _outcome(_HIDDEN), headers)
    headers |= {"ETag": etag(done.seen), "Last-Modified": http_date(done.seen.last_updated)}
    return Told(status, done.seen.text, headers, (done.seen.shown,))


def _outcome(words: str) -> bytes:
    return codec.encode(operation_outcome([Issue(words, "informational", "information")]))
