"""The MLLP listener over real sockets, into a real SQLite file."""

import hashlib
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from adapters.hospital.client import Target, send
from adapters.hospital.framing import frame
from gateway.errors import ConfigurationError
from gateway.model.message import MessageState
from gateway.model.site import Feed, Tls
from gateway.tls import client_context
from tests.certificates import Authority
from tests.contracts.waiting import wait_for
from tests.listening import BrokenStore, Sender, codes, listening, message, msa, rows, sample, settle

FEED = Feed("lis", "north", port=0)


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


@pytest.fixture
def connect():
    senders = []

    def connect(running, feed="lis", context=None):
        senders.append(Sender(running.ports[feed], context))
        return senders[-1]

    yield connect
    for sender in senders:
        sender.close()


def connections(running):
    return sample(running, "gateway_connections", feed="lis")


def refused(running, reason):
    return sample(running, "gateway_connections_refused_total", feed="lis", reason=reason)


def test_pipelined_messages_are_answered_in_order(store, connect):
    with listening(store, FEED) as running:
        sender = connect(running)
        answers = sender.ask(*(message(str(n)) for n in range(300)))

    assert [msa(answer) for answer in answers] == [("AA", str(n)) for n in range(300)]
    assert [row.control_id for row in rows(store)] == [str(n) for n in range(300)]


def test_a_message_may_come_byte_by_byte(store, connect):
    with listening(store, FEED) as running:
        sender = connect(running)
        sender.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in frame(message("1")):
            sender.socket.sendall(bytes([byte]))

        assert codes(sender.answers()) == ["AA"]


def test_every_feed_has_a_port_of_its_own(store, connect):
    adt = Feed("adt", "north", port=0, takes=("ADT",))
    with listening(store, FEED, adt) as running:
        assert codes(connect(running, "lis").ask(message("1"))) == ["AA"]
        assert codes(connect(running, "adt").ask(message("1"))) == ["AR"]
        assert codes(connect(running, "adt").ask(message("1", type="ADT^A08"))) == ["AA"]

    assert [row.feed for row in rows(store)] == ["lis", "adt", "adt"]


def test_both_acknowledgments_come_on_the_connection_and_each_message_keeps_its_order(store, connect):
    with listening(store, FEED) as running:
        sender = connect(running)
        sender.send(message("1", ask="AL|AL"), message("2", ask="NE|NE"), message("3"))

        assert [msa(answer) for answer in sender.answers(3)] == [("CA", "1"), ("AA", "1"), ("AA", "3")]
    assert len(rows(store)) == 3


def test_the_answer_that_waits_for_translation_holds_back_the_later_ones_in_the_original_mode(store, connect):
    slow = replace(FEED, acknowledge="translated")
    with listening(store, slow) as running:
        sender = connect(running)
        sender.send(message("1"), message("2", processing_id="T"))
        settle(store, MessageState.TRANSLATED)

        assert [msa(answer) for answer in sender.answers(2)] == [("AA", "1"), ("AR", "2")]


def test_the_application_acknowledgment_follows_when_the_message_is_translated(store, connect):
    slow = replace(FEED, acknowledge="translated")
    with listening(store, slow) as running:
        sender = connect(running)
        sender.send(message("1", ask="AL|AL"))
        first = sender.answers()
        settle(store, MessageState.FAILED, reason="no such code", place="OBX-3")

        assert codes([*first, *sender.answers()]) == ["CA", "AE"]


def test_a_message_over_the_limit_is_refused_and_the_connection_stays_usable(store, connect):
    with listening(store, replace(FEED, max_bytes=2000)) as running:
        sender = connect(running)
        big = message("1") + b"NTE|1||" + b"x" * 100_000 + b"\r"

        assert [msa(answer) for answer in sender.ask(big, message("2"))] == [("AR", "1"), ("AA", "2")]


def test_what_is_not_a_message_is_answered_and_kept_and_the_connection_stays_usable(store, connect):
    with listening(store, FEED) as running:
        sender = connect(running)
        assert codes(sender.ask(b"hello", message("1"))) == ["AR", "AA"]

    assert [(row.state, row.raw) for row in rows(store)] == [
        (MessageState.QUARANTINED, b"hello"),
        (MessageState.STORED, message("1")),
    ]


def test_bytes_before_a_block_are_kept_and_one_without_a_start_block_is_answered(store, connect):
    with listening(store, FEED) as running:
        sender = connect(running)
        sender.socket.sendall(b"noise" + frame(message("1")) + b"\r\n" + message("2") + b"\x1c\r")
        assert codes(sender.answers(2)) == ["AA", "AR"]

    quarantined = [row.raw for row in rows(store) if row.state is MessageState.QUARANTINED]
    assert quarantined == [b"noise", message("2").rstrip(b"\r")]


