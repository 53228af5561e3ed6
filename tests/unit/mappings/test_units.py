from __future__ import annotations

import csv
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mappings.tables
from gateway.fhir.ucum import units
from mappings.units import convert, factor_of, factors, is_unitless, spellings, ucum_of

FOLDER = Path(mappings.tables.__file__).parent


def rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# What an independent hand (a pocket calculator, a table of conversion factors) says each unit is in another one.
REVIEWED = {
    "g/L": ("1", "g/L", "0.1", "g/dL"),
    "g/dL": ("9.8", "g/dL", "98", "g/L"),
    "g/mL": ("1", "g/mL", "1000", "g/L"),
    "mg/mL": ("1", "mg/mL", "100", "mg/dL"),
    "mg/dL": ("0.8", "mg/dL", "8", "mg/L"),
    "mg/L": ("12", "mg/L", "1.2", "mg/dL"),
    "ug/mL": ("3", "ug/mL", "3", "mg/L"),
    "ug/dL": ("70", "ug/dL", "700", "ug/L"),
    "ug/L": ("1840", "ug/L", "1840", "ng/mL"),
    "ng/mL": ("55", "ng/mL", "55", "ug/L"),
    "ng/dL": ("150", "ng/dL", "1.5", "ng/mL"),
    "ng/L": ("14", "ng/L", "14", "pg/mL"),
    "pg/mL": ("1000", "pg/mL", "1", "ng/mL"),
    "mol/L": ("1", "mol/L", "1000", "mmol/L"),
    "mmol/L": ("5.2", "mmol/L", "5200", "umol/L"),
    "umol/L": ("22", "umol/L", "0.022", "mmol/L"),
    "nmol/L": ("500", "nmol/L", "0.5", "umol/L"),
    "pmol/L": ("1", "pmol/L", "0.001", "nmol/L"),
    "umol/mL": ("1", "umol/mL", "1", "mmol/L"),
    "nmol/mL": ("7", "nmol/mL", "7", "umol/L"),
    "pmol/mL": ("7", "pmol/mL", "7", "nmol/L"),
    "umol/dL": ("1", "umol/dL", "10", "umol/L"),
    "nmol/mL{RBCs}": ("3", "nmol/mL{RBCs}", "3", "umol/L{RBCs}"),
    "umol/L{RBCs}": ("3", "umol/L{RBCs}", "0.003", "mmol/L{RBCs}"),
    "mmol/L{RBCs}": ("0.4", "mmol/L{RBCs}", "400", "nmol/mL{RBCs}"),
    "U/L": ("30", "U/L", "0.5", "ukat/L"),
    "U/mL": ("1", "U/mL", "1000", "U/L"),
    "kU/L": ("1", "kU/L", "1000", "U/L"),
    "mU/mL": ("1", "mU/mL", "1", "U/L"),
    "mU/L": ("1000", "mU/L", "1", "U/L"),
    "ukat/L": ("0.5", "ukat/L", "30", "U/L"),
    "nkat/L": ("500", "nkat/L", "30", "U/L"),
    "[IU]/L": ("1000", "[IU]/L", "1", "[IU]/mL"),
    "[IU]/dL": ("1", "[IU]/dL", "10", "[IU]/L"),
    "[IU]/mL": ("1800", "[IU]/mL", "1800000", "[IU]/L"),
    "k[IU]/L": ("1.8", "k[IU]/L", "1800", "[IU]/L"),
    "k[IU]/mL": ("1.4", "k[IU]/mL", "1400", "[IU]/mL"),
    "m[IU]/mL": ("10", "m[IU]/mL", "10", "[IU]/L"),
    "m[IU]/L": ("1000", "m[IU]/L", "1", "[IU]/L"),
    "u[IU]/mL": ("2", "u[IU]/mL", "2", "m[IU]/L"),
    "/L": ("1000000", "/L", "1", "/uL"),
    "/mL": ("1000", "/mL", "1", "/uL"),
    "/uL": ("5400", "/uL", "5.4", "10*3/uL"),
    "/mm3": ("36", "/mm3", "36", "/uL"),
    "{cells}/uL": ("36", "{cells}/uL", "36", "/uL"),
    "10*3/mL": ("1", "10*3/mL", "1", "/uL"),
    "10*6/L": ("36", "10*6/L", "36", "/uL"),
    "10*6/mL": ("1", "10*6/mL", "1", "10*3/uL"),
    "10*3/uL": ("250", "10*3/uL", "250", "10*9/L"),
    "10*3/mm3": ("250", "10*3/mm3", "250", "10*3/uL"),
    "10*9/L": ("38", "10*9/L", "38", "10*3/uL"),
    "10*5/uL": ("0.38", "10*5/uL", "38", "10*3/uL"),
    "10*6/uL": ("4.5", "10*6/uL", "4500", "10*3/uL"),
    "10*6/mm3": ("4.5", "10*6/mm3", "4.5", "10*12/L"),
    "10*12/L": ("4.5", "10*12/L", "4.5", "10*6/uL"),
    "{copies}/mL": ("3000", "{copies}/mL", "3", "{copies}/uL"),
    "{copies}/uL": ("3", "{copies}/uL", "3000", "{copies}/mL"),
    "{copies}/L": ("1000", "{copies}/L", "1", "{copies}/mL"),
    "{copies}/10*5{cells}": ("10", "{copies}/10*5{cells}", "100", "{copies}/10*6{cells}"),
    "{copies}/10*6{cells}": ("10", "{copies}/10*6{cells}", "1", "{copies}/10*5{cells}"),
    "{CFU}/10*5{cells}": ("100", "{CFU}/10*5{cells}", "0.1", "{CFU}/10*2{cells}"),
    "{CFU}/10*6{cells}": ("1000", "{CFU}/10*6{cells}", "100", "{CFU}/10*5{cells}"),
    "{CFU}/10*2{cells}": ("3", "{CFU}/10*2{cells}", "3000", "{CFU}/10*5{cells}"),
    "%": ("35", "%", "0.35", "L/L"),
    "1": ("0.35", "1", "35", "%"),
    "L/L": ("0.35", "L/L", "35", "%"),
    "[ppth]": ("15", "[ppth]", "1.5", "%"),
    "[ppm]": ("10000", "[ppm]", "1", "%"),
    "/kg": ("3000000", "/kg", "3", "10*6/kg"),
    "10*5/kg": ("61", "10*5/kg", "6.1", "10*6/kg"),
    "10*6/kg": ("6.1", "10*6/kg", "6100000", "/kg"),
    "10*8/kg": ("1", "10*8/kg", "100", "10*6/kg"),
    "10*6": ("1", "10*6", "1000", "10*3"),
    "10*3": ("1000", "10*3", "1", "10*6"),
    "10*9": ("1", "10*9", "1000", "10*6"),
    "nmol/h/mg{protein}": ("60", "nmol/h/mg{protein}", "1", "nmol/min/mg{protein}"),
    "nmol/min/mg{protein}": ("1", "nmol/min/mg{protein}", "60", "nmol/h/mg{protein}"),
    "pmol/h/mg{protein}": ("1000", "pmol/h/mg{protein}", "1", "nmol/h/mg{protein}"),
    "umol/h/g{protein}": ("2", "umol/h/g{protein}", "2", "nmol/h/mg{protein}"),
    "umol/min/g{protein}": ("2", "umol/min/g{protein}", "2", "nmol/min/mg{protein}"),
    "mU/mg{protein}": ("1", "mU/mg{protein}", "1", "nmol/min/mg{protein}"),
    "U/g{protein}": ("1", "U/g{protein}", "1", "nmol/min/mg{protein}"),
    "mU/g{Hb}": ("820", "mU/g{Hb}", "0.82", "U/g{Hb}"),
    "U/g{Hb}": ("0.82", "U/g{Hb}", "820", "mU/g{Hb}"),
    "nmol/min/10*6{cells}": ("1", "nmol/min/10*6{cells}", "60", "nmol/h/10*6{cells}"),
    "nmol/h/10*6{cells}": ("60", "nmol/h/10*6{cells}", "1", "nmol/min/10*6{cells}"),
    "umol/h/L": ("4", "umol/h/L", "4", "nmol/h/mL"),
    "umol/L/h": ("4", "umol/L/h", "4", "umol/h/L"),
    "nmol/h/mL": ("4", "nmol/h/mL", "4", "nmol/mL/h"),
    "nmol/mL/h": ("4", "nmol/mL/h", "4", "umol/L/h"),
    "mg/mmol{creat}": ("10", "mg/mmol{creat}", "88.4", "mg/g{creat}"),
    "g/mol{creat}": ("10", "g/mol{creat}", "10", "mg/mmol{creat}"),
    "mg/g{creat}": ("88.4", "mg/g{creat}", "10", "mg/mmol{creat}"),
    "ug/mg{creat}": ("88.4", "ug/mg{creat}", "10", "mg/mmol{creat}"),
    "ug/g{creat}": ("88400", "ug/g{creat}", "10", "mg/mmol{creat}"),
    "mmol/mol{creat}": ("2", "mmol/mol{creat}", "2", "umol/mmol{creat}"),
    "umol/mmol{creat}": ("2", "umol/mmol{creat}", "2000", "nmol/mmol{creat}"),
    "nmol/mmol{creat}": ("2000", "nmol/mmol{creat}", "2", "mmol/mol{creat}"),
    "umol.min/L": ("1200", "umol.min/L", "20", "umol.h/L"),
    "umol.h/L": ("20", "umol.h/L", "1200", "umol.min/L"),
    "mg.h/L": ("85", "mg.h/L", "85000", "ng.h/mL"),
    "ug.h/mL": ("85", "ug.h/mL", "85", "mg.h/L"),
    "ug.h/L": ("85000", "ug.h/L", "85", "mg.h/L"),
    "ng.h/mL": ("85000", "ng.h/mL", "85", "mg.h/L"),
    "mg.min/L": ("5100", "mg.min/L", "85", "mg.h/L"),
    "kg": ("9.8", "kg", "9800", "g"),
    "g": ("9800", "g", "9.8", "kg"),
    "mg": ("1000", "mg", "1", "g"),
    "ug": ("1000", "ug", "1", "mg"),
    "ng": ("1000", "ng", "1", "ug"),
    "pg": ("1000", "pg", "1", "ng"),
    "[lb_av]": ("20", "[lb_av]", "9.0718474", "kg"),
    "[oz_av]": ("16", "[oz_av]", "1", "[lb_av]"),
    "m": ("1.2", "m", "120", "cm"),
    "cm": ("120", "cm", "1.2", "m"),
    "mm": ("10", "mm", "1", "cm"),
    "um": ("1000", "um", "1", "mm"),
    "[in_i]": ("10", "[in_i]", "25.4", "cm"),
    "[ft_i]": ("1", "[ft_i]", "12", "[in_i]"),
    "m2": ("0.6", "m2", "6000", "cm2"),
    "cm2": ("6000", "cm2", "0.6", "m2"),
    "L": ("1", "L", "1000", "mL"),
    "dL": ("1", "dL", "100", "mL"),
    "mL": ("250", "mL", "0.25", "L"),
    "uL": ("1000", "uL", "1", "mL"),
    "fL": ("7", "fL", "7", "um3"),
    "um3": ("7", "um3", "7", "fL"),
    "a": ("2", "a", "24", "mo"),
    "mo": ("24", "mo", "2", "a"),
    "wk": ("2", "wk", "14", "d"),
    "d": ("14", "d", "2", "wk"),
    "h": ("24", "h", "1", "d"),
    "min": ("60", "min", "1", "h"),
    "s": ("60", "s", "1", "min"),
    "ms": ("20", "ms", "0.02", "s"),
    "/min": ("80", "/min", "80", "{beats}/min"),
    "{beats}/min": ("80", "{beats}/min", "80", "/min"),
    "/h": ("60", "/h", "1", "/min"),
    "mg/kg": ("1", "mg/kg", "1000", "ug/kg"),
    "g/kg": ("0.4", "g/kg", "400", "mg/kg"),
    "ug/kg": ("1000", "ug/kg", "1", "mg/kg"),
    "m/s": ("0.5", "m/s", "50", "cm/s"),
    "cm/s": ("50", "cm/s", "0.5", "m/s"),
    "kPa": ("1", "kPa", "1000", "Pa"),
    "Pa": ("1000", "Pa", "1", "kPa"),
    "mg/d": ("150", "mg/d", "150", "mg/(24.h)"),
    "mg/(24.h)": ("150", "mg/(24.h)", "0.15", "g/d"),
    "g/d": ("0.15", "g/d", "150", "mg/d"),
    "g/(24.h)": ("0.15", "g/(24.h)", "0.15", "g/d"),
    "U": ("1", "U", "1000", "mU"),
    "mU": ("1000", "mU", "1", "U"),
}

