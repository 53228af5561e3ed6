"""The broker port on RabbitMQ (AMQP 0-9-1, pika).

Two connections per program, opened when first needed: one publishes, one consumes, so that RabbitMQ slowing a
publisher down does not hold up acknowledgments. Declaring, counting and pinging open a connection of their own. What
somebody deleted is declared again as soon as it is missed.

A confirm is no promise for ever: RabbitMQ confirms, too, what it lost with a queue deleted at that moment. The rows in
the database, a delivery's ``published_at`` and an event's missing receipt, bring it back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Final
from uuid import uuid4

import pika
import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.exchange_type import ExchangeType

from gateway.broker.link import Link
from gateway.broker.open_wake_ups import Taken, accept_all, drain_many
from gateway.broker.pauses import POLL, pause_before
from gateway.broker.publisher import Outgoing, Publisher
from gateway.broker.subscription import Received, Subscription
from gateway.broker.topology import Names, Queue, queues
from gateway.errors import BrokerError, BrokerUnavailable, ConfigurationError, Unroutable
from gateway.ports import Event, WakeUp
from gateway.tls import checked, client_context

log = structlog.get_logger()

WINDOW: Final = 1000
"""Messages published before waiting for their confirms."""

AFTER_DELETION: Final = 1.0
"""Seconds before a deleted queue is declared again.

RabbitMQ 3.10 carries a consumer over to a quorum queue that comes back before the consumer was told of the deletion,
and then hands it nothing: it takes the new queue's first messages for ones it had.
"""

RECEIPTS_TOGETHER: Final = 200
_INEQUIVALENT: Final = 406


class RabbitBroker:
    """``gateway.ports.Broker`` on a RabbitMQ server.

    ``url``: ``amqp://`` or ``amqps://`` with pika's query parameters (``heartbeat``, ``ssl_options`` …). ``ca_file``
    (PEM) verifies the server; empty: the system's authorities, or those of ``ssl_options``.
    ``confirm_within``: seconds until an unconfirmed message counts as lost. ``idle``: seconds without a message after
    which a consumer begins anew, in case the server forgot it.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "",
        ca_file: str = "",
        delivery_limit: int = 20,
        confirm_within: float = 30.0,
        idle: float = 60.0,
    ) -> None:
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # its errors are ours to tell, once
        self.names = Names(prefix)
        self._parameters = _parameters(url, ca_file)
        self._delivery_limit = delivery_limit
        self._idle = idle
        self._queues: dict[str, Queue] = {}
        self._declaring = threading.Lock()
        self._publishing = Link(self._parameters, "publish")
        self._consuming = Link(self._parameters, "consume")
        self._publisher = Publisher(self._publishing, confirm_within)
        self._serial = count(1)
        self._run = uuid4().hex[:8]

    def declare(self, recipients: Sequence[str], amqp_recipients: Mapping[str, int] | None = None) -> None:
        """Declare every exchange and queue. Raises ``BrokerUnavailable``; ``BrokerError`` when one differs."""
        wanted = {one.name: one for one in queues(self.names, recipients, amqp_recipients or {}, self._delivery_limit)}
        with self._declaring:
            self._queues.update(wanted)
            self._declare()

    def wake(self, queue: str, bodies: Sequence[str] = ("",)) -> None:
        """Publish wake-ups and return when all are confirmed. Raises the first ``BrokerError``."""
        outgoing = [Outgoing("", self.names.queue(queue), body.encode("ascii"), self._next_id()) for body in bodies]
        for error in self._send(outgoing):
            if error is not None:
                raise error

    def nudge(self, queue: str) -> None:
        """Publish one wake-up without waiting; without a connection it is sent when there is one."""
        self._publisher.nudge(Outgoing("", self.names.queue(queue), b"", self._next_id()))

    def consume(
        self, queue: str, handle: Callable[[str], None], stop: Callable[[], bool], *, prefetch: int = 32
    ) -> None:
        """Call ``handle`` on this thread with each body until ``stop()``; a body that is not ASCII is dead-lettered."""

        def drain(subscription: Subscription) -> None:
            _drain(subscription, lambda received: handle(received.body.decode("ascii")), stop, self._idle)

        self._consume(queue, drain, stop, prefetch)

    def consume_many(
        self, queue: str, handle: Callable[[Sequence[WakeUp]], None], stop: Callable[[], bool], *, limit: int = 32
    ) -> None:
        """Call ``handle`` on this thread with the wake-ups that wait, until ``stop()``."""
        self._consume(queue, lambda subscription: drain_many(subscription, handle, stop, self._idle), stop, limit)

    def publish(self, events: Sequence[Event]) -> list[Exception | None]:
        """Publish events to ``fhir.events``; return per event None or its error."""
        return self._send(
            [
                Outgoing(self.names.events, one.routing_key, one.body, one.message_id, one.headers, one.content_type)
                for one in events
            ]
        )

    def receipts(self, handle: Callable[[Sequence[tuple[str, str]]], None], stop: Callable[[], bool]) -> None:
        """Call ``handle`` with the receipts that wait, until ``stop()``: (recipient, message id).

        The recipient is the routing key, which its topic permission fixes; the message id is the body.
        """

        def record(taken: Sequence[Taken]) -> None:
            handle([(one.routing_key, one.body.strip()) for one in taken])
            accept_all(taken)

        def drain(subscription: Subscription) -> None:
            drain_many(subscription, record, stop, self._idle)

        self._consume("receipts", drain, stop, RECEIPTS_TOGETHER)

    def depths(self) -> dict[str, int]:
        """Return the messages ready per declared queue, by port name; 0 for a queue somebody deleted."""
        with self._channel() as first:
            channel, found = first, dict.fromkeys(self._queues, 0)
            for name in found:
                try:
                    found[name] = channel.queue_declare(self.names.queue(name), passive=True).method.message_count
                except ChannelClosedByBroker:
                    channel = channel.connection.channel()
            return found

    def ping(self) -> None:
        """Make one round trip; raises ``BrokerUnavailable``."""
        with self._channel():
            pass

    def close(self) -> None:
        """Close both connections. A ``consume`` still running ends by its own ``stop()``."""
        self._publishing.close()
        self._consuming.close()

    def _next_id(self) -> str:
        return f"{self._run}-{next(self._serial)}"

    def _send(self, outgoing: Sequence[Outgoing]) -> list[Exception | None]:
        results: list[Exception | None] = []
        for start in range(0, len(outgoing), WINDOW):
            results += self._publisher.send(outgoing[start : start + WINDOW])
            away = next((error for error in results[start:] if isinstance(error, BrokerUnavailable)), None)
            if away is not None:  # the rest would wait as long, and in vain
                results += [away] * (len(outgoing) - len(results))
                break
        missed = [
            index
            for index, error in enumerate(results)
            if isinstance(error, Unroutable) and self._is_declared(outgoing[index])
        ]
        if missed and self._declare_again():
            for index, error in zip(missed, self._publisher.send([outgoing[one] for one in missed]), strict=True):
                results[index] = error
        return results

    def _consume(
        self, queue: str, drain: Callable[[Subscription], None], stop: Callable[[], bool], prefetch: int
    ) -> None:
        if queue not in self._queues:
            raise BrokerError(f"the queue {queue} was not declared")
        failures = 0
        while not stop():
            subscription = Subscription(self._consuming, self.names.queue(queue), prefetch)
            try:
                subscription.open()
                drain(subscription)
                failures = 0
            except Unroutable:
                failures += 1
                self._declare_again()
            except BrokerUnavailable:
                failures += 1
            finally:
                subscription.close()
            _pause(pause_before(failures), stop)

    def _is_declared(self, one: Outgoing) -> bool:
        """Whether this program declared the queue a message is for."""
        if one.exchange:
            return f"recipient.{one.routing_key.partition('.')[0]}" in self._queues
        return any(self.names.queue(name) == one.routing_key for name in self._queues)

    def _declare_again(self) -> bool:
        """Declare what this program declared before; say whether that could help."""
        if not self._queues:
            return False
        time.sleep(AFTER_DELETION)  # nothing tells when the consumers of the old queue have heard that it is gone
        with self._declaring:
            try:
                self._declare()
            except BrokerError as error:
                log.warning("queues could not be declared again", reason=str(error))
                return False
        log.info("queues were missing and are declared again")
        return True

    def _declare(self) -> None:
        with self._channel() as channel:
            channel.exchange_declare(self.names.events, ExchangeType.topic, durable=True)
            channel.exchange_declare(self.names.receipts, ExchangeType.topic, durable=True)
            for queue in self._queues.values():
                name = self.names.queue(queue.name)
                channel.queue_declare(name, durable=True, arguments=dict(queue.arguments))
                for exchange, routing_key in queue.bindings:
                    channel.queue_bind(name, exchange, routing_key)

    @contextmanager
    def _channel(self) -> Iterator[BlockingChannel]:
        """Open a connection for one task. pika's errors leave as ours."""
        try:
            connection = pika.BlockingConnection(self._parameters)
        except (AMQPError, AMQPConnectorException, OSError) as error:
            raise BrokerUnavailable(f"RabbitMQ could not be reached: {type(error).__name__}") from error
        try:
            yield connection.channel()
        except ChannelClosedByBroker as error:
            if error.reply_code == _INEQUIVALENT:
                raise BrokerError(
                    "a queue or exchange exists with other arguments: delete it in RabbitMQ, it is declared again"
                    f" ({error.reply_text})"
                ) from error
            raise BrokerUnavailable(f"RabbitMQ refused: {error.reply_code}") from error
        except (AMQPError, OSError) as error:
            raise BrokerUnavailable(f"RabbitMQ went away: {type(error).__name__}") from error
        finally:
            if connection.is_open:
                connection.close()


