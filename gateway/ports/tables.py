"""What can be done with each kind of row, inside a transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from gateway.model.delivery import Attempt, Delivery, View
from gateway.model.message import Became, Message
from gateway.model.resource import Clock as ElementClock
from gateway.model.resource import ResourceVersion
from gateway.model.site import CodeMapEntry
from gateway.model.translation import Gap, PatientKey
from gateway.ports.broker import Event
from gateway.ports.rows import (
    AuditEvent,
    Breaker,
    ChangeRange,
    GapLine,
    Hold,
    Holding,
    LaneClaim,
    MessageFilter,
    Process,
    Resealed,
    Saved,
    Unreceipted,
)


class Messages(Protocol):
    """The received messages, inside a transaction."""

    def waiting(self, claims: Sequence[LaneClaim], limit: int, besides: Collection[int] = ()) -> list[Message]:
        """Return the oldest stored messages of the claimed lanes, raw bytes included, in order of receipt.

        ``besides``: ids of messages that are in work already.
        """

    def get(self, message: int) -> Message | None:
        """Return one message with its raw bytes."""

    def find(self, wanted: MessageFilter) -> list[Message]:
        """Return messages newest first, with ``raw`` and ``acknowledgment`` empty."""

    def settle(self, results: Sequence[Became], at: datetime) -> None:
        """Record what became of messages, in one round trip."""

    def restore(self, messages: Iterable[int]) -> int:
        """Put messages back to ``stored`` so that they are translated again; return how many."""

    def answer(self, message: int, acknowledgment: bytes) -> None:
        """Keep what the sender really got, where that is not what the message was stored with."""

    def with_gap(self, gap: int) -> list[int]:
        """Return the ids of the messages that showed a gap."""


class Lanes(Protocol):
    """Who translates which lane."""

    def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> list[LaneClaim]:
        """Claim up to ``limit`` lanes that have stored messages and are free, expired or already this owner's."""

    def confirm(self, claims: Sequence[LaneClaim], now: datetime) -> None:
        """Check at commit that the claims still hold (row locks on a server). Raises ``StaleClaim``."""

    def renew(self, owner: str, claims: Sequence[LaneClaim], until: datetime) -> None:
        """Hold claimed lanes until then. Raises ``StaleClaim`` when one went to another worker."""

    def give_back(self, owner: str, claims: Sequence[LaneClaim]) -> None:
        """Free lanes."""


class Resources(Protocol):
    """The append-only table of resource versions."""

    def lock_patients(self, patients: Iterable[str]) -> None:
        """Take the lock of each patient, in id order, until the transaction ends. ``""`` locks the shared resources."""

    def heads(self, ids: Iterable[str]) -> dict[str, ResourceVersion]:
        """Return the newest version of each resource that exists, by internal id."""

    def append(self, versions: Sequence[ResourceVersion]) -> list[ResourceVersion]:
        """Insert versions, give each its change number (ascending in the order given) and return them with it.

        Raises ``VersionConflict`` when one exists already.
        """

    def set_clocks(self, clocks: Mapping[int, dict[str, ElementClock]]) -> None:
        """Replace the clocks of versions, by change number."""

    def of_patient(
        self,
        patient: str,
        *,
        after: int = 0,
        upto: int | None = None,
        every_version: bool = False,
        types: Sequence[str] = (),
        limit: int | None = None,
    ) -> list[ResourceVersion]:
        """Return the patient's changes with ``after`` < change <= ``upto``, ascending.

        Without ``every_version`` only the newest version of each resource is returned, and only if its own change
        lies in the range.
        """

    def of_patients(self, ranges: Sequence[ChangeRange]) -> list[list[ResourceVersion]]:
        """Return the changes of many patients, ascending: a list for each range, in the same order."""

    def of_message(self, message: int) -> list[ResourceVersion]:
        """Return the versions that a message wrote."""

    def versions(self, id: str) -> list[ResourceVersion]:
        """Return every version of one resource, oldest first."""

    def numbered(self, wanted: Iterable[tuple[str, int]]) -> dict[tuple[str, int], ResourceVersion]:
        """Return those of some versions that exist, by internal id and version."""

    def of_type(self, resource_type: str, *, patients: Iterable[str] | None = None) -> list[ResourceVersion]:
        """Return the newest versions of a type, of these patients when given.

        Only for the types of the partial index: ResearchStudy, ResearchSubject, Consent, Patient.
        """

    def enrolled_since(self, change: int) -> dict[str, int]:
        """Return the patients with a Patient, ResearchSubject or Consent above a change number, and the highest.

        Numbers are drawn before they are committed: on a server, one below a number seen may still appear.
        """

    def enrolled_mark(self) -> tuple[int, int]:
        """Return what becomes another when ``enrolled_since`` would find more."""

    def patient_of_key(self, keys: Iterable[PatientKey]) -> dict[PatientKey, str]:
        """Return the Patient id each identifier is registered for, where it is (through its keyed hash)."""

    def register_keys(self, keys: Iterable[PatientKey]) -> None:
        """Register identifiers for their Patients; one registered already stays as it is."""

    def canonical(self, patients: Iterable[str]) -> dict[str, str]:
        """Return for each Patient id the surviving one (itself when it was never merged)."""

    def merge(self, old: str, survivor: str) -> None:
        """Record that everything about ``old`` belongs to ``survivor``; chains are flattened."""

    def newest_changes(self, patients: Iterable[str]) -> dict[str, int]:
        """Return the newest change number of each patient that has one (``""``: of the shared resources)."""


