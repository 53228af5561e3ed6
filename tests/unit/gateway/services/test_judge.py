"""The acknowledgment table, row by row, before anything is stored."""

from dataclasses import replace

import pytest

from gateway.model.message import MessageState
from gateway.model.site import Feed
from gateway.services.judge import Judge
from tests.listening import clock, message, msa

FEED = Feed("lis", "north")
NOTHING = ""


def judged(raw, feed=FEED, handles=lambda _type: True):
    verdict = Judge(clock, handles).judge(feed, raw)
    answers = [verdict.incoming.acknowledgment, verdict.application]
    return verdict, [msa(answer)[0] for answer in answers if answer]


@pytest.mark.parametrize(
    ("ask", "codes"),
    [
        ("", ["AA"]),
        ("AL|", ["CA"]),
        ("AL|NE", ["CA"]),
        ("AL|AL", ["CA", "AA"]),
        ("SU|SU", ["CA", "AA"]),
        ("ER|AL", ["AA"]),
        ("NE|AL", ["AA"]),
        ("|AL", ["AA"]),
        ("ER|ER", []),
        ("NE|NE", []),
        ("XX|", ["CA"]),
    ],
)
def test_a_sound_message_gets_the_acknowledgments_its_sender_asks_for(ask, codes):
    verdict, sent = judged(message(ask=ask))

    assert sent == codes
    assert verdict.code == (codes[0] if codes else NOTHING)
    assert verdict.incoming.positive
    assert verdict.incoming.state is MessageState.STORED


@pytest.mark.parametrize(
    ("ask", "codes"),
    [
        ("", ["AR"]),
        ("AL|AL", ["CR"]),
        ("ER|NE", ["CR"]),
        ("SU|AL", ["AR"]),
        ("NE|ER", ["AR"]),
        ("SU|SU", []),
        ("NE|NE", []),
    ],
)
def test_a_refused_message_is_answered_once_in_the_kind_its_sender_asks_for(ask, codes):
    verdict, sent = judged(message(ask=ask, processing_id="T"))

    assert sent == codes
    assert not verdict.incoming.positive
    assert verdict.incoming.state is MessageState.REFUSED


@pytest.mark.parametrize(
    ("change", "feed", "condition", "place"),
    [
        ({"type": "ACK"}, {"takes": ("ORU^R01", "ADT")}, b"200", "MSH-9.1"),
        ({"type": ""}, {}, b"200", "MSH-9.1"),
        ({"type": "ORU^R30"}, {"takes": ("ORU^R01", "ADT")}, b"201", "MSH-9.2"),
        ({"processing_id": "T"}, {}, b"202", "MSH-11"),
        ({"processing_id": ""}, {}, b"202", "MSH-11"),
        ({"version": "2.9"}, {"versions": ("2.5", "2.5.1")}, b"203", "MSH-12"),
    ],
)
def test_what_the_feed_does_not_take_is_refused_with_the_place_and_the_condition(change, feed, condition, place):
    verdict, sent = judged(message(**change), replace(FEED, **feed))

    assert sent == ["AR"]
    assert b"|" + condition + b"^" in verdict.incoming.acknowledgment
    assert verdict.incoming.reason.startswith(f"{place}: ")


@pytest.mark.parametrize("type", ["ORU^R01", "ADT^A08"])
def test_types_and_whole_message_families_can_be_taken(type):
    assert judged(message(type=type), replace(FEED, takes=("ORU^R01", "ADT")))[1] == ["AA"]


def test_processing_ids_and_versions_are_only_checked_when_the_feed_lists_them():
    assert judged(message(processing_id="D", version=""), replace(FEED, processing_ids=()))[1] == ["AA"]


@pytest.mark.parametrize(
    ("policy", "codes", "state"),
    [("accept", ["AA"], MessageState.UNHANDLED), ("reject", ["AR"], MessageState.REFUSED)],
)
def test_an_event_that_is_not_translated_follows_the_feeds_policy(policy, codes, state):
    verdict, sent = judged(message(type="MDM^T02"), replace(FEED, unhandled=policy), lambda type: type == "ORU^R01")

    assert (sent, verdict.incoming.state) == (codes, state)


