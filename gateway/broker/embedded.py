"""The broker port inside one process: the default when no broker URL is set.

It behaves as RabbitMQ does under ``gateway.broker.rabbitmq`` (the same contract test runs on both), and forgets
everything when the program ends: the rows in the database say what is due.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import structlog

from gateway.broker.pauses import POLL, pause_before
from gateway.broker.topology import WAKE_LIMIT, check_recipient
from gateway.errors import BrokerError, QueueFull, Unroutable
from gateway.ports import Event, WakeUp

log = structlog.get_logger()

RECEIPTS_TOGETHER = 200


class _Queue:
    """Bodies in order, and those whose handler failed until it is their time again. Safe from any thread."""

    def __init__(self, delivery_limit: int) -> None:
        self._delivery_limit = delivery_limit
        self._changed = threading.Condition()
        self._ready: deque[tuple[str, int]] = deque()
        self._later: list[tuple[float, int, str, int]] = []
        self._serial = count()
        self.dead = 0

    def __len__(self) -> int:
        return len(self._ready) + len(self._later)

    def put(self, bodies: Sequence[str]) -> None:
        with self._changed:
            if len(self) + len(bodies) > WAKE_LIMIT:
                raise QueueFull("the queue is full")
            self._ready.extend((body, 0) for body in bodies)
            self._changed.notify_all()

    def nudge(self) -> None:
        """Put one empty body, unless one is there that nobody has taken."""
        with self._changed:
            if ("", 0) not in self._ready:
                self._ready.append(("", 0))
                self._changed.notify_all()

    def take(self, limit: int) -> list[tuple[str, int]]:
        """Take up to ``limit`` bodies, each with how often it failed; wait a moment for the first."""
        with self._changed:
            self._promote()
            if not self._ready:
                wait = self._later[0][0] - time.monotonic() if self._later else POLL
                self._changed.wait(min(POLL, max(0.0, wait)))
                self._promote()
            return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]

    def give_back(self, body: str, failures: int) -> None:
        """Hand a body out again after a pause that grows with its failures, or give it up."""
        with self._changed:
            if failures > self._delivery_limit:
                self.dead += 1
                return
            at = time.monotonic() + pause_before(failures)
            heapq.heappush(self._later, (at, next(self._serial), body, failures))

    def return_unused(self, taken: Sequence[tuple[str, int]]) -> None:
        """Put bodies back to the front: whoever had them has ended."""
        with self._changed:
            self._ready.extendleft(reversed(taken))
            self._changed.notify_all()

    def wake_all(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _promote(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            _, _, body, failures = heapq.heappop(self._later)
            self._ready.append((body, failures))


class _Open:
    """The wake-ups that one consumer was handed and has not settled."""

    def __init__(self, queue: _Queue, limit: int) -> None:
        self._queue = queue
        self._limit = limit
        self._changed = threading.Condition()
        self._open: dict[_Taken, None] = {}

    def take(self) -> list[WakeUp]:
        """Take what waits as far as there is room; wait a moment for either."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._open) < self._limit, POLL):
                return []
            room = self._limit - len(self._open)
        taken = [_Taken(self, body, failures) for body, failures in self._queue.take(room)]
        with self._changed:
            self._open.update(dict.fromkeys(taken))
        return list(taken)

    def settle(self, one: _Taken, *, failed: bool) -> None:
        with self._changed:
            if one not in self._open:
                return
            del self._open[one]
            self._changed.notify()
        if failed:
            self._queue.give_back(one.body, one.failures + 1)

    def close(self) -> None:
        with self._changed:
            left, self._open = list(self._open), {}
        self._queue.return_unused([(one.body, one.failures) for one in left])


class _Taken:
    """``gateway.ports.WakeUp``."""

    def __init__(self, among: _Open, body: str, failures: int) -> None:
        self._among = among
        self.body = body
        self.failures = failures

    def done(self) -> None:
        self._among.settle(self, failed=False)

    def again(self) -> None:
        self._among.settle(self, failed=True)


@dataclass(slots=True)
class _Mailbox:
    """The queue of an amqp recipient."""

    limit: int
    events: deque[Event] = field(default_factory=deque)
    size: int = 0


