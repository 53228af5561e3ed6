"""A trial office writes over a real socket, into what a year of messages has left; on both databases."""

from __future__ import annotations

import concurrent.futures
import json
from uuid import uuid4

import httpx
import pytest
from fhirpy import SyncFHIRClient

from gateway.model.access import Scope
from gateway.model.message import MessageState
from gateway.ports import MessageFilter
from gateway.services.reconcile import Unit, reconcile
from tests.contracts.waiting import wait_for

LIMIT = 32 * 1024 * 1024
NEW = {"resourceType": "PlanDefinition", "status": "draft", "title": "Visits"}


@pytest.fixture(scope="module", params=["unit", "server_unit"])
def lived_unit(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def office(lived_unit):
    with lived_unit.client("office", studies=["mld"], writes=True) as client:
        yield client


@pytest.fixture
def subject(office):
    """A ResearchSubject that is on study, as it was read, and its ETag."""
    return office.get("ResearchSubject", params={"status": "on-study", "_count": 1}).json()["entry"][0]["resource"]


def issue(response):
    return response.status_code, response.json()["issue"][0]["code"]


def named(value):
    return NEW | {"identifier": [{"system": "urn:plans", "value": value}]}


def test_what_is_created_is_read_found_changed_and_gone(office):
    value = str(uuid4())
    created = office.post("PlanDefinition", json=named(value))
    assert created.status_code == 201
    url = created.headers["Location"].partition("/_history")[0]
    assert office.get(created.headers["Location"]).json() == created.json()
    assert office.get("PlanDefinition", params={"identifier": f"urn:plans|{value}"}).json()["total"] == 1

    body = created.json() | {"title": "Other"}
    updated = office.put(url, json=body, headers={"If-Match": created.headers["ETag"]})
    assert (updated.status_code, updated.json()["title"], updated.headers["ETag"]) == (200, "Other", 'W/"2"')
    assert issue(office.put(url, json=body, headers={"If-Match": created.headers["ETag"]})) == (412, "conflict")

    assert [office.delete(url).status_code for _ in range(2)] == [204, 204]
    assert issue(office.get(url)) == (410, "deleted")
    history = office.get(f"{url}/_history").json()
    assert [entry["request"]["method"] for entry in history["entry"]] == ["DELETE", "PUT", "POST"]
    assert office.get(f"{url}/_history/1").json()["title"] == "Visits"
    assert issue(office.get(f"{url}/_history/3")) == (410, "deleted")
    assert office.get("PlanDefinition", params={"identifier": f"urn:plans|{value}"}).json()["total"] == 0


def test_who_retries_creates_one(office):
    value = str(uuid4())

    def create(_):
        return office.post(
            "PlanDefinition", json=named(value), headers={"If-None-Exist": f"identifier=urn:plans|{value}"}
        )

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(create, range(8)))

    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_of_many_that_change_one_version_one_does(office, subject):
    url, etag = f"ResearchSubject/{subject['id']}", f'W/"{subject["meta"]["versionId"]}"'

    def change(number):
        period = {"start": subject["period"]["start"], "end": f"2031-01-{number + 1:02}"}
        return office.put(url, json=subject | {"period": period}, headers={"If-Match": etag})

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        codes = sorted(answer.status_code for answer in threads.map(change, range(6)))

    assert codes == [200] + [412] * 5


def test_a_transaction_is_whole_or_nothing(office, subject):
    before = office.get("PlanDefinition", params={"_count": 0}).json()["total"]
    good = {"request": {"method": "POST", "url": "PlanDefinition"}, "resource": NEW}
    bad = {"request": {"method": "POST", "url": "PlanDefinition"}, "resource": NEW | {"status": "bogus"}}

    def send(*entries):
        return office.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": list(entries)})

    assert issue(send(good, bad)) == (422, "invalid")
    assert office.get("PlanDefinition", params={"_count": 0}).json()["total"] == before
    answer = send(good, {"request": {"method": "GET", "url": f"ResearchSubject/{subject['id']}"}}).json()
    assert [entry["response"]["status"] for entry in answer["entry"]] == ["201 Created", "200 OK"]
    assert office.get("PlanDefinition", params={"_count": 0}).json()["total"] == before + 1


