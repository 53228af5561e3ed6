"""Senders that hold connections and send next to nothing: they keep nobody out; whoever is merely quiet stays."""

from contextlib import suppress
from dataclasses import replace

import pytest

from adapters.hospital.framing import frame
from gateway.model.message import MessageState
from gateway.model.site import Feed
from tests.contracts.waiting import wait_for
from tests.listening import Sender, codes, listening, message, msa, rows, sample

FEED = Feed("lis", "north", port=0, max_connections=6)


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


@pytest.fixture
def connect():
    senders = []

    def connect(running):
        """Connect; return when the listener has seen whatever was sent before."""
        senders.append(Sender(running.ports["lis"]))
        wait_for(lambda: seen(running) == len(senders))
        return senders[-1]

    yield connect
    for sender in senders:
        sender.close()


def seen(running):
    """How many connections were taken."""
    return (connections(running) or 0) + displaced(running)


def connections(running):
    return sample(running, "gateway_connections", feed="lis")


def displaced(running):
    return sample(running, "gateway_connections_refused_total", feed="lis", reason="displaced") or 0


def test_the_block_that_is_sent_the_longest_gives_way_to_a_new_sender_and_is_kept(store, connect):
    with listening(store, FEED) as running:
        healthy, silent = connect(running), connect(running)
        assert codes(healthy.ask(message("1"))) == ["AA"]
        slow = [connect(running) for _ in range(FEED.max_connections - 2)]
        for number, sender in enumerate(slow):
            sender.socket.sendall(b"\x0b" + message(f"slow-{number}"))
            assert codes(healthy.ask(message(f"between-{number}"))) == ["AA"]

        assert codes(connect(running).ask(message("2"))) == ["AA"]
        assert [msa(answer) for answer in slow[0].answers(2)] == [("AR", "slow-0")]
        slow[1].socket.sendall(b"\x1c\r")
        assert [msa(answer) for answer in slow[1].answers()] == [("AA", "slow-1")]
        assert codes(silent.ask(message("3"))) == ["AA"]
        assert codes(healthy.ask(message("4"))) == ["AA"]

    assert [row.control_id for row in rows(store) if row.state is MessageState.QUARANTINED] == ["slow-0"]


def test_many_silent_connections_keep_nobody_out_and_close_nobody_who_has_sent(store, connect):
    with listening(store, FEED) as running:
        healthy = connect(running)
        assert codes(healthy.ask(message("1"))) == ["AA"]
        silent = [connect(running) for _ in range(3 * FEED.max_connections)]
        assert all(sender.closed() for sender in silent[: 1 - FEED.max_connections])

        assert codes(healthy.ask(message("2"))) == ["AA"]
        assert codes(silent[-1].ask(message("3"))) == ["AA"]
        assert displaced(running) == 2 * FEED.max_connections + 1


def test_a_byte_now_and_then_does_not_keep_a_block_open(store, connect):
    with listening(store, replace(FEED, frame_timeout=0.3)) as running:
        sender = connect(running)
        sender.socket.settimeout(0.02)
        with suppress(ConnectionError):
            for byte in frame(message("1", text="5" * 100_000)):
                sender.socket.sendall(bytes([byte]))
                with suppress(TimeoutError):
                    if not sender.socket.recv(65536):
                        break
        wait_for(lambda: connections(running) == 0)

    assert [row.state for row in rows(store)] == [MessageState.QUARANTINED]
