"""The append-only table of resource versions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, select, text, update

from gateway.model.resource import Clock, ResourceVersion
from gateway.model.translation import PatientKey
from gateway.ports import ChangeRange
from gateway.store.backend import Unit, VersionRow, chunks
from gateway.store.patients import canonical, merge, patient_of_key, register_keys
from gateway.store.schema import OF_TYPED, TYPED, resource_versions, written
from gateway.store.types import packed, storable

_R = resource_versions.c
_NEWER = resource_versions.alias("newer")
_NEWEST = ~select(_NEWER.c.change).where(_NEWER.c.id == _R.id, _NEWER.c.version > _R.version).exists()
_HEADS = select(resource_versions).where(
    _R.change.in_(
        select(func.max(_NEWER.c.change)).where(_NEWER.c.id.in_(bindparam("ids", expanding=True))).group_by(_NEWER.c.id)
    )
)
_OF_PATIENT = (
    select(resource_versions)
    .where(_R.patient == bindparam("patient_"), _R.change > bindparam("after_"))
    .order_by(_R.change)
)
_FEW_OF_PATIENT = select(resource_versions).where(
    text(f"resource_versions.{OF_TYPED}"),
    _R.patient == bindparam("patient_"),
    _R.type.in_(bindparam("types_", expanding=True)),
    _NEWEST,
)
"""Found through the partial index, however much else the patient has; unordered, or SQLite would take the other one."""
_OF_MESSAGE = (
    select(resource_versions)
    .join(written, and_(_R.change >= written.c.first_change, _R.change <= written.c.last_change))
    .where(written.c.message == bindparam("message_"), _R.message == bindparam("message_"))
    .order_by(_R.change)
)
_VERSIONS = select(resource_versions).where(_R.id == bindparam("id_")).order_by(_R.version)
_OF_TYPE = (
    select(resource_versions)
    .where(text(f"resource_versions.{OF_TYPED}"), _R.type == bindparam("type_"), _NEWEST)
    .order_by(_R.change)
)
_CLOCKS = update(resource_versions).where(_R.change == bindparam("change_")).values(clocks=bindparam("clocks_"))
_NEWEST_OF = (
    select(_R.patient, func.max(_R.change).label("newest"))
    .where(_R.patient.in_(bindparam("patients_", expanding=True)))
    .group_by(_R.patient)
)
_INSERT_WRITTEN = written.insert()
_DUMP = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


class SqlResources:
    """The resource versions of one transaction."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._connection = unit.connection

    def lock_patients(self, patients: Iterable[str]) -> None:
        """Take the lock of each patient, always in the same order, until the transaction ends.

        ``""`` locks the shared resources. One round trip.
        """
        keys = {_lock_key(patient) for patient in patients}
        if keys:
            self._unit.backend.lock(self._connection, sorted(keys))

    def heads(self, ids: Iterable[str]) -> dict[str, ResourceVersion]:
        """Return the newest version of each resource that exists, by internal id."""
        found: dict[str, ResourceVersion] = {}
        for some in chunks(sorted(set(ids))):
            for row in self._connection.execute(_HEADS, {"ids": some}):
                found[row.id] = self._version(row)
        return found

    def append(self, versions: Sequence[ResourceVersion]) -> list[ResourceVersion]:
        """Insert versions, give each its change number (ascending in the order given) and return them with it.

        Raises ``VersionConflict`` when one exists already.
        """
        if not versions:
            return []
        numbers = self._unit.backend.number_changes(self._connection, len(versions))
        numbered = [_numbered(version, change) for version, change in zip(versions, numbers, strict=True)]
        self._unit.backend.insert_versions(self._connection, [self._row(version) for version in numbered])
        spans: dict[int, list[int]] = {}
        for version in numbered:
            spans.setdefault(version.message, []).append(version.change)
        self._connection.execute(
            _INSERT_WRITTEN,
            [{"message": id, "first_change": span[0], "last_change": span[-1]} for id, span in spans.items()],
        )
        return numbered

    def set_clocks(self, clocks: Mapping[int, dict[str, Clock]]) -> None:
        """Replace the clocks of versions, by change number."""
        if clocks:
            rows = [{"change_": change, "clocks_": _DUMP(clocks[change])} for change in sorted(clocks)]
            self._connection.execute(_CLOCKS, rows)

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
        ranged = after or every_version or not (upto is None and limit is None)
        if types and not ranged and set(types) <= set(TYPED):
            few = self._all(_FEW_OF_PATIENT, patient_=patient, types_=list(types))
            return sorted(few, key=lambda version: version.change)
        query = _OF_PATIENT
        if upto is not None:
            query = query.where(_R.change <= bindparam("upto_"))
        if not every_version:
            query = query.where(_NEWEST)
        if types:
            query = query.where(_R.type.in_(bindparam("types_", expanding=True)))
        if limit is not None:
            query = query.limit(bindparam("limit_"))
        asked = {"patient_": patient, "after_": after, "upto_": upto, "types_": list(types), "limit_": limit}
        return self._all(query, **asked)

    def of_patients(self, ranges: Sequence[ChangeRange]) -> list[list[ResourceVersion]]:
        """Return the changes of many patients, ascending: a list for each range, in the same order."""
        return [
            self.of_patient(
                asked.patient,
                after=asked.after,
                upto=asked.upto,
                every_version=asked.every_version,
                types=asked.types,
                limit=asked.limit,
            )
            for asked in ranges
        ]

    def of_message(self, message: int) -> list[ResourceVersion]:
        """Return the versions that a message wrote."""
        return self._all(_OF_MESSAGE, message_=message)

    def versions(self, id: str) -> list[ResourceVersion]:
        """Return every version of one resource, oldest first."""
        return self._all(_VERSIONS, id_=id)

    def of_type(self, resource_type: str, *, patients: Iterable[str] | None = None) -> list[ResourceVersion]:
        """Return the newest versions of a type, of these patients when given.

        Only for the types of the partial index: ResearchStudy, ResearchSubject, Consent, Patient. Raises
        ``ValueError`` for another.
        """
        if resource_type not in TYPED:
            raise ValueError(f"of_type does not find {resource_type}")
        if patients is None:
            return self._all(_OF_TYPE, type_=resource_type)
        query = _OF_TYPE.where(_R.patient.in_(bindparam("patients_", expanding=True)))
        found: list[ResourceVersion] = []
        for some in chunks(sorted(set(patients))):
            found += self._all(query, type_=resource_type, patients_=some)
        return sorted(found, key=lambda version: version.change)

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

    def _all(self, query: Select[Any], **asked: Any) -> list[ResourceVersion]:
        return [self._version(row) for row in self._connection.execute(query, asked)]

    def _row(self, version: ResourceVersion) -> VersionRow:
        seal = self._unit.cipher.seal
        place = version.type, version.id, version.version
        return (
            version.change,
            version.id,
            version.version,
            version.type,
            version.patient,
            version.message,
            version.stored_at,
            storable(version.code),
            version.date,
            storable(version.status),
            storable(version.held),
            _DUMP(version.clocks),
            seal(version.body, version_place(*place, "body")),
            None if version.own is None else seal(version.own, version_place(*place, "own")),
        )

    def _version(self, row: Any) -> ResourceVersion:
        unseal = self._unit.cipher.open
        place = row.type, row.id, row.version
        return ResourceVersion(
            type=row.type,
            id=row.id,
            version=row.version,
            body=unseal(row.body, version_place(*place, "body")),
            message=row.message,
            stored_at=row.stored_at,
            patient=row.patient,
            clocks={name: tuple(clock) for name, clock in json.loads(row.clocks).items()},
            own=None if row.own is None else unseal(row.own, version_place(*place, "own")),
            code=row.code,
            date=row.date,
            status=row.status,
            held=row.held,
            change=row.change,
        )


def _numbered(version: ResourceVersion, change: int) -> ResourceVersion:
    return version.but(change=change)


def version_place(type: str, id: str, version: int, column: str) -> bytes:
    """Return the associated data of one encrypted value of one version."""
    return b"resource_versions.%s|%s|%s|%d" % (column.encode(), type.encode(), packed(id), version)


def _lock_key(patient: str) -> int:
    return int.from_bytes(blake2b(b"patient\x1f" + patient.encode(), digest_size=8).digest(), "big", signed=True)
