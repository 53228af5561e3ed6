from dataclasses import replace

import pytest

from gateway.fhir.codec import decode
from gateway.model.names import SUB_ID
from mappings.segments.nte import NOTE_OF_R5
from mappings.tables import load
from tests.resulting import LAB, OBR, observation, result, statement
from tests.translating import PID, SITE, bodies, body, findings, gaps, translate

HB = "OBX|1|NM|HB^Emoglobina^L||9,8|g/dL|||||F"


def ids(made, resource_type):
    assert made.failure is None, made.failure
    return [each.id for each in made.statements if each.type == resource_type]


# --- the report -----------------------------------------------------------------------------------------------------


def test_an_order_becomes_a_report_that_lists_its_results_in_order():
    made = result(HB, "OBX|2|NM|PLT^Plt^L||250|10*9/L|||||F")

    report = body(made, "DiagnosticReport")
    assert [each["reference"] for each in report["result"]] == [f"Observation/{id}" for id in ids(made, "Observation")]
    assert report["subject"] == {"reference": f"Patient/{ids(made, 'Patient')[0]}"}
    assert [each["type"]["coding"][0]["code"] for each in report["identifier"]] == ["PLAC", "FILL"]
    assert report["effectiveDateTime"] == "2026-03-12T08:00:00+01:00"


def test_every_resource_of_a_result_belongs_to_the_patient():
    made = result(HB)

    patient = ids(made, "Patient")[0]
    assert {each.patient for each in made.statements if each.type in {"Observation", "DiagnosticReport"}} == {patient}


def test_the_visit_of_a_result_is_its_encounter():
    made = translate(PID, "PV1|1|O|||||||||||||||||V7", OBR, HB, site=LAB, kind="ORU^R01")

    reference = {"reference": f"Encounter/{ids(made, 'Encounter')[0]}"}
    assert body(made, "Observation")["encounter"] == reference
    assert body(made, "DiagnosticReport")["encounter"] == reference


def test_a_result_sent_after_the_discharge_does_not_open_the_visit_again():
    made = translate(PID, "PV1|1|I|||||||||||||||||V7", OBR, HB, site=LAB, kind="ORU^R01")

    assert statement(made, "Encounter").tentative == ("class", "status")


@pytest.mark.parametrize(
    ("code", "target"), [(code, each.code) for code, each in load("hl70123_report_status").targets.items()]
)
def test_every_status_of_table_0123_has_its_code(code, target):
    made = translate(PID, OBR[:-1] + code, HB, site=LAB, kind="ORU^R01")

    assert body(made, "DiagnosticReport")["status"] == target


@pytest.mark.parametrize("code", ["Y", "Z"])
def test_a_status_of_queries_fails_naming_field_and_table(code):
    made = translate(PID, OBR[:-1] + code, HB, site=LAB, kind="ORU^R01")

    assert made.failure is not None
    assert made.failure.place == "OBR-25.1"
    assert "0123" in made.failure.what


def test_a_report_that_does_not_say_how_it_stands_is_unknown_or_the_sites_default():
    made = translate(PID, OBR[:-1], HB, site=LAB, kind="ORU^R01")

    assert body(made, "DiagnosticReport")["status"] == "unknown"
    assert "the status of the report is not said: unknown" in findings(made)
    final = replace(LAB, defaults={"0123": "final"})
    assert body(translate(PID, OBR[:-1], HB, site=final, kind="ORU^R01"), "DiagnosticReport")["status"] == "final"


def test_category_issued_and_period_are_taken_from_the_order():
    order = "OBR|1|A77|L91|CBC^Emocromo^L|||20260312080000|20260313080000||||||||||||||20260313100000||HM|F"
    made = translate(PID, order, HB, site=LAB, kind="ORU^R01")

    report, found = body(made, "DiagnosticReport"), body(made, "Observation")
    assert report["issued"] == "2026-03-13T10:00:00+01:00"
    assert report["category"][0]["coding"][0]["code"] == "HM"
    assert found["category"][0]["coding"][0]["code"] == "laboratory"
    assert found["effectivePeriod"] == report["effectivePeriod"]


