"""How deep and how large a JSON value from outside may be: no resource needs more, and no stack holds everything."""

from __future__ import annotations

from typing import Any, Final

DEEPEST: Final = 60
"""Levels at most."""

MOST: Final = 50_000
"""Values of a resource that a patch leaves at most."""


def within_bounds(value: Any, most: int | None = None) -> bool:
    """Whether a value has no more levels than ``DEEPEST``, and no more values in it than ``most``.

    >>> within_bounds({"a": [1, 2]}), within_bounds({"a": [1, 2]}, most=3)
    (True, False)
    """
    level, depth, count = [value], 0, 0
    while level:
        depth += 1
        count += len(level)
        if depth > DEEPEST or (most is not None and count > most):
            return False
        level = [child for one in level for child in _children(one)]
    return True


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