@pytest.mark.parametrize(
    "raw",
    [b"", b"garbage", b"PID|1||100", b"MSH", b"MSH|^~\\&|LIS|NORTH|||20260301||ORU^R01||P|2.5.1\r", b"\x00\xff\x1b"],
)
def test_what_is_not_a_message_is_refused_and_its_bytes_are_kept(raw):
    verdict, sent = judged(raw)

    assert sent == ["AR"]
    assert verdict.incoming.state is MessageState.QUARANTINED
    assert verdict.incoming.raw == raw


def test_a_strict_feed_answers_content_errors_with_the_segment_and_field():
    raw = message().replace(b"OBX|1|NM|718-7^Haemoglobin^LN|", b"OBX|1|NM||")
    strict = replace(FEED, conformance="strict")

    assert judged(raw)[1] == ["AA"]
    verdict, sent = judged(raw, strict)
    assert sent == ["AE"]
    assert b"ERR||OBX^1^3" in verdict.incoming.acknowledgment
    assert judged(message(ask="AL|NE").replace(b"718-7^Haemoglobin^LN||", b"||"), strict)[1] == ["CE"]


def test_errors_take_the_form_of_the_senders_version():
    old = judged(message(processing_id="T", version="2.3"))[0].incoming.acknowledgment
    new = judged(message(processing_id="T", version="2.5"))[0].incoming.acknowledgment

    assert b"ERR|MSH^1^11^202" in old
    assert b"ERR||MSH^1^11^1|202^" in new


def test_a_message_over_the_limit_is_refused_and_only_its_head_is_kept():
    small = replace(FEED, max_bytes=70_000)
    raw = message() + b"NTE|1||" + b"x" * 70_000

    verdict, sent = judged(raw, small)

    assert sent == ["AR"]
    assert len(verdict.incoming.raw) == 65536
    assert msa(verdict.incoming.acknowledgment) == ("AR", "1")


@pytest.mark.parametrize(("kind", "codes"), [("mllp", ["AR"]), ("http", ["AA"]), ("folder", ["AA"])])
def test_utf16_is_taken_everywhere_but_over_mllp(kind, codes):
    raw = message("77").decode().encode("utf-16")
    verdict = Judge(clock).judge(replace(FEED, kind=kind), raw)
    answer = verdict.incoming.acknowledgment

    assert verdict.incoming.control_id == "77"
    if kind == "mllp":
        assert msa(answer) == ("AR", "77")
        assert verdict.incoming.state is MessageState.QUARANTINED
    else:
        assert verdict.code == "AA"


def test_a_start_block_inside_a_block_is_never_taken_for_content():
    verdict, sent = judged(message("1") + b"\x0b" + message("2"))

    assert sent == ["AR"]
    assert verdict.incoming.state is MessageState.QUARANTINED


def test_the_answer_to_a_conflict_follows_the_mode():
    assert msa(judged(message())[0].incoming.answer_conflict()) == ("AE", "1")
    assert msa(judged(message(ask="AL|NE"))[0].incoming.answer_conflict()) == ("CE", "1")
    assert b"205^" in judged(message())[0].incoming.answer_conflict()


def test_every_acknowledgment_has_a_control_id_of_its_own():
    judge = Judge(clock)
    answers = [judge.judge(FEED, message(str(n))).incoming.acknowledgment for n in range(5)]

    assert len({answer.split(b"|")[9] for answer in answers}) == 5
    assert all(0 < len(answer.split(b"|")[9]) <= 20 for answer in answers)


def test_a_resend_with_a_new_time_has_the_same_digest_and_other_content_another():
    first, again, other = (
        judged(raw)[0].incoming.digest for raw in (message(), message(sent="20260302090000"), message(text="6.0"))
    )

    assert first == again != other


def test_messages_of_one_patient_share_a_lane():
    lanes = {judged(message(str(n), patient="4711"))[0].incoming.lane for n in range(5)}

    assert len(lanes) == 1
    assert 0 <= lanes.pop() < 64
