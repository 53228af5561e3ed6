import base64
from dataclasses import replace
from decimal import Decimal

import pytest

from gateway.model.names import SOURCE_VALUE, SUB_ID, UCUM
from mappings.segments.obx_meaning import is_loinc
from mappings.segments.obx_media import VALUE_OF_R5
from mappings.tables import load
from tests.resulting import LAB, LOCAL, LOINC, entry, held, observation, result, source, value
from tests.translating import SITE, findings, gaps

POINT = replace(LAB, decimal_comma=False, thousands="")


def quantity(number: str, unit: str = "", **more: object) -> dict[str, object]:
    coded = {"unit": unit, "system": UCUM, "code": unit} if unit else {}
    return {"value": Decimal(number), **coded, **more}


def concept(system: str, code: str, display: str) -> dict[str, object]:
    return {"valueCodeableConcept": {"coding": [{"system": system, "code": code, "display": display}]}}


def without_source(made: dict[str, object]) -> dict[str, object]:
    return {name: each for name, each in made.items() if name != "extension"}


# --- the code -------------------------------------------------------------------------------------------------------


def test_the_standard_code_comes_before_the_senders_own():
    made = observation("OBX|1|NM|HB^Emoglobina^L||9,8|g/dL|||||F")

    assert made["code"] == {
        "coding": [{"system": LOINC, "code": "718-7"}, {"system": LOCAL, "code": "HB", "display": "Emoglobina"}]
    }


def test_an_unmapped_code_passes_through_and_is_a_gap():
    made = result("OBX|1|NM|XYZ^Nuovo^L||1|g/dL|||||F")

    (gap,) = [each for each in made.gaps if each.place == "OBX-3"]
    assert (gap.kind, gap.code, gap.system, gap.unit, gap.text) == ("code", "XYZ", "L", "g/dL", "Nuovo")


def test_a_loinc_code_is_no_gap_but_a_wrong_check_digit_is_said():
    made = result("OBX|1|NM|718-7^Hb^LN||9,8|g/dL|||||F", "OBX|2|NM|718-8^Hb^LN||9,8|g/dL|||||F")

    assert [gap for gap in made.gaps if gap.place == "OBX-3"] == []
    assert "a LOINC code whose check digit is wrong" in findings(made)
    assert not is_loinc("abc")


def test_the_second_triplet_is_mapped_when_the_first_is_not():
    made = observation("OBX|1|NM|9999^Hgb^99LOC^HB^Emoglobina^L||9,8|g/dL|||||F")

    assert made["code"]["coding"][0] == {"system": LOINC, "code": "718-7"}


def test_a_code_without_a_system_is_the_sites_own():
    (coding,) = observation("OBX|1|NM|ABC||1|g/dL|||||F")["code"]["coding"]

    assert coding == {"system": "https://trial-gateway.example/fhir/sid/lakeside/codes/unnamed", "code": "ABC"}


def test_an_observation_without_a_code_fails_naming_the_place():
    made = result("OBX|1|NM|||9,8|g/dL|||||F")

    assert made.failure is not None
    assert (made.failure.place, made.failure.code) == ("OBX-3", "101")


@pytest.mark.parametrize(
    ("day", "standard"),
    [("20250701", True), ("20250630", False)],
)
def test_a_code_means_what_it_meant_on_the_day_of_the_result(day, standard):
    made = observation(f"OBX|1|NM|CD4^CD4^L||36|cell/mm3|||||F|||{day}")

    assert (made["code"]["coding"][0]["system"] == LOINC) is standard


