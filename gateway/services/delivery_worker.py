"""The worker of one recipient: takes the wake-ups that wait, makes the attempts side by side, settles what has ended.

A thread hears the wake-ups, some threads send, and the one in between does what concerns the database, for a group at
a time. An attempt that takes long holds a sender and its own wake-up, nothing else; another recipient has its own
worker.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import structlog

from gateway.errors import BrokerError, GatewayError
from gateway.model.delivery import Delivery, Unknown
from gateway.ports import Broker, WakeUp
from gateway.services.attempt import Begun, Ended
from gateway.services.defect import words_of
from gateway.services.deliver import Deliver
from gateway.services.wake_ups import bodies_of, ids_of

log = structlog.get_logger()

LINGER_SECONDS: Final = 0.005
"""How long an attempt that has ended waits for others to be settled with."""

POLL_SECONDS: Final = 0.2
"""How often ``stop()`` is looked at."""

GRACE_SECONDS: Final = 4.0
"""How long attempts may go on once the worker is to end; of what takes longer nobody knows then what came of it."""


class _Ticket:
    """A wake-up and how many of its deliveries are open."""

    def __init__(self, wake_up: WakeUp, ids: int) -> None:
        self._wake_up = wake_up
        self._open = ids
        self._failed = False

    def settle(self, *, failed: bool = False) -> None:
        """Settle one of them, and with the last one the wake-up."""
        self._open -= 1
        self._failed |= failed
        if self._open == 0:
            if self._failed:
                self._wake_up.again()
            else:
                self._wake_up.done()


class DeliveryWorker:
    """Makes the attempts of one recipient, ``threads`` of them at the same moment at most."""

    def __init__(
        self, recipient: str, deliver: Deliver, broker: Broker, threads: int = 16, grace: float = GRACE_SECONDS
    ) -> None:
        self._grace = grace
        self._recipient = recipient
        self._queue = f"deliver.{recipient}"
        self._deliver = deliver
        self._broker = broker
        self._threads = threads
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, _Ticket]] = deque()
        self._tickets: dict[int, list[_Ticket]] = {}
        self._under_way: dict[int, Begun] = {}
        self._ended: list[Ended] = []
        self._ended_at = 0.0

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until ``stop()``; what is under way is finished first. Raises what ends the hearing of wake-ups.

        What has not ended ``grace`` seconds later is settled as unknown: it is repeated under the same delivery id.
        """
        name = f"deliver-{self._recipient}"
        stopped_at: float | None = None
        with self._hearing(name) as heard, _senders(self._threads, name) as senders:
            while not (stop() or heard()) or self._under_way or self._ended:
                ended = self._take_ended()
                asked = () if stop() else self._take_waiting()
                if asked:
                    self._begin(asked, senders, ended)
                else:
                    self._settle(ended)
                if stop():
                    stopped_at = stopped_at or time.monotonic()
                    if time.monotonic() - stopped_at >= self._grace:
                        self._leave_under_way()
                self._pause(stopped_at is not None)

    @contextmanager
    def _hearing(self, name: str) -> Iterator[Callable[[], bool]]:
        """Hear wake-ups on a thread of their own; what is yielded says whether that has ended."""
        over = threading.Event()
        troubles: list[Exception] = []

        def hear() -> None:
            try:
                self._broker.consume_many(self._queue, self._take_in, over.is_set, limit=self._threads)
            except Exception as error:  # noqa: BLE001 (raised below, in the worker's own thread)
                troubles.append(error)

        thread = threading.Thread(target=hear, name=f"{name}-wake-ups")
        thread.start()
        try:
            yield lambda: not thread.is_alive()
        finally:
            over.set()
            thread.join()
            self._waiting.clear()
            self._tickets.clear()
        if troubles:
            raise troubles[0]

    def _take_in(self, taken: Sequence[WakeUp]) -> None:
        for wake_up in taken:
            ids = ids_of(wake_up.body)
            if not ids:
                log.warning("a wake-up names no deliveries", recipient=self._recipient)
                wake_up.again()
                continue
            ticket = _Ticket(wake_up, len(ids))
            with self._changed:
                self._waiting.extend((id, ticket) for id in ids)
                self._changed.notify()

    def _room(self) -> int:
        """How many attempts may be begun: as many again as are under way, so that no sender waits."""
        return 2 * self._threads - len(self._under_way) - len(self._ended)

    def _is_time_to_settle(self) -> bool:
        if not self._ended:
            return False
        together = not self._under_way or len(self._ended) >= self._threads
        return together or time.monotonic() >= self._ended_at + LINGER_SECONDS

    def _pause(self, stopping: bool) -> None:
        """Wait until there is something to settle or to begin."""
        with self._changed:
            wait = LINGER_SECONDS if self._ended else POLL_SECONDS
            self._changed.wait_for(lambda: self._is_time_to_settle() or (not stopping and self._may_begin()), wait)

    def _may_begin(self) -> bool:
        return bool(self._waiting) and self._room() > 0

    def _take_waiting(self) -> list[tuple[int, _Ticket]]:
        with self._changed:
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._room()))]

    def _take_ended(self) -> list[Ended]:
        with self._changed:
            if not self._is_time_to_settle():
                return []
            ended, self._ended = self._ended, []
            return ended

    def _begin(self, asked: Sequence[tuple[int, _Ticket]], senders: ThreadPoolExecutor, ended: Sequence[Ended]) -> None:
        """Begin attempts, and settle with that what has ended: one turn to write for both."""
        try:
            begun, stands = self._deliver.begin(self._recipient, [id for id, _ in asked], ended)
        except Exception as error:  # noqa: BLE001 (the wake-ups come again; the store's own trouble is told there)
            log.warning("deliveries could not be begun", recipient=self._recipient, reason=_words(error))
            for _, ticket in asked:
                ticket.settle(failed=True)
            self._settle(ended)
            return
        self._close_tickets(ended)
        sent = {one.delivery.id for one in begun}
        for id, ticket in asked:
            if id in sent:
                self._tickets.setdefault(id, []).append(ticket)
            else:
                ticket.settle()
        self._wake_again(stands)
        with self._changed:
            self._under_way |= {one.delivery.id: one for one in begun}
        groups = [begun] if self._deliver.sends_together(self._recipient) else [[one] for one in begun]
        for group in groups:
            if group:
                senders.submit(self._send, group)

    def _send(self, begun: Sequence[Begun]) -> None:
        ended = [Ended(one, Unknown("interrupted")) for one in begun]
        try:
            ended = self._deliver.send(begun)
        finally:
            with self._changed:
                if not self._ended:
                    self._ended_at = time.monotonic()
                self._ended += [each for each in ended if self._under_way.pop(each.id, None)]
                self._changed.notify()

    def _leave_under_way(self) -> None:
        """Wait for nothing that is under way: what comes of it is not heard any more."""
        with self._changed:
            left, self._under_way = self._under_way, {}
            self._ended += [Ended(one, Unknown("interrupted")) for one in left.values()]

    def _settle(self, ended: Sequence[Ended]) -> None:
        if not ended:
            return
        failed = False
        try:
            self._wake_again(self._deliver.finish(ended))
        except Exception as error:  # noqa: BLE001 (a lease that runs out settles them as unknown)
            failed = True
            log.warning("attempts could not be settled", recipient=self._recipient, reason=_words(error))
        self._close_tickets(ended, failed=failed)

    def _close_tickets(self, ended: Sequence[Ended], *, failed: bool = False) -> None:
        for each in ended:
            for ticket in self._tickets.pop(each.id, ()):
                ticket.settle(failed=failed)

    def _wake_again(self, stands: Sequence[Delivery]) -> None:
        """Wake what owes more already, behind what waits: the busiest cursor must not stop the others."""
        now = self._deliver.clock()
        owing = [one.id for one in stands if not one.attempts and one.due_at is not None and one.due_at <= now]
        try:
            if owing:
                self._broker.wake(self._queue, bodies_of(owing))
        except BrokerError as error:
            log.info("deliveries wait for their next wake-up", recipient=self._recipient, reason=type(error).__name__)


@contextmanager
def _senders(threads: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads to send on, left alone at the end: one may wait for a name server or a connection for long."""
    senders = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        yield senders
    finally:
        senders.shutdown(wait=False, cancel_futures=True)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, GatewayError) else words_of(error)
