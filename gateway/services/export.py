"""Bulk exports as a client orders, watches, fetches and drops them (Bulk Data Access 2.0, "Bulk Data Export").

An export is written by ``exporting`` in the background. What was entitled to leave when it was written may not be any
more when it is fetched: each part of a file says by what right it was written, and is left out once that has narrowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from msgspec import msgpack

from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.model.access import Caller
from gateway.ports import ChangeRange, Clock, Export, Part, PartLine, Shown, Store, Transaction
from gateway.release.consent import Entitlement, entitlement
from gateway.release.decision import Withheld
from gateway.services.export_content import Content
from gateway.services.export_order import Order, Right, order_of, right_of
from gateway.services.pull import Pull, Sight
from gateway.services.search import Search
from gateway.services.seen import Release
from gateway.services.subjects import ENTITLING, standing

SETTLED: Final = timedelta(minutes=1)
"""A transaction ends within it: what was stored longer ago than this was there to be read when an export began."""

_AT_ONCE: Final = 32
"""Patients looked at together."""

_PIECES: Final = 8
"""Parts read together when a file is fetched."""


@dataclass(frozen=True, slots=True)
class ExportLimits:
    """How long an export is kept, how many of a client may go on at once, how many are kept of one."""

    lifetime: timedelta = timedelta(hours=24)
    at_once: int = 3
    kept: int = 30


@dataclass(frozen=True, slots=True)
class File:
    """A file of an export as its manifest lists it."""

    number: int
    kind: str
    type: str
    count: int


class ExportDesk:
    """Takes orders and hands out files."""

    def __init__(self, store: Store, sight: Sight, clock: Clock, limits: ExportLimits | None = None) -> None:
        self._store = store
        self._sight = sight
        self._clock = clock
        self._limits = limits or ExportLimits()

    def begin(self, order: Order, client: str) -> str:
        """Take an order and return the export's id. Raises ``RequestRefused`` (429) when the client has too many."""
        id, now = str(uuid4()), self._clock()
        export = Export(id, client, msgpack.encode(order), now, now + self._limits.lifetime)
        with self._store.begin() as tx:
            going, kept = tx.exports.kept(client)
            if going >= self._limits.at_once:
                what = "too many exports of this client go on: wait for one, or delete it"
                raise RequestRefused(429, "throttled", what, retry_after=60)
            if kept >= self._limits.kept:
                what = "too many exports of this client are kept: delete those that were fetched"
                raise RequestRefused(429, "throttled", what, retry_after=3600)
            tx.exports.add(export)
        return id

    def sees(self, reference: str, caller: Caller, release: Release) -> bool:
        """Return whether a client may read a resource that is stored."""
        type, _, id = reference.partition("/")
        with self._store.begin(write=False) as tx:
            pull = Pull(tx, self._sight, caller, self._clock(), release)
            found = pull.read(type, id) if caller.scopes_for(type, "r") else None
            return found is not None and Search(pull, "").within(found[1]) is not None

    def get(self, id: str, client: str) -> Export:
        """Return an export of a client. Raises ``RequestRefused`` (404) when it has none of that id."""
        with self._store.begin(write=False) as tx:
            return _own(tx, id, client, self._clock())

    def drop(self, id: str, client: str) -> None:
        """Forget an export, finished or not. Raises ``RequestRefused`` (404)."""
        with self._store.begin() as tx:
            _own(tx, id, client, self._clock())
            tx.exports.drop(id)

    def files(self, export: Export, caller: Caller) -> list[File]:
        """Return the files of an export, counting what may still be seen of each."""
        with self._store.begin(write=False) as tx:
            lines = list(tx.exports.lines(export.id))
            holding = _Holding(tx, self._sight, caller, self._clock())
            counts: dict[int, File] = {}
            for line in holding.holds(lines):
                before = counts.get(line.file, File(line.file, line.kind, line.type, 0))
                counts[line.file] = File(line.file, line.kind, line.type, before.count + line.count)
        return [counts[number] for number in sorted(counts)]

    def fetch(self, export: Export, number: int, caller: Caller) -> tuple[str, Iterator[Fetched]]:
        """Return a file's type, and the file piece by piece, each as the caller may see it at that moment.

        Raises ``RequestRefused``: 404 when the export has no such file, 403 when the caller's token covers less of it
        than the one it was ordered with.
        """
        first = self._pieces(export, number, -1, caller)
        if not first:
            raise RequestRefused(404, "not-found", "the export has no such file")
        type, order = first[0][0].type, order_of(export)
        needed = order.scopes_of(type if type in order.types else "*")
        if not all(any(own.covers(scope) for own in caller.scopes) for scope in needed):
            raise RequestRefused(403, "forbidden", "the token covers less than the one this file was ordered with")
        return type, self._fetch(export, number, caller, first)

    def _fetch(
        self, export: Export, number: int, caller: Caller, first: Sequence[tuple[Part, bool]]
    ) -> Iterator[Fetched]:
        pieces = first
        while pieces:
            kept = [part for part, holds in pieces if holds]
            if kept:
                yield Fetched(tuple(part.body for part in kept), tuple(_shown(kept)))
            pieces = self._pieces(export, number, pieces[-1][0].number, caller)

    def _pieces(self, export: Export, number: int, after: int, caller: Caller) -> list[tuple[Part, bool]]:
        """Return the next parts of a file, and whether each may still be seen."""
        with self._store.begin(write=False) as tx:
            parts = tx.exports.parts(export.id, number, after, _PIECES)
            held = {part.number for part in _Holding(tx, self._sight, caller, self._clock()).holds(parts)}
            return [(self._as_seen(tx, export, part, caller), part.number in held) for part in parts]

    def _as_seen(self, tx: Transaction, export: Export, part: Part, caller: Caller) -> Part:
        """Return a part as it may leave now: a Group names persons, each of whom may have withdrawn."""
        if part.type != "Group":
            return part
        order = order_of(export)
        pull = Pull(tx, self._sight, caller, self._clock(), order.release)
        content = Content(pull, order)
        found = (pull.read(part.type, codec.decode(line)["id"]) for line in part.body.splitlines())
        seen = [one for one in found if one is not None]
        lines = [(line, one.shown) for _, one in seen if (line := content.line(one)) is not None]
        body = b"".join(line + b"\n" for line, _ in lines)
        return replace(part, body=body, count=len(lines), shown=tuple(shown for _, shown in lines))


