"""A trial system that reads events from a queue of its own in RabbitMQ.

One event for each entry, to the topic exchange ``fhir.events``, routing key
``<recipient>.<study>.<ResourceType>.<change>`` (``created``, ``updated``, ``retracted``), body the released resource.
The message id is the same whenever the same content is published again, so a receiver can drop it. Headers: ``study``,
``version`` (the gateway's, ascending for a resource), ``change``, ``delivery``. Neither keys nor headers say anything
about a person.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

from adapters.recipient.bodies import body_for
from gateway.errors import BrokerUnavailable, ConfigurationError, QueueFull
from gateway.fhir import codec
from gateway.model.delivery import Accepted, ChangeKind, Deferred, Outcome, Package, Released, Unknown
from gateway.model.recipient import Recipient
from gateway.ports import Broker, Event

Keep = Callable[[Sequence[Event]], None]


class Amqp:
    """Delivers through the broker. ``keep`` stores what was published until its receipt comes."""

    def __init__(self, recipient: Recipient, broker: Broker, keep: Keep) -> None:
        if recipient.identity != "pseudonymous":
            where = f"recipients/{recipient.id}.toml"
            raise ConfigurationError(where, 'an amqp recipient must have identity = "pseudonymous"')
        self._recipient = recipient
        self._broker = broker
        self._keep = keep

    def deliver(self, package: Package) -> Outcome:
        """Publish the package's events; accepted once the broker confirmed them all."""
        events = [self._event(package, released) for released in package.entries]
        results = self._broker.publish(events)
        confirmed = [event for event, error in zip(events, results, strict=True) if error is None]
        if confirmed:
            self._keep(confirmed)
        failed = [error for error in results if error is not None]
        if not failed:
            return Accepted(f"{len(events)} events confirmed")
        if confirmed or any(isinstance(error, BrokerUnavailable) for error in failed):
            return Unknown(f"{len(confirmed)} of {len(events)} events confirmed: {_words(failed[0])}")
        return Deferred(_words(failed[0]))

    def close(self) -> None:
        """Hold nothing: the broker belongs to the program."""

    def _event(self, package: Package, released: Released) -> Event:
        body = codec.encode(body_for(self._recipient, released))
        view = package.view
        gone = "retracted" if released.kind is ChangeKind.RETRACTED else ""
        name = "\x1f".join((view.recipient, view.study, released.reference, str(released.version), gone))
        return Event(
            routing_key=f"{view.recipient}.{view.study}.{released.type}.{released.kind}",
            body=body,
            message_id=blake2b(name.encode() + b"\x1f" + body, digest_size=16).hexdigest(),
            headers={
                "study": view.study,
                "version": str(released.version),
                "change": str(released.kind),
                "delivery": package.delivery_id,
            },
        )


def _words(error: Exception) -> str:
    return "the recipient's queue is full" if isinstance(error, QueueFull) else str(error)
