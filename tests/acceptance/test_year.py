"""The fictional year, played through the feeds of real deployments: the same end state wherever it runs."""

from __future__ import annotations

import httpx
import pytest

from gateway.fhir import checks, codec
from tests.clear import arguments, clear_columns
from tests.contracts.waiting import PATIENCE
from tests.ends import differences
from tests.personal import Finder, personal_data, subject_numbers
from tests.story import EXPECTED_RECEIVED, EXPECTED_STATE


@pytest.fixture(scope="module")
def divided(deploy, year):
    """Five processes on PostgreSQL and RabbitMQ, one per role, that have lived through the year."""
    with deploy(processes=5) as deployment:
        deployment.play_and_note(year)
        yield deployment
        deployment.stop()


@pytest.fixture(scope="module")
def alone(deploy, year):
    """One process without any server that has lived through the year."""
    with deploy(embedded=True) as deployment:
        deployment.play(year)
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


@pytest.mark.parametrize(
    "text", ["ferrè", r'{"name":"FERR\u00c8"}', "/Patient?name=%C5%9EENT%C3%9CRK", "2022-04-03", "a 0047122."]
)
def test_personal_data_is_found_however_it_is_written(year, text):
    assert Finder(personal_data(year))(text)


def test_nothing_personal_is_written_down_in_clear(deployed, year):
    assert leaks(places(deployed), finder(deployed, year)) == {}


def test_nothing_personal_is_written_down_in_clear_embedded(alone, year):
    assert leaks(places(alone), finder(alone, year)) == {}


def test_what_is_published_says_nothing_personal_around_its_body(lived, year):
    published = {"published": "\n".join(lived.firehose.heads), "declared": lived.virtual_host.declared()}
    assert "fhir.events" in published["published"]
    assert "fhir.recipient.ctms" in published["declared"]
    assert leaks(published, finder(lived, year)) == {}


def test_nothing_personal_is_in_what_pseudonymous_recipients_received(lived, alone, captured, year):
    subjects = subject_numbers(year)
    documents = "\n".join(path.read_text() for path in captured.glob("*.json"))
    assert all(recipient.identity == "pseudonymous" for recipient in lived.settings.recipients.values())
    assert any(number in documents for number in subjects), "nothing is found: the test would prove nothing"
    assert leaks({"bodies": documents}, finder(lived, year, allowed=subjects)) == {}


def test_every_document_a_trial_system_received_is_valid(lived, divided, embedded, captured):
    found = list(captured.glob("*.json"))
    assert found
    for path in found:
        checks.check(codec.decode(path.read_bytes()))


def places(deployment):
    """Where it is read what a deployment writes down in clear."""
    members = list(deployment.members.values())
    metrics = [httpx.get(f"{one.address}/metrics", timeout=PATIENCE).text for one in members]
    held = [reference for held in deployment.trial_systems.received.values() for reference in held]
    found = {
        "logs": deployment.logs,
        "metrics": "".join(metrics),
        "requests": "\n".join(deployment.trial_systems.heads),
        "addresses": "\n".join(held),
        "arguments": "\n".join(arguments(one.running.pid) for one in members),
        **{f"table {name}": text for name, text in clear_columns(deployment.store).items()},
    }
    assert [name for name in ("logs", "metrics", "requests", "addresses") if not found[name]] == []
    assert "serve" in found["arguments"]
    assert "ORU^R01" in found["table messages"]
    return found


def finder(deployment, messages, allowed=frozenset()):
    """What finds personal data of messages; the city that gave a sending site its name is none."""
    sites = {site.casefold() for site in deployment.settings.sites}
    return Finder({text for text in personal_data(messages) - allowed if text.casefold() not in sites})


def leaks(found, finder):
    """Say what was found where."""
    return {place: leaked for place, text in found.items() if (leaked := finder(text))}
