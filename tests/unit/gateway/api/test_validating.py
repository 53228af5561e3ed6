"""``$validate`` says everything that is wrong, and what the write would be refused for."""

import pytest

from gateway.model.delivery import View
from tests.releasing import MLD, an_observation, recipient, uid, world
from tests.writing import Desk, a_new_consent, a_new_subject, body_of, enrolled, office_file


@pytest.fixture
def desk(tmp_path):
    with world(tmp_path, office_file(), recipient("edc")) as here:
        enrolled(here)
        yield Desk(here)


def issues(desk, path, body):
    told = desk.send("POST", path, body)
    assert told.status == 200
    return {(one["severity"], one["code"], (one.get("expression") or [""])[0]) for one in body_of(told)["issue"]}


ALL_WELL = {("information", "informational", "")}


def test_a_valid_resource_is_found_valid(desk):
    assert issues(desk, "Observation/$validate", an_observation()) == ALL_WELL
    assert issues(desk, "Consent/$validate", a_new_consent(uid("patient"))) == ALL_WELL


def test_every_fault_is_said_with_its_path(desk):
    body = an_observation() | {
        "status": "done",
        "subject": {"reference": "Medication/1"},
        "valueString": "x",
        "category": [{"coding": [{"code": 1}]}, {"coding": [{"code": "a"}]}, {"bad": True}],
        "effectiveDateTime": "yesterday",
    }

    found = {path for _, _, path in issues(desk, "Observation/$validate", body)}

    assert {
        "Observation.status", "Observation.subject", "Observation.category[0].coding[0].code",
        "Observation.category[2].bad", "Observation.effectiveDateTime",
    } <= found  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "issue"),
    [
        ("ResearchSubject/$validate?mode=create", a_new_subject(uid("patient")), ("error", "duplicate", "")),
        ("Consent/$validate?mode=create", a_new_consent(uid("nobody")), ("error", "not-found", "Consent.patient")),
        ("Patient/$validate", an_observation(), ("error", "invalid", "resourceType")),
        ("$validate", {"resourceType": "Nothing"}, ("error", "invalid", "resourceType")),
        ("Observation/$validate?profile=http://x/y", an_observation(),
         ("error", "not-supported", "Resource.meta.profile")),
        ("Observation/$validate", an_observation(meta={"profile": ["http://x/y"]}),
         ("warning", "not-supported", "Resource.meta.profile")),
        (f"ResearchStudy/{MLD.resource}/$validate",
         {"resourceType": "Parameters", "parameter": [{"name": "mode", "valueCode": "delete"}]},
         ("error", "not-supported", "")),
        ("PlanDefinition/$validate?mode=update", {"resourceType": "PlanDefinition", "id": "x", "status": "draft"},
         ("error", "not-supported", "")),
    ],
)  # fmt: skip
def test_what_a_write_would_be_refused_for_is_found(desk, path, body, issue):
    assert issue in issues(desk, path, body)


@pytest.mark.parametrize("path", ["PlanDefinition/$validate", "PlanDefinition/none/$validate", "$validate"])
def test_without_a_mode_nothing_but_the_resource_is_looked_at(desk, path):
    several = Desk(desk.world, View("office", "mld"), View("office", "was"))
    plan = {"resourceType": "PlanDefinition", "status": "draft", "publisher": "no view holds it"}

    assert issues(several, path, plan) == ALL_WELL
    assert issues(several, path, plan | {"status": "bogus"}) == {("error", "invalid", "PlanDefinition.status")}


def test_nothing_is_written_by_asking(desk):
    plan = {"resourceType": "PlanDefinition", "status": "draft"}
    before = desk.world.write(an_observation())[0].change

    assert issues(desk, "PlanDefinition/$validate?mode=create", plan) == ALL_WELL
    assert desk.world.write(an_observation())[0].change == before + 1


def test_a_reader_asks_whether_a_resource_is_valid_all_the_same(desk):
    reader = Desk(desk.world, writes=False)

    assert issues(reader, "Consent/$validate", a_new_consent(uid("nobody"))) == ALL_WELL
    assert ("error", "forbidden", "") in issues(reader, "Consent/$validate?mode=create", a_new_consent(uid("patient")))


def test_r5_is_checked_as_r5(desk):
    desk.release = "R5"
    body = a_new_subject(uid("patient"))

    found = {path for _, _, path in issues(desk, "ResearchSubject/$validate", body)}

    assert any("individual" in path for path in found)
