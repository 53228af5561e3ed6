"""Subscriptions: what clients want to be told of, what may have happened, what did, and the way to an endpoint."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from gateway.model.delivery import Outcome, View
from gateway.model.subscription import Happening, Notification, Subscription, Trigger


@dataclass(frozen=True, slots=True)
class Listener:
    """A subscription that waits for changes, and the views of its client."""

    subscription: Subscription
    views: tuple[View, ...]


@dataclass(frozen=True, slots=True)
class Telling:
    """What an attempt is about to do: events that are numbered now, triggers that are done with."""

    happened: Sequence[Happening] = ()
    decided: Sequence[int] = ()


class Subscriptions(Protocol):
    """Subscriptions by id, their triggers and their events."""

    def add(self, subscription: Subscription) -> None:
        """Add a subscription."""

    def get(self, id: str, *, lock: bool = False) -> Subscription | None:
        """Return a subscription; with ``lock`` it stays as it is until the transaction ends."""

    def of_client(self, client: str) -> list[Subscription]:
        """Return the subscriptions of a client, oldest first."""

    def every(self) -> list[Subscription]:
        """Return every subscription."""

    def listeners(self) -> list[Listener]:
        """Return the subscriptions that wait for changes: not those that are off or whose client was revoked."""

    def save(self, subscription: Subscription) -> None:
        """Replace what a subscription is and how far it is; a lease on it stays."""

    def drop(self, id: str) -> None:
        """Take a subscription away, with its triggers and events."""

    def note(self, triggers: Sequence[Trigger]) -> None:
        """Append what may be events. Those of one patient keep the order of their commits."""

    def triggers(self, id: str, now: datetime, limit: int) -> list[Trigger]:
        """Return what a subscription has not decided on yet, of what can be by now, oldest first."""

    def is_due(self, now: datetime) -> bool:
        """Whether there may be one to claim."""

    def claim(self, now: datetime, owner: str, lease: timedelta, without: Collection[str] = ()) -> Subscription | None:
        """Claim one for which something is to be done, longest due first, of no client in ``without``.

        Something is to be done at ``due_at``, and wherever there are triggers.
        """

    def begin(self, subscription: Subscription, told: Telling, owner: str) -> bool:
        """Write events and what is under way; the lease stays. False when it went to somebody else."""

    def settle(self, subscription: Subscription, owner: str) -> Subscription | None:
        """Write how far a claimed one has come, and let go of it; None when the lease went to somebody else.

        One that its client has changed meanwhile keeps what the client wrote; of the rest of it only ``settled`` and
        ``events`` are taken. Returns it as it stands.
        """

    def events(self, id: str, after: int, upto: int, limit: int) -> list[Happening]:
        """Return events with ``after`` < number <= ``upto``, ascending."""

    def forget(self, before: datetime) -> int:
        """Take away settled events older than this and return how many."""

    def release(self, owner: str) -> None:
        """Let go of what this owner held when it died."""


class Hook(Protocol):
    """The way to an endpoint."""

    def refusal(self, endpoint: str) -> str:
        """Return why an address may not be told anything; ``""`` when it may."""

    def notify(self, notification: Notification) -> Outcome:
        """Make one attempt; every far-side behaviour maps to one outcome; never raises for what the far side does."""

    def close(self) -> None:
        """Let go of connections."""


def numbers(happened: Iterable[Happening]) -> tuple[int, int]:
    """Return the first and the last number of events; (0, 0) of none."""
    found = [each.number for each in happened]
    return (min(found), max(found)) if found else (0, 0)
