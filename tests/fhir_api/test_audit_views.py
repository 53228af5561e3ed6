"""An AuditEvent is told as its reader sees what it speaks of: in its own ids, nothing of others' words."""

from __future__ import annotations

import tempfile
from base64 import b64decode
from pathlib import Path

import pytest
from fhir.resources import get_fhir_model_class

from gateway.model.access import Caller, Scope
from gateway.model.delivery import View
from tests.asking import Api
from tests.r5_codes import faults
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
    world,
)

GAIA, OTHER = uid("patient"), uid("other patient")
HB = an_observation()["id"]
ALL = (Scope("*", "cruds"),)
FEW = {kind: EVERYTHING[kind] for kind in ("Patient", "ResearchSubject", "Consent", "ResearchStudy")}
PSEUDONYMOUS = {kind: rule for kind, rule in EVERYTHING.items() if kind not in ("Patient", "Encounter")}
PSEUDONYMOUS |= {"Patient": type(EVERYTHING["Patient"])(("gender",))}
BOTH = ("mld", "was")
TERMS = {"kind": "pull", "studies": BOTH}
FILES = (
    recipient("monitor", release=EVERYTHING, identity="identified", **TERMS),
    recipient("analysts", release=PSEUDONYMOUS, identity="pseudonymous", **TERMS),
    recipient("registry", release=FEW, identity="identified", **TERMS),
)
CALLERS = {
    "monitor": [("monitor", "mld"), ("monitor", "was")],
    "analyst": [("analysts", "mld")],
    "reader": [("analysts", "mld")],
    "elsewhere": [("analysts", "was")],
    "twice": [("analysts", "mld"), ("analysts", "was")],
    "registry": [("registry", "mld")],
}


@pytest.fixture
def api():
    """Gaia takes part in both studies, the other patient in the second alone."""
    with tempfile.TemporaryDirectory() as folder, world(Path(folder), *FILES) as made:
        made.write(a_study(), a_study(WAS), a_patient(), a_subject(), a_consent(), an_observation())
        made.write(a_subject(study=WAS), a_consent(study=WAS))
        bodies = [a_patient(OTHER), a_subject(OTHER, WAS), a_consent(OTHER, WAS), an_observation(patient=OTHER)]
        made.write(*bodies, patient=OTHER)
        callers = [
            Caller(name, tuple(View(*one) for one in views), ALL, audits=name != "reader")
            for name, views in CALLERS.items()
        ]
        asked = Kept(made.store, made.policy, *callers)
        yield asked
        asked.close()


class Kept(Api):
    """An API that keeps what it noted, so that it is told in AuditEvents."""

    def ask(self, *args, **kwargs):
        heard = super().ask(*args, **kwargs)
        with self.store.begin() as tx:
            tx.answers.add(self.noted)
        self.noted.clear()
        return heard

    def public(self, recipient, study, id):
        return self.policy.rights(View(recipient, study)).public_id(id)

    def events(self, client, query=(), release="r4"):
        return [one for page in self.pages(client, f"{release}/AuditEvent", query) for one in page.resources("match")]


def named(event):
    return {entity["what"]["reference"] for entity in event["entity"] if "what" in entity}


def asked_for(event):
    return [b64decode(entity["query"]).decode() for entity in event["entity"] if "query" in entity]


def of(events, client):
    return [one for one in events if one["agent"][0]["who"]["identifier"]["value"] == client]


def test_what_others_were_shown_stands_under_the_readers_own_ids(api):
    assert api.get("monitor", f"r4/Observation?patient={GAIA}").resources()
    (event,) = of(api.events("analyst"), "monitor")
    gaia, hb = (api.public("analysts", "mld", id) for id in (GAIA, HB))
    assert named(event) == {f"Patient/{gaia}", f"Observation/{hb}"}
    assert asked_for(event) == []
    (identified,) = of(api.events("monitor", [("patient", GAIA)]), "monitor")
    assert named(identified) == {f"Patient/{GAIA}", f"Observation/{HB}"}