def _parameters(url: str, ca_file: str) -> pika.URLParameters:
    if not url.startswith(("amqp://", "amqps://")):  # pika takes http for amqp
        raise ConfigurationError("GATEWAY_BROKER_URL", "not an amqp:// or amqps:// address")
    try:
        parameters = pika.URLParameters(url)
    except Exception:  # noqa: BLE001 - pika's words may quote a password
        raise ConfigurationError("GATEWAY_BROKER_URL", "not an amqp:// or amqps:// address") from None
    if parameters.ssl_options is not None:
        given = parameters.ssl_options
        context = client_context("gateway.toml: [broker]", ca_file) if ca_file else checked(given.context)
        parameters.ssl_options = pika.SSLOptions(context, given.server_hostname)
    if parameters.blocked_connection_timeout is None:
        parameters.blocked_connection_timeout = 60.0
    return parameters


def _drain(subscription: Subscription, take: Callable[[Received], None], stop: Callable[[], bool], idle: float) -> None:
    """Handle what comes until ``stop()``, or until nothing has come for a while."""
    heard = time.monotonic()
    while not stop() and time.monotonic() - heard < idle:
        received = subscription.next(POLL)
        if received is None:
            continue
        heard = time.monotonic()
        try:
            take(received)
        except UnicodeDecodeError:
            subscription.refuse(received)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the queue's delivery limit decides
            log.warning("a wake-up was not handled", reason=type(error).__name__, tries=received.deliveries)
            subscription.give_back(received)
        else:
            subscription.accept(received)


def _pause(seconds: float, stop: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stop():
        time.sleep(min(POLL, max(0.0, until - time.monotonic())))  # `stop` is a question, nothing to wait on
