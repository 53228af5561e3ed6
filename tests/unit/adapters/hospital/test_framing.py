"""Framing: blocks survive any cutting of the stream, and nothing disappears silently."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.hospital.framing import KEPT, BlockReader, Oversize, Stray, frame

contents = st.binary(max_size=60).map(lambda raw: raw.replace(b"\x0b", b"v").replace(b"\x1c", b"s"))


def cut(stream, cuts):
    places = [0, *sorted(cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(places)]


@given(st.lists(contents, max_size=6), st.data())
def test_blocks_survive_any_split_of_the_stream(sent, data):
    stream = b"".join(frame(content) for content in sent)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    reader = BlockReader()

    received = [piece for chunk in cut(stream, cuts) for piece in reader.feed(chunk)]

    assert received == sent
    assert not reader.open


@given(st.lists(st.sampled_from(b"\x0b\x1c\r\n ab"), max_size=80).map(bytes), st.data())
def test_any_bytes_give_the_same_pieces_however_they_are_cut(stream, data):
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    whole, parts = BlockReader(limit=20), BlockReader(limit=20)

    expected = whole.feed(stream) + whole.finish()
    received = [piece for chunk in cut(stream, cuts) for piece in parts.feed(chunk)] + parts.finish()

    assert received == expected


@given(st.integers(0, 400_000), st.integers(500, 30_000))
def test_a_block_too_large_is_given_as_its_head_and_memory_stays_bounded(size, step):
    limit = 100_000
    reader = BlockReader(limit=limit)
    stream = frame(b"M" * size) + frame(b"next")
    received = []
    for start in range(0, len(stream), step):
        received += reader.feed(stream[start : start + step])
        assert len(reader._buffer) <= limit + step + 2

    first = b"M" * size if size <= limit else Oversize(b"M" * KEPT, size)
    assert received == [first, b"next"]


def test_of_a_block_too_large_where_little_is_allowed_only_the_beginning_is_kept():
    reader = BlockReader(limit=10)
    assert reader.feed(b"\x0bbeginning and more") == []
    assert reader.feed(b"the end\x1c\r") == [Oversize(b"beginning ", 25)]


@pytest.mark.parametrize(
    ("stream", "pieces"),
    [
        (b"\x0ba\x1c\n\x0bb\x1c\r", [b"a", b"b"]),
        (b"\x0ba\x1c\x0bb\x1c\r", [b"a", b"b"]),
        (b"\r\n\x0ba\x1c\r\r\n\n\x0bb\x1c\r\r\n", [b"a", b"b"]),
        (b"\x0ba\x1cb\x1c\r", [b"a\x1cb"]),
        (b"noise\x0ba\x1c\r", [Stray(b"noise", ended=False), b"a"]),
        (b"MSH|no start\x1c\r", [Stray(b"MSH|no start", ended=True)]),
        (b"MSH|no start\x1c\r\x0ba\x1c\r", [Stray(b"MSH|no start", ended=True), b"a"]),
        (b"\x0b\x1c\r", [b""]),
        (b"\x0ba\x0bb\x1c\r", [b"a\x0bb"]),
    ],
)
def test_what_senders_get_wrong_is_read_or_named(stream, pieces):
    assert BlockReader().feed(stream) == pieces


@pytest.mark.parametrize(
    ("stream", "pieces"),
    [
        (b"\x0bMSH|cut off", [Stray(b"MSH|cut off", ended=True)]),
        (b"\x0bMSH|whole\x1c", [b"MSH|whole"]),
        (b"hello", [Stray(b"hello", ended=False)]),
        (b"\r\n", []),
    ],
)
def test_what_is_left_at_the_end_of_the_stream_is_given_out(stream, pieces):
    reader = BlockReader()
    assert reader.feed(stream) == []
    assert reader.finish() == pieces
    assert not reader.open
