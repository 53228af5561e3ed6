"""Strict conformance: does a message keep to the standard as its version has it? For feeds that ask for it.

Checked are the structure (missing, unknown and misplaced segments), required fields, repetition, and the syntax of
numbers, dates and times. Lengths and table values are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from gateway.errors import MessageError, Place, StructureError
from gateway.hl7v2.field import Field
from gateway.hl7v2.message import Message, Segment
from gateway.hl7v2.reference import FieldRule, Item, Resolved, field_rules, resolve
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


def check(message: Message) -> list[MessageError]:
    """Return where the message breaks the standard, in its order; [] when nowhere. Codes are of table 0357.

    Z segments are allowed anywhere; a message whose structure is not known has its fields checked alone.
    """
    reading = resolved(message)
    errors: list[MessageError] = []
    if reading.layout is not None:
        names = tuple(segment.name for segment in message.segments)
        fitted = fit(reading.layout, names)
        strays = [message.segments[position] for position in fitted.stray]
        errors += [StructureError("no such segment here", stray.place(), SEQUENCE) for stray in strays]
        errors += _missing(fitted.root, names)
    for segment in message.segments:
        errors += _fields(segment, reading.version)
    return errors


def _missing(shape: Shape, names: tuple[str, ...]) -> Iterator[MessageError]:
    for index, item in enumerate(() if shape.layout.choice else shape.layout.items):
        if item.needed and not shape.counts[index]:
            name = _first_needed(item)
            before = names[: shape.start()].count(name) if shape.children else 0
            yield StructureError("the segment is missing", Place(name, before + 1), SEQUENCE)
    for child in shape.children:
        if isinstance(child, Shape):
            yield from _missing(child, names)


def _first_needed(item: Item) -> str:
    if item.group is None:
        return item.name
    return next(_first_needed(child) for child in item.group.items if child.needed)


def _fields(segment: Segment, version: str) -> Iterator[MessageError]:
    for rule in field_rules(version, segment.name) or ():
        if segment.name == "MSH" and rule.number < 3:
            continue
        yield from _field(segment, rule)
    if segment.name == "OBX":
        yield from _values(segment, FieldRule(5, False, True, segment.value(2)))


def _field(segment: Segment, rule: FieldRule) -> Iterator[MessageError]:
    valued = segment.repeats(rule.number)
    if not valued:
        if rule.required:
            yield StructureError("the field is required", segment.place(rule.number), REQUIRED)
        return
    if len(valued) > 1 and not rule.repeats:
        yield StructureError("the field may not repeat", segment.place(rule.number, 2), DATA_TYPE)
    yield from _values(segment, rule)


def _values(segment: Segment, rule: FieldRule) -> Iterator[MessageError]:
    right = _SYNTAX.get(rule.datatype)
    if right is None:
        return
    for number, field in enumerate(segment.all_repeats(rule.number), 1):
        if _has_value(field) and not right(field.text):
            words = f"not of data type {rule.datatype}"
            yield StructureError(words, segment.place(rule.number, number), DATA_TYPE)


def _has_value(field: Field) -> bool:
    return bool(field) and bool(field.text)
