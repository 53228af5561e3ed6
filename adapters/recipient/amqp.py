"""A trial system that reads events from a queue of its own in RabbitMQ.

One event for each entry, to the topic exchange ``fhir.events``, routing key
``<recipient>.<study>.<ResourceType>.<change>`` (``created``, ``updated``, ``retracted``), body the released resource,
or a Bundle with one DELETE where nothing can be said of a resource but that it is gone. Message ids and headers are
those of ``gateway.model.event``: a receiver can drop what comes again and tell the newer of two. Neither keys nor
headers say anything about a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final, Protocol

from adapters.recipient.bodies import deletion, is_deleted, text_for
from gateway.errors import BrokerUnavailable, ConfigurationError, QueueFull
from gateway.model import event
from gateway.model.delivery import Accepted, Deferred, Outcome, Package, Released, Unknown
from gateway.model.recipient import Recipient
from gateway.ports import Broker, Event

EVENTS_TOGETHER: Final = 500
"""Events of several packages that are kept and published together."""

_Events = tuple[int, list[Event]]


class Outbox(Protocol):
    """Holds published events until their receipt comes."""

    def keep(self, events: Sequence[tuple[int, Event]]) -> None:
        """Keep events, each with its delivery; one that is kept already stays as it is."""

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
        return self.deliver_many([package])[0]

    def deliver_many(self, packages: Sequence[Package]) -> list[Outcome]:
        """Publish the events of several packages, pipelined; one outcome each."""
        made = [
            (package.delivery, [self._event(package, released) for released in package.entries]) for package in packages
        ]
        outcomes: list[Outcome] = []
        while made:
            together, made = _together(made)
            outcomes += self._publish(together)
        return outcomes

    def _publish(self, packages: Sequence[_Events]) -> list[Outcome]:
        pairs = [(delivery, one) for delivery, events in packages for one in events]
        self._outbox.keep(pairs)
        results = self._broker.publish([one for _, one in pairs])
        lost = [one for (_, one), error in zip(pairs, results, strict=True) if error is not None]
        if lost:
            self._outbox.forget(lost)
        left = iter(results)
        return [_outcome(list(islice(left, len(events)))) for _, events in packages]

    def close(self) -> None:
        """Hold nothing: the broker belongs to the program."""

    def _event(self, package: Package, released: Released) -> Event:
        gone = is_deleted(self._recipient, released)
        body = deletion(released) if gone else text_for(self._recipient, released)
        key = event.routing_key(package, released)
        message_id = event.message_id(package, released, body)
        return Event(key, body, message_id, event.headers(key, message_id))


def _together(packages: list[_Events]) -> tuple[list[_Events], list[_Events]]:
    """Return the packages that are kept in one transaction, which others wait for, and the rest."""
    count = size = 0
    while count < len(packages) and (count == 0 or size + len(packages[count][1]) <= EVENTS_TOGETHER):
        size += len(packages[count][1])
        count += 1
    return packages[:count], packages[count:]


def _outcome(results: Sequence[Exception | None]) -> Outcome:
    failed = [error for error in results if error is not None]
    if not failed:
        return Accepted(f"{len(results)} events confirmed")
    confirmed = len(results) - len(failed)
    if confirmed or any(isinstance(error, BrokerUnavailable) for error in failed):
        return Unknown(f"{confirmed} of {len(results)} events confirmed: {_words(failed[0])}")
    return Deferred(_words(failed[0]))


def _words(error: Exception) -> str:
    return "the recipient's queue is full" if isinstance(error, QueueFull) else str(error)
