"""What the tests of the way in share: fictional messages, a store, a running listener, a plain socket."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from datetime import UTC, datetime

from adapters.hospital.framing import BlockReader, frame
from gateway.model.site import Feed


def message(control_id="1", *, type="ORU^R01", version="2.5.1", processing_id="P", ask="", patient="100", sent="20260301080000", text="5.1"):
    """Return a small fictional laboratory message; ``ask`` is MSH-15 and MSH-16, ``AL|NE``."""
    lines = [
        f"MSH|^~\\&|LIS|NORTH|GATEWAY|UNIT|{sent}||{type}|{control_id}|{processing_id}|{version}|||{ask or '|'}",
        f"PID|1||{patient}^^^NORTH^MR||Doe^Jane",
        "OBR|1|A1|F1|718-7^Haemoglobin^LN",
        f"OBX|1|NM|718-7^Haemoglobin^LN||{text}|g/dL|||||F",
    ]
    return "\r".join(lines).encode() + b"\r"


class Sender:
    """A sender that speaks MLLP over a plain socket."""

    def __init__(self, port, context=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
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
        except ConnectionResetError:
            return True

    def close(self):
        self.socket.close()


def msa(acknowledgment):
    """Return MSA-1 and MSA-2."""
    line = next(line for line in acknowledgment.split(b"\r") if line.startswith(b"MSA"))
    return tuple(field.decode() for field in line.split(line[3:4])[1:3])


def codes(acknowledgments):
    return [msa(acknowledgment)[0] for acknowledgment in acknowledgments]


def clock():
    return datetime.now(UTC)
