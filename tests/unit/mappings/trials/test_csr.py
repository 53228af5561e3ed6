from dataclasses import replace

import pytest

from gateway.fhir.codec import decode
from gateway.model.identity import resource_id
from gateway.model.names import REASON_ENDED, SUBJECT_NUMBER, TREATMENT_PHASE
from gateway.model.resource import ResourceVersion
from gateway.services.merge import clock_of, first_clocks, merge
from mappings.tables import user_table
from mappings.trials.studies import WORKFLOW_STUDY
from tests.resulting import LAB, OBR
from tests.translating import PID, RECEIVED, SITE, bodies, body, findings, gaps, translate

TRIALS = replace(SITE, studies={"NCT-1": "mld-02"}, consent_purposes={"mld-02": ("CLINTRCH", "HRESCH")})
STUDY = {"reference": f"ResearchStudy/{resource_id(b'k' * 32, 'ResearchStudy', 'mld-02')}"}


def csr(**fields: str) -> str:
    """A CSR of the study NCT-1 and subject S-7, with these fields by number (``f6="20260201"``)."""
    valued = {1: "NCT-1^SPONSOR", 4: "S-7", 6: "20260201"} | {int(name[1:]): text for name, text in fields.items()}
    return "CSR|" + "|".join(valued.get(number, "") for number in range(1, max(valued) + 1))


def crm(event, *segments, site=TRIALS):
    return translate(PID, *(segments or (csr(),)), site=site, kind=f"CRM^{event}")


def subject(event, *segments, site=TRIALS):
    return body(crm(event, *segments, site=site), "ResearchSubject")


def stated(made, resource_type):
    return [each for each in made.statements if each.type == resource_type]


# --- the subject ----------------------------------------------------------------------------------------------------


def test_a_registration_makes_a_subject_of_the_study_of_the_configuration():
    made = crm("C01", csr(f5="A-9", f9="20260128", f11="20260202", f12="ARM-A^Braccio A~ARM-B^Braccio B"))

    found = body(made, "ResearchSubject")
    assert bodies(made, "ResearchStudy") == []
    assert found["study"] == STUDY
    assert found["individual"] == {"reference": f"Patient/{body(made, 'Patient')['id']}"}
    assert found["identifier"] == [
        {"system": f"{SUBJECT_NUMBER}/mld-02", "value": "S-7"},
        {"system": f"{SUBJECT_NUMBER}/mld-02/alternate", "value": "A-9"},
    ]
    assert (found["status"], found["period"], found["assignedArm"]) == ("on-study", {"start": "2026-02-01"}, "ARM-B")


def test_an_alternate_number_of_an_authority_has_its_system():
    assert subject("C01", csr(f5="A-9^^^LAKE^PI"))["identifier"][1]["system"] == "https://lakeside.example/sid/mrn"


@pytest.mark.parametrize(
    ("event", "fields", "status"),
    [
        ("C01", {}, "on-study"),
        ("C01", {"f6": "", "f11": "20260202"}, "on-study"),
        ("C01", {"f6": ""}, "candidate"),
        ("C01", {"f6": "", "f10": "Y"}, "eligible"),
        ("C01", {"f10": "Y"}, "on-study"),
        ("C01", {"f10": "N^Non idoneo"}, "ineligible"),
        ("C01", {"f10": "s"}, "screening"),
        ("C01", {"f15": "20260301"}, "off-study"),
        ("C02", {}, "not-registered"),
        ("C02", {"f10": "Y", "f15": "20260301"}, "not-registered"),
        ("C03", {}, "on-study"),
        ("C04", {"f15": "20260301"}, "off-study"),
        ("C04", {"f15": "20260301", "f16": "WC^Revoca"}, "withdrawn"),
        ("C04", {"f15": "20260301", "f16": "COMP"}, "off-study"),
        ("C04", {"f15": "20260301", "f16": "SF"}, "ineligible"),
        ("C04", {"f15": "20260301", "f16": "BOH"}, "off-study"),
    ],
)
def test_event_and_fields_say_how_a_subject_stands(event, fields, status):
    assert subject(event, csr(**fields))["status"] == status


@pytest.mark.parametrize(("name", "number"), [("csr10_eligibility", 10), ("csr16_reason_ended", 16)])
def test_every_row_of_the_tables_is_a_status(name, number):
    for code, target in user_table(name).targets.items():
        made = subject("C04" if number == 16 else "C01", csr(**{f"f{number}": code}))
        assert made["status"] == ("on-study" if target.code == "eligible" else target.code)


def test_a_reason_nobody_knows_is_a_gap_and_the_sites_default():
    fields = csr(f15="20260301", f16="BOH^Boh^L")

    assert ("table", "CSR-16", "BOH") in gaps(crm("C04", fields))
    withdrawn = replace(TRIALS, defaults={"CSR-16": "withdrawn"})
    assert subject("C04", fields, site=withdrawn)["status"] == "withdrawn"