BY_CODE = [
    ("bilirubin", "1", "mg/dL", "17.1", "umol/L"),
    ("creatinine", "1", "mg/dL", "88.4", "umol/L"),
    ("glucose", "1", "mmol/L", "18.016", "mg/dL"),
    ("haemoglobin", "6", "mmol/L", "9.666", "g/dL"),
    ("busulfan exposure", "5", "mg.h/L", "1218", "umol.min/L"),
    ("busulfan", "2", "umol/L", "492.6", "ng/mL"),
    ("liver iron", "100", "umol/g{dry_wt}", "5.58", "mg/g{dry_wt}"),
    ("immunoglobulin E", "1.8", "kU/L", "1800", "[IU]/L"),
    ("enzymes reported in IU", "35", "[IU]/L", "35", "U/L"),
    ("deoxyadenosine nucleotides", "0.4", "mmol/L", "400", "nmol/mL{RBCs}"),
]


def alone() -> set[str]:
    """Units that are the only one of their dimension: there is nothing to convert them to."""
    sizes: dict[str, int] = {}
    for unit in units().values():
        sizes[unit.dimension] = sizes.get(unit.dimension, 0) + 1
    return {unit.ucum for unit in units().values() if sizes[unit.dimension] == 1}


@pytest.mark.parametrize("ucum", list(units()))
def test_every_unit_converts_as_the_reviewed_table_says(ucum):
    if ucum in alone():
        assert convert(Decimal("1.50"), ucum, ucum) == Decimal("1.50")
        return
    value, source, expected, target = REVIEWED[ucum]
    assert source == ucum
    assert convert(Decimal(value), source, target) == Decimal(expected)


