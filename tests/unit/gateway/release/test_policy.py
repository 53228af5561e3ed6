"""What is wrong with a recipient's file, said before anything starts."""

from dataclasses import replace

import pytest

from gateway.model.names import LOINC, OBSERVATION_CODES
from gateway.model.recipient import ReleaseRule
from gateway.release.policy import ELEMENTS, REQUIRED, Policy, blinded_violations, policy_errors
from tests.releasing import EVERYTHING, KEYS, MLD, WAS, recipient


def with_rule(kind, *elements, codes=(), **changes):
    return recipient(release=dict(EVERYTHING) | {kind: ReleaseRule(elements, codes)}, **changes)


def test_a_sound_file_has_no_errors():
    assert policy_errors(recipient()) == []


@pytest.mark.parametrize(
    ("file", "error"),
    [
        (with_rule("Observation", "code"), "release.Observation: status is required by FHIR and not listed"),
        (with_rule("Patient", "identifier", "name"), "release.Patient: name: a pseudonymous view never sees it"),
        (with_rule("Patient", "hairColour"), "release.Patient: hairColour: Patient has no such element"),
        (with_rule("Basic", "code"), "release.Basic: is no resource type that can be released"),
        (with_rule("Organization", "active"), "release.Organization: one of identifier and name is required by FHIR"),
        (with_rule("Encounter", "status", "class", codes=("x|y",)),
         "release.Encounter: codes: only Observation and DiagnosticReport have them"),
        (with_rule("Observation", "status", "code", codes=("718-7",)),
         "release.Observation: codes: '718-7' is not system|code"),
        (recipient(kind="amqp", identity="identified"), "identity: an amqp recipient must be pseudonymous"),
        (recipient(search_by_identifier=True),
         "search_by_identifier: a pseudonymous view has no business identifiers to search by"),
        (recipient(release={"ResearchSubject": ReleaseRule(("status", "study", "individual"))}),
         "release.ResearchSubject: refers to Patient, which is not listed"),
    ],
)  # fmt: skip
def test_each_error_says_where_and_what(file, error):
    assert error in policy_errors(file)


@pytest.mark.parametrize(
    "file",
    [
        with_rule("ResearchSubject", "status", "study", "individual", "assignedArm"),
        with_rule("ResearchStudy", "status", "arm.name"),
        with_rule("Observation", "status", "code"),
        with_rule("Observation", "status", "code", codes=(f"{OBSERVATION_CODES}|GT-CHIM",)),
        with_rule("DiagnosticReport", "status", "code", codes=(f"{LOINC}|93476-0",)),
    ],
)
def test_a_blinded_file_that_could_reveal_an_arm_is_refused(file):
    assert blinded_violations(replace(file, blinded=True))
    assert any("blinded" in error for error in policy_errors(replace(file, blinded=True)))
    assert not any("blinded" in error for error in policy_errors(file))


def test_a_files_digest_changes_with_what_it_entitles_to_and_with_nothing_else():
    def digest(file):
        return Policy([file], [MLD, WAS], KEYS.pseudonym).digest("edc")

    assert digest(recipient()) == digest(recipient(address="http://elsewhere/fhir", timeout=5.0))
    for changes in ({"blinded": True}, {"purpose": "HRESCH"}, {"studies": ("was",)}, {"identity": "identified"}):
        assert digest(recipient()) != digest(recipient(**changes))


def test_every_required_element_is_an_element():
    for kind, names in REQUIRED.items():
        assert set(names) <= ELEMENTS[kind]
