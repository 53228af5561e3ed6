"""Notifications and the status of subscriptions, as FHIR R4 and R5 write them.

R4: the Backport IG 1.1 (http://hl7.org/fhir/uv/subscriptions-backport): a Bundle of type ``history`` whose first entry
is the status, as Parameters. R5: a Bundle of type ``subscription-notification`` whose first entry is a
SubscriptionStatus.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import NAMESPACE_URL, uuid5

from gateway.fhir import codec
from gateway.fhir.bundle import instant
from gateway.model.names import BASE
from gateway.model.subscription import Content, NotificationType, Subscription

Release = Literal["R4", "R5"]
Resource = dict[str, Any]

IG: Final = "http://hl7.org/fhir/uv/subscriptions-backport"
PROFILES: Final = f"{IG}/StructureDefinition"
ERRORS: Final = f"{BASE}/CodeSystem/subscription-error"


@dataclass(frozen=True, slots=True)
class Focus:
    """What an event speaks of, as the view sees it: ``text`` is the resource as JSON. ``new``: its first version."""

    reference: str
    text: bytes
    new: bool


@dataclass(frozen=True, slots=True)
class Event:
    """An event. ``focus`` None: the view may no longer see it, or nothing of it was to be told."""

    number: int
    at: datetime
    focus: Focus | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a subscription tells nothing: a code of ours, and words without personal data."""

    code: str
    text: str


def status(
    subscription: Subscription,
    kind: NotificationType,
    release: Release,
    events: Sequence[Event] = (),
    *,
    troubles: Iterable[Trouble] = (),
    base: str = "",
) -> Resource:
    """Return the status of a subscription: Parameters in R4, SubscriptionStatus in R5."""
    reference = f"{base or subscription.terms.base}/Subscription/{subscription.id}"
    write = _status_r5 if release == "R5" else _status_r4
    return write(subscription, kind, reference, events, [_concept(one) for one in troubles])


def notification(
    subscription: Subscription,
    kind: NotificationType,
    release: Release,
    now: datetime,
    events: Sequence[Event] = (),
    *,
    content: Content = "id-only",
    base: str = "",
) -> bytes:
    """Return a notification, or the answer of ``$events``: the status, and what the events speak of.

    ``empty`` names nothing, ``id-only`` the addresses, ``full-resource`` holds the resources too.
    """
    base = base or subscription.terms.base
    named = list(events) if content != "empty" else [Event(one.number, one.at) for one in events]
    told = status(subscription, kind, release, named, base=base)
    url = f"urn:uuid:{uuid5(NAMESPACE_URL, f'{subscription.id}/{kind}/{now.isoformat()}')}"
    request = {"method": "GET", "url": f"{base}/Subscription/{subscription.id}/$status"}
    said = {"request": request, "response": {"status": "200"}}
    first: Resource = {"fullUrl": url, "resource": told} | said
    entries = [codec.encode(first), *_focuses(named, base, release, whole=content == "full-resource")]
    head = _head(release, now)
    return b'%b,"entry":[%b]}' % (codec.encode(head)[:-1], b",".join(entries))


def statuses(told: Sequence[tuple[str, Resource]], self_url: str, now: datetime) -> bytes:
    """Return the answer of ``$status``: a searchset; of each status the address of its subscription and itself."""
    entries = [
        {
            "fullUrl": f"urn:uuid:{uuid5(NAMESPACE_URL, f'{url}/{now.isoformat()}')}",
            "resource": resource,
            "search": {"mode": "match"},
        }
        for url, resource in told
    ]
    head = {"resourceType": "Bundle", "type": "searchset", "timestamp": instant(now), "total": len(entries)}
    bundle = head | {"link": [{"relation": "self", "url": self_url}]}
    return codec.encode(bundle | ({"entry": entries} if entries else {}))


def _head(release: Release, now: datetime) -> Resource:
    if release == "R5":
        return {"resourceType": "Bundle", "type": "subscription-notification", "timestamp": instant(now)}
    profile = {"profile": [f"{PROFILES}/backport-subscription-notification-r4"]}
    return {"resourceType": "Bundle", "meta": profile, "type": "history", "timestamp": instant(now)}


def _focuses(events: Sequence[Event], base: str, release: Release, *, whole: bool) -> list[bytes]:
    """Return an entry for each resource the events speak of.

    Two versions of one resource are two entries only where they can be told apart (bdl-7).
    """
    entries: dict[tuple[str, bytes], bytes] = {}
    for one in events:
        focus = one.focus
        if focus is None:
            continue
        method, status = ("POST", "201") if focus.new else ("PUT", "200")
        url = focus.reference.partition("/")[0] if focus.new else focus.reference
        said = codec.encode({"request": {"method": method, "url": url}, "response": {"status": status}})
        full = codec.encode({"fullUrl": f"{base}/{focus.reference}"})[:-1]
        resource = b'"resource":%b,' % focus.text if whole else b""
        key = (focus.reference, focus.text if whole else b"")
        entries[key] = b"%b,%b%b" % (full, resource, said[1:])
    return list(entries.values())


# --- R5 ---------------------------------------------------------------------------------------------------------------


def _status_r5(
    subscription: Subscription, kind: str, reference: str, events: Sequence[Event], errors: list[Resource]
) -> Resource:
    told: Resource = {
        "resourceType": "SubscriptionStatus",
        "status": subscription.state.value,
        "type": kind,
        "eventsSinceSubscriptionStart": str(subscription.events),
    }
    if events:
        told["notificationEvent"] = [_event_r5(one, reference) for one in events]
    told |= {"subscription": {"reference": reference}, "topic": subscription.terms.topic}
    return told | ({"error": errors} if errors else {})


def _event_r5(one: Event, reference: str) -> Resource:
    told: Resource = {"eventNumber": str(one.number), "timestamp": instant(one.at.astimezone(UTC))}
    return told | ({"focus": {"reference": _absolute(one.focus, reference)}} if one.focus else {})


# --- R4 ---------------------------------------------------------------------------------------------------------------


def _status_r4(
    subscription: Subscription, kind: str, reference: str, events: Sequence[Event], errors: list[Resource]
) -> Resource:
    parameters: list[Resource] = [
        {"name": "subscription", "valueReference": {"reference": reference}},
        {"name": "topic", "valueCanonical": subscription.terms.topic},
        {"name": "status", "valueCode": subscription.state.value},
        {"name": "type", "valueCode": kind},
        {"name": "events-since-subscription-start", "valueString": str(subscription.events)},
    ]
    parameters += [{"name": "notification-event", "part": _event_r4(one, reference)} for one in events]
    parameters += [{"name": "error", "valueCodeableConcept": one} for one in errors]
    return {
        "resourceType": "Parameters",
        "meta": {"profile": [f"{PROFILES}/backport-subscription-status-r4"]},
        "parameter": parameters,
    }


def _event_r4(one: Event, reference: str) -> list[Resource]:
    parts: list[Resource] = [
        {"name": "event-number", "valueString": str(one.number)},
        {"name": "timestamp", "valueInstant": instant(one.at.astimezone(UTC))},
    ]
    if one.focus:
        parts.append({"name": "focus", "valueReference": {"reference": _absolute(one.focus, reference)}})
    return parts


def _absolute(focus: Focus, reference: str) -> str:
    return f"{reference.rpartition('/Subscription/')[0]}/{focus.reference}"


def _concept(trouble: Trouble) -> Resource:
    return {"coding": [{"system": ERRORS, "code": trouble.code}], "text": trouble.text}
