"""Who looked at what: AuditEvents, disclosures and the seals of the audit trail."""

from __future__ import annotations

import pytest

from gateway.services.disclose import disclosures
from gateway.services.verify import verify


@pytest.fixture(scope="module", params=["unit", "server_unit"])
def looked(request):
    """A unit in which the monitor has looked at one patient."""
    unit = request.getfixturevalue(request.param)
    with unit.client("monitor") as monitor:
        patient = monitor.get("Patient").json()["entry"][0]["resource"]["id"]
    with unit.client("monitor") as monitor:
        results = monitor.get("Observation", params={"patient": patient, "_count": 2}).json()["entry"]
        assert monitor.get("Patient/nobody").status_code == 404
        yield unit, patient, [entry["resource"]["id"] for entry in results]


def test_whoever_may_audit_finds_who_was_shown_a_patient(looked):
    unit, patient, results = looked
    with unit.client("monitor", audits=True) as auditor:
        events = auditor.get("AuditEvent", params={"patient": patient, "_count": 5}).json()["entry"]
        newest = events[0]["resource"]
        named = {entity["what"]["reference"] for entity in newest["entity"] if "what" in entity}
        assert {f"Patient/{patient}", *(f"Observation/{id}" for id in results)} <= named
        assert newest["outcome"] == "0"
        read = auditor.get(f"AuditEvent/{newest['id']}")
        assert read.json() == newest
        assert "Last-Modified" in read.headers
        again = auditor.get(f"AuditEvent/{newest['id']}", headers={"If-None-Match": read.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_its_own_refusals_are_found_by_their_outcome(looked):
    unit, _, _ = looked
    with unit.client("monitor", audits=True) as auditor:
        assert auditor.get("Patient/nobody").status_code == 404
        found = auditor.get("AuditEvent", params={"outcome": "4", "subtype": "read"}).json()["entry"]
    assert len(found) == 1


def test_every_audit_event_is_on_one_page(looked):
    unit, _, _ = looked
    with unit.client("monitor", audits=True) as auditor:
        page = auditor.get("AuditEvent", params={"_count": 2, "subtype": "search-type"}).json()
        found = []
        while page:
            found += [int(entry["resource"]["id"]) for entry in page.get("entry", ())]
            following = [link["url"] for link in page["link"] if link["relation"] == "next"]
            page = auditor.get(following[0]).json() if following else None
    assert len(found) > 1
    assert found == sorted(set(found), reverse=True)


def test_others_may_not_look(looked):
    unit, _, _ = looked
    with unit.client("monitor") as monitor:
        assert monitor.get("AuditEvent").status_code == 403


def test_an_answer_is_a_disclosure(looked):
    unit, patient, results = looked
    told = [line for line in disclosures(unit.store, patient) if line.recipient.startswith("client/")]
    assert any(line.certain["Observation"] == len(results) for line in told)


def test_answers_are_sealed(looked):
    unit, _, _ = looked
    verdict = verify(unit.store)
    assert verdict.intact
    assert "answers" in verdict.unsealed
