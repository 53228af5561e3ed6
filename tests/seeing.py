"""A random record, random files, and an API over them that is looked through: nothing foreign may be in an answer."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from gateway.model.access import Caller, Scope
from gateway.model.delivery import View
from gateway.model.resource import ResourceVersion
from gateway.release.policy import Policy
from gateway.services.study_groups import group_id
from gateway.store import create_store
from tests.asking import Api, Heard
from tests.entitled import Oracle, revived
from tests.records import PERSONAL, STUDIES, Making, Record, a_file
from tests.releasing import KEYS, template
from tests.routes import Request

EVERYTHING = (Scope("*", "cruds"),)
MARK = re.compile(r"Zqmark\d{4}q")
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Scene:
    """A record, files, an API over them, and what each view may see.

    ``own``: ids that the client was told of as its own: of its subscriptions, and of the Groups of its studies.
    """

    def __init__(self, random: Random, record: Record, api: Api, views: tuple[View, ...]) -> None:
        self.random, self.api, self.views = random, api, views
        self.own = set(self.groups())
        self._know(record)

    def _know(self, record: Record) -> None:
        self.record, self.heads = record, record.heads()
        self.oracles = {view: self._oracle(view) for view in self.api.policy.views}
        self._met: dict[tuple[View, ...], set[str]] = {}

    def _oracle(self, view: View) -> Oracle:
        rights = self.api.policy.rights(view)
        assert rights is not None
        return Oracle(self.record, rights.recipient, rights.study, self.api.now)

    def look_again(self) -> None:
        """Work out anew what each view may see: of what is stored now."""
        self._know(self.record.read_again(self.api.store))

    def write(self, versions: Sequence[ResourceVersion]) -> list[ResourceVersion]:
        """Store versions as a feed does, and work out anew what each view may see."""
        with self.api.store.begin() as tx:
            written = tx.resources.append(versions)
            self.api.planner(tx, written)
        self.look_again()
        return written

    def groups(self, *views: View) -> list[str]:
        """The ids of the Groups that are made of the client's studies, as its views (or these) know them."""
        found = [rights for view in views or self.views if (rights := self.api.policy.rights(view)) is not None]
        return [group_id(rights, KEYS.identity) for rights in found if "Group" in rights.types]

    # --- what is expected ---------------------------------------------------------------------------------------------

    def public(self, view: View, id: str) -> str:
        rights = self.api.policy.rights(view)
        assert rights is not None
        return rights.public_id(id)

    def internal(self, view: View, public: str) -> str:
        rights = self.api.policy.rights(view)
        assert rights is not None
        return rights.internal_id(public)

    def known(self, type: str = "") -> dict[tuple[str, str], list[tuple[View, str]]]:
        """What the client sees, by type and the id it has for it: by which views, and the internal id."""
        found: dict[tuple[str, str], list[tuple[View, str]]] = {}
        for view in self.views:
            for id in self.oracles[view].seen:
                kind = self.heads[id].type
                if type in ("", kind):
                    found.setdefault((kind, self.public(view, id)), []).append((view, id))
        return found

    def listed(self, type: str) -> list[tuple[str, str]]:
        """What a search of a type lists, by type and the client's id: what it sees, and the Groups made for it."""
        made = [("Group", id) for id in self.groups()] if type == "Group" else []
        return sorted({*self.known(type), *made})

    def allowed(self) -> set[str]:
        """The marks and ids the client may ever meet."""
        if self.views not in self._met:
            self._met[self.views] = self._all_it_may_meet()
        return self._met[self.views] | self.own

    def _all_it_may_meet(self) -> set[str]:
        met: set[str] = set()
        for view in self.views:
            oracle = self.oracles[view]
            for id in oracle.seen:
                met |= {self.public(view, id)}
                met |= _marks(oracle, id)
        for view, id, before in self._graves():
            met |= {self.public(view, id)} | _marks(before, id)
        return met

    def _graves(self) -> Iterator[tuple[View, str, Oracle]]:
        """What each view would see, had it not been deleted, and what it would see then."""
        for view in self.views:
            for id, head in self.heads.items():
                oracle = self.oracles[view]
                if head.gone and head.type in oracle.file.release:
                    before = Oracle(revived(self.record, id), oracle.file, oracle.study, oracle.now)
                    if id in before.seen:
                        yield view, id, before

    def is_gone(self, type: str, public: str) -> bool:
        """Whether the client would see it, had it not been deleted."""
        return any((self.heads[id].type, self.public(view, id)) == (type, public) for view, id, _ in self._graves())

    # --- asking -------------------------------------------------------------------------------------------------------

    def heard(self, heard: Heard, request: str) -> Heard:
        """Look an answer through: nothing in it may be of what the client does not see."""
        assert heard.status < 500, (request, heard.content[:400])
        text = heard.content.decode() + json.dumps(dict(heard.headers))
        met = set(MARK.findall(text)) | {id for id in UUID.findall(text) if id not in request}
        assert met <= self.allowed() | self._own_ids(heard), (request, met - self.allowed())
        if all(self._pseudonymous(view) for view in self.views) and PERSONAL not in request:
            assert PERSONAL not in text, request
        return heard

    def _pseudonymous(self, view: View) -> bool:
        rights = self.api.policy.rights(view)
        return rights is not None and rights.pseudonymous

    def _own_ids(self, heard: Heard) -> set[str]:
        """Ids that an answer has for itself: of a warning, of an export."""
        if not heard.headers.get("content-type", "").startswith("application/fhir+json"):
            return set(UUID.findall(heard.headers.get("content-location", "")))
        own = set(UUID.findall(heard.headers.get("content-location", "")))
        entries = heard.body.get("entry", ()) if heard.content else ()
        return own | {one["fullUrl"][-36:] for one in entries if one.get("fullUrl", "").startswith("urn:uuid:")}

    def send(self, client: str, release: str, asked: Request) -> Heard:
        """Make a request, and look the answer through."""
        path, sent = f"{release.lower()}/{asked.path}", asked.content
        heard = self.api.ask(client, asked.method, path, body=sent, headers=asked.headers)
        return self.heard(heard, f"{asked.method} {path} {sent.decode()}")

    def get(self, client: str, path: str, query: str = "", **headers: str) -> Heard:
        pairs = [tuple(one.split("=", 1)) for one in query.split("&") if one]
        return self.heard(self.api.get(client, path, pairs, **headers), f"{path}?{query}")  # type: ignore[arg-type]

    def found(self, client: str, path: str, query: str = "") -> list[dict[str, Any]]:
        """The matches on every page."""
        page = self.get(client, path, query)
        assert page.status == 200, (path, query, page.content)
        matches = page.resources("match")
        while page.following:
            page = self.heard(self.api.get(client, page.following), path)
            assert page.status == 200
            matches += page.resources("match")
        return matches


