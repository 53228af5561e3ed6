"""A trial system that reads events from a queue of its own in RabbitMQ.

One event for each entry, to the topic exchange ``fhir.events``, routing key
``<recipient>.<study>.<ResourceType>.<change>`` (``created``, ``updated``, ``retracted``), body the released resource.
Message ids and headers are those of ``gateway.model.event``: a receiver can drop what comes again and tell the newer of
two. Neither keys nor headers say anything about a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from adapters.recipient.bodies import body_for
from gateway.errors import BrokerUnavailable, ConfigurationError, QueueFull
from gateway.fhir import codec
from gateway.model import event
from gateway.model.delivery import Accepted, Deferred, Outcome, Package, Released, Unknown
from gateway.model.recipient import Recipient
from gateway.ports import Broker, Event


class Outbox(Protocol):
    """Holds published events until their receipt comes."""

    def keep(self, delivery: int, events: Sequence[Event]) -> None:
        """Keep events of a delivery; one that is kept already stays as it is."""

    def forget(self, events: Sequence[Event]) -> None:
        """Forget events that were not published after all."""


class Amqp:
    """Delivers through the broker. Events stand in the ``outbox`` first: a receipt may be faster than the confirm."""

    def __init__(self, recipient: Recipient, broker: Broker, outbox: Outbox) -> None:
        if recipient.identity != "pseudonymous":
            where = f"recipients/{recipient.id}.toml"
            raise ConfigurationError(where, 'an amqp recipient must have identity = "pseudonymous"')
        self._recipient = recipient
        self._broker = broker
        self._outbox = outbox

    def deliver(self, package: Package) -> Outcome:
        """Publish the package's events; accepted once the broker confirmed them all."""
        events = [self._event(package, released) for released in package.entries]
        self._outbox.keep(package.delivery, events)
        results = self._broker.publish(events)
        failed = [error for error in results if error is not None]
        if not failed:
            return Accepted(f"{len(events)} events confirmed")
        self._outbox.forget([one for one, error in zip(events, results, strict=True) if error is not None])
        confirmed = len(events) - len(failed)
        if confirmed or any(isinstance(error, BrokerUnavailable) for error in failed):
            return Unknown(f"{confirmed} of {len(events)} events confirmed: {_words(failed[0])}")
        return Deferred(_words(failed[0]))

    def close(self) -> None:
        """Hold nothing: the broker belongs to the program."""

    def _event(self, package: Package, released: Released) -> Event:
        body = codec.encode(body_for(self._recipient, released))
        key = event.routing_key(package, released)
        message_id = event.message_id(package, released, body)
        return Event(key, body, message_id, event.headers(key, message_id))


def _words(error: Exception) -> str:
    return "the recipient's queue is full" if isinstance(error, QueueFull) else str(error)