@dataclass(frozen=True, slots=True)
class Fetched:
    """A piece of a file: lines of ndjson, and what they disclose."""

    lines: tuple[bytes, ...]
    shown: tuple[Shown, ...]


def _shown(parts: Sequence[Part]) -> Iterator[Shown]:
    for part in parts:
        right = right_of(part.about)
        yield from (Shown(one.type, one.resource, one.version, right.patient, right.view) for one in part.shown)


def _own(tx: Transaction, id: str, client: str, now: datetime) -> Export:
    export = tx.exports.get(id)
    if export is None or export.client != client or export.expires_at <= now:
        raise RequestRefused(404, "not-found", "this client has no such export, or it has expired")
    return export


class _Holding:
    """Whether the rights by which parts were written still hold for a caller."""

    def __init__(self, tx: Transaction, sight: Sight, caller: Caller, now: datetime) -> None:
        self._tx = tx
        self._sight = sight
        self._caller = caller
        self._now = now
        self._entitled: dict[tuple[str, str, str], Entitlement | Withheld] = {}

    def holds(self, parts: Sequence[Part] | Sequence[PartLine]) -> Iterator[Any]:
        """Yield the parts that may still be seen, in their order."""
        rights = [right_of(part.about) for part in parts]
        self._learn({right.patient for right in rights if right.patient})
        yield from (part for part, right in zip(parts, rights, strict=True) if self._stands(right))

    def _stands(self, right: Right) -> bool:
        if not right.recipient:
            return True
        known = self._sight.policy.rights(right.view)
        if known is None or right.view not in self._caller.views or known.digest != right.digest:
            return False
        if not right.patient:
            return True
        now = self._entitled.get((right.recipient, right.study, right.patient), Withheld("not-a-subject"))
        return not right.entitlement.wider_than(now)

    def _learn(self, patients: set[str]) -> None:
        ordered = sorted(patients)
        for start in range(0, len(ordered), _AT_ONCE):
            some = ordered[start : start + _AT_ONCE]
            found = self._tx.resources.of_patients([ChangeRange(patient, types=ENTITLING) for patient in some])
            for patient, versions in zip(some, found, strict=True):
                self._note(patient, standing(versions, patient, self._sight.policy).subjects)

    def _note(self, patient: str, subjects: Mapping[str, Any]) -> None:
        for view in self._caller.views:
            rights = self._sight.policy.rights(view)
            if rights is not None:
                subject = subjects.get(view.study)
                entitled = entitlement(subject, rights.recipient, self._now)
                self._entitled[view.recipient, view.study, patient] = entitled