def test_an_end_closes_the_period_and_says_why():
    made = subject("C04", csr(f15="20260401", f16="LTFU^Perso al follow-up"))

    assert made["period"] == {"start": "2026-02-01", "end": "2026-04-01"}
    (extension,) = made["extension"]
    assert extension["url"] == REASON_ENDED
    assert extension["valueCodeableConcept"]["coding"][0]["code"] == "LTFU"


def test_an_end_without_a_date_is_said():
    assert "the end of the study is not said" in findings(crm("C04"))


def test_a_correction_is_of_the_same_subject_whatever_its_number_becomes():
    first, corrected = subject("C01"), subject("C03", csr(f4="S-8"))

    assert first["id"] == corrected["id"]
    assert corrected["identifier"][0]["value"] == "S-8"


def test_a_correction_removes_what_is_nulled():
    made = crm("C03", csr(f12='""', f16='""', f6='""'))

    (statement,) = stated(made, "ResearchSubject")
    assert statement.removes == ("assignedArm", "extension", "period")


@pytest.mark.parametrize(
    ("event", "fields", "tentative"),
    [
        ("C01", {}, ()),
        ("C02", {}, ()),
        ("C03", {}, ("status",)),
        ("C03", {"f10": "Y"}, ()),
        ("C03", {"f15": "20260401"}, ()),
        ("C03", {"f15": '""'}, ()),
        ("C04", {}, ()),
    ],
)
def test_a_correction_that_does_not_say_how_a_subject_stands_changes_nothing_of_it(event, fields, tentative):
    (statement,) = stated(crm(event, csr(**fields)), "ResearchSubject")

    assert statement.tentative == tentative


def test_phases_are_extensions_of_the_subject():
    made = subject("C01", csr(), "CSP|PH1^Condizionamento^L|20260210|20260214", "CSP|PH2^Follow-up^L|20260215")

    assert [each["url"] for each in made["extension"]] == [TREATMENT_PHASE, TREATMENT_PHASE]
    phase, period = made["extension"][0]["extension"]
    assert phase["valueCodeableConcept"]["coding"][0]["code"] == "PH1"
    assert period["valuePeriod"] == {"start": "2026-02-10", "end": "2026-02-14"}


def test_a_study_nobody_declared_is_one_of_the_site_and_a_gap():
    made = crm("C01", csr(f1="NEW-9^ACME"))

    study = body(made, "ResearchStudy")
    assert ("study", "CSR-1", "NEW-9") in gaps(made)
    assert (study["status"], study["identifier"][0]["value"]) == ("active", "NEW-9")
    assert body(made, "ResearchSubject")["study"] == {"reference": f"ResearchStudy/{study['id']}"}
    assert stated(made, "ResearchStudy")[0].patient == ""


def test_the_alternate_study_id_stands_in_for_the_sponsors():
    assert subject("C01", csr(f1="", f2="NCT-1"))["study"] == STUDY


@pytest.mark.parametrize(
    ("segments", "place"),
    [((PID,), "CSR"), ((csr(), PID), "CSR"), ((PID, csr(f1="")), "CSR-1")],
)
def test_a_registration_without_patient_or_study_fails_naming_the_place(segments, place):
    made = translate(*segments, site=TRIALS, kind="CRM^C01")

    assert made.failure is not None
    assert made.failure.place == place


def test_a_message_may_register_several_patients():
    made = translate(PID, csr(), "PID|2||0099^^^LAKE^MR", csr(f4="S-8"), site=TRIALS, kind="CRM^C01")

    first, second = bodies(made, "ResearchSubject")
    assert first["individual"] != second["individual"]


def test_every_field_of_a_registration_is_read_or_left_out_for_a_reason():
    full = "CSR|" + "|".join(["NCT-1", "NCT-1", "X^Y", "S-7", "A-9", "20260201", "1^A", "2^B", "20260128", "Y"])

    assert crm("C01", f"{full}|20260202|ARM-A|S1|E1|20260301|COMP").not_mapped == ()


# --- consents -------------------------------------------------------------------------------------------------------


def test_a_signed_consent_is_one_consent_for_each_purpose_of_the_site():
    made = crm("C01", csr(f9="20260128"))

    found = bodies(made, "Consent")
    assert [each["provision"]["purpose"][0]["code"] for each in found] == ["CLINTRCH", "HRESCH"]
    assert {each["status"] for each in found} == {"active"}
    assert {each["dateTime"] for each in found} == {"2026-01-28"}
    assert {each["extension"][0]["valueReference"]["reference"] for each in found} == {STUDY["reference"]}
    assert body(made, "ResearchSubject")["consent"] == {"reference": f"Consent/{found[0]['id']}"}
    assert [each.tentative for each in stated(made, "Consent")] == [(), ()]


def test_a_site_that_declares_no_purposes_means_clinical_trial_research():
    made = crm("C01", csr(f9="20260128"), site=replace(TRIALS, consent_purposes={}))

    assert body(made, "Consent")["provision"]["purpose"][0]["code"] == "CLINTRCH"


