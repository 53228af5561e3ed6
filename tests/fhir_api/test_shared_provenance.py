"""What is said of a study, a plan, a group or an organization is told to whoever sees that, and to nobody else."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from gateway.model.access import Caller, Scope
from gateway.model.delivery import View
from gateway.model.recipient import ReleaseRule
from tests.asking import Api
from tests.releasing import (
    EVERYTHING,
    WAS,
    a_consent,
    a_patient,
    a_study,
    a_subject,
    an_observation,
    recipient,
    uid,
    version,
    world,
)

ALL = (Scope("*", "cruds"),)
RELEASE = {
    **EVERYTHING,
    "PlanDefinition": ReleaseRule(("status", "title")),
    "Provenance": ReleaseRule(("target", "recorded", "agent", "activity")),
    "ResearchStudy": ReleaseRule(("status", "title", "identifier", "protocol", "sponsor")),
}
FILES = [
    recipient("office", kind="pull", studies=("mld", "was"), release=RELEASE, identity="identified"),
    recipient("analysts", kind="pull", studies=("mld", "was"), release=RELEASE),
]


@pytest.fixture
def api():
    """The offices of two studies, and their analysts."""
    with tempfile.TemporaryDirectory() as folder, world(Path(folder), *FILES) as made:
        made.write(a_study(), a_study(WAS), a_patient(), a_subject(), a_consent(), an_observation())
        callers = [
            Caller(f"{file}-{study}", (View(file, study),), ALL, writes=True)
            for file in ("office", "analysts")
            for study in ("mld", "was")
        ]
        asked = Api(made.store, made.policy, *callers)
        yield asked
        asked.close()


def written(api, path="r4/PlanDefinition"):
    """A plan that the first study's office wrote, and the id."""
    heard = api.ask("office-mld", "POST", path, body=b'{"resourceType":"PlanDefinition","status":"draft"}')
    assert heard.status == 201, heard.content
    return heard.body["id"]


def told(api, client, plan):
    return api.get(client, "r4/Provenance", [("target", f"PlanDefinition/{plan}")])


def test_what_a_client_wrote_for_nobody_is_found_by_what_it_is_of(api):
    plan = written(api)
    for release in ("r4", "r5"):
        (one,) = api.get("office-mld", f"{release}/Provenance?target=PlanDefinition/{plan}").resources()
        assert api.get("office-mld", f"{release}/Provenance/{one['id']}").body == one
        assert [one] == api.get("office-mld", f"{release}/Provenance/{one['id']}/_history").resources()
        assert one in api.get("office-mld", f"{release}/Provenance/_history").resources()
        page = api.get("office-mld", f"{release}/PlanDefinition?_revinclude=Provenance:target")
        assert one in page.resources("include")
        has = api.get("office-mld", f"{release}/PlanDefinition?_has:Provenance:target:_id={one['id']}")
        assert [body["id"] for body in has.resources()] == [plan]
    assert one["target"] == [{"reference": f"PlanDefinition/{plan}"}]


def test_it_is_told_under_the_readers_own_ids(api):
    plan = written(api)
    rights = api.policy.rights(View("analysts", "mld"))
    public = rights.public_id(plan)
    (one,) = told(api, "analysts-mld", public).resources()
    assert one["target"] == [{"reference": f"PlanDefinition/{public}"}]
    assert told(api, "analysts-mld", plan).resources() == []


def test_who_does_not_see_it_is_told_nothing_of_it(api):
    plan = written(api)
    (one,) = told(api, "office-mld", plan).resources()
    assert api.get("office-was", f"r4/PlanDefinition/{plan}").issue == (404, "not-found")
    assert told(api, "office-was", plan).resources() == []
    assert api.get("office-was", "r4/Provenance").resources() == []
    assert api.get("office-was", f"r4/Provenance/{one['id']}").issue == (404, "not-found")
    assert api.get("office-was", "r4/Provenance/_history").resources() == []


def test_of_several_that_it_is_of_those_are_named_that_are_seen(api):
    """An organization of another study is not the reader's only because one request wrote both."""
    plan, other = written(api), uid("of another study")
    (one,) = told(api, "office-mld", plan).resources()
    with api.store.begin() as tx:
        head = tx.resources.heads((plan,))[plan]
        foreign = head.but(id=other, study="was", body=head.body.replace(plan.encode(), other.encode()))
        said = tx.resources.heads((one["id"],))[one["id"]]
        both = said.body.replace(
            f'[{{"reference":"PlanDefinition/{plan}"}}]'.encode(),
            f'[{{"reference":"PlanDefinition/{plan}"}},{{"reference":"PlanDefinition/{other}"}}]'.encode(),
        )
        assert both != said.body
        tx.resources.append([foreign, said.but(version=2, body=both)])
    for client, seen in (("office-mld", plan), ("office-was", other)):
        (told_now,) = api.get(client, "r4/Provenance").resources()
        assert told_now["target"] == [{"reference": f"PlanDefinition/{seen}"}]


def test_every_one_is_on_one_page(api):
    plans = [written(api) for _ in range(3)]
    patient = uid("patient")
    body = {
        "resourceType": "Provenance", "id": uid("of a result"), "recorded": "2026-03-01T00:00:00Z",
        "target": [{"reference": f"Observation/{an_observation()['id']}"}],
        "agent": [{"who": {"identifier": {"system": "urn:x", "value": "x"}}}],
    }  # fmt: skip
    with api.store.begin() as tx:
        tx.resources.append([version(body, patient)])
    pages = api.pages("office-mld", "r4/Provenance", [("_count", "1")])
    targets = [one["target"][0]["reference"] for page in pages for one in page.resources()]
    expected = [f"PlanDefinition/{plan}" for plan in plans] + [body["target"][0]["reference"]]
    assert sorted(targets) == sorted(expected)
