"""The MLLP listener: one port per feed, many messages per connection, answers in order (HL7 v2 appendix C).

Own thread, own event loop. A connection hands each block to ``Intake`` at once and reads on, so pipelined messages
share a commit; when too much is unanswered it stops reading until answers have left.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

import structlog

from adapters.hospital.framing import BlockReader, Oversize, Piece, Stray, frame
from adapters.hospital.tls import server_context, shows_subject
from gateway.errors import ConfigurationError
from gateway.model.site import Feed
from gateway.services.metrics import Metrics
from gateway.services.receive import Answer, Intake

log = structlog.get_logger()

_UNANSWERED: Final = 256
"""Messages of one connection that may wait for their answer before it is no longer read."""
_WRITE_BUFFER: Final = 256 * 1024
_SWEEP_SECONDS: Final = 0.25
_HANDSHAKE_SECONDS: Final = 10.0
_SHUTDOWN_SECONDS: Final = 1.0
_CLOSING_SECONDS: Final = 0.02
"""Within which the loop makes an accepted connection, or closes an aborted one."""


class _Slot:
    """The place of one message in the order of a connection's answers."""

    __slots__ = ("answer", "connection", "sent")

    def __init__(self, connection: _Connection) -> None:
        self.connection = connection
        self.answer: Answer | None = None
        self.sent = False