# --- numbers and units ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "sent", "unit", "expected"),
    [
        ("HB", "NM", "9,8", "g/dL", quantity("9.8", "g/dL")),
        ("HB", "NM", "98", "g/L", quantity("9.8", "g/dL")),
        ("HB", "NM", "98", "g/dl", quantity("98", "g/dL")),
        ("PLT", "NM", "250.000", "/mm3", quantity("250", "10*3/uL")),
        ("PLT", "NM", "38", "10^9/L", quantity("38", "10*3/uL")),
        ("PLT", "NM", "0,38", "lakh/cumm", quantity("38", "10*3/uL")),
        ("PLT", "NM", "22.000", "/cmm", quantity("22", "10*3/uL")),
        ("BILT", "NM", "22", "umol/L", quantity("1.29", "mg/dL")),
        ("IGE", "NM", "1800", "IU/mL", quantity("1800000", "[IU]/L")),
        ("VCN", "ST", "<0,01", "copie/genoma", quantity("0.01", "{copies}/{genome}", comparator="<")),
        ("FERR", "NM", ">2000", "ng/mL", quantity("2000", "ng/mL", comparator=">")),
        ("FERR", "NM", "inf. 0.5", "ng/mL", quantity("0.5", "ng/mL", comparator="<")),
        ("GMFM", "NM", "61,5", "", quantity("61.5", "{score}")),
        ("ASSUMED", "NM", "1840", "", quantity("1840", "ng/mL")),
    ],
)
def test_a_value_is_given_in_the_canonical_unit_with_the_source_beside_it(code, kind, sent, unit, expected):
    made = value(kind, sent, unit, code)["valueQuantity"]

    assert without_source(made) == expected
    if "extension" in made:
        assert source(made)["value"] == sent
        assert source(made).get("unit", "") == unit


def test_nothing_stands_beside_a_value_that_was_not_changed():
    assert value("NM", "9.8", "g/dL", "HB", POINT) == {"valueQuantity": quantity("9.8", "g/dL")}


def test_an_assumed_unit_is_said_to_be_assumed():
    assert source(value("NM", "1840", "", "ASSUMED")["valueQuantity"])["assumed-unit"] == "ug/L"


def test_an_unknown_unit_travels_as_text_and_is_a_gap():
    made = result("OBX|1|NM|HB^Hb^L||9,8|pz/mL|||||F")

    assert ("unit", "OBX-6", "pz/mL") in gaps(made)
    assert without_source(value("NM", "9,8", "pz/mL", "HB")["valueQuantity"]) == {
        "value": Decimal("9.8"),
        "unit": "pz/mL",
    }


def test_a_unit_with_a_coding_system_of_its_own_is_taken_as_ucum():
    made = value("NM", "9.8", "mg/kg/h^milligram per kilogram per hour^UCUM", "X", POINT)

    assert made["valueQuantity"] == quantity("9.8", "mg/kg/h")


def test_an_unescaped_power_that_nobody_knows_is_put_together_again():
    assert source(value("NM", "3,8", "10^7/L")["valueQuantity"])["unit"] == "10^7/L"


@pytest.mark.parametrize(
    ("segment", "reason"),
    [
        ("OBX|1|NM|HB^Hb^L||98|g/dL|||||F", "implausible value"),
        ("OBX|1|NM|WT^Peso^L||9800|kg|||||F", "implausible value"),
        ("OBX|1|NM|WT^Peso^L||9800|g|||||F", ""),
        ("OBX|1|NM|FERR^Ferritina^L||1840||||||F", "unit missing"),
        ("OBX|1|NM|XYZ^Ferritina^L||1840||||||F", "unit missing"),
        ("OBX|1|NM|ASSUMED^Ferritina^L||1840||||||F", ""),
        ("OBX|1|NM|ADA^ADA^L||820|mU/g Hb|||||F", "unit does not fit the code"),
        ("OBX|1|NM|PLT^Plt^L||1.250|/mm3|||||F", "number with two readings"),
        ("OBX|1|NM|PLT^Plt^L||1.25.0|/mm3|||||F", "number not written as the site writes them"),
        ("OBX|1|NM|IDUA^IDUA^L||1,1|nmol/h/mg prot|||||F", "method missing"),
        ("OBX|1|NM|IDUA^IDUA^L||1,1|nmol/h/mg prot|||||F||||||MS/MS", ""),
        ("OBX|1|NM|HB^Hb^L||9,8|g/dL|||||F|||20270101080000", "effective time in the future"),
        ("OBX|1|NM|HB^Hb^L||98|g/dL|||||D", ""),
        ("OBX|1|SN|AB^Anticorpi^L||^1^:^128||||||F", ""),  # a titre has no unit
    ],
)
def test_what_a_person_must_see_first_is_held(segment, reason):
    assert held(segment) == reason


