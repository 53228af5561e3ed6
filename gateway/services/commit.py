"""Writing what a client of the FHIR API wrote, in one transaction; it takes the same way as a feed's message.

The request's body is kept as a message is, of the feed ``fhir:<client>``; then versions, a Provenance, what is owed to
whom and the audit trail are written together, or nothing is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from gateway.errors import VersionConflict
from gateway.fhir import codec
from gateway.fhir.checks import check
from gateway.model.identity import lane_of, resource_id
from gateway.model.message import CLIENT_FEED, Became, Incoming, MessageState
from gateway.model.names import CLIENT_ID, GATEWAY, MESSAGE_DIGEST
from gateway.model.resource import ResourceVersion
from gateway.ports import AuditEvent, Clock, Store, Transaction
from gateway.release.policy import Rights
from gateway.services.drafting import Draft, Drafts, patients_of
from gateway.services.merge import ANY
from gateway.services.office import office_clock
from gateway.services.pull import Pull, Sight
from gateway.services.seen import Seen
from gateway.services.wanted import Done, Letter, Wanted
from gateway.services.write import Planner, again

_NOT_WRITTEN: Final = "nothing of this request was written"
_ACTIVITY: Final = {"create": "CREATE", "update": "UPDATE", "delete": "DELETE"}


class Office:
    """Writes for the clients that may. Safe from any thread."""

    def __init__(self, store: Store, sight: Sight, planner: Planner, id_key: bytes, clock: Clock) -> None:
        self._store = store
        self._sight = sight
        self._planner = planner
        self._id_key = id_key
        self._clock = clock

    def commit(self, wanted: Sequence[Wanted], letter: Letter) -> list[Done]:
        """Do all writes of a request, or none; return what came of each, in their order.

        Raises ``RequestRefused``; ``StoreUnavailable``, ``VersionConflict`` when another writes the same all the time.
        """
        with self._store.begin(write=False) as tx:
            now = self._clock()
            drafts = self._drafted(tx, wanted, letter, now)
            if all(draft.version is None for draft in drafts):
                return _done(Pull(tx, self._sight, letter.caller, now, letter.release), drafts)
        message, patients = self._keep(letter, now), patients_of(drafts)
        for attempt in again():
            with attempt:
                done = self._attempt(wanted, letter, message, patients)
        return done

    def rehearse(self, wanted: Sequence[Wanted], letter: Letter) -> None:
        """Do all but write. Raises as ``commit`` does."""
        with self._store.begin(write=False) as tx:
            self._drafted(tx, wanted, letter, self._clock())

    def _drafted(self, tx: Transaction, wanted: Sequence[Wanted], letter: Letter, now: datetime) -> list[Draft]:
        return Drafts(tx, self._sight, letter, now, self._id_key).of(wanted)

    def _keep(self, letter: Letter, now: datetime) -> int:
        """Keep what was received, durably; until it is written it stands there as refused."""
        digest = hashlib.sha256(letter.raw).digest()
        incoming = Incoming(
            feed=CLIENT_FEED + letter.caller.client,
            site="",
            control_id="",
            message_type=letter.words,
            lane=lane_of(letter.caller.client),
            received_at=now,
            raw=letter.raw,
            digest=digest,
            state=MessageState.REFUSED,
            acknowledgment=b"",
            positive=False,
            reason=_NOT_WRITTEN,
        )
        return self._store.receive([incoming])[0].id

    def _attempt(self, wanted: Sequence[Wanted], letter: Letter, message: int, patients: set[str]) -> list[Done]:
        """Write once. What was found before the patients were locked is found again: it may have changed."""
        with self._store.begin() as tx:
            # First the patients, then what belongs to nobody: in this order messages take their locks, too.
            tx.resources.lock_patients(patients)
            tx.resources.lock_patients(("",))
            now = self._clock()
            drafts = self._drafted(tx, wanted, letter, now)
            found = patients_of(drafts)
            if not found <= patients:
                patients |= found
                raise VersionConflict("a patient was merged meanwhile")
            written = tx.resources.append(self._versions(drafts, letter, message, now))
            self._planner(tx, written)
            tx.audit.write(_lines(drafts, letter, message, now))
            tx.messages.settle([Became(message, MessageState.TRANSLATED)], now)
            return _done(Pull(tx, self._sight, letter.caller, now, letter.release), drafts)

    def _versions(self, drafts: Sequence[Draft], letter: Letter, message: int, now: datetime) -> list[ResourceVersion]:
        """Return what is to be stored, a patient's together, and their Provenances."""
        groups: dict[str, dict[str, list[ResourceVersion]]] = {}
        for draft in drafts:
            if draft.version is not None:
                version = draft.version.but(message=message)
                groups.setdefault(version.patient, {}).setdefault(draft.kind, []).append(version)
        versions = []
        for patient, of_kind in sorted(groups.items()):
            for kind in ("delete", "create", "update"):
                versions += of_kind.get(kind, [])
            versions += [self._provenance(patient, kind, of_kind[kind], letter, now) for kind in sorted(of_kind)]
        return versions

    def _provenance(
        self, patient: str, kind: str, targets: Sequence[ResourceVersion], letter: Letter, now: datetime
    ) -> ResourceVersion:
        message = targets[0].message
        id = resource_id(self._id_key, "Provenance", "fhir", letter.caller.client, str(message), kind, patient)
        body = _provenance(id, kind, targets, letter, now)
        check(body)
        return ResourceVersion(
            "Provenance", id, 1, codec.encode(body), message, now, patient, {ANY: office_clock(now, 1)}, date=now
        )


