from copy import deepcopy
from importlib import import_module

import pytest

from gateway.errors import InvalidResource
from gateway.fhir import bundle
from gateway.fhir.checks import check
from gateway.fhir.r5 import CROSS_VERSION, to_r5
from gateway.fhir.r5_steps import R4_ONLY
from tests.unit.gateway.fhir.examples_r4 import GOOD, concept, good, ref


def model(kind):
    return getattr(import_module(f"fhir.resources.{kind.lower()}"), kind)


@pytest.mark.parametrize("resource", GOOD, ids=lambda resource: resource["resourceType"])
def test_every_example_is_valid_r5_and_the_r4_is_left_alone(resource):
    before = deepcopy(resource)
    made = to_r5(resource)

    model(resource["resourceType"]).model_validate(made)
    assert resource == before


def test_a_subjects_status_becomes_progress():
    made = to_r5(good("ResearchSubject"))

    assert made["status"] == "active"
    assert made["progress"] == [
        {
            "subjectState": {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/research-subject-state",
                        "code": "on-study-intervention",
                    }
                ]
            },
            "startDate": "2026-03-01",
        }
    ]
    assert made["consent"] == [good("ResearchSubject")["consent"]]
    assert made["assignedComparisonGroup"] == "low-dose"
    assert "individual" not in made
    assert "assignedArm" not in made


def test_a_subject_who_left_has_a_retired_record():
    assert to_r5({**good("ResearchSubject"), "status": "withdrawn"})["status"] == "retired"


def test_a_subjects_history_travels_in_the_cross_version_extension():
    steps = [("screening", "2026-01-01"), ("on-study", "2026-03-01")]
    history = [
        {
            "url": f"{CROSS_VERSION}ResearchSubject.progress",
            "extension": [
                {"url": "subjectState", "valueCodeableConcept": concept(state)},
                {"url": "startDate", "valueDateTime": start},
            ],
        }
        for state, start in steps
    ]
    other = {"url": "http://example.org/other", "valueCode": "x"}
    subject = {**good("ResearchSubject"), "extension": [*history, other]}
    check(subject)

    made = to_r5(subject)

    model("ResearchSubject").model_validate(made)
    assert [each["startDate"] for each in made["progress"]] == ["2026-01-01", "2026-03-01", "2026-03-01"]
    assert made["progress"][-1]["subjectState"]["coding"][0]["code"] == subject["status"]
    assert made["extension"][0] == other
    assert not any(each["url"].startswith(CROSS_VERSION) for each in made["extension"])


def test_a_study_says_its_progress_and_its_parties():
    made = to_r5(good("ResearchStudy"))

    assert made["status"] == "active"
    assert made["progressStatus"][0]["state"]["coding"][0]["code"] == "active"
    roles = [each["role"]["coding"][0]["code"] for each in made["associatedParty"]]
    assert roles == ["sponsor", "primary-investigator", "general-contact"]
    assert [each["linkId"] for each in made["comparisonGroup"]] == ["low-dose", "high-dose"]
    assert made["recruitment"] == {"actualGroup": ref("Group")}
    assert made["relatedArtifact"][0]["document"] == {"url": "http://example.org/protocol"}


@pytest.mark.parametrize(
    ("r4", "status", "subject"),
    [
        ("planned", "planned", None),
        ("arrived", "in-progress", "arrived"),
        ("onleave", "on-hold", "on-leave"),
        ("finished", "completed", None),
        ("entered-in-error", "entered-in-error", None),
    ],
)
def test_an_encounters_status_is_told_in_r5_words(r4, status, subject):
    made = to_r5({**good("Encounter"), "status": r4})
    assert made["status"] == status
    assert (made["subjectStatus"]["coding"][0]["code"] if "subjectStatus" in made else None) == subject


def test_an_encounter_keeps_what_it_says():
    made = to_r5(good("Encounter"))

    assert made["class"][0]["coding"][0]["code"] == "IMP"
    assert made["actualPeriod"] == good("Encounter")["period"]
    assert made["participant"][0]["actor"] == ref("Practitioner")
    assert made["admission"] == {"admitSource": concept("gp")}
    assert made["dietPreference"] == [concept("halal")]
    assert made["diagnosis"] == [
        {
            "condition": [{"reference": ref("Condition")}],
            "use": [concept("AD")],
            "extension": [{"url": f"{R4_ONLY}Encounter.diagnosis.rank", "valuePositiveInt": 1}],
        }
    ]
    assert [value for reason in made["reason"] for value in reason["value"]] == [
        {"concept": concept("transplant")},
        {"reference": ref("Condition")},
        {"reference": ref("Procedure")},
    ]


def test_a_consents_decision_is_lifted_from_its_provision():
    made = to_r5(good("Consent"))

    assert made["decision"] == "permit"
    assert made["date"] == "2026-03-01"
    assert made["subject"] == ref("Patient")
    assert made["regulatoryBasis"] == [concept("cric")]
    assert made["policyBasis"] == {"url": "http://example.org/policy"}
    assert "type" not in made["provision"][0]
    assert made["provision"][0]["resourceType"][0]["code"] == "Observation"
    assert made["category"][-1]["text"] == "research"
    assert "provision" not in to_r5({**good("Consent"), "provision": {"type": "deny"}})


def test_a_bundle_and_what_is_contained_follow():
    observation = {
        **good("Observation"),
        "contained": [{"resourceType": "Specimen", "id": "s", "collection": {"bodySite": concept("arm")}}],
        "specimen": {"reference": "#s"},
    }
    check(observation)
    made = to_r5(bundle.transaction([bundle.put(observation), bundle.delete("Patient", "1")]))

    model("Bundle").model_validate(made)
    assert made["entry"][0]["resource"]["contained"][0]["collection"]["bodySite"] == {"concept": concept("arm")}
    assert made["entry"][1] == bundle.delete("Patient", "1")


def test_a_type_without_an_r5_view_is_refused():
    with pytest.raises(InvalidResource):
        to_r5({"resourceType": "Media"})