def test_the_interpreter_of_a_report_is_a_practitioner_however_it_is_written():
    for written in ("7&Rossi&Mario", "7^Rossi^Mario"):
        made = translate(PID, f"{OBR}|||||||{written}", HB, site=LAB, kind="ORU^R01")

        assert body(made, "Practitioner")["name"] == [{"family": "Rossi", "given": ["Mario"]}]


def test_an_order_without_a_service_fails_naming_the_place():
    made = translate(PID, "OBR|1|A77|L91|||||||||||||||||||||||F", HB, site=LAB, kind="ORU^R01")

    assert made.failure is not None
    assert made.failure.place == "OBR-4"


@pytest.mark.parametrize(("segments", "place"), [((PID,), "OBR"), ((OBR, HB), "PID"), ((HB,), "PID")])
def test_a_result_without_patient_or_order_fails_naming_the_segment(segments, place):
    made = translate(*segments, site=LAB, kind="ORU^R01")

    assert made.failure is not None
    assert (made.failure.place, made.failure.code) == (place, "100")


# --- notes ----------------------------------------------------------------------------------------------------------


def test_a_note_belongs_to_what_it_stands_behind():
    made = translate(
        PID, "NTE|1||Madre: tel +355", OBR, "NTE|1||prelievo difficile", HB, "NTE|1||ricontrollato~due volte",
        "OBX|2|NM|PLT^Plt^L||250|10*9/L|||||F", site=LAB, kind="ORU^R01",
    )  # fmt: skip

    first, second = bodies(made, "Observation")
    assert first["note"] == [{"text": "ricontrollato\ndue volte"}]
    assert "note" not in second
    assert body(made, "DiagnosticReport")["extension"] == [
        {"url": NOTE_OF_R5, "valueAnnotation": {"text": "prelievo difficile"}}
    ]
    assert not any(b"+355" in each.body for each in made.statements)
    assert made.not_mapped == ()


# --- specimens ------------------------------------------------------------------------------------------------------


def test_a_specimen_is_the_one_of_its_results():
    made = result(
        HB,
        "SPM|1|P1&LIS^F1&LIS||BLD||EDTA^EDTA^L|VEN^Venoso^L|LA^Braccio^L||||5^mL||NB emolisi|||20260312075500"
        "|202603120900||Y||||HEM^Emolisi^L|||TUBO^Provetta^L|||ACC1",
    )

    specimen = body(made, "Specimen")
    assert body(made, "Observation")["specimen"] == {"reference": f"Specimen/{specimen['id']}"}
    assert body(made, "DiagnosticReport")["specimen"] == [{"reference": f"Specimen/{specimen['id']}"}]
    assert [each["value"] for each in specimen["identifier"]] == ["P1", "F1"]
    assert specimen["status"] == "available"
    assert specimen["type"]["coding"][0] == {
        "system": "http://terminology.hl7.org/CodeSystem/v2-0487", "code": "BLD", "display": "Whole blood",
    }  # fmt: skip
    assert specimen["collection"]["collectedDateTime"] == "2026-03-12T07:55:00+01:00"
    assert specimen["collection"]["quantity"]["code"] == "mL"
    assert specimen["container"][0]["additiveCodeableConcept"]["coding"][0]["code"] == "EDTA"
    assert specimen["accessionIdentifier"]["value"] == "ACC1"
    assert specimen["note"] == [{"text": "NB emolisi"}]


def test_a_rejected_specimen_is_unsatisfactory():
    assert body(result(HB, "SPM|1|^F1||SER|||||||||||||||||RH^Emolisi^L"), "Specimen")["status"] == "unsatisfactory"


def test_a_specimen_of_an_older_message_is_that_of_the_order():
    order = "OBR|1|A77|L91|CBC^Emocromo^L|||20260312080000|||||||202603120900|BLD&Sangue||||||||||F"
    specimen = body(translate(PID, order, HB, site=LAB, kind="ORU^R01"), "Specimen")

    assert specimen["type"]["coding"][0]["code"] == "BLD"
    assert specimen["collection"] == {"collectedDateTime": "2026-03-12T08:00:00+01:00"}
    assert specimen["receivedTime"] == "2026-03-12T09:00:00+01:00"


