"""Whatever a client sends as a Subscription is read, or refused with the reason: nothing else comes of it."""

from __future__ import annotations

from copy import deepcopy

import pytest

from gateway.errors import RequestRefused
from gateway.fhir.subscription_read import read_subscription
from gateway.services.topics import OBSERVATION, check_criteria, topic_of
from tests.subscribing import BASE, IG, r4, r5

CHANNEL = {
    "header": ["Authorization: Bearer x"],
    "extension": [
        {"url": f"{IG}/backport-heartbeat-period", "valueUnsignedInt": 60},
        {"url": f"{IG}/backport-max-count", "valuePositiveInt": 5},
    ],
}
WRITTEN = {
    "R4": r4(OBSERVATION, criteria=["Observation?code=x"], channel=CHANNEL, contact=[{"system": "email", "value": "x"}],
             end="2026-12-31T00:00:00Z"),
    "R5": r5(OBSERVATION, filters=[{"resourceType": "Observation", "filterParameter": "code", "value": "x"}],
             parameter=[{"name": "A", "value": "b"}], contact=[{"system": "email"}], end="2026-12-31T00:00:00Z",
             heartbeatPeriod=60, timeout=5, maxCount=5, contentType="application/fhir+json"),
}  # fmt: skip
ODD = (None, "", 0, -1, True, [], {}, [None], [{}], {"a": 1}, "http://[", "\u0000", "?a=b", "Observation?code=a,,b",
       10**30, "x" * 5000)  # fmt: skip


def paths(value, so_far=()):
    """Every place in a document."""
    yield from [so_far] if so_far else []
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield from paths(inner, (*so_far, step))


def replaced(document, path, value):
    made = deepcopy(document)
    place = made
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = deepcopy(value)
    return made


@pytest.mark.parametrize("release", WRITTEN)
def test_what_is_odd_anywhere_is_read_or_refused(release):
    read_subscription(WRITTEN[release], release, BASE)
    statuses = []
    for path in paths(WRITTEN[release]):
        for value in ODD:
            try:
                _, terms = read_subscription(replaced(WRITTEN[release], path, value), release, BASE)
                check_criteria(topic_of(terms.topic), terms.criteria, BASE)
            except RequestRefused as error:
                statuses.append(error.status)
    assert len(statuses) > 300
    assert set(statuses) == {422}
