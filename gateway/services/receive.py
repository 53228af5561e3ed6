"""Receiving: bytes in, one durable commit for everybody who waits, then the answers (ARCHITECTURE, decision 1).

One writer thread takes everything that is waiting, commits it once and then answers everyone: no timer and no fixed
batch, so that a single sender is not delayed and many senders share the cost of a commit. Nothing positive is
answered before the commit. After a crash before the commit the sender has no answer and sends again; after a crash
between commit and answer the repeat gets the stored answer.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

import structlog
from prometheus_client import Histogram

from gateway.errors import MessageError, StoreError
from gateway.model.message import Intake as Came
from gateway.model.message import Message, MessageState, Stored
from gateway.model.site import Feed
from gateway.ports import Clock, Store
from gateway.services.judge import DUPLICATE, Judge, Verdict
from gateway.services.metrics import Metrics
from gateway.services.settlement import Settlements, place_of

log = structlog.get_logger()

_BATCH_MESSAGES: Final = 512
_BATCH_BYTES: Final = 32 * 1024 * 1024


class Answer(NamedTuple):
    """What to send back: acknowledgments in order, possibly none.

    ``code`` is the first one's (``""``: none was due), ``message`` the stored id (0: not stored), ``accepted`` whether
    the gateway answers for it from now on, ``reason`` why not. ``closes``: nothing was stored and the connection is to
    be closed unanswered. ``follows``: an application acknowledgment comes later as a second ``Answer``.
    """

    acknowledgments: tuple[bytes, ...] = ()
    code: str = ""
    message: int = 0
    reason: str = ""
    accepted: bool = False
    closes: bool = False
    follows: bool = False


CLOSED: Final = Answer(closes=True, reason="the gateway could not store the message")

Deliver = Callable[[list[tuple[Any, Answer]]], None]
"""Takes the answers of one commit, each with the token it was submitted with; called on the writer's thread."""


class Waiting(NamedTuple):
    """A message that was judged, and who gets its answer."""

    verdict: Verdict
    deliver: Deliver
    token: Any
    began: float


