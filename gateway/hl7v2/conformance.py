"""Strict conformance: does a message keep to the standard as its version has it? For feeds that ask for it.

Checked are the structure (missing, unknown and misplaced segments), required fields, repetition, and the syntax of
numbers, dates and times. Lengths and table values are not.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final

from gateway.errors import MessageError, Place, StructureError
from gateway.hl7v2.message import Message, Segment
from gateway.hl7v2.reference import Item, Resolved, SegmentRules, resolve, segment_rules
from gateway.hl7v2.shapes import Shape, fit

SEQUENCE: Final = "100"
REQUIRED: Final = "101"
DATA_TYPE: Final = "102"

_ZONE = r"(?:[+-](?:0\d|1[0-4])[0-5]\d)?"
_DAY = r"(?:0[1-9]|[12]\d|3[01])"
_MONTH = r"(?:0[1-9]|1[0-2])"
_CLOCK = r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:[0-5]\d(?:\.\d{1,4})?)?)?"
_TIME_STAMP = rf"\d{{4}}(?:{_MONTH}(?:{_DAY}(?:{_CLOCK})?)?)?{_ZONE}"

_SYNTAX: Final[dict[str, Callable[[str], object]]] = {
    "NM": re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)").fullmatch,
    "SI": re.compile(r"\d{1,9}").fullmatch,
    "DT": re.compile(rf"\d{{4}}(?:{_MONTH}{_DAY}?)?").fullmatch,
    "TM": re.compile(rf"{_CLOCK}{_ZONE}").fullmatch,
    "TS": re.compile(_TIME_STAMP).fullmatch,
    "DTM": re.compile(_TIME_STAMP).fullmatch,
}
"""Data types whose syntax is checked (HL7 v2 chapter 2A)."""


def resolved(message: Message) -> Resolved:
    """Return the layout the message is read by."""
    stated = message.msh.value(9, 3).upper()
    return resolve(message.type, message.event, stated, message.version)


def check(message: Message, most: int = 1000) -> list[MessageError]:
    """Return where the message breaks the standard: the first ``most`` places, [] when nowhere; codes of table 0357.

    Z segments are allowed anywhere; a message whose structure is not known has its fields checked alone.
    """
    return list(islice(_errors(message), most))


def _errors(message: Message) -> Iterator[MessageError]:
    reading = resolved(message)
    if reading.layout is not None:
        names = tuple(segment.name for segment in message.segments)
        fitted = fit(reading.layout, names)
        strays = [message.segments[position] for position in fitted.stray]
        yield from (StructureError("no such segment here", stray.place(), SEQUENCE) for stray in strays)
        yield from _missing(fitted.root, _positions(names))
    for segment in message.segments:
        yield from _fields(segment, reading.version, message.delimiters.repetition)


def _positions(names: tuple[str, ...]) -> dict[str, list[int]]:
    positions: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        positions.setdefault(name, []).append(position)
    return positions


def _missing(shape: Shape, positions: Mapping[str, Sequence[int]]) -> Iterator[MessageError]:
    """Yield the segments that are missing; ``positions``: where in the message each name stands, ascending."""
    for index, item in enumerate(() if shape.layout.choice else shape.layout.items):
        if item.needed and index not in shape.taken:
            name = _first_needed(item)
            before = bisect_left(positions.get(name, ()), shape.start()) if shape.children else 0
            yield StructureError("the segment is missing", Place(name, before + 1), SEQUENCE)
    for child in shape.children:
        if isinstance(child, Shape):
            yield from _missing(child, positions)


def _first_needed(item: Item) -> str:
    if item.group is None:
        return item.name
    return next(_first_needed(child) for child in item.group.items if child.needed)


def _fields(segment: Segment, version: str, repetition: str) -> Iterator[MessageError]:
    rules = segment_rules(version, segment.name)
    if rules is None:
        return
    for number in rules.required:
        if not segment.repeats(number):
            yield StructureError("the field is required", segment.place(number), REQUIRED)
    if repetition and repetition in segment.line:
        yield from _repeated(segment, rules)
    for number, right, datatype in _typed(version, segment.name):
        if segment.raw(number):
            yield from _values(segment, number, right, datatype)
    value_type = _SYNTAX.get(segment.value(2)) if segment.name == "OBX" else None
    if value_type is not None:
        yield from _values(segment, 5, value_type, segment.value(2))


@lru_cache(maxsize=4096)
def _typed(version: str, segment: str) -> tuple[tuple[int, Callable[[str], object], str], ...]:
    """Return the fields whose syntax is checked: number, what says that a text is right, data type."""
    rules = segment_rules(version, segment)
    typed = rules.typed if rules else ()
    return tuple((number, _SYNTAX[datatype], datatype) for number, datatype in typed if datatype in _SYNTAX)


def _repeated(segment: Segment, rules: SegmentRules) -> Iterator[MessageError]:
    for number in segment.valued():
        if number in rules.single and len(segment.repeats(number)) > 1:
            yield StructureError("the field may not repeat", segment.place(number, 2), DATA_TYPE)


def _values(segment: Segment, number: int, right: Callable[[str], object], datatype: str) -> Iterator[MessageError]:
    for repetition, field in enumerate(segment.all_repeats(number), 1):
        text = field.text
        if text and not right(text):
            yield StructureError(f"not of data type {datatype}", segment.place(number, repetition), DATA_TYPE)
