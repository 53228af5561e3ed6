"""The append-only resource versions: found through ``versions`` and ``pages``, read from their pages."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from msgspec import json as fast_json
from sqlalchemy import bindparam, func, select

from gateway.model.resource import Clock, ResourceVersion
from gateway.model.translation import PatientKey
from gateway.ports import ChangeRange
from gateway.store.backend import Unit, chunks
from gateway.store.page_tables import ENDLESS, PageRange, Read
from gateway.store.pages import paged
from gateway.store.patients import canonical, merge, patient_of_key, register_keys
from gateway.store.schema import STRIDE, TYPED, pages, typed

_P = pages.c
_NEWEST_OF = (
    select(_P.patient, func.max(_P.page).label("newest"))
    .where(_P.patient.in_(bindparam("patients_", expanding=True)))
    .group_by(_P.patient)
)
_ENROLLED = (
    select(typed.c.patient, func.max(typed.c.change).label("newest"))
    .where(typed.c.change > bindparam("change_"), typed.c.patient != "")
    .group_by(typed.c.patient)
)
_ENROLLED_MARK = select(
    select(func.count()).select_from(typed).scalar_subquery(), select(func.max(typed.c.change)).scalar_subquery()
)
_DUMP = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode
_NOTES: Final = fast_json.Decoder(list[tuple[int, bool | int, str | None]])
_CLOCKS: Final = fast_json.Decoder(dict[str, Clock])

_PER_PAGE: Final = 16
"""Versions a page is taken to hold when only some are asked for."""

_MANY: Final = 256
"""Pages read in one go."""


@dataclass(slots=True)
class _Asked:
    """A range on its way: what was found so far, from where to go on, and how many pages to read next."""

    range: ChangeRange
    after: int
    most: int
    found: list[ResourceVersion] = field(default_factory=list)

    @property
    def pages(self) -> PageRange:
        upto = self.range.upto
        return PageRange(self.range.patient, self.after, ENDLESS if upto is None else upto, self.most)


class SqlResources:
    """The resource versions of one transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._connection = unit.connection
        self._tables = unit.backend.pages

    def lock_patients(self, patients: Iterable[str]) -> None:
        """Take the lock of each patient, always in the same order, until the transaction ends.

        ``""`` locks the shared resources. One round trip.
        """
        keys = {_lock_key(patient) for patient in patients}
        if keys:
            self._unit.backend.lock(self._connection, sorted(keys))

    def heads(self, ids: Iterable[str]) -> dict[str, ResourceVersion]:
        """Return the newest version of each resource that exists, by internal id."""
        wanted = set(ids)
        heads: dict[str, ResourceVersion] = {}
        if wanted:
            for version in self._read(self._tables.of_heads(self._connection, sorted(wanted))):
                if version.id in wanted and (version.id not in heads or heads[version.id].change < version.change):
                    heads[version.id] = version
        return heads

    def append(self, versions: Sequence[ResourceVersion]) -> list[ResourceVersion]:
        """Insert versions, give each its change number (ascending in the order given) and return them with it.

        Raises ``VersionConflict`` when one exists already.
        """
        return [version for some in chunks(versions, STRIDE) for version in self._append(some)]

    def _append(self, versions: Sequence[ResourceVersion]) -> list[ResourceVersion]:
        first = self._tables.number(self._connection, len(versions))
        numbered = [version.but(change=change) for change, version in enumerate(versions, first)]
        rows = list(paged(self._unit.cipher, numbered))
        placed = [(version.id, version.version, version.change) for version in numbered]
        self._tables.insert(self._connection, rows, placed)
        if newer := [row for row in placed if row[1] > 1]:
            self._tables.supersede(self._connection, newer)
        if any(version.type in TYPED for version in numbered):
            ends = [row.page for row in rows]
            self._tables.insert_typed(self._connection, list(_typed(numbered, ends)))
        return numbered

    def set_clocks(self, clocks: Mapping[int, dict[str, Clock]]) -> None:
        """Replace the clocks of versions, by change number."""
        if clocks:
            self._tables.set_clocks(self._connection, {change: _DUMP(clocks[change]) for change in sorted(clocks)})

    def of_patient(
        self,
        patient: str,
        *,
        after: int = 0,
        upto: int | None = None,
        every_version: bool = False,
        types: Sequence[str] = (),
        limit: int | None = None,
    ) -> list[ResourceVersion]:
        """Return the patient's changes with ``after`` < change <= ``upto``, ascending.

        Without ``every_version`` only the newest version of each resource is returned, and only if its own change
        lies in the range.
        """
        return self.of_patients([ChangeRange(patient, after, upto, every_version, tuple(types), limit)])[0]

    def of_patients(self, ranges: Sequence[ChangeRange]) -> list[list[ResourceVersion]]:
        """Return the changes of many patients, ascending: a list for each range, in the same order."""
        asked = [_Asked(range, range.after, _pages_of(range.limit)) for range in ranges]
        self._of_few_types([one for one in asked if _is_of_few_types(one.range)])
        open = [one for one in asked if not _is_of_few_types(one.range)]
        while open:
            found = self._tables.of_ranges(self._connection, [one.pages for one in open])
            open = [one for one, pages in zip(open, found, strict=True) if self._goes_on(one, pages)]
        return [one.found[: one.range.limit] for one in asked]

    def of_message(self, message: int) -> list[ResourceVersion]:
        """Return the versions that a message wrote."""
        return list(self._read(self._tables.of_message(self._connection, message), every_version=True))

    def versions(self, id: str) -> list[ResourceVersion]:
        """Return every version of one resource, oldest first."""
        read = self._read(self._tables.of_resource(self._connection, id), every_version=True)
        return sorted((version for version in read if version.id == id), key=lambda version: version.version)

    def numbered(self, wanted: Iterable[tuple[str, int]]) -> dict[tuple[str, int], ResourceVersion]:
        """Return those of some versions that exist, by internal id and version."""
        asked = sorted(set(wanted))
        read = self._read(self._tables.of_versions(self._connection, asked), every_version=True) if asked else ()
        found = {(version.id, version.version): version for version in read}
        return {key: found[key] for key in asked if key in found}

    def of_type(self, resource_type: str, *, patients: Iterable[str] | None = None) -> list[ResourceVersion]:
        """Return the newest versions of a type, of these patients when given.

        Only for the types that are found by: ResearchStudy, ResearchSubject, Consent, Patient. Raises ``ValueError``
        for another.
        """
        if resource_type not in TYPED:
            raise ValueError(f"of_type does not find {resource_type}")
        return self._typed((resource_type,), None if patients is None else set(patients))

    def enrolled_since(self, change: int) -> dict[str, int]:
        """Return the patients with a Patient, ResearchSubject or Consent above a change number, and the highest."""
        rows = self._connection.execute(_ENROLLED, {"change_": change})
        return {row.patient: row.newest for row in rows}

    def enrolled_mark(self) -> tuple[int, int]:
        """Return what becomes another when ``enrolled_since`` would find more: rows are added and never taken away."""
        count, newest = self._connection.execute(_ENROLLED_MARK).one()
        return count, newest or 0

    def patient_of_key(self, keys: Iterable[PatientKey]) -> dict[PatientKey, str]:
        """Return the Patient id each identifier is registered for, where it is (through its keyed hash)."""
        return patient_of_key(self._unit, keys)

    def register_keys(self, keys: Iterable[PatientKey]) -> None:
        """Register identifiers for their Patients; one registered already stays as it is."""
        register_keys(self._unit, keys)

    def canonical(self, patients: Iterable[str]) -> dict[str, str]:
        """Return for each Patient id the surviving one (itself when it was never merged)."""
        return canonical(self._unit, patients)

    def merge(self, old: str, survivor: str) -> None:
        """Record that everything about ``old`` belongs to ``survivor``; chains are flattened."""
        merge(self._unit, old, survivor)

    def newest_changes(self, patients: Iterable[str]) -> dict[str, int]:
        """Return the newest change number of each patient that has one (``""``: of the shared resources)."""
        found: dict[str, int] = {}
        for some in chunks(sorted(set(patients))):
            found.update((row.patient, row.newest) for row in self._connection.execute(_NEWEST_OF, {"patients_": some}))
        return found

    def _goes_on(self, asked: _Asked, pages: Sequence[Read]) -> bool:
        """Take what these pages hold of a range; return whether there may be more that is asked for."""
        wanted, upto = asked.range, asked.pages.upto
        asked.found += [
            version
            for version in self._read(pages, every_version=wanted.every_version)
            if wanted.after < version.change <= upto and (not wanted.types or version.type in wanted.types)
        ]
        if len(pages) < asked.most or (wanted.limit is not None and len(asked.found) >= wanted.limit):
            return False
        asked.after, asked.most = pages[-1][0], min(asked.most * 2, _MANY)
        return True

    def _of_few_types(self, asked: Sequence[_Asked]) -> None:
        """Find the few versions of the types that are found by, however much else the patients have."""
        for types in {one.range.types for one in asked}:
            alike = {one.range.patient: one for one in asked if one.range.types == types}
            for version in self._typed(types, alike.keys()):
                alike[version.patient].found.append(version)

    def _typed(self, types: Sequence[str], patients: Iterable[str] | None) -> list[ResourceVersion]:
        asked = None if patients is None else sorted(patients)
        if asked == []:
            return []
        read = self._read(self._tables.of_type(self._connection, types, asked))
        found = (version for version in read if version.type in types)
        if asked is not None:
            among = set(asked)
            found = (version for version in found if version.patient in among)
        return sorted(found, key=lambda version: version.change)

    def _read(self, pages: Iterable[Read], *, every_version: bool = False) -> list[ResourceVersion]:
        """Return what pages hold, as it was amended since; without ``every_version`` the newest of each resource."""
        read: list[ResourceVersion] = []
        for page, body, noted in pages:
            versions = self._unit.opened.versions(self._unit.cipher, page, body)
            read += _amended(versions, noted, every_version) if noted and noted != "[]" else versions
        return read