def test_a_block_that_does_not_end_in_time_is_answered_kept_and_the_connection_closed(store, connect):
    with listening(store, replace(FEED, frame_timeout=0.3)) as running:
        sender = connect(running)
        sender.socket.sendall(b"\x0b" + message("1"))

        assert [msa(answer) for answer in sender.answers()] == [("AR", "1")]
        assert sender.closed()
    assert [row.state for row in rows(store)] == [MessageState.QUARANTINED]


def test_an_idle_connection_stays_open_unless_its_feed_says_otherwise(store, connect):
    hasty = Feed("hasty", "north", port=0, idle_timeout=2.0)
    with listening(store, replace(FEED, frame_timeout=1.0), hasty) as running:
        patient, idle = connect(running), connect(running, "hasty")
        assert codes(idle.ask(message("1"))) == ["AA"]
        assert idle.closed()
        assert codes(patient.ask(message("2"))) == ["AA"]


def test_connections_over_the_limit_are_closed_and_places_come_free_again(store, connect):
    with listening(store, replace(FEED, max_connections=2)) as running:
        first, second = connect(running), connect(running)
        assert codes(first.ask(message("1")) + second.ask(message("2"))) == ["AA", "AA"]
        assert connect(running).closed()
        first.close()
        wait_for(lambda: connections(running) == 1)

        assert codes(connect(running).ask(message("3"))) == ["AA"]
        assert refused(running, "limit") == 1


def test_many_connections_that_break_off_leave_nothing_behind(store, connect):
    with listening(store, replace(FEED, max_connections=5)) as running:
        for number in range(20):
            sender = connect(running)
            assert codes(sender.ask(message(str(number)))) == ["AA"]
            sender.socket.sendall(b"\x0bMSH|cut")
            sender.close()
            wait_for(lambda: connections(running) == 0)
        assert codes(connect(running).ask(message("last"))) == ["AA"]


def test_a_sender_that_does_not_read_its_answers_is_held_back_and_in_the_end_closed(store, connect):
    with listening(store, replace(FEED, frame_timeout=0.5, application="G" * 8000)) as running:
        sender = connect(running)
        sender.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sender.socket.settimeout(0.2)
        with pytest.raises((TimeoutError, ConnectionError)):
            sender.socket.sendall(frame(b"x" * 10_000) * 5000)
        wait_for(lambda: connections(running) == 0)

        assert codes(connect(running).ask(message("1"))) == ["AA"]


def test_a_store_that_cannot_commit_closes_the_connection_and_the_resend_is_taken(store, connect):
    broken = BrokenStore(store)
    with listening(broken, FEED) as running:
        sender = connect(running)
        sender.send(message("1"))
        assert sender.closed()
        broken.broken = False

        assert codes(connect(running).ask(message("1"))) == ["AA"]


def test_stopping_answers_what_was_received(store, connect):
    with listening(store, FEED) as running:
        sender = connect(running)
        sender.send(*(message(str(n)) for n in range(100)))
        wait_for(lambda: rows(store))
        running.listener.stop()
        answers = sender.answers(100)

        with pytest.raises(ConnectionError):
            Sender(running.ports["lis"])
    assert codes(answers) == ["AA"] * len(answers)
    assert len(rows(store)) == len(answers)


def test_a_port_that_is_taken_is_named(store):
    with listening(store, FEED) as running:
        taken = Feed("other", "north", port=running.ports["lis"])
        with (
            pytest.raises(ConfigurationError, match=r"feed other: cannot listen on 127\.0\.0\.1"),
            listening(store, taken),
        ):
            pass


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def test_a_feed_over_tls_takes_nothing_in_clear(store, connect, authority):
    certificate, key = authority.issue("localhost")
    with listening(store, replace(FEED, tls=Tls(certificate, key))) as running:
        context = client_context("test", authority.certificate)
        assert codes(connect(running, context=context).ask(message("1"))) == ["AA"]
        plain = connect(running)
        plain.send(message("2"))
        assert plain.closed()

    assert [row.control_id for row in rows(store)] == ["1"]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_a_feed_takes_tls_1_2_or_newer(store, connect, authority):
    certificate, key = authority.issue("localhost")
    with listening(store, replace(FEED, tls=Tls(certificate, key))) as running:
        new, old = (ssl.create_default_context(cafile=authority.certificate) for _ in range(2))
        new.maximum_version = ssl.TLSVersion.TLSv1_2
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1

        assert connect(running, context=new).socket.version() == "TLSv1.2"
        with pytest.raises(ssl.SSLError):
            connect(running, context=old)


