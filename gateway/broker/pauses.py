"""How long a message waits before it is handed out again, and how often ``stop()`` is looked at."""

from __future__ import annotations

from typing import Final

POLL: Final = 0.2
"""Seconds between two looks at ``stop()``."""

LONGEST_PAUSE: Final = 5.0
"""Seconds a message waits at most before it is handed out again after its handler failed."""


def pause_before(failures: int) -> float:
    """Return the seconds before a message whose handler failed ``failures`` times is tried again.

    >>> [pause_before(n) for n in (0, 1, 2, 3, 20)]
    [0.0, 0.05, 0.1, 0.2, 5.0]
    """
    return min(LONGEST_PAUSE, 0.05 * 2 ** (min(failures, 20) - 1)) if failures else 0.0
