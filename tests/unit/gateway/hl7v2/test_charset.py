import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Unreadable
from gateway.hl7v2.charset import decode


def message(declared: str, name: str) -> str:
    return f"MSH|^~\\&|LIS|H|||20260301||ADT^A08|1|P|2.5||||||{declared}\rPID|1||7||{name}\r"


@pytest.mark.parametrize(
    ("declared", "codec", "name"),
    [
        ("8859/1", "iso8859-1", "D'Àngeli"),
        ("8859/2", "iso8859-2", "SPÓŁKA"),
        ("8859/3", "iso8859-3", "Ġużeppi"),
        ("8859/4", "iso8859-4", "Bērziņš"),
        ("8859/5", "iso8859-5", "ТИТОВ"),
        ("8859/6", "iso8859-6", "محمد"),
        ("8859/7", "iso8859-7", "Παπάς"),
        ("8859/8", "iso8859-8", "כהן"),
        ("8859/9", "iso8859-9", "ŞİMŞEK"),
        ("8859/15", "iso8859-15", "Œuvré €"),
        ("UNICODE UTF-8", "utf-8", "Zoë 山田"),
        ("GB 18030-2000", "gb18030", "王"),
    ],
)
def test_a_true_declaration_is_read_without_remark(declared, codec, name):
    decoded = decode(message(declared, name).encode(codec))

    assert name in decoded.text
    assert (decoded.charset, decoded.declared, decoded.findings) == (codec, declared, ())


@pytest.mark.parametrize(
    ("declared", "really", "what"),
    [
        ("", "utf-8", "the bytes are UTF-8, not ASCII"),
        ("ASCII", "utf-8", "the bytes are UTF-8, not ASCII"),
        ("8859/1", "utf-8", "the bytes are UTF-8, not 8859/1"),
        ("8859/15", "utf-8", "the bytes are UTF-8, not 8859/15"),
        ("", "iso8859-1", "the bytes are 8859/1, not ASCII"),
        ("UNICODE UTF-8", "iso8859-1", "the bytes are 8859/1, not UTF-8"),
        ("UNICODE", "utf-8", "the bytes are UTF-8, not UTF-16"),
        ("UNICODE UTF-16", "iso8859-1", "the bytes are 8859/1, not UTF-16"),
    ],
)
def test_a_false_declaration_is_detected_and_reported(declared, really, what):
    decoded = decode(message(declared, "Niccolò").encode(really))

    assert "Niccolò" in decoded.text
    assert [(finding.place, finding.what) for finding in decoded.findings] == [("MSH-18", what)]


def test_bytes_that_no_8859_set_uses_are_windows_1252():
    decoded = decode(message("8859/1", "dell’Orto").encode("cp1252"))

    assert "dell’Orto" in decoded.text
    assert decoded.findings[0].what == "the bytes are Windows-1252, not 8859/1"


@pytest.mark.parametrize("declared", ["", "ASCII", "8859/1"])
def test_a_site_that_says_windows_1252_is_read_without_remark(declared):
    decoded = decode(message(declared, "dell’Orto – 5 €").encode("cp1252"), windows_1252=True)

    assert "dell’Orto – 5 €" in decoded.text
    assert decoded.findings == ()


def test_the_site_default_is_read_where_nothing_is_declared():
    decoded = decode(message("", "ŞİMŞEK").encode("iso8859-9"), default="8859/9")

    assert "ŞİMŞEK" in decoded.text
    assert decoded.findings == ()


def test_a_declaration_wins_over_the_site_default():
    assert decode(message("8859/5", "а").encode("iso8859-5"), default="8859/9").charset == "iso8859-5"


def test_the_first_of_several_declared_sets_counts():
    assert decode(message("8859/1~UNICODE UTF-8", "é").encode("latin-1")).declared == "8859/1"


def test_a_misspelt_name_is_read_and_reported():
    decoded = decode(message("ISO-8859-1", "é").encode("latin-1"))

    assert decoded.charset == "iso8859-1"
    assert decoded.findings[0].what == "read as 8859/1: the name is not in table 0211"


def test_an_unknown_name_is_reported_and_the_bytes_are_detected():
    decoded = decode(message("KLINGON", "é").encode())

    assert "é" in decoded.text
    assert [finding.place for finding in decoded.findings] == ["MSH-18", "MSH-18"]


def test_no_finding_repeats_what_the_sender_wrote():
    decoded = decode(message("GEHEIM", "Geheim").encode() + b"\xff")

    assert not any("GEHEIM" in finding.what.upper() for finding in decoded.findings)


@pytest.mark.parametrize(("declared", "remarks"), [("", 0), ("UNICODE UTF-8", 0), ("8859/1", 1)])
def test_a_utf_8_byte_order_mark_tells_the_set_and_is_dropped(declared, remarks):
    decoded = decode(b"\xef\xbb\xbf" + message(declared, "é").encode())

    assert decoded.text.startswith("MSH")
    assert (decoded.charset, len(decoded.findings)) == ("utf-8", remarks)


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_text_is_read_where_the_transport_can_carry_it(codec):
    raw = message("UNICODE UTF-16" if "16" in codec else "UNICODE UTF-32", "Zoë 山田").encode(codec)

    assert "Zoë 山田" in decode(raw).text
    with pytest.raises(Unreadable) as caught:
        decode(raw, transport_utf16=False)
    assert str(caught.value.place) == "MSH-18"


def test_broken_wide_text_is_unreadable():
    with pytest.raises(Unreadable):
        decode(b"\xff\xfeM\x00S\x00H\x00|")


def test_text_comes_out_composed():
    apart = unicodedata.normalize("NFD", "Nicolò")

    assert "Nicolò" in decode(message("UNICODE UTF-8", apart).encode()).text


@given(st.binary(max_size=200), st.sampled_from(["", "8859/6", "UNICODE", "UNICODE UTF-8", "ASCII", "BIG-5"]))
def test_any_bytes_behind_a_narrow_header_can_be_decoded(tail, declared):
    decoded = decode(message(declared, "x").encode() + tail)

    assert decoded.text.startswith("MSH|")
