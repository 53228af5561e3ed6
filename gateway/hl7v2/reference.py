"""The structures and fields of each version of the standard, compiled once from the reference that hl7apy ships."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import hl7apy

from gateway.hl7v2.events import EARLIER, GROUPS, STRUCTURES

VERSIONS: Final = ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2")
USUAL_VERSION: Final = "2.5.1"
"""Read when a message does not say its version."""

_OWN_STRUCTURE_PER_EVENT: Final = frozenset({"2.1", "2.2"})
_CONDITIONAL: Final = frozenset({("OBX", 4)})
"""Fields that the reference calls required in some version and the standard conditional (OBX-4: 2.7 to 2.8.2)."""

_MODERN: Final = VERSIONS[2:]


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A segment or group in its place in a structure. ``most`` is 0 where it repeats without bound.

    ``first`` are the names it can begin with when nothing required is left out, ``anywhere`` all names in it;
    ``needed``: something in it is required, and it is itself.
    """

    name: str
    least: int
    most: int
    group: Layout | None
    first: frozenset[str]
    anywhere: frozenset[str]
    needed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A message structure or a group of one: its items in order, or the ``choice`` of one among them."""

    name: str
    items: tuple[Item, ...]
    choice: bool = False

    @property
    def needed(self) -> bool:
        """Whether something in it is required."""
        return (all if self.choice else any)(item.needed for item in self.items)

    @property
    def first(self) -> frozenset[str]:
        """The segment names it can begin with when nothing required is left out."""
        names: frozenset[str] = frozenset()
        for item in self.items:
            names |= item.first
            if item.needed and not self.choice:
                break
        return names

    @property
    def anywhere(self) -> frozenset[str]:
        """Every segment name in it."""
        return frozenset[str]().union(*(item.anywhere for item in self.items))


@dataclass(frozen=True, slots=True)
class SegmentRules:
    """What the standard says of a segment's fields, by number: ``required``, ``single`` (may not repeat), ``typed``.

    ``typed`` holds every field with its data type.
    """

    required: tuple[int, ...]
    single: frozenset[int]
    typed: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The layout a message is read by (None: none known), its version, and what a person should know about that."""

    layout: Layout | None
    structure: str
    version: str
    remarks: tuple[tuple[int, str], ...] = ()
    """(number of the MSH field, words)"""


def nearest_version(text: str) -> str:
    """Return the version of the standard to read a message of version ``text`` by: itself, or the nearest below.

    >>> nearest_version("2.5.1"), nearest_version("2.9"), nearest_version("2.0"), nearest_version("")
    ('2.5.1', '2.8.2', '2.1', '2.5.1')
    """
    if text in VERSIONS:
        return text
    numbers = re.fullmatch(r"(\d)\.(\d)(?:\.(\d))?.*", text.strip())
    if numbers is None:
        return USUAL_VERSION
    wanted = numbers.group(1, 2, 3)
    key = ".".join(part for part in wanted if part)
    return max((version for version in VERSIONS if version <= key), default=VERSIONS[0])


@lru_cache(maxsize=1024)
def structure_name(kind: str, event: str, stated: str) -> str:
    """Return the structure of a type and event; ``stated`` (MSH-9.3) where the event alone does not tell.

    >>> structure_name("ADT", "A08", ""), structure_name("ORU", "R01", ""), structure_name("RSP", "K22", "RSP_K21")
    ('ADT_A01', 'ORU_R01', 'RSP_K21')
    """
    if kind == "ACK":
        return "ACK"
    own = f"{kind}_{event}" if event else kind
    if own in STRUCTURES:
        return STRUCTURES[own]
    if stated.startswith(kind) and _known(stated):
        return stated
    return own if _known(own) or not stated else stated


@lru_cache(maxsize=1024)
def resolve(kind: str, event: str, stated: str, version: str) -> Resolved:
    """Return the layout for MSH-9.1, 9.2, 9.3 and MSH-12.1: of the version, or of the nearest that has it."""
    near = nearest_version(version)
    remarks = []
    if near != version:
        remarks.append((12, f"the version is not known; read as {near}" if version else f"no version; read as {near}"))
    name = structure_name(kind, event, stated)
    if stated not in {"", name, EARLIER.get(name)}:
        remarks.append((9, f"the structure stated is not the event's; read as {name}"))
    wanted = [f"{kind}_{event}", name] if near in _OWN_STRUCTURE_PER_EVENT else [name, EARLIER.get(name, name)]
    for candidate in wanted:
        if candidate in _library(near).MESSAGES:
            return Resolved(_layout(near, candidate), name, near, tuple(remarks))
    for other in sorted(VERSIONS, key=lambda known: abs(VERSIONS.index(known) - VERSIONS.index(near))):
        if name in _library(other).MESSAGES:
            remarks.append((9, f"version {near} has no structure {name}; read as in {other}"))
            return Resolved(_layout(other, name), name, near, tuple(remarks))
    remarks.append((9, "no structure is known for this type and event; segments are not grouped"))
    return Resolved(None, name, near, tuple(remarks))


@lru_cache(maxsize=4096)
def segment_rules(version: str, segment: str) -> SegmentRules | None:
    """Return the rules of the fields of a segment in a version; None when the version has no such segment."""
    reference = _library(version).SEGMENTS.get(segment)
    if reference is None:
        return None
    fields = [(int(name.partition("_")[2]), field, least, most) for name, field, (least, most), _ in reference[1]]
    return SegmentRules(
        tuple(n for n, _, least, _ in fields if least > 0 and (segment, n) not in _CONDITIONAL),
        frozenset(n for n, _, _, most in fields if most == 1),
        tuple((n, field[2] or "") for n, field, _, _ in fields),
    )


def _known(name: str) -> bool:
    return any(name in _library(version).MESSAGES for version in reversed(_MODERN))


def _library(version: str) -> Any:
    return hl7apy.load_library(version)


@lru_cache(maxsize=512)
def _layout(version: str, structure: str) -> Layout:
    return _compile(_library(version).MESSAGES[structure], structure, structure)


def _compile(reference: Any, structure: str, name: str) -> Layout:
    return Layout(name, tuple(_item(child, structure, name) for child in reference[1]), reference[0] == "choice")


def _item(child: Any, structure: str, parent: str) -> Item:
    name, reference, (least, most), kind = child
    most = max(most, 0)
    if kind != "GRP":
        alone = frozenset({name})
        return Item(name, least, most, None, alone, alone, least > 0)
    short = name.removeprefix(structure + "_")
    short = GROUPS.get((structure, short), short)
    # A prior result begins with the prior patient; the standard makes that optional and so every new order ambiguous.
    if parent == "PRIOR_RESULT" and short == "PATIENT_PRIOR":
        least = 1
    group = _compile(reference, structure, short)
    return Item(short, least, most, group, group.first, group.anywhere, least > 0 and group.needed)
