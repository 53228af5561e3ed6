"""What a trial office writes: bounded, versioned, traced, planned and released."""

import json

import pytest

from gateway.errors import RequestRefused
from gateway.fhir import codec
from gateway.fhir.r5 import to_r5
from gateway.model.access import Scope
from gateway.model.delivery import View
from gateway.model.message import MessageState
from gateway.model.names import CLIENT_ID, CONSENT_STUDY, STUDY_ID, SUBJECT_NUMBER
from gateway.model.recipient import ReleaseRule
from gateway.model.translation import PatientKey
from gateway.ports import MessageFilter
from tests.configuration import ROOT
from tests.releasing import MLD, WAS, a_consent, a_patient, a_study, a_subject, kinds, recipient, uid, world
from tests.writing import (
    BASE,
    FILE,
    Desk,
    a_new_consent,
    a_new_subject,
    body_of,
    enrolled,
    office_file,
    pseudonymous,
)

OTHER = uid("other patient")
NEW = {"resourceType": "PlanDefinition", "status": "draft", "title": "Visits"}


@pytest.fixture
def here(tmp_path):
    with world(tmp_path, office_file(), recipient("edc")) as made:
        yield made


@pytest.fixture
def subject(here):
    return enrolled(here)


@pytest.fixture
def desk(here, subject):
    return Desk(here)


def put(desk, type, id, changes, **headers):
    body = desk.seen(type, id) | changes
    return desk.send("PUT", f"{type}/{id}", {name: value for name, value in body.items() if value}, **headers)


# --- create -----------------------------------------------------------------------------------------------------------


def test_what_is_created_gets_an_id_of_ours_a_location_and_a_version(desk):
    told = desk.send("POST", "PlanDefinition", NEW | {"id": "mine"})

    body = body_of(told)
    assert told.status == 201
    assert body["id"] != "mine"
    assert told.headers["Location"] == f"{BASE}/PlanDefinition/{body['id']}/_history/1"
    assert told.headers["ETag"] == 'W/"1"'
    assert desk.seen("PlanDefinition", body["id"])["title"] == "Visits"


def test_the_request_is_kept_as_a_message_and_what_it_wrote_names_it(here, desk):
    told = desk.send("POST", "PlanDefinition", NEW)

    with here.store.begin(write=False) as tx:
        (listed,) = tx.messages.find(MessageFilter(feed="fhir:ctms"))
        message = tx.messages.get(listed.id)
        written = {version.type: codec.decode(version.body) for version in tx.resources.of_message(message.id)}
        (line,) = tx.audit.find(action="fhir-create")
    assert (message.state, codec.decode(message.raw)) == (MessageState.TRANSLATED, NEW)
    assert written["PlanDefinition"]["title"] == "Visits"
    assert written["Provenance"]["target"] == [{"reference": f"PlanDefinition/{body_of(told)['id']}"}]
    assert written["Provenance"]["agent"][0]["who"] == {"identifier": {"system": CLIENT_ID, "value": "ctms"}}
    assert written["Provenance"]["activity"]["coding"][0]["code"] == "CREATE"
    assert line.actor == "client/ctms"


def test_what_is_refused_is_kept_nowhere(here, desk):
    desk.refused("POST", "PlanDefinition", NEW | {"status": "bogus"})

    with here.store.begin(write=False) as tx:
        assert tx.messages.find(MessageFilter(feed="fhir:ctms")) == []


