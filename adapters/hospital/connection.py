"""One sender's MLLP connection: blocks in, answers out in the order of the messages.

Each block goes to ``Intake`` in the same round of the loop and reading goes on, so pipelined messages share a commit;
when too much is unanswered, or the sender does not read its answers, it is no longer read until answers have left.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol, cast

import structlog

from adapters.hospital.framing import BlockReader, Oversize, Piece, Stray, frame
from gateway.model.site import Feed
from gateway.services.receive import Answer, Intake, Waiting

log = structlog.get_logger()

_UNANSWERED: Final = 256
"""Messages of one connection that may wait for their answer before it is no longer read."""
_WRITE_BUFFER: Final = 256 * 1024


class Listener(Protocol):
    """What a connection needs of the port it came in at."""

    feed: Feed
    intake: Intake

    def refusal(self, transport: asyncio.Transport) -> str:
        """Return why a new connection is not taken, or nothing."""

    def refused(self, reason: str) -> None:
        """Count a connection that was closed at once."""

    def opened(self, connection: Connection) -> None:
        """Count a connection in."""

    def closed(self, connection: Connection) -> None:
        """Count a connection out."""

    def take(self, waiting: Waiting) -> None:
        """Hand a judged message over to be stored."""

    def deliver(self, answers: list[tuple[Any, Answer]]) -> None:
        """Bring the answers of one commit to their connections."""


class Slot:
    """The place of one message in the order of a connection's answers."""

    __slots__ = ("answer", "connection", "sent")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.answer: Answer | None = None
        self.sent = False


class Connection(asyncio.Protocol):
    """One sender's connection."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._feed = listener.feed
        self._reader = BlockReader(self._feed.max_bytes)
        self._slots: deque[Slot] = deque()
        self._transport: asyncio.Transport
        self.made = False
        self.opened_at = time.monotonic()
        self.trusted = False
        self._began: float | None = None
        self._stuck: float | None = None
        self._heard = time.monotonic()
        self._paused = False
        self._ending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the sender, or close at once: over the limit, or another certificate than the feed's."""
        self._transport = transport = cast(asyncio.Transport, transport)
        self.made = True
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

    def answered(self, slot: Slot, answer: Answer) -> None:
        """Take an answer; ``flush`` sends what is next in order."""
        self.trusted = self.trusted or answer.accepted
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
            self.cut_off()
        elif self._idle(now):
            self.end()
        else:
            self.read_on()

    def cut_off(self) -> None:
        """Wait no more for the rest of a block: keep and answer what came of it, then close."""
        for piece in self._reader.finish():
            self._take(piece, cut_off=True)
        self._began = None
        self.end()

    def displaceable(self) -> tuple[bool, float] | None:
        """Return how early this connection gives way to a new one where there are too many; None: it does not.

        It keeps its place once a message was taken from it, and while one waits for its answer.
        """
        if self.trusted or self._slots:
            return None
        return (self._began is None, self._began or self.opened_at)

    def _idle(self, now: float) -> bool:
        limit = self._feed.idle_timeout
        return limit is not None and not self._slots and not self._paused and now - self._heard > limit

    def abort(self) -> None:
        """Close now, whatever waits."""
        self._ending = True
        self._transport.abort()

    @property
    def ending(self) -> bool:
        """Whether it is read no more, and closes when its answers have left."""
        return self._ending

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
            taken = intake.stray(self._feed, piece.content, deliver, token, reason=reason, answered=answered)
        elif isinstance(piece, Oversize):
            taken = intake.judged(self._feed, piece.head, deliver, self._slot(), size=piece.size)
        else:
            taken = intake.judged(self._feed, piece, deliver, self._slot())
        self._listener.take(taken)

    def _slot(self) -> Slot:
        slot = Slot(self)
        self._slots.append(slot)
        return slot

    def _write(self, acknowledgments: Sequence[bytes]) -> None:
        if acknowledgments and not self._transport.is_closing():
            self._transport.write(b"".join(map(frame, acknowledgments)))