def _provenance(
    id: str, kind: str, targets: Iterable[ResourceVersion], letter: Letter, now: datetime
) -> dict[str, Any]:
    types = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
    operation = {"system": "http://terminology.hl7.org/CodeSystem/v3-DataOperation", "code": _ACTIVITY[kind]}
    author = {"identifier": {"system": CLIENT_ID, "value": letter.caller.client}}
    digest = {"system": MESSAGE_DIGEST, "value": hashlib.sha256(letter.raw).hexdigest()}
    return {
        "resourceType": "Provenance",
        "id": id,
        "target": [{"reference": version.reference} for version in targets],
        "recorded": now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "activity": {"coding": [operation]},
        "agent": [
            {"type": {"coding": [{"system": types, "code": "author"}]}, "who": author},
            {"type": {"coding": [{"system": types, "code": "assembler"}]}, "who": {"display": GATEWAY}},
        ],
        "entity": [{"role": "source", "what": {"identifier": digest, "display": "SHA-256 of the request's body"}}],
    }


def _lines(drafts: Iterable[Draft], letter: Letter, message: int, now: datetime) -> list[AuditEvent]:
    actor = f"client/{letter.caller.client}"
    return [
        AuditEvent(now, f"fhir-{draft.kind}", actor, version.reference, f"version {version.version}, message {message}")
        for draft in drafts
        if (version := draft.version) is not None
    ]


# --- what came of it --------------------------------------------------------------------------------------------------


def _done(pull: Pull, drafts: Iterable[Draft]) -> list[Done]:
    return [_one_done(pull, draft) for draft in drafts]


def _one_done(pull: Pull, draft: Draft) -> Done:
    version = draft.version or draft.stands
    if version is None or draft.rights is None:
        return Done("none", "")
    seen = None if draft.kind == "delete" else _seen(pull, draft.rights, version.id)
    id = draft.rights.public_id(version.id)
    return Done(draft.kind, version.type, id, version.version, version.stored_at, seen)


def _seen(pull: Pull, rights: Rights, internal: str) -> Seen | None:
    head = pull.tx.resources.heads((internal,)).get(internal)
    return None if head is None else pull.chart(rights, head.patient).seen(head)
