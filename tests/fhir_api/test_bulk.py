"""Bulk Data over a real socket, in the sequence of its specification."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest

from gateway.model.access import Scope
from gateway.services.study_groups import group_id
from tests.contracts.waiting import wait_for

ASYNC = {"Prefer": "respond-async", "Accept": "application/fhir+json"}


@pytest.fixture(scope="module", params=["unit", "server_unit"])
def lived(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def edc(lived):
    with lived.client("edc") as client:
        yield client


def begun(client, path="$export", method="GET", **asked):
    response = client.request(method, path, headers=ASYNC | asked.pop("headers", {}), **asked)
    assert (response.status_code, response.json()["resourceType"]) == (202, "OperationOutcome"), response.text
    return response.headers["Content-Location"]


def finished(client, status):
    answers = []

    def ended():
        answers.append(client.get(status))
        if answers[-1].status_code != 202:
            return True
        assert answers[-1].headers["X-Progress"]
        assert int(answers[-1].headers["Retry-After"]) > 0
        return False

    wait_for(ended, what="the end of the export")
    return answers[-1]


def manifest(client, path="$export", **asked):
    return finished(client, begun(client, path, **asked)).json()


def lines(client, file):
    response = client.get(file["url"])
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/fhir+ndjson"
    found = [json.loads(line) for line in response.content.splitlines()]
    assert len(found) == file["count"]
    return found


def exported(client, path="$export", **asked):
    found = {}
    for file in manifest(client, path, **asked)["output"]:
        found.setdefault(file["type"], []).extend(lines(client, file))
    return found


def issue(response):
    outcome = response.json()
    assert outcome["resourceType"] == "OperationOutcome"
    return response.status_code, outcome["issue"][0]["code"]


def searched(client, type):
    page, found = client.get(type, params={"_count": 500}).json(), []
    while True:
        found += [entry["resource"] for entry in page.get("entry", ())]
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not following:
            return found
        page = client.get(following[0]).json()


def test_an_export_is_ordered_watched_fetched_and_deleted(edc):
    status = begun(edc)
    done = finished(edc, status)

    body = done.json()
    assert done.status_code == 200
    assert done.headers["Content-Type"] == "application/json"
    assert done.headers["Expires"].endswith("GMT")
    assert body.keys() == {"transactionTime", "request", "requiresAccessToken", "output", "deleted", "error"}
    assert (body["requiresAccessToken"], body["deleted"], body["error"]) == (True, [], [])
    assert urlsplit(body["request"]).path == "/fhir/r4/$export"

    assert edc.delete(status).status_code == 202
    assert issue(edc.get(status)) == (404, "not-found")
    assert issue(edc.get(body["output"][0]["url"])) == (404, "not-found")
    assert issue(edc.delete(status)) == (404, "not-found")


def test_an_export_holds_what_searches_find(edc):
    found = exported(edc)

    assert {"Patient", "ResearchSubject", "Observation", "ResearchStudy"} <= found.keys()
    for type, resources in found.items():
        expected = searched(edc, type)
        assert sorted(one["id"] for one in resources) == sorted(one["id"] for one in expected)
        assert {json.dumps(one) for one in resources} == {json.dumps(one) for one in expected}


def test_a_group_is_a_study(lived):
    with lived.client("edc") as client:
        study = searched(client, "ResearchSubject")[0]["study"]["reference"]
        views = [lived.policy.rights(view) for view in lived.policy.views if view.recipient == "edc"]
        rights = next(one for one in views if f"ResearchStudy/{one.public_id(one.study.resource)}" == study)
        found = exported(client, f"Group/{group_id(rights, lived.keys.identity)}/$export")
        assert {one["study"]["reference"] for one in found["ResearchSubject"]} == {study}
        again = exported(client, f"Group/{study.split('/')[1]}/$export", params={"_type": "ResearchSubject"})
        assert again == {"ResearchSubject": found["ResearchSubject"]}
        unknown = client.get("Group/00000000-0000-4000-8000-000000000000/$export", headers=ASYNC)
        assert issue(unknown) == (404, "not-found")


def test_a_group_that_a_client_wrote_is_not_exported_and_says_so_to_who_sees_it(lived):
    group = {"resourceType": "Group", "type": "person", "actual": True, "name": "Day clinic"}
    with lived.client("office", studies=["mld"], writes=True) as office:
        path = f"Group/{office.post('Group', json=group).json()['id']}"
        assert office.get(path).status_code == 200
        assert issue(office.get(f"{path}/$export", headers=ASYNC)) == (400, "not-supported")
    with lived.client("office", studies=["mld"], scopes=(Scope("Patient", "rs"),)) as blind:
        assert issue(blind.get(f"{path}/$export", headers=ASYNC)) == (404, "not-found")
    with lived.client("office", studies=["was"]) as elsewhere:
        assert issue(elsewhere.get(f"{path}/$export", headers=ASYNC)) == (404, "not-found")


def test_an_export_of_patients_holds_no_studies(edc):
    found = exported(edc, "Patient/$export")

    assert "Patient" in found
    assert "ResearchStudy" not in found


def test_an_order_can_be_a_parameters_resource(edc):
    parameter = [
        {"name": "_type", "valueString": "Observation,Patient"},
        {"name": "_typeFilter", "valueString": "Observation?code=http://loinc.org|777-3"},
        {"name": "_outputFormat", "valueString": "application/fhir+ndjson"},
    ]
    found = exported(edc, method="POST", json={"resourceType": "Parameters", "parameter": parameter})

    expected = edc.get("Observation", params={"code": "http://loinc.org|777-3", "_count": 0}).json()["total"]
    assert found.keys() == {"Observation", "Patient"}
    assert len(found["Observation"]) == expected > 0


def test_elements_leave_partial_resources(edc):
    found = exported(edc, params={"_type": "Observation", "_elements": "Observation.status"})

    assert all("valueQuantity" not in one and "code" in one for one in found["Observation"])
    assert "SUBSETTED" in {tag["code"] for tag in found["Observation"][0]["meta"]["tag"]}


def test_since_now_nothing_has_changed(edc):
    first = manifest(edc)
    again = manifest(edc, params={"_since": "2999-01-01T00:00:00Z"})

    assert first["output"]
    assert (again["output"], again["deleted"]) == ([], [])


def test_r5_is_exported_as_r5(lived):
    with lived.client("edc", release="r5") as client:
        found = exported(client, params={"_type": "ResearchSubject"})
    assert all("progress" in one for one in found["ResearchSubject"])


def test_a_file_is_sent_packed_only_to_who_takes_it(edc):
    file = next(one for one in manifest(edc)["output"] if one["type"] == "Observation")

    packed = edc.get(file["url"], headers={"Accept-Encoding": "gzip"})
    plain = edc.get(file["url"], headers={"Accept-Encoding": "identity"})

    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.content == plain.content


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("$export", {"Prefer": "handling=lenient"}, (400, "invalid")),
        ("$export?_type=Fish", {}, (400, "not-supported")),
        ("$export?fish=1", {}, (400, "not-supported")),
        ("$export?_outputFormat=text/csv", {}, (400, "not-supported")),
        ("$export?_since=yesterday", {}, (400, "value")),
        ("$export?_since=2026-01-01", {}, (400, "value")),
        ("$export?_typeFilter=Observation?fish=1", {}, (400, "not-supported")),
        ("$export?_typeFilter=code=1", {}, (400, "value")),
        ("$export?_elements=a b", {}, (400, "value")),
        ("_export/none", {}, (404, "not-found")),
        ("_export/00000000-0000-4000-8000-000000000000", {}, (404, "not-found")),
        ("_export/00000000-0000-4000-8000-000000000000/0", {}, (404, "not-found")),
    ],
)
def test_what_cannot_be_ordered_is_refused_in_words(edc, path, headers, expected):
    assert issue(edc.get(path, headers=ASYNC | headers)) == expected


def test_what_is_not_understood_is_left_out_where_that_was_asked_for(edc):
    found = manifest(edc, params={"fish": "1"}, headers={"Prefer": "respond-async, handling=lenient"})

    outcomes = lines(edc, found["error"][0])
    assert outcomes[0]["issue"][0]["expression"] == ["fish"]


def test_an_export_is_for_the_client_that_ordered_it(lived, edc):
    status = begun(edc)
    body = finished(edc, status).json()
    with lived.client("edc") as other:
        assert issue(other.get(status)) == (404, "not-found")
        assert issue(other.delete(status)) == (404, "not-found")
        assert issue(other.get(body["output"][0]["url"])) == (404, "not-found")


def test_a_token_exports_what_its_scopes_name_alone(lived):
    with lived.client("edc", scopes=(Scope("Observation", "rs", "code=http://loinc.org|777-3"),)) as narrow:
        found = exported(narrow)
        assert found.keys() == {"Observation"}
        assert issue(narrow.get("$export?_type=Patient", headers=ASYNC)) == (403, "forbidden")
    with lived.client("edc", scopes=(Scope("Patient", "r"),)) as none:
        assert issue(none.get("$export", headers=ASYNC)) == (403, "forbidden")


def test_what_is_fetched_is_noted_before_it_leaves(lived):
    with lived.client("edc") as client:
        file = next(one for one in manifest(client)["output"] if one["type"] == "Observation")
        name = urlsplit(file["url"]).path
        count = len(lines(client, file))
        with lived.store.begin(write=False) as tx:
            answers = [one for one in tx.answers.find(limit=50) if one.request.endswith(name.removeprefix("/fhir/r4/"))]
    assert sum(len(answer.shown) for answer in answers) == count
    assert {answer.interaction for answer in answers} == {"$export-file"}
