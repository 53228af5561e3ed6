"""What a client sees of what is stored: read through ``release()``, at the moment of the answer.

A ``Pull`` is one read transaction for one caller; a ``Chart`` (``gateway.services.chart``) is one patient as one view
of the caller's sees it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Final

from gateway.fhir.search.query import Query, World
from gateway.model.access import Caller
from gateway.model.delivery import View
from gateway.model.resource import ResourceVersion
from gateway.ports import ChangeRange, Transaction
from gateway.release.policy import SAYS_OF_OTHERS, SHARED, Policy, Rights
from gateway.services.chart import Chart
from gateway.services.concerns import Concerns
from gateway.services.enrolments import Enrolments
from gateway.services.gists import Gists
from gateway.services.lets import Lets
from gateway.services.seen import Release, Seen, place
from gateway.services.subjects import ENTITLING, Standings

_AT_ONCE: Final = 8
"""Patients read together when a study is gone through."""

_PERSONS_AT_ONCE: Final = 64
"""Patients read together of whom only what makes them subjects is looked at."""

_NOBODY: Final = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Sight:
    """What pulling needs beside a transaction, the same for every request."""

    policy: Policy
    enrolments: Enrolments
    concerns: Concerns
    gists: Gists = field(default_factory=Gists)
    standings: Standings = field(default_factory=Standings)
    lets: Lets = field(default_factory=Lets)


class Pull:
    """One read transaction for one caller, at one moment (UTC); ``release`` is the FHIR release answered in."""

    def __init__(self, tx: Transaction, sight: Sight, caller: Caller, now: datetime, release: Release = "R4") -> None:
        self.tx = tx
        self.caller = caller
        self.now = now
        self.release = release
        self.policy = sight.policy
        self.standings = sight.standings
        self.lets = sight.lets
        self._sight = sight
        self._charts: dict[tuple[str, str, str], Chart] = {}
        self._concerned: dict[View, set[str]] = {}
        self._patients: dict[View, tuple[str, ...]] = {}

    @cached_property
    def views(self) -> tuple[Rights, ...]:
        """What each view of the caller's may see, in the order of its registration."""
        found = (self._sight.policy.rights(view) for view in dict.fromkeys(self.caller.views))
        return tuple(rights for rights in found if rights is not None)

    def patients(self, rights: Rights) -> tuple[str, ...]:
        """Return the internal ids of the patients of a view's study; not all of them need be seen.

        Their order is that of the ids under which the view knows them.
        """
        if rights.view not in self._patients:
            self._patients[rights.view] = self._sight.enrolments.in_order(self.tx, rights)
        return self._patients[rights.view]

    def patients_behind(self, rights: Rights, patient: str) -> tuple[str, ...]:
        """Return those of a view's patients who come behind one (``""``: all of them)."""
        patients = self.patients(rights)
        return patients[bisect_right(patients, place(rights, patient), key=lambda each: place(rights, each)) :]

    def chart(self, rights: Rights, patient: str) -> Chart:
        """Return the chart of a patient, of whom only what is asked for is read."""
        key = (*_key(rights), patient)
        if key not in self._charts:
            self._charts[key] = Chart(self, rights, patient)
        return self._charts[key]

    def shared(self, rights: Rights) -> Chart:
        """Return the chart of what belongs to nobody."""
        return self.chart(rights, "")

    def charts(self, rights: Rights) -> Iterator[Chart]:
        """Yield the charts of a view's patients, whole, in their order."""
        return self.whole_charts(rights, self.patients(rights))

    def whole_charts(self, rights: Rights, patients: Sequence[str]) -> Iterator[Chart]:
        """Yield the charts of patients, whole, in the order given; only a few are in memory at a time."""
        start, size = 0, 1  # a page of a search is often full with the first patient
        while some := patients[start : start + size]:
            start, size = start + size, min(size * 2, _AT_ONCE)
            found = self.tx.resources.of_patients([ChangeRange(patient) for patient in some])
            for patient, heads in zip(some, found, strict=True):
                yield Chart(self, rights, patient, heads)

    def charts_worth(self, rights: Rights, patients: Sequence[str], query: Query, world: World) -> Iterator[Chart]:
        """Yield the whole charts of those patients in whose records something may match."""
        newest = self.tx.resources.newest_changes(patients)
        worth = self._sight.gists.worth(query, newest, world)
        for chart in self.whole_charts(rights, [patient for patient in patients if patient in worth]):
            self._sight.gists.learn(chart.patient, newest[chart.patient], chart.everything)
            yield chart

    def charts_of_persons(self, rights: Rights, patients: Sequence[str]) -> Iterator[Chart]:
        """Yield the charts of patients, of which what makes them subjects is read, for many at once."""
        for start in range(0, len(patients), _PERSONS_AT_ONCE):
            some = patients[start : start + _PERSONS_AT_ONCE]
            found = self.tx.resources.of_patients([ChangeRange(patient, types=ENTITLING) for patient in some])
            for patient, persons in zip(some, found, strict=True):
                yield Chart(self, rights, patient, persons=persons)

    def concerns(self, rights: Rights, version: ResourceVersion) -> bool:
        """Whether what belongs to nobody concerns a view: it is of its study, or something it sees refers to it."""
        return rights.is_of_study(version) or version.id in self._concerning(rights)

    def _concerning(self, rights: Rights) -> set[str]:
        if rights.view not in self._concerned:
            self._concerned[rights.view] = self._sight.concerns.of(self, rights)
        return self._concerned[rights.view]

    def read(self, type: str, id: str) -> tuple[Chart, Seen] | None:
        """Return a resource by the id a view of the caller's knows it by, and the chart it is in."""
        named = self._named(type, id)
        heads = self.tx.resources.heads({internal for _, internal in named})
        found = [(rights, head) for rights, internal in named if (head := heads.get(internal)) and head.type == type]
        if type in SHARED or type in SAYS_OF_OTHERS:
            for rights, _ in named:
                self._concerning(rights)
        for rights, head in found:
            chart = self.chart(rights, head.patient)
            seen = None if chart.withholds(head) else chart.seen(head)
            if seen is not None:
                return chart, seen
        if type not in SHARED:
            self._miss(named, len(found))
        return None

    def _named(self, type: str, id: str) -> list[tuple[Rights, str]]:
        """Return the internal id that an id stands for in each view that may see the type."""
        found = []
        for rights in self.views:
            if type in rights.types:
                with suppress(ValueError):
                    found.append((rights, rights.internal_id(id)))
        return found

    def _miss(self, named: Sequence[tuple[Rights, str]], asked: int) -> None:
        """Ask the database for as much as for what is withheld: nobody can tell by the time that there is nothing."""
        most = max(Counter(internal for _, internal in named).values(), default=0)
        for _ in range(most - asked):
            self.tx.resources.of_patient(_NOBODY, types=ENTITLING)


def _key(rights: Rights) -> tuple[str, str]:
    return rights.view.recipient, rights.view.study