def test_a_batch_answers_operations_as_they_are_answered_alone(office, subject):
    patient = subject["individual"]["reference"]
    study = subject["study"]["reference"]
    bad = {"resourceType": "PlanDefinition", "status": "bogus"}
    gets = [f"{patient}/$everything", f"{study}/$enrollment-summary", f"{patient}/$everything?fish=1", "Patient/none"]
    entries = [{"request": {"method": "GET", "url": url}} for url in gets]
    entries.append({"request": {"method": "POST", "url": "PlanDefinition/$validate"}, "resource": bad})

    answer = office.post("", json={"resourceType": "Bundle", "type": "batch", "entry": entries}).json()

    alone = [office.get(url) for url in gets] + [office.post("PlanDefinition/$validate", json=bad)]
    for entry, single in zip(answer["entry"], alone, strict=True):
        assert entry["response"]["status"].startswith(str(single.status_code))
        told = entry.get("resource") or entry["response"]["outcome"]
        assert told["resourceType"] == single.json()["resourceType"]
        assert told.get("entry") == single.json().get("entry")
        assert told.get("issue") == single.json().get("issue")
    assert [one.status_code for one in alone] == [200, 200, 400, 404, 200]


@pytest.mark.parametrize("url", ["metadata", "$export", "Patient/$export", "_export/1", "_export/1/0"])
def test_what_is_not_done_in_a_bundle_says_so(office, url):
    entry = {"request": {"method": "GET", "url": url}}

    answer = office.post("", json={"resourceType": "Bundle", "type": "batch", "entry": [entry]}).json()

    assert answer["entry"][0]["response"]["outcome"]["issue"][0]["code"] == "not-supported"


def test_what_is_written_reaches_who_is_delivered_to(lived_unit, office, subject):
    """The change is planned for every view of the study, as a feed's is."""
    url = f"ResearchSubject/{subject['id']}"
    answer = office.patch(
        url,
        json=[{"op": "replace", "path": "/status", "value": "follow-up"}],
        headers={"Content-Type": "application/json-patch+json"},
    )
    assert answer.status_code == 200
    rights = lived_unit.policy.rights(
        next(v for v in lived_unit.policy.views if (v.recipient, v.study) == ("office", "mld"))
    )
    with lived_unit.store.begin(write=False) as tx:
        head = tx.resources.heads([rights.internal_id(subject["id"])]).popitem()[1]
        planned = {
            view.recipient: cursor.planned
            for view in lived_unit.policy.delivered
            if view.study == "mld" and (cursor := tx.deliveries.of_view(view, head.patient)) is not None
        }
        (message,) = [one for one in tx.messages.find(MessageFilter(limit=5)) if one.id == head.message]
    assert planned
    assert min(planned.values()) >= head.change
    assert (message.state, message.feed[:5]) == (MessageState.TRANSLATED, "fhir:")


def test_prefer_says_what_is_answered(office):
    nothing = office.post("PlanDefinition", json=NEW, headers={"Prefer": "return=minimal"})
    outcome = office.post("PlanDefinition", json=NEW, headers={"Prefer": "return=OperationOutcome"})

    assert (nothing.status_code, nothing.content) == (201, b"")
    assert (outcome.status_code, outcome.json()["resourceType"]) == (201, "OperationOutcome")


