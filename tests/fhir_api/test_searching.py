"""Search over a real socket: pages, totals, what goes along, and that nothing outside the view is met."""

from __future__ import annotations

from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.model.access import Scope
from gateway.model.names import STUDY_ID


@pytest.fixture(scope="module", params=["unit", "server_unit"])
def edc(request):
    with request.getfixturevalue(request.param).client("edc") as client:
        yield client


def pages(client, path, **parameters):
    """Yield the pages of a search, to the end."""
    page = client.get(path, params=parameters).json()
    while True:
        yield page
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not following:
            return
        page = client.get(following[0]).json()


def ids(bundles):
    return [entry["resource"]["id"] for bundle in bundles for entry in bundle.get("entry", ())]


@pytest.mark.parametrize("sort", [None, "-date", "code,-date", "_lastUpdated"])
def test_every_match_is_on_one_page(edc, sort):
    asked = {"_count": 7} | ({"_sort": sort} if sort else {})
    found = ids(pages(edc, "Observation", **asked))
    assert len(found) == len(set(found)) == edc.get("Observation", params={"_count": 0}).json()["total"]


def test_the_link_to_the_next_page_names_nobody(edc):
    first = next(pages(edc, "Patient", gender="female,male,unknown", _count=1))
    following = next(link["url"] for link in first["link"] if link["relation"] == "next")
    assert parse_qs(urlsplit(following).query).keys() == {"_page"}


def test_a_page_is_for_the_client_it_was_made_for(unit):
    with unit.client("edc") as one, unit.client("edc") as other:
        first = one.get("Observation", params={"_count": 1}).json()
        following = next(link["url"] for link in first["link"] if link["relation"] == "next")
        assert other.get(following).status_code == 400


@pytest.mark.parametrize("more", ["code=777-3", "nope=7", "_count=3", "_page=again"])
def test_a_page_is_of_the_search_it_was_told_for_and_no_other(edc, more):
    first = edc.get("Observation", params={"_count": 1}).json()
    following = next(link["url"] for link in first["link"] if link["relation"] == "next")
    assert edc.get(f"{following}&_format=json").status_code == 200
    refused = edc.get(f"{following}&{more}")
    assert (refused.status_code, refused.json()["issue"][0]["expression"]) == (400, ["_page"])


def test_a_chain_needs_a_scope_for_what_it_leads_to(unit):
    asked = [
        ("Observation", "patient.gender", "female", "Patient"),
        ("Observation", "subject:Patient.identifier", "1", "Patient"),
        ("ResearchStudy", "_has:ResearchSubject:study:status", "on-study", "ResearchSubject"),
    ]
    for type, name, value, beyond in asked:
        with unit.client("edc", scopes=(Scope(type, "rs"),)) as narrow:
            refused = narrow.get(type, params={name: value})
            assert (refused.status_code, refused.json()["issue"][0]["code"]) == (403, "forbidden")
            assert beyond in refused.json()["issue"][0]["diagnostics"]
        with unit.client("edc", scopes=(Scope(type, "rs"), Scope(beyond, "rs"))) as wider:
            assert wider.get(type, params={name: value}).status_code == 200


def test_a_search_by_form_is_the_same_search(edc):
    by_url = edc.get("Observation", params={"code": "http://loinc.org|777-3"}).json()
    by_form = edc.post("Observation/_search", data={"code": "http://loinc.org|777-3"}).json()
    assert by_url == by_form
    assert by_url["total"] > 0


def test_nothing_found_is_an_empty_bundle(edc):
    body = edc.get("Observation", params={"code": "none"}).json()
    assert (body["type"], body["total"], "entry" in body) == ("searchset", 0, False)


def test_what_goes_with_the_matches_is_marked_and_not_counted(edc):
    asked = {
        "_include": ["ResearchSubject:study", "ResearchSubject:individual"],
        "_revinclude:iterate": "Observation:subject",
    }
    body = edc.get("ResearchSubject", params=asked).json()
    modes = [(entry["search"]["mode"], entry["resource"]["resourceType"]) for entry in body["entry"]]
    assert body["total"] == modes.count(("match", "ResearchSubject"))
    assert ("include", "ResearchStudy") in modes
    assert ("include", "Patient") in modes
    references = {f"{entry['resource']['resourceType']}/{entry['resource']['id']}" for entry in body["entry"]}
    assert len(references) == len(body["entry"])


def test_subjects_are_found_by_the_protocol_number(edc):
    subject = edc.get("ResearchSubject").json()["entry"][0]["resource"]
    study = edc.get(subject["study"]["reference"]).json()
    number = study["identifier"][0]["value"]
    found = edc.get("ResearchSubject", params={"study.identifier": number}).json()["entry"]
    assert {entry["resource"]["study"]["reference"] for entry in found} == {f"ResearchStudy/{study['id']}"}


def test_studies_are_found_by_their_subjects(edc):
    with_subjects = ids([edc.get("ResearchStudy", params={"_has:ResearchSubject:study:status": "on-study"}).json()])
    subjects = edc.get("ResearchSubject", params={"status": "on-study"}).json()["entry"]
    assert set(with_subjects) == {entry["resource"]["study"]["reference"].split("/")[1] for entry in subjects}


def test_the_data_of_one_subject_are_found_by_the_patient(edc):
    patients = ids([edc.get("Patient").json()])
    everything = edc.get("Observation", params={"_count": 500}).json()["entry"]
    for patient in patients:
        own = [one for one in everything if one["resource"]["subject"]["reference"] == f"Patient/{patient}"]
        assert edc.get("Observation", params={"patient": patient, "_count": 0}).json()["total"] == len(own)