class _Connection(asyncio.Protocol):
    """One sender's connection."""

    def __init__(self, listener: _FeedListener) -> None:
        self._listener = listener
        self._feed = listener.feed
        self._reader = BlockReader(self._feed.max_bytes)
        self._slots: deque[_Slot] = deque()
        self._transport: asyncio.Transport
        self._began: float | None = None
        self._stuck: float | None = None
        self._heard = time.monotonic()
        self._paused = False
        self._ending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the sender, or close at once: over the limit, or another certificate than the feed's."""
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        if reason := self._listener.refusal(transport):
            self._ending = True
            self._listener.refused(reason)
            transport.abort()
            return
        self._listener.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Keep what was cut off in quarantine and give the place free."""
        if not self._ending:
            for piece in self._reader.finish():
                self._take(piece, cut_off=True)
        self._ending = True
        self._slots.clear()
        self._listener.closed(self)

    def data_received(self, data: bytes) -> None:
        """Hand over every message that is complete now."""
        if self._ending:
            return
        self._heard = time.monotonic()
        for piece in self._reader.feed(data):
            self._take(piece)
            self._began = None
        if not self._reader.open:
            self._began = None
        elif self._began is None:
            self._began = self._heard
        self._hold_back()

    def eof_received(self) -> bool:
        """The sender will send no more. True keeps the writing side open for its answers (TLS cannot)."""
        for piece in self._reader.finish():
            self._take(piece, cut_off=True)
        self._began = None
        self.end()
        return bool(self._slots) and self._feed.tls is None

    def pause_writing(self) -> None:
        """The sender does not read its answers: read no more from it."""
        self._stuck = time.monotonic()
        self._hold_back()

    def resume_writing(self) -> None:
        """The sender reads again."""
        self._stuck = None
        self.read_on()

    def answered(self, slot: _Slot, answer: Answer) -> None:
        """Take an answer; ``flush`` sends what is next in order."""
        if slot.answer is None:
            slot.answer = answer
        elif slot.sent:
            self._write(answer.acknowledgments)
        else:
            slot.answer = Answer(slot.answer.acknowledgments + answer.acknowledgments)

    def flush(self) -> None:
        """Send the answers that are next in order, in one write."""
        ready: list[bytes] = []
        closes = False
        while self._slots and (answer := self._slots[0].answer) and not closes:
            self._slots.popleft().sent = True
            ready += answer.acknowledgments
            closes = answer.closes
        self._write(ready)
        if closes:
            self._slots.clear()
            self._ending = True
        if self._ending and not self._slots:
            self._transport.close()
        else:
            self.read_on()

    def end(self) -> None:
        """Read no more; close when every answer has left."""
        self._ending = True
        if not self._slots:
            self._transport.close()

    def sweep(self, now: float) -> None:
        """End a connection whose block does not arrive, whose sender does not read, or that idles too long."""
        if self._stuck is not None and now - self._stuck > self._feed.frame_timeout:
            log.warning("sender does not read its answers; connection closed", feed=self._feed.id)
            self._transport.abort()
        elif self._began is not None and now - self._began > self._feed.frame_timeout and not self._paused:
            for piece in self._reader.finish():
                self._take(piece, cut_off=True)
            self._began = None
            self.end()
        elif self._idle(now):
            self.end()
        else:
            self.read_on()

    def _idle(self, now: float) -> bool:
        limit = self._feed.idle_timeout
        return limit is not None and not self._slots and not self._paused and now - self._heard > limit

    def abort(self) -> None:
        """Close now, whatever waits."""
        self._ending = True
        self._transport.abort()

    @property
    def waits(self) -> bool:
        """Whether a message waits for its answer."""
        return bool(self._slots)

    def read_on(self) -> None:
        """Read again if nothing speaks against it any more."""
        if self._paused and not self._ending and not self._crowded():
            self._paused = False
            if self._began is not None:
                self._began = time.monotonic()
            self._transport.resume_reading()

    def _hold_back(self) -> None:
        if not self._paused and not self._ending and self._crowded():
            self._paused = True
            self._transport.pause_reading()

    def _crowded(self) -> bool:
        return len(self._slots) >= _UNANSWERED or self._stuck is not None or self._listener.intake.full

    def _take(self, piece: Piece, *, cut_off: bool = False) -> None:
        intake, deliver = self._listener.intake, self._listener.deliver
        if isinstance(piece, Stray):
            log.warning("bytes outside any block", feed=self._feed.id, size=len(piece.content), cut_off=cut_off)
            answered = piece.ended or cut_off
            token = self._slot() if answered else None
            reason = "the block does not end" if cut_off else "no start block"
            intake.stray(self._feed, piece.content, deliver, token, reason=reason, answered=answered)
        elif isinstance(piece, Oversize):
            intake.submit(self._feed, piece.head, deliver, self._slot(), size=piece.size)
        else:
            intake.submit(self._feed, piece, deliver, self._slot())

    def _slot(self) -> _Slot:
        slot = _Slot(self)
        self._slots.append(slot)
        return slot

    def _write(self, acknowledgments: Sequence[bytes]) -> None:
        if acknowledgments and not self._transport.is_closing():
            self._transport.write(b"".join(map(frame, acknowledgments)))


class _FeedListener:
    """One feed's port and its connections. Lives on the loop's thread."""

    def __init__(self, feed: Feed, intake: Intake, metrics: Metrics, loop: asyncio.AbstractEventLoop) -> None:
        self.feed = feed
        self.intake = intake
        self.connections: set[_Connection] = set()
        self._metrics = metrics
        self._loop = loop
        self._server: asyncio.Server | None = None
        self._closing = False

    async def open(self) -> int:
        """Listen; return the port (the one chosen when the feed says 0). Raises ``ConfigurationError``."""
        tls = self.feed.tls
        context = server_context(tls, self.feed.id) if tls else None
        try:
            self._server = await self._loop.create_server(
                lambda: _Connection(self),
                self.feed.host,
                self.feed.port,
                ssl=context,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS if context else None,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS if context else None,
                backlog=512,
            )
        except OSError as error:
            where = f"{self.feed.host}:{self.feed.port}"
            raise ConfigurationError(f"feed {self.feed.id}", f"cannot listen on {where}: {error.strerror}") from error
        port: int = self._server.sockets[0].getsockname()[1]
        log.info("listening", feed=self.feed.id, host=self.feed.host, port=port, tls=context is not None)
        return port

    def refusal(self, transport: asyncio.Transport) -> str:
        """Return why a new connection is not taken: ``stopping``, ``limit``, ``certificate`` or nothing."""
        if self._closing:
            return "stopping"
        if len(self.connections) >= self.feed.max_connections:
            return "limit"
        tls = self.feed.tls
        if tls and tls.client_subject and not shows_subject(transport.get_extra_info("peercert"), tls.client_subject):
            return "certificate"
        return ""

    def refused(self, reason: str) -> None:
        """Count a connection that was closed at once."""
        log.warning("connection refused", feed=self.feed.id, reason=reason)
        self._metrics.connections_refused.labels(self.feed.id, reason).inc()

    def opened(self, connection: _Connection) -> None:
        """Count a connection in."""
        self.connections.add(connection)
        self._metrics.connections.labels(self.feed.id).set(len(self.connections))

    def closed(self, connection: _Connection) -> None:
        """Count a connection out."""
        self.connections.discard(connection)
        self._metrics.connections.labels(self.feed.id).set(len(self.connections))

    def deliver(self, answers: list[tuple[Any, Answer]]) -> None:
        """Bring the answers of one commit to the loop: called on the writer's thread."""
        try:
            self._loop.call_soon_threadsafe(self._answered, answers)
        except RuntimeError:
            log.warning("answers came after the listener had closed", feed=self.feed.id, count=len(answers))

    def _answered(self, answers: Iterable[tuple[_Slot | None, Answer]]) -> None:
        connections: dict[_Connection, None] = {}
        for slot, answer in answers:
            if slot is not None:
                slot.connection.answered(slot, answer)
                connections[slot.connection] = None
        for connection in connections:
            connection.flush()

    def sweep(self, now: float) -> None:
        """Look after time limits."""
        for connection in tuple(self.connections):
            connection.sweep(now)

    def stop_accepting(self) -> None:
        """Take no more connections; those that are open stay."""
        self._closing = True
        for its in self._server.sockets if self._server else ():
            self._loop.remove_reader(its.fileno())

    def close_port(self) -> None:
        """Close the port, once the loop has made what it accepted (a server closed earlier would lose that socket)."""
        if self._server:
            self._server.close()