def test_a_sub_study_is_written_searched_exported_and_taken_back_and_has_no_subjects(lived_unit, office):
    (entry,) = office.get("ResearchStudy", params={"identifier": "NCT03392987"}).json()["entry"]
    study = entry["resource"]["id"]
    arm = {"resourceType": "ResearchStudy", "status": "active", "title": f"Registry arm {uuid4()}"}
    arm |= {"partOf": [{"reference": f"ResearchStudy/{study}"}]}
    created = office.post("ResearchStudy", json=arm, headers={"If-None-Exist": f"title={arm['title']}"})
    assert created.status_code == 201, created.text
    id = created.json()["id"]
    again = office.post("ResearchStudy", json=arm, headers={"If-None-Exist": f"title={arm['title']}"})
    assert (again.status_code, again.json()["id"]) == (200, id)

    found = office.get("ResearchStudy", params={"partof": study, "_id": id, "_include": "ResearchStudy:partof"}).json()
    assert [(one["resource"]["id"], one["search"]["mode"]) for one in found["entry"]] == [
        (id, "match"),
        (study, "include"),
    ]
    above = office.get("ResearchStudy", params={"_has:ResearchStudy:partof:_id": id}).json()["entry"]
    assert [one["resource"]["id"] for one in above] == [study]
    with lived_unit.client("office", studies=["mld"], release="r5") as r5:
        assert r5.get(f"ResearchStudy/{id}").json()["partOf"] == arm["partOf"]
        assert r5.get("ResearchStudy", params={"part-of": study, "_id": id, "_total": "accurate"}).json()["total"] == 1
    with lived_unit.client("office", studies=["was"]) as elsewhere:
        assert elsewhere.get(f"ResearchStudy/{id}").status_code == 404

    assert issue(office.get(f"ResearchStudy/{id}/$enrollment-summary")) == (422, "business-rule")
    order = {"Prefer": "respond-async"}
    assert office.get(f"Group/{id}/$export", headers=order).status_code == 404
    assert office.get(f"Group/{study}/$export", headers=order).status_code == 202
    assert issue(office.delete(f"ResearchStudy/{study}")) == (405, "not-supported")
    assert office.delete(f"ResearchStudy/{id}").status_code == 204
    assert issue(office.get(f"ResearchStudy/{id}")) == (410, "deleted")


@pytest.mark.parametrize(
    ("method", "url", "body", "status"),
    [
        ("POST", "Observation", {"resourceType": "Observation"}, 405),
        ("POST", "ResearchStudy", {"resourceType": "ResearchStudy", "status": "active"}, 422),
        ("POST", "Nothing", {"resourceType": "Nothing"}, 404),
        ("POST", "PlanDefinition", b"{", 400),
        ("POST", "PlanDefinition", b"[" * 100_000, 400),
        ("PUT", "PlanDefinition/none", NEW | {"id": "none"}, 405),
        ("PUT", "PlanDefinition", NEW, 400),
        ("DELETE", "PlanDefinition/none", None, 404),
    ],
)
def test_what_is_not_done_is_refused_in_words_of_fhir(office, method, url, body, status):
    content = {"content": body} if isinstance(body, bytes) else {"json": body}

    response = office.request(method, url, headers={"Content-Type": "application/fhir+json"}, **content)

    assert response.status_code == status
    assert response.json()["resourceType"] == "OperationOutcome"


def test_a_body_above_the_limit_is_refused_in_words_of_fhir(office):
    plan = json.dumps(NEW).encode()

    within = office.post("PlanDefinition/$validate", content=plan.ljust(LIMIT))
    above = office.post("PlanDefinition", content=plan.ljust(LIMIT + 1))

    assert within.status_code == 200
    assert issue(above) == (413, "too-long")


def test_a_client_that_only_reads_writes_nothing(lived_unit):
    with lived_unit.client("office", studies=["mld"]) as reader:
        assert issue(reader.post("PlanDefinition", json=NEW)) == (403, "forbidden")
    scopes = (Scope("*", "rs"),)
    with lived_unit.client("office", studies=["mld"], writes=True, scopes=scopes) as reader:
        assert issue(reader.post("PlanDefinition", json=NEW)) == (403, "forbidden")


