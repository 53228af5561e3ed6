"""FHIR R4 3.1.1.4.6 and 3.1.1.4.11: number and quantity."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RequestRefused
from gateway.fhir.ucum import units
from tests.searching import found, query

UCUM = "http://unitsofmeasure.org"


def measured(value, unit="mg", system=UCUM, **more):
    quantity = {"value": Decimal(value), "unit": unit, "system": system, "code": unit, **more}
    return {"resourceType": "Observation", "id": "1", "valueQuantity": quantity}


def recruited(number):
    return {"resourceType": "ResearchStudy", "id": "1", "recruitment": {"actualNumber": number}}


@pytest.mark.parametrize(
    ("asked", "fits", "does_not"),
    [
        # The examples of "number" and "quantity".
        ("100", ["99.5", "100", "100.499"], ["99.49", "100.5"]),
        ("100.00", ["99.995", "100.0049"], ["99.9949", "100.005"]),
        ("1e2", ["95", "104.9"], ["94.9", "105"]),
        ("lt100", ["99.9"], ["100"]),
        ("le100", ["100", "99"], ["100.1"]),
        ("gt100", ["100.1"], ["100"]),
        ("ge100", ["100"], ["99.9"]),
        ("ne100", ["99.4", "100.5"], ["100", "99.5"]),
        ("sa100", ["100.01"], ["100"]),
        ("eb100", ["99.99"], ["100"]),
        ("ap100", ["90", "110"], ["89", "111"]),
        ("ap-100", ["-90", "-110"], ["-89", "100"]),
        ("5.40e-3", ["0.005395", "0.00540"], ["0.005405"]),
        ("5.4", ["5.35", "5.4499"], ["5.45", "5.3"]),
    ],
)
def test_a_number_is_as_precise_as_it_is_written(asked, fits, does_not):
    for value in fits:
        assert found(measured(value), ("value-quantity", asked)), value
    for value in does_not:
        assert not found(measured(value), ("value-quantity", asked)), value


def test_whole_numbers_of_a_study_are_searched_in_r5():
    assert found(recruited(100), ("recruitment-actual", "100"), release="R5")
    assert found(recruited(100), ("recruitment-actual", "gt99"), release="R5")
    assert not found(recruited(100), ("recruitment-actual", "101"), release="R5")


@pytest.mark.parametrize(
    ("asked", "is_found"),
    [
        (f"5.4|{UCUM}|mg", True),
        ("5.4||mg", True),
        ("5.4", True),
        (f"5.4|{UCUM}|", True),
        (f"5.4|{UCUM}|g", False),
        (f"0.0054|{UCUM}|g", True),
        (f"5400|{UCUM}|ug", True),
        ("5.4||g", False),
        ("5.4|http://other.example|mg", False),
        (f"ap5.4|{UCUM}|mg", True),
        (f"5.4|{UCUM}|mL", False),
        (f"gt5.3|{UCUM}|mg,1", True),
    ],
)
def test_units_are_compared_and_those_of_ucum_converted(asked, is_found):
    assert found(measured("5.4"), ("value-quantity", asked)) is is_found


def test_grams_per_litre_equal_milligrams_per_decilitre():
    assert found(measured("540", "mg/dL"), ("value-quantity", f"5.4|{UCUM}|g/L"))
    assert found(measured("5.4", "g/L"), ("value-quantity", f"540|{UCUM}|mg/dL"))


def test_a_unit_that_is_not_known_is_compared_by_its_code():
    assert found(measured("3", "{furlong}"), ("value-quantity", f"3|{UCUM}|{{furlong}}"))
    assert not found(measured("3", "{furlong}"), ("value-quantity", f"3|{UCUM}|m"))


@pytest.mark.parametrize(
    ("comparator", "asked", "is_found"),
    [
        ("<", "lt5", True), ("<", "gt4", True), ("<", "ge5", False), ("<=", "ge5", True), ("<=", "gt5", False),
        (">", "gt100", True), (">", "le5", False), (">=", "le5", True), (">", "sa5", True), ("<", "eb5", True),
        ("<", "5", False), ("<", "ne5", True),
    ],
)  # fmt: skip
def test_a_comparator_leaves_a_value_open(comparator, asked, is_found):
    assert found(measured("5", comparator=comparator), ("value-quantity", asked)) is is_found


@pytest.mark.parametrize(
    ("asked", "is_found"), [("gt40", True), ("ge50", True), ("lt30", False), ("40", False), ("sa20", True)]
)
def test_a_range_is_compared_as_one(asked, is_found):
    ages = {"low": {"value": 30, "unit": "a"}, "high": {"value": 50, "unit": "a"}}
    condition = {"resourceType": "Condition", "id": "1", "onsetRange": ages}

    assert found(condition, ("onset-age", asked)) is is_found


@pytest.mark.parametrize(
    "wrong", ["", "five", "5.4|mg", "5|a|b|c", "1e999", "1" * 60, "eqeq5", "NaN", "Infinity", "5,"]
)
def test_what_is_no_quantity_is_refused(wrong):
    with pytest.raises(RequestRefused) as refused:
        query("Observation", ("value-quantity", wrong))

    assert (refused.value.status, refused.value.expression) == (400, ("value-quantity",))


def test_numbers_no_measurement_has_match_nothing_and_cost_nothing():
    assert not found(measured("1E+999999999"), ("value-quantity", "gt1"))


def test_what_has_no_value_is_not_found():
    quantity = {"unit": "mg"}

    assert not found({"resourceType": "Observation", "id": "1", "valueQuantity": quantity}, ("value-quantity", "ge0"))


@given(
    value=st.decimals(0, 10**6, places=3, allow_nan=False),
    pair=st.sampled_from(
        [(one, two) for one in units().values() for two in units().values() if one.dimension == two.dimension]
    ),
)
def test_a_value_is_found_by_itself_in_any_unit_of_its_dimension(value, pair):
    stored, asked = pair
    other = Fraction(value) * stored.factor / asked.factor
    below, above = (Decimal(int(other * 10**6) + step) / 10**6 for step in (-1, 2))
    resource = measured(value, stored.ucum)

    assert found(resource, ("value-quantity", f"gt{below:f}|{UCUM}|{asked.ucum}"))
    assert found(resource, ("value-quantity", f"lt{above:f}|{UCUM}|{asked.ucum}"))
