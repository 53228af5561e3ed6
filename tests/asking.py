"""The FHIR API in this process, without a socket: every route there is, over any store and policy."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

from fastapi import FastAPI
from sqlalchemy import Connection, Engine, Pool, event

from fixtures.standins.serving import capture
from gateway.api.fhir.auditing import auditing_rules
from gateway.api.fhir.batching import Reader
from gateway.api.fhir.bulk import Counter, bulk_rules
from gateway.api.fhir.edge import Edge, fhir_router
from gateway.api.fhir.exchange import Asked, Rule, Told
from gateway.api.fhir.operations import operation_rules
from gateway.api.fhir.reading import Shelf, reading_rules
from gateway.api.fhir.router import fhir_rules
from gateway.api.fhir.searching import searching_rules
from gateway.api.fhir.subscriptions import subscription_rules, subscription_sources
from gateway.api.fhir.terminology import terminology_rules, terminology_sources
from gateway.api.fhir.validating import validating_rules
from gateway.api.fhir.writing import writing_rules
from gateway.errors import RequestRefused
from gateway.model.access import Caller
from gateway.model.names import LOINC, OBSERVATION_CODES
from gateway.ports import Answer, Store, Transaction
from gateway.release.policy import Policy
from gateway.services.authorize import Authorizer
from gateway.services.commit import Office
from gateway.services.concerns import Concerns
from gateway.services.enrolments import Enrolments
from gateway.services.export import ExportDesk, ExportLimits
from gateway.services.exporting import Exporter
from gateway.services.notify import Notify
from gateway.services.page_tokens import PageTokens
from gateway.services.plan import Planner
from gateway.services.pull import Sight
from gateway.services.study_groups import study_groups
from gateway.services.subscribe import Subscribe
from gateway.services.terminology import Code, Terminology, code_system, concept_map, value_set
from tests.releasing import KEYS, NOON
from tests.routes import Route
from tests.subscribing import Endpoint

HOST = "gateway.test"
BASE = f"http://{HOST}/fhir"
_VALUE = re.compile(r"[xX]?'[^']*'|\b[0-9]+\b")


@dataclass(frozen=True)
class Heard:
    """An answer. ``statements``: how many SQL statements the store was asked meanwhile, by what they begin with."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    statements: tuple[str, ...] = field(default=(), repr=False)

    @property
    def body(self) -> dict[str, Any]:
        """The resource."""
        return cast("dict[str, Any]", json.loads(self.content))

    @property
    def issue(self) -> tuple[int, str]:
        """Status and issue code of a refusal."""
        return self.status, self.body["issue"][0]["code"]

    def resources(self, mode: str = "") -> list[dict[str, Any]]:
        """What the entries of a Bundle hold; of a search those of this mode."""
        entries = self.body.get("entry", [])
        wanted = (one for one in entries if not mode or one.get("search", {}).get("mode") == mode)
        return [one["resource"] for one in wanted if "resource" in one]

    @property
    def following(self) -> str:
        """The URL of the next page, ``""`` when there is none."""
        return next((link["url"] for link in self.body.get("link", ()) if link["relation"] == "next"), "")


class Callers:
    """Who may ask, by token: the rest of the API is the real one."""

    def __init__(self, callers: Iterable[Caller]) -> None:
        self.known = {caller.client: caller for caller in callers}

    def caller(self, token: str, thumbprint: str | None = None, tx: Transaction | None = None) -> Caller:
        """Return the caller whose name the token is."""
        if token not in self.known:
            raise RequestRefused(401, "login", "the access token is not one that is good here: ask for another one")
        return self.known[token]

    def take(self, client: str) -> None:
        """Count nothing."""


def a_terminology() -> Terminology:
    """One code of ours, in each of the three forms."""
    own, loinc = Code(OBSERVATION_CODES, "GT-VCN-PBMC", "Copies"), Code(LOINC, "718-7", "Haemoglobin")
    made = [
        concept_map("observation-to-loinc", "To LOINC", [(own, loinc)], "relatedto"),
        code_system("observation", "Observations", OBSERVATION_CODES, [own]),
        value_set("observation", "Observations", [own]),
    ]
    return Terminology(made, "1", NOON)


