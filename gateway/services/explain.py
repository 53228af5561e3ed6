"""Why a recipient got something or not: asked of the same ``release`` that decides at sending.

What is told names internal ids, types, codes and rules; no name, no value, nothing of a body.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from gateway.model.delivery import Attempt, ChangeKind, Delivery, View
from gateway.model.resource import ResourceVersion
from gateway.ports import Store, Transaction
from gateway.release.decision import RULES, Withheld
from gateway.release.policy import Policy, Rights
from gateway.release.release import release
from gateway.services.subjects import Standing, subjects_of


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt that carried a resource. ``at`` is UTC; ``outcome`` as ``Attempt.outcome``."""

    version: int
    kind: str
    at: datetime
    outcome: str


@dataclass(frozen=True, slots=True)
class ResourceLine:
    """What one view got of one resource. ``rule`` is ``""`` where it may leave now; ``sent`` is oldest first."""

    study: str
    type: str
    resource: str
    version: int
    code: str
    rule: str
    detail: str
    sent: tuple[Sent, ...] = ()

    @property
    def words(self) -> str:
        """One line for a person."""
        what = f"{self.type}/{self.resource} version {self.version}" + (f" ({self.code})" if self.code else "")
        told = "; ".join(_told(each) for each in self.sent) or "never sent"
        if not self.rule:
            return f"{what}: {told}; may leave now"
        meaning = RULES.get(self.rule, "")
        detail = f" [{self.detail}]" if self.detail else ""
        return f"{what}: {told}; withheld now by rule {self.rule!r}: {meaning}{detail}"


