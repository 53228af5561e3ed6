"""Consuming several at once from RabbitMQ: wake-ups that stay open until they are settled, from any thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import structlog

from gateway.broker.pauses import POLL
from gateway.broker.subscription import Received, Subscription

log = structlog.get_logger()


class Taken:
    """``gateway.ports.WakeUp`` of a subscription. Settling it again, or after a lost connection, does nothing."""

    def __init__(self, received: Received, subscription: Subscription, among: dict[Taken, None]) -> None:
        self.body = received.body.decode("ascii")
        self.routing_key = received.routing_key
        self.received = received
        self.subscription = subscription
        self._among = among
        among[self] = None

    def close(self) -> bool:
        """Take it from the open ones; False when it is none of them any more."""
        return self._among.pop(self, self) is None

    def done(self) -> None:
        """Say that it is dealt with."""
        accept_all([self])

    def again(self) -> None:
        """Have it handed out again after a pause."""
        if self.close():
            self.subscription.give_back(self.received)


def accept_all(taken: Sequence[Taken]) -> None:
    """Say that wake-ups of one subscription are dealt with."""
    open_ = [one for one in taken if one.close()]
    if open_:
        open_[0].subscription.accept(*(one.received for one in open_))


def drain_many(
    subscription: Subscription, handle: Callable[[Sequence[Taken]], None], stop: Callable[[], bool], idle: float
) -> None:
    """Hand over what comes until ``stop()``, or until nothing has come and nothing was open for ``idle`` seconds."""
    among: dict[Taken, None] = {}
    heard = time.monotonic()
    while not stop() and time.monotonic() - heard < idle:
        taken = [one for received in subscription.next_many(POLL) if (one := _open(received, subscription, among))]
        if taken or among:
            heard = time.monotonic()
        if not taken:
            continue
        try:
            handle(taken)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the queue's delivery limit decides
            log.warning("wake-ups were not handled", reason=type(error).__name__, wake_ups=len(taken))
            for one in taken:
                one.again()


def _open(received: Received, subscription: Subscription, among: dict[Taken, None]) -> Taken | None:
    try:
        return Taken(received, subscription, among)
    except UnicodeDecodeError:
        subscription.refuse(received)
        return None
