"""What the tests of the way in share: fictional messages, a store, a running listener, a plain socket."""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

from adapters.hospital.framing import BlockReader, frame
from adapters.hospital.mllp import MllpListener
from gateway.errors import StoreUnavailable
from gateway.model.message import Became, MessageState
from gateway.ports import MessageFilter
from gateway.services.metrics import Metrics
from gateway.services.receive import Intake
from gateway.store import create_store
from tests.contracts.stores import KEYS, empty_file
from tests.contracts.waiting import PATIENCE, wait_for


def message(
    control_id="1",
    *,
    type="ORU^R01",
    version="2.5.1",
    processing_id="P",
    ask="",
    patient="100",
    sent="20260301080000",
    text="5.1",
):
    """Return a small fictional laboratory message; ``ask`` is MSH-15 and MSH-16, ``AL|NE``."""
    lines = [
        f"MSH|^~\\&|LIS|NORTH|GATEWAY|UNIT|{sent}||{type}|{control_id}|{processing_id}|{version}|||{ask or '|'}",
        f"PID|1||{patient}^^^NORTH^MR||Doe^Jane",
        "OBR|1|A1|F1|718-7^Haemoglobin^LN",
        f"OBX|1|NM|718-7^Haemoglobin^LN||{text}|g/dL|||||F",
    ]
    return "\r".join(lines).encode() + b"\r"


@contextmanager
def closed_on_error(one):
    try:
        yield
    except BaseException:
        one.close()
        raise


class Sender:
    """A sender that speaks MLLP over a plain socket."""

    def __init__(self, port, context=None):
        self.socket = plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        if context:
            with closed_on_error(plain):
                self.socket = context.wrap_socket(plain, server_hostname="localhost")
        self._reader = BlockReader()
        self._answers = []

    def send(self, *messages):
        self.socket.sendall(b"".join(map(frame, messages)))

    def answers(self, count=1):
        """Return the next acknowledgments; fewer when the far side closes."""
        while len(self._answers) < count:
            data = self.socket.recv(65536)
            if not data:
                break
            self._answers += self._reader.feed(data)
        taken, self._answers = self._answers[:count], self._answers[count:]
        return taken

    def ask(self, *messages):
        """Send messages and return as many answers."""
        self.send(*messages)
        return self.answers(len(messages))

    def closed(self):
        """Wait until the far side has closed; return whether it said nothing before."""
        try:
            return self.socket.recv(65536) == b""
        except (ConnectionError, ssl.SSLError):
            return True

    def close(self):
        self.socket.close()


def msa(acknowledgment):
    """Return MSA-1 and MSA-2."""
    line = next(line for line in acknowledgment.split(b"\r") if line.startswith(b"MSA"))
    return tuple(field.decode() for field in line.split(line[3:4])[1:3])


def said(answer):
    """MSA-1 and MSA-2 of an acknowledgment, as bytes: a sender may use any character."""
    line = next(line for line in answer.split(b"\r") if line.startswith(b"MSA"))
    return tuple(line.split(line[3:4])[1:3])


def codes(acknowledgments):
    return [msa(acknowledgment)[0] for acknowledgment in acknowledgments]


def clock():
    return datetime.now(UTC)


@contextmanager
def sqlite_store(folder):
    """Give a fresh, encrypted store in a folder."""
    store = create_store(empty_file(folder), KEYS)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def listening(store, *feeds, handshake_seconds=PATIENCE, **options):
    """Run an intake and the listeners of MLLP feeds; give the listener, its ``intake`` and ``metrics`` beside it."""
    metrics = Metrics()
    intake = Intake(store, clock, metrics=metrics, **options)
    listener = MllpListener(feeds, intake, metrics, handshake_seconds=handshake_seconds)
    intake.start()
    listener.start()
    try:
        yield SimpleNamespace(listener=listener, intake=intake, metrics=metrics, ports=listener.ports)
    finally:
        listener.stop()
        intake.stop()


def settle(store, state, *, place="", reason="", code=""):
    """Settle the next stored messages, as the translating role would, once they are there; return their ids."""
    ids = []

    def settled():
        with store.begin() as transaction:
            found = transaction.messages.find(MessageFilter(state=MessageState.STORED))
            transaction.messages.settle([Became(one.id, state, place, reason, code) for one in found], clock())
        ids.extend(one.id for one in found)
        return found

    wait_for(settled, what="a stored message")
    return ids


def rows(store):
    """Return every stored message, oldest first, raw bytes included."""
    with store.begin(write=False) as transaction:
        found = transaction.messages.find(MessageFilter(limit=1000))
        return [transaction.messages.get(one.id) for one in reversed(found)]


def sample(running, name, **labels):
    """Return a metric of a running listener; None when there is none yet."""
    return running.metrics.registry.get_sample_value(name, labels)


class BrokenStore:
    """A store in front of another that does not commit while ``broken``."""

    def __init__(self, store):
        self._store = store
        self.broken = True

    def receive(self, batch):
        if self.broken:
            raise StoreUnavailable("the disk is full")
        return self._store.receive(batch)

    def __getattr__(self, name):
        return getattr(self._store, name)