def test_a_feed_bound_to_certificates_takes_no_other_site_s(store, connect, authority):
    certificate, key = authority.issue("localhost")
    subjects = ("lis.north.example", "*.ehr.north.example")
    tls = Tls(certificate, key, client_ca=authority.certificate, client_subject=subjects)
    with structlog.testing.capture_logs() as lines, listening(store, replace(FEED, tls=tls)) as running:

        def shown(name):
            return client_context("test", authority.certificate, *authority.issue(name))

        assert codes(connect(running, context=shown("lis.north.example")).ask(message("1"))) == ["AA"]
        for other in ("lis.south.example", "ehr.north.example", "a.b.ehr.north.example"):
            assert connect(running, context=shown(other)).closed()
        assert codes(connect(running, context=shown("one.ehr.north.example")).ask(message("2"))) == ["AA"]

        assert refused(running, "certificate") == 3
    assert len(rows(store)) == 2
    other = ssl.PEM_cert_to_DER_cert(Path(authority.issued["lis.south.example"]).read_text())
    assert hashlib.sha256(other).hexdigest() in str(lines)
    assert "south" not in str(lines)


def test_handshakes_that_fail_or_never_come_are_counted_and_the_feed_goes_on(
    store, connect, authority, tmp_path_factory
):
    certificate, key = authority.issue("localhost")
    tls = Tls(certificate, key, client_ca=authority.certificate, client_subject=("lis",))
    with listening(store, replace(FEED, tls=tls), handshake_seconds=2.0) as running:
        silent = connect(running)
        stranger = Authority(tmp_path_factory.mktemp("stranger"))
        for context in (
            client_context("test", authority.certificate),
            client_context("test", authority.certificate, *stranger.issue("lis")),
        ):
            assert connect(running, context=context).closed()
        assert silent.closed()

        wait_for(lambda: refused(running, "handshake") == 3)
        right = client_context("test", authority.certificate, *authority.issue("lis"))
        assert codes(connect(running, context=right).ask(message("1"))) == ["AA"]


@pytest.mark.parametrize("missing", ["client_ca", "client_subject"])
def test_an_authority_and_a_subject_come_together(store, authority, missing):
    certificate, key = authority.issue("localhost")
    both = {"client_ca": authority.certificate, "client_subject": ("lis",)}
    tls = Tls(certificate, key, **{name: value for name, value in both.items() if name != missing})
    with (
        pytest.raises(ConfigurationError, match=f"needs {missing}"),
        listening(store, replace(FEED, tls=tls)),
    ):
        pass


def test_the_client_sends_over_several_connections_and_sums_up(store):
    with listening(store, FEED) as running:
        target = Target("127.0.0.1", running.ports["lis"])
        messages = [message(str(n)) for n in range(50)] + [message("bad", processing_id="T")]
        summary = send(messages, target, connections=4, repeat=2)

    assert summary.codes == {"AA": 100, "AR": 2}
    assert (summary.sent, summary.answered, dict(summary.errors)) == (102, 102, {})
    assert 0 < summary.percentile(50) <= summary.percentile(99)
    assert {"0", "0-2"} <= {row.control_id for row in rows(store)}


def test_the_client_keeps_to_a_rate(store):
    with listening(store, FEED) as running:
        target = Target("127.0.0.1", running.ports["lis"])
        summary = send([message(str(n)) for n in range(20)], target, connections=2, rate=50)

    assert summary.codes == {"AA": 20}
    assert summary.seconds > 0.35


@pytest.mark.parametrize(("ask", "expected"), [("AL|AL", {"CA": 3, "AA": 3}), ("NE|NE", {}), ("NE|AL", {"AA": 3})])
def test_the_client_knows_the_enhanced_mode(store, ask, expected):
    with listening(store, FEED) as running:
        target = Target("127.0.0.1", running.ports["lis"])
        summary = send([message(str(n), ask=ask) for n in range(3)], target)

    assert (summary.codes, dict(summary.errors)) == (expected, {})


def test_the_client_says_when_nobody_listens_or_nobody_answers(store):
    broken = BrokenStore(store)
    with listening(broken, FEED) as running:
        target = Target("127.0.0.1", running.ports["lis"])
        closed = send([message("1"), message("2")], target)
    nobody = send([message("1")], target)

    assert dict(closed.errors) == {"connection closed unanswered": 1, "not sent": 1}
    assert dict(nobody.errors) == {"no connection: ConnectionRefusedError": 1, "not sent": 1}


def test_the_client_speaks_mutual_tls(store, authority):
    certificate, key = authority.issue("localhost")
    tls = Tls(certificate, key, client_ca=authority.certificate, client_subject=("lis",))
    with listening(store, replace(FEED, tls=tls)) as running:
        context = client_context("test", authority.certificate, *authority.issue("lis"))
        summary = send([message("1")], Target("127.0.0.1", running.ports["lis"], context, "localhost"))

    assert summary.codes == {"AA": 1}
