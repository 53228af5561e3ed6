from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import StructureError, Unreadable
from gateway.hl7v2.message import parse, parse_text
from gateway.hl7v2.structures import check, group

HEAD = "MSH|^~\\&|LIS^1.2^ISO|HOSP|GW|CRU|20260312101500+0100||ORU^R01^ORU_R01|884512|P^T|2.5.1^ITA"
PID = 'PID|1|""|0045123^^^HOSP&1.2.3&ISO^MR~~RSSMRA^^^MEF^NNITA||Rossi^Ann\\T\\a^""|| 20190314 |F|""|  |^^&|'
OBX = r"OBX|1|ST|WBC^Leuco||9\S\9|10^9/L|\.br\4 - 10||||F"


def read(*segments):
    return parse_text("\r".join((HEAD, *segments)))


def test_the_header_is_read():
    message = read()

    assert (message.type, message.event, message.structure) == ("ORU", "R01", "ORU_R01")
    assert (message.version, message.control_id, message.processing_id) == ("2.5.1", "884512", "P")
    assert message.sent_at == "20260312101500+0100"


def test_msh_is_numbered_as_hl7_does():
    msh = read().msh

    assert (msh.value(1), msh.value(2), msh.value(3), msh.value(3, 2)) == ("|", "^~\\&", "LIS", "1.2")
    assert [field.raw for field in msh.repeats(2)] == ["^~\\&"]
    assert msh.valued() == [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12]


def test_components_and_subcomponents_are_read():
    cx = read(PID).require("PID").field(3)

    assert (cx.text, cx.component(1), cx.component(4), cx.component(5)) == ("0045123", "0045123", "HOSP", "MR")
    assert [cx.subcomponent(4, m) for m in (1, 2, 3, 4)] == ["HOSP", "1.2.3", "ISO", ""]
    assert cx.component(9) == ""
    assert cx.nested(4).components() == ["HOSP", "1.2.3", "ISO"]
    assert cx.nested(4).component(2) == "1.2.3"
    assert cx.components() == ["0045123", "", "", "HOSP", "MR"]


def test_empty_repetitions_are_left_out_and_the_first_is_the_first():
    pid = read(PID).require("PID")

    assert [cx.text for cx in pid.repeats(3)] == ["0045123", "RSSMRA"]
    assert [cx.text for cx in pid.all_repeats(3)] == ["0045123", "", "RSSMRA"]
    assert pid.repeats(4) == []
    assert not pid.field(4)
    assert not pid.field(99)


def test_null_is_valued_and_empty_is_not():
    pid = read(PID).require("PID")

    assert pid.field(2).is_null
    assert pid.field(2)
    assert (pid.field(2).text, pid.value(2), pid.field(2).verbatim) == ("", "", "")
    assert not pid.field(4).is_null
    assert pid.field(5).component(3) == ""
    assert not pid.field(10), "blanks alone are no value"
    assert not pid.field(11), "delimiters alone are no value"
    assert pid.valued() == [1, 2, 3, 5, 7, 8, 9]


def test_blanks_around_a_value_are_dropped_and_verbatim_keeps_them():
    birth = read(PID).require("PID").field(7)

    assert birth.text == "20190314"
    assert birth.verbatim == " 20190314 "


def test_escapes_are_resolved_after_cutting():
    message = read(PID, OBX)
    obx = message.require("OBX")

    assert message.require("PID").value(5, 2) == "Ann&a"
    assert obx.value(5) == "9^9"
    assert obx.field(6).verbatim == "10^9/L"
    assert obx.field(6).whole() == "10 9/L"
    assert obx.field(7).verbatim == "\n4 - 10"


def test_segments_know_their_place():
    message = read(PID, OBX, OBX)
    second = message.all("OBX")[1]

    assert (second.position, second.sequence) == (4, 2)
    assert str(second.place(5)) == "OBX[2]-5"
    assert str(second.place(3, 2, 1)) == "OBX[2]-3[2].1"
    assert message.first("ZZZ") is None
    with pytest.raises(StructureError) as caught:
        message.require("ORC")
    assert (str(caught.value.place), caught.value.code) == ("ORC", "100")


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n", "\r\r", "\n\n\r\n"])
def test_any_line_end_separates_segments(end):
    message = parse(end.join((HEAD, PID, OBX, "")).encode())

    assert [segment.name for segment in message.segments] == ["MSH", "PID", "OBX"]
    assert message.findings == []


