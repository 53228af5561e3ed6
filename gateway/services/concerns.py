"""Which of the resources that belong to nobody concern a view: those that what it sees refers to.

An organization or a practitioner is seen by whom it concerns alone. What each patient's data refer to is kept in
memory, and found again where something of the patient has changed, or what entitles the view to it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from gateway.model.delivery import View
from gateway.model.resource import ResourceVersion
from gateway.model.study import Subject
from gateway.ports import Transaction
from gateway.release.consent import Entitlement, entitlement
from gateway.release.decision import Withheld
from gateway.release.policy import SHARED, Rights

if TYPE_CHECKING:
    from gateway.services.chart import Chart
    from gateway.services.pull import Pull

_REFERENCE: Final = re.compile(rb'"reference":"(?:%b)/([0-9a-f-]{36})"' % "|".join(SHARED).encode())


@dataclass(frozen=True, slots=True)
class Known:
    """What a patient's data referred to, as long as this holds."""

    newest: int
    subject: Subject | None
    entitled: Entitlement | Withheld
    ids: frozenset[str]

    def holds(self, newest: int, rights: Rights, now: datetime) -> bool:
        """Whether it still does: nothing of the patient has changed, nor what entitles a view to it."""
        return self.newest == newest and entitlement(self.subject, rights.recipient, now) == self.entitled


class Concerns:
    """What concerns each view. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[View, dict[str, Known]] = {}

    def of(self, pull: Pull, rights: Rights) -> set[str]:
        """Return the internal ids of what concerns a view."""
        patients = pull.patients(rights)
        newest = pull.tx.resources.newest_changes(patients)
        with self._lock:
            before = self._known.get(rights.view, {})
        known = {
            patient: before[patient]
            for patient in patients
            if patient in before and before[patient].holds(newest.get(patient, 0), rights, pull.now)
        }
        for chart in pull.whole_charts(rights, [patient for patient in patients if patient not in known]):
            known[chart.patient] = learnt(chart, newest.get(chart.patient, 0))
        with self._lock:
            self._known[rights.view] = known
        direct = {id for one in known.values() for id in one.ids}
        return closed(pull.shared(rights), {*direct, *(one.id for one in studies(pull.tx, rights))})

    def learn(self, view: View, known: Mapping[str, Known]) -> None:
        """Keep to what some patients' data refer, as a view sees them."""
        with self._lock:
            self._known.setdefault(view, {}).update(known)


def learnt(chart: Chart, newest: int) -> Known:
    """Return to what a patient's data refer, whose chart is gone through whole; ``newest`` is the newest change."""
    subject = chart.subject
    entitled = entitlement(subject, chart.rights.recipient, chart.pull.now)
    return Known(newest, subject, entitled, frozenset(referred(chart)))


def referred(chart: Chart) -> Iterator[str]:
    """Yield the ids of what belongs to nobody that the resources of a chart refer to, as the view sees them."""
    seen = [one for type in chart.types() for one in chart.of_type(type)]
    for id in _shared_ids(b"".join([one.stored.body for one in seen])):
        public = chart.rights.public_id(id).encode()
        if any(public in one.text for one in seen):
            yield id


def studies(tx: Transaction, rights: Rights) -> list[ResourceVersion]:
    """Return the newest versions of a view's study and of its sub-studies, deleted ones among them."""
    return [one for one in tx.resources.of_type("ResearchStudy") if rights.is_of_study(one)]


def closed(chart: Chart, ids: set[str]) -> set[str]:
    """Return these and what they refer to themselves as the view sees them, an organization its parent.

    ``chart``: of what belongs to nobody.
    """
    found, new = set(ids), set(ids)
    while new:
        heads = chart.pull.tx.resources.heads(new).values()
        new = {id for head in heads for id in _told(chart, head)} - found
        found |= new
    return found


def _told(chart: Chart, head: ResourceVersion) -> Iterator[str]:
    named = shared_references(head)
    let = chart.let(head) if named and not head.patient else None
    if let is not None:
        yield from (id for id in named if chart.rights.public_id(id).encode() in let.text)


def shared_references(version: ResourceVersion) -> set[str]:
    """Return the ids of what belongs to nobody that a version refers to."""
    return _shared_ids(version.body)


def _shared_ids(bodies: bytes) -> set[str]:
    return {id.decode() for id in set(_REFERENCE.findall(bodies))}
