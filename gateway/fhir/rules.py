"""What a rule is: a callable that takes (value, scope) and raises ``Broken`` when the value is wrong.

Rules are compiled once per type (``shapes``) and know nothing of where they are applied: a ``Broken`` collects its
path on the way out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Broken(Exception):
    """A rule is broken. ``steps`` is the path so far, innermost first. ``what`` names no value but codes."""

    def __init__(self, what: str, *steps: str) -> None:
        super().__init__(what)
        self.what = what
        self.steps = list(reversed(steps))

    def path(self, start: str) -> str:
        """Return the whole path below ``start``.

        >>> Broken("is empty", "code", "coding", "[0]").path("Observation")
        'Observation.code.coding[0]'
        """
        path = start
        for step in reversed(self.steps):
            path += step if step.startswith("[") else f".{step}"
        return path


class Scope:
    """What one resource knows of itself while it is checked.

    ``local`` are its references into itself (``#id``) with the types allowed there. ``conditional``: it stands in a
    transaction, where a reference may be a search. ``nulls`` counts nulls in lists of primitives that still want
    their extension.
    """

    __slots__ = ("conditional", "contained", "local", "nulls")

    def __init__(self, conditional: bool = False) -> None:
        self.local: list[tuple[str, frozenset[str]]] = []
        self.conditional = conditional
        self.contained = False
        self.nulls = 0


Rule = Callable[[Any, Scope], None]
