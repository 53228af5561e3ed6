"""Publishing with pipelined publisher confirms.

Many callers publish at once; each waits for the confirms of its own messages. A message is *confirmed* (nothing to
report), *returned* (``Unroutable``), *refused* (``QueueFull``) or its fate is not known (``BrokerUnavailable``: the
connection was lost before the confirm, so the caller repeats it).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from pika import BasicProperties, DeliveryMode, SelectConnection
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.frame import Method
from pika.spec import Basic

from gateway.broker.link import Link
from gateway.errors import BrokerUnavailable, QueueFull, Unroutable

NUDGE_EVERY: Final = 0.2
"""Seconds between two nudges of one queue."""

_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish. ``message_id`` is how a returned one is told from its neighbours."""

    exchange: str
    routing_key: str
    body: bytes
    message_id: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "text/plain"


class _Batch:
    """Messages of one caller and what came of each; ``done`` when every fate is known."""

    def __init__(self, outgoing: Sequence[Outgoing]) -> None:
        self.outgoing = outgoing
        self.results: list[Exception | None] = [None] * len(outgoing)
        self.open = len(outgoing)
        self.done = threading.Event()

    def settle(self, index: int, error: Exception | None) -> None:
        """Note the fate of one message; a return that came before its confirm stands."""
        self.results[index] = self.results[index] or error
        self.open -= 1
        if self.open <= 0:
            self.done.set()


class Publisher:
    """A confirming channel on a ``Link``. Every method with a leading underscore runs on the link's thread."""

    def __init__(self, link: Link, confirm_within: float = 30.0) -> None:
        self._link = link
        self._confirm_within = confirm_within
        self._lock = threading.Lock()
        self._batches: set[_Batch] = set()
        self._nudges: dict[str, Outgoing] = {}
        self._nudged: dict[str, float] = {}
        self._channel: Channel | None = None
        self._waiting: deque[_Batch] = deque()
        self._flying: dict[int, tuple[_Batch, int]] = {}
        self._tag = 0
        link.watch(self._lost, self._nudge_all)

    def send(self, outgoing: Sequence[Outgoing]) -> list[Exception | None]:
        """Publish and wait for the confirms; return per message None or the error."""
        if not outgoing:
            return []
        batch = _Batch(outgoing)
        with self._lock:
            self._batches.add(batch)
        try:
            self._link.call(lambda connection: self._begin(connection, batch))
            if batch.done.wait(self._confirm_within):
                return batch.results
        except BrokerUnavailable as error:
            return [error] * len(outgoing)
        finally:
            with self._lock:
                self._batches.discard(batch)
        return [BrokerUnavailable("RabbitMQ did not confirm in time")] * len(outgoing)

    def nudge(self, outgoing: Outgoing) -> None:
        """Publish without waiting; one that waits for its turn stands for every later one of its routing key.

        Without a connection it waits for the next one.
        """
        key = outgoing.routing_key
        with self._lock:
            if key in self._nudges:
                return
            self._nudges[key] = outgoing
        with suppress(BrokerUnavailable):
            self._link.call(lambda connection: self._nudge(connection, key), wait=0)

    def _nudge_all(self, connection: SelectConnection) -> None:
        with self._lock:
            keys = list(self._nudges)
        for key in keys:
            self._nudge(connection, key)

    def _nudge(self, connection: SelectConnection, key: str) -> None:
        wait = self._nudged.get(key, 0.0) + NUDGE_EVERY - time.monotonic()
        connection.ioloop.call_later(max(wait, 0.0), lambda: self._nudge_now(connection, key))

    def _nudge_now(self, connection: SelectConnection, key: str) -> None:
        with self._lock:
            outgoing = self._nudges.pop(key, None)
        if outgoing is not None and connection.is_open:
            self._nudged[key] = time.monotonic()
            self._begin(connection, _Batch([outgoing]))

    def _begin(self, connection: SelectConnection, batch: _Batch) -> None:
        if self._channel is not None and self._channel.is_open:
            self._publish(self._channel, batch)
            return
        self._waiting.append(batch)
        if len(self._waiting) == 1:
            connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._closed)
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._ready(channel))

    def _ready(self, channel: Channel) -> None:
        self._channel, self._tag = channel, 0
        while self._waiting and channel.is_open:
            self._publish(channel, self._waiting.popleft())

    def _publish(self, channel: Channel, batch: _Batch) -> None:
        for index, one in enumerate(batch.outgoing):
            properties = BasicProperties(
                content_type=one.content_type,
                headers=dict(one.headers) or None,
                delivery_mode=DeliveryMode.Persistent,
                message_id=one.message_id,
            )
            self._tag += 1
            self._flying[self._tag] = (batch, index)
            try:
                channel.basic_publish(one.exchange, one.routing_key, one.body, properties, mandatory=True)
            except AMQPError:
                for rest in range(index + 1, len(batch.outgoing)):
                    batch.settle(rest, BrokerUnavailable("the channel to RabbitMQ closed"))
                self._fail(BrokerUnavailable("the channel to RabbitMQ closed"))
                return

    def _confirmed(self, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        answer = frame.method
        error = QueueFull("the queue is full") if isinstance(answer, Basic.Nack) else None
        if answer.multiple:
            tags = list(takewhile(lambda tag: tag <= answer.delivery_tag, self._flying))
        else:
            tags = [answer.delivery_tag] if answer.delivery_tag in self._flying else []
        for tag in tags:
            batch, index = self._flying.pop(tag)
            batch.settle(index, error)

    def _returned(self, channel: Channel, method: Basic.Return, properties: BasicProperties, body: bytes) -> None:
        for batch, index in self._flying.values():
            one = batch.outgoing[index]
            if one.message_id == properties.message_id and one.routing_key == method.routing_key:
                batch.results[index] = Unroutable("no queue is bound to the routing key")

    def _closed(self, channel: Channel, reason: Exception) -> None:
        self._channel = None
        missing = isinstance(reason, ChannelClosedByBroker) and reason.reply_code == _NOT_FOUND
        self._fail(Unroutable("the exchange does not exist") if missing else BrokerUnavailable("the channel closed"))

    def _lost(self) -> None:
        self._channel = None
        self._fail(BrokerUnavailable("the connection to RabbitMQ was lost before the confirm"))
        with self._lock:
            batches = list(self._batches)
        for batch in batches:
            if not batch.done.is_set():
                batch.results = [BrokerUnavailable("the connection to RabbitMQ was lost before the confirm")] * len(
                    batch.outgoing
                )
                batch.done.set()

    def _fail(self, error: Exception) -> None:
        flying, self._flying = self._flying, {}
        for batch, index in flying.values():
            batch.settle(index, error)
        while self._waiting:
            batch = self._waiting.popleft()
            for index in range(len(batch.outgoing)):
                batch.settle(index, error)
