"""How an error of ours is named where a person reads it: the place in the code, never a value."""

from __future__ import annotations

import traceback


def words_of(error: Exception) -> str:
    """Return what kind of error it is and where it was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"defect in the gateway: {type(error).__name__} in {frame.name}, line {frame.lineno}"