@pytest.mark.parametrize(("component", "value", "source", "expected", "target"), BY_CODE)
def test_every_conversion_by_code_needs_the_code_and_goes_both_ways(component, value, source, expected, target):
    row = next(row for row in factors() if row.component == component)
    for code in row.codes:
        assert convert(Decimal(value), source, target, [code]) == Decimal(expected)
        assert convert(Decimal(expected), target, source, [code]) == Decimal(value)
    assert convert(Decimal(value), source, target) is None
    assert convert(Decimal(value), source, target, ["0-0"]) is None


def test_every_row_by_code_is_reviewed():
    assert {row.component for row in factors()} == {component for component, *_ in BY_CODE}


@pytest.mark.parametrize("row", rows("unit_spellings.csv"), ids=lambda row: row["sent"])
def test_every_spelling_names_a_unit_we_know(row):
    assert row["ucum"] in units() or row["sent"] in {"G/L", "G/l"}
    assert ucum_of(row["sent"]) == row["ucum"]


def test_no_spelling_is_listed_twice():
    sent = [row["sent"] for row in rows("unit_spellings.csv")]
    assert len(sent) == len(set(sent))
    assert len(spellings()) > len(units())


@pytest.mark.parametrize(
    ("written", "ucum"),
    [
        ("g/dL", "g/dL"),
        ("G/DL", "g/dL"),
        ("gm%", "g/dL"),
        ("µmol/L", "umol/L"),
        ("μmol/L", "umol/L"),
        ("10³/µL", "10*3/uL"),
        ("10^3/μL", "10*3/uL"),
        ("10**9/L", "10*9/L"),
        ("x10^9/L", "10*9/L"),
        ("K/uL", "10*3/uL"),
        ("mmc", "/uL"),
        ("/mm³", "/mm3"),
        ("cells/cmm", "/uL"),
        ("hücre/µL", "/uL"),
        ("lakh/cumm", "10*5/uL"),
        ("nmol/sa/mg protein", "nmol/h/mg{protein}"),
        ("copie/genoma", "{copies}/{genome}"),
        ("UI/mL", "[IU]/mL"),
        ("mU/g Hb", "mU/g{Hb}"),
        ("g/l", "g/L"),
        ("G/L", ""),  # gram or, in France, giga per litre: for a site to say
        ("furlong", ""),
        ("", ""),
    ],
)
def test_units_are_read_as_laboratories_write_them(written, ucum):
    assert ucum_of(written) == ucum


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("mU/g{Hb}", "nmol/min/mg{protein}"),  # another basis
        ("nmol/h/mg", "nmol/h/mg{protein}"),  # the basis is not said
        ("%", "/uL"),
        ("{copies}/{cell}", "{copies}/{genome}"),
        ("{Log_IU}/mL", "[IU]/mL"),  # a logarithm
        ("U/L", "[IU]/L"),
        ("mmol/L", "mg/dL"),
        ("furlong", "m"),
        ("mo", "d"),
        ("[degF]", "Cel"),
    ],
)
def test_what_is_not_written_down_is_not_converted(source, target):
    assert convert(Decimal(1), source, target) is None


