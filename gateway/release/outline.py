"""What becomes of resources of one type that have the same elements, as far as the elements' names decide it."""

from __future__ import annotations

from typing import Final

from gateway.fhir import codec
from gateway.fhir.piecewise import stand_together
from gateway.release.identity import PSEUDED
from gateway.release.policy import REQUIRED, Rights

INHERENT: Final = ("resourceType", "id", "meta")
_MARKED: Final = b',"meta":' + codec.encode({"security": [dict(PSEUDED)]})
_MOST: Final = 512
"""Sets of elements that one view's rights remember."""


class Outline:
    """The elements that may leave, and with which of them a resource is whole: each has a bit, the first the lowest.

    ``head`` and ``tail`` stand before and behind the id of what leaves. ``whole`` are the sets of bits found whole.
    """

    __slots__ = ("_kind", "_pseudonymous", "_value", "head", "names", "tail", "whole")

    def __init__(self, kind: str, names: tuple[str, ...], rights: Rights) -> None:
        tree = rights.types[kind].tree
        self.names = [name for name in names if name.removeprefix("_") in tree and name not in INHERENT]
        self.head = b'{"resourceType":"%s","id":"' % kind.encode()
        self.tail = b'"' + (_MARKED if rights.pseudonymous else b"")
        bears_value = any(name == "extension" or name.startswith("value") for name in names)
        self._value = kind == "Observation" and rights.types[kind].values and bears_value
        self._kind = kind
        self._pseudonymous = rights.pseudonymous
        self.whole: set[int] = set()

    def stands(self, kept: int) -> bool:
        """Whether nothing is missing and all is valid when the elements of these bits leave, each valid by itself.

        False: the names do not say so, and the values must be looked at.
        """
        if kept in self.whole:
            return True
        whole = self._whole([name for place, name in enumerate(self.names) if kept >> place & 1])
        if whole and len(self.whole) < _MOST:
            self.whole.add(kept)
        return whole

    def _whole(self, names: list[str]) -> bool:
        if self._value and not any(name.startswith("value") for name in names):
            return False
        inherent = INHERENT if self._pseudonymous else INHERENT[:2]
        required = REQUIRED.get(self._kind, ())
        return set(names) >= set(required) and stand_together(self._kind, frozenset({*inherent, *names}))


def outline(kind: str, names: tuple[str, ...], rights: Rights) -> Outline:
    """Return the outline of a type's resources with these elements, in their order."""
    found: Outline | None = rights.outlines.get((kind, names))
    if found is None:
        if len(rights.outlines) >= _MOST:
            rights.outlines.clear()
        found = rights.outlines[kind, names] = Outline(kind, names, rights)
    return found
