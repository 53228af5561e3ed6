"""R5 back to R4: what R4 can say comes back, anything else is refused by its path."""

import json
from pathlib import Path

import pytest

from gateway.errors import InvalidResource
from gateway.fhir.checks import check
from gateway.fhir.from_r5 import from_r5, states_told
from gateway.fhir.r5 import to_r5
from gateway.fhir.r5_trial import SUBJECT_STATE, states, with_past
from tests.releasing import a_consent

STUDIES = sorted(Path("fixtures/config/studies").glob("*.json"))
SUBJECT = {
    "resourceType": "ResearchSubject",
    "status": "on-study",
    "period": {"start": "2026-01-01"},
    "study": {"reference": "ResearchStudy/1"},
    "individual": {"reference": "Patient/1"},
    "consent": {"reference": "Consent/1"},
}


@pytest.mark.parametrize("path", [path for path in STUDIES if "plan" not in path.name], ids=lambda path: path.stem)
def test_a_study_comes_back_as_it_was(path):
    study = {name: value for name, value in json.loads(path.read_text()).items() if name != "arm"}

    assert from_r5(to_r5(study)) == study


def test_a_subject_comes_back_as_it_was_its_past_aside():
    assert from_r5(to_r5(SUBJECT)) == SUBJECT
    lived = with_past(to_r5(SUBJECT), ["screening", "eligible"])
    assert states_told(lived) == ["screening", "eligible", "on-study"]
    assert from_r5(lived, states_told(lived)) == SUBJECT


def test_a_state_behind_those_that_were_told_is_the_newest():
    lived = with_past(to_r5(SUBJECT), ["screening"])
    left = {"subjectState": {"coding": [{"system": SUBJECT_STATE, "code": "off-study"}]}}
    later = lived | {"status": "retired", "progress": [*lived["progress"], left]}

    assert from_r5(later, states_told(lived)) == SUBJECT | {"status": "off-study"}


def test_what_the_extension_for_r4_says_otherwise_is_refused():
    shown = to_r5(SUBJECT | {"assignedArm": "Arm A"})

    with pytest.raises(InvalidResource, match="leave those out"):
        from_r5(shown | {"assignedComparisonGroup": "arm-b"})


def test_what_is_contained_comes_back_too():
    specimen = {"resourceType": "Specimen", "id": "s", "container": [{"capacity": {"value": 1}}]}
    observation = {
        **{"resourceType": "Observation", "status": "final", "code": {"text": "x"}},
        **{"contained": [specimen], "specimen": {"reference": "#s"}},
    }
    document = {"url": "http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value"}
    for written in (observation, observation | {"extension": [document | {"valueAttachment": {"size": 5}}]}):
        check(written)
        assert from_r5(to_r5(written)) == written
    assert to_r5(written)["valueAttachment"] == {"size": "5"}


def test_states_and_days_that_nobody_stored_are_kept_in_an_extension():
    lived = with_past(to_r5(SUBJECT), ["screening", "eligible"])
    lived["progress"][1]["milestone"] = {"text": "signed"}
    lived["progress"][1]["endDate"] = "2026-02-01"

    written = from_r5(lived, ["screening", "on-study"])

    check(written)
    assert written["status"] == "on-study"
    assert len(written["extension"]) == 3
    assert to_r5(written) == lived
    later = to_r5(written | {"status": "off-study"})["progress"]
    assert states(later) == ["screening", "eligible", "on-study", "off-study"]


@pytest.mark.parametrize("status", ["active", "inactive", "proposed", "rejected"])
def test_a_consent_and_a_group_come_back_as_they_were(status):
    consent = a_consent(dateTime="2026-03-01", status=status)
    group = {"resourceType": "Group", "type": "person", "actual": False}

    assert from_r5(to_r5(consent)) == consent
    assert from_r5(to_r5(group)) == group


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"consent": [{"reference": "Consent/1"}, {"reference": "Consent/2"}]}, "ResearchSubject"),
        ({"status": "draft"}, "ResearchSubject.status"),
        ({"progress": []}, "ResearchSubject"),
        ({"progress": "x"}, "ResearchSubject"),
        ({"progress": [{}]}, "ResearchSubject"),
    ],
)  # fmt: skip
def test_what_r4_has_no_place_for_is_refused(changes, path):
    with pytest.raises(InvalidResource) as refused:
        from_r5(to_r5(SUBJECT) | changes)

    assert refused.value.path == path
