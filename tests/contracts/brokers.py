"""Both brokers behind one face, for the contract: what a recipient does at its own end differs between them."""

from __future__ import annotations

from typing import Protocol
from uuid import uuid4

import pika

from gateway.broker.embedded import EmbeddedBroker
from gateway.broker.rabbitmq import RabbitBroker
from gateway.ports import Broker
from tests.servers.rabbitmq import RabbitNode


class Bench(Protocol):
    """A broker under test and the far end of its amqp recipients."""

    broker: Broker

    def read(self, recipient: str) -> list[tuple[str, bytes]]:
        """Take every event of a recipient's queue: (message id, body)."""

    def give_receipt(self, recipient: str, message_id: str) -> None:
        """Send a receipt as the recipient would."""

    def close(self) -> None:
        """Clean up."""


class EmbeddedBench:
    def __init__(self, delivery_limit: int) -> None:
        self.broker = EmbeddedBroker(delivery_limit=delivery_limit)

    def read(self, recipient: str) -> list[tuple[str, bytes]]:
        return [(event.message_id, event.body) for event in self.broker.take(recipient)]

    def give_receipt(self, recipient: str, message_id: str) -> None:
        self.broker.give_receipt(recipient, message_id)

    def close(self) -> None:
        self.broker.close()


class RabbitBench:
    def __init__(self, node: RabbitNode, delivery_limit: int) -> None:
        self.url = node.url
        self.broker = RabbitBroker(node.url, prefix=f"t{uuid4().hex[:8]}.", delivery_limit=delivery_limit)

    def read(self, recipient: str) -> list[tuple[str, bytes]]:
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        channel = connection.channel()
        taken = []
        while True:
            method, properties, body = channel.basic_get(
                self.broker.names.queue(f"recipient.{recipient}"), auto_ack=True
            )
            if method is None:
                connection.close()
                return taken
            taken.append((properties.message_id, body))

    def give_receipt(self, recipient: str, message_id: str) -> None:
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        connection.channel().basic_publish(self.broker.names.receipts, recipient, message_id.encode())
        connection.close()

    def delete_queues(self, *queues: str) -> None:
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        channel = connection.channel()
        for queue in queues:
            channel.queue_delete(self.broker.names.queue(queue))
        connection.close()

    def wipe(self) -> None:
        """Delete every queue and exchange of this gateway."""
        self.delete_queues(*self.broker._queues)
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        channel = connection.channel()
        channel.exchange_delete(self.broker.names.events)
        channel.exchange_delete(self.broker.names.receipts)
        connection.close()

    def close(self) -> None:
        self.broker.close()
        self.delete_queues(*self.broker._queues)
