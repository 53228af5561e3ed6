"""Wake-ups of deliveries: what their bodies say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

TOGETHER: Final = 16
"""Ids in one wake-up at most: they stay with the process that takes it."""


def bodies_of(ids: Sequence[int]) -> list[str]:
    """Return the bodies that wake these deliveries: some ids each, so that they are few and several workers share them.

    >>> bodies_of([3, 5]), len(bodies_of(range(1000)))
    (['3', '5'], 63)
    """
    size = min(TOGETHER, max(1, len(ids) // TOGETHER))
    return [" ".join(map(str, ids[start : start + size])) for start in range(0, len(ids), size)]


def ids_of(body: str) -> list[int]:
    """Return the ids a body names; none when it is not one of ours.

    >>> ids_of("7 12"), ids_of("7 x")
    ([7, 12], [])
    """
    words = body.split()
    return [int(word) for word in words] if all(word.isdecimal() for word in words) else []
