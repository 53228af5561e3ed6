"""From the writes a client asks for to the versions that are to be stored; nothing is written here.

What a client writes is what its view knows of a resource. An element that it sends as it sees it stays as it is
stored, the parts the view does not see included; one that it sends otherwise takes the place of the stored one; one
that it sees and leaves out is taken away; what it does not see stays.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, Literal, TypeVar

from gateway.errors import InvalidResource, RequestRefused
from gateway.fhir.from_r5 import states_told
from gateway.model.identity import resource_id
from gateway.model.resource import ResourceVersion
from gateway.ports import Transaction
from gateway.release.policy import Rights
from gateway.services import composing
from gateway.services.addressing import Addresses
from gateway.services.graves import deleted
from gateway.services.pull import Pull, Sight
from gateway.services.search import Search
from gateway.services.seen import Seen
from gateway.services.substudies import Family
from gateway.services.wanted import OF_PATIENTS, WRITABLE, Letter, Wanted

_T = TypeVar("_T")

_ORDER: Final = {"delete": 0, "create": 1, "update": 2, "patch": 2}
"""In which order the writes of a transaction are done (FHIR R4, 3.1.0.11.2)."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a write comes to. ``version``: what is to be stored, its message and change not yet known; None: nothing.

    ``stands``: the resource that is there already and stays as it is.
    """

    kind: Literal["create", "update", "delete", "none"]
    rights: Rights | None = None
    version: ResourceVersion | None = None
    stands: ResourceVersion | None = None


@dataclass(frozen=True, slots=True)
class _Target:
    """What a write is about: a resource that is there (``head``, as the view sees it ``seen``), or a new one."""

    wanted: Wanted
    id: str = ""
    rights: Rights | None = None
    head: ResourceVersion | None = None
    seen: Seen | None = None


class Drafts:
    """Drafts the writes of one request in one transaction, at one moment (UTC)."""

    def __init__(self, tx: Transaction, sight: Sight, letter: Letter, now: datetime, id_key: bytes) -> None:
        self.pull = Pull(tx, sight, letter.caller, now, "R4")
        self._asked = Pull(tx, sight, letter.caller, now, letter.release)
        self._letter = letter
        self._now = now
        self._id_key = id_key
        self._addresses = Addresses(self.pull, Search(self._asked, letter.base))

    def of(self, wanted: Sequence[Wanted]) -> list[Draft]:
        """Return what each write comes to, in the order given. Raises ``RequestRefused``."""
        targets = [_placed(one, partial(self._target, one)) for one in wanted]
        _check_once(targets)
        for target in targets:
            if target.wanted.full_url and target.id:
                self._addresses.made[target.wanted.full_url] = f"{target.wanted.type}/{target.id}"
        leaving = {target.id for target in targets if target.wanted.interaction == "delete"}
        ordered = sorted(enumerate(targets), key=lambda one: _ORDER[one[1].wanted.interaction])
        made = {at: _placed(target.wanted, partial(self._draft, target, leaving)) for at, target in ordered}
        _check_places(made.values())
        self._check_studies(targets, made)
        return [made[at] for at in range(len(targets))]

    # --- what a write is about --------------------------------------------------------------------------------------

    def _target(self, wanted: Wanted) -> _Target:
        if wanted.type not in WRITABLE:
            raise RequestRefused(405, "not-supported", f"{wanted.type or 'this'} is not written here")
        if wanted.query is not None:
            return self._searched(wanted, wanted.query)
        if wanted.interaction == "create":
            return self._new(wanted)
        found = self.pull.read(wanted.type, wanted.id)
        if found is None:
            return self._missing(wanted)
        chart, seen = found
        return self._matched(_Target(wanted, seen.stored.id, chart.rights, seen.stored, seen))

    def _searched(self, wanted: Wanted, query: Sequence[tuple[str, str]]) -> _Target:
        found = self._addresses.found(wanted.type, list(query))
        if len(found) > 1:
            raise RequestRefused(412, "multiple-matches", "more than one resource is found by these parameters")
        if found:
            rights, head = found[0].chart.rights, found[0].seen.stored
            seen = self.pull.chart(rights, head.patient).seen(head)
            target = _Target(wanted, head.id, rights, head, seen)
            return target if wanted.interaction == "create" else self._matched(target, upsert=True)
        if wanted.interaction == "patch":
            raise RequestRefused(404, "not-found", "nothing is found by these parameters")
        return _Target(wanted) if wanted.interaction == "delete" else self._new(wanted)

    def _new(self, wanted: Wanted) -> _Target:
        random = secrets.token_hex(16)
        return _Target(wanted, resource_id(self._id_key, wanted.type, "fhir", self._letter.caller.client, random))

    def _missing(self, wanted: Wanted) -> _Target:
        """Raise for what is not there; what was deleted can be deleted again (FHIR R4, http.html#delete)."""
        if deleted(self.pull, wanted.type, wanted.id) is not None:
            if wanted.interaction == "delete":
                return _Target(wanted)
            raise RequestRefused(410, "deleted", "this resource was deleted")
        if wanted.interaction == "update":
            what = "there is no such resource, or it is not for this client; the gateway gives new ones their ids: POST"
            raise RequestRefused(405, "not-supported", what)
        raise RequestRefused(404, "not-found", "there is no such resource, or it is not for this client")

    def _matched(self, target: _Target, *, upsert: bool = False) -> _Target:
        """Return a target whose version is the one the client means (If-Match; FHIR R4, 3.1.0.5)."""
        wanted, head = target.wanted, target.head
        expected = wanted.if_match or _version_in(wanted.body)
        if not expected and wanted.interaction == "update" and not upsert:
            what = "an update names the version it changes: If-Match, or meta.versionId of what was read"
            raise RequestRefused(428, "required", what)
        if head is not None and expected not in ("", "*", str(head.version)):
            raise RequestRefused(412, "conflict", "somebody has changed it since: read it again")
        return target

    # --- what it comes to -------------------------------------------------------------------------------------------

    def _draft(self, target: _Target, leaving: set[str]) -> Draft:
        wanted, head, rights, seen = target.wanted, target.head, target.rights, target.seen
        if head is None or rights is None or seen is None:
            return Draft("none") if wanted.interaction == "delete" else self._created(target, leaving)
        if wanted.interaction == "create":
            return Draft("none", rights, stands=head)
        composing.check_own(self._addresses, rights, head)
        if wanted.interaction == "delete":
            return Draft("delete", rights, composing.tombstone(head, self._now))
        sent = self._changed(wanted, rights, seen)
        if wanted.id and sent.get("id") != wanted.id:
            raise RequestRefused(
                400, "invalid", "the id of the resource is not the one of the URL", (f"{head.type}.id",)
            )
        version = composing.updated(self._addresses, rights, head, composing.Said(seen.body, sent), self._now)
        return Draft("none", rights, stands=head) if version is None else Draft("update", rights, version)

    def _changed(self, wanted: Wanted, rights: Rights, seen: Seen) -> dict[str, Any]:
        """Return what a resource is to be, as R4: as it was sent, or as a patch makes it of what the client sees."""
        shown = self._asked.chart(rights, seen.stored.patient).seen(seen.stored)
        known = {} if shown is None else shown.body
        body: Any = wanted.body if wanted.patch is None else composing.pruned(wanted.patch(known))
        if not isinstance(body, dict):
            raise RequestRefused(422, "structure", "what the patch leaves is no resource")
        if self._letter.release == "R4":
            return composing.received(body, wanted.type, "R4")
        told = states_told(known)
        sent, back = (composing.received(one, wanted.type, "R5", told) for one in (body, known))
        return composing.as_seen(sent, back, seen.body)

    def _created(self, target: _Target, leaving: set[str]) -> Draft:
        """Return a new resource in the first view of the client in which everything it refers to is found."""
        kind = target.wanted.type
        sent = composing.received(target.wanted.body or {}, kind, self._letter.release)
        study = composing.study_said(sent)
        views = [one for one in self.pull.views if kind in one.types and study in ("", one.study.id)]
        if not views:
            raise RequestRefused(403, "forbidden", f"no view of this client holds {kind}")
        made: list[tuple[Rights, ResourceVersion]] = []
        refused: list[RequestRefused] = []
        for rights in views:
            try:
                made.append((rights, composing.created(self._addresses, rights, target.id, sent, self._now)))
            except RequestRefused as error:
                refused.append(error)
        if not made:
            raise next((error for error in refused if error.code != "not-found"), refused[0])
        if len({rights.study.id for rights, _ in made}) > 1:
            what = "the client has several studies: name one by meta.tag, its system that of the gateway's study ids"
            raise RequestRefused(422, "required", what, (f"{kind}.meta.tag",))
        rights, version = made[0]
        composing.check_one_place(self.pull, rights, version, leaving)
        return Draft("create", rights, version)

    def _check_studies(self, targets: Sequence[_Target], drafts: Mapping[int, Draft]) -> None:
        """Raise ``RequestRefused`` where a study would be left without its place, or naming what is deleted."""
        written = [(at, one.rights, one.version) for at, one in drafts.items() if one.rights and one.version]
        versions = [version for _, _, version in written]
        families = {rights.study.id: Family(self.pull.tx, rights, versions) for _, rights, _ in written}
        for at, rights, version in written:
            _placed(targets[at].wanted, partial(families[rights.study.id].check, version))


def _placed(wanted: Wanted, made: Callable[[], _T]) -> _T:
    """Return what is made of a write; what is wrong with it says in which entry of a Bundle."""
    try:
        return made()
    except InvalidResource as error:
        raise RequestRefused(422, "invalid", error.what, _expression(wanted, (error.path,))) from None
    except RequestRefused as error:
        if not wanted.place:
            raise
        raise RequestRefused(error.status, error.code, error.what, _expression(wanted, error.expression)) from None


def _expression(wanted: Wanted, paths: Iterable[str]) -> tuple[str, ...]:
    known = tuple(path for path in paths if path)
    if not wanted.place:
        return known
    return tuple(f"{wanted.place}.resource.{path.partition('.')[2]}".rstrip(".") for path in known) or (wanted.place,)


def _version_in(body: dict[str, Any] | None) -> str:
    meta = body.get("meta") if body else None
    version = meta.get("versionId") if isinstance(meta, dict) else None
    return version if isinstance(version, str) else ""


def _check_once(targets: Sequence[_Target]) -> None:
    """No resource may be written twice in one transaction, no full URL stand for two."""
    ids = [target.id for target in targets if target.id]
    urls = [target.wanted.full_url for target in targets if target.wanted.full_url]
    searches = [(one.wanted.type, one.wanted.query) for one in targets if one.wanted.query is not None]
    for said in (ids, urls, searches):
        if len(set(said)) < len(said):
            raise RequestRefused(400, "duplicate", "two entries of the Bundle are about the same resource")


def _check_places(drafts: Iterable[Draft]) -> None:
    """A patient is given one place in a study."""
    versions = [(one.rights, one.version) for one in drafts if one.kind == "create"]
    places = [
        (version.patient, rights.study.id)
        for rights, version in versions
        if rights is not None and version is not None and version.type == "ResearchSubject"
    ]
    if len(set(places)) < len(places):
        raise RequestRefused(409, "duplicate", "a patient is given two places in one study")


def patients_of(drafts: Iterable[Draft]) -> set[str]:
    """Return the patients whose resources are to be written."""
    return {
        draft.version.patient for draft in drafts if draft.version is not None and draft.version.type in OF_PATIENTS
    }
