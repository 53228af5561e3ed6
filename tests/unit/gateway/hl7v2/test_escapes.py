import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.hl7v2.delimiters import Delimiters
from gateway.hl7v2.escapes import escape, unescaper

USUAL = Delimiters()
TRUNCATING = Delimiters(truncation="#")
OTHERS = Delimiters("@", "*", "#", "!", ":", "$")


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"),
        (r"line one\.br\line two", "line one\nline two"),
        (r"\H\high\N\ and low", "high and low"),
        (r"caf\XE9\ ", "café "),
        (r"\X0D0A\ ", "\r\n "),
        (r"\P\ ", r"\P\ "),
        (r"\Z99\ \.sp3\ \C2842\ \M824041\ ", r"\Z99\ \.sp3\ \C2842\ \M824041\ "),
        (r"\X9\ \XZZ\ \x\ ", r"\X9\ \XZZ\ \x\ "),
        (r"C:\temp\F", r"C:\temp\F"),
        (r"\E\F\E\ ", r"\F\ "),
        ("a single \\ mark", "a single \\ mark"),
        (r"\\F\\", "\\|\\"),
    ],
)
def test_sequences_are_resolved_and_unknown_ones_stay_as_sent(sent, meant):
    assert unescaper(USUAL, "latin-1")(sent) == meant


def test_the_truncation_character_can_be_written():
    assert unescaper(TRUNCATING, "utf-8")(r"tag \P\1") == "tag #1"


def test_hex_bytes_are_decoded_in_the_character_set_of_the_message():
    assert unescaper(USUAL, "utf-8")(r"\XC3A9\ ") == "é "
    assert unescaper(USUAL, "iso8859-5")(r"\XD0\ ") == "а "


def test_hex_bytes_that_do_not_decode_stay_as_sent():
    assert unescaper(USUAL, "utf-8")(r"\xE9\ ") == r"\xE9\ "


def test_a_sender_without_an_escape_character_means_what_it_wrote():
    assert unescaper(Delimiters(escape="", subcomponent=""), "utf-8")(r"a\F\b") == r"a\F\b"


@given(st.text(), st.sampled_from([USUAL, TRUNCATING, OTHERS]))
def test_what_is_escaped_comes_back(text, delimiters):
    written = escape(text, delimiters)

    assert unescaper(delimiters, "utf-8")(written) == text
    assert not set(written) & (set("\r\n" + delimiters.field + delimiters.component + delimiters.repetition))


@given(st.text("\\FSTREPXHN.br09|^~&# "))
def test_any_text_can_be_unescaped(text):
    unescaper(USUAL, "utf-8")(text)
