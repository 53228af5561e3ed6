from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.numbers import NumberFormat, absent_reason, absent_texts, comparators, split_comparator

POINT = NumberFormat()
COMMA = NumberFormat(decimal_comma=True)
ITALY = NumberFormat(decimal_comma=True, thousands=".")
INDIA = NumberFormat(thousands=",")
SWEDEN = NumberFormat(decimal_comma=True, thousands=" ")


@pytest.mark.parametrize(
    ("style", "text", "number"),
    [
        (POINT, "9.8", "9.8"),
        (POINT, "-3", "-3"),
        (POINT, "+4", "4"),
        (POINT, "007", "7"),
        (POINT, ".5", "0.5"),
        (POINT, "1.", "1"),
        (POINT, " 12 ", "12"),
        (POINT, "1.4E3", "1400"),
        (POINT, "1E+30", "1" + "0" * 30),
        (POINT, "\u22122", "-2"),
        (COMMA, "9,8", "9.8"),
        (COMMA, "9.8", "9.8"),  # HL7's own decimal point is understood wherever it can mean nothing else
        (COMMA, "1.250", "1.250"),
        (COMMA, "1,4E3", "1400"),
        (ITALY, "250.000", "250000"),
        (ITALY, "1.250.000", "1250000"),
        (ITALY, "1.250,5", "1250.5"),
        (ITALY, "0.125", "0.125"),
        (ITALY, "9.8", "9.8"),
        (ITALY, "9,80", "9.80"),
        (INDIA, "1,50,000", "150000"),
        (INDIA, "1,250.5", "1250.5"),
        (SWEDEN, "12 500", "12500"),
        (SWEDEN, "12\u00a0500,5", "12500.5"),
    ],
)
def test_a_number_is_read_as_the_site_writes_it(style, text, number):
    read = style.read(text)

    assert read is not None
    assert str(read.value) == number
    assert not read.doubtful


@pytest.mark.parametrize("text", ["1.250", "12.345", "<1.250", "-1.250"])
def test_a_point_that_may_be_decimal_or_thousands_is_doubtful(text):
    read = ITALY.read(text)

    assert read is not None
    assert read.doubtful


@pytest.mark.parametrize(
    ("style", "text"),
    [
        (POINT, "9,8"),
        (POINT, "1,250"),
        (POINT, "N.D."),
        (POINT, ""),
        (POINT, "1 2"),
        (POINT, "0x10"),
        (POINT, "NaN"),
        (POINT, "Infinity"),
        (POINT, "1E999"),
        (POINT, "1" * 60),
        (POINT, "\u0663"),  # an Arabic digit is not guessed at
        (COMMA, "1,2,3"),
        (INDIA, "1,25"),
        (ITALY, "1.2.3"),
        (ITALY, "1.250.00"),
    ],
)
def test_what_is_no_number_of_the_site_is_none(style, text):
    assert style.read(text) is None


@pytest.mark.parametrize(
    ("text", "comparator", "number"),
    [
        ("<0,01", "<", "0.01"),
        ("< 0,01", "<", "0.01"),
        (">2000", ">", "2000"),
        ("<=5", "<=", "5"),
        ("≤5", "<=", "5"),
        ("≥ 3", ">=", "3"),
        ("=7", "", "7"),
        ("inf. 0.5", "<", "0.5"),
        ("Inf. a 0,5", "<", "0.5"),
        ("inferiore a 20", "<", "20"),
        ("SUP. 100", ">", "100"),
        ("> -1", ">", "-1"),
    ],
)
def test_a_censored_value_keeps_its_comparator(text, comparator, number):
    read = COMMA.read(text)

    assert read is not None
    assert (read.comparator, str(read.value)) == (comparator, number)


@pytest.mark.parametrize("text", ["infetto", "sup", "<", "inf.", "<alto"])
def test_a_word_that_begins_like_a_comparator_is_none(text):
    assert COMMA.read(text) is None


@pytest.mark.parametrize("row", comparators(), ids=lambda row: row[0])
def test_every_listed_comparator_is_one_of_fhir(row):
    assert row[1] in {"<", "<=", ">", ">=", ""}
    assert split_comparator(f"{row[0]} 7") == (row[1], "7")


@pytest.mark.parametrize(
    ("style", "text", "ends"),
    [
        (COMMA, "11,5-13,5", ("11.5", "13.5")),
        (COMMA, "11,5 - 13,5", ("11.5", "13.5")),
        (POINT, "[3-17]", ("3", "17")),
        (POINT, "3 \u2013 17", ("3", "17")),
        (POINT, "-5-5", ("-5", "5")),
        (POINT, "3 to 17", ("3", "17")),
        (ITALY, "150.000-450.000", ("150000", "450000")),
        (POINT, ">=2.06", ("2.06", None)),
        (POINT, "<5", (None, "5")),
    ],
)
def test_a_reference_range_is_read_in_the_numbers_of_the_site(style, text, ends):
    read = style.read_range(text)

    assert read is not None
    assert tuple(None if end is None else str(end) for end in read) == ends


@pytest.mark.parametrize("text", ["negativo", "M: 13-17 F: 12-15", "1.250-3.500", "17-3", "5", ""])
def test_a_range_that_can_be_read_in_two_ways_stays_text(text):
    assert ITALY.read_range(text) is None


@given(st.decimals(min_value=-99999, max_value=99999, places=3, allow_nan=False))
def test_a_number_written_with_a_comma_is_the_number(number):
    read = COMMA.read(f"{number:f}".replace(".", ","))

    assert read is not None
    assert read.value == number
    assert not read.as_sent


@given(st.text(max_size=12))
def test_no_text_breaks_the_reader(text):
    for style in (POINT, COMMA, ITALY, INDIA):
        read = style.read(text)
        assert read is None or isinstance(read.value, Decimal)
        style.read_range(text)


def test_words_for_no_value_are_codes_of_data_absent_reason():
    assert set(absent_texts().values()) <= {"unknown", "error", "not-performed", "as-text", "temp-unknown"}
    assert absent_reason("N.D.") == "unknown"
    assert absent_reason("Vedi  nota") == "as-text"
    assert absent_reason("tracce") == ""
