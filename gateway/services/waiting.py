"""How long to wait before trying again: tenacity's wait strategies, used where rows keep the time."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from tenacity import RetryCallState, Retrying, wait_exponential_jitter
from tenacity.wait import wait_base

_NOBODY: Final = Retrying()


def wait_before(strategy: wait_base, failures: int) -> timedelta:
    """Return how long ``strategy`` waits after this many failures in a row (from 1)."""
    state = RetryCallState(_NOBODY, None, (), {})
    state.attempt_number = max(failures, 1)
    return timedelta(seconds=strategy(state))


def growing(first: timedelta, longest: timedelta) -> wait_base:
    """Return the strategy that doubles from ``first`` to ``longest``, with up to ``first`` of jitter.

    >>> from datetime import timedelta as t
    >>> strategy = growing(t(seconds=2), t(minutes=1))
    >>> [2 <= wait_before(strategy, 1).total_seconds() <= 4, wait_before(strategy, 20) == t(minutes=1)]
    [True, True]
    """
    seconds = first.total_seconds()
    return wait_exponential_jitter(multiplier=seconds, max=longest.total_seconds(), jitter=seconds)
