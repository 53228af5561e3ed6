"""Trouble that a person should know of: told once when it begins and once when it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Trouble(StrEnum):
    """What may be wrong; ``Alert.subject`` says with what."""

    RECIPIENT_FAILING = "recipient-failing"
    """A recipient takes no deliveries: its circuit is open."""

    DELIVERIES_DEAD = "deliveries-dead"
    """Deliveries to a recipient have used up their attempts or were refused: a person must look."""

    SUBSCRIPTION_FAILING = "subscription-failing"
    """A subscription is in error: its client is told of nothing until it asks anew."""

    FEED_SILENT = "feed-silent"
    """A feed has been silent for longer than it usually is."""

    QUEUE_GROWING = "queue-growing"
    """What waits at a feed or recipient grows old, or grows and grows."""

    DISK_LOW = "disk-low"
    """The disk under the data folder is nearly full."""

    CERTIFICATE_ENDING = "certificate-ending"
    """A certificate that the configuration names ends soon, or has ended."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One trouble with one subject: id of a feed, recipient or subscription (behind its client's), name of a file.

    Times are UTC. ``ended_at`` is None while it lasts. ``told`` names the channels that know of its beginning. No
    personal data.
    """

    trouble: Trouble
    subject: str
    detail: str
    began_at: datetime
    ended_at: datetime | None = None
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How a feed usually speaks.

    ``longest`` is its longest silence in seconds since ``since``, ``before`` the longest of the period before that;
    ``count`` are the messages those were found in, ``seen`` the id of the newest. Times are UTC.
    """

    feed: str
    last_at: datetime
    since: datetime
    longest: float = 0.0
    before: float = 0.0
    count: int = 0
    seen: int = 0

    @property
    def usual(self) -> float:
        """The longest silence known, in seconds."""
        return max(self.longest, self.before)
