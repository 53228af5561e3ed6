"""Troubles as the store keeps them, what is known of the feeds' habits, and who is told."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple, Protocol

from gateway.model.alert import Alert, Rhythm, Trouble


class FeedNews(NamedTuple):
    """What came in on a feed since somebody looked: how much, the first and last time (UTC), the newest message."""

    feed: str
    messages: int
    first: datetime
    last: datetime
    newest: int


class Alerts(Protocol):
    """The troubles that last or of whose end somebody is still to be told, and the rhythm of each feed."""

    def list_all(self) -> list[Alert]:
        """Return every trouble, the oldest first."""

    def put(self, alert: Alert) -> None:
        """Write a trouble; there is one for each kind and subject."""

    def remove(self, trouble: Trouble, subject: str) -> None:
        """Forget a trouble."""

    def newest(self) -> int:
        """Return the id of the newest message; 0 when there is none."""

    def news(self, after: int) -> list[FeedNews]:
        """Return what came in, by feed, with ids above ``after``."""

    def rhythms(self) -> list[Rhythm]:
        """Return what is known of each feed that has spoken."""

    def put_rhythms(self, rhythms: Iterable[Rhythm]) -> None:
        """Write what is known of feeds."""


class Channel(Protocol):
    """A way to reach people."""

    @property
    def name(self) -> str:
        """A name that stays the same across restarts."""

    def tell(self, alert: Alert) -> None:
        """Tell of a trouble's beginning, or of its end when ``ended_at`` is set. Raises ``NotTold``."""