@pytest.mark.parametrize(
    ("type", "body", "said"),
    [
        ("PlanDefinition", NEW | {"status": "bogus"}, (422, "invalid", "PlanDefinition.status")),
        ("PlanDefinition", {"resourceType": "PlanDefinition"}, (422, "invalid", "PlanDefinition.status")),
        ("PlanDefinition", NEW | {"resourceType": "Group"}, (400, "invalid", "PlanDefinition.resourceType")),
        ("PlanDefinition", NEW | {"publisher": "x"}, (403, "forbidden", "PlanDefinition.publisher")),
        ("PlanDefinition", NEW | {"zzz": 1}, (422, "invalid", "PlanDefinition.zzz")),
        ("PlanDefinition", NEW | {"publisher": ""}, (422, "invalid", "PlanDefinition.publisher")),
        ("PlanDefinition", {"publisher": "x"} | NEW | {"status": "bogus"}, (422, "invalid", "PlanDefinition.status")),
        ("PlanDefinition", NEW | {"publisher": "x", "topic": []}, (422, "invalid", "PlanDefinition.topic")),
        ("Organization", {"resourceType": "Organization", "name": ""}, (422, "invalid", "Organization.name")),
        ("Group", {"resourceType": "Group", "type": "person", "actual": True,
                   "member": [{"entity": {"reference": f"Patient/{OTHER}"}}]},
         (422, "not-found", "Group.member[0].entity")),
        ("ResearchSubject", a_new_subject(uid("patient")), (409, "duplicate", None)),
        ("ResearchSubject", a_new_subject(OTHER), (422, "not-found", "ResearchSubject.individual")),
        ("ResearchSubject", a_new_subject(uid("nobody")), (422, "not-found", "ResearchSubject.individual")),
        ("ResearchSubject", a_new_subject(uid("patient"), WAS.resource), (422, "not-found", "ResearchSubject.study")),
        ("ResearchStudy", a_study(), (422, "business-rule", "ResearchStudy.partOf")),
        ("Consent", {name: value for name, value in a_new_consent("x").items() if name != "patient"},
         (422, "required", "Consent.patient")),
        ("Observation", {}, (405, "not-supported", None)),
    ],
)  # fmt: skip
def test_what_cannot_be_created_says_why_and_where(here, desk, type, body, said):
    here.write(a_patient(OTHER), patient=OTHER, clocks={"": (2, "2026", 1)})

    error = desk.refused("POST", type, body)

    assert (error.status, error.code, next(iter(error.expression), None)) == said


def test_a_patient_is_enrolled_by_a_hospital_number_and_seen_once_there_is_consent(here, desk):
    other = a_patient(OTHER, identifier=[{"system": "urn:oid:1.2.3", "value": "MRN-1"}])
    here.write(other, patient=OTHER, clocks={"": (2, "2026", 1)})
    with here.store.begin() as tx:
        tx.resources.register_keys([PatientKey(OTHER, "urn:oid:1.2.3", "MRN-1")])
    by_number = {"identifier": {"system": "urn:oid:1.2.3", "value": "MRN-1"}}

    first = desk.send("POST", "ResearchSubject", a_new_subject("") | {"individual": by_number})
    second = desk.send("POST", "Consent", a_new_consent("") | {"patient": by_number})

    assert (first.status, body_of(first)["resourceType"]) == (201, "OperationOutcome")
    assert body_of(second)["patient"] == {"reference": f"Patient/{OTHER}"}
    id = first.headers["Location"].split("/")[-3]
    assert desk.seen("ResearchSubject", id)["individual"] == {"reference": f"Patient/{OTHER}"}
    stored = codec.decode(desk.versions(body_of(second)["id"])[-1].body)
    assert stored["extension"] == [
        {"url": CONSENT_STUDY, "valueReference": {"reference": f"ResearchStudy/{MLD.resource}"}}
    ]


def test_the_enrolment_that_the_documentation_shows_is_done_and_done_once(tmp_path):
    page = (ROOT / "docs" / "trial-systems.md").read_text()
    bundle = json.loads(page.partition("```json")[2].partition("```")[0])
    listed = FILE | {"Consent": ReleaseRule(("identifier", *FILE["Consent"].elements))}
    with world(tmp_path, office_file(release=listed)) as here:
        here.write(a_study(identifier=[{"system": STUDY_ID, "value": "mld"}]), patient="", message=0)
        here.write(a_patient(OTHER), patient=OTHER, clocks={"": (2, "2026", 1)})
        with here.store.begin() as tx:
            tx.resources.register_keys([PatientKey(OTHER, "urn:oid:1.2.3", "MRN-0042")])
        desk = Desk(here)

        told = [body_of(desk.send("POST", "", bundle))["entry"] for _ in range(2)]

        assert [[one["response"]["status"] for one in answers] for answers in told] == [
            ["201 Created"] * 2,
            ["200 OK"] * 2,
        ]
        consent, subject = (one["resource"] for one in told[0])
        assert subject["individual"] == consent["patient"] == {"reference": f"Patient/{OTHER}"}
        assert subject["consent"] == {"reference": f"Consent/{consent['id']}"}
        assert subject["identifier"][0]["system"] == f"{SUBJECT_NUMBER}/mld"
        assert desk.seen("Patient", OTHER) is not None


