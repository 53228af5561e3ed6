"""A small world for tests of releasing: a real store, two studies, and a view that receives."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from gateway.fhir import codec
from gateway.model.delivery import Attempt, Delivery, DeliveryState, Package, Packed, View
from gateway.model.keys import Keys
from gateway.model.names import LOINC, SUBJECT_NUMBER, UCUM
from gateway.model.recipient import Recipient, ReleaseRule
from gateway.model.resource import ResourceVersion
from gateway.model.study import Consent, Study, Subject
from gateway.ports import Store, Transaction
from gateway.release.policy import SHARED, Policy
from gateway.services.package import Packager
from gateway.services.plan import Planner
from gateway.store import create_store

NOON = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
SIGNED = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
KEYS = Keys(b"i" * 32, b"x" * 32, b"p" * 32, b"a" * 32, {"1": b"e" * 32}, "1")
LEASE = timedelta(minutes=1)


def uid(name: str) -> str:
    """A UUID that a name stands for."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


MLD = Study("mld", uid("study mld"), arms=("ARM-TREATED",))
WAS = Study("was", uid("study was"))

EVERYTHING: Mapping[str, ReleaseRule] = {
    "Patient": ReleaseRule(("identifier", "gender", "birthDate", "active")),
    "ResearchSubject": ReleaseRule(("identifier", "status", "period", "study", "individual", "consent")),
    "Consent": ReleaseRule(("status", "scope", "category", "patient", "dateTime", "policyRule", "provision")),
    "Encounter": ReleaseRule(("status", "class", "subject", "period")),
    "Specimen": ReleaseRule(("status", "type", "subject", "collection")),
    "Observation": ReleaseRule(
        ("status", "code", "subject", "encounter", "specimen", "effectiveDateTime", "valueQuantity",
         "valueCodeableConcept", "note", "performer")
    ),
    "DiagnosticReport": ReleaseRule(("status", "code", "subject", "effectiveDateTime", "result")),
    "Organization": ReleaseRule(("identifier", "name", "active")),
    "ResearchStudy": ReleaseRule(("status", "title", "identifier")),
}  # fmt: skip


def recipient(id: str = "edc", **changes: Any) -> Recipient:
    """A recipient of study MLD that may see much."""
    plain = Recipient(
        id=id, kind="fhir_server", studies=("mld",), release=EVERYTHING, address="http://localhost:1/fhir"
    )
    return replace(plain, **changes)


def subject(patient: str = uid("patient"), study: str = "mld", **changes: Any) -> Subject:
    """A subject on study under active consent."""
    consent = Consent(True, SIGNED, frozenset({"CLINTRCH"}), resource=uid(f"consent {study}"), status="active")
    plain = Subject(study, patient, uid(f"subject {study}"), "on-study", "MLD-007", SIGNED, None, (consent,))
    return replace(plain, **changes)


def version(body: dict[str, Any], patient: str = uid("patient"), **changes: Any) -> ResourceVersion:
    """A stored version of a resource, with the columns a statement fills."""
    when = body.get("effectiveDateTime") or body.get("dateTime") or body.get("period", {}).get("start")
    collected = body.get("collection", {}).get("collectedDateTime")
    moment = when or collected
    plain = ResourceVersion(
        type=body["resourceType"],
        id=body["id"],
        version=1,
        body=codec.encode(body),
        message=1,
        stored_at=NOON,
        patient="" if body["resourceType"] in SHARED else patient,
        date=datetime.fromisoformat(moment).astimezone(UTC) if moment and "T" in moment else None,
        status=body.get("status", ""),
    )
    return plain.but(**changes)


# --- resources ------------------------------------------------------------------------------------------------------


def a_patient(patient: str = uid("patient"), **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": patient,
        "identifier": [{"system": "urn:oid:1.2.3", "value": "MRN-4711"}],
        "active": True,
        "name": [{"family": "Rossetti", "given": ["Gaia"]}],
        "gender": "female",
        "birthDate": "2019-03-14",
    } | changes


def a_subject(patient: str = uid("patient"), study: Study = MLD, **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "ResearchSubject",
        "id": uid(f"subject {study.id} {patient}"),
        "identifier": [{"system": f"{SUBJECT_NUMBER}/{study.id}", "value": f"{study.id.upper()}-007"}],
        "status": "on-study",
        "period": {"start": "2026-03-01T10:00:00+01:00"},
        "study": {"reference": f"ResearchStudy/{study.resource}"},
        "individual": {"reference": f"Patient/{patient}"},
        "consent": {"reference": f"Consent/{uid(f'consent {study.id} {patient}')}"},
    } | changes


def a_consent(patient: str = uid("patient"), study: Study = MLD, **changes: Any) -> dict[str, Any]:
    act = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
    return {
        "resourceType": "Consent",
        "id": uid(f"consent {study.id} {patient}"),
        "status": "active",
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "research"}]},
        "category": [{"coding": [{"system": LOINC, "code": "59284-0"}]}],
        "patient": {"reference": f"Patient/{patient}"},
        "dateTime": "2026-03-01T10:00:00+01:00",
        "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN"}]},
        "provision": {"type": "permit", "purpose": [{"system": act, "code": "CLINTRCH"}]},
    } | changes


