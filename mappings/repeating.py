"""The values of an element that repeats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway.fhir.codec import encode

_FEW: Final = 32


def extended(held: list[Any], more: Sequence[Any]) -> list[Any]:
    """Return the list with what is not in it yet: a sender's repetition of the same value says nothing new.

    The list itself is added to, unless it has become so long that comparing with each value would take too long.
    """
    if len(held) + len(more) > _FEW:
        many = held if isinstance(held, _Many) else _Many(held)
        many.add(more)
        return many
    for item in more:
        if item not in held:
            held.append(item)
    return held


class _Many(list[Any]):
    """A long list that knows what it holds by how that is written."""

    def __init__(self, items: Sequence[Any]) -> None:
        super().__init__(items)
        self._known = set(map(encode, items))

    def add(self, more: Sequence[Any]) -> None:
        """Add what is not there yet."""
        for item in more:
            text = encode(item)
            if text not in self._known:
                self._known.add(text)
                self.append(item)
