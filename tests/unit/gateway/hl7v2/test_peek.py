import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Unreadable
from gateway.hl7v2.message import parse
from gateway.hl7v2.peek import content_digest, glance, peek

HEAD = rb"MSH|^~\&|LIS^1|HOSP|GW|CRU|20260312^X||ADT^A40^ADT_A39|M7|P^T|2.5.1^ITA|||AL|NE||8859/1"
MERGE = HEAD + b"\rEVN|A40\rPID|1||77^^^HOSP&1.2&ISO^MR~9^^^X\rMRG|78^^^HOSP\rPID|2||79^^^HOSP\r"


def test_the_header_is_read_as_sent():
    seen = peek(MERGE)

    assert (seen.sending_application, seen.sending_facility) == ("LIS^1", "HOSP")
    assert (seen.receiving_application, seen.receiving_facility) == ("GW", "CRU")
    assert (seen.message_type, seen.trigger_event, seen.structure) == ("ADT", "A40", "ADT_A39")
    assert (seen.control_id, seen.processing_id, seen.version) == ("M7", "P", "2.5.1")
    assert (seen.accept_acknowledgment, seen.application_acknowledgment, seen.charset) == ("AL", "NE", "8859/1")
    assert (seen.type_and_event, seen.sent_at, seen.head) == ("ADT^A40", "20260312", HEAD)


def test_the_lane_follows_the_first_identifier_of_the_first_patient():
    seen = peek(MERGE)

    assert (seen.patient, seen.authority) == ("77", "HOSP&1.2&ISO")
    assert seen.patient_key == "77^HOSP&1.2&ISO"


def test_pid_2_stands_in_for_an_empty_pid_3():
    assert peek(HEAD + b"\nPID|1|12\n").patient == "12"


def test_a_message_without_a_patient_has_no_lane_key():
    assert peek(HEAD).patient_key == ""
    assert peek(HEAD + b"\rPID|1\rNTE|1||\nPIDGIN").patient_key == ""


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"", "MSH"),
        (b"GET / HTTP/1.1", "MSH"),
        (b"MSH|^~\\&|LIS||||||ADT^A08||P|2.5", "MSH-10"),
        (b"MSH|^~\\&\rPID|1||||||||9|9|9", "MSH-10"),
        (b"MSH|||LIS", "MSH-2"),
        (b"MSHABC", "MSH-1"),
    ],
)
def test_an_unreadable_header_is_named_by_its_place(raw, place):
    with pytest.raises(Unreadable) as caught:
        peek(raw)

    assert str(caught.value.place) == place


def test_a_glance_takes_what_it_can():
    assert glance(b"nonsense").control_id == ""
    assert glance(b"MSHABC").control_id == ""
    assert glance(b"MSH|^~\\&|LIS||||||ADT^A08||P|2.5").sending_application == "LIS"
    assert glance(b"MSH||LIS||||||ADT^A08|7|P|2.5").control_id == "7"
    assert glance(b"MSH^^^LIS^^^^^^ADT^7^P^2.5").sending_application == ""


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be", "latin-1"])
def test_headers_in_other_character_sets_are_read(codec):
    seen = peek("MSH|^~\\&|Città||||||ADT^A08|7|P|2.5\rPID|1||7".encode(codec))

    assert (seen.sending_application, seen.patient) == ("Città", "7")


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_unreadable(tail):
    for raw in (tail, b"MSH" + tail, b"MSH|^~\\&" + tail, MERGE + tail, b"\xff\xfe" + tail):
        glance(raw)
        content_digest(raw)
        try:
            seen = peek(raw)
        except Unreadable:
            continue
        assert seen.control_id


def test_a_peek_and_a_parse_agree():
    message, seen = parse(MERGE), peek(MERGE)

    assert (message.type, message.event, message.control_id) == (seen.message_type, seen.trigger_event, seen.control_id)
    assert message.require("PID").value(3) == seen.patient


def test_a_resend_with_a_new_time_has_the_same_digest():
    assert content_digest(MERGE) == content_digest(b"\x0b" + MERGE.replace(b"20260312^X", b"20270101") + b"\n")


def test_any_other_difference_changes_the_digest():
    others = (MERGE.replace(b"EVN|A40", b"EVN|A41"), MERGE.replace(b"M7", b"M8"), b"", b"MSH|^~\\&")

    assert len({content_digest(raw) for raw in (MERGE, *others)}) == 5


def test_the_time_of_another_segment_is_no_time_of_the_message():
    assert content_digest(b"MSH|^~\\&\rPID|1||a|b|c|d|e") != content_digest(b"MSH|^~\\&\rPID|1||a|x|c|d|e")
