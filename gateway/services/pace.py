"""How many messages to write in one transaction: many at a time cost less each, few at a time keep others waiting less.

Embedded, whoever wants to store a message waits for the transaction before it; on a server nobody does, but the locks
of its patients are held for as long.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

_WEIGHT: Final = 0.25
"""How much the newest transaction counts in the average."""

_LEAST: Final = 8
"""A batch is never smaller than this part of the largest: beyond, what a transaction costs of itself weighs most."""


class Pace:
    """The size of the next batch: ``most`` at most, and about as many as are written within ``aim``.

    >>> pace = Pace(256, timedelta(milliseconds=100))
    >>> pace.size
    256
    >>> pace.took(100, 0.2)
    >>> pace.size
    50
    """

    def __init__(self, most: int, aim: timedelta) -> None:
        self._most = most
        self._aim = aim.total_seconds()
        self._each = 0.0

    @property
    def size(self) -> int:
        """How many messages to take."""
        return (
            self._most
            if not self._each
            else max(self._most // _LEAST, min(self._most, round(self._aim / self._each)), 1)
        )

    def took(self, messages: int, seconds: float) -> None:
        """Note how long a transaction took."""
        each = seconds / messages
        self._each += (each - self._each) * (_WEIGHT if self._each else 1)