class Intake:
    """The one way in. ``start`` it before use; ``stop`` commits and answers what is waiting.

    ``handles`` says which message types are translated; ``on_stored`` is called after a commit that stored something
    to translate. ``max_waiting`` messages and ``max_waiting_bytes`` bound what waits: beyond, ``full`` is true and
    callers must hold back.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        handles: Callable[[str], bool] = lambda _type: True,
        on_stored: Callable[[], None] = lambda: None,
        metrics: Metrics | None = None,
        max_waiting: int = 4096,
        max_waiting_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        self._store = store
        self._judge = Judge(clock, handles)
        self._on_stored = on_stored
        self._metrics = metrics or Metrics()
        self._settlements = Settlements(store)
        self._timers: dict[str, Histogram] = {}
        self._max_waiting = max_waiting
        self._max_bytes = max_waiting_bytes
        self._count_waiting = 0
        self._bytes = 0
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Sequence[Waiting]] = SimpleQueue()  # an empty one ends the writer
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the writer."""
        self._settlements.start()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Commit and answer what is waiting, then end. What comes later is not stored and not answered."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._queue.put(())
        thread.join()
        self._close_rest()
        self._settlements.stop()

    @property
    def full(self) -> bool:
        """Whether as much is waiting as may."""
        return self._bytes > self._max_bytes or self._count_waiting >= self._max_waiting

    def settled(self, message: int) -> None:
        """Say that a message was translated or has failed (same process; elsewhere it is noticed by looking)."""
        self._settlements.settled(message)

    def receive(self, feed: Feed, raw: bytes, *, size: int = 0) -> Future[Answer]:
        """Take one message of a feed; the future holds every acknowledgment due. ``size``: see ``submit``."""
        future: Future[Answer] = Future()
        self.submit(feed, raw, _resolve, _Pending(future), size=size)
        return future

    def submit(self, feed: Feed, raw: bytes, deliver: Deliver, token: Any, *, size: int = 0) -> None:
        """Take one message; ``deliver`` gets its answer with ``token``, in order of submission per caller.

        ``size``: how large the message was, when only its head could be kept. Safe from any thread.
        """
        self.take([self.judged(feed, raw, deliver, token, size=size)])

    def judged(self, feed: Feed, raw: bytes, deliver: Deliver, token: Any, *, size: int = 0) -> Waiting:
        """Judge one message, for ``take``; as ``submit``."""
        began = time.perf_counter()
        return Waiting(self._verdict(feed, raw, size), deliver, token, began)

    def _verdict(self, feed: Feed, raw: bytes, size: int) -> Verdict:
        """Judge a message; one we fail at is kept in quarantine and refused, or its sender would repeat it for ever."""
        try:
            return self._judge.judge(feed, raw, size=size)
        except Exception as error:  # noqa: BLE001 (whatever it is, the bytes are kept and a person is told)
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("judging failed", error=type(error).__name__, where=where, feed=feed.id)  # noqa: TRY400 (its text may quote the message)
            return self._judge.stray(
                feed, raw, "a defect in the gateway: this message could not be judged", answered=True
            )

    def stray(self, feed: Feed, raw: bytes, deliver: Deliver, token: Any, *, reason: str, answered: bool) -> Waiting:
        """Judge bytes outside any block, for ``take``: they are kept in quarantine.

        ``answered``: their sender waits for an answer (AR).
        """
        verdict = self._judge.stray(feed, raw, reason, answered=answered)
        return Waiting(verdict, deliver, token, time.perf_counter())

    def take(self, some: Sequence[Waiting]) -> None:
        """Take messages that were judged. Whoever has several hands them over together: the writer is woken once."""
        if not some:
            return
        if self._thread is None:
            _hand_out([(waiting, CLOSED) for waiting in some])
            return
        self._weigh(some, 1)
        self._queue.put(some)

    def _weigh(self, some: Sequence[Waiting], sign: int) -> None:
        with self._lock:
            self._count_waiting += sign * len(some)
            self._bytes += sign * sum([len(waiting.verdict.incoming.raw) for waiting in some])

    def _run(self) -> None:
        while batch := self._next_batch():
            answers = self._commit(batch)
            self._weigh(batch, -1)
            self._count(batch, answers)
            _hand_out([(waiting, answer) for waiting, answer in zip(batch, answers, strict=True) if answer])

    def _next_batch(self) -> list[Waiting]:
        """Wait for messages and take whatever else is there; empty at the end."""
        batch: list[Waiting] = []
        some = self._queue.get()
        while some:
            batch += some
            if len(batch) >= _BATCH_MESSAGES or self._bytes >= _BATCH_BYTES:
                return batch
            try:
                some = self._queue.get_nowait()
            except Empty:
                return batch
        if batch:
            self._queue.put(())
        return batch

    def _close_rest(self) -> None:
        while True:
            try:
                some = self._queue.get_nowait()
            except Empty:
                return
            _hand_out([(waiting, CLOSED) for waiting in some])

    def _commit(self, batch: Sequence[Waiting]) -> list[Answer | None]:
        """Store a batch and return its answers; None where the translation decides."""
        try:
            stored = self._store.receive([waiting.verdict.incoming for waiting in batch])
        except StoreError as error:
            log.error("messages could not be stored", error=type(error).__name__, count=len(batch))  # noqa: TRY400 (the text may hold what was to be stored)
            return [self._unstored(waiting.verdict) for waiting in batch]
        except Exception as error:  # noqa: BLE001 (the writer must outlive it: nobody is answered positively)
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("storing failed", error=type(error).__name__, where=where, count=len(batch))  # noqa: TRY400 (its text may quote a message)
            return [self._unstored(waiting.verdict) for waiting in batch]
        log.debug("messages stored", first=stored[0].id, last=stored[-1].id, count=len(stored))
        if any(waiting.verdict.incoming.state is MessageState.STORED for waiting in batch):
            self._on_stored()
        return [self._answer(waiting, row) for waiting, row in zip(batch, stored, strict=True)]

    def _unstored(self, verdict: Verdict) -> Answer:
        if verdict.feed.on_store_failure == "close":
            return CLOSED
        acknowledgment, code = self._judge.unstored(verdict)
        return Answer(_some(acknowledgment), code, reason="the store could not commit")

    def _answer(self, waiting: Waiting, stored: Stored) -> Answer | None:
        """Return what to answer a stored message; None when nothing may be answered before it is translated."""
        verdict = waiting.verdict
        if stored.intake is Came.REPEAT:
            self._metrics.repeats.labels(verdict.feed.id).inc()
        elif not verdict.incoming.positive:
            return self._negative(verdict, stored, verdict.code, verdict.incoming.reason)
        elif stored.intake is Came.CONFLICT:
            return self._negative(verdict, stored, verdict.mode.negative("AE"), DUPLICATE.what)
        if not verdict.waits:
            return Answer(_some(stored.acknowledgment, verdict.application), verdict.code, stored.id, accepted=True)
        self._settlements.watch(
            stored.id,
            verdict.feed.translated_within,
            lambda message: self._translated(waiting, stored, message),
            again=stored.intake is Came.REPEAT,
        )
        if verdict.mode.original:
            return None
        return Answer(_some(stored.acknowledgment), verdict.code, stored.id, accepted=True, follows=True)

    def _negative(self, verdict: Verdict, stored: Stored, code: str, reason: str) -> Answer:
        log.info("message refused", message=stored.id, feed=verdict.feed.id, code=code, reason=reason)
        return Answer(_some(stored.acknowledgment), code, stored.id, reason)

    def _translated(self, waiting: Waiting, stored: Stored, message: Message | None) -> None:
        """Give the application acknowledgment once it is known what became of the message."""
        verdict = waiting.verdict
        reason, error = _failure(message)
        acknowledgment, code = self._judge.settle(verdict, error)
        if acknowledgment and (error or stored.intake is Came.REPEAT):
            self._keep(verdict, stored, acknowledgment)
        answer = Answer(_some(acknowledgment), code, stored.id, reason, accepted=error is None)
        self._count([waiting], [answer])
        _hand_out([(waiting, answer)])

    def _keep(self, verdict: Verdict, stored: Stored, acknowledgment: bytes) -> None:
        """Keep an answer that is another than the message was stored with, unless an accept acknowledgment has left."""
        if not verdict.mode.original and verdict.incoming.acknowledgment:
            return
        try:
            with self._store.begin() as transaction:
                transaction.messages.answer(stored.id, acknowledgment)
        except StoreError as error:
            log.warning("the answer could not be kept", message=stored.id, error=type(error).__name__)

    def _count(self, batch: Sequence[Waiting], answers: Sequence[Answer | None]) -> None:
        now = time.perf_counter()
        codes: Counter[tuple[str, str]] = Counter()
        for waiting, answer in zip(batch, answers, strict=True):
            if answer is None:
                continue
            feed = waiting.verdict.feed.id
            codes[feed, "closed" if answer.closes else answer.code or "none"] += 1
            timer = self._timers.get(feed)
            if timer is None:  # looking a label up takes longer than counting
                timer = self._timers[feed] = self._metrics.intake_seconds.labels(feed)
            timer.observe(now - waiting.began)
        for labels, count in codes.items():
            self._metrics.received.labels(*labels).inc(count)
        self._metrics.batch.observe(len(batch))


