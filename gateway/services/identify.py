"""Who is who: the identifiers of a batch of messages, and what two patients known by the same one come to.

Identifiers are read once for a batch and those not known yet are registered together. One that names another patient
is for a person to decide, never joined here (ARCHITECTURE, Identity).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from gateway.model.translation import PatientKey
from gateway.ports import Hold, Transaction

_SAME: Final = "two patients are known by the same identifier; merge them at the source (A40) if they are one"

Name = tuple[str, str]
"""An identifier: system and value."""


class Identifiers:
    """The identifiers that a transaction's messages give for their patients."""

    def __init__(self, tx: Transaction, keys: Iterable[PatientKey]) -> None:
        """Read for whom these are registered. Their patients are locked already."""
        self._tx = tx
        one_of_each = {_name(key): key for key in keys}
        known = tx.resources.patient_of_key(one_of_each.values()) if one_of_each else {}
        self._owners = {_name(key): patient for key, patient in known.items()}
        self._new: dict[Name, PatientKey] = {}
        self._pairs: set[tuple[str, str]] = set()

    def given(self, keys: Iterable[PatientKey]) -> None:
        """Take note of the identifiers that one message gives."""
        for key in keys:
            name = _name(key)
            owner = self._owners.get(name)
            if owner is None:
                self._owners[name] = key.patient
                self._new[name] = key
            elif owner != key.patient:
                self._pairs.add((owner, key.patient))

    def flush(self, now: datetime) -> None:
        """Register what is new; open a hold for each two patients that an identifier names.

        What another process registered meanwhile is looked at again: whoever comes second opens the hold.
        """
        if self._new:
            self._tx.resources.register_keys(self._new.values())
            first = self._tx.resources.patient_of_key(self._new.values())
            self._pairs |= {(patient, key.patient) for key, patient in first.items() if patient != key.patient}
        for pair in sorted(self._apart()):
            self._tx.worklist.open_hold(Hold("identity", _SAME, None, pair, opened_at=now))

    def _apart(self) -> Iterator[str]:
        """The pairs that were not merged, each once."""
        if not self._pairs:
            return
        survivors = self._tx.resources.canonical({patient for pair in self._pairs for patient in pair})
        apart = {frozenset((survivors[one], survivors[other])) for one, other in self._pairs}
        for patients in apart:
            if len(patients) > 1:
                yield " and ".join(sorted(f"Patient/{id}" for id in patients))


def _name(key: PatientKey) -> Name:
    return key.system, key.value