def test_a_pseudonymous_office_cannot_ask_for_hospital_numbers(tmp_path):
    with world(tmp_path, pseudonymous()) as here:
        enrolled(here)
        desk = Desk(here)
        number = {"identifier": {"system": "urn:oid:1.2.3", "value": "MRN-4711"}}

        error = desk.refused("POST", "Consent", a_new_consent("") | {"patient": number})

        assert (error.status, error.code) == (422, "business-rule")


def test_a_pseudonymous_office_writes_under_the_views_own_ids(tmp_path):
    with world(tmp_path, pseudonymous()) as here:
        enrolled(here)
        desk = Desk(here)
        patient = desk.public(uid("patient"))

        told = desk.send("POST", "Consent", a_new_consent(patient))

        body = body_of(told)
        assert body["patient"] == {"reference": f"Patient/{patient}"}
        assert uid("patient") not in told.body.decode()
        with here.store.begin(write=False) as tx:
            stored = tx.resources.heads([here.policy.rights(View("office", "mld")).internal_id(body["id"])])
        assert [version.patient for version in stored.values()] == [uid("patient")]


def test_a_client_of_two_studies_says_into_which_it_writes(tmp_path):
    with world(tmp_path, office_file(studies=("mld", "was"))) as here:
        desk = Desk(here, View("office", "mld"), View("office", "was"))

        assert desk.refused("POST", "PlanDefinition", NEW).code == "required"
        told = desk.send("POST", "PlanDefinition", NEW | {"meta": {"tag": [{"system": STUDY_ID, "code": "was"}]}})

        assert desk.versions(body_of(told)["id"])[-1].study == "was"


# --- update -----------------------------------------------------------------------------------------------------------


def test_an_update_makes_the_next_version_and_keeps_what_the_view_does_not_see(here, subject, desk):
    hidden = desk.versions(subject["id"])[-1]
    here.write(subject | {"actualArm": "ARM-TREATED"}, clocks=hidden.clocks)

    told = put(desk, "ResearchSubject", subject["id"], {"status": "off-study"})

    assert (told.status, told.headers["ETag"], body_of(told)["status"]) == (200, 'W/"3"', "off-study")
    stored = codec.decode(desk.versions(subject["id"])[-1].body)
    assert stored["actualArm"] == "ARM-TREATED"
    assert stored["identifier"] == subject["identifier"]


def test_an_element_left_out_is_taken_away(subject, desk):
    told = put(desk, "ResearchSubject", subject["id"], {"period": None})

    assert "period" not in body_of(told)
    assert "period" not in codec.decode(desk.versions(subject["id"])[-1].body)


def test_what_is_sent_back_as_it_was_read_changes_nothing(subject, desk):
    told = put(desk, "ResearchSubject", subject["id"], {})

    assert (told.status, told.headers["ETag"]) == (200, 'W/"1"')
    assert len(desk.versions(subject["id"])) == 1


@pytest.mark.parametrize(
    ("headers", "version", "status"),
    [
        ({"if_match": 'W/"1"'}, None, 200),
        ({"if_match": '"1"'}, None, 200),
        ({"if_match": "*"}, None, 200),
        ({"if_match": 'W/"9"'}, "1", 412),
        ({}, "1", 200),
        ({}, "9", 412),
        ({}, None, 428),
        ({"if_match": "1"}, None, 400),
    ],
)
def test_an_update_names_the_version_it_changes(subject, desk, headers, version, status):
    body = desk.seen("ResearchSubject", subject["id"]) | {"status": "off-study"}
    body["meta"] = {"versionId": version} if version else {}
    try:
        told = desk.send("PUT", f"ResearchSubject/{subject['id']}", body, **headers)
        found = told.status
    except RequestRefused as error:
        found = error.status

    assert found == status


def test_of_two_that_changed_the_same_version_the_second_is_refused(subject, desk):
    put(desk, "ResearchSubject", subject["id"], {"status": "off-study"}, if_match='W/"1"')

    error = desk.refused(
        "PUT", f"ResearchSubject/{subject['id']}", desk.seen("ResearchSubject", subject["id"]), if_match='W/"1"'
    )

    assert (error.status, error.code) == (412, "conflict")