def _marks(oracle: Oracle, id: str) -> set[str]:
    return {mark for version in oracle.versions(id) for mark in MARK.findall(version.body.decode())}


def names(resources: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["resourceType"], one["id"]) for one in resources]


@contextmanager
def scene(seed: int, url: str = "") -> Iterator[Scene]:
    random = Random(seed)
    record = Making(random).record()
    files = [a_file(random, f"file{number}", random.choice([["mld"], ["was"], ["mld", "was"]])) for number in range(3)]
    policy = Policy(files, STUDIES, KEYS.pseudonym)
    with tempfile.TemporaryDirectory() as folder:
        if not url:
            (Path(folder) / "world.db").write_bytes(template())
        store = create_store(url or f"sqlite:///{folder}/world.db", KEYS)
        if url:
            store.upgrade()
        with store.begin() as tx:
            tx.resources.append(record.versions)
            for old, survivor in record.merged.items():
                tx.resources.merge(old, survivor)
        api = Api(store, policy)
        views = tuple(random.sample(policy.views, min(len(policy.views), random.randint(1, 3))))
        made = Scene(random, record, api, views)
        api.callers.known = {
            "wide": Caller("wide", views, EVERYTHING),
            "other": Caller("other", views, EVERYTHING),
            "office": Caller("office", views, EVERYTHING, writes=True),
            "narrow": Caller("narrow", views, tuple(narrow_scopes(random))),
        }
        try:
            yield made
        finally:
            api.close()
            store.close()


def narrow_scopes(random: Random) -> list[Scope]:
    choice = [
        Scope("Observation", "rs"), Scope("Observation", "rs", "code=http://loinc.org|718-7"), Scope("Patient", "r"),
        Scope("Observation", "rs", "status=final"), Scope("ResearchSubject", "rs"), Scope("Patient", "rs"),
        Scope("Organization", "rs"), Scope("ResearchStudy", "s"), Scope("DiagnosticReport", "rs"),
    ]  # fmt: skip
    return random.sample(choice, random.randint(1, 4))
