"""What packing a patient's cursor and a study's cursor share, and the study's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from gateway.fhir.references import references
from gateway.model.delivery import ChangeKind, Delivery, Package, Packed, Released
from gateway.model.resource import ResourceVersion
from gateway.ports import Transaction
from gateway.release.decision import Let, Withheld
from gateway.release.policy import SHARED, Rights
from gateway.release.release import Releasing

ORDER: Final = (
    "Organization", "Practitioner", "ResearchStudy", "Patient", "ResearchSubject", "Consent", "Encounter", "Specimen",
    "Observation", "DiagnosticReport", "Provenance",
)  # fmt: skip
"""What others refer to comes first."""

UNAUDITED: Final = frozenset({"type", "code", "entered-in-error"})
"""Rules that say what a file never lists: they decide nothing about a person, so no line is written for them."""


class Packing:
    """What both kinds of cursor share: the entries so far and the shared resources they need."""

    def __init__(self, tx: Transaction, rights: Rights, delivery: Delivery, now: datetime) -> None:
        self.tx = tx
        self.rights = rights
        self.delivery = delivery
        self.now = now
        self.releasing = Releasing(rights, now)
        self.entries: list[Released] = []
        self.withheld: Counter[str] = Counter()
        self._heads: dict[str, ResourceVersion] = {}
        self._reached: dict[str, bool] = {}

    def finish(self, upto: int, *, more: bool) -> Packed:
        """Return the packing's result."""
        withheld = {rule: count for rule, count in self.withheld.items() if rule not in UNAUDITED}
        if not self.entries:
            return Packed(None, upto, more, withheld)
        entries = tuple(sorted(self.entries, key=_rank))
        package = Package(
            self.delivery.delivery_id, self.delivery.view, entries, repeat=self.delivery.window is not None
        )
        return Packed(package, upto, more, withheld, grounds=self.grounds())

    def grounds(self) -> str:
        """Say on what the release stands: the recipient's file."""
        return f"file {self.rights.digest}"

    def read_ahead(self, versions: Iterable[ResourceVersion], bodies: Iterable[dict[str, Any]]) -> None:
        """Read in one go the newest versions of what these bodies refer to."""
        self._heads.update((version.id, version) for version in versions)
        ids = {ref.rpartition("/")[2] for body in bodies for _, ref in references(body) if self._listed(ref)}
        wanted = ids - self._heads.keys()
        if wanted:
            self._heads.update(self.tx.resources.heads(wanted))

    def _listed(self, reference: str) -> bool:
        return reference.partition("/")[0] in self.rights.types

    def head(self, id: str) -> ResourceVersion | None:
        """Return the newest version of a resource."""
        if id not in self._heads:
            self._heads.update(self.tx.resources.heads((id,)))
        return self._heads.get(id)

    def reachable(self, reference: str) -> bool:
        """Whether the view has what an internal reference names, or gets it in this package."""
        if reference not in self._reached:
            self._reached[reference] = True  # two that refer to each other travel together
            self._reached[reference] = self._reach(reference)
        return self._reached[reference]

    def _reach(self, reference: str) -> bool:
        kind, _, id = reference.partition("/")
        version = self.head(id)
        if version is None or version.type != kind:
            return False
        return self.share(version) if kind in SHARED else self.reach_own(version)

    def reach_own(self, version: ResourceVersion) -> bool:
        """Whether the view has a resource of the patient, or gets it in this package."""
        return False

    @cached_property
    def shared_held(self) -> dict[str, int]:
        """The shared resources the view holds: internal id -> change."""
        return self.tx.deliveries.shared_held(self.delivery.view)

    def share(self, version: ResourceVersion) -> bool:
        """Include a shared resource where the view does not hold its newest change; False when it may not leave."""
        decision = self.releasing.release(version, None, self.reachable)
        if isinstance(decision, Withheld):
            return False
        held = self.shared_held.get(version.id)
        replayed = not self.delivery.patient and self.delivery.sent == 0
        if held != version.change or replayed:
            kind = ChangeKind.CREATED if held is None else ChangeKind.UPDATED
            self.add(version, decision, kind, shared=True)
        return True

    def add(self, version: ResourceVersion, let: Let, kind: ChangeKind, *, shared: bool = False) -> None:
        """Add an entry."""
        self.entries.append(
            Released(
                version.type,
                let.id,
                let.body,
                kind,
                version.id,
                version.version,
                version.change,
                shared,
                version.message,
                let.text,
            )
        )


class StudyPacking(Packing):
    """The study-level cursor of a view: its ResearchStudy, and changes of the shared resources it holds."""

    def packed(self, limit: int) -> Packed:
        """Pack the changes up to ``limit``."""
        batch = self.rights.recipient.batch
        changes = self.tx.resources.of_patient("", after=self.delivery.sent, upto=limit, limit=batch + 1)
        more = len(changes) > batch
        changes = changes[:batch]
        for version in changes:
            self._heads[version.id] = version
            if version.id == self.rights.study.resource or version.id in self.shared_held:
                self.reachable(version.reference)
        return self.finish(changes[-1].change if more else limit, more=more)


def _rank(entry: Released) -> int:
    return ORDER.index(entry.type) if entry.type in ORDER else len(ORDER)
