"""Every rule of ``release``, one by one."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.fhir.checks import validate
from gateway.model.names import CLIENT_ID, GATEWAY, LOINC, OBSERVATION_CODES, PROTOCOL_VISIT, SOURCE_VALUE, UCUM
from gateway.model.recipient import ReleaseRule
from gateway.model.study import Consent
from gateway.release.blinding import code_reveals
from gateway.release.decision import RULES, Let, Withheld
from gateway.release.policy import Policy
from gateway.release.release import release
from tests.releasing import (
    EVERYTHING,
    KEYS,
    MLD,
    NOON,
    SIGNED,
    WAS,
    a_consent,
    a_patient,
    a_study,
    a_subject,
    an_observation,
    an_organization,
    recipient,
    subject,
    uid,
    version,
)


def rights_of(file=None, study=MLD):
    file = file or recipient()
    policy = Policy([file], [MLD, WAS], KEYS.pseudonym)
    return next(rights for rights in policy.of_study(study.id))


def decide(body, file=None, who=subject(), now=NOON, **columns):  # noqa: B008 - frozen
    return release(version(body, **columns), rights_of(file), who, now)


def observing(*elements, codes=(), **changes):
    rules = dict(EVERYTHING) | {"Observation": ReleaseRule(elements, codes)}
    return recipient(release=rules, **changes)


def test_a_result_of_a_subject_under_consent_leaves_in_pseudonymous_form():
    decision = decide(an_observation())

    assert isinstance(decision, Let)
    assert decision.body["id"] != an_observation()["id"]
    assert decision.body["subject"] == {"reference": f"Patient/{rights_of().public_id(uid('patient'))}"}
    assert decision.body["meta"] == {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
                                                   "code": "PSEUDED"}]}  # fmt: skip
    assert decision.body["code"] == {"coding": [{"system": LOINC, "code": "718-7"}]}
    validate(decision.body)


def test_the_stored_body_is_never_shared_or_changed():
    body = an_observation()
    decision = decide(body)
    decision.body["code"]["coding"].append("x")

    assert body == an_observation()


@pytest.mark.parametrize("status", ["withdrawn", "off-study", "screening", "candidate", "not-registered", ""])
def test_only_the_statuses_of_the_file_are_served(status):
    assert decide(an_observation(), who=subject(status=status)) == Withheld("status", status)


@pytest.mark.parametrize(
    ("who", "rule"),
    [
        (None, "not-a-subject"),
        (subject(study="was"), "not-a-subject"),
        (subject(patient=uid("another")), "not-a-subject"),
        (subject(consents=()), "consent"),
        (subject(consents=(Consent(False, SIGNED, frozenset({"CLINTRCH"}), status="inactive"),)), "consent"),
        (subject(consents=(Consent(True, NOON + timedelta(1), frozenset({"CLINTRCH"})),)), "consent"),
        (subject(consents=(Consent(True, SIGNED, frozenset({"CLINTRCH"}), NOON - timedelta(1)),)), "consent"),
        (subject(consents=(Consent(True, SIGNED, frozenset({"TREAT"})),)), "purpose"),
        (subject(consents=(Consent(True, None, frozenset({"CLINTRCH"})),)), "before-consent"),
    ],
)
def test_membership_and_consent_are_asked_first(who, rule):
    assert decide(an_observation(), who=who).rule == rule


@pytest.mark.parametrize(
    ("when", "look_back", "rule"),
    [
        ("2026-03-01T09:00:00+00:00", 0, None),
        ("2026-03-01T08:59:59+00:00", 0, "before-consent"),
        ("2026-02-20T08:00:00+00:00", 14, None),
        ("2026-02-10T08:00:00+00:00", 14, "before-consent"),
        ("2026-03-15T12:00:00+00:00", 0, None),
        ("2026-03-15T12:00:01+00:00", 0, "after-end"),
    ],
)
def test_data_must_lie_between_the_consent_and_the_end(when, look_back, rule):
    file = recipient(look_back=timedelta(days=look_back))
    who = subject(ended_at=NOON - timedelta(days=5))
    decision = decide(an_observation(effectiveDateTime=when), file, who)

    assert getattr(decision, "rule", None) == rule


def test_data_without_a_time_cannot_be_compared_with_the_consent():
    body = an_observation()
    del body["effectiveDateTime"]

    assert decide(body) == Withheld("no-date")


def test_a_held_resource_waits_for_a_person():
    assert decide(an_observation(), held="implausible value").rule == "held"


def test_a_type_the_file_does_not_list_stays():
    body = {"resourceType": "Condition", "id": uid("condition"), "subject": {"reference": f"Patient/{uid('patient')}"}}

    assert decide(body) == Withheld("type", "Condition")


def test_a_code_the_file_does_not_list_stays():
    file = observing("status", "code", "valueQuantity", codes=(f"{LOINC}|777-3",))

    assert decide(an_observation(), file).rule == "code"


def test_what_belongs_to_another_study_stays():
    other = subject()

    assert decide(a_subject(study=WAS), who=other) == Withheld("study", "a subject of another study")
    assert decide(a_consent(study=WAS), who=other) == Withheld("study", "a consent to something else")
    assert decide(a_study(WAS), who=None) == Withheld("study", "of another study")


def test_a_patient_leaves_as_number_year_and_sex():
    who = subject(number="MLD-007")
    rules = dict(EVERYTHING) | {"Patient": ReleaseRule(("identifier", "gender", "birthDate", "name", "address"))}
    body = a_patient(address=[{"city": "Milano"}])

    decision = decide(body, recipient(release=rules), who)

    assert {name: decision.body[name] for name in decision.body if name not in ("id", "meta", "resourceType")} == {
        "identifier": [{"system": "https://trial-gateway.example/fhir/sid/subject-number/mld", "value": "MLD-007"}],
        "gender": "female",
        "birthDate": "2019",
    }


def test_an_identified_view_keeps_internal_ids_and_sees_what_is_listed():
    rules = dict(EVERYTHING) | {"Patient": ReleaseRule(("identifier", "name", "birthDate"))}
    decision = decide(a_patient(), recipient(identity="identified", release=rules))

    assert decision.body["id"] == uid("patient")
    assert decision.body["name"] == a_patient()["name"]
    assert decision.body["birthDate"] == "2019-03-14"
    assert "gender" not in decision.body
    assert "meta" not in decision.body


def test_an_identified_view_does_not_see_the_number_in_another_study():
    body = a_patient()
    body["identifier"].append({"system": "https://trial-gateway.example/fhir/sid/subject-number/was", "value": "WAS-1"})

    decision = decide(body, recipient(identity="identified"))

    assert [one["value"] for one in decision.body["identifier"]] == ["MRN-4711"]


def test_free_text_and_performers_leave_only_where_the_very_path_is_named():
    body = an_observation(
        note=[{"text": "Sig.ra Rossetti called"}],
        performer=[{"reference": f"Organization/{uid('laboratory')}", "display": "Dr Bianchi"}],
        valueQuantity={
            "value": 98, "unit": "g/L", "system": UCUM, "code": "g/L",
            "extension": [{"url": SOURCE_VALUE, "valueString": "9,8 g/dL"}],
        },
    )  # fmt: skip
    plain = decide(body, observing("status", "code", "valueQuantity"))
    paths = ("code.text", "valueQuantity.value", "valueQuantity.extension", "note", "performer")
    named = decide(body, observing("status", "code", *paths))

    assert plain.body["code"] == {"coding": [{"system": LOINC, "code": "718-7"}]}
    assert "extension" not in plain.body["valueQuantity"]
    assert named.body["code"]["text"] == "Emoglobina"
    assert named.body["note"] == body["note"]
    assert named.body["valueQuantity"]["extension"] == body["valueQuantity"]["extension"]
    assert named.body["performer"] == [{"reference": f"Organization/{rights_of().public_id(uid('laboratory'))}"}], (
        "a Reference never has a display"
    )


def test_a_value_whose_unit_is_only_in_words_is_withheld_not_sent_without_it():
    body = an_observation(valueQuantity={"value": 98, "unit": "as Gaia's mother said"})

    assert decide(body) == Withheld("value", "valueQuantity")


def test_a_result_the_file_has_no_form_for_is_withheld_not_sent_without_its_value():
    body = an_observation(valueString="see letter")
    del body["valueQuantity"]

    assert decide(body) == Withheld("value", "valueString")


def test_a_reference_range_in_words_goes_and_the_result_stays_valid():
    file = observing("status", "code", "valueQuantity", "referenceRange")
    decision = decide(an_observation(referenceRange=[{"text": "as for her brother"}]), file)

    assert "referenceRange" not in decision.body


def test_a_required_element_that_may_not_leave_withholds_the_resource():
    rules = {name: rule for name, rule in EVERYTHING.items() if name != "Patient"}

    assert decide(a_subject(), recipient(release=rules), subject(resource=a_subject()["id"])) == Withheld(
        "required", "ResearchSubject.individual"
    )


def test_a_body_that_is_not_valid_is_withheld():
    assert decide(an_observation(status="nonsense")) == Withheld("invalid", "Observation.status")


ARM_CODE = {"coding": [{"system": OBSERVATION_CODES, "code": "GT-VCN-PBMC"}]}


@pytest.mark.parametrize(
    "body",
    [
        an_observation(code=ARM_CODE),
        an_observation(code={"coding": [{"system": LOINC, "code": "93476-0"}]}),
        an_observation(code={"coding": [{"system": "https://trial-gateway.example/fhir/sid/lab/L", "code": "VCN"}]}),
        an_observation(valueCodeableConcept={"text": "in ARM-TREATED"}, valueQuantity=None),
    ],
)
def test_a_blinded_recipient_never_sees_what_reveals_an_arm(body):
    body = {name: value for name, value in body.items() if value is not None}
    file = observing("status", "code", "valueQuantity", "valueCodeableConcept.text", blinded=True)

    assert decide(body, file).rule == "blinded"
    assert isinstance(decide(body, replace(file, blinded=False)), Let)


def test_a_blinded_recipient_sees_a_subject_without_the_arm():
    elements = ("status", "study", "individual", "assignedArm", "actualArm", "extension")
    rules = dict(EVERYTHING) | {"ResearchSubject": ReleaseRule(elements)}
    body = a_subject(
        assignedArm="ARM-TREATED",
        actualArm="ARM-TREATED",
        extension=[{"url": PROTOCOL_VISIT, "valueString": "day 1 after infusion"}],
    )
    who = subject(resource=body["id"])

    blind = decide(body, recipient(release=rules, blinded=True), who)
    seeing = decide(body, recipient(release=rules), who)

    assert not blind.body.keys() & {"assignedArm", "actualArm", "extension"}
    assert seeing.body["assignedArm"] == "ARM-TREATED"


def test_a_component_that_reveals_an_arm_is_cut_out_for_a_blinded_recipient():
    part = {"code": {"coding": [{"system": LOINC, "code": "777-3"}]}, "valueInteger": 5}
    body = an_observation(component=[part, {"code": ARM_CODE, "valueInteger": 2}])
    file = observing("status", "code", "valueQuantity", "component", blinded=True)

    assert decide(body, file).body["component"] == [part]


def test_an_organization_needs_no_subject():
    assert isinstance(decide(an_organization(), who=None), Let)


def test_every_rule_is_explained():
    named = {"type", "study", "not-a-subject", "status", "consent", "purpose", "no-date", "before-consent", "after-end",
             "merged", "held", "code", "blinded", "entered-in-error", "value", "required", "invalid",
             "deleted", "document", "taken-back"}  # fmt: skip

    assert named == RULES.keys()


@pytest.mark.parametrize(
    "coding", [True, "718-7", [None], [{"system": LOINC, "code": {"coding": [{}]}}], [{"code": 7}]]
)
def test_what_is_no_code_may_reveal_an_arm(coding):
    assert code_reveals({"resourceType": "Observation", "code": {"coding": coding}})


def test_what_was_deleted_does_not_leave():
    decision = release(version(an_observation(), gone=True), rights_of(), subject(), NOON)

    assert decision == Withheld("deleted")


@pytest.mark.parametrize(
    "body",
    [
        {"resourceType": "Procedure", "status": "completed"},
        {"resourceType": "MedicationAdministration", "status": "completed",
         "effectiveDateTime": "2026-03-10", "medicationCodeableConcept": {"text": "x", "coding": [{"code": "1"}]}},
    ],
)  # fmt: skip
def test_what_is_done_to_a_patient_never_reaches_a_blinded_view(body):
    stored = version(body | {"id": uid("done"), "subject": {"reference": f"Patient/{uid('patient')}"}}, date=NOON)
    listed = {body["resourceType"]: ReleaseRule((*(body.keys() - {"resourceType"}), "subject"))}
    files = [recipient(release=EVERYTHING | listed, blinded=blinded) for blinded in (True, False)]

    said = [release(stored, rights_of(file), subject(), NOON) for file in files]

    assert isinstance(said[0], Withheld)
    assert said[0].rule == "blinded"
    assert isinstance(said[1], Let)


def test_a_blinded_view_sees_no_members_of_a_group():
    group = {
        "resourceType": "Group", "id": uid("group"), "type": "person", "actual": True, "quantity": 1,
        "member": [{"entity": {"reference": f"Patient/{uid('patient')}"}}],
    }  # fmt: skip
    listed = EVERYTHING | {"Group": ReleaseRule(("type", "actual", "member", "quantity"))}
    blinded, seeing = (
        release(version(group), rights_of(recipient(release=listed, blinded=blinded)), None, NOON)
        for blinded in (True, False)
    )

    assert blinded.body.keys() == {"resourceType", "id", "meta", "type", "actual"}
    assert seeing.body["member"] == [
        {"entity": {"reference": f"Patient/{rights_of(recipient()).public_id(uid('patient'))}"}}
    ]


def test_a_pseudonymous_view_is_told_who_said_it_where_that_is_a_system():
    clients = {"system": CLIENT_ID, "value": "ctms"}
    agents = [{"who": {"identifier": clients}}, {"who": {"display": GATEWAY}}]
    provenance = {
        "resourceType": "Provenance", "id": uid("provenance"), "recorded": "2026-03-10T12:00:00Z",
        "target": [{"reference": f"Observation/{uid('one')}"}], "agent": agents,
    }  # fmt: skip
    listed = recipient(release=EVERYTHING | {"Provenance": ReleaseRule(("target", "recorded", "agent"))})

    assert decide(provenance, listed).body["agent"] == agents
    for who in ({"display": "Dr. Rossi"}, {"identifier": {"system": "urn:x", "value": "Rossi"}}):
        assert decide(provenance | {"agent": [{"who": who}]}, listed).rule == "required"