class Api:
    """The API over a store: every route that ``gateway.bootstrap.pulling`` puts together.

    ``entered``: the routes that were asked; ``answered``: those whose handler did not refuse.
    """

    def __init__(self, store: Store, policy: Policy, *callers: Caller, now: datetime = NOON) -> None:
        self.store, self.policy, self.now = store, policy, now
        self.callers = Callers(callers)
        self.noted: list[Answer] = []
        self.entered: set[Route] = set()
        self.answered: set[Route] = set()
        self.sight = self._sight()
        groups = partial(study_groups, id_key=KEYS.identity)
        self.shelf = Shelf(store, self.sight, PageTokens(KEYS.pseudonym), {"Group": groups})
        self.endpoint = Endpoint()
        self.planner = Planner(policy, self._clock)
        self.rules = fhir_rules(self.shelf, self._more(), now)
        self.exporter = Exporter(store, self._sight(), self._clock, "writer")
        self.notify = Notify(store, self._sight(), self.endpoint, self._clock, "teller")
        self._app = FastAPI(openapi_url=None)
        edge = Edge(store, cast("Authorizer", self.callers), self.noted.append, self._clock, f"http://{HOST}")
        self._app.include_router(fhir_router(edge, [self._watched(rule) for rule in self.rules]))
        self._runner = asyncio.Runner()
        self._statements: list[str] = []
        event.listen(Engine, "before_cursor_execute", self._count)
        event.listen(Pool, "checkout", self._trace)

    def _sight(self) -> Sight:
        return Sight(self.policy, Enrolments(self.policy), Concerns())

    def _more(self) -> Sequence[Rule]:
        """The rules besides those of reading and searching."""
        store, shelf = self.store, self.shelf
        desk = ExportDesk(store, self.sight, self._clock, ExportLimits(timedelta(hours=1), 1000, 10_000))
        counter = Counter(desk, self.policy, self.noted.append, self._clock, KEYS.identity)
        terminology, subscribe = a_terminology(), Subscribe(store, self.sight, self.endpoint)
        shelf.sources.update(terminology_sources(terminology) | subscription_sources(subscribe))
        office = Office(store, self.sight, self.planner, KEYS.identity, self._clock)
        more = [
            *auditing_rules(shelf),
            *bulk_rules(counter),
            *operation_rules(shelf, 3),
            *terminology_rules(terminology),
            *subscription_rules(subscribe),
            *validating_rules(office, shelf.types),
        ]
        reader = Reader([*reading_rules(shelf), *searching_rules(shelf), *more])
        return [*more, *writing_rules(office, reader)]

    def _watched(self, rule: Rule) -> Rule:
        def handler(asked: Asked) -> Told:
            batch = rule.path == "" and b'"batch"' in asked.body
            interaction = "batch" if batch else rule.interaction
            route = Route(asked.release, rule.method, rule.path, rule.types, interaction)
            self.entered.add(route)
            told = rule.handler(asked)
            self.answered.add(route)
            return told

        return replace(rule, handler=handler)

    def close(self) -> None:
        """Let go of everything but the store."""
        event.remove(Engine, "before_cursor_execute", self._count)
        event.remove(Pool, "checkout", self._trace)
        self._runner.close()

    def _clock(self) -> datetime:
        return self.now

    def _count(self, connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if connection.dialect.name != "sqlite":
            self._statements.append(statement)

    def _trace(self, connection: Any, *_: Any) -> None:
        """Hear of what SQLite is asked from itself: the store asks some of it past the toolkit."""
        if isinstance(connection, sqlite3.Connection):
            connection.set_trace_callback(lambda statement: self._statements.append(_VALUE.sub("?", statement)))

    def get(self, client: str, path: str, pairs: Iterable[tuple[str, str]] = (), **headers: str) -> Heard:
        """Ask by GET; ``path`` may be a URL that was told."""
        return self.ask(client, "GET", path, pairs, headers=headers)

    def pages(self, client: str, path: str, pairs: Iterable[tuple[str, str]] = ()) -> list[Heard]:
        """Ask for every page of a search."""
        found = [self.get(client, path, pairs)]
        while found[-1].status == 200 and found[-1].following:
            found.append(self.get(client, found[-1].following))
        return found

    def ask(
        self,
        client: str,
        method: str,
        path: str,
        pairs: Iterable[tuple[str, str]] = (),
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        raw: Iterable[tuple[bytes, bytes]] = (),
    ) -> Heard:
        """Ask. ``path`` is below ``/fhir`` (``r4/Patient``), or a whole URL; ``raw`` are headers as bytes."""
        parts = urlsplit(path.removeprefix(BASE).lstrip("/") if path.startswith(BASE) else path)
        query = "&".join(filter(None, [parts.query, urlencode(list(pairs))]))
        sent = [(b"host", HOST.encode()), (b"authorization", f"Bearer {client}".encode())]
        sent += [
            (name.replace("_", "-").lower().encode(), text.encode("utf-8")) for name, text in (headers or {}).items()
        ]
        self._statements.clear()
        heard = self._runner.run(self._asked(method, f"/fhir/{parts.path}", query.encode("utf-8"), [*sent, *raw], body))
        if "r4" in parts.path and heard.headers.get("content-type", "").startswith("application/fhir+json"):
            capture(heard.content)
        return heard

    async def _asked(
        self, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> Heard:
        from urllib.parse import unquote

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": unquote(path), "raw_path": path.encode("utf-8", "replace"), "query_string": query,
            "root_path": "", "headers": headers, "server": (HOST, 80), "client": ("192.0.2.1", 1),
        }  # fmt: skip
        told: list[dict[str, Any]] = []
        gone = asyncio.Event()
        pending = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if pending:
                return pending.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            told.append(message)

        await self._app(scope, receive, send)
        start = next(one for one in told if one["type"] == "http.response.start")
        content = b"".join(one.get("body", b"") for one in told if one["type"] == "http.response.body")
        names = {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in start["headers"]}
        return Heard(start["status"], names, content, tuple(self._statements))
