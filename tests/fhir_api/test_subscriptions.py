"""Subscriptions of a gateway that lives through its year, over real sockets, in both databases."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module

import httpx
import pytest

from fixtures.standins.rest_hook import RestHookStandIn
from gateway.cli.demo import Demo
from gateway.fhir import codec
from gateway.fhir.checks import validate
from gateway.fhir.subscription_read import SECRET_HEADER
from gateway.model.access import scopes_of
from gateway.services.topics import OBSERVATION, SUBJECT_STATUS, TOPICS
from gateway.settings import load
from tests.configuration import ROOT, clean_environment, write_keys
from tests.contracts.waiting import PATIENCE, wait_for
from tests.fhir_api.unit import RECIPIENTS, Unit
from tests.subscribing import events, kind, r4, r5

SECRET = secrets.token_urlsafe(32)


@contextmanager
def living(folder, endpoint, database_url=""):
    """A gateway that takes messages in, and whose subscriptions may tell an endpoint."""
    config = folder / "config"
    shutil.copytree(ROOT / "fixtures" / "config", config, ignore=shutil.ignore_patterns("data"))
    for id, text in RECIPIENTS.items():
        (config / "recipients" / f"{id}.toml").write_text(text)
    with (config / "gateway.toml").open("a") as file:
        file.write(f'\n[fhir]\nsubscription_endpoints = ["{endpoint}"]\n')
    environment = {"GATEWAY_DATA": str(folder / "data"), "GATEWAY_KEY_FILE": str(write_keys(folder / "keys.json"))}
    if database_url:
        environment["GATEWAY_DATABASE_URL"] = database_url
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(clean_environment() | environment)
    try:
        with Demo(load(config, environment)) as demo:
            yield demo
    finally:
        os.environ.clear()
        os.environ.update(before)


class Year:
    """What subscriptions made before the year were told in it. ``made``: by a word, the subscription as it was made."""

    def __init__(self, demo, standin):
        self.demo, self.standin, self.unit, self.made = demo, standin, Unit(demo.gateway), {}
        self.client = self.unit.client("edc")
        self.other = httpx.Client(
            base_url=str(self.client.base_url).replace("r4", "r5"),
            event_hooks={"request": self.client.event_hooks["request"]},
            timeout=PATIENCE,
        )

    def close(self):
        self.client.close()
        self.other.close()

    def subscribe(self, word, written, client=None):
        address = f"{self.standin.address}{word}"
        if "channel" in written:
            written["channel"] |= {"endpoint": address, "header": [f"{SECRET_HEADER}: {SECRET}"]}
        else:
            written |= {"endpoint": address, "parameter": [{"name": SECRET_HEADER, "value": SECRET}]}
        response = (client or self.client).post("Subscription", json=written)
        assert response.status_code == 201, response.text
        made = self.made[word] = response.json()
        assert SECRET not in response.text
        assert response.headers["Location"].endswith(f"/Subscription/{made['id']}")
        return made

    def stands(self, word):
        return self.client.get(f"Subscription/{self.made[word]['id']}").json()["status"]

    def told(self, word, type="event-notification"):
        id = self.made[word]["id"]
        pairs = zip(self.standin.keys, self.standin.bundles, strict=False)
        return [bundle for key, bundle in pairs if key.startswith(id) and kind(bundle) == type]

    def settled(self):
        with self.unit.store.begin(write=False) as tx:
            found = tx.subscriptions.every()
            return all(
                one.events == one.settled and not tx.subscriptions.triggers(one.id, datetime.now(UTC), 1)
                for one in found
            )

    def everything(self, type):
        """Every resource of a type that the client sees now, by address."""
        found, page = {}, codec.decode(self.client.get(type, params={"_count": 200}).content)
        while True:
            found |= {entry["fullUrl"]: entry["resource"] for entry in page.get("entry", ())}
            following = [link["url"] for link in page["link"] if link["relation"] == "next"]
            if not following:
                return found
            page = codec.decode(self.client.get(following[0]).content)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def year(request, tmp_path_factory):
    url = request.getfixturevalue("new_postgres_database")() if request.param == "postgresql" else ""
    standin = RestHookStandIn()
    standin.secrets[""] = SECRET
    try:
        with living(tmp_path_factory.mktemp("subscribed"), standin.address, url) as demo:
            lived = Year(demo, standin)
            lived.subscribe("subjects", r4(SUBJECT_STATUS))
            lived.subscribe("observations", r4(OBSERVATION, content="full-resource"))
            lived.subscribe("haemoglobin", r4(OBSERVATION, criteria=["Observation?code=http://loinc.org|718-7"]))
            lived.subscribe("r5", r5(SUBJECT_STATUS, content="full-resource"), lived.other)
            wait_for(lambda: all(lived.stands(word) == "active" for word in lived.made))
            demo.play()
            wait_for(lived.settled)
            yield lived
            lived.close()
    finally:
        standin.close()


def test_an_endpoint_shakes_hands_before_anything_else(year):
    for word, made in year.made.items():
        assert made["status"] == "requested"
        assert year.stands(word) == "active"
        assert len(year.told(word, "handshake")) == 1
    assert year.standin.forged == 0


def test_events_are_numbered_in_order_and_without_a_gap(year):
    for word in year.made:
        told = [number for bundle in year.told(word) for number, _ in events(bundle)]
        assert told == list(range(1, len(told) + 1))
        assert told or word == "haemoglobin"


def test_every_subject_and_result_that_is_seen_was_told_of(year):
    for word, type in (("subjects", "ResearchSubject"), ("observations", "Observation")):
        told = {focus for bundle in year.told(word) for _, focus in events(bundle) if focus}
        new = year.everything(type).keys() - told
        # What a later consent lets be seen was not new when it was written: its subject is told of.
        assert not new if word == "subjects" else len(new) < len(told)


def test_what_was_told_last_of_a_result_is_what_is_read(year):
    last = {}
    for bundle in year.told("observations"):
        last |= {entry["fullUrl"]: entry["resource"] for entry in bundle["entry"][1:]}
    now = year.everything("Observation")
    assert last.keys() & now.keys()
    for url in last.keys() & now.keys():
        told, read = ({k: v for k, v in one.items() if k != "meta"} for one in (last[url], now[url]))
        assert told == read


def test_a_filter_chooses_among_the_results(year):
    read = year.everything("Observation")
    chosen = {focus for bundle in year.told("haemoglobin") for _, focus in events(bundle) if focus}
    codes = {coding["code"] for url in chosen & read.keys() for coding in read[url]["code"]["coding"]}
    assert not chosen or "718-7" in codes
    assert chosen < {focus for bundle in year.told("observations") for _, focus in events(bundle)}


def test_every_notification_is_valid_in_its_release(year):
    bundle_r5 = import_module("fhir.resources.bundle").Bundle
    kinds = {bundle["type"] for bundle in year.standin.bundles}
    assert kinds == {"history", "subscription-notification"}
    for bundle in year.standin.bundles:
        if bundle["type"] == "history":
            validate(bundle)
        else:
            bundle_r5.model_validate(bundle)


def test_a_notification_names_nobody(year):
    with year.unit.store.begin(write=False) as tx:
        patients = {version.id for version in tx.resources.of_type("Patient")}
    assert not [id for id in patients if id in str(year.standin.bundles)]


def test_what_was_missed_can_be_asked_for_again(year):
    id = year.made["observations"]["id"]
    asked = {"eventsSinceNumber": 2, "eventsUntilNumber": 3}
    answer = year.client.get(f"Subscription/{id}/$events", params=asked)
    page = codec.decode(answer.content)
    assert [number for number, _ in events(page)] == [2, 3]
    assert kind(page) == "query-event"
    validate(page)
    body = {"resourceType": "Parameters", "parameter": [
        {"name": "eventsUntilNumber", "valueString": "9"}, {"name": "content", "valueCode": "id-only"}]}  # fmt: skip
    page = year.other.post(f"Subscription/{id}/$events", json=body).json()
    assert (page["type"], [number for number, _ in events(page)]) == ("subscription-notification", list(range(1, 10)))
    assert not [entry for entry in page["entry"][1:] if "resource" in entry]
    assert year.client.get(f"Subscription/{id}/$events", params={"eventsSinceNumber": "x"}).status_code == 400


def test_where_they_stand_is_said_in_both_releases(year):
    found = year.client.get("Subscription/$status", params={"status": "active"}).json()
    validate(found)
    assert len(found["entry"]) == len(year.made)
    one = year.other.get(f"Subscription/{year.made['r5']['id']}/$status").json()
    status = one["entry"][0]["resource"]
    assert (status["status"], status["type"]) == ("active", "query-status")
    assert int(status["eventsSinceSubscriptionStart"]) == sum(len(events(bundle)) for bundle in year.told("r5"))


def test_subscriptions_are_found_changed_and_taken_away(year):
    made = year.subscribe("short", r4(status="off"))
    found = year.client.get("Subscription", params={"status": "off"}).json()
    assert [entry["resource"]["id"] for entry in found["entry"]] == [made["id"]]
    read = year.client.get(f"Subscription/{made['id']}")
    validate(read.json())
    assert read.headers["ETag"] == 'W/"1"'
    stale = year.client.put(f"Subscription/{made['id']}", json=made, headers={"If-Match": 'W/"9"'})
    assert stale.status_code == 412
    changed = year.client.put(f"Subscription/{made['id']}", json=read.json() | {"reason": "another"})
    assert (changed.status_code, changed.json()["reason"]) == (200, "another")
    with year.unit.client("monitor") as other:
        assert other.get(f"Subscription/{made['id']}").status_code == 404
    assert year.client.delete(f"Subscription/{made['id']}").status_code == 204
    assert year.client.get(f"Subscription/{made['id']}").status_code == 410
    year.made.pop("short")


def test_an_endpoint_that_is_not_allowed_is_refused(year):
    response = year.client.post("Subscription", json=r4(channel={"endpoint": "http://169.254.169.254/latest"}))
    issue = response.json()["issue"][0]
    assert (response.status_code, issue["code"]) == (422, "security")
    assert issue["diagnostics"] == "the address is not one of [fhir] subscription_endpoints"


def test_without_the_scope_nothing_is_done(year):
    with year.unit.client("edc", scopes=scopes_of("system/Observation.rs system/Subscription.rs")) as reader:
        assert reader.get("Subscription").json()["total"] == 0
        assert reader.post("Subscription", json=r4()).status_code == 403


def test_topics_can_be_read_in_both_releases(year):
    basics = year.client.get("Basic", params={"code": "SubscriptionTopic"}).json()
    topics = year.other.get("SubscriptionTopic").json()
    assert basics["total"] == topics["total"] == len(TOPICS)
    model = import_module("fhir.resources.subscriptiontopic").SubscriptionTopic
    for entry in basics["entry"]:
        validate(entry["resource"])
    for entry in topics["entry"]:
        model.model_validate(entry["resource"])
        assert year.other.get(f"SubscriptionTopic/{entry['resource']['id']}").json() == entry["resource"]


def test_what_was_told_is_among_what_was_disclosed(year):
    with year.unit.store.begin(write=False) as tx:
        noted = [one for one in tx.answers.find(limit=5000) if one.interaction == "notification"]
    shown = sum(len(one.shown) for one in noted)
    assert shown >= len({focus for word in year.made for one in year.told(word) for _, focus in events(one) if focus})


def test_what_is_said_of_subscriptions_is_what_is_done(year):
    for client, topic in ((year.client, "criteria"), (year.other, "topic")):
        listed = client.get("metadata").json()["rest"][0]["resource"]
        said = next(one for one in listed if one["type"] == "Subscription")
        done = {one["code"] for one in said["interaction"]}
        assert done >= {"read", "create", "update", "delete", "search-type"}
        assert {one["name"] for one in said["operation"]} >= {"status", "events"}
        assert {one["name"] for one in said["searchParam"]} >= {"status", "url", topic}
        found = client.get("Subscription", params={"status": "active", topic: SUBJECT_STATUS.url, "_count": 1}).json()
        assert len(found["entry"]) == 1
        assert client.get("Subscription", params={"status": "error"}).json()["total"] == 0