def test_what_a_client_asked_stands_in_its_own_events_alone(api):
    gaia = api.public("analysts", "mld", GAIA)
    api.get("reader", f"r4/Observation?patient={gaia}")
    api.get("analyst", f"r4/Observation?patient={gaia}")
    api.get("analyst", "r4/Patient/nobody")
    events = api.events("analyst")
    assert asked_for(of(events, "reader")[0]) == []
    refused, answered = of(events, "analyst")
    assert asked_for(answered) == [f"GET Observation?patient={gaia}"]
    assert named(answered) == named(of(events, "reader")[0])
    assert (asked_for(refused), named(refused)) == (["GET Patient/nobody"], set())


def test_a_patient_is_found_by_the_id_the_reader_knows_and_by_no_other(api):
    api.get("monitor", f"r4/Patient/{GAIA}")
    gaia = api.public("analysts", "mld", GAIA)
    for release in ("r4", "r5"):
        assert of(api.events("analyst", [("patient", gaia)], release), "monitor")
        for other in (GAIA, api.public("analysts", "was", GAIA), "nobody"):
            heard = api.get("analyst", f"{release}/AuditEvent", [("patient", other)])
            assert (heard.status, heard.body["total"], heard.resources()) == (200, 0, [])


def test_what_is_not_the_readers_to_see_is_left_out(api):
    api.get("monitor", "r4/Observation")
    (event,) = of(api.events("registry"), "monitor")
    assert named(event) == {f"Patient/{GAIA}"}
    api.get("monitor", f"r4/Observation?patient={OTHER}")
    api.get("monitor", "r4/ResearchStudy")
    (still,) = of(api.events("registry"), "monitor")
    assert still == event
    assert api.get("registry", f"r4/AuditEvent/{int(event['id']) + 2}").issue == (404, "not-found")
    assert api.get("registry", f"r4/AuditEvent/{event['id']}").body == event


def test_an_access_in_one_study_is_not_told_in_another(api):
    """At one moment and with two ids, the same access would say that two patients are one."""
    elsewhere = api.public("analysts", "was", GAIA)
    assert api.get("elsewhere", f"r4/Patient/{elsewhere}").status == 200
    assert of(api.events("analyst"), "elsewhere") == []
    (event,) = of(api.events("twice"), "elsewhere")
    assert named(event) == {f"Patient/{elsewhere}"}
    assert api.get("twice", f"r4/Patient/{elsewhere}").status == 200
    (own,) = [one for one in of(api.events("twice"), "twice") if asked_for(one) == [f"GET Patient/{elsewhere}"]]
    assert named(own) == {f"Patient/{elsewhere}"}


def test_whoever_withdrew_is_named_no_longer(api):
    api.get("monitor", f"r4/Patient/{GAIA}")
    assert of(api.events("registry"), "monitor")
    with api.store.begin() as tx:
        head = tx.resources.heads((a_consent()["id"],))[a_consent()["id"]]
        gone = head.body.replace(b'"active"', b'"inactive"')
        tx.resources.append([head.but(version=2, body=gone, status="inactive")])
    assert of(api.events("registry"), "monitor") == []


def test_a_page_goes_on_where_few_match(api, monkeypatch):
    monkeypatch.setattr("gateway.api.fhir.auditing.LOOKED_AT", 3)
    for _ in range(5):
        api.get("monitor", f"r4/Patient/{OTHER}")
    api.get("analyst", "r4/metadata")
    for _ in range(4):
        api.get("monitor", f"r4/Patient/{GAIA}")
    pages = api.pages("analyst", "r4/AuditEvent", [("_count", "3"), ("subtype", "read")])
    found = [int(one["id"]) for page in pages for one in page.resources()]
    assert len(found) == 4
    assert found == sorted(set(found), reverse=True)
    assert len(pages) > 2