def _failure(message: Message | None) -> tuple[str, MessageError | None]:
    """Return why a message is answered AE, in words and as an error; nothing when it was translated."""
    if message is None:
        return "not translated in time", MessageError("not translated in time", code="207")
    if message.state in (MessageState.TRANSLATED, MessageState.UNHANDLED):
        return "", None
    return message.reason, MessageError(message.reason, place_of(message.place), message.code or "207")


class _Pending:
    """A future and the accept acknowledgment that came before its application acknowledgment."""

    def __init__(self, future: Future[Answer]) -> None:
        self.future = future
        self.first: Answer | None = None


def _resolve(answers: list[tuple[Any, Answer]]) -> None:
    for pending, answer in answers:
        if answer.follows:
            pending.first = answer
        elif first := pending.first:
            both = first.acknowledgments + answer.acknowledgments
            _answer(pending.future, answer._replace(acknowledgments=both, code=answer.code or first.code))
        else:
            _answer(pending.future, answer)


def _answer(future: Future[Answer], answer: Answer) -> None:
    """Give an answer to whoever still waits: a web server that stops cancels its requests."""
    if future.set_running_or_notify_cancel():
        future.set_result(answer)


def _hand_out(answers: Sequence[tuple[Waiting, Answer]]) -> None:
    """Call each ``deliver`` once with all its answers."""
    by_caller: dict[Deliver, list[tuple[Any, Answer]]] = {}
    for waiting, answer in answers:
        by_caller.setdefault(waiting.deliver, []).append((waiting.token, answer))
    for deliver, its in by_caller.items():
        try:
            deliver(its)
        except Exception as error:  # noqa: BLE001 (what one caller does with its answers must not cost the others theirs)
            log.error("answers could not be handed out", error=type(error).__name__, count=len(its))  # noqa: TRY400 (its text may quote a message)


def _some(*acknowledgments: bytes) -> tuple[bytes, ...]:
    return tuple(acknowledgment for acknowledgment in acknowledgments if acknowledgment)