def an_observation(name: str = "hb", patient: str = uid("patient"), **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": uid(f"observation {name} {patient}"),
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "718-7", "display": "Haemoglobin"}], "text": "Emoglobina"},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": "2026-03-10T08:30:00+01:00",
        "valueQuantity": {"value": 98, "unit": "g/L", "system": UCUM, "code": "g/L"},
    } | changes


def an_organization(**changes: Any) -> dict[str, Any]:
    return {"resourceType": "Organization", "id": uid("laboratory"), "name": "San Celso laboratory"} | changes


def a_study(study: Study = MLD, **changes: Any) -> dict[str, Any]:
    return {"resourceType": "ResearchStudy", "id": study.resource, "status": "active", "title": "A study"} | changes


# --- the world ------------------------------------------------------------------------------------------------------


@cache
def template() -> bytes:
    """An empty database, made once."""
    with tempfile.TemporaryDirectory() as folder:
        store = create_store(f"sqlite:///{folder}/empty.db", KEYS)
        store.upgrade()
        store.close()
        return (Path(folder) / "empty.db").read_bytes()


class World:
    """A store with its planner and packager. ``now`` is what everybody takes for the time."""

    def __init__(self, folder: Path, *recipients: Recipient, studies: Sequence[Study] = (MLD, WAS)) -> None:
        (folder / "world.db").write_bytes(template())
        self.store: Store = create_store(f"sqlite:///{folder}/world.db", KEYS)
        self.now = NOON
        self.configure(*recipients, studies=studies)

    def configure(self, *recipients: Recipient, studies: Sequence[Study] = (MLD, WAS)) -> None:
        """Give the recipients their files."""
        self.policy = Policy(recipients, studies, KEYS.pseudonym)
        self.packager = Packager(self.store, self.policy)
        self.planner = Planner(self.policy, lambda: self.now)

    def write(self, *bodies: dict[str, Any], patient: str = uid("patient"), **changes: Any) -> list[ResourceVersion]:
        """Store the next version of each resource and plan, as translating does."""
        with self.store.begin() as tx:
            heads = tx.resources.heads([body["id"] for body in bodies])
            versions = [
                version(body, patient, version=heads[body["id"]].version + 1 if body["id"] in heads else 1, **changes)
                for body in bodies
            ]
            written = tx.resources.append(versions)
            self.planner(tx, written)
        return written

    def cursor(self, recipient: str = "edc", study: str = "mld", patient: str = uid("patient")) -> Delivery | None:
        """The cursor of a view and a patient."""
        with self.store.begin(write=False) as tx:
            return tx.deliveries.of_view(View(recipient, study), patient)

    def pack(self, recipient: str = "edc", study: str = "mld", patient: str = uid("patient")) -> Packed:
        """Pack what the cursor owes and settle nothing."""
        cursor = self.cursor(recipient, study, patient)
        return self.packager.package(cursor, self.now) if cursor else Packed(None, 0)

    def deliver(
        self, recipient: str = "edc", study: str = "mld", patient: str = uid("patient"), outcome: str = "accepted"
    ) -> list[Package]:
        """Deliver all the cursor owes; each package has this outcome."""
        sent = []
        while (cursor := self.cursor(recipient, study, patient)) and cursor.state is DeliveryState.DUE:
            package = self._attempt(cursor, outcome)
            sent += [package] if package else []
            if outcome != "accepted":
                break
        return sent

    def _attempt(self, cursor: Delivery, outcome: str) -> Package | None:
        self.now += timedelta(seconds=1)
        with self.store.begin() as tx:
            claimed = tx.deliveries.claim(cursor.id, "test", self.now, LEASE)
        assert claimed is not None
        packed = self.packager.package(claimed, self.now)
        with self.store.begin() as tx:
            self._settle(tx, claimed, packed, outcome)
        return packed.package

    def _settle(self, tx: Transaction, claimed: Delivery, packed: Packed, outcome: str) -> None:
        attempt = None
        if packed.package:
            attempt = Attempt(claimed.id, claimed.number, self.now, self.now, outcome, "", packed.upto, packed.manifest)
        done = replace(claimed, state=DeliveryState.DUE, window=packed.upto, due_at=self.now)
        if outcome == "accepted" or not packed.package:
            state = DeliveryState.DUE if packed.more else DeliveryState.IDLE
            done = replace(claimed, state=state, sent=packed.upto, window=None, number=claimed.number + 1)
            tx.deliveries.hold_shared(claimed.view, packed.shared)
        tx.deliveries.save(done, attempt, "test")

    def close(self) -> None:
        self.store.close()


@contextmanager
def world(folder: Path, *recipients: Recipient, studies: Sequence[Study] = (MLD, WAS)) -> Iterator[World]:
    """A world for one test."""
    made = World(folder, *(recipients or (recipient(),)), studies=studies)
    try:
        yield made
    finally:
        made.close()


def kinds(packages: Sequence[Package]) -> list[tuple[str, str]]:
    """(type, kind) of every entry, in the order they travel."""
    return [(entry.type, entry.kind.value) for package in packages for entry in package.entries]
