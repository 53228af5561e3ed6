import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.hl7v2.split import split

FIRST = b"MSH|^~\\&|LIS||||||ADT^A08|1|P|2.5\rPID|1||7"
SECOND = b"MSH|^~\\&|LIS||||||ADT^A08|2|P|2.5\rPID|1||8\rNTE|1||MSH is not a header here"
LINE_ENDS = [b"\r", b"\n", b"\r\n", b"\r\r\n\n", b"\x1c\r\x0b"]


def raws(parts, kind="message"):
    return [part.raw for part in parts if part.kind == kind]


def whats(parts):
    return [(finding.place, finding.what) for finding in parts.findings]


def test_a_single_message_is_itself():
    parts = split(FIRST)

    assert [(part.raw, part.index, part.kind) for part in parts] == [(FIRST, 1, "message")]
    assert parts.findings == ()


@given(st.lists(st.tuples(st.sampled_from([FIRST, SECOND]), st.sampled_from(LINE_ENDS)), max_size=6), st.booleans())
def test_whatever_is_written_one_after_the_other_comes_apart_again(written, batched):
    content = b"".join(message + end for message, end in written)
    if batched:
        content = b"FHS|^~\\&|\rBHS|^~\\&|\r%bBTS|%d\rFTS|1\r" % (content, len(written))

    parts = split(content)

    assert raws(parts) == [message for message, _ in written]
    assert raws(parts, "junk") == []
    assert parts.findings == ()


@given(st.binary(max_size=200))
def test_no_byte_but_line_ends_is_lost(junk):
    parts = split(junk + b"\r" + FIRST)

    assert parts[-1].raw == FIRST
    assert [part.index for part in parts] == list(range(1, len(parts) + 1))


def test_what_stands_before_the_first_header_or_after_a_batch_header_is_junk():
    parts = split(b"Dear colleague,\r\n" + FIRST + b"\rBHS|^~\\&\rPID|1||9\r" + SECOND + b"\rBTS|1\rover and out")

    assert [part.kind for part in parts] == ["junk", "message", "junk", "message", "junk"]
    assert raws(parts, "junk") == [b"Dear colleague,", b"PID|1||9", b"over and out"]


def test_a_file_without_any_header_is_junk_and_a_blank_one_is_nothing():
    assert [part.kind for part in split(b"PID|1\rPV1|1")] == ["junk"]
    assert split(b"\r\n \x1a") == []


def test_counts_that_do_not_match_are_reported():
    parts = split(b"FHS|^~\\&\rBHS|^~\\&\r" + FIRST + b"\rBTS|2\rBHS|^~\\&\rBTS|0\rFTS|5\r")

    assert whats(parts) == [("BTS-1", "2 messages stated, 1 found"), ("FTS-1", "5 batches stated, 2 found")]


def test_trailers_without_a_count_are_believed():
    assert split(b"BHS|^~\\&\r" + FIRST + b"\rBTS\r").findings == ()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"BHS|^~\\&\r" + FIRST, [("BTS", "a batch has no trailer")]),
        (b"BHS|^~\\&\rBHS|^~\\&\rBTS|0", [("BTS", "a batch has no trailer")]),
        (b"FHS|^~\\&\r" + FIRST, [("FTS", "the file has no trailer")]),
        (FIRST + b"\rBTS|1", [("BTS", "a trailer without a header")]),
    ],
)
def test_headers_and_trailers_without_the_other_are_reported(content, found):
    assert whats(split(content)) == found


def test_other_field_separators_are_understood():
    parts = split(b"BHS@*#!:\rMSH@*#!:@LIS\rBTS@3\r")

    assert raws(parts) == [b"MSH@*#!:@LIS"]
    assert whats(parts) == [("BTS-1", "3 messages stated, 1 found")]


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-32"])
def test_wide_files_give_wide_messages(codec):
    parts = split((FIRST + b"\r\n" + SECOND).decode().encode(codec))

    assert [part.raw.decode(codec[:6]) for part in parts] == [FIRST.decode(), SECOND.decode()]


def test_broken_wide_files_are_junk():
    assert [part.kind for part in split(b"\xff\xfeM\x00S")] == ["junk"]
