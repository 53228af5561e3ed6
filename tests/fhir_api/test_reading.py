"""read, vread, history: over a real socket, after a year of messages."""

from __future__ import annotations

import json

import httpx
import pytest

from gateway.model.access import Scope
from tests.contracts.waiting import PATIENCE


@pytest.fixture(scope="module")
def analysts(unit):
    with unit.client("analysts") as client:
        yield client


@pytest.fixture(scope="module")
def subject(analysts):
    """A ResearchSubject that the analysts see."""
    return analysts.get("ResearchSubject", params={"_count": 1}).json()["entry"][0]["resource"]


def issue(response):
    outcome = response.json()
    assert outcome["resourceType"] == "OperationOutcome"
    return response.status_code, outcome["issue"][0]["code"]


def test_a_resource_is_read_with_its_version(analysts, subject):
    response = analysts.get(f"ResearchSubject/{subject['id']}")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/fhir+json; charset=utf-8"
    assert response.headers["ETag"] == f'W/"{subject["meta"]["versionId"]}"'
    assert response.json() == subject


def test_who_has_the_version_already_is_told_so(analysts, subject):
    etag = f'W/"{subject["meta"]["versionId"]}"'
    response = analysts.get(f"ResearchSubject/{subject['id']}", headers={"If-None-Match": etag})
    assert (response.status_code, response.content) == (304, b"")


@pytest.mark.parametrize("kind", ["unknown-id", "00000000-0000-4000-8000-000000000000"])
def test_what_does_not_exist_is_not_found(analysts, kind):
    assert issue(analysts.get(f"Patient/{kind}")) == (404, "not-found")


def test_what_another_view_knows_by_an_id_is_not_found_under_it(unit, analysts, subject):
    with unit.client("monitor") as monitor:
        known = monitor.get("ResearchSubject").json()["entry"]
    for entry in known:
        assert issue(analysts.get(f"ResearchSubject/{entry['resource']['id']}")) == (404, "not-found")


def test_the_references_of_what_is_seen_can_be_followed(analysts, subject):
    for element in ("study", "individual"):
        response = analysts.get(subject[element]["reference"])
        assert response.status_code == 200


def test_a_patient_in_two_studies_is_two(unit):
    """The ids of one study say nothing of the other."""
    with unit.client("analysts", studies=["mld"]) as mld, unit.client("analysts", studies=["was"]) as was:
        ids = [
            {entry["resource"]["id"] for entry in client.get("Patient").json().get("entry", ())}
            for client in (mld, was)
        ]
    assert ids[0]
    assert ids[1]
    assert not ids[0] & ids[1]


def test_a_version_and_the_history_say_what_was(analysts):
    corrected = next(
        entry["resource"]
        for entry in analysts.get("Observation", params={"_count": 500}).json()["entry"]
        if int(entry["resource"]["meta"]["versionId"]) > 1
    )
    history = analysts.get(f"Observation/{corrected['id']}/_history").json()
    assert history["type"] == "history"
    versions = [entry["resource"]["meta"]["versionId"] for entry in history["entry"]]
    assert versions == sorted(versions, key=int, reverse=True)
    assert versions[0] == corrected["meta"]["versionId"]
    for entry in history["entry"]:
        number = entry["resource"]["meta"]["versionId"]
        read = analysts.get(f"Observation/{corrected['id']}/_history/{number}")
        assert read.json() == entry["resource"]
    assert issue(analysts.get(f"Observation/{corrected['id']}/_history/99")) == (404, "not-found")


def test_without_a_token_nothing_is_said(unit):
    response = httpx.get(f"{unit.address}/fhir/r4/Patient", timeout=PATIENCE)
    assert issue(response) == (401, "login")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_opens_what_its_scopes_name_alone(unit):
    with unit.client("analysts", scopes=(Scope("Observation", "rs"),)) as narrow:
        assert narrow.get("Observation").status_code == 200
        assert issue(narrow.get("Patient")) == (403, "forbidden")
        assert issue(narrow.get("Observation", params={"patient.gender": "female,male"})) == (403, "forbidden")


def test_the_query_of_a_scope_limits_what_is_seen(unit):
    code = "http://loinc.org|777-3"
    scopes = (Scope("Observation", "rs", f"code={code}"),)
    with unit.client("edc", scopes=scopes) as narrow, unit.client("edc") as wide:
        few, many = narrow.get("Observation").json(), wide.get("Observation", params={"_count": 500}).json()
        assert 0 < few["total"] < len(many["entry"])
        other = next(
            entry["resource"] for entry in many["entry"] if entry["resource"]["code"]["coding"][0]["code"] != "777-3"
        )
        assert issue(narrow.get(f"Observation/{other['id']}")) == (404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "Patient", {"Accept": "application/fhir+xml"}, (406, "not-supported")),
        ("GET", "Patient?_format=xml", {}, (406, "not-supported")),
        ("GET", "Patient", {"Accept": "application/fhir+json; fhirVersion=3.0"}, (406, "not-supported")),
        ("GET", "Fish", {}, (404, "not-supported")),
        ("GET", "Patient/1/2/3/4", {}, (404, "not-found")),
        ("DELETE", "metadata", {}, (405, "not-supported")),
        ("POST", "Patient/_search", {"Content-Type": "text/plain"}, (415, "not-supported")),
        ("GET", "Patient?fish=1", {}, (400, "not-supported")),
        ("GET", "Patient?birthdate=yesterday", {}, (400, "invalid")),
        ("GET", "Patient?_page=abc", {}, (400, "value")),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(analysts, method, path, headers, expected):
    content = b"x" if method == "POST" else None
    assert issue(analysts.request(method, path, headers=headers, content=content)) == expected


@pytest.mark.parametrize(
    "accept", ["application/fhir+json", "application/json", "*/*", "application/fhir+json, */*; q=0.1"]
)
def test_what_real_clients_accept_is_answered(analysts, accept):
    assert analysts.get("Patient", headers={"Accept": accept}).status_code == 200


def test_a_person_may_read_it_with_line_breaks_and_the_same_numbers(analysts):
    plain = analysts.get("Observation", params={"_count": 500})
    pretty = analysts.get("Observation", params={"_count": 500, "_pretty": "true"})
    assert pretty.text.count("\n") > 100
    assert json.loads(pretty.text, parse_float=str)["entry"] == json.loads(plain.text, parse_float=str)["entry"]


def test_every_answer_is_noted_with_what_it_showed(unit):
    with unit.client("analysts") as client:
        body = client.get("Observation", params={"_count": 3}).json()
        client.get("Patient/none")
    name = newest_client(unit)
    with unit.store.begin(write=False) as tx:
        refused, answered = tx.answers.find(client=name)
    assert (refused.status, refused.shown) == (404, ())
    assert (answered.interaction, answered.type, answered.status) == ("search-type", "Observation", 200)
    assert len(answered.shown) == len(body["entry"])


def newest_client(unit):
    with unit.store.begin(write=False) as tx:
        return max(tx.clients.every(), key=lambda client: client.added_at).name