def test_a_unit_of_another_property_takes_the_standard_code_away():
    made = result("OBX|1|NM|ADA^ADA eritrocitaria^L||820|mU/g Hb|||||F")

    assert ("unit", "OBX-6", "ADA") in gaps(made)
    made = observation("OBX|1|NM|ADA^ADA eritrocitaria^L||820|mU/g Hb|||||F")
    assert [coding["code"] for coding in made["code"]["coding"]] == ["ADA"]
    assert made["valueQuantity"]["code"] == "mU/g{Hb}"


def test_a_number_with_two_readings_is_kept_as_text():
    assert value("NM", "1.250", "/mm3", "PLT") == {"valueString": "1.250"}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("N.D.", ("unknown", "N.D.")),
        ("vedi nota", ("as-text", "vedi nota")),
        ("non eseguito", ("not-performed", "non eseguito")),
    ],
)
def test_a_word_for_no_value_is_a_reason_that_keeps_the_word(sent, expected):
    made = value("NM", sent, "fL")

    (coding,) = made["dataAbsentReason"]["coding"]
    assert (coding["code"], made["dataAbsentReason"]["text"]) == expected
    assert len(made) == 1


def test_other_words_in_a_number_are_kept_as_text_and_never_zero():
    assert value("NM", "tracce", "mg/dL") == {"valueString": "tracce"}


def test_a_text_with_a_unit_keeps_the_unit_beside_it():
    made = observation("OBX|1|ST|HB^Hb^L||vedi|g/dL|||||F")

    (extension,) = made["extension"]
    assert extension["url"] == SOURCE_VALUE
    assert extension["extension"][1] == {"url": "unit", "valueString": "g/dL"}