def test_r5_is_written_where_nothing_is_lost(lived_unit, office, subject):
    with lived_unit.client("office", studies=["mld"], writes=True, release="r5") as r5:
        seen = r5.get(f"ResearchSubject/{subject['id']}")
        body = seen.json()
        body["period"] = {"start": "2026-01-01"}
        body["progress"][-1]["startDate"] = "2026-01-01"
        written = r5.put(f"ResearchSubject/{subject['id']}", json=body, headers={"If-Match": seen.headers["ETag"]})
        assert written.status_code == 200, written.text
        patch = [
            {"op": "replace", "path": "/progress/0/subjectState/coding/0/code", "value": "off-study"},
            {"op": "replace", "path": "/status", "value": "retired"},
        ]
        headers = {"Content-Type": "application/json-patch+json"}
        left = r5.patch(f"ResearchSubject/{subject['id']}", json=patch, headers=headers).json()
        assert [one["subjectState"]["coding"][0]["code"] for one in left["progress"]] == ["on-study", "off-study"]
        assert (
            r5.put(f"ResearchSubject/{subject['id']}", json=left).headers["ETag"] == f'W/"{left["meta"]["versionId"]}"'
        )
        richer = left
        richer["progress"][-1]["milestone"] = [{"text": "first dose"}]
        lost = r5.put(f"ResearchSubject/{subject['id']}", json=richer)
        assert lost.status_code in (403, 422), "R4 has no place for it, or none that the view holds"
    assert office.get(f"ResearchSubject/{subject['id']}").json()["period"] == {"start": "2026-01-01"}


def test_fhirpy_creates_updates_and_deletes(office):
    token = office.headers["Authorization"]
    client = SyncFHIRClient(str(office.base_url).rstrip("/"), authorization=token)
    value = str(uuid4())

    plan = client.resource("PlanDefinition", **named(value))
    plan.save()
    plan["title"] = "Other"
    plan.save()
    again, created = (
        client.resources("PlanDefinition")
        .search(identifier=f"urn:plans|{value}")
        .get_or_create(client.resource("PlanDefinition", **named(value)))
    )
    assert (again["id"], again["title"], created) == (plan["id"], "Other", False)
    plan.delete()
    assert client.resources("PlanDefinition").search(identifier=f"urn:plans|{value}").count() == 0


def test_validating_says_what_is_wrong(office):
    subject = office.get("ResearchSubject", params={"_count": 1}).json()["entry"][0]["resource"]
    bad = {name: value for name, value in subject.items() if name != "meta"} | {"status": "enrolled"}
    answer = office.post("ResearchSubject/$validate", json=bad)
    assert answer.status_code == 200
    assert answer.json()["issue"][0]["expression"] == ["ResearchSubject.status"]


def test_the_statement_tells_of_writing(office):
    statement = httpx.get(f"{office.base_url}metadata").json()
    told = {one["type"]: {each["code"] for each in one["interaction"]} for one in statement["rest"][0]["resource"]}
    assert {"create", "update", "patch", "delete"} <= told["ResearchSubject"]
    assert {"create", "update", "patch", "delete"} <= told["ResearchStudy"]
    assert not told["Observation"] & {"create", "update", "patch", "delete"}
    assert {"transaction", "batch"} == {one["code"] for one in statement["rest"][0]["interaction"]}


def test_the_books_of_the_gateway_are_in_order_with_what_clients_wrote(lived_unit, office):
    office.post("PlanDefinition", json=NEW)

    wait_for(lambda: not reconcile(lived_unit.store, Unit({}, frozenset())).lost, what="every receipt")
    found = reconcile(lived_unit.store, Unit({}, frozenset()))
    lines = [line for line in found.feeds if line.feed.startswith("fhir:")]
    assert lines
    for line in lines:
        assert line.received == line.translated + line.refused
        assert line.versions
    assert (found.lost, found.doubled) == ([], [])