def test_framing_blank_lines_and_a_byte_order_mark_around_a_message_are_tolerated():
    message = parse(b"\xef\xbb\xbf\r\n\x0b" + f"{HEAD}\r{PID}\r".encode() + b"\x1c\r")

    assert [segment.name for segment in message.segments] == ["MSH", "PID"]


def test_a_line_end_inside_a_field_does_not_tear_it():
    message = read("OBX|1|TX|N||first line\nsecond line||||||F")

    assert message.require("OBX").value(5) == "first line\nsecond line"
    assert message.require("OBX").value(11) == "F"
    assert [finding.place for finding in message.findings] == ["OBX"]


def test_z_segments_are_kept():
    assert read("ZPI|1|a^b").require("ZPI").value(2, 2) == "b"


def test_other_delimiters_are_used_throughout():
    message = parse(b"MSH@*#!:@LIS@@@@@@ADT*A08@1@P@2.5\rPID@1@@7***H:1.2#8@@A!S!B*C|^&\r")
    pid = message.require("PID")

    assert [cx.text for cx in pid.repeats(3)] == ["7", "8"]
    assert pid.field(3).subcomponent(4, 2) == "1.2"
    assert (pid.value(5), pid.value(5, 2)) == ("A*B", "C|^&")


def test_without_a_subcomponent_separator_nothing_is_cut():
    message = parse(b"MSH|^~|LIS||||||ADT^A08|1|P|2.1\rPID|1||7^A&B\\T\\C")

    assert message.require("PID").value(3, 2) == "A&B\\T\\C"
    assert message.require("PID").field(3).nested(2).components() == ["A&B\\T\\C"]


def test_a_hex_escape_is_read_in_the_declared_set():
    message = parse(HEAD.encode() + b"||||||8859/1\rPID|1||7||Caf\\XE9\\\r")

    assert message.require("PID").value(5) == "Café"


@pytest.mark.parametrize(
    ("kind", "version", "evn", "event", "structure"),
    [
        ("ADT^A08", "2.5.1", "", "A08", "ADT_A01"),
        ("ADT^A04", "2.3", "", "A04", "ADT_A01"),
        ("ADT^A31", "2.5", "", "A31", "ADT_A05"),
        ("ADT^A40", "2.5.1", "", "A40", "ADT_A39"),
        ("ADT^A40^ADT_A40", "2.8", "", "A40", "ADT_A39"),
        ("CRM^C04", "2.4", "", "C04", "CRM_C01"),
        ("ORU", "2.1", "", "R01", "ORU_R01"),
        ("ADT", "2.1", "EVN|A08", "A08", "ADT_A01"),
        ("ORU_R01", "2.3", "", "R01", "ORU_R01"),
        ("adt^a08", "2.5", "", "A08", "ADT_A01"),
        ("ACK^R01", "2.5", "", "R01", "ACK"),
        ("RSP^K22^RSP_K21", "2.5", "", "K22", "RSP_K21"),
        ("XYZ^X01^XYZ_X09", "2.5", "", "X01", "XYZ_X09"),
        ("XYZ^X01", "2.5", "", "X01", "XYZ_X01"),
    ],
)
def test_event_and_structure_are_derived_when_the_sender_leaves_them_out(kind, version, evn, event, structure):
    message = parse_text(f"MSH|^~\\&|||||||{kind}|1|P|{version}\r{evn}")

    assert (message.event, message.structure) == (event, structure)


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"", "MSH"),
        (b"PID|1||7", "MSH"),
        (b"MS", "MSH"),
        (b"MSH", "MSH-1"),
        (b"MSH|||x", "MSH-2"),
        (b"MSH|^~\\&|LIS||||||ADT^A08||P|2.5", "MSH-10"),
        (b"\xff\xfeM", "MSH-18"),
    ],
)
def test_what_cannot_be_read_is_refused_by_place(raw, place):
    with pytest.raises(Unreadable) as caught:
        parse(raw)

    assert str(caught.value.place) == place


def test_nothing_personal_shows_in_a_representation():
    message = read(PID)

    assert "Rossi" not in repr(message) + repr(message.segments) + repr(message.require("PID").field(5))


def read_everything(raw):
    message = parse(raw)
    for segment in message.segments:
        for number in segment.valued():
            for field in segment.repeats(number):
                assert [field.whole(), field.verbatim, field.text, field.nested(1).components()]
    group(message)
    check(message)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_unreadable(raw):
    for data in (raw, b"MSH" + raw, HEAD.encode() + b"\rPID|" + raw, b"MSH|^~\\&" + raw):
        with suppress(Unreadable):
            read_everything(data)
