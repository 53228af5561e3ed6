"""What moves the work between processes, and released events to amqp recipients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Event:
    """A message for an exchange. ``message_id`` stays the same when it is published again.

    No personal data in ``routing_key`` or ``headers``.
    """

    routing_key: str
    body: bytes
    message_id: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/fhir+json"


class WakeUp(Protocol):
    """A wake-up that was handed out, to be settled once, from any thread."""

    @property
    def body(self) -> str:
        """What was said: ids in ASCII."""

    def done(self) -> None:
        """Say that it is dealt with."""

    def again(self) -> None:
        """Have it handed out again after a pause; one that keeps coming is dead-lettered."""


class Broker(Protocol):
    """What moves the work. Nothing in it is the truth: it may be wiped at any time.

    Queues: ``translate``, ``relay``, and ``deliver.<recipient>``; bodies are ids in ASCII. Safe from any thread.
    """

    def declare(self, recipients: Sequence[str], amqp_recipients: Mapping[str, int] | None = None) -> None:
        """Declare every queue; ``amqp_recipients`` maps recipient id -> max queue length in bytes. Safe to repeat."""

    def wake(self, queue: str, bodies: Sequence[str] = ("",)) -> None:
        """Publish wake-ups and return when the broker has confirmed them all. Raises ``BrokerError``."""

    def nudge(self, queue: str) -> None:
        """Publish one wake-up without waiting for it and without raising; at most a few a second go out."""

    def consume(
        self, queue: str, handle: Callable[[str], None], stop: Callable[[], bool], *, prefetch: int = 32
    ) -> None:
        """Call ``handle`` with each body until ``stop()``; acknowledge when it returns. Reconnects by itself.

        A body whose handler keeps failing is dead-lettered after the queue's delivery limit.
        """

    def consume_many(
        self, queue: str, handle: Callable[[Sequence[WakeUp]], None], stop: Callable[[], bool], *, limit: int = 32
    ) -> None:
        """Call ``handle`` with the wake-ups that wait, together, until ``stop()``; at most ``limit`` are open at once.

        ``handle`` may return before they are settled. Those it raises for are handed out again, and so are, at the
        end or when the connection is lost, those that are open.
        """

    def publish(self, events: Sequence[Event]) -> list[Exception | None]:
        """Publish events to the topic exchange ``fhir.events``, mandatory and confirmed, pipelined.

        Returns per event None, or ``Unroutable``, ``QueueFull`` or ``BrokerUnavailable``.
        """

    def receipts(self, handle: Callable[[Sequence[tuple[str, str]]], None], stop: Callable[[], bool]) -> None:
        """Call ``handle`` with the receipts that wait on ``fhir.receipts``, until ``stop()``: (recipient, message id).

        They are acknowledged when it returns, and come again when it raises.
        """

    def depths(self) -> dict[str, int]:
        """Return the messages ready per queue; raises ``BrokerUnavailable``."""

    def ping(self) -> None:
        """Make one round trip; raises ``BrokerUnavailable``."""

    def close(self) -> None:
        """Let go of every connection."""