def _amended(versions: Iterable[ResourceVersion], noted: str, every_version: bool) -> Iterator[ResourceVersion]:
    notes = {change: (superseded, clocks) for change, superseded, clocks in _NOTES.decode(noted)}
    for version in versions:
        superseded, clocks = notes.get(version.change, (False, None))
        if every_version or not superseded:
            yield version if clocks is None else version.but(clocks=_CLOCKS.decode(clocks))


def _typed(versions: Sequence[ResourceVersion], ends: Sequence[int]) -> Iterator[tuple[str, str, int, int]]:
    """Yield the rows of ``typed``; ``ends`` are the numbers of the versions' pages, ascending."""
    for version in versions:
        if version.type in TYPED:
            yield version.type, version.patient, version.change, ends[bisect_left(ends, version.change)]


def _is_of_few_types(range: ChangeRange) -> bool:
    whole = not range.after and range.upto is None and range.limit is None and not range.every_version
    return whole and bool(range.types) and set(range.types) <= set(TYPED)


def _pages_of(limit: int | None) -> int:
    return _MANY if limit is None else min(limit // _PER_PAGE + 2, _MANY)


def _lock_key(patient: str) -> int:
    return int.from_bytes(blake2b(b"patient\x1f" + patient.encode(), digest_size=8).digest(), "big", signed=True)