class MllpListener:
    """The listeners of every MLLP feed. ``ports`` maps feed id -> port once started."""

    def __init__(self, feeds: Iterable[Feed], intake: Intake, metrics: Metrics) -> None:
        self._feeds = [feed for feed in feeds if feed.kind == "mllp"]
        self._intake = intake
        self._metrics = metrics
        self._loop: asyncio.AbstractEventLoop
        self._listeners: list[_FeedListener] = []
        self._thread = threading.Thread(target=self._run, name="mllp", daemon=True)
        self._sweeper: asyncio.TimerHandle | None = None
        self.ports: dict[str, int] = {}

    def start(self) -> None:
        """Listen on every feed's port. Raises ``ConfigurationError`` naming the feed that cannot."""
        self._loop = asyncio.new_event_loop()
        self._listeners = [_FeedListener(feed, self._intake, self._metrics, self._loop) for feed in self._feeds]
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        except BaseException:
            self.stop(drain=0)
            raise

    def stop(self, drain: float = 10.0) -> None:
        """Accept no more, answer what has been received, close; after ``drain`` seconds close whatever is left."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._close(drain), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _open(self) -> None:
        for listener in self._listeners:
            self.ports[listener.feed.id] = await listener.open()
        self._sweep()

    def _sweep(self) -> None:
        now = time.monotonic()
        for listener in self._listeners:
            listener.sweep(now)
        self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    async def _close(self, drain: float) -> None:
        if self._sweeper:
            self._sweeper.cancel()
        for listener in self._listeners:
            listener.stop_accepting()
        await asyncio.sleep(_CLOSING_SECONDS)
        for listener in self._listeners:
            listener.close_port()
        for connection in self._connections():
            connection.end()
        until = time.monotonic() + drain
        while self._connections() and time.monotonic() < until:
            await asyncio.sleep(0.01)
        for connection in self._connections():
            connection.abort()
        await self._let_go()

    async def _let_go(self) -> None:
        """End connections that are still being made (TLS handshakes) and let the loop close what was aborted."""
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        await asyncio.sleep(_CLOSING_SECONDS)

    def _connections(self) -> list[_Connection]:
        return [connection for listener in self._listeners for connection in tuple(listener.connections)]