class Deliveries(Protocol):
    """The cursors and their attempts."""

    def plan(self, due: Mapping[tuple[View, str], int], now: datetime) -> None:
        """Raise the ``planned`` change of (view, patient) cursors, make them due now if they owe nothing yet.

        A cursor that is ``sending`` or waits for a retry keeps its state and time; a ``dead`` one stays dead.
        """

    def due(self, now: datetime, limit: int, republish_after: timedelta) -> list[Delivery]:
        """Return due deliveries not published since ``republish_after``, oldest first, breakers respected.

        Where there are more than ``limit``, each recipient has its share: a backlog does not crowd out the others.
        """

    def published(self, ids: Iterable[int], now: datetime) -> None:
        """Note that wake-ups for these, found due at ``now``, were confirmed by the broker."""

    def claim(self, delivery: int, owner: str, now: datetime, lease: timedelta) -> Delivery | None:
        """Claim one due delivery; None when it is not due, settled or claimed. One attempt in flight per cursor."""

    def claim_many(self, ids: Sequence[int], owner: str, now: datetime, lease: timedelta) -> list[Delivery]:
        """Claim those of some deliveries that are due, in the order asked."""

    def save(self, delivery: Delivery, attempt: Attempt | None, owner: str) -> None:
        """Write what came of an attempt. Raises ``StaleClaim`` when the lease went to somebody else."""

    def save_many(
        self, saved: Sequence[Saved], owner: str, announced_at: datetime | None = None
    ) -> dict[int, Delivery]:
        """Write what came of several attempts and return each cursor as it stands now, by id.

        One whose lease went to somebody else is left out. Those that are due again by ``announced_at`` count as woken
        then: whoever settles them wakes them.
        """

    def expire(self, now: datetime, owner: str | None = None) -> int:
        """Settle deliveries whose lease ran out (or that ``owner`` held when it died) as unknown; return how many."""

    def get(self, delivery: int) -> Delivery | None:
        """Return one cursor."""

    def find(
        self, *, recipient: str = "", state: str = "", before: int | None = None, limit: int = 50
    ) -> list[Delivery]:
        """Return cursors, newest first."""

    def of_view(self, view: View, patient: str) -> Delivery | None:
        """Return the cursor of a (view, patient)."""

    def attempts(self, delivery: int, limit: int | None = None) -> list[Attempt]:
        """Return a cursor's attempts, oldest first."""

    def held(self, cursors: Iterable[int]) -> Mapping[int, Holding]:
        """Return what the views hold or may hold of the cursors' patients, by cursor."""

    def replay(self, delivery: int, now: datetime, *, from_change: int | None = None) -> None:
        """Make a cursor due again from a change number (None: from where it stands) with fresh attempts.

        ``from_change=BACKFILL`` sends only what the view does not hold already.
        """

    def shared_held(self, view: View) -> dict[str, int]:
        """Return the shared resources a view holds: internal id -> the change number it holds."""

    def hold_shared(self, view: View, held: Mapping[str, int]) -> None:
        """Note the shared resources a view holds now."""

    def refuse_entries(self, delivery: int, refused: Iterable[tuple[str, str]], at: datetime) -> None:
        """List entries a recipient refused, for a person: (internal ``Type/id``, detail without personal data)."""

    def refused(self, delivery: int) -> list[tuple[str, str]]:
        """Return the entries of a cursor that its recipient refused, oldest first."""


