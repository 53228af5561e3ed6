"""A sender that costs little, for the benchmarks: it shares the two cores with what it measures.

Each connection sends a block, waits for the answer and sends the next, as hospital systems do.
"""

from __future__ import annotations

import re
import select
import socket
import time
from dataclasses import dataclass, field

END = b"\x1c\r"
ACCEPTED = re.compile(rb"\rMSA\|[AC]A\|").search
PATIENCE = 60.0


@dataclass
class Fed:
    """What came of sending: latencies in seconds, and the answers that were not wanted."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    others: list[bytes] = field(default_factory=list)

    @property
    def per_second(self):
        return len(self.latencies) / self.seconds

    def percentile(self, percent):
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def feed(port, blocks, connections):
    """Send blocks (framed already) over so many connections; what is not answered AA or CA is kept in ``others``."""
    open_ones = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(connections)]
    try:
        for one in open_ones:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _feed({one.fileno(): one for one in open_ones}, iter(blocks))
    finally:
        for one in open_ones:
            one.close()


def _feed(sockets, blocks):
    fed = Fed()
    sent = {}
    parts = dict.fromkeys(sockets, b"")
    now = time.perf_counter
    with select.epoll() as ready:
        for number in sockets:
            ready.register(number, select.EPOLLIN)
        began = now()

        def go_on(number):
            block = next(blocks, None)
            if block is None:
                sent.pop(number, None)
            else:
                sent[number] = now()
                sockets[number].sendall(block)

        for number in sockets:
            go_on(number)
        while sent:
            events = ready.poll(PATIENCE)
            if not events:
                raise TimeoutError("no answer in time")
            for number, _ in events:
                answer = sockets[number].recv(65536)
                if not answer:
                    raise ConnectionError("the far side closed the connection")
                if parts[number]:
                    answer = parts[number] + answer
                if not answer.endswith(END):
                    parts[number] = answer
                    continue
                parts[number] = b""
                fed.latencies.append(now() - sent[number])
                if not ACCEPTED(answer):
                    fed.others.append(answer)
                go_on(number)
        fed.seconds = now() - began
    return fed
