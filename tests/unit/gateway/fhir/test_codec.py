from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidResource
from gateway.fhir.codec import decode, encode

numbers = st.integers() | st.decimals(allow_nan=False, allow_infinity=False).filter(
    lambda number: number.as_tuple().exponent != 0
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def told(value):
    """The value with every number spelt out, as Decimal("1.5") equals Decimal("1.50")."""
    if isinstance(value, dict):
        return {key: told(child) for key, child in value.items()}
    if isinstance(value, list):
        return [told(child) for child in value]
    return (type(value), str(value))


@given(values)
def test_what_is_encoded_comes_back_to_the_last_digit(value):
    assert told(decode(encode(value))) == told(value)


@pytest.mark.parametrize(
    "text", [b"1.50", b"5.00", b"0.0", b"-0.10", b"123456789012345678.123456789", b"12345678901234567890", b"1.5E+10"]
)
def test_a_number_keeps_its_digits(text):
    assert encode(decode(text)) == text


def test_an_exponent_is_a_decimal_and_not_a_float():
    assert told(decode(b"1e3")) == told(Decimal("1E+3"))
    assert encode(Decimal("0.00000001")) == b"1E-8"


def test_keys_keep_their_order():
    assert encode(decode(b'{"b":1,"a":{"d":2,"c":3}}')) == b'{"b":1,"a":{"d":2,"c":3}}'


def test_text_that_reads_nan_is_only_text():
    assert decode(encode({"text": "NaN Infinity"})) == {"text": "NaN Infinity"}


@pytest.mark.parametrize(
    "value", [Decimal("NaN"), {"value": Decimal("Infinity")}, [Decimal("-Infinity")], "\ud800", {"x": object()}]
)
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(InvalidResource):
        encode(value)


@pytest.mark.parametrize("text", [b"", b"{", b"{'a':1}", b"NaN", b'"\xff"', b"01", b"1.", b'{"a":1} x', b"[" * 100_000])
def test_what_is_not_json_is_refused(text):
    with pytest.raises(InvalidResource):
        decode(text)


def test_the_error_does_not_say_what_stood_there():
    with pytest.raises(InvalidResource) as caught:
        decode(b'{"family":"Ferri" "x"}')
    assert "Ferri" not in str(caught.value)
