"""A Subscription as its client reads it, in the form of the R4 Backport IG 1.1 or of R5."""

from __future__ import annotations

from datetime import UTC
from typing import Final
from urllib.parse import urlencode

from gateway.fhir.bundle import instant
from gateway.fhir.subscription_read import CHANNELS, EXTENSIONS, JSON, KEPT, SECRET_HEADER
from gateway.fhir.subscriptions import PROFILES, Release, Resource, Trouble
from gateway.model.subscription import Subscription, Terms

_NO_REASON: Final = "not said"


def write_subscription(
    subscription: Subscription, release: Release, troubles: list[Trouble], *, secret: str = ""
) -> Resource:
    """Return a subscription as its client reads it. ``secret``: told this once, when it was made for the client."""
    terms = subscription.terms
    lines = [(name, KEPT) for name, _ in terms.headers] + [(SECRET_HEADER, secret or KEPT)]
    meta = {"versionId": str(subscription.version), "lastUpdated": instant(subscription.updated_at.astimezone(UTC))}
    write = _write_r5 if release == "R5" else _write_r4
    return write(subscription, terms, meta, lines, troubles)


def _write_r4(
    subscription: Subscription, terms: Terms, meta: Resource, headers: list[tuple[str, str]], troubles: list[Trouble]
) -> Resource:
    criteria = [
        {"url": EXTENSIONS["filter-criteria"], "valueString": f"{one.type}?{urlencode(one.pairs, safe='|:,/$')}"}
        for one in terms.criteria
    ]
    extensions: list[Resource] = [
        {"url": EXTENSIONS["timeout"], "valueUnsignedInt": terms.timeout},
        {"url": EXTENSIONS["max-count"], "valuePositiveInt": terms.max_count},
    ]
    if terms.heartbeat:
        extensions.insert(0, {"url": EXTENSIONS["heartbeat-period"], "valueUnsignedInt": terms.heartbeat})
    content = [{"url": EXTENSIONS["payload-content"], "valueCode": terms.content}]
    told: Resource = {
        "resourceType": "Subscription",
        "id": subscription.id,
        "meta": meta | {"profile": [f"{PROFILES}/backport-subscription"]},
        "status": subscription.state.value,
        "contact": list(terms.contact),
        "end": instant(terms.ends_at) if terms.ends_at else "",
        "reason": terms.reason or _NO_REASON,
        "criteria": terms.topic,
        "_criteria": {"extension": criteria} if criteria else {},
        "error": "; ".join(one.text for one in troubles),
        "channel": {
            "extension": extensions,
            "type": "rest-hook",
            "endpoint": terms.endpoint,
            "payload": JSON[0],
            "_payload": {"extension": content},
            "header": [f"{name}: {value}" for name, value in headers],
        },
    }
    return {name: value for name, value in told.items() if value}


def _write_r5(
    subscription: Subscription, terms: Terms, meta: Resource, headers: list[tuple[str, str]], _troubles: list[Trouble]
) -> Resource:
    filters = []
    for one in terms.criteria:
        for name, value in one.pairs:
            parameter, _, modifier = name.partition(":")
            entry = {"resourceType": one.type, "filterParameter": parameter, "value": value}
            filters.append(entry | ({"modifier": modifier} if modifier else {}))
    told: Resource = {
        "resourceType": "Subscription",
        "id": subscription.id,
        "meta": meta,
        "status": subscription.state.value,
        "topic": terms.topic,
        "contact": list(terms.contact),
        "end": instant(terms.ends_at) if terms.ends_at else "",
        "reason": terms.reason,
        "filterBy": filters,
        "channelType": {"system": CHANNELS, "code": "rest-hook"},
        "endpoint": terms.endpoint,
        "parameter": [{"name": name, "value": value} for name, value in headers],
        "heartbeatPeriod": terms.heartbeat,
        "timeout": terms.timeout,
        "contentType": JSON[0],
        "content": terms.content,
        "maxCount": terms.max_count,
    }
    return {name: value for name, value in told.items() if value}