class WorkList(Protocol):
    """What waits for a person: gaps and holds."""

    def record_gaps(self, seen: Iterable[tuple[str, int, Gap]], at: datetime) -> None:
        """Count gaps, each with its feed and the message that showed it, once per message.

        Whoever closes one of them waits until the transaction has ended, and then finds these messages.
        """

    def gaps(self, *, open_only: bool = True) -> list[GapLine]:
        """Return gaps, most frequent first."""

    def close_gap(self, gap: int, at: datetime) -> None:
        """Mark a gap as mapped."""

    def open_hold(self, hold: Hold) -> int:
        """Open a hold and return its id; the same kind, message and resource is opened once."""

    def holds(self, *, open_only: bool = True) -> list[Hold]:
        """Return holds, oldest first."""

    def close_hold(self, hold: int, at: datetime) -> None:
        """Close a hold."""


class CodeMaps(Protocol):
    """The code maps: the database is the truth, CSV is how they come and go."""

    def import_entries(
        self, site: str, entries: Sequence[CodeMapEntry], *, author: str, reason: str, at: datetime
    ) -> bool:
        """Replace a site's imported rows when they differ; return whether anything changed."""

    def add(self, site: str, entry: CodeMapEntry, *, author: str, reason: str, at: datetime) -> None:
        """Add one row (``gaps map``); it outlives the next import."""

    def of_site(self, site: str) -> tuple[CodeMapEntry, ...]:
        """Return a site's rows; a row added by a person comes before an imported one."""

    def revision(self) -> int:
        """Return a number that grows with every change of any map."""


class Audit(Protocol):
    """The audit trail: append only."""

    def write(self, events: Iterable[AuditEvent]) -> None:
        """Append events."""

    def find(self, *, subject: str = "", action: str = "", limit: int = 200) -> list[AuditEvent]:
        """Return events, newest first."""


class Outbox(Protocol):
    """Released events of amqp recipients until their receipt comes (a confirm is not a receipt)."""

    def add(self, recipient: str, delivery: int, event: Event, at: datetime) -> None:
        """Keep an event of a delivery; the same message id is kept once for a recipient."""

    def add_many(self, recipient: str, events: Sequence[tuple[int, Event]], at: datetime) -> None:
        """Keep events, each with its delivery; the same message id is kept once for a recipient."""

    def receipt(self, recipient: str, message_id: str) -> bool:
        """Forget an event the recipient has; False when it is not known."""

    def receipts(self, recipient: str, message_ids: Iterable[str]) -> int:
        """Forget events the recipient has; return how many were known."""

    def unreceipted(self, recipient: str, older_than: datetime, limit: int) -> list[Unreceipted]:
        """Return events published before ``older_than``, oldest first."""

    def republished(self, message_ids: Iterable[str], at: datetime) -> None:
        """Note that these were published again."""

    def prune(self, recipient: str, before: datetime) -> int:
        """Forget what is older than the recipient's ``keep``; return how many."""


class Processes(Protocol):
    """Which processes run."""

    def beat(self, process: Process) -> None:
        """Say that a process runs."""

    def leave(self, owner: str) -> None:
        """Say that it has ended."""

    def list_all(self) -> list[Process]:
        """Return every process that has not said it ended, by name."""


class Breakers(Protocol):
    """The circuits of the recipients."""

    def get(self, recipient: str) -> Breaker:
        """Return a recipient's circuit (closed when nothing is known)."""

    def set(self, breaker: Breaker) -> None:
        """Write a circuit."""


class Sealing(Protocol):
    """The encrypted columns, and under which key each value stands."""

    def tables(self) -> tuple[str, ...]:
        """Return the tables that hold encrypted values."""

    def keys_in_use(self) -> dict[str, int]:
        """Return by key name how many rows are encrypted under it (a row with two counts for both)."""

    def reseal(self, table: str, after: tuple[Any, ...]) -> Resealed:
        """Encrypt the next rows of a table that are not under the active key, ``after`` a row (empty: from the first).

        Values of rows that somebody else changes at the same moment are left alone.
        """
