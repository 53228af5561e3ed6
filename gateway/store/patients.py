"""Who is who: identifiers found through keyed hashes, and merged patients."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, select, update

from gateway.model.translation import PatientKey
from gateway.store.backend import Unit, chunks, ignoring, replacing
from gateway.store.schema import patient_keys, patient_links

_BY_HASH = select(patient_keys).where(patient_keys.c.hash.in_(bindparam("hashes", expanding=True)))
_LINKS = select(patient_links).where(patient_links.c.alias.in_(bindparam("aliases", expanding=True)))


def patient_of_key(unit: Unit, keys: Iterable[PatientKey]) -> dict[PatientKey, str]:
    """Return the Patient id each identifier is registered for, where it is."""
    hashed = {key: _hash(unit, key) for key in keys}
    found: dict[bytes, str] = {}
    for some in chunks(sorted(set(hashed.values()))):
        rows = unit.connection.execute(_BY_HASH, {"hashes": some})
        found.update((bytes(row.hash), row.patient) for row in rows)
    return {key: found[hash] for key, hash in hashed.items() if hash in found}


def register_keys(unit: Unit, keys: Iterable[PatientKey]) -> None:
    """Register identifiers for their Patients; one registered already stays as it is."""
    rows: dict[bytes, str] = {}
    for key in keys:
        rows.setdefault(_hash(unit, key), key.patient)
    if rows:
        insert = ignoring(unit.backend.insert, patient_keys, "hash")
        unit.connection.execute(insert, [{"hash": hash, "patient": rows[hash]} for hash in sorted(rows)])


def canonical(unit: Unit, patients: Iterable[str]) -> dict[str, str]:
    """Return for each Patient id the surviving one (itself when it was never merged)."""
    survivors = {patient: patient for patient in patients}
    for some in chunks(sorted(survivors)):
        for row in unit.connection.execute(_LINKS, {"aliases": some}):
            survivors[row.alias] = row.survivor
    return survivors


def merge(unit: Unit, old: str, survivor: str) -> None:
    """Record that everything about ``old`` belongs to ``survivor``; chains are flattened, a ring is left alone."""
    ends = canonical(unit, (old, survivor))
    loser, winner = ends[old], ends[survivor]
    if loser == winner:
        return
    links = patient_links.c
    unit.connection.execute(update(patient_links).where(links.survivor == loser).values(survivor=winner))
    insert = replacing(unit.backend.insert, patient_links, "alias")
    unit.connection.execute(insert, {"alias": loser, "survivor": winner})


def _hash(unit: Unit, key: PatientKey) -> bytes:
    return unit.cipher.hash("identifier", key.system, key.value)[:16]
