"""``$everything`` and ``$enrollment-summary`` over a real socket."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.model.access import Scope

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module", params=["unit", "server_unit"])
def lived(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def edc(lived):
    with lived.client("edc") as client:
        yield client


def pages(client, path, **parameters):
    page = client.get(path, params=parameters)
    while True:
        assert page.status_code == 200, page.text
        body = page.json()
        yield body
        following = [link["url"] for link in body["link"] if link["relation"] == "next"]
        if not following:
            return
        page = client.get(following[0])


def resources(client, path, **parameters):
    found = [one for page in pages(client, path, **parameters) for one in page.get("entry", ())]
    assert {one["search"]["mode"] for one in found} <= {"match"}
    return [one["resource"] for one in found]


def references(found):
    return [f"{one['resourceType']}/{one['id']}" for one in found]


def issue(response):
    return response.status_code, response.json()["issue"][0]["code"]


@pytest.fixture
def subject(edc):
    """The ResearchSubject with the most Observations."""
    subjects = [entry["resource"] for entry in edc.get("ResearchSubject").json()["entry"]]
    return max(subjects, key=lambda one: count(edc, one["individual"]["reference"]))


def count(client, patient):
    return client.get("Observation", params={"patient": patient, "_count": 0}).json()["total"]


def test_a_casebook_is_all_that_is_seen_of_a_subject(edc, subject):
    patient = subject["individual"]["reference"]

    found = resources(edc, f"{patient}/$everything")

    types = [one["resourceType"] for one in found]
    assert patient in references(found)
    assert f"ResearchSubject/{subject['id']}" in references(found)
    assert subject["study"]["reference"] in references(found)
    assert types.count("Observation") == count(edc, patient) > 3
    assert references(found) == references(resources(edc, f"ResearchSubject/{subject['id']}/$everything"))
    for one in found:
        assert edc.get(f"{one['resourceType']}/{one['id']}").json() == one


@pytest.mark.parametrize("size", [1, 2, 7])
def test_everything_is_on_one_page(edc, subject, size):
    path = f"ResearchSubject/{subject['id']}/$everything"

    found = references(resources(edc, path, _count=size))

    assert found == references(resources(edc, path))
    assert len(found) == len(set(found))
    first = next(pages(edc, path, _count=size))
    assert len(first["entry"]) == size
    following = next(link["url"] for link in first["link"] if link["relation"] == "next")
    assert parse_qs(urlsplit(following).query).keys() == {"_page"}


def test_types_and_times_are_those_asked_for(edc, subject):
    path = f"{subject['individual']['reference']}/$everything"
    every = resources(edc, path, _type="Observation")
    days = sorted(one["effectiveDateTime"][:10] for one in every)

    early = resources(edc, path, _type="Observation,Patient", end=days[0])
    late = resources(edc, path, _type="Observation", start=days[0], end="2999")

    assert {one["resourceType"] for one in early} == {"Observation", "Patient"}
    assert {one["effectiveDateTime"][:10] for one in early if "effectiveDateTime" in one} == {days[0]}
    assert references(late) == references(every)
    assert resources(edc, path, _since="2999-01-01T00:00:00Z") == []


def test_it_can_be_asked_for_with_a_parameters_resource(edc, subject):
    path = f"{subject['individual']['reference']}/$everything"
    parameter = [{"name": "_type", "valueCode": "Patient"}, {"name": "_count", "valueInteger": 5}]

    body = edc.post(path, json={"resourceType": "Parameters", "parameter": parameter}).json()

    assert (body["total"], body["entry"][0]["resource"]["resourceType"]) == (1, "Patient")


def test_a_token_gets_of_a_casebook_what_its_scopes_name(lived, subject):
    scopes = (Scope("Patient", "r"), Scope("Observation", "rs", "code=http://loinc.org|777-3"))
    with lived.client("edc", scopes=scopes) as narrow:
        found = resources(narrow, f"{subject['individual']['reference']}/$everything")
        assert {one["resourceType"] for one in found} <= {"Observation"}
        assert issue(narrow.get(f"ResearchSubject/{subject['id']}/$everything")) == (403, "forbidden")


def test_r5_has_the_same_casebook(lived, edc, subject):
    path = f"ResearchSubject/{subject['id']}/$everything"
    with lived.client("edc", release="r5") as r5:
        assert references(resources(r5, path)) == references(resources(edc, path))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"Patient/{NOBODY}/$everything", (404, "not-found")),
        (f"ResearchSubject/{NOBODY}/$everything", (404, "not-found")),
        ("{patient}/$everything?fish=1", (400, "not-supported")),
        ("{patient}/$everything?_type=Fish", (400, "not-supported")),
        ("{patient}/$everything?start=yesterday", (400, "invalid")),
        ("{patient}/$everything?_since=2026", (400, "value")),
        ("{patient}/$everything?_count=0", (400, "value")),
        ("{patient}/$everything?_count=many", (400, "value")),
        ("{patient}/$everything?_page=abc", (400, "value")),
        (f"ResearchStudy/{NOBODY}/$enrollment-summary", (404, "not-found")),
        ("{study}/$enrollment-summary?fish=1", (400, "not-supported")),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(edc, subject, path, expected):
    filled = path.format(patient=subject["individual"]["reference"], study=subject["study"]["reference"])
    assert issue(edc.get(filled)) == expected


@pytest.mark.parametrize("name", ["start", "end"])
def test_a_day_that_is_none_is_named(edc, subject, name):
    refused = edc.get(f"{subject['individual']['reference']}/$everything?{name}=garbage").json()["issue"][0]
    assert refused["expression"] == [name]
    assert refused["diagnostics"].startswith(name)


def test_faults_are_told_in_words_of_fhir(lived):
    with lived.client("edc", release="r5") as r5:
        wrong = {"resourceType": "ResearchSubject", "status": 5, "colour": "red"}
        issues = r5.post("ResearchSubject/$validate", json=wrong).json()["issue"]
    told = {one["expression"][0]: one["diagnostics"] for one in issues}
    assert told["ResearchSubject.study"] == "is required"
    assert told["ResearchSubject.colour"] == "is no element of its type"
    assert not any("fhir.resources" in one for one in told.values())


def test_a_page_is_of_the_casebook_it_was_made_for(edc, subject):
    first = next(pages(edc, f"ResearchSubject/{subject['id']}/$everything", _count=1))
    token = parse_qs(urlsplit(first["link"][1]["url"]).query)["_page"][0]
    assert issue(edc.get(f"{first['link'][1]['url']}&_type=Patient")) == (400, "invalid")
    assert issue(edc.get(f"{subject['individual']['reference']}/$everything", params={"_page": token})) == (
        400,
        "value",
    )


def test_a_study_of_few_tells_no_number(edc, subject):
    body = edc.get(f"{subject['study']['reference']}/$enrollment-summary").json()

    named = {one["name"]: one for one in body["parameter"]}
    assert body["resourceType"] == "Parameters"
    assert named["study"]["valueReference"] == subject["study"]
    assert named.keys() == {"study", "suppressed"}
