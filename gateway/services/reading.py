"""What packing several cursors needs of the database, read together: a statement for all of them where one will do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.model.delivery import Delivery, View
from gateway.model.resource import ResourceVersion
from gateway.ports import ChangeRange, Holding, Transaction
from gateway.release.policy import Policy, Rights
from gateway.release.release import Releasing
from gateway.services.subjects import ENTITLING, Standing, standing

_REFERENCE: Final = re.compile(rb'"reference":"([A-Z][A-Za-z]*)/([^"/\\]+)"')
_NOBODY: Final = Standing({})


@dataclass(frozen=True, slots=True)
class Owed:
    """What a cursor owes: its changes, the change they reach, whether there are more; and the patient's places."""

    changes: Sequence[ResourceVersion]
    upto: int
    more: bool
    standing: Standing
    merged_away: bool = False


class Reading:
    """One read transaction at one moment (UTC), for cursors of any views."""

    def __init__(self, tx: Transaction, policy: Policy, now: datetime) -> None:
        self.tx = tx
        self.policy = policy
        self.now = now
        self._heads: dict[str, ResourceVersion] = {}
        self._releasing: dict[View, Releasing] = {}
        self._shared_held: dict[View, dict[str, int]] = {}
        self._holdings: dict[int, Holding] = {}
        self._stored: dict[tuple[str, int], ResourceVersion | None] = {}
        self._superseding: dict[int, list[ResourceVersion]] = {}

    def releasing(self, rights: Rights) -> Releasing:
        """Return who decides for a view."""
        if rights.view not in self._releasing:
            self._releasing[rights.view] = Releasing(rights, self.now)
        return self._releasing[rights.view]

    def shared_held(self, view: View) -> dict[str, int]:
        """Return the shared resources a view holds: internal id -> change."""
        if view not in self._shared_held:
            self._shared_held[view] = self.tx.deliveries.shared_held(view)
        return self._shared_held[view]

    def holding(self, cursor: int) -> Holding:
        """Return what a cursor's view holds; those of the cursors beside it are read with the first."""
        if cursor not in self._holdings:
            self._holdings.update(
                self.tx.deliveries.held({cursor, *(self._superseding.keys() - self._holdings.keys())})
            )
        return self._holdings[cursor]

    def stored(self, id: str, number: int) -> ResourceVersion | None:
        """Return one version of a resource; those that the cursors beside it will ask for are read with the first."""
        if (id, number) not in self._stored:
            wanted = {(id, number), *self._told()} - self._stored.keys()
            found = self.tx.resources.numbered(wanted)
            self._stored.update((key, found.get(key)) for key in wanted)
        return self._stored[id, number]

    def _told(self) -> Iterator[tuple[str, int]]:
        """Yield which versions the views hold of what has a newer one."""
        for cursor, versions in self._superseding.items():
            for version in versions:
                held = self.holding(cursor).find(version.id)
                if held is not None and held[0].version < version.version:
                    yield version.id, held[0].version

    def head(self, id: str) -> ResourceVersion | None:
        """Return the newest version of a resource."""
        if id not in self._heads:
            self._heads.update(self.tx.resources.heads((id,)))
        return self._heads.get(id)

    def owed(self, cursors: Sequence[tuple[Delivery, Rights]]) -> list[Owed]:
        """Return what each cursor owes up to its window, or else all that is planned; read ahead what they refer to."""
        patients = list(dict.fromkeys(delivery.patient for delivery, _ in cursors if delivery.patient))
        ranges = [_range(delivery, rights) for delivery, rights in cursors]
        entitling = [ChangeRange(patient, types=ENTITLING) for patient in patients]
        found = self.tx.resources.of_patients([*ranges, *entitling])
        places = dict(zip(patients, found[len(ranges) :], strict=True))
        standings = {patient: standing(versions, patient, self.policy) for patient, versions in places.items()}
        gone = self._gone(places)
        owed = [
            _owed(delivery, rights, versions, standings.get(delivery.patient, _NOBODY), delivery.patient in gone)
            for (delivery, rights), versions in zip(cursors, found, strict=False)
        ]
        self._read_ahead(cursors, owed)
        return owed

    def _gone(self, places: dict[str, list[ResourceVersion]]) -> set[str]:
        """Return the patients whose resources belong to another by now (A40)."""
        without = [patient for patient, versions in places.items() if not any(each.id == patient for each in versions)]
        canonical = self.tx.resources.canonical(without) if without else {}
        return {patient for patient in without if canonical[patient] != patient}

    def _read_ahead(self, cursors: Sequence[tuple[Delivery, Rights]], owed: Sequence[Owed]) -> None:
        """Read the newest versions of what the changes refer to, and turn all their ids into the views' own."""
        wanted: set[str] = set()
        met: dict[View, set[str]] = {}
        for (delivery, rights), one in zip(cursors, owed, strict=True):
            self._know(one.standing.versions)
            newer = [version for version in one.changes if version.version > 1]
            if newer and delivery.patient:
                self._superseding[delivery.id] = newer
            if not _every(delivery, rights):
                self._know(one.changes)
            ids = _named(one.changes, rights)
            wanted |= ids
            met.setdefault(rights.view, set()).update(ids, [version.id for version in one.changes])
        missing = wanted - self._heads.keys()
        if missing:
            self._heads.update(self.tx.resources.heads(missing))
        for _, rights in cursors:
            self.releasing(rights).ids.meet(met.pop(rights.view, set()))

    def _know(self, newest: Iterable[ResourceVersion]) -> None:
        for version in newest:
            self._heads[version.id] = version


def _range(delivery: Delivery, rights: Rights) -> ChangeRange:
    return ChangeRange(
        delivery.patient, delivery.sent, limit_of(delivery), _every(delivery, rights), (), rights.recipient.batch + 1
    )


def _every(delivery: Delivery, rights: Rights) -> bool:
    """Whether a cursor owes each version, not the newest alone."""
    return rights.every_version and delivery.patient != ""


def limit_of(delivery: Delivery) -> int:
    """Return up to which change a cursor is to be paid: its window, or else all that is planned."""
    return delivery.planned if delivery.window is None else delivery.window


def _owed(
    delivery: Delivery, rights: Rights, versions: Sequence[ResourceVersion], places: Standing, merged_away: bool
) -> Owed:
    batch = rights.recipient.batch
    if len(versions) <= batch:
        return Owed(versions, limit_of(delivery), False, places, merged_away)
    return Owed(versions[:batch], versions[batch - 1].change, True, places, merged_away)


def _named(changes: Iterable[ResourceVersion], rights: Rights) -> set[str]:
    """Return the ids of what changes refer to, of the types a view may see."""
    types = {kind.encode() for kind in rights.types}
    bodies = b"".join([version.body for version in changes if version.type in rights.types])
    ids = b"/".join({id for kind, id in _REFERENCE.findall(bodies) if kind in types})
    return set(ids.decode().split("/")) if ids else set()
