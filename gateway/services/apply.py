"""Writing a batch of translations into one transaction: merging, linking patients, new versions.

Everything a batch writes belongs to patients whose locks it holds, so a patient's changes are numbered in the order
they are committed. Shared resources (Organization, Practitioner) take no lock: whoever writes a version second gets
``VersionConflict`` and does its batch again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import structs

from gateway.errors import InvalidResource
from gateway.fhir import codec
from gateway.fhir.checks import check
from gateway.fhir.references import rewrite
from gateway.model.message import Message
from gateway.model.resource import Clock, ResourceVersion
from gateway.model.translation import Failure, PatientLink, Statement, Translation
from gateway.ports import Hold, Transaction
from gateway.services.merge import Merged, clock_of, merge
from gateway.services.places import TYPES, placed, speaks_of_places


class Batch:
    """One transaction's worth of translations.

    ``failures`` maps message id -> why its result could not be stored; ``lost`` are patients from whom a resource was
    taken, because a later message says that it is another's.
    """

    def __init__(self, tx: Transaction, now: datetime) -> None:
        self.now = now
        self.failures: dict[int, Failure] = {}
        self.lost: set[str] = set()
        self._tx = tx
        self._locked: set[str] = set()
        self._heads: dict[str, ResourceVersion] = {}
        self._canonical: dict[str, str] = {}
        self._pending: list[ResourceVersion] = []
        self._written: list[ResourceVersion] = []
        self._clocks: dict[int, dict[str, Clock]] = {}

    def prepare(self, translations: Sequence[Translation]) -> None:
        """Lock the patients these translations concern and read what is known of their resources."""
        statements = [statement for translation in translations for statement in translation.statements]
        links = [link for translation in translations for link in translation.links]
        patients = {statement.patient for statement in statements if statement.patient}
        patients |= {patient for link in links for patient in (link.old, link.survivor)}
        ids = {statement.id for statement in statements}
        self._lock(patients)
        self._heads = self._tx.resources.heads(ids)
        if owners := {head.patient for head in self._heads.values() if head.patient} - self._locked:
            self._lock(owners)
            self._heads = self._tx.resources.heads(ids)

    def _lock(self, patients: set[str]) -> None:
        """Lock patients and those they were merged into, again when somebody merged one while this waited."""
        while True:
            known = self._tx.resources.canonical(patients)
            self._canonical |= known
            missing = patients.union(known.values()) - self._locked
            if not missing:
                return
            self._tx.resources.lock_patients(missing)
            self._locked |= missing

    def apply(self, message: Message, translation: Translation) -> None:
        """Merge what one message says. A result that is not valid FHIR fails the message and writes nothing of it."""
        sent_at = (translation.sent_at or message.received_at).astimezone(UTC).isoformat()
        staged: dict[str, tuple[ResourceVersion, Merged]] = {}
        try:
            for statement in self._placed(translation.statements):
                self._state(message, statement, sent_at, staged)
        except InvalidResource as error:
            self.failures[message.id] = Failure(error.path, error.what)
            return
        for version, merged in staged.values():
            self._take(version, merged)
        for link in translation.links:
            self._link(message, link)
        self._identify(message, translation)

    def flush(self) -> list[ResourceVersion]:
        """Write what is pending and return every version this batch wrote, with its change number."""
        if self._pending:
            if any(not version.patient and version.version > 1 for version in self._pending):
                # Who holds a shared resource is owed its correction: these are numbered in the order of commits, too.
                self._tx.resources.lock_patients(("",))
            written = self._tx.resources.append(self._pending)
            self._heads.update((version.id, version) for version in written)
            self._written += written
            self._pending = []
        if self._clocks:
            self._tx.resources.set_clocks(self._clocks)
            self._clocks = {}
        return self._written

    def _placed(self, statements: Sequence[Statement]) -> Sequence[Statement]:
        """What is said of a place in a study reaches the resources that stand for it, merged patients' too."""
        if not speaks_of_places(statements):
            return statements
        self.flush()
        patients = {self._canonical.get(each.patient, each.patient) for each in statements if each.type in TYPES}
        stored = [each for patient in patients for each in self._tx.resources.of_patient(patient, types=TYPES)]
        self._heads.update((version.id, version) for version in stored)
        return placed(statements, stored, self._canonical)

    def _state(
        self, message: Message, statement: Statement, sent_at: str, staged: dict[str, tuple[ResourceVersion, Merged]]
    ) -> None:
        patient = self._canonical.get(statement.patient, statement.patient)
        if patient != statement.patient:
            statement = structs.replace(statement, body=self._relinked(statement.body))
        head = staged[statement.id][0] if statement.id in staged else self._heads.get(statement.id)
        merged = merge(head, statement, clock_of(statement, sent_at, message.id))
        if head is not None and merged.changed and merged.own is not None:
            check(codec.decode(merged.body))
        if merged.regressed:
            self._hold("regression", "a provisional result came after the final one", message, statement)
        if statement.held and merged.changed:
            self._hold("implausible", statement.held, message, statement)
        elif head is not None and head.held and merged.changed:
            self._mended(head)
        staged[statement.id] = (self._version(head, statement, merged, patient, message), merged)

    def _version(
        self, head: ResourceVersion | None, statement: Statement, merged: Merged, patient: str, message: Message
    ) -> ResourceVersion:
        if head is not None and not merged.changed:
            return head.but(clocks=merged.clocks)
        return ResourceVersion(
            type=statement.type,
            id=statement.id,
            version=head.version + 1 if head else 1,
            body=merged.body,
            message=message.id,
            stored_at=self.now,
            patient=patient,
            clocks=merged.clocks,
            own=merged.own,
            code=statement.code or (head.code if head else ""),
            date=statement.date or (head.date if head else None),
            status=statement.status or (head.status if head else ""),
            held=statement.held,
        )

    def _take(self, version: ResourceVersion, merged: Merged) -> None:
        before = self._heads.get(version.id)
        if before is not None and before.patient and before.patient != version.patient:
            self.lost.add(before.patient)
        if merged.changed:
            self._pending.append(version)
        elif version.change:
            self._clocks[version.change] = version.clocks
        else:
            self._pending = [
                version if (p.id, p.version) == (version.id, version.version) else p for p in self._pending
            ]
        self._heads[version.id] = version

    def _identify(self, message: Message, translation: Translation) -> None:
        """Register identifiers; one that names another patient is for a person to decide, never joined here."""
        keys = [key for key in translation.keys if key.joins]
        if not keys:
            return
        known = self._tx.resources.patient_of_key(keys)
        self._tx.resources.register_keys(keys)
        owners = self._tx.resources.canonical({*known.values(), *(key.patient for key in keys)})
        for key, patient in known.items():
            if owners[patient] != owners[key.patient]:
                pair = " and ".join(sorted(f"Patient/{id}" for id in (owners[patient], owners[key.patient])))
                reason = "two patients are known by the same identifier; merge them at the source (A40) if they are one"
                self._tx.worklist.open_hold(Hold("identity", reason, None, pair, opened_at=self.now))

    def _link(self, message: Message, link: PatientLink) -> None:
        """Move everything about ``old`` to the survivor: new versions, nothing deleted (HL7 v2 chapter 3, A40)."""
        self.flush()
        old, survivor = link.old, self._canonical.get(link.survivor, link.survivor)
        if old == survivor:
            return
        self._tx.resources.merge(old, survivor)
        self._canonical = self._tx.resources.canonical({*self._canonical, old, survivor})
        for version in self._tx.resources.of_patient(old):
            body = version.body if version.id == old else self._relinked(version.body)
            moved = version.but(
                version=version.version + 1, body=body, own=None, change=0,
                message=message.id, stored_at=self.now, patient=survivor,
            )  # fmt: skip
            self._pending.append(moved)
            self._heads[moved.id] = moved

    def _relinked(self, body: bytes) -> bytes:
        resource: dict[str, Any] = codec.decode(body)
        if resource["resourceType"] == "Patient":
            return body
        return codec.encode(rewrite(resource, self._survivor))

    def _survivor(self, reference: str) -> str:
        kind, _, id = reference.partition("/")
        return f"Patient/{self._canonical.get(id, id)}" if kind == "Patient" else reference

    def _mended(self, head: ResourceVersion) -> None:
        """A corrected value is no longer for a person to decide."""
        for hold in self._tx.worklist.holds():
            if hold.kind == "implausible" and hold.resource == head.reference:
                self._tx.worklist.close_hold(hold.id, self.now)

    def _hold(self, kind: str, reason: str, message: Message, statement: Statement) -> None:
        hold = Hold(kind, reason, message.id, f"{statement.type}/{statement.id}", opened_at=self.now)
        self._tx.worklist.open_hold(hold)
