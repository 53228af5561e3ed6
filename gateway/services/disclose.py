"""Disclosures: every recipient that received, or may have received, anything of a person.

Every attempt ever made is looked at: those of the person's own deliveries, under whatever Patient merged into it, and
those that carried a result of the person's under another Patient before a correction; and every answer of the FHIR
API that showed something of the person's, to whichever client (``client/NAME``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from gateway.model.delivery import Attempt, ChangeKind, View
from gateway.model.translation import PatientKey
from gateway.ports import Store, Transaction
from gateway.release.policy import SHARED

_AT_ONCE: Final = 200
_REACHED: Final = ("accepted", "unknown")


@dataclass
class Disclosure:
    """What one view received of a person, counted by type. Times are UTC.

    ``certain``: resources it took; ``uncertain``: those it may have, as nobody knows how the attempt ended;
    ``retracted``: those it was told to drop, and took that.
    """

    recipient: str
    study: str
    first: datetime
    last: datetime
    attempts: int = 0
    certain: Counter[str] = field(default_factory=Counter)
    uncertain: Counter[str] = field(default_factory=Counter)
    retracted: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Return the disclosure as JSON values."""
        times = {"first": self.first.isoformat(), "last": self.last.isoformat(), "attempts": self.attempts}
        counts = {name: dict(getattr(self, name)) for name in ("certain", "uncertain", "retracted")}
        return {"recipient": self.recipient, "study": self.study, **times, **counts}


def disclosures(store: Store, patient: str) -> list[Disclosure] | None:
    """Return who received what of a person, by recipient and study; None when there is no such Patient.

    ``patient`` is an internal Patient id; a merged one stands for the person.
    """
    with store.begin(write=False) as tx:
        known = tx.accounts.known_as(patient)
        resources = {version.id for version in tx.resources.of_patient(known[0])}
        deliveries = {delivery.id for delivery in tx.accounts.deliveries_of(known)}
        if not resources and not deliveries:
            return None
        return _collected(tx, known, resources, deliveries)


def patient_known_by(store: Store, system: str, value: str) -> str | None:
    """Return the Patient an identifier is registered for; None when it is for none."""
    key = PatientKey("", system, value)
    with store.begin(write=False) as tx:
        return tx.resources.patient_of_key([key]).get(key)


def _collected(tx: Transaction, persons: list[str], resources: set[str], deliveries: set[int]) -> list[Disclosure]:
    views: dict[View, _Told] = _pulled(tx, persons)
    for view, attempt in tx.accounts.attempts():
        if attempt.outcome not in _REACHED:
            continue
        carried = list(_of_person(attempt, resources, own=attempt.delivery in deliveries))
        if carried:
            views.setdefault(view, _Told(attempt.settled_at)).take(attempt, carried)
    return [views[view].disclosed(view) for view in sorted(views, key=lambda view: (view.recipient, view.study))]


def _pulled(tx: Transaction, persons: list[str]) -> dict[View, _Told]:
    """Return what clients of the FHIR API were shown; in their names the studies cannot be told apart."""
    clients: dict[View, _Told] = {}
    before: int | None = None
    while answers := tx.answers.find(patients=persons, before=before, limit=_AT_ONCE):
        before = answers[-1].id
        shown = tx.resources.numbered((one.resource, one.version) for answer in answers for one in answer.shown)
        for answer in answers:
            seen = [(one, shown.get((one.resource, one.version))) for one in answer.shown]
            own = [(one.resource, one.type) for one, version in seen if version and version.patient in persons]
            client = View(f"client/{answer.client}", "")
            clients.setdefault(client, _Told(answer.at)).show(answer.at, own)
    return clients


def _of_person(attempt: Attempt, resources: set[str], *, own: bool) -> Iterator[tuple[str, str, bool]]:
    """Yield id, type and whether it was taken back, of each entry that says something of the person."""
    for entry in attempt.manifest:
        if entry.type not in SHARED and (own or entry.resource in resources):
            yield entry.resource, entry.type, entry.kind is ChangeKind.RETRACTED


class _Told:
    """What a view was told, attempt by attempt."""

    def __init__(self, at: datetime) -> None:
        self._first = self._last = at
        self._attempts = 0
        self._took: dict[str, str] = {}
        self._perhaps: dict[str, str] = {}
        self._dropped: dict[str, str] = {}

    def take(self, attempt: Attempt, carried: list[tuple[str, str, bool]]) -> None:
        self._first = min(self._first, attempt.started_at)
        self._last = max(self._last, attempt.settled_at)
        self._attempts += 1
        for resource, type, retracted in carried:
            if attempt.outcome == "unknown":
                if not retracted:
                    self._perhaps[resource] = type
            elif retracted:
                self._dropped[resource] = type
            else:
                self._took[resource] = type
                self._dropped.pop(resource, None)

    def show(self, at: datetime, shown: list[tuple[str, str]]) -> None:
        """Note an answer of the FHIR API."""
        self._first, self._last = min(self._first, at), max(self._last, at)
        self._attempts += 1
        self._took.update(shown)

    def disclosed(self, view: View) -> Disclosure:
        perhaps = {resource: type for resource, type in self._perhaps.items() if resource not in self._took}
        return Disclosure(
            view.recipient,
            view.study,
            self._first,
            self._last,
            self._attempts,
            Counter(self._took.values()),
            Counter(perhaps.values()),
            Counter(self._dropped.values()),
        )
