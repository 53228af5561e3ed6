"""What local laboratories really send, by the number of the hazard; what each must become."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from tests.resulting import GT, LAB, entry, held, observation, result, source
from tests.translating import PID, bodies, findings, gaps, translate

UNIT = replace(
    LAB,
    codes=(
        entry("HB", "718-7", "g/dL", low=Decimal(1), high=Decimal(25)),
        entry("PLAQ", "777-3", "10*3/uL"),
        entry("PLT", "777-3", "10*3/uL"),
        entry("WBC", "6690-2", "10*3/uL"),
        entry("FERR", "2276-4", "ng/mL"),
        entry("BILT", "1975-2", "mg/dL", unit="mg/dL"),
        entry("BILT", "14631-6", "umol/L", unit="umol/L"),
        entry("VCNPB", "GT-VCN-PBMC", "{copies}/{genome}", system=GT),
        entry("MPV", "32623-1", "fL"),
        entry("HBVDNA", "42595-9", "[IU]/mL"),
        entry("CD4", "24467-3", "/uL", valid_until=date(2025, 5, 31)),
        entry("CD4", "8123-2", "%", valid_from=date(2025, 6, 1)),
        entry("CD4AS", "24467-3", "/uL"),
        entry("IDUA", "24057-2", "nmol/h/mg{protein}", method_required=True),
        entry("PESO", "29463-7", "kg", low=Decimal("0.4"), high=Decimal(250)),
        entry("ADA", "47549-1", "nmol/min/mg{protein}"),
    ),
)


def quantity(segment: str) -> tuple[str, str, str]:
    """The value, comparator and unit an OBX becomes."""
    found = observation(segment, site=UNIT)["valueQuantity"]
    return str(found["value"]), found.get("comparator", ""), found.get("code", "")


@pytest.mark.parametrize(
    ("hazard", "segment", "expected"),
    [
        ("H01", "OBX|1|NM|HB^Emoglobina^L||9,8|g/dL|11,5-13,5|L|||F", ("9.8", "", "g/dL")),
        ("H02", "OBX|2|NM|PLAQ^Plaquetas^LOCBR||250.000|/mm3|150.000-450.000||||F", ("250", "", "10*3/uL")),
        ("H03", "OBX|1|NM|HB^Emoglobina^LIS||98|g/L|115-135|L|||F", ("9.8", "", "g/dL")),
        ("H06", "OBX|4|NM|PLT^Piastrine^L||38|10^9/L||L|||F", ("38", "", "10*3/uL")),
        ("H06", "OBX|4|NM|PLT^Platelets^LOCIN||0.38|lakh/cumm||L|||F", ("38", "", "10*3/uL")),
        ("H06", "OBX|4|NM|WBC^Leucociti^L||5400|mmc|||||F", ("5.4", "", "10*3/uL")),
        ("H07", "OBX|5|NM|BILT^Bilirubina totale^L||22|umol/L|3-17|H|||F", ("22", "", "umol/L")),
        ("H08", "OBX|1|ST|VCNPB^VCN PBMC^TIGETLAB||<0,01|copie/genoma|||||F", ("0.01", "<", "{copies}/{genome}")),
        ("H24", "OBX|1|NM|HBVDNA^HBV DNA^L||1400|UI/mL|||||C", ("1400", "", "[IU]/mL")),
        ("S14", "OBX|1|NM|HBVDNA^HBV DNA^L||1,4E3|UI/mL|||||C", ("1400", "", "[IU]/mL")),
        ("H29", "OBX|2|NM|CD4AS^CD4 assoluti^L||36|cell/mm3|||||F", ("36", "", "/uL")),
    ],
)
def test_a_hazardous_number_becomes_the_right_quantity(hazard, segment, expected):
    assert quantity(segment) == expected, hazard


@pytest.mark.parametrize(
    ("hazard", "segment", "reason"),
    [
        ("H02", "OBX|2|NM|PLAQ^Plaquetas^LOCBR||1.250|/mm3|||||F", "number with two readings"),
        ("H04", "OBX|3|NM|FERR^Ferritina^L||1840|||H|||F", "unit missing"),
        ("H05", "OBX|1|NM|HB^Emoglobina^L||98|g/dL|||||F", "implausible value"),
        ("H28", "OBX|1|NM|IDUA^alfa-iduronidasi^L||1.1|nmol/h/mg prot|>=2.06|L|||F", "method missing"),
        ("H28", "OBX|1|NM|IDUA^alfa-iduronidasi^L||1.1|nmol/h/mg prot|>=2.06|L|||F||||||MS/MS", ""),
        ("H29", "OBX|1|NM|CD4AS^CD4 assoluti^L||36|%|||||F", "unit does not fit the code"),
        ("H36", "OBX|1|NM|HB^Emoglobina^L||9,8|g/dL|||||F|||20270101080000", "effective time in the future"),
        ("H37", "OBX|1|NM|PESO^Peso^L||9800|kg|||||F", "implausible value"),
        ("H38", "OBX|1|NM|ADA^ADA eritrocitaria^L||820|mU/g Hb|400-900||||F", "unit does not fit the code"),
    ],
)
def test_a_hazardous_value_waits_for_a_person(hazard, segment, reason):
    assert held(segment, site=UNIT) == reason, hazard


def test_h07_the_standard_code_is_that_of_the_property():
    codes = [
        observation(f"OBX|5|NM|BILT^Bilirubina^L||22|{unit}|||||F", site=UNIT)["code"]["coding"][0]["code"]
        for unit in ("mg/dL", "umol/L")
    ]

    assert codes == ["1975-2", "14631-6"]


def test_h09_text_in_a_number_is_never_zero():
    made = observation("OBX|2|NM|MPV^Vol. piastrinico medio^L||N.D.|fL|||||F", site=UNIT)

    assert made["dataAbsentReason"]["text"] == "N.D."
    assert "valueQuantity" not in made


@pytest.mark.parametrize(("at", "offset"), [("202510260130", "+02:00"), ("202510260330", "+01:00")])
def test_h17_a_time_without_a_zone_takes_the_offset_of_its_day(at, offset):
    order = f"OBR|1|A77|L91|CBC^Emocromo^L|||{at}||||||||||||||||||F"
    made = translate(PID, order, "OBX|1|NM|HB^Hb^L||9,8|g/dL|||||F", site=UNIT, kind="ORU^R01")

    assert bodies(made, "Observation")[0]["effectiveDateTime"].endswith(offset)


def test_h17_a_time_that_occurs_twice_is_said_to_be_ambiguous():
    order = "OBR|1|A77|L91|CBC^Emocromo^L|||202510260230||||||||||||||||||F"
    made = translate(PID, order, "OBX|1|NM|HB^Hb^L||9,8|g/dL|||||F", site=UNIT, kind="ORU^R01")

    assert any(what.startswith("ambiguous") for what in findings(made))


@pytest.mark.parametrize(
    ("zone", "offset"), [("Europe/Istanbul", "+03:00"), ("Asia/Kolkata", "+05:30"), ("America/Sao_Paulo", "-03:00")]
)
def test_h18_the_zone_is_the_senders(zone, offset):
    made = observation("OBX|1|NM|HB^Hb^L||9,8|g/dL|||||F", site=replace(UNIT, zone=zone))

    assert made["effectiveDateTime"] == f"2026-03-12T08:00:00{offset}"


@pytest.mark.parametrize(("day", "unit", "code"), [("20250531", "/uL", "24467-3"), ("20250601", "%", "8123-2")])
def test_h27_a_reused_code_means_what_it_meant_that_day(day, unit, code):
    made = observation(f"OBX|1|NM|CD4^Linfociti CD4^L||36|{unit}|||||F|||{day}", site=UNIT)

    assert made["code"]["coding"][0]["code"] == code


def test_h30_lineages_stay_apart_and_say_which_they_are():
    made = result("OBX|1|NM|VCN^VCN^TL|CD3|1,32|copie/genoma|||||F", "OBX|2|NM|VCN^VCN^TL|CD15|0,21|copie/genoma|||||F")

    assert [each["extension"][0]["valueString"] for each in bodies(made, "Observation")] == ["CD3", "CD15"]


def test_h32_escapes_are_resolved():
    made = observation("OBX|1|TX|NOTE^Note^L||linea 1\\.br\\linea 2 \\T\\ fine\\X0D\\||||||F", site=UNIT)

    assert made["valueString"] == "linea 1\nlinea 2 & fine"


def test_h33_a_segment_of_the_senders_own_reaches_no_resource():
    made = result("OBX|1|NM|HB^Hb^L||9,8|g/dL|||||F", "ZTR|MPS-02|0113|ARM-B|RND20260210", site=UNIT)

    assert made.failure is None
    assert not any(b"ARM-B" in each.body for each in made.statements)


def test_nothing_is_converted_silently():
    found = observation("OBX|1|NM|HB^Emoglobina^LIS||98|g/L|||||F", site=UNIT)["valueQuantity"]

    assert source(found) == {"value": "98", "unit": "g/L"}
    assert gaps(result("OBX|1|NM|HB^Emoglobina^LIS||98|g/L|||||F", site=UNIT)) == [("code", "OBR-4", "CBC")]