@pytest.mark.parametrize("id", [uid("nowhere"), "no-uuid", uid(f"subject was {uid('patient')}")])
def test_an_id_that_is_not_there_or_not_for_the_client_is_not_updated_all_alike(here, desk, id):
    here.write(a_subject(study=WAS), a_consent(study=WAS), clocks={"": (2, "2026", 1)})

    error = desk.refused("PUT", f"ResearchSubject/{id}", a_new_subject(uid("patient")) | {"id": id}, if_match="*")

    assert (error.status, error.code) == (405, "not-supported")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"study": {"reference": f"ResearchStudy/{WAS.resource}"}}, 422, "not-found"),
        ({"individual": {"display": "somebody"}}, 422, "business-rule"),
        ({"status": "enrolled"}, 422, "invalid"),
        ({"assignedArm": "ARM-UNKNOWN"}, 422, "business-rule"),
        ({"meta": {"versionId": "1", "tag": [{"code": "SUBSETTED"}]}}, 422, "business-rule"),
        ({"id": uid("another")}, 400, "invalid"),
    ],
)
def test_what_cannot_be_changed_says_why(subject, desk, changes, status, code):
    body = desk.seen("ResearchSubject", subject["id"]) | changes

    error = desk.refused("PUT", f"ResearchSubject/{subject['id']}", body, if_match="*")

    assert (error.status, error.code) == (status, code)


def test_a_declared_arm_is_written(subject, desk):
    assert body_of(put(desk, "ResearchSubject", subject["id"], {"assignedArm": "ARM-TREATED"}))["assignedArm"]


def test_a_study_is_updated_and_its_plan_travels_with_it(here, desk):
    plan = body_of(desk.send("POST", "PlanDefinition", NEW))["id"]

    told = put(desk, "ResearchStudy", MLD.resource, {"protocol": [{"reference": f"PlanDefinition/{plan}"}]})

    assert body_of(told)["protocol"] == [{"reference": f"PlanDefinition/{plan}"}]


def test_what_belongs_to_others_as_well_is_not_written(here, subject, desk):
    laboratory = {"resourceType": "Organization", "id": uid("laboratory"), "name": "San Celso"}
    here.write(laboratory, patient="", clocks={"": (2, "2026", 1)})
    here.write(a_study(sponsor={"reference": f"Organization/{uid('laboratory')}"}), patient="", message=0)

    error = desk.refused("PUT", f"Organization/{uid('laboratory')}", laboratory | {"name": "x"}, if_match="*")

    assert (error.status, error.code) == (403, "forbidden")


# --- conditional ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["header", "url"])
def test_a_conditional_create_is_done_once(desk, way):
    body = NEW | {"identifier": [{"system": "urn:x", "value": "p1"}]}
    path, headers = ("PlanDefinition", {"if_none_exist": "identifier=urn:x|p1"})
    if way == "url":
        path, headers = ("PlanDefinition?identifier=urn:x|p1", {})

    first, second = (desk.send("POST", path, body, **headers) for _ in range(2))

    assert (first.status, second.status) == (201, 200)
    assert body_of(first)["id"] == body_of(second)["id"]
    desk.send("POST", "PlanDefinition", body)
    assert desk.refused("POST", path, body, **headers).status == 412


def test_a_conditional_update_creates_and_then_updates(desk):
    body = NEW | {"identifier": [{"system": "urn:x", "value": "p1"}]}
    first = desk.send("PUT", "PlanDefinition?identifier=urn:x|p1", body)
    second = desk.send("PUT", "PlanDefinition?identifier=urn:x|p1", body | {"title": "Other"})

    assert (first.status, second.status) == (201, 200)
    assert body_of(first)["id"] == body_of(second)["id"]
    assert body_of(second)["title"] == "Other"


def test_a_conditional_request_without_a_condition_is_refused(desk):
    for method in ("PUT", "PATCH", "DELETE"):
        assert desk.refused(method, "PlanDefinition", NEW if method == "PUT" else []).status == 400


def test_a_search_that_decides_needs_a_scope_for_searching(here, subject):
    desk = Desk(here, scopes=(Scope("PlanDefinition", "crud"),))

    assert desk.refused("POST", "PlanDefinition", NEW, if_none_exist="title=Visits").status == 403


