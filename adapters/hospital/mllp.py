"""The MLLP listener: one port per feed, many messages per connection (HL7 v2 appendix C). Own thread, own loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from operator import itemgetter
from typing import Any, Final

import structlog

from adapters.hospital.connection import Connection, Slot
from adapters.hospital.tls import feed_context, fingerprint, shows_subject
from gateway.errors import ConfigurationError
from gateway.model.site import Feed
from gateway.services.metrics import Metrics
from gateway.services.receive import Answer, Intake, Waiting
from gateway.tls import HANDSHAKE_SECONDS

log = structlog.get_logger()

_SWEEP_SECONDS: Final = 0.25
_SHUTDOWN_SECONDS: Final = 1.0
_CLOSING_SECONDS: Final = 0.02
"""Within which the loop makes an accepted connection, or closes an aborted one."""


class _FeedListener:
    """One feed's port and its connections. Lives on the loop's thread."""

    def __init__(
        self, feed: Feed, intake: Intake, metrics: Metrics, loop: asyncio.AbstractEventLoop, handshake_seconds: float
    ) -> None:
        self.feed = feed
        self._handshake_seconds = handshake_seconds
        self._handshakes: dict[Connection, float] = {}
        self.intake = intake
        self.connections: set[Connection] = set()
        self._metrics = metrics
        self._loop = loop
        self._gathered: list[Waiting] = []
        self._server: asyncio.Server | None = None
        self._closing = False

    async def open(self) -> int:
        """Listen; return the port (the one chosen when the feed says 0). Raises ``ConfigurationError``."""
        tls = self.feed.tls
        context = feed_context(tls, self.feed.id) if tls else None
        try:
            self._server = await self._loop.create_server(
                self._arrived,
                self.feed.host,
                self.feed.port,
                ssl=context,
                ssl_handshake_timeout=self._handshake_seconds if context else None,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS if context else None,
                backlog=512,
            )
        except OSError as error:
            where = f"{self.feed.host}:{self.feed.port}"
            raise ConfigurationError(f"feed {self.feed.id}", f"cannot listen on {where}: {error.strerror}") from error
        port: int = self._server.sockets[0].getsockname()[1]
        log.info("listening", feed=self.feed.id, host=self.feed.host, port=port, tls=context is not None)
        return port

    def _arrived(self) -> Connection:
        """Make the connection of a socket that was accepted; with TLS it is made known once the handshake is done."""
        connection = Connection(self)
        if self.feed.tls:
            self._handshakes[connection] = time.monotonic() + self._handshake_seconds
        return connection

    def refusal(self, transport: asyncio.Transport) -> str:
        """Return why a new connection is not taken: ``stopping``, ``limit``, ``certificate`` or nothing."""
        if self._closing:
            return "stopping"
        tls = self.feed.tls
        if tls and tls.client_subject and not shows_subject(transport.get_extra_info("peercert"), tls.client_subject):
            log.warning("not a certificate of this feed", feed=self.feed.id, sha256=fingerprint(transport))
            return "certificate"
        return "" if self._has_room() else "limit"

    def _has_room(self) -> bool:
        """Say whether one more connection may be taken, and close one for it where there are too many.

        Only those that no message was taken from give way: first the one that sends a block the longest, then the one
        that has been silent the longest. So whoever holds many connections open keeps nobody out.
        """
        open_ones = [connection for connection in self.connections if not connection.ending]
        if len(open_ones) < self.feed.max_connections:
            return True
        ranked = [(rank, one) for one in open_ones if (rank := one.displaceable())]
        if not ranked:
            return False
        self.refused("displaced")
        min(ranked, key=itemgetter(0))[1].cut_off()
        return True

    def refused(self, reason: str) -> None:
        """Count a connection that was closed at once, or for another."""
        log.warning("connection refused", feed=self.feed.id, reason=reason)
        self._metrics.connections_refused.labels(self.feed.id, reason).inc()

    def opened(self, connection: Connection) -> None:
        """Count a connection in."""
        self.connections.add(connection)
        self._metrics.connections.labels(self.feed.id).set(len(self.connections))

    def closed(self, connection: Connection) -> None:
        """Count a connection out."""
        self.connections.discard(connection)
        self._metrics.connections.labels(self.feed.id).set(len(self.connections))

    def take(self, waiting: Waiting) -> None:
        """Hand a message over to be stored, together with what else comes in this round of the loop.

        The writer is woken once for all of it, and finds this thread waiting for the network, not for the interpreter.
        """
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(waiting)

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        self.intake.take(gathered)

    def deliver(self, answers: list[tuple[Any, Answer]]) -> None:
        """Bring the answers of one commit to the loop: called on the writer's thread."""
        try:
            self._loop.call_soon_threadsafe(self._answered, answers)
        except RuntimeError:
            log.warning("answers came after the listener had closed", feed=self.feed.id, count=len(answers))

    def _answered(self, answers: Iterable[tuple[Slot | None, Answer]]) -> None:
        connections: dict[Connection, None] = {}
        for slot, answer in answers:
            if slot is not None:
                slot.connection.answered(slot, answer)
                connections[slot.connection] = None
        for connection in connections:
            connection.flush()

    def sweep(self, now: float) -> None:
        """Look after time limits, and count handshakes that came to nothing."""
        for connection, until in tuple(self._handshakes.items()):
            if connection.made:
                del self._handshakes[connection]
            elif now > until + _SWEEP_SECONDS:
                del self._handshakes[connection]
                self.refused("handshake")
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

    def __init__(
        self,
        feeds: Iterable[Feed],
        intake: Intake,
        metrics: Metrics,
        *,
        handshake_seconds: float = HANDSHAKE_SECONDS,
    ) -> None:
        self._handshake_seconds = handshake_seconds
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
        self._listeners = [self._listener(feed) for feed in self._feeds]
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        except BaseException:
            self.stop(drain=0)
            raise

    def stop(self, drain: float = 3.0) -> None:
        """Accept no more, answer what has been received, close; after ``drain`` seconds close whatever is left."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._close(drain), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _listener(self, feed: Feed) -> _FeedListener:
        return _FeedListener(feed, self._intake, self._metrics, self._loop, self._handshake_seconds)

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

    def _connections(self) -> list[Connection]:
        return [connection for listener in self._listeners for connection in tuple(listener.connections)]