def test_results_of_several_specimens_name_none_of_them():
    made = result(HB, "SPM|1|^F1||BLD", "SPM|2|^F2||SER")

    assert "specimen" not in body(made, "Observation")
    assert len(body(made, "DiagnosticReport")["specimen"]) == 2


def test_a_result_takes_the_time_of_its_specimen_when_the_order_has_none():
    order = "OBR|1|A77|L91|CBC^Emocromo^L|||||||||||||||||||||F"
    made = translate(PID, order, HB, "SPM|1|^F1||BLD|||||||||||||20260312075500", site=LAB, kind="ORU^R01")

    assert body(made, "Observation")["effectiveDateTime"] == "2026-03-12T07:55:00+01:00"


def test_an_observation_about_the_specimen_has_it_in_focus_and_is_no_result():
    made = result(HB, "SPM|1|^F1||BLD", "OBX|1|ST|VOL^Volume^L||scarso||||||F", version="2.5.1")

    about = next(each for each in bodies(made, "Observation") if "focus" in each)
    assert about["focus"] == [{"reference": f"Specimen/{ids(made, 'Specimen')[0]}"}]
    assert len(body(made, "DiagnosticReport")["result"]) == 1


# --- identity -------------------------------------------------------------------------------------------------------


def test_a_correction_is_the_same_observation_with_another_status():
    first, corrected = result(HB), result(HB.replace("9,8", "10,1")[:-1] + "C")

    assert ids(first, "Observation") == ids(corrected, "Observation")
    assert ids(first, "DiagnosticReport") == ids(corrected, "DiagnosticReport")
    assert statement(corrected, "Observation").status == "corrected"


@pytest.mark.parametrize("status", ["D", "W"])
def test_a_deletion_is_the_same_observation_entered_in_error_and_never_held(status):
    made = result(f"OBX|1|NM|HB^Emoglobina^L||98|g/dL|||||{status}")

    assert ids(made, "Observation") == ids(result(HB), "Observation")
    assert (statement(made, "Observation").status, statement(made, "Observation").held) == ("entered-in-error", "")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (HB.replace("OBX|1", "OBX|7"), True),  # OBX-1 is a number of the message
        (HB.replace("9,8", "5,5"), True),
        (HB.replace("g/dL", "g/L"), True),
        (HB.replace("Emoglobina", "Hb"), True),
        (HB.replace("^L||", "^L|2|"), False),
        (HB.replace("^L||", "^LIS||"), False),
        (HB.replace("HB^", "HBX^"), False),
    ],
)
def test_an_observation_is_named_by_the_senders_code_and_sub_id(other, same):
    assert (ids(result(HB), "Observation") == ids(result(other), "Observation")) is same


def test_mapping_a_code_later_does_not_change_which_observation_it_is():
    assert ids(result(HB), "Observation") == ids(result(HB, site=replace(LAB, codes=())), "Observation")


def test_the_senders_own_result_id_names_the_observation():
    one, other = (result(f"OBX|1|NM|{code}^X^L||9,8|g/dL|||||F||||||||||R1^LIS") for code in ("HB", "XY"))

    assert ids(one, "Observation") == ids(other, "Observation")


def test_equal_results_of_one_message_are_told_apart_by_their_order():
    made = result(HB, HB.replace("9,8", "10,1"))

    assert len(set(ids(made, "Observation"))) == 2


def test_results_with_different_sub_ids_stay_separate():
    made = result("OBX|1|NM|VCN^VCN^L|CD3|1,32|copie/genoma|||||F", "OBX|2|NM|VCN^VCN^L|CD15|0,21|copie/genoma|||||F")

    extensions = [each["extension"] for each in bodies(made, "Observation")]
    assert extensions == [[{"url": SUB_ID, "valueString": name}] for name in ("CD3", "CD15")]


