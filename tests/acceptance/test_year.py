"""The fictional year, played through the feeds of real deployments: the same end state wherever it runs."""

from __future__ import annotations

import re

import httpx
import pytest

from gateway.fhir import checks, codec
from gateway.hl7v2.message import parse
from tests.ends import differences
from tests.story import EXPECTED_RECEIVED, EXPECTED_STATE


@pytest.fixture(scope="module")
def divided(deploy, year):
    """Five processes on PostgreSQL and RabbitMQ, one per role, that have lived through the year."""
    with deploy(processes=5) as deployment:
        deployment.play_and_note(year)
        yield deployment
        deployment.stop()


@pytest.fixture(params=["lived", "divided"], ids=["one process", "five processes"])
def deployed(request):
    return request.getfixturevalue(request.param)


def test_the_year_ends_embedded_as_expected(embedded):
    received = {f"{id} {name}": body for id, held in embedded["received"].items() for name, body in held.items()}
    assert differences(embedded["resources"], codec.decode(EXPECTED_STATE.read_bytes())) == []
    assert differences(received, codec.decode(EXPECTED_RECEIVED.read_bytes())) == []


def test_the_year_ends_the_same_on_real_servers_as_embedded(deployed, embedded):
    assert differences(deployed.noted_end, embedded) == []


def test_every_message_of_the_year_is_answered(deployed, year):
    assert [message.name for message in deployed.played if not message.answer] == []


def test_no_delivery_is_forged_or_dead(deployed):
    assert deployed.trial_systems.forged == 0
    with deployed.store.begin(write=False) as tx:
        assert [line.name for line in tx.recipient_queues() if line.dead] == []


def test_nothing_personal_appears_in_logs_metrics_urls_queue_names_or_routing_keys(deployed, year):
    metrics = "".join(httpx.get(f"{one.address}/metrics", timeout=10).text for one in deployed.members.values())
    addresses = [reference for held in deployed.trial_systems.received.values() for reference in held]
    routes = [*deployed.virtual_host.queue_names(), *deployed.trial_systems.routing_keys]
    places = {"logs": deployed.logs, "metrics": metrics, "addresses": "\n".join([*addresses, *routes])}
    assert all(places.values())
    words = "|".join(re.escape(word) for word in sorted(personal_data(year)))
    secrets = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
    assert {name: sorted(found) for name, text in places.items() if (found := set(secrets.findall(text)))} == {}


def test_every_document_a_trial_system_received_is_valid(lived, divided, embedded, captured):
    found = list(captured.glob("*.json"))
    assert found
    for path in found:
        checks.check(codec.decode(path.read_bytes()))


def personal_data(messages):
    """The words of the messages that say who somebody is: names, numbers, streets and telephones."""
    found = set()
    for sent in messages:
        for segment in parse(sent.raw).segments:
            for number, components in PERSONAL.get(segment.name, {}).items():
                found |= {field.component(one) for field in segment.repeats(number) for one in range(1, components + 1)}
    return {word for word in found if len(word) >= 5 or (len(word) == 4 and word.isalpha())}


NAME, REST = 3, 1  # family name, given name, further names; of the rest its first component
PERSONAL = {
    "PID": {2: REST, 3: REST, 4: REST, 5: NAME, 6: NAME, 9: NAME, 11: REST, 13: REST, 14: REST, 18: REST, 19: REST},
    "NK1": {2: NAME, 4: REST, 5: REST},
    "MRG": {1: REST, 4: REST},
}
