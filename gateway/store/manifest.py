"""What an attempt carried, packed: 22 bytes an entry, one row an attempt."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from gateway.model.delivery import ChangeKind, ManifestEntry
from gateway.store.types import unpacked

_ENTRY: Final = struct.Struct(">16sIBB")
_KINDS: Final = (ChangeKind.CREATED, ChangeKind.UPDATED, ChangeKind.RETRACTED)
_NAMED: Final = 0
"""Type code of an entry whose type has none: its name follows, one byte of length before it."""

_TYPES: Final = (
    "",
    "Observation",
    "Patient",
    "Encounter",
    "DiagnosticReport",
    "Specimen",
    "ResearchStudy",
    "ResearchSubject",
    "Consent",
    "Organization",
    "Practitioner",
    "PractitionerRole",
    "Provenance",
    "ServiceRequest",
    "Task",
    "Condition",
    "Procedure",
    "MedicationRequest",
    "MedicationAdministration",
    "AdverseEvent",
    "AllergyIntolerance",
    "Coverage",
    "Device",
    "DocumentReference",
    "Location",
    "PlanDefinition",
    "Questionnaire",
    "QuestionnaireResponse",
    "RelatedPerson",
    "Immunization",
    "Group",
    "Binary",
)
"""A type's place here is stored: add at the end, never move."""

_CODES: Final = {name: code for code, name in enumerate(_TYPES) if name}
_UUID_LENGTH: Final = 36
_KIND_CODES: Final = {kind: code for code, kind in enumerate(_KINDS)}


def pack(entries: Iterable[ManifestEntry]) -> bytes:
    """Return entries as bytes. Raises ``ValueError`` for an id that is no UUID."""
    listed = list(entries)
    ids = [entry.resource for entry in listed]
    if any(len(id) != _UUID_LENGTH for id in ids):
        raise ValueError("an internal id is a UUID")
    raw = bytes.fromhex("".join(ids).replace("-", ""))
    parts: list[bytes] = []
    for place, entry in enumerate(listed):
        code = _CODES.get(entry.type, _NAMED)
        id = raw[16 * place : 16 * place + 16]
        parts.append(_ENTRY.pack(id, entry.version, _KIND_CODES[entry.kind], code))
        if code == _NAMED:
            name = entry.type.encode()
            parts.append(bytes((len(name),)) + name)
    return b"".join(parts)


def find(manifest: bytes, resource: bytes) -> ManifestEntry | None:
    """Return the last entry of a resource, given as the 16 bytes of its id; the others are not unpacked.

    >>> entry = ManifestEntry("Patient", "00000000-0000-5000-8000-0000000000ff", 3, ChangeKind.UPDATED)
    >>> find(pack([entry]), bytes.fromhex("000000000000500080000000000000ff")) == entry
    True
    """
    size = _ENTRY.size
    if _NAMED in manifest[size - 1 :: size]:  # from there on the entries are not alike
        id = unpacked(resource)
        return next((entry for entry in reversed(list(unpack(manifest))) if entry.resource == id), None)
    place = manifest.rfind(resource)
    while place % size and place > 0:
        place = manifest.rfind(resource, 0, place + len(resource) - 1)
    return next(unpack(manifest[place : place + size])) if place >= 0 else None


def unpack(manifest: bytes) -> Iterator[ManifestEntry]:
    """Yield entries again.

    >>> entry = ManifestEntry("Basic", "00000000-0000-5000-8000-0000000000ff", 3, ChangeKind.UPDATED)
    >>> list(unpack(pack([entry]))) == [entry]
    True
    """
    place = 0
    while place < len(manifest):
        raw, version, kind, code = _ENTRY.unpack_from(manifest, place)
        place += _ENTRY.size
        name = _TYPES[code]
        if code == _NAMED:
            end = place + 1 + manifest[place]
            name = manifest[place + 1 : end].decode()
            place = end
        yield ManifestEntry(name, unpacked(raw), version, _KINDS[kind])