@pytest.mark.parametrize(
    ("event", "fields", "status"),
    [
        ("C02", {}, "inactive"),
        ("C02", {"f9": "20260128"}, "inactive"),
        ("C04", {"f15": "20260401", "f16": "WC"}, "inactive"),
        ("C04", {"f15": "20260401", "f16": "WC", "f9": "20260128"}, "inactive"),
        ("C04", {"f15": "20260401", "f16": "COMP", "f9": "20260128"}, "active"),
        ("C03", {"f9": '""'}, "entered-in-error"),
        ("C03", {"f9": "20260129"}, "active"),
    ],
)
def test_what_becomes_of_the_consents(event, fields, status):
    assert {each["status"] for each in bodies(crm(event, csr(**fields)), "Consent")} == {status}


@pytest.mark.parametrize(("event", "fields"), [("C01", {}), ("C03", {}), ("C04", {"f15": "20260401"})])
def test_nothing_is_said_of_consents_when_the_message_says_nothing(event, fields):
    assert bodies(crm(event, csr(**fields)), "Consent") == []


def test_repeating_the_date_of_a_consent_does_not_revive_it():
    for event in ("C03", "C04"):
        (first, _) = stated(crm(event, csr(f9="20260128")), "Consent")
        assert first.tentative == ("provision", "status")


def story(*messages):
    """The ResearchSubject and the first Consent after these messages, merged in this order of receipt."""
    heads = {}
    for number, (sent, event, fields) in enumerate(messages, start=1):
        made = crm(event, csr(**fields))
        for statement in (stated(made, "ResearchSubject")[0], *stated(made, "Consent")[:1]):
            head, clock = heads.get(statement.type), clock_of(statement, sent, number)
            merged = merge(head, statement, clock) if head else None
            heads[statement.type] = ResourceVersion(
                statement.type,
                statement.id,
                number,
                merged.body if merged else statement.body,
                number,
                RECEIVED,
                clocks=merged.clocks if merged else first_clocks(statement, clock),
            )
    return decode(heads["ResearchSubject"].body), decode(heads["Consent"].body)


WITHDRAWN = ("2026-04-01", "C04", {"f15": "20260401", "f16": "WC"})
REGISTERED = ("2026-02-01", "C01", {"f9": "20260128"})


@pytest.mark.parametrize(
    "order",
    [
        (REGISTERED, WITHDRAWN, ("2026-05-01", "C03", {"f4": "S-8", "f9": "20260127"})),
        (REGISTERED, ("2026-05-01", "C03", {"f4": "S-8", "f9": "20260127"}), WITHDRAWN),
    ],
)
def test_correcting_a_withdrawn_subject_does_not_bring_it_back(order):
    subject, consent = story(*order)

    assert (subject["status"], subject["identifier"][0]["value"]) == ("withdrawn", "S-8")
    assert (consent["status"], consent["dateTime"]) == ("inactive", "2026-01-27")


def test_registering_again_does_bring_it_back():
    subject, consent = story(REGISTERED, WITHDRAWN, ("2026-05-01", "C01", {"f9": "20260430"}))

    assert (subject["status"], consent["status"]) == ("on-study", "active")


def test_a_withdrawn_consent_ends_with_the_participation():
    found = bodies(crm("C04", csr(f15="20260401", f16="WC")), "Consent")

    assert found[0]["provision"]["period"] == {"end": "2026-04-01"}
    assert found[0]["id"] == bodies(crm("C01", csr(f9="20260128")), "Consent")[0]["id"]


# --- CTI ------------------------------------------------------------------------------------------------------------

HB = "OBX|1|NM|HB^Hb^L||9,8|g/dL|||||F"
CTI = "CTI|NCT-1^SPONSOR|PH1^Follow-up^L|V3^Visita 3^L"
TRIAL_LAB = replace(LAB, studies={"NCT-1": "mld-02"})


def test_a_result_with_a_trial_segment_is_placed_in_the_study_and_visit():
    made = translate(PID, OBR, HB, CTI, site=TRIAL_LAB, kind="ORU^R01")

    for resource_type in ("Observation", "DiagnosticReport"):
        study, phase, visit = body(made, resource_type)["extension"]
        assert study == {"url": WORKFLOW_STUDY, "valueReference": STUDY}
        assert phase["extension"][0]["valueCodeableConcept"]["coding"][0]["code"] == "PH1"
        assert visit["valueCodeableConcept"]["coding"][0]["display"] == "Visita 3"


def test_a_trial_segment_places_the_results_of_its_own_order_alone():
    made = translate(PID, OBR, HB, CTI, OBR.replace("L91", "L92"), HB, site=TRIAL_LAB, kind="ORU^R01")

    assert ["extension" in each for each in bodies(made, "Observation")] == [True, False]


def test_a_trial_segment_in_any_other_message_places_the_visit():
    made = translate(PID, "PV1|1|O|||||||||||||||||V7", CTI, site=TRIALS, kind="ADT^A01")

    assert body(made, "Encounter")["extension"][0] == {"url": WORKFLOW_STUDY, "valueReference": STUDY}


def test_an_undeclared_study_of_a_result_is_a_gap():
    made = translate(PID, OBR, HB, CTI, site=LAB, kind="ORU^R01")

    assert ("study", "CTI-1", "NCT-1") in gaps(made)
    assert body(made, "ResearchStudy")["identifier"][0]["value"] == "NCT-1"
