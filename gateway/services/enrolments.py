"""Which patients are in which study: a list kept in memory, read again where something changed.

It only says at whom to look. Who may see what of them is decided from the rows themselves, at the moment of the
answer.
"""

from __future__ import annotations

import threading
from typing import Final

from gateway.ports import Transaction
from gateway.release.policy import Policy, Rights
from gateway.services.subjects import studies_of

_LATE: Final = 4_000_000
"""Change numbers that may still be committed below one that was seen: a server draws thousands at once."""

_AT_ONCE: Final = 500


class Enrolments:
    """The patients of each study. Safe from any thread."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        self._mark = (-1, 0)
        self._upto = 0
        self._newest: dict[str, int] = {}
        self._studies: dict[str, set[str]] = {}
        self._sorted: dict[str, tuple[str, ...]] = {}
        self._named: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def patients(self, tx: Transaction, study: str) -> tuple[str, ...]:
        """Return the internal ids of the patients with a ResearchSubject in a study, ascending."""
        with self._lock:
            self._refresh(tx)
            if study not in self._sorted:
                self._sorted[study] = tuple(sorted(patient for patient, ids in self._studies.items() if study in ids))
            return self._sorted[study]

    def in_order(self, tx: Transaction, rights: Rights) -> tuple[str, ...]:
        """Return the patients of a view's study in the order of the ids the view knows them by.

        In the order of their internal ids, what one study is told could be laid beside what another is told.
        """
        patients = self.patients(tx, rights.study.id)
        if not rights.pseudonymous:
            return patients
        known = self._named.get(rights.study.id)
        if known is None or known[0] is not patients:
            ids = rights.public_ids(patients)
            known = patients, tuple(sorted(patients, key=lambda patient: ids.get(patient, patient)))
            self._named[rights.study.id] = known
        return known[1]

    def _refresh(self, tx: Transaction) -> None:
        mark = tx.resources.enrolled_mark()
        if mark == self._mark:
            return
        found = tx.resources.enrolled_since(max(0, self._upto - _LATE))
        changed = [patient for patient, newest in found.items() if self._newest.get(patient) != newest]
        if not changed:
            self._mark = mark
            return
        for start in range(0, len(changed), _AT_ONCE):
            some = changed[start : start + _AT_ONCE]
            places = studies_of(tx.resources.of_type("ResearchSubject", patients=some), self._policy)
            self._studies.update((patient, places.get(patient, set())) for patient in some)
        self._newest.update((patient, found[patient]) for patient in changed)
        self._upto = max(self._upto, *found.values())
        self._sorted.clear()
        self._mark = mark
