"""Writing a batch of translations into one transaction: merging, linking patients, new versions.

Everything a batch writes belongs to patients whose locks it holds, so a patient's changes are numbered in the order
they are committed. Shared resources (Organization, Practitioner) take no lock while a batch is made: whoever writes a
version second gets ``VersionConflict`` and does its batch again (``gateway.services.shared``).

What is read is read once for the batch, and what is written is written at its end, so that a message costs no round
trip of its own.
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
from gateway.services import office, shared
from gateway.services.identify import Identifiers
from gateway.services.merge import Merged, clock_of, first_clocks
from gateway.services.places import TYPES, placed, speaks_of_places


class _Said:
    """What one message comes to before it is taken: nothing of it is, when one of its resources is not valid."""

    def __init__(self, message: Message, sent_at: str) -> None:
        self.message = message
        self.sent_at = sent_at
        self.versions: dict[str, ResourceVersion] = {}
        self.holds: list[Hold] = []
        self.mended: set[str] = set()


class Batch:
    """One transaction's worth of translations: ``prepare``, ``apply`` for each message, ``flush``, ``settle_shared``.

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
        self._shared: dict[str, ResourceVersion] = {}
        """Shared resources as they are stored."""
        self._canonical: dict[str, str] = {}
        self._places: dict[str, None] = {}
        self._pending: dict[tuple[str, int], ResourceVersion] = {}
        self._written: list[ResourceVersion] = []
        self._clocks: dict[str, ResourceVersion] = {}
        self._holds: list[Hold] = []
        self._mended: set[str] = set()

    def prepare(self, translations: Sequence[Translation]) -> None:
        """Lock the patients these translations concern and read what is known of them."""
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
        self._shared = {head.id: head for head in self._heads.values() if not head.patient}
        keys = [key for translation in translations for key in translation.keys if key.joins]
        self._identifiers = Identifiers(self._tx, keys)
        if speaks_of_places(statements):
            self._read_places()

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

    def _read_places(self) -> None:
        """Read the places in studies of every patient of the batch, oldest change first."""
        found = [each for kind in TYPES for each in self._tx.resources.of_type(kind, patients=self._locked)]
        for version in sorted(found, key=lambda each: each.change):
            self._heads[version.id] = version
            self._places[version.id] = None

    def apply(self, message: Message, translation: Translation) -> None:
        """Merge what one message says. A result that is not valid FHIR fails the message and writes nothing of it."""
        said = _Said(message, (translation.sent_at or message.received_at).astimezone(UTC).isoformat())
        try:
            for statement in self._placed(translation.statements):
                self._state(said, statement)
        except InvalidResource as error:
            self.failures[message.id] = Failure(error.path, error.what)
            return
        for version in said.versions.values():
            self._take(version)
        self._holds += said.holds
        self._mended |= said.mended
        for link in translation.links:
            self._link(message, link)
        self._identifiers.given(key for key in translation.keys if key.joins)

    def flush(self) -> list[ResourceVersion]:
        """Write everything but the clocks of shared resources; return every version of this batch, with its change.

        Identifiers come first: another batch that waits for one of them must not have written anything this one needs.
        """
        self._identifiers.flush(self.now)
        self._append()
        clocks = {each.change: each.clocks for each in self._clocks.values() if each.patient}
        self._tx.resources.set_clocks(clocks)
        self._close_mended()
        for hold in self._holds:
            self._tx.worklist.open_hold(hold)
        return self._written

    def settle_shared(self) -> None:
        """Write the clocks of shared resources: last of all, as every other batch writes the same few rows."""
        shared.advance(self._tx, [each for each in self._clocks.values() if not each.patient])

    def _append(self) -> None:
        """Store the versions that are pending."""
        if not self._pending:
            return
        pending = list(self._pending.values())
        shared.hold_still(self._tx, [each for each in pending if not each.patient and each.version > 1], self._shared)
        written = self._tx.resources.append(pending)
        self._heads.update((version.id, version) for version in written)
        self._shared.update((version.id, version) for version in written if not version.patient)
        self._written += written
        self._pending = {}

    def _placed(self, statements: Sequence[Statement]) -> Sequence[Statement]:
        """What is said of a place in a study reaches the resources that stand for it, merged patients' too."""
        if not speaks_of_places(statements):
            return statements
        return placed(statements, [self._heads[id] for id in self._places], self._canonical)

    def _state(self, said: _Said, statement: Statement) -> None:
        patient = self._canonical.get(statement.patient, statement.patient)
        if patient != statement.patient:
            statement = structs.replace(statement, body=self._relinked(statement.body))
        head = said.versions.get(statement.id) or self._heads.get(statement.id)
        clock = clock_of(statement, said.sent_at, said.message.id)
        if head is None:
            said.versions[statement.id] = self._first(said, statement, clock, patient)
            return
        if head.gone:
            said.holds.append(self._hold("office", office.DELETED, said.message, statement))
            return
        heard = statement
        statement, merged = office.heard(head, heard, clock)
        if office.contradicts(head, heard, statement.status, clock):
            said.holds.append(self._hold("office", office.OTHERWISE, said.message, statement))
        self._look(said, head, statement, merged)
        if statement.held and merged.changed:
            said.holds.append(self._hold("implausible", statement.held, said.message, statement))
        said.versions[statement.id] = self._version(head, statement, merged, patient, said.message)

    def _first(self, said: _Said, statement: Statement, clock: Clock, patient: str) -> ResourceVersion:
        """Return the first version of a resource: most of what comes in, so nothing is merged."""
        if statement.held:
            said.holds.append(self._hold("implausible", statement.held, said.message, statement))
        return ResourceVersion(
            type=statement.type,
            id=statement.id,
            version=1,
            body=statement.body,
            message=said.message.id,
            stored_at=self.now,
            patient=patient,
            clocks=first_clocks(statement, clock),
            code=statement.code,
            date=statement.date,
            status=statement.status,
            held=statement.held,
        )

    def _look(self, said: _Said, head: ResourceVersion, statement: Statement, merged: Merged) -> None:
        """Look at what a statement makes of a resource that is there already: is it valid, and is it for a person?"""
        if merged.changed and merged.own is not None:
            check(codec.decode(merged.body))
        if merged.regressed:
            reason = "a provisional result came after the final one"
            said.holds.append(self._hold("regression", reason, said.message, statement))
        if head.held and merged.changed and not statement.held:
            said.mended.add(head.reference)

    def _version(
        self, head: ResourceVersion, statement: Statement, merged: Merged, patient: str, message: Message
    ) -> ResourceVersion:
        if not merged.changed:
            return head if merged.clocks == head.clocks else head.but(clocks=merged.clocks)
        stored = self._heads.get(statement.id)
        return ResourceVersion(
            type=statement.type,
            id=statement.id,
            version=stored.version + 1 if stored else 1,
            body=merged.body,
            message=message.id,
            stored_at=self.now,
            patient=patient,
            clocks=merged.clocks,
            own=merged.own,
            code=statement.code or head.code,
            date=statement.date or head.date,
            status=statement.status or head.status,
            held=statement.held,
        )

    def _take(self, version: ResourceVersion) -> None:
        before = self._heads.get(version.id)
        if version is before:
            return
        if before is not None and before.patient and before.patient != version.patient:
            self.lost.add(before.patient)
        if version.change:
            self._heads[version.id] = self._clocks[version.id] = version
        else:
            self._add(version)

    def _add(self, version: ResourceVersion) -> None:
        """Note a version that is to be stored, or one that is with newer clocks."""
        place = (version.id, version.version)
        known = place in self._pending
        self._pending[place] = version
        self._heads[version.id] = version
        if self._clocks:
            self._clocks.pop(version.id, None)
        if version.type in TYPES and not known:
            self._places.pop(version.id, None)
            self._places[version.id] = None

    def _link(self, message: Message, link: PatientLink) -> None:
        """Move everything about ``old`` to the survivor: new versions, nothing deleted (HL7 v2 chapter 3, A40)."""
        old, survivor = link.old, self._canonical.get(link.survivor, link.survivor)
        before = self._canonical.get(old, old)
        if survivor in (old, before):
            return
        if before != old:
            reason = "this patient was merged into another one before; tell at the source which of the two survives"
            self._holds.append(Hold("merge", reason, message.id, f"Patient/{old}", opened_at=self.now))
            return
        self._append()
        self._tx.resources.merge(old, survivor)
        self._canonical = self._tx.resources.canonical({*self._canonical, old, survivor})
        for version in self._tx.resources.of_patient(old):
            body = version.body if version.id == old else self._relinked(version.body)
            clocks = self._clocks.pop(version.id, version).clocks
            moved = version.but(
                version=version.version + 1, body=body, own=None, change=0, clocks=clocks,
                message=message.id, stored_at=self.now, patient=survivor,
            )  # fmt: skip
            self._add(moved)

    def _relinked(self, body: bytes) -> bytes:
        resource: dict[str, Any] = codec.decode(body)
        if resource["resourceType"] == "Patient":
            return body
        return codec.encode(rewrite(resource, self._survivor))

    def _survivor(self, reference: str) -> str:
        kind, _, id = reference.partition("/")
        return f"Patient/{self._canonical.get(id, id)}" if kind == "Patient" else reference

    def _close_mended(self) -> None:
        """A corrected value is no longer for a person to decide."""
        if self._mended:
            for hold in self._tx.worklist.holds():
                if hold.kind == "implausible" and hold.resource in self._mended:
                    self._tx.worklist.close_hold(hold.id, self.now)

    def _hold(self, kind: str, reason: str, message: Message, statement: Statement) -> Hold:
        return Hold(kind, reason, message.id, f"{statement.type}/{statement.id}", opened_at=self.now)