def test_a_shorter_form_says_that_it_is_one(edc):
    body = edc.get("Observation", params={"_elements": "status", "_count": 1}).json()
    resource = body["entry"][0]["resource"]
    assert "SUBSETTED" in {tag["code"] for tag in resource["meta"]["tag"]}
    assert "valueQuantity" not in resource
    assert "code" in resource


def test_an_unknown_parameter_is_left_out_where_that_was_asked_for(edc):
    body = edc.get("Patient", params={"fish": "1"}, headers={"Prefer": "handling=lenient"}).json()
    outcomes = [entry["resource"] for entry in body["entry"] if entry["search"]["mode"] == "outcome"]
    assert outcomes[0]["issue"][0]["expression"] == ["fish"]
    assert all("fish" not in link["url"] for link in body["link"])


def test_a_pseudonymous_client_cannot_search_by_name(edc):
    found = edc.get("Patient", params={"name": "a"})
    assert found.json().get("total", 0) == 0 or found.status_code == 400


def test_r5_shows_the_same_subjects(unit):
    with unit.client("edc") as r4, unit.client("edc", release="r5") as r5:
        assert ids(pages(r4, "ResearchSubject")) == ids(pages(r5, "ResearchSubject"))
        first = r5.get("ResearchSubject", params={"_count": 1}).json()["entry"][0]["resource"]
    assert "progress" in first
    assert first["status"] == "active"


def test_r5_tells_the_states_a_subject_was_in(unit):
    with unit.client("edc") as r4, unit.client("edc", release="r5") as r5:
        for entry in r4.get("ResearchSubject").json()["entry"]:
            subject = entry["resource"]
            states = [
                one["subjectState"]["coding"][0]["code"]
                for one in r5.get(f"ResearchSubject/{subject['id']}").json()["progress"]
            ]
            assert states[-1] == subject["status"]
            assert all(one != other for one, other in pairwise(states))


def test_each_study_is_a_group_that_can_be_exported(unit):
    with unit.client("monitor") as monitor:
        found = monitor.get("Group").json()
        assert found["total"] == len(found["entry"])
        groups = [entry["resource"] for entry in found["entry"]]  # clients of other tests may have written some
        groups = [one for one in groups if one.get("identifier", [{}])[0].get("system") == STUDY_ID]
        assert len(groups) == 3
        group = groups[0]
        assert monitor.get(f"Group/{group['id']}").json() == group
        begun = monitor.get(f"Group/{group['id']}/$export", headers={"Prefer": "respond-async"})
        assert begun.status_code == 202
        monitor.delete(begun.headers["Content-Location"])


# --- what is made instead of stored -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["r4", "r5"])
def monitor(request, unit):
    with unit.client("monitor", release=request.param) as client:
        yield client


@pytest.mark.parametrize(("type", "size"), [("ConceptMap", 5), ("ValueSet", 1), ("Group", 1)])
@pytest.mark.parametrize("sort", [None, "-_id", "_lastUpdated"])
def test_what_is_made_is_on_pages_as_what_is_stored(monitor, type, size, sort):
    asked = {"_sort": sort} if sort else {}
    everything = ids([monitor.get(type, params=asked | {"_count": 1000}).json()])
    found = list(pages(monitor, type, **asked, _count=size))
    assert ids(found) == everything
    assert all(len(page["entry"]) <= size for page in found)
    assert len(everything) == monitor.get(type, params={"_summary": "count"}).json()["total"] > size
    if sort == "-_id":
        assert everything == sorted(everything, reverse=True)


def test_what_is_made_is_sorted_and_cut_down_as_what_is_stored(monitor):
    found = monitor.get("ConceptMap", params={"_sort": "-name", "_elements": "name"}).json()["entry"]
    names = [entry["resource"]["name"].casefold() for entry in found]
    assert names == sorted(names, reverse=True)
    assert not any("group" in entry["resource"] for entry in found)
    for type, element in (("ConceptMap", "name"), ("Group", "type")):
        for one in (monitor.get(type, params={"_elements": element}).json()["entry"][0]["resource"],):
            assert "SUBSETTED" in {tag["code"] for tag in one["meta"]["tag"]}
            assert monitor.get(f"{type}/{one['id']}", params={"_elements": element}).json() == one
    summary = monitor.get("ConceptMap", params={"_summary": "true", "_count": 1}).json()["entry"][0]["resource"]
    assert "SUBSETTED" in {tag["code"] for tag in summary["meta"]["tag"]}


@pytest.mark.parametrize("type", ["ConceptMap", "CodeSystem", "ValueSet", "Group", "ResearchStudy"])
def test_who_has_a_resource_is_not_sent_it_again(monitor, type):
    (id, *_) = ids([monitor.get(type).json()])
    path = f"{type}/{id}"
    heard = monitor.get(path)
    etag = heard.headers["ETag"]
    assert etag == f'W/"{heard.json()["meta"]["versionId"]}"'
    assert "Last-Modified" in heard.headers
    for held in (etag, etag.removeprefix("W/"), f'"none", {etag}', "*"):
        again = monitor.get(path, headers={"If-None-Match": held})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag), held
    assert monitor.get(path, headers={"If-None-Match": 'W/"none"'}).status_code == 200


def test_the_group_of_a_study_has_one_version(monitor):
    group = monitor.get("Group").json()["entry"][0]["resource"]
    path = f"Group/{group['id']}"
    assert monitor.get(f"{path}/_history/1").json() == group
    assert monitor.get(f"{path}/_history/2").status_code == 404
    (entry,) = monitor.get(f"{path}/_history").json()["entry"]
    assert (entry["resource"], entry["request"]["method"]) == (group, "POST")
    assert group in [entry["resource"] for entry in monitor.get("Group/_history").json()["entry"]]
