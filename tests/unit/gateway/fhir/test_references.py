from copy import deepcopy

from gateway.fhir.references import references, rewrite, split
from tests.unit.gateway.fhir.examples_r4 import GOOD

REPORT = {
    "resourceType": "DiagnosticReport",
    "contained": [{"resourceType": "Observation", "id": "o", "subject": {"reference": "Patient/1"}}],
    "extension": [{"url": "http://example.org/x", "valueReference": {"reference": "Group/2"}}],
    "subject": {"reference": "Patient/1", "display": "Ada"},
    "result": [{"reference": "#o"}, {"reference": "Observation/3"}],
    "code": {"text": "reference"},
}


def test_every_reference_is_found_wherever_it_stands():
    assert list(references(REPORT)) == [
        ("DiagnosticReport.contained[0].subject", "Patient/1"),
        ("DiagnosticReport.extension[0].valueReference", "Group/2"),
        ("DiagnosticReport.subject", "Patient/1"),
        ("DiagnosticReport.result[0]", "#o"),
        ("DiagnosticReport.result[1]", "Observation/3"),
    ]


def test_references_are_rewritten_in_a_copy():
    before = deepcopy(REPORT)
    changed = rewrite(REPORT, lambda literal: "Patient/9" if literal == "Patient/1" else literal)

    assert changed["subject"] == {"reference": "Patient/9", "display": "Ada"}
    assert changed["contained"][0]["subject"] == {"reference": "Patient/9"}
    assert before == REPORT
    changed["code"]["text"] = "changed"
    assert before == REPORT


def test_a_reference_that_is_removed_takes_its_display_and_empty_holders_with_it():
    changed = rewrite(REPORT, lambda literal: literal if literal.startswith("#") else None)

    assert changed == {
        "resourceType": "DiagnosticReport",
        "contained": [{"resourceType": "Observation", "id": "o"}],
        "result": [{"reference": "#o"}],
        "code": {"text": "reference"},
    }


def test_rewriting_with_nothing_to_change_gives_the_same():
    for resource in GOOD:
        assert rewrite(resource, lambda literal: literal) == resource


def test_a_reference_is_split_into_type_and_id():
    assert split("Patient/1") == ("Patient", "1")
    assert split("https://example.org/fhir/Patient/1/_history/3") == ("Patient", "1")
    assert split("Patient/1/_history/3") == ("Patient", "1")
    assert [split(each) for each in ("#1", "urn:uuid:x", "Patient?identifier=a", "Patient", "a/b")] == [None] * 5