# --- patch ------------------------------------------------------------------------------------------------------------


def test_both_kinds_of_patch_change_what_the_view_sees(subject, desk):
    path = f"ResearchSubject/{subject['id']}"
    parts = [
        {"name": "type", "valueCode": "replace"},
        {"name": "path", "valueString": "ResearchSubject.status"},
        {"name": "value", "valueCode": "withdrawn"},
    ]
    first = desk.send("PATCH", path, [{"op": "replace", "path": "/status", "value": "off-study"}])
    second = desk.send(
        "PATCH", path, {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": parts}]}
    )

    assert [body_of(told)["status"] for told in (first, second)] == ["off-study", "withdrawn"]
    assert desk.refused("PATCH", path, [{"op": "test", "path": "/status", "value": "on-study"}]).status == 422
    assert desk.refused("PATCH", path, [{"op": "replace", "path": "", "value": []}]).status == 422
    assert desk.refused("PATCH", path, [{"op": "remove", "path": "/study"}]).status == 422


# --- delete -----------------------------------------------------------------------------------------------------------


def test_what_is_deleted_is_gone_says_so_and_keeps_its_history(subject, desk):
    id = body_of(desk.send("POST", "PlanDefinition", NEW))["id"]

    assert desk.send("DELETE", f"PlanDefinition/{id}").status == 204
    assert desk.seen("PlanDefinition", id) is None
    assert [version.gone for version in desk.versions(id)] == [False, True]
    for method in ("PUT", "PATCH"):
        body = [{"op": "remove", "path": "/title"}] if method == "PATCH" else NEW | {"id": id}
        assert desk.refused(method, f"PlanDefinition/{id}", body, if_match="*").status == 410
    assert desk.send("DELETE", f"PlanDefinition/{id}").status == 204
    assert len(desk.versions(id)) == 2
    elsewhere = Desk(desk.world, View("office", "was"))
    errors = [elsewhere.refused("DELETE", f"PlanDefinition/{one}") for one in (id, "never")]
    assert {(error.status, error.code, error.what) for error in errors} == {(404, "not-found", errors[0].what)}


def test_a_study_or_what_it_refers_to_is_not_deleted(here, desk):
    plan = body_of(desk.send("POST", "PlanDefinition", NEW))["id"]
    put(desk, "ResearchStudy", MLD.resource, {"protocol": [{"reference": f"PlanDefinition/{plan}"}]})

    assert desk.refused("DELETE", f"ResearchStudy/{MLD.resource}").status == 405
    assert desk.refused("DELETE", f"PlanDefinition/{plan}").status == 409


def test_deleting_nothing_by_a_search_is_no_error(desk):
    assert desk.send("DELETE", "PlanDefinition?title=None").status == 204


# --- the same way as a feed -------------------------------------------------------------------------------------------


def test_what_is_written_is_delivered(here, subject, desk):
    here.deliver("edc")

    put(desk, "ResearchSubject", subject["id"], {"status": "follow-up"})

    assert ("ResearchSubject", "updated") in kinds(here.deliver("edc"))


def test_a_deleted_place_takes_everything_back(here, subject, desk):
    sent = kinds(here.deliver("edc"))
    assert ("Observation", "created") in sent

    desk.send("DELETE", f"ResearchSubject/{subject['id']}")

    taken = kinds(here.deliver("edc"))
    assert {("Observation", "retracted"), ("ResearchSubject", "retracted")} <= set(taken)
    assert desk.seen("Patient", uid("patient")) is None


def test_a_deleted_consent_is_as_if_it_had_never_been_given(here, subject, desk):
    here.deliver("edc")

    desk.send("DELETE", f"Consent/{uid('consent mld ' + uid('patient'))}")

    assert ("Observation", "retracted") in kinds(here.deliver("edc"))


def test_what_is_of_the_study_is_delivered_and_taken_back(tmp_path):
    with world(tmp_path, office_file(), recipient("edc", release=FILE, identity="identified")) as here:
        enrolled(here)
        desk = Desk(here)
        id = body_of(desk.send("POST", "PlanDefinition", NEW))["id"]
        assert ("PlanDefinition", "created") in kinds(here.deliver("edc", patient=""))

        desk.send("DELETE", f"PlanDefinition/{id}")

        assert kinds(here.deliver("edc", patient="")) == [("PlanDefinition", "retracted")]


def test_a_client_that_may_not_write_is_refused(here, subject):
    reader = Desk(here, writes=False)

    assert reader.refused("POST", "PlanDefinition", NEW).status == 403


def test_a_group_shows_only_the_members_its_view_sees(here, subject, desk):
    group = {"resourceType": "Group", "type": "person", "actual": True,
             "member": [{"entity": {"reference": f"Patient/{uid('patient')}"}}]}  # fmt: skip
    told = desk.send("POST", "Group", group)
    id = body_of(told)["id"]
    assert body_of(told)["member"] == group["member"]

    put(desk, "Consent", uid("consent mld " + uid("patient")), {"status": "inactive"})

    assert "member" not in desk.seen("Group", id)


def test_what_r5_says_with_less_is_not_lost_by_sending_it_back(here, subject, desk):
    consent = uid("consent mld " + uid("patient"))
    put(desk, "ResearchSubject", subject["id"], {"assignedArm": "ARM-TREATED"})
    desk.release = "R5"

    for type, id, changes in (
        ("ResearchSubject", subject["id"], {"identifier": [{"system": "urn:x", "value": "1"}]}),
        ("Consent", consent, {"status": "inactive"}),
    ):
        body = desk.seen(type, id) | changes
        assert desk.send("PUT", f"{type}/{id}", body).status == 200

    newest = {type: codec.decode(desk.versions(id)[-1].body)
              for type, id in (("ResearchSubject", subject["id"]), ("Consent", consent))}  # fmt: skip
    assert newest["ResearchSubject"]["assignedArm"] == "ARM-TREATED"
    assert newest["ResearchSubject"]["identifier"] == [{"system": "urn:x", "value": "1"}]
    assert newest["Consent"]["dateTime"] == "2026-03-01T10:00:00+01:00"
    assert newest["Consent"]["status"] == "inactive"
    assert newest["Consent"]["provision"] == a_consent()["provision"]


def test_an_arm_can_be_named_by_its_link_id_in_r5(here, subject, desk):
    desk.release = "R5"
    body = desk.seen("ResearchSubject", subject["id"]) | {"assignedComparisonGroup": "arm-treated"}

    assert desk.send("PUT", f"ResearchSubject/{subject['id']}", body).status == 200

    assert codec.decode(desk.versions(subject["id"])[-1].body)["assignedArm"] == "ARM-TREATED"


def test_each_type_that_is_written_is_created_in_r5(here, subject, desk):
    desk.release = "R5"
    group = {"resourceType": "Group", "type": "person", "actual": True, "name": "All"}
    for body in (NEW, group, {"resourceType": "Organization", "name": "x"}, a_new_consent(uid("patient"))):
        told = desk.send("POST", body["resourceType"], to_r5(body))
        assert told.status == 201, body["resourceType"]


def test_a_consent_on_which_another_study_stands_is_not_written_for_one(tmp_path):
    clocks = {"": (2, "2026", 1)}
    named = [{"reference": f"ResearchStudy/{study.resource}"} for study in (MLD, WAS)]
    both = a_consent(extension=[{"url": CONSENT_STUDY, "valueReference": one} for one in named])
    with world(tmp_path, office_file(), office_file("both", studies=("mld", "was"))) as here:
        enrolled(here)
        here.write(
            both, a_subject(study=WAS, consent={"reference": f"Consent/{both['id']}"}), clocks=clocks, message=99
        )
        one, of_both = Desk(here), Desk(here, View("both", "mld"), View("both", "was"))

        assert one.refused("DELETE", f"Consent/{both['id']}").status == 403
        assert of_both.send("DELETE", f"Consent/{both['id']}").status == 204


def test_a_resource_of_a_patient_refers_to_no_other(here, subject, desk):
    enrolled(here, OTHER)

    error = desk.refused(
        "PATCH", f"ResearchSubject/{subject['id']}",
        [{"op": "replace", "path": "/consent/reference", "value": f"Consent/{uid('consent mld ' + OTHER)}"}],
    )  # fmt: skip

    assert (error.status, error.expression) == (422, ("ResearchSubject.consent",))
