"""AuditEvents: every access, for the clients that may look at them (``gateway clients add --audits``).

They name resources by the gateway's own ids, which are those of identified views.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from gateway.api.fhir.bundles import address, searchset
from gateway.api.fhir.exchange import Asked, Rule, Told, told
from gateway.api.fhir.reading import not_found
from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.fhir.audit_events import Access, audit_event
from gateway.fhir.search.query import Query, parse
from gateway.ports import Answer, Store, Transaction
from gateway.services.page_tokens import Page, PageTokens, Position
from gateway.services.search import NOWHERE

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_AT_ONCE: Final = 200
_USUAL: Final = 50
_MOST: Final = 500


def auditing_rules(store: Store, tokens: PageTokens) -> list[Rule]:
    """Return the routes; in R4 alone, as AuditEvent is another thing in R5."""
    auditing = _Auditing(store, tokens)
    return [
        Rule("GET", "AuditEvent", "search-type", auditing.search, releases=("R4",)),
        Rule("POST", "AuditEvent/_search", "search-type", auditing.search, releases=("R4",)),
        Rule("GET", "AuditEvent/{id}", "read", auditing.read, releases=("R4",)),
    ]


class _Auditing:
    def __init__(self, store: Store, tokens: PageTokens) -> None:
        self._store = store
        self._tokens = tokens

    def read(self, asked: Asked) -> Told:
        """Return one AuditEvent."""
        _permit(asked, "r")
        if not asked.id.isdecimal() or len(asked.id) > 18:
            raise not_found()
        with self._store.begin(write=False) as tx:
            found = tx.answers.find(before=int(asked.id) + 1, limit=1)
            if not found or found[0].id != int(asked.id):
                raise not_found()
            return told(_event(tx, found[0]), ETag='W/"1"')

    def search(self, asked: Asked) -> Told:
        """Return a page of the AuditEvents that match, newest first."""
        _permit(asked, "s")
        token = dict(asked.parameters).get("_page")
        page = None if token is None else self._tokens.page(asked.caller.client, token)
        if page is not None and page.path != "AuditEvent":
            raise RequestRefused(400, "value", "this page is of another search", ("_page",))
        pairs = asked.parameters if page is None else page.pairs
        query = parse("R4", "AuditEvent", pairs, base=asked.base, lenient=asked.lenient)
        most = min(query.count or _USUAL, _MOST)
        with self._store.begin(write=False) as tx:
            matches = _matching(tx, query, None if page is None else int(page.position.resource))
            if query.count == 0 or query.summary == "count":
                links = {"self": address(asked.base, "AuditEvent", query.pairs)}
                return Told(200, searchset((), sum(1 for _ in matches), links))
            found = list(islice(matches, most + 1))
        return self._told(asked, query, found[:most], more=len(found) > most)

    def _told(self, asked: Asked, query: Query, events: list[dict[str, Any]], *, more: bool) -> Told:
        links = {"self": address(asked.base, "AuditEvent", query.pairs)}
        if more:
            page = Page("R4", "AuditEvent", tuple(query.pairs), Position("", "", "", events[-1]["id"]))
            token = self._tokens.token(asked.caller.client, page)
            links["next"] = address(asked.base, "AuditEvent", [("_page", token)])
        entries = [(f"{asked.base}/AuditEvent/{event['id']}", codec.encode(event), "match") for event in events]
        return Told(200, searchset(entries, None, links))


def _permit(asked: Asked, interaction: str) -> None:
    asked.scopes("AuditEvent", interaction)
    if not asked.caller.audits:
        raise RequestRefused(403, "forbidden", "this client may not look at who was shown what")


def _matching(tx: Transaction, query: Query, before: int | None) -> Iterator[dict[str, Any]]:
    subjects = query.subjects()
    patients = [one for one in subjects or () if _UUID.fullmatch(one)]
    if subjects is not None and not patients:
        return  # no patient has such an id
    while answers := tx.answers.find(patients=patients, before=before, limit=_AT_ONCE):
        before = answers[-1].id
        yield from (event for answer in answers if query.matches(event := _event(tx, answer), NOWHERE))


def _event(tx: Transaction, answer: Answer) -> dict[str, Any]:
    shown = tx.resources.numbered((one.resource, one.version) for one in answer.shown)
    patients = sorted({version.patient for version in shown.values() if version.patient})
    return audit_event(
        Access(
            number=answer.id,
            at=answer.at,
            client=answer.client,
            interaction=answer.interaction,
            status=answer.status,
            request=answer.request,
            shown=[f"{one.type}/{one.resource}" for one in answer.shown],
            patients=[f"Patient/{patient}" for patient in patients],
        )
    )
