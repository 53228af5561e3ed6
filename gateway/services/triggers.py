"""Noting what may be an event of a subscription, in the transaction that wrote the change.

So a trigger is there if and only if its change is, whoever wrote it and in whatever order transactions commit. Whether
it is an event is decided when it is told (``gateway.services.happenings``); here only what surely is none is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from gateway.model.resource import ResourceVersion
from gateway.model.study import Subject
from gateway.model.subscription import ENTITLED, Trigger
from gateway.ports import Listener, Transaction
from gateway.release.consent import begins_at, entitlement
from gateway.release.decision import Withheld
from gateway.release.policy import Policy
from gateway.services.subjects import ENTITLING, standing, studies_of
from gateway.services.topics import SUBJECT_STATUS, TOPICS, listened_for

_OF_TOPICS: Final = frozenset(type for topic in TOPICS.values() for type in topic.types)
_CAUSES: Final = frozenset(("ResearchSubject", "Consent"))

Key = tuple[str, str, int, datetime | None]


def note(tx: Transaction, changed: Sequence[ResourceVersion], policy: Policy, now: datetime) -> int:
    """Note what may be events of subscriptions, and return how many triggers that are."""
    concerned: dict[str, list[ResourceVersion]] = defaultdict(list)
    for version in changed:
        if version.patient and (version.type in _OF_TOPICS or version.type in _CAUSES):
            concerned[version.patient].append(version)
    listeners = tx.subscriptions.listeners() if concerned else []
    if not listeners:
        return 0
    studies = studies_of(tx.resources.of_type("ResearchSubject", patients=concerned), policy)
    ears = [_Ear(one) for one in listeners]
    found: dict[Key, Trigger] = {}
    for patient, versions in concerned.items():
        mine = studies.get(patient, set())
        for ear in ears:
            if not ear.studies.isdisjoint(mine):
                made = [_trigger(ear.listener, version) for version in versions if ear.hears(version)]
                found |= {_key(one): one for one in made}
    for one in _entitled(tx, concerned, listeners, policy, now):
        found[_key(one)] = one
    tx.subscriptions.note(list(found.values()))
    return len(found)


class _Ear:
    """A listener, and what it listens for."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.studies = frozenset(view.study for view in listener.views)
        self._queries = listened_for(listener.subscription.terms)

    def hears(self, version: ResourceVersion) -> bool:
        queries = self._queries.get(version.type)
        return queries is not None and all(query.may(version.body) for query in queries)


def _trigger(listener: Listener, version: ResourceVersion, cause: str = "", due_at: datetime | None = None) -> Trigger:
    id = listener.subscription.id
    return Trigger(id, version.patient, version.type, version.id, version.version, cause, due_at)


def _key(trigger: Trigger) -> Key:
    return trigger.subscription, trigger.resource, trigger.version, trigger.due_at


# --- who may be seen now and could not before -------------------------------------------------------------------------


def _entitled(
    tx: Transaction,
    concerned: Mapping[str, Sequence[ResourceVersion]],
    listeners: Iterable[Listener],
    policy: Policy,
    now: datetime,
) -> Iterable[Trigger]:
    """Yield a trigger for each subject that a view may see because of these changes, and could not before.

    A consent may begin later, be it by a clock that is ahead of ours: nothing else will say that its moment has come.
    """
    waiting = [one for one in listeners if one.subscription.terms.topic == SUBJECT_STATUS.url]
    for patient, changed in concerned.items() if waiting else ():
        versions = [version for version in changed if version.type in _CAUSES]
        if not versions:
            continue
        newest = tx.resources.of_patient(patient, types=ENTITLING)
        after = standing(newest, patient, policy).subjects
        before = standing(_earlier(tx, newest, versions), patient, policy).subjects
        heads = {version.id: version for version in newest}
        for listener in waiting:
            for study in {view.study for view in listener.views} & after.keys():
                head = heads[after[study].resource]
                for due_at in _widening(listener, before.get(study), after[study], policy, now):
                    yield _trigger(listener, head, ENTITLED, due_at)


def _earlier(
    tx: Transaction, newest: Sequence[ResourceVersion], changed: Sequence[ResourceVersion]
) -> list[ResourceVersion]:
    """Return a patient's entitling versions as they were before these changes."""
    first: dict[str, int] = {}
    for version in changed:
        first[version.id] = min(version.version, first.get(version.id, version.version))
    before = tx.resources.numbered((id, number - 1) for id, number in first.items() if number > 1)
    return [*(version for version in newest if version.id not in first), *before.values()]


def _widening(
    listener: Listener, before: Subject | None, after: Subject, policy: Policy, now: datetime
) -> set[datetime | None]:
    """Return when views may see a subject that they could not before; None: now."""
    found: set[datetime | None] = set()
    for view in listener.views:
        rights = policy.rights(view)
        if rights is None or view.study != after.study:
            continue
        old, new = (entitlement(one, rights.recipient, now) for one in (before, after))
        if isinstance(old, Withheld) and not isinstance(new, Withheld):
            found.add(None)
        elif begins := begins_at(after, rights.recipient, now):
            found.add(begins)
    return found