# --- the other types ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "sent", "expected"),
    [
        ("ST", "12345", {"valueString": "12345"}),
        ("ST", "N.D.", {"valueString": "N.D."}),
        ("TX", "riga 1~riga 2", {"valueString": "riga 1\nriga 2"}),
        ("FT", "linea 1\\.br\\linea 2 \\T\\ fine", {"valueString": "linea 1\nlinea 2 & fine"}),
        ("TX", "a^b", {"valueString": "a^b"}),
        ("CE", "POS^Positivo^L", concept(LOCAL, "POS", "Positivo")),
        ("CWE", "^solo testo", {"valueCodeableConcept": {"text": "solo testo"}}),
        ("CNE", "260385009^Negative^SCT", concept("http://snomed.info/sct", "260385009", "Negative")),
        ("CF", "A^b^L", concept(LOCAL, "A", "b")),
        ("IS", "A", {"valueCodeableConcept": {"coding": [{"code": "A"}]}}),
        ("DT", "20260301", {"valueDateTime": "2026-03-01"}),
        ("DTM", "202603011530", {"valueDateTime": "2026-03-01T15:30:00+01:00"}),
        ("TS", "20260301153000+0000", {"valueDateTime": "2026-03-01T15:30:00+00:00"}),
        ("TS", "boh", {"valueString": "boh"}),
        ("TM", "1530", {"valueTime": "15:30:00"}),
        ("DR", "20260301^20260302", {"valuePeriod": {"start": "2026-03-01", "end": "2026-03-02"}}),
        ("NR", "3^17", {"valueRange": {"low": {"value": 3}, "high": {"value": 17}}}),
        ("NR", "3^boh", {"valueString": "3^boh"}),
        ("VR", "3^17", {"valueString": "3-17"}),
        ("SN", "<>^3", {"valueString": "<> 3"}),
        ("SN", "^3^+", {"valueString": "3 +"}),
        ("SN", "^3^-^17", {"valueRange": {"low": {"value": 3}, "high": {"value": 17}}}),
        ("SN", "^1^:^128", {"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 128}}}),
        ("SN", "^1^/^3", {"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 3}}}),
        ("SN", "=^7", {"valueQuantity": {"value": 7}}),
        ("SN", "^boh", {"valueString": "boh"}),
        ("", "testo", {"valueString": "testo"}),
    ],
)  # fmt: skip
def test_every_value_type_has_its_form(kind, sent, expected):
    assert value(kind, sent, site=POINT) == expected


def test_a_structured_number_keeps_its_comparator_and_what_was_sent():
    made = value("SN", ">=^2000", "ng/mL", "FERR", POINT)["valueQuantity"]

    assert without_source(made) == quantity("2000", "ng/mL", comparator=">=")
    assert source(made) == {"value": ">=2000", "unit": "ng/mL"}


@pytest.mark.parametrize("kind", ["XAD", "XTN", "CX", "HD", "EI", "DLN", "TN", "TXT"])
def test_a_type_fhir_has_no_value_for_is_said_and_listed(kind):
    made = result(f"OBX|1|{kind}|X^X^L||qualcosa^altro||||||F")

    assert ("table", "OBX-2", kind) in gaps(made)
    assert value(kind, "qualcosa")["dataAbsentReason"]["coding"][0]["code"] == "unsupported"


def test_a_document_is_an_attachment_of_the_r5_value():
    pdf = base64.b64encode(b"%PDF-1.4").decode()
    (extension,) = observation(f"OBX|1|ED|REF^Referto^L||^application^pdf^Base64^{pdf}||||||F")["extension"]

    assert extension == {"url": VALUE_OF_R5, "valueAttachment": {"contentType": "application/pdf", "data": pdf}}


@pytest.mark.parametrize(
    ("sent", "attachment"),
    [
        ("^TEXT^^A^ciao", {"contentType": "text/plain; charset=UTF-8", "data": base64.b64encode(b"ciao").decode()}),
        ("^IM^JPEG^Hex^FFD8", {"contentType": "image/jpeg", "data": base64.b64encode(b"\xff\xd8").decode()}),
        ("^AU^x^Base64^AA==", {"contentType": "application/octet-stream", "data": "AA=="}),
    ],
)
def test_a_document_is_carried_as_base64_whatever_it_was(sent, attachment):
    (extension,) = observation(f"OBX|1|ED|REF^Referto^L||{sent}||||||F")["extension"]

    assert extension["valueAttachment"] == attachment


def test_a_document_that_cannot_be_decoded_is_left_out_with_a_reason():
    assert value("ED", "^application^pdf^Base64^JVB@@@")["dataAbsentReason"]["coding"][0]["code"] == "error"


def test_a_pointer_is_an_attachment_with_an_address():
    (extension,) = observation("OBX|1|RP|REF^R^L||https://pacs.example/1^^application^dicom||||||F")["extension"]

    assert extension["valueAttachment"] == {"contentType": "application/dicom", "url": "https://pacs.example/1"}


def test_a_series_of_numbers_is_sampled_data_of_unknown_period():
    made = value("NA", "1^2,5^3", "mV")["valueSampledData"]

    assert made["data"] == "1 2.5 3"
    assert "period" not in made


def test_repetitions_are_components_of_one_observation():
    made = observation("OBX|1|NM|HB^Hb^L||9,8~10,1|g/dL|||||F")

    assert [each["valueQuantity"]["value"] for each in made["component"]] == [Decimal("9.8"), Decimal("10.1")]
    assert made["component"][0]["code"] == made["code"]
    assert "valueQuantity" not in made


# --- status, and no value at all ------------------------------------------------------------------------------------


STATUSES = load("hl70085_observation_status").targets


@pytest.mark.parametrize(("code", "target"), [(code, each.code) for code, each in STATUSES.items()])
def test_every_status_of_table_0085_has_its_code(code, target):
    assert observation(f"OBX|1|NM|HB^Hb^L||9,8|g/dL|||||{code}")["status"] == target


def test_a_status_the_table_does_not_know_is_unknown_and_a_gap():
    made = result("OBX|1|NM|HB^Hb^L||9,8|g/dL|||||Q")

    assert ("table", "OBX-11", "Q") in gaps(made)


def test_a_missing_status_fails_naming_field_and_table_unless_the_site_has_a_default():
    made = result("OBX|1|NM|HB^Hb^L||9,8|g/dL")

    assert made.failure is not None
    assert made.failure.place == "OBX-11"
    assert "0085" in made.failure.what
    lenient = replace(LAB, defaults={"0085": "final"})
    assert observation("OBX|1|NM|HB^Hb^L||9,8|g/dL", site=lenient)["status"] == "final"


@pytest.mark.parametrize(
    ("status", "reason"),
    [("F", "unknown"), ("N", "not-asked"), ("I", "temp-unknown"), ("X", "unknown"), ("D", None), ("W", None)],
)
@pytest.mark.parametrize("sent", ["", '""'])
def test_no_value_says_why_unless_the_result_is_taken_back(status, reason, sent):
    made = value("NM", sent, status=status)

    assert made.get("dataAbsentReason", {}).get("coding", [{}])[0].get("code") == reason
    assert made.keys() <= {"dataAbsentReason"}


# --- what stands beside the value -----------------------------------------------------------------------------------


def test_the_reference_range_is_in_the_unit_of_the_value_and_in_the_senders_words():
    (made,) = observation("OBX|1|NM|HB^Hb^L||98|g/L|115-135||||F")["referenceRange"]

    assert made == {"low": quantity("11.5", "g/dL"), "high": quantity("13.5", "g/dL"), "text": "115-135 g/L"}


def test_a_range_in_words_stays_in_words():
    (made,) = observation("OBX|1|NM|HB^Hb^L||9,8|g/dL|negativo||||F")["referenceRange"]

    assert made == {"text": "negativo"}


def test_interpretations_go_through_table_0078():
    made = observation("OBX|1|NM|HB^Hb^L||9,8|g/dL||L~<~HM|||F")["interpretation"]

    assert [(each["coding"][0]["system"].rpartition("/")[2], each["coding"][0]["code"]) for each in made] == [
        ("v3-ObservationInterpretation", "L"),
        ("v3-ObservationInterpretation", "<"),
        ("v2-0078", "HM"),
    ]


def test_an_interpretation_nobody_knows_is_the_sites_own_and_a_gap():
    made = result("OBX|1|NM|HB^Hb^L||9,8|g/dL||ALTO|||F")

    assert ("table", "OBX-8", "ALTO") in gaps(made)


def test_method_performers_body_site_and_extensions_are_carried():
    made = observation(
        "OBX|1|NM|VCN^VCN^L|CD3|1,32|copie/genoma||||S|F||||LAB7^Laboratorio TIGET^LAKE|12^Bianchi^Luca|ddPCR^ddPCR^L"
        "||20260313091500|T1^Sangue^L|R1^LIS"
    )

    assert made["method"]["coding"][0]["code"] == "ddPCR"
    assert [each["reference"].partition("/")[0] for each in made["performer"]] == ["Practitioner", "Organization"]
    assert made["bodySite"]["coding"][0]["code"] == "T1"
    assert made["identifier"][0]["value"] == "R1"
    urls = [each["url"].rpartition("/")[2] for each in made["extension"]]
    assert urls == [SUB_ID.rpartition("/")[2], "observation-nature-of-abnormal-test", "observation-analysis-date-time"]


def test_the_laboratory_is_an_organization_with_its_number_and_name():
    made = result("OBX|1|NM|HB^Hb^L||9,8|g/dL|||||F||||LAB7^Laboratorio^LAKE")

    from tests.translating import bodies

    laboratory = next(each for each in bodies(made, "Organization") if each["name"] == "Laboratorio")
    assert laboratory["identifier"] == [{"system": "https://lakeside.example/sid/mrn", "value": "LAB7"}]


def test_the_time_of_the_result_is_its_own_else_the_orders():
    assert observation("OBX|1|NM|HB^Hb^L||9,8|g/dL|||||F|||202603111000")["effectiveDateTime"].startswith(
        "2026-03-11T10"
    )
    assert observation("OBX|1|NM|HB^Hb^L||9,8|g/dL|||||F")["effectiveDateTime"].startswith("2026-03-12T08")


def test_a_site_of_another_number_format_reads_its_own_numbers():
    assert value("NM", "9.8", "g/dL", "HB", replace(SITE, codes=(entry("HB", "718-7", "g/dL"),))) == {
        "valueQuantity": quantity("9.8", "g/dL")
    }
