"""An MLLP sender: ``gateway send``, the demonstration and the benchmarks feed listeners with it.

Each connection sends a message, waits for its acknowledgment and sends the next (``window`` messages ahead when asked),
as senders do. Answers are matched by MSA-2.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from adapters.hospital.framing import BlockReader, frame
from gateway.errors import Unreadable
from gateway.hl7v2.peek import peek

_LOOK_SECONDS: Final = 0.25
_SHUTDOWN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send. ``tls`` verifies the far side as ``server_name`` (empty: the host)."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str = ""


@dataclass(slots=True)
class Summary:
    """What came of sending.

    ``codes`` counts acknowledgments by MSA-1, ``errors`` what went wrong by kind; ``sent`` counts messages,
    ``answered`` those that got their first acknowledgment, ``latencies`` its seconds for each; ``seconds`` is the time
    it all took.
    """

    sent: int = 0
    answered: int = 0
    seconds: float = 0.0
    codes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Messages answered per second."""
        return self.answered / self.seconds if self.seconds else 0.0

    def percentile(self, percent: float) -> float:
        """Return the latency in seconds that so many percent stayed within; 0.0 when nothing was answered."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] if ordered else 0.0


def send(
    messages: Sequence[bytes],
    target: Target,
    *,
    connections: int = 1,
    rate: float | None = None,
    repeat: int = 1,
    window: int = 1,
    timeout: float = 30.0,
    progress: Callable[[int], None] = lambda _answered: None,
) -> Summary:
    """Send messages and wait for their acknowledgments; never raises for what the far side does.

    ``rate``: messages per second over all connections. ``repeat``: how often the whole is sent; later rounds carry
    fresh control ids. ``timeout``: seconds to wait for an acknowledgment. ``progress`` is told how many were answered.
    """
    run = _Run(rounds(messages, repeat), target, rate, window, timeout)
    began = time.perf_counter()
    asyncio.run(run.all(connections, progress))
    run.summary.seconds = time.perf_counter() - began
    return run.summary


def rounds(messages: Sequence[bytes], repeat: int) -> Iterator[bytes]:
    r"""Yield the messages ``repeat`` times, from the second round on with fresh control ids.

    >>> [raw[-3:] for raw in rounds([b"MSH|^~\\&|A|B|C|D|||ACK|7"], 3)]
    [b'K|7', b'7-2', b'7-3']
    """
    for number in range(1, repeat + 1):
        for raw in messages:
            yield raw if number == 1 else with_control_id_suffix(raw, f"-{number}")


def with_control_id_suffix(raw: bytes, suffix: str) -> bytes:
    """Return the message with MSH-10 made longer by ``suffix``; as it is when it has no MSH-10."""
    separator = raw[3:4]
    parts = raw.split(separator, 10) if separator else []
    if len(parts) < 10:
        return raw
    identifier, end, rest = parts[9].partition(b"\r")
    parts[9] = identifier + suffix.encode() + end + rest
    return separator.join(parts)


class _Run:
    """One call of ``send``: what is left to send, when, and what came of it."""

    def __init__(
        self, source: Iterator[bytes], target: Target, rate: float | None, window: int, timeout: float
    ) -> None:
        self.summary = Summary()
        self.window = window
        self.timeout = timeout
        self._source = source
        self._target = target
        self._interval = 1 / rate if rate else 0.0
        self._due = 0.0

    async def all(self, connections: int, progress: Callable[[int], None]) -> None:
        senders = await asyncio.gather(*(self._connect() for _ in range(connections)))
        self._due = time.perf_counter()
        open_senders = [sender for sender in senders if sender]
        for sender in open_senders:
            sender.go_on()
        while open_senders:
            await asyncio.wait([sender.ended for sender in open_senders], timeout=_LOOK_SECONDS)
            for sender in open_senders:
                sender.look()
            progress(self.summary.answered)
            open_senders = [sender for sender in open_senders if not sender.ended.done()]
        if left := sum(1 for _ in self._source):
            self.summary.errors["not sent"] += left

    async def _connect(self) -> _Sender | None:
        target = self._target
        name = (target.server_name or target.host) if target.tls else None
        loop = asyncio.get_running_loop()
        try:
            _, sender = await asyncio.wait_for(
                loop.create_connection(
                    lambda: _Sender(self, loop),
                    target.host,
                    target.port,
                    ssl=target.tls,
                    server_hostname=name,
                    ssl_shutdown_timeout=_SHUTDOWN_SECONDS if target.tls else None,
                ),
                self.timeout,
            )
        except (OSError, TimeoutError) as error:
            self.summary.errors[f"no connection: {type(error).__name__}"] += 1
            return None
        return sender

    def next(self) -> bytes | None:
        """Return the next message, None when there is none."""
        return next(self._source, None)

    def wait(self) -> float:
        """Return the seconds until the next message may go, and take its place when that is now (0.0)."""
        now = time.perf_counter()
        if self._due > now:
            return self._due - now
        if self._interval:
            self._due += self._interval
        return 0.0


class _Sender(asyncio.Protocol):
    """One connection."""

    def __init__(self, run: _Run, loop: asyncio.AbstractEventLoop) -> None:
        self.ended: asyncio.Future[None] = loop.create_future()
        self._run = run
        self._loop = loop
        self._reader = BlockReader()
        self._waiting: dict[str, float] = {}
        self._later: set[str] = set()
        self._timer = False
        self._closing = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:
            self._run.summary.errors["connection closed unanswered"] += len(self._waiting)
        self._closing = True
        self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        for piece in self._reader.feed(data):
            if isinstance(piece, bytes):
                self._acknowledged(piece, now)
        self.go_on()

    def go_on(self) -> None:
        """Send as far as window and rate allow; close when everything is sent and answered."""
        while len(self._waiting) < self._run.window and not self._timer and not self._closing:
            if wait := self._run.wait():
                self._timer = True
                self._loop.call_later(wait, self._tick)
                return
            raw = self._run.next()
            if raw is None:
                if not self._waiting and not self._later:
                    self._end()
                return
            self._send(raw)

    def look(self) -> None:
        """Give up when an answer is overdue."""
        now = time.perf_counter()
        if any(now - sent > self._run.timeout for sent in self._waiting.values()):
            self._run.summary.errors["no answer in time"] += len(self._waiting)
            self._waiting.clear()
            self._closing = True
            self._transport.abort()

    def _tick(self) -> None:
        self._timer = False
        self.go_on()

    def _send(self, raw: bytes) -> None:
        control_id, accept, application = _expected(raw)
        self._run.summary.sent += 1
        if accept or application:
            self._waiting[control_id] = time.perf_counter()
        if accept and application:
            self._later.add(control_id)
        self._transport.write(frame(raw))

    def _acknowledged(self, raw: bytes, now: float) -> None:
        code, control_id = acknowledged(raw)
        summary = self._run.summary
        summary.codes[code] += 1
        if control_id not in self._waiting and len(self._waiting) == 1 and control_id not in self._later:
            control_id = next(iter(self._waiting))
        sent = self._waiting.pop(control_id, None)
        if sent is None:
            self._later.discard(control_id)
            return
        if code != "CA":
            self._later.discard(control_id)
        summary.answered += 1
        summary.latencies.append(now - sent)

    def _end(self) -> None:
        self._closing = True
        self._transport.close()


def acknowledged(raw: bytes) -> tuple[str, str]:
    r"""Return MSA-1 and MSA-2 of an acknowledgment; ``("?", "")`` when it has no MSA.

    >>> acknowledged(b"MSH|^~\\&|\rMSA|AA|7|\r")
    ('AA', '7')
    """
    separator = raw[3:4]
    start = raw.find(b"\rMSA" + separator)
    if start < 0 or not separator:
        return "?", ""
    fields = raw[start + 5 :].partition(b"\r")[0].split(separator)
    return fields[0].decode("latin-1"), fields[1].decode("latin-1") if len(fields) > 1 else ""


def _expected(raw: bytes) -> tuple[str, bool, bool]:
    """Return MSH-10 and whether an accept and an application acknowledgment are sure to come."""
    try:
        head = peek(raw)
    except Unreadable:
        return "", True, False
    accept, application = head.accept_acknowledgment, head.application_acknowledgment
    if not accept and not application:
        return head.control_id, True, False
    return head.control_id, accept == "AL", application == "AL"
