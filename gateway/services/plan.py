"""Planning: which views does a change concern, and which of them may now see what they could not before.

Nothing is decided here about what leaves: that is for the moment of sending (``gateway.services.package``). A patient
who is in no study owes nothing to anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gateway.model.delivery import BACKFILL, View
from gateway.model.resource import ResourceVersion
from gateway.model.study import Subject
from gateway.ports import AuditEvent, Clock, Transaction
from gateway.release.consent import Entitlement, entitlement
from gateway.release.decision import Withheld
from gateway.release.policy import SHARED, Policy, Rights
from gateway.services.subjects import standing, studies_of
from gateway.services.terms import FILE, digest_of, file_lines
from gateway.services.triggers import note

Due = dict[tuple[View, str], int]

_ENTITLES: Final = frozenset({"ResearchSubject", "Consent"})
"""Types whose change can entitle a view to what is stored already."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a transaction's changes come to.

    ``due``: (view, patient) -> the newest change that concerns it; patient ``""`` is the study-level cursor.
    ``backfill``: the cursors to begin again, because data stored earlier may leave now.
    """

    due: Due = field(default_factory=dict)
    backfill: set[tuple[View, str]] = field(default_factory=set)

    def owe(self, view: View, patient: str, change: int) -> None:
        """Note that a view is owed up to a change."""
        self.due[view, patient] = max(change, self.due.get((view, patient), 0))


class Planner:
    """Plans inside the transaction that wrote the changes; ``gateway.services.translate`` calls it."""

    def __init__(self, policy: Policy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock

    def __call__(self, tx: Transaction, changed: Sequence[ResourceVersion], *, lost: Iterable[str] = ()) -> Plan:
        """Plan these changes and note it, and what subscriptions may be told.

        ``lost``: patients from whom resources were taken (an unlink).
        """
        now = self._clock()
        made = plan(tx, changed, self._policy, now, lost=lost)
        apply(tx, made, now)
        note(tx, changed, self._policy, now)
        return made


def plan(
    tx: Transaction,
    changed: Sequence[ResourceVersion],
    policy: Policy,
    now: datetime,
    *,
    lost: Iterable[str] = (),
) -> Plan:
    """Return which cursors these changes concern. The versions carry their change numbers."""
    made = Plan()
    _plan_shared(tx, [version for version in changed if not version.patient], policy, made)
    changes: dict[str, list[ResourceVersion]] = {}
    for version in changed:
        if version.patient:
            changes.setdefault(version.patient, []).append(version)
    subjects = tx.resources.of_type("ResearchSubject", patients=changes) if changes and policy.delivered else []
    entitled = {}
    for patient, studies in studies_of(subjects, policy).items():
        _owe(changes[patient], studies, policy, made)
        if any(version.type in _ENTITLES for version in changes[patient]):
            entitled[patient] = changes[patient]
    _plan_entitled(tx, entitled, subjects, policy=policy, now=now, made=made)
    highest = max((version.change for version in changed), default=0)
    for patient in lost:
        _plan_again(tx, patient, highest, policy, made)
    return made


def apply(tx: Transaction, made: Plan, now: datetime) -> None:
    """Note a plan: raise the cursors, and set back those that may now send more."""
    tx.deliveries.plan(made.due, now)
    for view, patient in sorted(made.backfill, key=lambda each: (each[0].recipient, each[0].study, each[1])):
        cursor = tx.deliveries.of_view(view, patient)
        if cursor is not None and (cursor.sent > 0 or cursor.lease_until is not None):
            tx.deliveries.replay(cursor.id, now, from_change=BACKFILL)


def _owe(changed: Sequence[ResourceVersion], studies: Iterable[str], policy: Policy, made: Plan) -> None:
    """Owe a patient's changes to every view of the patient's studies; everything, where another was merged in."""
    patient, newest = changed[0].patient, max(version.change for version in changed)
    merged = any(version.type == "Patient" and version.id != patient for version in changed)
    for rights in (rights for study in studies for rights in policy.of_study(study)):
        made.owe(rights.view, patient, newest)
        if merged:
            made.backfill.add((rights.view, patient))


def _plan_entitled(
    tx: Transaction,
    changes: Mapping[str, Sequence[ResourceVersion]],
    subjects: Sequence[ResourceVersion],
    *,
    policy: Policy,
    now: datetime,
    made: Plan,
) -> None:
    """Begin again where a changed ResearchSubject or Consent lets leave what could not before.

    ``changes``: what changed of each such patient; ``subjects`` are the newest ResearchSubjects.
    """
    if not changes:
        return
    places: dict[str, list[ResourceVersion]] = {}
    for version in (*subjects, *tx.resources.of_type("Consent", patients=changes)):
        places.setdefault(version.patient, []).append(version)
    for patient, changed in changes.items():
        versions = places[patient]
        entitling = [version for version in changed if version.type in _ENTITLES]
        before = standing(_before(tx, versions, entitling), patient, policy).subjects
        for study, subject in standing(versions, patient, policy).subjects.items():
            for rights in policy.of_study(study):
                if _widened(before.get(study), subject, rights, now):
                    made.backfill.add((rights.view, patient))


def _before(
    tx: Transaction, versions: Sequence[ResourceVersion], changed: Sequence[ResourceVersion]
) -> list[ResourceVersion]:
    """Return the entitling versions as they were before these changes."""
    first: dict[str, int] = {}
    for version in changed:
        first[version.id] = min(version.version, first.get(version.id, version.version))
    earlier = []
    for id, number in first.items():
        if number > 1:
            earlier += [each for each in tx.resources.versions(id) if each.version == number - 1]
    return [version for version in versions if version.id not in first] + earlier


def _widened(before: Subject | None, after: Subject, rights: Rights, now: datetime) -> bool:
    """Whether data stored earlier may leave now that could not before."""
    new = entitlement(after, rights.recipient, now)
    if isinstance(new, Withheld):
        return False
    old: Entitlement | Withheld = entitlement(before, rights.recipient, now)
    return new.wider_than(old)


def _plan_again(tx: Transaction, patient: str, change: int, policy: Policy, made: Plan) -> None:
    for view in policy.delivered:
        if tx.deliveries.of_view(view, patient) is not None:
            made.owe(view, patient, change)
            made.backfill.add((view, patient))


def _plan_shared(tx: Transaction, changed: Sequence[ResourceVersion], policy: Policy, made: Plan) -> None:
    """A study concerns its own views; another shared resource the views that hold an earlier version of it."""
    for version in changed:
        study = policy.study_of(version.id)
        for rights in policy.of_study(study.id if study else version.study):
            if version.type in rights.types:
                made.owe(rights.view, "", version.change)
    corrected = {version.id: version for version in changed if version.version > 1 and version.type in SHARED}
    if not corrected:
        return
    for view in policy.delivered:
        for id in tx.deliveries.shared_held(view).keys() & corrected.keys():
            made.owe(view, "", corrected[id].change)


# --- recipient files ------------------------------------------------------------------------------------------------


def replan(tx: Transaction, policy: Policy, now: datetime) -> list[str]:
    """Plan everything of the studies of recipients that are new or whose file changed; return their ids.

    The digest of the file a recipient was planned under last stands in the audit trail. What a view holds is sent once
    more where the file changed: its form may have.
    """
    tx.resources.lock_patients(("",))  # of processes that start at once, one plans
    noted = {id: _noted(tx, id) for id in policy.recipients}
    changed = [id for id, line in noted.items() if line is None or digest_of(line) != policy.digest(id)]
    if not changed:
        return []
    patients = _patients_by_study(tx, policy)
    # Each patient's own newest change: one that another process is about to commit has a higher number and is planned.
    newest = tx.resources.newest_changes({"", *(patient for some in patients.values() for patient in some)})
    for recipient in changed:
        due: Due = {}
        for view in (view for view in policy.delivered if view.recipient == recipient):
            of_study = ("", *patients.get(view.study, ()))
            due |= {(view, patient): newest[patient] for patient in of_study if patient in newest}
        _owe_all(tx, due, now)
        tx.audit.write(file_lines(policy.recipients[recipient], noted[recipient], now))
    return changed


def _noted(tx: Transaction, recipient: str) -> AuditEvent | None:
    return next(iter(tx.audit.find(subject=f"recipient/{recipient}", action=FILE, limit=1)), None)


def _owe_all(tx: Transaction, due: Mapping[tuple[View, str], int], now: datetime) -> None:
    tx.deliveries.plan(due, now)
    for view, patient in due:
        cursor = tx.deliveries.of_view(view, patient)
        if cursor is not None and cursor.sent != 0:
            tx.deliveries.replay(cursor.id, now, from_change=0)


def _patients_by_study(tx: Transaction, policy: Policy) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for patient, studies in studies_of(tx.resources.of_type("ResearchSubject"), policy).items():
        for study in studies:
            found.setdefault(study, set()).add(patient)
    return found
