"""What happened, as a subscription's client may know it: decided at the moment of telling, through the one release.

A change that the client's views may not see, by consent, status, file or scope, is no event. An event that was one
keeps its number; what it speaks of is told only as long as it may be seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.fhir.subscriptions import Event, Focus
from gateway.model.access import Caller, granted, scopes_of
from gateway.model.client import Client
from gateway.model.delivery import View
from gateway.model.resource import ResourceVersion
from gateway.model.subscription import ENTITLED, Happening, Subscription, Trigger
from gateway.ports import Shown
from gateway.release.policy import Rights
from gateway.services.limits import limits_of
from gateway.services.pull import Pull
from gateway.services.seen import Seen
from gateway.services.topics import TOPICS, fits, happens


@dataclass(frozen=True, slots=True)
class Packed:
    """Events with what may be told of them now, and what telling them discloses."""

    events: tuple[Event, ...]
    shown: tuple[Shown, ...]


def caller_of(client: Client, subscription: Subscription) -> Caller:
    """Return who is told: the client, with the scopes it asked with as far as it is still registered for them."""
    scopes = scopes_of(subscription.terms.scopes) or ()
    return Caller(client.name, client.views, granted(scopes, client.scopes))


def happened(pull: Pull, subscription: Subscription, triggers: Sequence[Trigger]) -> list[Happening]:
    """Return the events among triggers, numbered on from the subscription's last. ``pull`` is one of R4."""
    scopes = _Scopes(pull, subscription.terms.base)
    triggers = _once(triggers)
    numbers = [(one.resource, number) for one in triggers for number in (one.version, one.version - 1)]
    versions = pull.tx.resources.numbered(numbers)
    found: list[Happening] = []
    for trigger in triggers:
        for view in _views_of(pull, scopes, subscription, trigger, versions):
            number = subscription.events + len(found) + 1
            place = (view.recipient, view.study, trigger.patient, trigger.type, trigger.resource, trigger.version)
            found.append(Happening(number, pull.now, *place))
    return found


def _once(triggers: Sequence[Trigger]) -> list[Trigger]:
    """Leave out what is said twice: a version is told of once, one who may be seen now by the newest of them."""
    newest = {one.resource: one.version for one in triggers if one.cause == ENTITLED}
    kept: dict[tuple[str, int], Trigger] = {}
    for one in triggers:
        key = (one.resource, one.version)
        if one.cause == ENTITLED and one.version == newest[one.resource]:
            kept[key] = one
        elif one.cause != ENTITLED:
            kept.setdefault(key, one)
    return list(kept.values())


def packed(pull: Pull, subscription: Subscription, events: Iterable[Happening]) -> Packed:
    """Return events as a caller may be told of them now."""
    scopes = _Scopes(pull, subscription.terms.base)
    listed = list(events)
    versions = pull.tx.resources.numbered((one.resource, one.version) for one in listed)
    told, shown = [], []
    for one in listed:
        rights = next((r for r in pull.views if r.view == View(one.recipient, one.study)), None)
        version = versions.get((one.resource, one.version))
        seen = None if rights is None or version is None else _seen(pull, rights, version)
        if seen is None or not scopes.let(seen):
            told.append(Event(one.number, one.at))
            continue
        told.append(Event(one.number, one.at, Focus(seen.reference, seen.text, new=one.version == 1)))
        shown.append(seen.shown)
    return Packed(tuple(told), tuple(dict.fromkeys(shown)))


def _views_of(
    pull: Pull,
    scopes: _Scopes,
    subscription: Subscription,
    trigger: Trigger,
    versions: dict[tuple[str, int], ResourceVersion],
) -> Iterator[View]:
    """Yield the views for which a trigger is an event."""
    topic = TOPICS.get(subscription.terms.topic)
    after = versions.get((trigger.resource, trigger.version))
    if topic is None or after is None or trigger.type not in topic.types:
        return  # the client asks for another topic by now
    earlier = versions.get((trigger.resource, trigger.version - 1))
    for rights in pull.views:
        seen = _seen(pull, rights, after)
        if seen is None:
            continue
        body = seen.body
        before = None if earlier is None else _past(pull, rights, earlier)
        if happens(topic, trigger, before, body) and fits(subscription.terms, rights, body) and scopes.let(seen):
            yield rights.view


def _seen(pull: Pull, rights: Rights, version: ResourceVersion) -> Seen | None:
    """Return a version as a view sees it, if it sees the resource as it is now."""
    head = pull.tx.resources.heads((version.id,)).get(version.id)
    if head is None or head.patient != version.patient:
        return None
    chart = pull.chart(rights, version.patient)
    now = chart.seen(head)
    if now is None or head.version == version.version:
        return now
    return chart.past(version)


def _past(pull: Pull, rights: Rights, version: ResourceVersion) -> dict[str, Any] | None:
    seen = pull.chart(rights, version.patient).past(version)
    return None if seen is None else seen.body


class _Scopes:
    """What the client is registered to read."""

    def __init__(self, pull: Pull, base: str) -> None:
        self._pull = pull
        self._base = base

    def let(self, seen: Seen) -> bool:
        scopes = self._pull.caller.scopes_for(seen.type, "r")
        if not scopes:
            return False
        limits = limits_of(scopes, self._pull, self._base)
        return limits is None or limits(seen.body)
