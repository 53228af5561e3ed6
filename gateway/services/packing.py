"""What packing a patient's cursor and a study's cursor share, and the study's."""

from __future__ import annotations

from collections import Counter
from typing import Final

from gateway.fhir import codec
from gateway.model.delivery import ChangeKind, Delivery, Package, Packed, Released
from gateway.model.resource import ResourceVersion
from gateway.release.decision import Let, Withheld
from gateway.release.links import Links
from gateway.release.policy import SHARED, Rights
from gateway.release.retraction import retraction
from gateway.services.reading import Owed, Reading

ORDER: Final = (
    "Organization", "Practitioner", "PlanDefinition", "Group", "ResearchStudy", "Patient", "ResearchSubject", "Consent",
    "Encounter", "Condition", "ServiceRequest", "Task", "Specimen", "Procedure", "MedicationAdministration",
    "Immunization", "Observation", "DiagnosticReport", "Binary", "DocumentReference", "Provenance",
)  # fmt: skip
"""What others refer to comes first."""

UNAUDITED: Final = frozenset({"type", "code", "entered-in-error"})
"""Rules that say what a file never lists: they decide nothing about a person, so no line is written for them."""


class Packing:
    """What both kinds of cursor share: the entries so far and the shared resources they need."""

    def __init__(self, reading: Reading, rights: Rights, delivery: Delivery, owed: Owed) -> None:
        self.reading = reading
        self.tx = reading.tx
        self.rights = rights
        self.delivery = delivery
        self.owed = owed
        self.now = reading.now
        self.releasing = reading.releasing(rights)
        self.entries: list[Released] = []
        self.withheld: Counter[str] = Counter()
        self._reached: dict[str, bool] = {}
        self._links: dict[str, Links] = {}

    def links(self, patient: str) -> Links:
        """Return where the references of a patient's resources lead in this package."""
        if patient not in self._links:
            self._links[patient] = self.releasing.links(patient, self.reachable)
        return self._links[patient]

    def finish(self) -> Packed:
        """Return the packing's result."""
        withheld = {rule: count for rule, count in self.withheld.items() if rule not in UNAUDITED}
        if not self.entries:
            return Packed(None, self.owed.upto, self.owed.more, withheld)
        entries = _in_order(self.entries)
        package = Package(
            self.delivery.delivery_id, self.delivery.view, entries, repeat=self.delivery.window is not None
        )
        return Packed(package, self.owed.upto, self.owed.more, withheld, grounds=self.grounds())

    def grounds(self) -> str:
        """Say on what the release stands: the recipient's file."""
        return f"file {self.rights.digest}"

    def reachable(self, reference: str) -> bool:
        """Whether the view has what an internal reference names, or gets it in this package."""
        reached = self._reached.get(reference)
        if reached is None:
            self._reached[reference] = True  # two that refer to each other travel together
            reached = self._reached[reference] = self._reach(reference)
            if not reached:  # whoever asked meanwhile was told otherwise
                for links in self._links.values():
                    links.forget()
        return reached

    def _reach(self, reference: str) -> bool:
        kind, _, id = reference.partition("/")
        version = self.reading.head(id)
        if version is None or version.type != kind:
            return False
        return self.share(version) if kind in SHARED else self.reach_own(version)

    def reach_own(self, version: ResourceVersion) -> bool:
        """Whether the view has a resource of the patient, or gets it in this package."""
        return False

    def share(self, version: ResourceVersion) -> bool:
        """Include a shared resource where the view does not hold its newest change; False when it may not leave."""
        decision = self.releasing.decide(version, None, self.links(version.patient))
        if isinstance(decision, Withheld):
            return False
        held = self.reading.shared_held(self.delivery.view).get(version.id)
        replayed = not self.delivery.patient and self.delivery.sent == 0
        if held != version.change or replayed:
            kind = ChangeKind.CREATED if held is None else ChangeKind.UPDATED
            self.add(version, decision, kind, shared=True)
        return True

    def add(self, version: ResourceVersion, let: Let, kind: ChangeKind, *, shared: bool = False) -> Released:
        """Add an entry."""
        stored = (version.id, version.version, version.change)
        entry = Released(version.type, let.id, let.text, kind, *stored, shared, version.message)
        self.entries += (entry,)
        return entry


class StudyPacking(Packing):
    """The study-level cursor of a view: its ResearchStudy, and changes of the shared resources it holds."""

    def packed(self) -> Packed:
        """Pack what is owed."""
        held = self.reading.shared_held(self.delivery.view)
        for version in self.owed.changes:
            if version.gone and version.id in held:
                self._retract(version)
            elif self.rights.is_of_study(version) or version.id in held:
                self.reachable(version.reference)
        return self.finish()

    def _retract(self, version: ResourceVersion) -> None:
        public, body = retraction(version, self.rights)
        stored = (version.id, version.version, version.change)
        said = codec.encode(body)
        entry = Released(
            version.type, public, said, ChangeKind.RETRACTED, *stored, shared=True, message=version.message
        )
        self.entries.append(entry)


def _in_order(entries: list[Released]) -> tuple[Released, ...]:
    kinds = {entry.type for entry in entries}
    ranked = [entry for kind in ORDER if kind in kinds for entry in entries if entry.type == kind]
    if len(ranked) < len(entries):
        ranked += [entry for entry in entries if entry.type not in ORDER]
    return tuple(ranked)
