"""What exists in RabbitMQ: exchanges, queues, bindings, and what a recipient's broker user may touch.

==========================  ==========  =============================================================================
name                        kind        for
==========================  ==========  =============================================================================
``gateway.translate``       queue       wake-ups: messages wait for translation
``gateway.relay``           queue       wake-ups: deliveries became due
``gateway.deliver.<id>``    queue       ids of due deliveries of one recipient
``gateway.dead``            queue       what used up its deliveries, for a person; nothing in it is the truth
``fhir.events``             exchange    topic; released events, ``<recipient>.<study>.<ResourceType>.<change>``
``fhir.recipient.<id>``     queue       the events of one amqp recipient, bound to ``<id>.#``
``fhir.receipts``           exchange    topic; receipts, routing key = recipient id, body = message id
``fhir.receipts``           queue       the same, for the gateway
==========================  ==========  =============================================================================

Every queue is a quorum queue. Publishing to a full one is refused (``reject-publish``), so that a recipient that does
not read defers itself alone, and dead-lettering may be at-least-once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import BrokerError

WAKE_LIMIT: Final = 50_000
"""Wake-ups a queue holds. More are refused: the rows still say what is due, and the relay asks again."""

DEAD_LIMIT: Final = 10_000
_RECIPIENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


def check_recipient(recipient: str) -> str:
    """Return a recipient id that is safe in a routing key.

    A dot would be a word border there, and recipient ``a`` would read what is meant for ``a.b``; ``*`` and ``#`` are
    wildcards. Raises ``BrokerError``.

    >>> check_recipient("edc-1")
    'edc-1'
    """
    if not _RECIPIENT.fullmatch(recipient):
        raise BrokerError("a recipient id may hold letters, digits, '-' and '_' only: it is a word of a routing key")
    return recipient


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue to declare: port name, arguments and the (exchange, routing key) it is bound to."""

    name: str
    arguments: Mapping[str, Any]
    bindings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a recipient's broker user may do: the regular expressions of RabbitMQ's permissions.

    ``configure``, ``write`` and ``read`` are of ``set_permissions``; ``receipt_key`` is the write pattern of
    ``set_topic_permissions`` on the receipts exchange, without which it could sign receipts for others.
    """

    configure: str
    write: str
    read: str
    receipt_exchange: str
    receipt_key: str

    def commands(self, user: str, virtual_host: str = "/") -> list[list[str]]:
        """Return the ``rabbitmqctl`` commands that give ``user`` these permissions and no others."""
        return [
            ["set_permissions", "-p", virtual_host, user, self.configure, self.write, self.read],
            ["set_topic_permissions", "-p", virtual_host, user, self.receipt_exchange, self.receipt_key, "^$"],
        ]


@dataclass(frozen=True, slots=True)
class Names:
    """Names in the broker. ``prefix`` keeps several gateways apart in one virtual host (tests do that)."""

    prefix: str = ""

    @property
    def events(self) -> str:
        """The exchange of released events."""
        return f"{self.prefix}fhir.events"

    @property
    def receipts(self) -> str:
        """The exchange of receipts, and the queue behind it."""
        return f"{self.prefix}fhir.receipts"

    def queue(self, name: str) -> str:
        """Return what a queue of the port is called in the broker.

        >>> Names().queue("deliver.edc"), Names().queue("receipts"), Names().queue("recipient.edc")
        ('gateway.deliver.edc', 'fhir.receipts', 'fhir.recipient.edc')
        """
        if name == "receipts":
            return self.receipts
        if name.startswith("recipient."):
            return f"{self.prefix}fhir.{name}"
        return f"{self.prefix}gateway.{name}"

    def permissions(self, recipient: str) -> Permissions:
        """Return what the broker user of an amqp recipient may do: read its queue, write its receipts."""
        own = re.escape(self.queue(f"recipient.{check_recipient(recipient)}"))
        receipts = re.escape(self.receipts)
        return Permissions("^$", f"^{receipts}$", f"^{own}$", self.receipts, f"^{re.escape(recipient)}$")


def queues(
    names: Names, recipients: Sequence[str], amqp_recipients: Mapping[str, int], delivery_limit: int
) -> Iterator[Queue]:
    """Say which queues the gateway needs for these recipients; sizes in bytes."""
    dead = {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-delivery-limit": delivery_limit,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": names.queue("dead"),
        "x-dead-letter-strategy": "at-least-once",
    }
    yield Queue("dead", {"x-queue-type": "quorum", "x-max-length": DEAD_LIMIT, "x-overflow": "drop-head"})
    for name in ("translate", "relay", *(f"deliver.{check_recipient(one)}" for one in recipients)):
        yield Queue(name, {**dead, "x-max-length": WAKE_LIMIT})
    yield Queue("receipts", dead, ((names.receipts, "#"),))
    for recipient, size in amqp_recipients.items():
        # Not dead-lettered: gateway.dead is ours, and what a recipient refuses stays in the outbox until its receipt.
        own = {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-max-length-bytes": size}
        bindings = ((names.events, f"{check_recipient(recipient)}.#"),)
        yield Queue(f"recipient.{recipient}", {**own, "x-delivery-limit": delivery_limit}, bindings)
