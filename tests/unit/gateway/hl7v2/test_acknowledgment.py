from datetime import UTC, datetime

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Place, StructureError, Unreadable
from gateway.hl7v2.acknowledgment import acknowledge
from gateway.hl7v2.message import parse
from gateway.hl7v2.peek import peek
from gateway.hl7v2.reference import VERSIONS
from gateway.hl7v2.structures import check

NOW = datetime(2026, 3, 12, 9, 15, tzinfo=UTC)
ERRORS = (
    StructureError("the field is required", Place("PID", 1, 3), "101"),
    StructureError("not of data type NM | ever", Place("OBX", 2, 5, 3, 1), "102"),
)


def raw(version="2.5.1", event="^R01^ORU_R01", charset=""):
    return f"MSH|^~\\&|LIS^1.2^ISO|H\\T\\K|GW|CRU|20260312||ORU{event}|M\\F\\7|T|{version}||||||{charset}".encode()


def lines(answer):
    assert answer.endswith(b"\r")
    return answer.decode().split("\r")[:-1]


def answer(content, code="AA", **others):
    """Return the answer's lines, the same whether made from a parsed message or from a peek at it."""
    wanted = {"now": NOW, "control_id": "A1", **others}
    parsed, peeked = acknowledge(parse(content), code, **wanted), acknowledge(peek(content), code, **wanted)
    assert parsed == peeked
    return lines(parsed)


def test_the_answer_goes_back_to_the_sender():
    assert answer(raw()) == [
        "MSH|^~\\&|GW|CRU|LIS^1.2^ISO|H\\T\\K|20260312091500+0000||ACK^R01^ACK|A1|T|2.5.1",
        "MSA|AA|M\\F\\7",
    ]


def test_the_gateway_may_have_names_of_its_own():
    msh, _ = answer(raw(), application="GATE&WAY", facility="UNIT")

    assert msh.startswith("MSH|^~\\&|GATE\\T\\WAY|UNIT|LIS")


@pytest.mark.parametrize(
    ("version", "kind"),
    [("2.1", "ACK"), ("2.2", "ACK^R01"), ("2.3", "ACK^R01"), ("2.3.1", "ACK^R01^ACK"), ("2.9", "ACK^R01^ACK")],
)
def test_msh_9_has_the_form_of_the_version(version, kind):
    msh = answer(raw(version, "^R01"))[0].split("|")

    assert (msh[8], msh[11]) == (kind, version)


def test_without_an_event_or_a_version_the_answer_is_plain():
    msh = answer(b"MSH|^~\\&|||||||ORU|1")[0].split("|")

    assert (msh[8], msh[10], msh[11]) == ("ACK", "P", "2.5.1")


def test_up_to_2_4_all_errors_stand_in_err_1():
    assert answer(raw("2.4"), "AE", errors=ERRORS, text="2 errors")[1:] == [
        "MSA|AE|M\\F\\7|2 errors",
        "ERR|PID^1^3^101&Required field missing&HL70357~OBX^2^5^102&Data type error&HL70357",
    ]


def test_from_2_5_each_error_is_a_segment():
    assert answer(raw("2.5"), "AE", errors=ERRORS)[2:] == [
        "ERR||PID^1^3^1|101^Required field missing^HL70357|E||||the field is required",
        "ERR||OBX^2^5^3^1|102^Data type error^HL70357|E||||not of data type NM \\F\\ ever",
    ]


def test_an_error_without_a_place_has_none():
    assert answer(raw(), "AR", errors=[Unreadable("too large", code="207")])[2].startswith("ERR|||207^")


def test_the_senders_delimiters_are_used():
    content = b"MSH@*#!:$@LIS@H@GW@CRU@2026@@ORU*R01@7@P@2.4"

    assert answer(content, "AE", errors=ERRORS, text="a@b$c") == [
        "MSH@*#!:$@GW@CRU@LIS@H@20260312091500+0000@@ACK*R01*ACK@A1@P@2.4",
        "MSA@AE@7@a!F!b!P!c",
        "ERR@PID*1*3*101:Required field missing:HL70357#OBX*2*5*102:Data type error:HL70357",
    ]


@pytest.mark.parametrize(
    ("charset", "codec"), [("8859/1", "latin-1"), ("UNICODE UTF-8", "utf-8"), ("UNICODE UTF-16", "utf-16")]
)
def test_the_senders_character_set_is_used_and_declared(charset, codec):
    content = raw(charset=charset).decode().replace("LIS", "Città").encode(codec)
    for message in (parse(content), peek(content)):
        msh = acknowledge(message, "AA", now=NOW, control_id="A1").decode(codec).split("\r")[0].split("|")
        assert (msh[4], msh[17]) == ("Città^1.2^ISO", charset)


def test_a_character_the_sender_does_not_have_becomes_a_question_mark():
    msa = acknowledge(parse(raw(charset="8859/1")), "AE", text="山", now=NOW, control_id="1").split(b"\r")[1]

    assert msa == b"MSA|AE|M\\F\\7|?"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"MSH|^~\\&|LIS|H||||||ORU||P|2.3", "MSH|^~\\&|||LIS|H|"),
        (b"MSH||LIS|H|GW|CRU|||ORU^R01|7|P|2.4", "MSH|^~\\&|GW|CRU|LIS|H|"),
        (b"GET / HTTP/1.1", "MSH|^~\\&|||||"),
        (b"", "MSH|^~\\&|||||"),
    ],
)
def test_unreadable_bytes_are_refused_as_far_as_they_tell_where_to(head, expected):
    msh, msa, err = lines(
        acknowledge(
            None, "AR", errors=[Unreadable("no", Place("MSH"))], now=NOW, control_id="1", raw_head=head + b"\rPID|1"
        )
    )

    assert msh.startswith(expected)
    assert msa.startswith("MSA|AR|")
    assert err.startswith("ERR|")


@given(st.binary(max_size=120))
def test_some_answer_can_be_formed_to_any_bytes(head):
    for beginning in (head, b"MSH" + head, b"MSH|^~\\&" + head):
        assert acknowledge(None, "AR", text="no", now=NOW, control_id="1", raw_head=beginning)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("errors", [(), ERRORS[:1]])
def test_the_answer_keeps_to_the_standard_in_every_version(version, errors):
    content = raw(version, "^R01").replace(b"\\T\\", b"").replace(b"\\F\\", b"")
    written = acknowledge(parse(content), "AE" if errors else "AA", errors=errors, now=NOW, control_id="A1")

    assert check(parse(written)) == []
    if version >= "2.3.1":  # before that hl7apy knows no acknowledgment without MSH-9.3
        assert parse_message(written.decode(), validation_level=VALIDATION_LEVEL.STRICT).validate()
