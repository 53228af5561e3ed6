"""Consuming: messages arrive on the connection's thread, are handled on the caller's, settled on the connection's."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pika import BasicProperties, SelectConnection
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.frame import Method
from pika.spec import Basic

from gateway.broker.link import Link
from gateway.broker.pauses import pause_before
from gateway.errors import BrokerUnavailable, Unroutable

_NOT_FOUND: Final = 404

_OnChannel = Callable[[Channel], object]
_OnConnection = Callable[[SelectConnection], None]


@dataclass(frozen=True, slots=True)
class Received:
    """A message taken from a queue and not yet settled. ``deliveries`` counts from 1."""

    tag: int
    routing_key: str
    body: bytes
    deliveries: int


class Subscription:
    """One consumer on a channel of its own. Made anew after each loss; what was not settled comes again."""

    def __init__(self, link: Link, queue_name: str, prefetch: int) -> None:
        self._link = link
        self._queue = queue_name
        self._prefetch = prefetch
        self._inbox: queue.SimpleQueue[Received | Exception] = queue.SimpleQueue()
        self._channel: Channel | None = None
        self._closed = threading.Event()

    def open(self) -> None:
        """Start consuming, soon. Raises ``BrokerUnavailable`` when there is no connection."""
        self._link.watch(self._lost)
        self._link.call(self._open)

    def next(self, timeout: float) -> Received | None:
        """Return the next message, None when none came in time.

        Raises ``Unroutable`` when the queue is gone and ``BrokerUnavailable`` when the connection is.
        """
        try:
            item = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(item, Exception):
            raise item
        return item

    def next_many(self, timeout: float) -> list[Received]:
        """Return the messages that are there, as soon as there is one; none when none came in time. Raises as ``next``.

        The prefetch bounds how many.
        """
        first = self.next(timeout)
        received = [] if first is None else [first]
        while received and not self._inbox.empty():
            item = self._inbox.get()
            if isinstance(item, Exception):
                self._inbox.put(item)  # for the next time: what came before it is handled first
                break
            received.append(item)
        return received

    def accept(self, *received: Received) -> None:
        """Tell the broker that messages are dealt with."""
        tags = [one.tag for one in received]

        def acknowledge(channel: Channel) -> None:
            for tag in tags:
                channel.basic_ack(tag)

        self._settle(acknowledge)

    def give_back(self, received: Received) -> None:
        """Let the broker hand a message out again after a pause; others are not held up by it."""

        def later(connection: SelectConnection) -> None:
            pause = pause_before(received.deliveries)
            connection.ioloop.call_later(
                pause, lambda: self._on_channel(lambda channel: channel.basic_reject(received.tag, requeue=True))
            )

        self._call(later)

    def refuse(self, received: Received) -> None:
        """Send a message to the dead-letter queue."""
        self._settle(lambda channel: channel.basic_reject(received.tag, requeue=False))

    def close(self) -> None:
        """Stop consuming; settlements made before are sent first."""
        self._link.forget(self._lost)
        try:
            self._link.call(lambda _: self._hang_up(), wait=0)
        except BrokerUnavailable:
            return
        self._closed.wait(5)

    def _settle(self, work: _OnChannel) -> None:
        self._call(lambda _: self._on_channel(work))

    def _call(self, work: _OnConnection) -> None:
        try:
            self._link.call(work, wait=0)
        except BrokerUnavailable:
            return  # the channel is gone and the broker hands the message out again

    def _on_channel(self, work: _OnChannel) -> None:
        if self._channel is not None and self._channel.is_open:
            work(self._channel)

    def _open(self, connection: SelectConnection) -> None:
        connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Channel) -> None:
        if self._closed.is_set():  # hung up meanwhile: what came would wait for nobody
            channel.close()
            return
        self._channel = channel
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_cancel_callback(self._cancelled)
        channel.basic_qos(prefetch_count=self._prefetch)
        channel.basic_consume(self._queue, self._arrived)

    def _arrived(self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        earlier = (properties.headers or {}).get("x-delivery-count", 0)
        deliveries = earlier + 1 if isinstance(earlier, int) else 1
        self._inbox.put(Received(method.delivery_tag or 0, method.routing_key or "", body, deliveries))

    def _cancelled(self, frame: Method[Basic.Cancel]) -> None:
        self._inbox.put(Unroutable("the queue was deleted"))

    def _channel_closed(self, channel: Channel, reason: Exception) -> None:
        missing = isinstance(reason, ChannelClosedByBroker) and reason.reply_code == _NOT_FOUND
        self._inbox.put(Unroutable("the queue is missing") if missing else BrokerUnavailable("the channel closed"))
        self._closed.set()

    def _lost(self) -> None:
        self._inbox.put(BrokerUnavailable("the connection to RabbitMQ was lost"))
        self._closed.set()

    def _hang_up(self) -> None:
        if self._channel is None or not self._channel.is_open:
            self._closed.set()
            return
        try:
            self._channel.close()
        except AMQPError:
            self._closed.set()