@pytest.mark.parametrize(
    "order",
    [
        "OBR|1|A77|L91|CBC^X^L|||202603120800||||||||||||||||||F",
        "OBR|1||L91|CBC^X^L|||202603120800||||||||||||||||||F",
        "OBR|2|A99|L91|CHEM^X^L|||202603130800||||||||||||||||||F",
    ],
)
def test_the_filler_number_names_the_order(order):
    made = translate(PID, order, HB, site=LAB, kind="ORU^R01")

    assert ids(made, "Observation") == ids(result(HB), "Observation")


def test_the_filler_number_of_orc_stands_in_for_that_of_obr():
    made = translate(PID, "ORC|RE||L91", OBR.replace("A77|L91", "|"), HB, site=LAB, kind="ORU^R01")

    assert ids(made, "Observation") == ids(result(HB), "Observation")


def test_an_order_without_any_number_is_named_by_patient_service_and_time():
    order = OBR.replace("A77|L91", "|")
    made = [
        translate(PID, each, HB, site=LAB, kind="ORU^R01") for each in (order, order, order.replace("0312", "0313"))
    ]

    assert ids(made[0], "Observation") == ids(made[1], "Observation") != ids(made[2], "Observation")


def test_an_order_that_nothing_names_fails_naming_the_filler_number():
    made = translate(PID, "OBR|1|||CBC^Emocromo^L|||||||||||||||||||||F", HB, site=LAB, kind="ORU^R01")

    assert made.failure is not None
    assert made.failure.place == "OBR-3"


def test_another_site_with_the_same_numbers_has_other_results():
    other = replace(LAB, id="hillside")

    assert ids(result(HB), "Observation") != ids(result(HB, site=other), "Observation")


# --- several, and out of place --------------------------------------------------------------------------------------


def test_each_patient_of_a_message_gets_its_own_results():
    second = ("PID|2||0099^^^LAKE^MR||Verdi^Ugo", OBR.replace("L91", "L92"), HB)
    made = translate(PID, OBR, HB, *second, site=LAB, kind="ORU^R01")

    patients = ids(made, "Patient")
    assert [each.patient for each in made.statements if each.type == "Observation"] == patients
    subjects = [decode(each.body)["subject"]["reference"] for each in made.statements if each.type == "Observation"]
    assert subjects == [f"Patient/{id}" for id in patients]


def test_an_observation_belongs_to_the_order_it_stands_behind():
    made = result(HB, OBR.replace("L91", "L92").replace("CBC", "CHEM"), "OBX|1|NM|FERR^F^L||12|ng/mL|||||F")

    assert [len(each["result"]) for each in bodies(made, "DiagnosticReport")] == [1, 1]


def test_a_result_that_belongs_to_no_order_is_said():
    made = translate(PID, "ORC|RE", "OBX|1|ST|X^X^L||a||||||F", OBR, HB, site=LAB, kind="ORU^R01")

    assert len(bodies(made, "Observation")) == 1
    assert "a result that belongs to no order: left out" in findings(made)


def test_the_same_message_says_the_same_twice():
    assert result(HB).statements == result(HB).statements


def test_an_unmapped_service_is_a_gap_and_a_mapped_one_is_not():
    from tests.resulting import entry

    assert ("code", "OBR-4", "CBC") in gaps(result(HB))
    mapped = replace(LAB, codes=(*LAB.codes, entry("CBC", "58410-2")))
    made = result(HB, site=mapped)
    assert ("code", "OBR-4", "CBC") not in gaps(made)
    assert body(made, "DiagnosticReport")["code"]["coding"][0]["code"] == "58410-2"


def test_every_field_of_a_rich_result_is_read_or_left_out_for_a_reason():
    obx = "|".join(["OBX", "1", "NM", "HB^Emoglobina^L", "1", "9,8", "g/dL", "11,5-13,5", "L", "", "N", "F"])
    made = result(obx, site=SITE)

    assert made.not_mapped == ()


def test_the_shortest_observation_is_valid():
    assert observation("OBX|1||X^Test||||||||F").keys() == {
        "resourceType", "id", "subject", "status", "code", "effectiveDateTime", "dataAbsentReason",
    }  # fmt: skip
