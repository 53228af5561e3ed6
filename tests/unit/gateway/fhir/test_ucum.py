from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fhir.ucum import ratio, term, units

# From the tables of UCUM 2.1, worked out by hand.
SAME = [
    ("1", "kg", "1000", "g"),
    ("1", "mm[Hg]", "133.322", "Pa"),
    ("120", "mm[Hg]", "15.99864", "kPa"),
    ("1", "U/L", "1", "umol/min/L"),
    ("60", "U/L", "1", "ukat/L"),
    ("1", "g/m3", "0.1", "mg/dL"),
    ("1", "kcal", "4184", "J"),
    ("1", "wk", "168", "h"),
    ("2", "a", "730.5", "d"),
    ("1", "L/min", "60", "L/h"),
    ("1", "mg/(24.h)", "1", "mg/d"),
    ("7.2", "km/h", "2", "m/s"),
    ("1", "kg.m/s2", "1", "N"),
    ("1", "10*3/uL", "1", "10*9/L"),
    ("1", "{cells}/uL", "1", "10*6/L"),
    ("1", "m2", "10000", "cm2"),
    ("5", "/mL", "5000", "L-1"),
    ("1", "mmol/mol{creat}", "1000", "umol/mol{creat}"),
]
APART = [
    ("mmol/L", "mg/L"), ("mmol/L", "meq/L"), ("mg/g", "mmol/mol"), ("%", "g/kg"), ("%", "10*3"), ("Cel", "K"),
    ("[degF]", "Cel"), ("{copies}/mL", "/mL"), ("mg/g{creat}", "mg/g{protein}"), ("mg", "Mg/L"), ("pa", "Pa"),
    ("mg", "milligram"), ("", "g"), ("[IU]", "U"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "one", "other", "two"), SAME)
def test_units_of_one_thing_convert_exactly_both_ways(value, one, other, two):
    assert Fraction(value) * ratio(one, two) == Fraction(other)
    assert Fraction(other) * ratio(two, one) == Fraction(value)


@pytest.mark.parametrize(("one", "two"), APART)
def test_units_of_different_things_do_not_convert(one, two):
    assert ratio(one, two) is None
    assert ratio(two, one) is None


def test_the_reviewed_table_and_the_grammar_agree_wherever_both_speak():
    compared = 0
    for one, two in combinations(units().values(), 2):
        first, second = term(one.ucum), term(two.ucum)
        if first and second and one.dimension == two.dimension and first.dimension == second.dimension:
            assert first.factor / second.factor == one.factor / two.factor, (one.ucum, two.ucum)
            compared += 1

    assert compared > 400


@pytest.mark.parametrize("code", ["", "m//s", "(m", "m)", "m s", "{a}{b}", "da", "0", "m" * 61, "é", "[xyz]", ".", "/"])
def test_what_is_no_term_is_not_read(code):
    assert term(code) is None


@given(st.text("mgL/.(){}[]*^0123456789dkuIU%+-", max_size=20))
def test_any_text_is_read_or_not(code):
    unit = term(code)

    assert unit is None or unit.factor > 0
