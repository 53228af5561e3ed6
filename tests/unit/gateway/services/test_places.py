"""What a message says of a patient's place in a study reaches the resources that stand for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway.fhir import codec
from gateway.model.resource import ResourceVersion
from gateway.model.translation import Statement
from gateway.services.places import placed

MERGED = {"old": "new", "new": "new"}
SUBJECT = "ResearchSubject"


def _subject(id: str, status: str, *, study: str = "mld", patient: str = "new") -> dict[str, Any]:
    return {
        "resourceType": SUBJECT,
        "id": id,
        "status": status,
        "study": {"reference": f"ResearchStudy/{study}"},
        "individual": {"reference": f"Patient/{patient}"},
        "consent": {"reference": f"Consent/{id}-consent"},
    }


def _consent(id: str, status: str, purpose: str = "CLINTRCH") -> dict[str, Any]:
    return {
        "resourceType": "Consent",
        "id": id,
        "status": status,
        "extension": [{"url": "study", "valueReference": {"reference": "ResearchStudy/mld"}}],
        "provision": {"purpose": [{"code": purpose}]},
    }


def _stored(body: dict[str, Any], patient: str = "new") -> ResourceVersion:
    return ResourceVersion(
        type=body["resourceType"], id=body["id"], version=1, body=codec.encode(body), message=1,
        stored_at=datetime(2026, 1, 1, tzinfo=UTC), patient=patient, clocks={}, status=body["status"],
    )  # fmt: skip


def _said(body: dict[str, Any], patient: str = "new") -> Statement:
    return Statement(
        body["resourceType"], body["id"], codec.encode(body), patient=patient, status=body.get("status", "")
    )


def _bodies(statements: list[Statement]) -> list[dict[str, Any]]:
    return [codec.decode(statement.body) for statement in statements]


def test_a_withdrawal_under_the_surviving_number_ends_what_was_registered_under_the_old_one() -> None:
    stored = [_stored(_subject("a", "on-study")), _stored(_consent("a-consent", "active"))]
    said = [_said(_subject("b", "withdrawn")), _said(_consent("b-consent", "inactive"))]
    subject, consent = _bodies(placed(said, stored, MERGED))
    assert (subject["id"], subject["status"]) == ("a", "withdrawn")
    assert subject["consent"] == {"reference": "Consent/a-consent"}
    assert (consent["id"], consent["status"]) == ("a-consent", "inactive")


def test_where_two_were_registered_a_withdrawal_leaves_neither() -> None:
    stored = [_stored(_subject("a", "on-study")), _stored(_subject("b", "on-study"))]
    said = _bodies(placed([_said(_subject("b", "withdrawn"))], stored, MERGED))
    assert {(body["id"], body["status"]) for body in said} == {("a", "withdrawn"), ("b", "withdrawn")}


def test_a_registration_that_was_cancelled_is_not_revived_beside_the_one_that_counts() -> None:
    stored = [_stored(_subject("a", "not-registered")), _stored(_subject("b", "on-study"))]
    assert [body["id"] for body in _bodies(placed([_said(_subject("b", "on-study"))], stored, MERGED))] == ["b"]


def test_another_study_another_purpose_and_another_patient_are_other_places() -> None:
    stored = [
        _stored(_subject("a", "on-study", study="was")),
        _stored(_consent("c", "active", "HRESCH")),
        _stored(_subject("d", "on-study"), patient="somebody else"),
    ]
    said = [_said(_subject("b", "withdrawn")), _said(_consent("b-consent", "inactive"))]
    assert placed(said, stored, MERGED) == said


def test_what_the_message_says_of_other_things_points_to_the_place_as_stored() -> None:
    provenance = {"resourceType": "Provenance", "id": "p", "target": [{"reference": "ResearchSubject/b"}]}
    said = [_said(_subject("b", "off-study")), _said(provenance, patient="")]
    _, told = _bodies(placed(said, [_stored(_subject("a", "on-study"))], MERGED))
    assert told["target"] == [{"reference": "ResearchSubject/a"}]
