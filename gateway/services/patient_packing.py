"""Packing the cursor of a view and a patient: what leaves, what is taken back, what the view has already."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, Final

from gateway.fhir import codec
from gateway.model.delivery import ChangeKind, Delivery, ManifestEntry, Packed, Released
from gateway.model.resource import ResourceVersion
from gateway.model.study import Subject
from gateway.ports import Holding
from gateway.release.consent import NOT_REGISTERED, begins_at, never_valid
from gateway.release.decision import Let, Withheld
from gateway.release.policy import SHARED, Rights
from gateway.release.retraction import WRONG, holds_wrongly, retraction
from gateway.services.packing import Packing
from gateway.services.reading import Owed, Reading
from gateway.services.subjects import number_of, subjects_of

_ID_LENGTH: Final = 36


class PatientPacking(Packing):
    """The cursor of a view and a patient."""

    def __init__(self, reading: Reading, rights: Rights, delivery: Delivery, owed: Owed) -> None:
        super().__init__(reading, rights, delivery, owed)
        self.standing = owed.standing
        self.subject: Subject | None = self.standing.subjects.get(rights.study.id)
        self.changes: dict[str, list[ResourceVersion]] = {}
        self.carried: dict[str, Released] = {}
        self.review = delivery.sent <= 0 or self._entitled_anew()
        self._bodies: dict[int, dict[str, Any]] = {}
        self._decided: dict[str, bool] = {}

    def packed(self) -> Packed:
        """Pack what is owed."""
        self.changes = {version.id: [version] for version in self.owed.changes}
        if len(self.changes) < len(self.owed.changes):  # several of one resource
            self.changes = {id: [one for one in self.owed.changes if one.id == id] for id in self.changes}
        person = self.reading.head(self.delivery.patient) if self.review and self._renumbered else None
        if person is not None:
            self.changes.setdefault(person.id, [person])
        for id in list(self.changes):
            if id not in self._decided:
                self.decide(id)
        if self.review:
            self._review()
        packed = self.finish()
        again_at = begins_at(self.subject, self.rights.recipient, self.now)
        return packed if again_at is None else replace(packed, again_at=again_at)

    def grounds(self) -> str:
        """Say on what the release stands: the recipient's file, the subject's status and the versions behind it."""
        if self.subject is None:
            return super().grounds()
        behind = {self.subject.resource, *(consent.resource for consent in self.subject.consents)}
        read = [f"{each.reference} v{each.version}" for each in self.standing.versions if each.id in behind]
        return ", ".join((super().grounds(), self.subject.status, *read))

    @cached_property
    def _renumbered(self) -> bool:
        """Whether the view was told another subject number: the Patient it holds bears it, though nobody changed it."""
        held = self._held(self.subject.resource) if self.subject is not None else None
        before = self.reading.stored(held[0].resource, held[0].version) if held is not None else None
        if self.subject is None or before is None:
            return False
        return number_of(self.body(before), self.subject.study) != self.subject.number

    def _entitled_anew(self) -> bool:
        """Whether a change may have changed what the view may see of everything else."""
        kinds = {version.type for version in self.owed.changes}
        if "ResearchSubject" in kinds or "Consent" in kinds:
            return True
        return bool(self.standing.merged) and any(one.id in self.standing.merged for one in self.owed.changes)

    def body(self, version: ResourceVersion) -> dict[str, Any]:
        """Return a version's decoded body."""
        if version.change not in self._bodies:
            self._bodies[version.change] = codec.decode(version.body)
        return self._bodies[version.change]

    @cached_property
    def held(self) -> dict[str, ManifestEntry]:
        """What the view holds, or may hold, of the patient and of the patients merged into it."""
        return {id: entry for held in self._holdings for id, entry in held.entries.items()}

    @cached_property
    def _holdings(self) -> list[Holding]:
        """What the view was sent of the patients merged into this one, and of this one."""
        merged = [self.tx.deliveries.of_view(self.delivery.view, patient) for patient in self.standing.merged]
        cursors = [*(cursor.id for cursor in merged if cursor is not None), self.delivery.id]
        return [self.reading.holding(cursor) for cursor in cursors]

    def _held(self, resource: str) -> tuple[ManifestEntry, bool] | None:
        """Return what the view holds, or may hold, of a resource, and whether it certainly does."""
        return next((found for held in reversed(self._holdings) if (found := held.find(resource))), None)

    def holding(self, version: ResourceVersion) -> ManifestEntry | None:
        """Return what the view holds of a resource: nothing, when this is news to a cursor that owes news alone."""
        if version.version == 1 and not self.review:
            return None
        held = self._held(version.id)
        return None if held is None or _given_back(*held) else held[0]

    # --- deciding ---------------------------------------------------------------------------------------------------

    def decide(self, id: str) -> bool:
        """Decide on the owed versions of a resource, in order; return whether the view has it afterwards."""
        if id not in self._decided:
            self._decided[id] = True
            for version in self.changes[id]:
                self._decided[id] = self._decide(version)
        return self._decided[id]

    def _decide(self, version: ResourceVersion) -> bool:
        decision = self.releasing.decide(version, self.subject, self.links(version.patient))
        if isinstance(decision, Withheld):
            self.withheld[decision.rule] += 1
            return self._withheld(version, decision, self.subject)
        return self._let(version, decision)

    def _let(self, version: ResourceVersion, let: Let) -> bool:
        if version.version == 1 and not self.review and version.id not in self.carried and not _in_error(let):
            self.carried[version.id] = self.add(version, let, ChangeKind.CREATED)
            return True
        held, carried = self.holding(version), self.carried.get(version.id)
        known = carried.kind is not ChangeKind.RETRACTED if carried else held is not None
        if not known and _in_error(let):
            self.withheld["entered-in-error"] += 1
            return False
        if self._has_it(version, let, held, carried):
            return True
        kind = ChangeKind.UPDATED if known else ChangeKind.CREATED
        if carried is None and held is not None and self._repeated(version, held):
            kind = held.kind
        self.carried[version.id] = self.add(version, let, kind)
        return True

    def _repeated(self, version: ResourceVersion, held: ManifestEntry) -> bool:
        """Whether an earlier attempt at this window carried this very version: the repeat says the same."""
        return self.delivery.window is not None and held.version == version.version

    def _has_it(self, version: ResourceVersion, let: Let, held: ManifestEntry | None, carried: Released | None) -> bool:
        """Whether the view certainly holds these very words already, or went past this version."""
        if carried is not None:
            return _same_words(carried.text, let)
        if held is None or self.delivery.sent == 0 or (version.type == "Patient" and self.review and self._renumbered):
            return False
        _, sure = self._held(version.id) or (held, False)
        return sure and (held.version >= version.version or self._told(version, held, let))

    def _told(self, version: ResourceVersion, held: ManifestEntry, let: Let) -> bool:
        """Whether the view was told these words of the version it holds."""
        before = self.reading.stored(version.id, held.version)
        told = None if before is None else self.releasing.shaped(before, self.subject, self.links(before.patient))
        return isinstance(told, Let) and _same_words(told.text, let)

    def _withheld(self, version: ResourceVersion, withheld: Withheld, subject: Subject | None) -> bool:
        """Take back what must not stay with the view; return whether it keeps the resource."""
        carried = self.carried.get(version.id)
        if carried is not None:
            if carried.kind is ChangeKind.RETRACTED:
                return False
            told = ManifestEntry(carried.type, carried.resource, carried.version, carried.kind)
            if not self._must_retract(version, withheld, told, subject):
                return True
            self.entries = [entry for entry in self.entries if entry.resource != version.id]
        held = self.holding(version)
        if held is None:
            return False
        if carried is None and not self._must_retract(version, withheld, held, subject):
            return True
        self._retract(version)
        return False

    def _retract(self, version: ResourceVersion) -> None:
        public, body = retraction(version, self.rights)
        stored = (version.id, version.version, version.change)
        said = codec.encode(body)
        entry = Released(version.type, public, said, ChangeKind.RETRACTED, *stored, message=version.message)
        self.entries.append(entry)
        self.carried[version.id] = entry

    def _must_retract(
        self, version: ResourceVersion, withheld: Withheld, held: ManifestEntry, subject: Subject | None
    ) -> bool:
        """Withdrawal is prospective: only what the view should never have held, or holds wrongly, is taken back."""
        if held.kind is ChangeKind.RETRACTED:
            return True  # it was asked for before, and nobody knows whether that arrived
        if withheld.rule in WRONG or (withheld.rule, withheld.detail) == ("status", NOT_REGISTERED):
            return True
        if withheld.rule == "consent" and (subject is None or never_valid(subject, self.rights.recipient)):
            return True
        if withheld.rule == "held" or held.version >= version.version:
            return False
        before = self.reading.stored(version.id, held.version)
        return before is not None and holds_wrongly(self.body(before), self.body(version))

    # --- what is referred to ----------------------------------------------------------------------------------------

    def _reach(self, reference: str) -> bool:
        id = reference[-_ID_LENGTH:]
        changed = self.changes.get(id)
        if changed is not None and f"{changed[0].type}/{id}" == reference and changed[0].type not in SHARED:
            return changed[0].patient == self.delivery.patient and self.decide(id)
        return super()._reach(reference)

    def reach_own(self, version: ResourceVersion) -> bool:
        """Whether the view has a resource of the patient, or gets it in this package."""
        if version.patient != self.delivery.patient:
            return False
        if version.id in self.changes:
            return self.decide(version.id)
        if self.review and self.holding(version) is not None:
            return True
        if version.change <= self.delivery.sent and not self.review:
            # A cursor that owes news alone has sent all it may have: what widens an entitlement sets it back.
            return self.releasing.permitted(version, self.subject) is None
        early = self._as_of(version)
        if early is None:
            return False
        self.changes[version.id] = [early]
        return self.decide(version.id)

    def _as_of(self, version: ResourceVersion) -> ResourceVersion | None:
        """Return the version that a recipient of every version may have at this point of its stream."""
        if version.change <= self.owed.upto or not self.rights.every_version:
            return version
        earlier = [each for each in self.tx.resources.versions(version.id) if each.change <= self.owed.upto]
        return earlier[-1] if earlier else None

    # --- what the view holds already --------------------------------------------------------------------------------

    def _review(self) -> None:
        """Take back what the view holds and must not, though it did not change itself."""
        ids = [
            id
            for id, entry in self.held.items()
            if id not in self._decided and entry.type not in SHARED and not self._was_given_back(entry)
        ]
        if not ids:
            return
        for version in self.tx.resources.heads(ids).values():
            subject = self._subject_of(version.patient)
            withheld = self.releasing.permitted(version, subject)
            if withheld is not None:
                self._withheld(version, withheld, subject)

    def _was_given_back(self, entry: ManifestEntry) -> bool:
        held = self._held(entry.resource) if entry.kind is ChangeKind.RETRACTED else None
        return held is not None and _given_back(*held)

    def _subject_of(self, patient: str) -> Subject | None:
        if patient == self.delivery.patient:
            return self.subject
        return subjects_of(self.tx, patient, self.reading.policy).subjects.get(self.rights.study.id)


def _given_back(entry: ManifestEntry, sure: bool) -> bool:
    """Whether the view certainly took a retraction."""
    return sure and entry.kind is ChangeKind.RETRACTED


def _in_error(let: Let) -> bool:
    return b'"entered-in-error"' in let.text and let.body.get("status") == "entered-in-error"


def _same_words(text: bytes, let: Let) -> bool:
    """Whether two bodies say the same: order and the zeros of a number aside."""
    return text == let.text or bool(codec.decode(text) == let.body)
