"""Transactions are done whole or not at all, batches entry by entry; answers stand in the order asked."""

import base64

import pytest

from gateway.fhir import codec
from tests.releasing import MLD, WAS, recipient, uid, world
from tests.writing import BASE, Desk, a_new_consent, a_new_subject, body_of, enrolled, office_file

PLAN = {"resourceType": "PlanDefinition", "status": "draft", "title": "Visits"}
URN = "urn:uuid:9b1d6f3c-0000-4000-8000-00000000000a"


@pytest.fixture
def here(tmp_path):
    with world(tmp_path, office_file(), recipient("edc")) as made:
        enrolled(made)
        yield made


@pytest.fixture
def desk(here):
    return Desk(here)


def entry(method, url, resource=None, full_url="", **request):
    made = {"request": {"method": method, "url": url, **request}}
    return made | ({"resource": resource} if resource else {}) | ({"fullUrl": full_url} if full_url else {})


def send(desk, *entries, kind="transaction", **headers):
    bundle = {"resourceType": "Bundle", "type": kind, "entry": list(entries)}
    return body_of(desk.send("POST", "", bundle, **headers))


def refused(desk, *entries):
    return desk.refused("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)})


def statuses(answer):
    return [one["response"]["status"] for one in answer["entry"]]


def everything(here):
    with here.store.begin(write=False) as tx:
        return {version.id: version.version for patient in ("", uid("patient"))
                for version in tx.resources.of_patient(patient)}  # fmt: skip


def test_entries_refer_to_each_other_and_are_answered_in_their_order(desk):
    study = desk.seen("ResearchStudy", MLD.resource) | {"protocol": [{"reference": URN}]}
    patient = desk.seen("ResearchSubject", uid(f"subject mld {uid('patient')}"))["id"]

    answer = send(
        desk,
        entry("GET", f"ResearchStudy/{MLD.resource}"),
        entry("PUT", f"ResearchStudy/{MLD.resource}", study),
        entry("PATCH", f"ResearchSubject/{patient}", {"resourceType": "Parameters", "parameter": [{
            "name": "operation", "part": [{"name": "type", "valueCode": "replace"},
                                          {"name": "path", "valueString": "ResearchSubject.status"},
                                          {"name": "value", "valueCode": "off-study"}]}]}),
        entry("POST", "PlanDefinition", PLAN, URN),
    )  # fmt: skip

    assert answer["type"] == "transaction-response"
    assert statuses(answer) == ["200 OK", "200 OK", "200 OK", "201 Created"]
    plan = answer["entry"][3]["resource"]["id"]
    assert answer["entry"][3]["response"]["location"] == f"{BASE}/PlanDefinition/{plan}/_history/1"
    assert answer["entry"][1]["resource"]["protocol"] == [{"reference": f"PlanDefinition/{plan}"}]
    assert answer["entry"][0]["resource"]["protocol"] == [{"reference": f"PlanDefinition/{plan}"}]
    assert answer["entry"][2]["resource"]["status"] == "off-study"


def a_binary(content, content_type="application/json-patch+json"):
    data = base64.b64encode(content.encode()).decode()
    return {"resourceType": "Binary", "contentType": content_type, "data": data}


@pytest.mark.parametrize("kind", ["transaction", "batch"])
def test_a_json_patch_travels_as_a_binary(desk, kind):
    subject = uid(f"subject mld {uid('patient')}")
    url = f"ResearchSubject/{subject}"
    patch = a_binary('[{"op": "replace", "path": "/status", "value": "off-study"}]')

    answer = send(desk, entry("PATCH", url, patch), kind=kind)

    assert statuses(answer) == ["200 OK"]
    assert desk.seen(*url.split("/"))["status"] == "off-study"


@pytest.mark.parametrize(
    "patch",
    [
        a_binary("[]", "application/xml-patch+xml"),
        a_binary("[{"),
        a_binary("{}"),
        a_binary("") | {"data": "%"},
        a_binary("") | {"data": None, "contentType": 1},
    ],
)
def test_a_binary_that_is_no_patch_is_refused(here, desk, patch):
    before = everything(here)

    assert refused(desk, entry("PATCH", f"ResearchStudy/{MLD.resource}", patch)).status == 400
    assert everything(here) == before


def test_a_place_is_given_up_and_another_given_at_once(desk):
    subject = uid(f"subject mld {uid('patient')}")
    consent = "urn:uuid:9b1d6f3c-0000-4000-8000-00000000000b"

    answer = send(
        desk,
        entry("POST", "ResearchSubject", a_new_subject(uid("patient"), consent={"reference": consent})),
        entry("POST", "Consent", a_new_consent(uid("patient")), consent),
        entry("DELETE", f"ResearchSubject/{subject}"),
    )

    assert statuses(answer) == ["201 Created", "201 Created", "204 No Content"]
    assert answer["entry"][0]["resource"]["consent"] == {"reference": f"Consent/{answer['entry'][1]['resource']['id']}"}
    assert desk.seen("ResearchSubject", subject) is None


@pytest.mark.parametrize(
    ("wrong", "status", "place"),
    [
        (entry("POST", "PlanDefinition", PLAN | {"status": "bogus"}), 422, "Bundle.entry[1].resource.status"),
        (entry("PUT", f"ResearchStudy/{WAS.resource}", PLAN), 405, "Bundle.entry[1]"),
        (entry("POST", "Consent", a_new_consent(uid("other"))), 422, "Bundle.entry[1].resource.patient"),
        (entry("POST", "Group", {"resourceType": "Group", "type": "person", "actual": True,
                                 "managingEntity": {"reference": URN}}), 403, None),
        (entry("DELETE", f"ResearchStudy/{MLD.resource}"), 405, None),
        (entry("POST", "Observation", {"resourceType": "Observation"}), 405, None),
        (entry("POST", "PlanDefinition"), 400, "Bundle.entry[1].resource"),
        (entry("PUT", "PlanDefinition", PLAN), 400, "Bundle.entry[1].request.url"),
        (entry("PUT", "http://elsewhere/fhir/PlanDefinition/1", PLAN), 400, "Bundle.entry[1].request.url"),
        (entry("HEAL", "PlanDefinition/1"), 400, "Bundle.entry[1].request.method"),
        ({"resource": PLAN}, 400, "Bundle.entry[1].request"),
        (entry("POST", "PlanDefinition", PLAN, URN), 400, None),
    ],
)  # fmt: skip
def test_a_transaction_with_one_bad_entry_writes_nothing(here, desk, wrong, status, place):
    before = everything(here)

    error = refused(desk, entry("POST", "PlanDefinition", PLAN, URN), wrong)

    assert error.status == status
    assert place is None or error.expression == (place,)
    assert everything(here) == before


def test_a_resource_is_written_once_in_a_transaction(here, desk):
    study = desk.seen("ResearchStudy", MLD.resource)
    twice = [entry("PUT", f"ResearchStudy/{MLD.resource}", study | {"title": title}) for title in ("a", "b")]

    assert refused(desk, *twice).code == "duplicate"


def test_a_transaction_can_be_sent_again(here, desk):
    plan = PLAN | {"identifier": [{"system": "urn:x", "value": "1"}]}
    entries = [entry("POST", "PlanDefinition", plan, ifNoneExist="identifier=urn:x|1")]

    first, second = (send(desk, *entries) for _ in range(2))

    assert (statuses(first), statuses(second)) == (["201 Created"], ["200 OK"])
    assert first["entry"][0]["resource"]["id"] == second["entry"][0]["resource"]["id"]


def test_a_reference_may_be_a_search(here, desk):
    consent = a_new_consent("") | {"patient": {"reference": "Patient?identifier=urn:oid:1.2.3|MRN-4711"}}

    answer = send(desk, entry("POST", "Consent", consent))

    assert answer["entry"][0]["resource"]["patient"] == {"reference": f"Patient/{uid('patient')}"}


def test_the_entries_of_a_batch_are_independent(here, desk):
    answer = send(
        desk,
        entry("POST", "PlanDefinition", PLAN | {"status": "bogus"}),
        entry("GET", f"Patient/{uid('nobody')}"),
        entry("POST", "PlanDefinition", PLAN),
        {"resource": PLAN},
        kind="batch",
    )

    assert answer["type"] == "batch-response"
    assert [status[:3] for status in statuses(answer)] == ["422", "404", "201", "400"]
    outcome = answer["entry"][0]["response"]["outcome"]["issue"][0]
    assert outcome["expression"] == ["Bundle.entry[0].resource.status"]


def test_little_is_answered_where_that_is_preferred(desk):
    answer = send(desk, entry("POST", "PlanDefinition", PLAN), prefer="return=minimal")

    assert "resource" not in answer["entry"][0]


def test_what_one_transaction_wrote_stands_in_one_message(here, desk):
    send(desk, entry("POST", "PlanDefinition", PLAN), entry("POST", "Consent", a_new_consent(uid("patient"))))

    with here.store.begin(write=False) as tx:
        newest = tx.audit.find(action="fhir-create")[0].detail.rpartition(" ")[2]
        written = tx.resources.of_message(int(newest))
    assert sorted(version.type for version in written) == ["Consent", "PlanDefinition", "Provenance", "Provenance"]
    assert {codec.decode(one.body)["recorded"] for one in written if one.type == "Provenance"} == {
        "2026-03-20T12:00:00Z"
    }


@pytest.mark.parametrize("bundle", [{"resourceType": "Bundle", "type": "collection"}, {"resourceType": "Patient"}, []])
def test_another_bundle_is_not_taken(desk, bundle):
    assert desk.refused("POST", "", bundle).status == 400
