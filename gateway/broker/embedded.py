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
from gateway.ports import Event

log = structlog.get_logger()


@dataclass(slots=True)
class _Queue:
    ready: deque[tuple[str, int]] = field(default_factory=deque)
    later: list[tuple[float, int, str, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ready) + len(self.later)

    def promote(self, now: float) -> None:
        while self.later and self.later[0][0] <= now:
            _, _, body, tries = heapq.heappop(self.later)
            self.ready.append((body, tries))


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
        self._changed = threading.Condition()
        self._queues: dict[str, _Queue] = {}
        self._mailboxes: dict[str, _Mailbox] = {}
        self._dead = 0
        self._serial = count()

    def declare(self, recipients: Sequence[str], amqp_recipients: Mapping[str, int] | None = None) -> None:
        """Make every queue."""
        names = ["translate", "relay", "receipts", *(f"deliver.{check_recipient(one)}" for one in recipients)]
        with self._changed:
            for name in names:
                self._queues.setdefault(name, _Queue())
            for recipient, limit in (amqp_recipients or {}).items():
                self._mailboxes.setdefault(check_recipient(recipient), _Mailbox(limit)).limit = limit

    def wake(self, queue: str, bodies: Sequence[str] = ("",)) -> None:
        """Put wake-ups into a queue. Raises ``Unroutable`` when it was not declared, ``QueueFull`` when it is."""
        with self._changed:
            found = self._queues.get(queue)
            if found is None:
                raise Unroutable("no queue is bound to the routing key")
            if len(found) + len(bodies) > WAKE_LIMIT:
                raise QueueFull("the queue is full")
            found.ready.extend((body, 0) for body in bodies)
            self._changed.notify_all()

    def nudge(self, queue: str) -> None:
        """Put one empty wake-up into a queue, unless one waits there already."""
        with self._changed:
            found = self._queues.get(queue)
            if found is not None and ("", 0) not in found.ready:
                found.ready.append(("", 0))
                self._changed.notify_all()

    def consume(
        self, queue: str, handle: Callable[[str], None], stop: Callable[[], bool], *, prefetch: int = 32
    ) -> None:
        """Call ``handle`` on this thread with each body until ``stop()``; one is taken at a time."""
        del prefetch
        with self._changed:
            found = self._queues.get(queue)
        if found is None:
            raise BrokerError(f"the queue {queue} was not declared")
        while not stop():
            taken = self._take(found)
            if taken is not None:
                self._try(found, handle, *taken)

    def publish(self, events: Sequence[Event]) -> list[Exception | None]:
        """Put events into the mailboxes of the amqp recipients they are for."""
        with self._changed:
            results = [self._post(event) for event in events]
            self._changed.notify_all()
        return results

    def receipts(self, handle: Callable[[str, str], None], stop: Callable[[], bool]) -> None:
        """Call ``handle(recipient, message id)`` with each receipt until ``stop()``."""

        def split(body: str) -> None:
            recipient, _, message_id = body.partition(" ")
            handle(recipient, message_id)

        self.consume("receipts", split, stop)

    def depths(self) -> dict[str, int]:
        """Return what is ready per queue."""
        with self._changed:
            depths = {name: len(queue) for name, queue in self._queues.items()}
            depths.update({f"recipient.{name}": len(box.events) for name, box in self._mailboxes.items()})
            return {**depths, "dead": self._dead}

    def ping(self) -> None:
        """Do nothing: it is always there."""

    def close(self) -> None:
        """Wake whoever waits; ``stop()`` ends them."""
        with self._changed:
            self._changed.notify_all()

    def take(self, recipient: str, limit: int = 100) -> list[Event]:
        """Take up to ``limit`` events of an amqp recipient, oldest first."""
        with self._changed:
            box = self._mailboxes.get(recipient)
            if box is None:
                return []
            taken = [box.events.popleft() for _ in range(min(limit, len(box.events)))]
            box.size -= sum(len(event.body) for event in taken)
            return taken

    def give_receipt(self, recipient: str, message_id: str) -> None:
        """Say that a recipient has an event."""
        self.wake("receipts", [f"{recipient} {message_id}"])

    def _take(self, queue: _Queue) -> tuple[str, int] | None:
        with self._changed:
            queue.promote(time.monotonic())
            if not queue.ready:
                wait = queue.later[0][0] - time.monotonic() if queue.later else POLL
                self._changed.wait(min(POLL, max(0.0, wait)))
                queue.promote(time.monotonic())
            return queue.ready.popleft() if queue.ready else None

    def _try(self, queue: _Queue, handle: Callable[[str], None], body: str, tries: int) -> None:
        try:
            handle(body)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the delivery limit decides
            log.warning("a wake-up was not handled", reason=type(error).__name__, tries=tries + 1)
            self._give_back(queue, body, tries + 1)

    def _give_back(self, queue: _Queue, body: str, tries: int) -> None:
        with self._changed:
            if tries > self._delivery_limit:
                self._dead += 1
                return
            heapq.heappush(queue.later, (time.monotonic() + pause_before(tries), next(self._serial), body, tries))

    def _post(self, event: Event) -> Exception | None:
        box = self._mailboxes.get(event.routing_key.partition(".")[0])
        if box is None:
            return Unroutable("no queue is bound to the routing key")
        if box.size + len(event.body) > box.limit:
            return QueueFull("the queue is full")
        box.events.append(event)
        box.size += len(event.body)
        return None