@dataclass(frozen=True, slots=True)
class CursorLine:
    """How a view's cursor stands for a patient. Times are UTC; ``breaker_until`` None: the circuit is closed."""

    study: str
    patient: str
    state: str
    sent: int
    planned: int
    attempts: int
    due_at: datetime | None
    detail: str
    breaker_until: datetime | None = None
    breaker_reason: str = ""

    @property
    def words(self) -> str:
        """One line for a person."""
        owed = "nothing is owed" if self.sent >= self.planned else f"owes changes {self.sent + 1} to {self.planned}"
        parts = [f"delivery is {self.state}", owed]
        if self.attempts:
            parts.append(f"{self.attempts} attempts, the last: {self.detail or 'no detail'}")
        if self.due_at is not None:
            parts.append(f"due {self.due_at.isoformat(timespec='seconds')}")
        if self.breaker_until is not None:
            until = self.breaker_until.isoformat(timespec="seconds")
            parts.append(f"the recipient's circuit is open until {until}: {self.breaker_reason}")
        return f"study {self.study}, Patient/{self.patient}: " + "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer. ``note`` says what could not be explained (unknown recipient, patient, message or resource)."""

    recipient: str
    cursors: tuple[CursorLine, ...] = ()
    resources: tuple[ResourceLine, ...] = ()
    note: str = ""

    def lines(self) -> list[str]:
        """Return the answer as plain text."""
        told = [f"recipient {self.recipient}"]
        for cursor in self.cursors:
            told.append(cursor.words)
            told += [f"  {line.words}" for line in self.resources if line.study == cursor.study]
        cursors = {cursor.study for cursor in self.cursors}
        told += [f"study {line.study}: {line.words}" for line in self.resources if line.study not in cursors]
        return told + ([self.note] if self.note else [])

    def as_json(self) -> dict[str, Any]:
        """Return the answer as JSON values; times are ISO 8601 UTC."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def explain(
    store: Store,
    policy: Policy,
    recipient: str,
    now: datetime,
    *,
    patient: str = "",
    message: int | None = None,
    resource: str = "",
) -> Explanation:
    """Explain one recipient's part of a patient's, a message's or one resource's data.

    ``patient`` is an internal Patient id (a merged one stands for its survivor), ``resource`` a reference ``Type/id``
    or id. ``now`` is UTC.
    """
    if recipient not in policy.recipients:
        return Explanation(recipient, note=f"no recipient file is named {recipient!r}")
    with store.begin(write=False) as tx:
        versions = _versions(tx, patient, message, resource)
        if not versions:
            return Explanation(recipient, note="nothing is stored under that patient, message or resource")
        return _Explaining(tx, policy, recipient, now).explain(versions)


def _versions(tx: Transaction, patient: str, message: int | None, resource: str) -> list[ResourceVersion]:
    if patient:
        patient = patient.rpartition("/")[2]
        return tx.resources.of_patient(tx.resources.canonical((patient,))[patient])
    if message is not None:
        heads = tx.resources.heads({version.id for version in tx.resources.of_message(message)})
        return sorted(heads.values(), key=lambda version: version.change)
    return list(tx.resources.heads((resource.rpartition("/")[2],)).values())


class _Explaining:
    """One answer in the making."""

    def __init__(self, tx: Transaction, policy: Policy, recipient: str, now: datetime) -> None:
        self._tx = tx
        self._policy = policy
        self._now = now
        self._views = [view for view in policy.views if view.recipient == recipient]
        self._recipient = recipient
        self._breaker = tx.breakers.get(recipient)

    def explain(self, versions: Sequence[ResourceVersion]) -> Explanation:
        """Explain these versions to every view of the recipient."""
        cursors: list[CursorLine] = []
        lines: list[ResourceLine] = []
        for patient in dict.fromkeys(version.patient for version in versions):
            standing = subjects_of(self._tx, patient, self._policy) if patient else Standing({})
            mine = [version for version in versions if version.patient == patient]
            for view in self._views:
                cursor = self._tx.deliveries.of_view(view, patient)
                cursors += [self._cursor(cursor)] if cursor is not None and patient else []
                lines += self._resources(view, mine, standing, cursor)
        return Explanation(self._recipient, tuple(cursors), tuple(lines), _note(cursors, self._views))

    def _cursor(self, cursor: Delivery) -> CursorLine:
        return CursorLine(
            cursor.view.study,
            cursor.patient,
            cursor.state.value,
            max(cursor.sent, 0),
            cursor.planned,
            cursor.attempts,
            cursor.due_at,
            cursor.detail,
            self._breaker.open_until,
            self._breaker.reason,
        )

    def _resources(
        self, view: View, versions: Iterable[ResourceVersion], standing: Standing, cursor: Delivery | None
    ) -> Iterator[ResourceLine]:
        rights = self._policy.rights(view)
        if rights is None:
            return
        carried = self._carried(cursor, standing, view)
        for version in versions:
            rule, detail = self._decided(version, rights, standing)
            sent = tuple(carried.get(version.id, ()))
            if version.status == "entered-in-error" and not rule and not sent:
                rule, detail = "entered-in-error", ""
            yield ResourceLine(view.study, version.type, version.id, version.version, version.code, rule, detail, sent)

    def _decided(self, version: ResourceVersion, rights: Rights, standing: Standing) -> tuple[str, str]:
        subject = standing.subjects.get(rights.study.id)
        decision = release(version, rights, subject, self._now)
        return (decision.rule, decision.detail) if isinstance(decision, Withheld) else ("", "")

    def _carried(self, cursor: Delivery | None, standing: Standing, view: View) -> dict[str, list[Sent]]:
        """Return the attempts that carried each resource, those at a merged patient's cursor included."""
        cursors = [self._tx.deliveries.of_view(view, patient) for patient in standing.merged]
        attempts: list[Attempt] = []
        for each in (*cursors, cursor):
            attempts += self._tx.deliveries.attempts(each.id) if each is not None else []
        carried: dict[str, list[Sent]] = {}
        for attempt in sorted(attempts, key=lambda each: each.settled_at):
            for entry in attempt.manifest:
                sent = Sent(entry.version, entry.kind.value, attempt.settled_at, attempt.outcome)
                carried.setdefault(entry.resource, []).append(sent)
        return carried


def _note(cursors: Sequence[CursorLine], views: Sequence[View]) -> str:
    if not views:
        return "the recipient's file names no study of studies/"
    return "" if cursors else "nothing was ever owed to the recipient here: the patient is in none of its studies"


def _told(sent: Sent) -> str:
    done = "taken back" if sent.kind == ChangeKind.RETRACTED.value else "sent"
    return f"version {sent.version} {done} {sent.at.isoformat(timespec='seconds')} ({sent.outcome})"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value