@pytest.mark.parametrize(
    "query",
    ["agent.identifier=x", "source.identifier=x", "_has:Provenance:target:agent=x", "_sort=date", "_sort=outcome"],
)
def test_what_is_not_done_is_refused(api, query):
    assert api.get("monitor", f"r4/AuditEvent?{query}").issue == (400, "not-supported")


def test_a_chain_leads_to_what_the_reader_sees(api):
    api.get("monitor", f"r4/Patient/{GAIA}")
    assert of(api.events("monitor", [("patient.identifier", "MRN-4711"), ("subtype", "read")]), "monitor")
    assert of(api.events("monitor", [("patient.identifier", "MRN-4712")]), "monitor") == []
    assert of(api.events("analyst", [("patient.gender", "female")]), "monitor")
    assert api.events("analyst", [("patient.identifier", "MRN-4711")]) == []
    (page,) = api.pages("analyst", "r4/AuditEvent", [("_include", "AuditEvent:patient"), ("subtype", "read")])
    assert [one["id"] for one in page.resources("include")] == [api.public("analysts", "mld", GAIA)]


def test_totals_orders_and_parts_are_given(api):
    for _ in range(3):
        api.get("monitor", f"r4/Patient/{GAIA}")
    one = [("_count", "1"), ("subtype", "read")]
    assert "total" not in api.get("monitor", "r4/AuditEvent", one).body
    assert api.get("monitor", "r4/AuditEvent", [*one, ("_total", "accurate")]).body["total"] == 3
    assert api.get("monitor", "r4/AuditEvent", [("subtype", "read"), ("_summary", "count")]).body["total"] == 3
    times = [event["recorded"] for event in api.events("monitor", [("_sort", "-date")])]
    assert times == sorted(times, reverse=True)
    part = api.get("monitor", "r4/AuditEvent", [*one, ("_elements", "recorded")]).resources()[0]
    assert "entity" not in part
    assert part["meta"]["tag"][0]["code"] == "SUBSETTED"


def test_too_many_are_not_counted(api, monkeypatch):
    monkeypatch.setattr("gateway.api.fhir.auditing.COUNTED", 2)
    for _ in range(3):
        api.get("monitor", f"r4/Patient/{GAIA}")
    assert api.get("monitor", "r4/AuditEvent?_total=accurate").issue == (400, "too-costly")


def test_the_query_of_a_scope_limits_what_is_told(api):
    api.get("monitor", f"r4/Patient/{GAIA}")
    api.get("monitor", "r4/Patient/nobody")
    scopes = (Scope("AuditEvent", "rs", "outcome=4"),)
    api.callers.known["narrow"] = Caller("monitor", api.callers.known["monitor"].views, scopes, audits=True)
    events = api.events("narrow")
    assert {one["outcome"] for one in events} == {"4"}
    other = next(one for one in api.events("monitor") if one["outcome"] == "0")
    assert api.get("narrow", f"r4/AuditEvent/{other['id']}").issue == (404, "not-found")


def test_an_event_is_valid_r5(api):
    api.get("monitor", "r4/Patient")
    api.get("monitor", f"r4/Patient/{GAIA}")
    api.get("monitor", "r4/Patient/nobody")
    events = api.events("monitor", release="r5")
    assert len(events) == 3
    for event in events:
        model = get_fhir_model_class("AuditEvent").model_validate(event)
        assert list(faults(model, "AuditEvent")) == []
        assert api.get("monitor", f"r5/AuditEvent/{event['id']}").body == event
    failed, read, searched = events
    assert failed["outcome"]["code"]["code"] == "4"
    assert read["code"]["coding"][0]["code"] == "read"
    assert read["patient"] == {"reference": f"Patient/{GAIA}"}
    assert "patient" not in searched
    assert of(api.events("monitor", [("patient", OTHER), ("code", "search-type")], "r5"), "monitor")