class EmbeddedBroker:
    """``gateway.ports.Broker`` with queues in memory. Safe from any thread of one process.

    An amqp recipient in the same process reads with ``take`` and answers with ``give_receipt``.
    """

    def __init__(self, *, delivery_limit: int = 20) -> None:
        self._delivery_limit = delivery_limit
        self._lock = threading.Lock()
        self._queues: dict[str, _Queue] = {}
        self._mailboxes: dict[str, _Mailbox] = {}

    def declare(self, recipients: Sequence[str], amqp_recipients: Mapping[str, int] | None = None) -> None:
        """Make every queue."""
        names = ["translate", "relay", "receipts", *(f"deliver.{check_recipient(one)}" for one in recipients)]
        with self._lock:
            for name in names:
                self._queues.setdefault(name, _Queue(self._delivery_limit))
            for recipient, limit in (amqp_recipients or {}).items():
                self._mailboxes.setdefault(check_recipient(recipient), _Mailbox(limit)).limit = limit

    def wake(self, queue: str, bodies: Sequence[str] = ("",)) -> None:
        """Put wake-ups into a queue. Raises ``Unroutable`` when it was not declared, ``QueueFull`` when it is."""
        found = self._queues.get(queue)
        if found is None:
            raise Unroutable("no queue is bound to the routing key")
        found.put(bodies)

    def nudge(self, queue: str) -> None:
        """Put one empty wake-up into a queue, unless one waits there already."""
        found = self._queues.get(queue)
        if found is not None:
            found.nudge()

    def consume(
        self, queue: str, handle: Callable[[str], None], stop: Callable[[], bool], *, prefetch: int = 32
    ) -> None:
        """Call ``handle`` on this thread with each body until ``stop()``; one is taken at a time."""
        del prefetch
        found = self._declared(queue)
        while not stop():
            for body, failures in found.take(1):
                try:
                    handle(body)
                except Exception as error:  # noqa: BLE001 - whatever a handler raises, the delivery limit decides
                    log.warning("a wake-up was not handled", reason=type(error).__name__, tries=failures + 1)
                    found.give_back(body, failures + 1)

    def consume_many(
        self, queue: str, handle: Callable[[Sequence[WakeUp]], None], stop: Callable[[], bool], *, limit: int = 32
    ) -> None:
        """Call ``handle`` on this thread with the wake-ups that wait, until ``stop()``."""
        among = _Open(self._declared(queue), limit)
        try:
            while not stop():
                taken = among.take()
                if not taken:
                    continue
                try:
                    handle(taken)
                except Exception as error:  # noqa: BLE001 - whatever a handler raises, the delivery limit decides
                    log.warning("wake-ups were not handled", reason=type(error).__name__, wake_ups=len(taken))
                    for one in taken:
                        one.again()
        finally:
            among.close()

    def publish(self, events: Sequence[Event]) -> list[Exception | None]:
        """Put events into the mailboxes of the amqp recipients they are for."""
        with self._lock:
            return [self._post(event) for event in events]

    def receipts(self, handle: Callable[[Sequence[tuple[str, str]]], None], stop: Callable[[], bool]) -> None:
        """Call ``handle`` with the receipts that wait, until ``stop()``: (recipient, message id)."""

        def split(taken: Sequence[WakeUp]) -> None:
            parts = [one.body.partition(" ") for one in taken]
            handle([(recipient, message_id) for recipient, _, message_id in parts])
            for one in taken:
                one.done()

        self.consume_many("receipts", split, stop, limit=RECEIPTS_TOGETHER)

    def depths(self) -> dict[str, int]:
        """Return what is ready per queue."""
        with self._lock:
            depths = {name: len(queue) for name, queue in self._queues.items()}
            depths.update({f"recipient.{name}": len(box.events) for name, box in self._mailboxes.items()})
            return {**depths, "dead": sum(queue.dead for queue in self._queues.values())}

    def ping(self) -> None:
        """Do nothing: it is always there."""

    def close(self) -> None:
        """Wake whoever waits; ``stop()`` ends them."""
        for queue in list(self._queues.values()):
            queue.wake_all()

    def take(self, recipient: str, limit: int = 100) -> list[Event]:
        """Take up to ``limit`` events of an amqp recipient, oldest first."""
        with self._lock:
            box = self._mailboxes.get(recipient)
            if box is None:
                return []
            taken = [box.events.popleft() for _ in range(min(limit, len(box.events)))]
            box.size -= sum(len(event.body) for event in taken)
            return taken

    def give_receipt(self, recipient: str, message_id: str) -> None:
        """Say that a recipient has an event."""
        self.wake("receipts", [f"{recipient} {message_id}"])

    def _declared(self, queue: str) -> _Queue:
        found = self._queues.get(queue)
        if found is None:
            raise BrokerError(f"the queue {queue} was not declared")
        return found

    def _post(self, event: Event) -> Exception | None:
        box = self._mailboxes.get(event.routing_key.partition(".")[0])
        if box is None:
            return Unroutable("no queue is bound to the routing key")
        if box.size + len(event.body) > box.limit:
            return QueueFull("the queue is full")
        box.events.append(event)
        box.size += len(event.body)
        return None