@pytest.mark.parametrize(
    ("value", "source", "target", "codes", "expected"),
    [
        ("98.0", "g/L", "g/dL", (), "9.80"),  # the digits the sender wrote
        ("1.0", "kU/L", "[IU]/L", ("19113-0",), "1000"),
        ("22000", "/uL", "10*3/uL", (), "22"),
        ("0", "g/L", "g/dL", (), "0"),
        ("1.50", "g/dL", "g/dL", (), "1.50"),
        ("22", "umol/L", "mg/dL", ("1975-2",), "1.29"),
        ("171", "umol/L", "mg/dL", ("1975-2",), "10"),
        ("12.35", "mg/mmol{creat}", "mg/g{creat}", (), "109.174"),
    ],
)
def test_a_result_has_the_digits_it_deserves(value, source, target, codes, expected):
    assert str(convert(Decimal(value), source, target, codes)) == expected


@given(
    st.decimals(min_value="0.01", max_value=99999, places=2, allow_nan=False),
    st.sampled_from(["1975-2", "2160-0", "2345-7"]),
)
def test_converting_back_gives_the_value_sent(value, code):
    pair = {"1975-2": ("umol/L", "mg/dL"), "2160-0": ("umol/L", "mg/dL"), "2345-7": ("mg/dL", "mmol/L")}[code]
    there = convert(value, *pair, [code])
    assert there is not None
    factor = factor_of(pair[1], pair[0], (code,))
    assert factor is not None
    back = Fraction(there) * factor
    assert abs(back - Fraction(value)) <= Fraction(1, 200)


def test_only_annotations_are_unitless():
    assert {ucum for ucum in units() if is_unitless(ucum)} == {
        "1", "[pH]", "{score}", "{level}", "{index}", "{ratio}", "{grade}", "{Zscore}", "{sites}", "{CPM}", "{INR}",
        "{s_co_ratio}", "{ISR}",
    }  # fmt: skip
