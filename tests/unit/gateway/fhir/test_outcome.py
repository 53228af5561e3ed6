from gateway.errors import InvalidResource
from gateway.fhir.checks import validate
from gateway.fhir.outcome import Issue, operation_outcome


def test_a_failed_check_becomes_an_issue_with_its_path():
    made = operation_outcome([Issue.of(InvalidResource("Patient.gender", "is not one of the codes required"))])

    validate(made)
    assert made["issue"] == [
        {
            "severity": "error",
            "code": "invalid",
            "diagnostics": "is not one of the codes required",
            "expression": ["Patient.gender"],
        }
    ]


def test_an_outcome_without_issues_says_that_there_are_none():
    made = operation_outcome([])

    validate(made)
    assert made["issue"][0]["severity"] == "information"


def test_an_issue_without_words_has_no_empty_element():
    validate(operation_outcome([Issue("", "forbidden")]))
