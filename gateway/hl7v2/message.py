"""A lazy view of one message: segments are told apart at once, fields and components when they are asked for."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.errors import Place, StructureError, Unreadable
from gateway.hl7v2.charset import decode
from gateway.hl7v2.delimiters import LONGEST_HEADER, Delimiters, read_delimiters
from gateway.hl7v2.field import Field, Syntax, syntax_of
from gateway.hl7v2.reference import structure_name
from gateway.model.translation import Finding

if TYPE_CHECKING:
    from gateway.hl7v2.structures import Group

__all__ = ["Field", "Message", "Segment", "parse", "parse_text"]

_AROUND = "\ufeff\x0b\x1c\r\n \t\x00"
MOST_SEGMENTS: Final = 100_000
MOST_REPETITIONS: Final = 100_000
_MOST_FIELDS: Final = 10_000
"""Beyond, where no standard has any, the rest of a segment stays one field."""
_SEGMENT_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")


class Segment(Struct, eq=False):
    """One segment: ``position`` counts all segments of the message, ``sequence`` those of its name, both from 1."""

    name: str
    line: str
    position: int
    sequence: int
    _syntax: Syntax
    _fields: list[str] | None = None

    def __repr__(self) -> str:
        return f"<Segment {self.place()}>"

    def place(self, field: int = 0, repetition: int = 1, component: int = 0) -> Place:
        """Return where this segment, or something in it, stands."""
        return Place(self.name, self.sequence, field, repetition, component)

    def raw(self, n: int) -> str:
        """Return field ``n`` as sent, all repetitions and escapes included; ``""`` when absent."""
        fields = self._fields
        if fields is None:
            fields = self._cut()
        return fields[n] if 0 < n < len(fields) else ""

    def fields(self) -> list[str]:
        """Return every field as sent, each at HL7's number; index 0 holds the name. Not to be changed."""
        return self._fields if self._fields is not None else self._cut()

    def field(self, n: int) -> Field:
        """Return the first repetition of field ``n``; an empty ``Field`` when absent. MSH counts as HL7 counts."""
        fields = self._fields
        if fields is None:
            fields = self._cut()
        raw = fields[n] if 0 < n < len(fields) else ""
        syntax = self._syntax
        if raw and syntax.repetition and syntax.repetition in raw and not self._is_msh_2(n):
            raw = raw.partition(syntax.repetition)[0]
        return Field(raw, syntax)

    def repeats(self, n: int) -> list[Field]:
        """Return the valued repetitions of field ``n`` in order."""
        return [field for field in self.all_repeats(n) if field]

    def all_repeats(self, n: int) -> list[Field]:
        """Return every repetition of field ``n``, the empty ones too, so that the index is HL7's; [] when absent.

        Raises ``StructureError`` for more than ``MOST_REPETITIONS``.
        """
        raw = self.raw(n)
        if not raw:
            return []
        separator = self._syntax.repetition
        if not separator or separator not in raw or self._is_msh_2(n):
            return [Field(raw, self._syntax)]
        parts = raw.split(separator, MOST_REPETITIONS)
        if len(parts) > MOST_REPETITIONS:
            raise StructureError(f"more than {MOST_REPETITIONS} repetitions", self.place(n), "102")
        return [Field(part, self._syntax) for part in parts]

    def value(self, n: int, component: int = 1) -> str:
        """Return the text of a component of the first repetition of field ``n``; ``""`` when absent or null."""
        fields = self._fields
        if fields is None:
            fields = self._cut()
        raw = fields[n] if 0 < n < len(fields) else ""
        if not raw or self._is_msh_2(n):
            return raw
        syntax = self._syntax
        if syntax.repetition and syntax.repetition in raw:
            raw = raw.partition(syntax.repetition)[0]
        return syntax.text(raw, component)

    def valued(self) -> list[int]:
        """Return the numbers of the valued fields, ascending."""
        nothing = self._syntax.nothing + self._syntax.repetition
        fields = self._fields
        if fields is None:
            fields = self._cut()
        if self.name == "MSH":
            return [1, 2, *(n for n in range(3, len(fields)) if fields[n].strip(nothing))]
        return [n for n in range(1, len(fields)) if fields[n].strip(nothing)]

    def _cut(self) -> list[str]:
        separator = self._syntax.delimiters.field
        fields = self.line.split(separator, _MOST_FIELDS)
        if self.name == "MSH":
            fields.insert(1, separator)
        self._fields = fields
        return fields

    def _is_msh_2(self, n: int) -> bool:
        return n == 2 and self.name == "MSH"


class Message:
    """A parsed message. ``findings`` grows when ``structures.group`` meets something a person should know."""

    def __init__(
        self,
        raw_text: str,
        delimiters: Delimiters,
        charset: str,
        segments: list[Segment],
        findings: list[Finding],
    ) -> None:
        self.raw_text = raw_text
        self.delimiters = delimiters
        self.charset = charset
        self.segments = segments
        self.findings = findings
        self.msh = segments[0]
        self.grouped: Group | None = None

    def __repr__(self) -> str:
        return f"<Message of {len(self.segments)} segments>"

    def first(self, name: str) -> Segment | None:
        """Return the first segment of that name."""
        for segment in self.segments:
            if segment.name == name:
                return segment
        return None

    def all(self, name: str) -> list[Segment]:
        """Return the segments of that name in order."""
        return [segment for segment in self.segments if segment.name == name]

    def require(self, name: str) -> Segment:
        """Return the first segment of that name; raises ``StructureError`` (100) when there is none."""
        segment = self.first(name)
        if segment is None:
            raise StructureError("the segment is missing", Place(name), "100")
        return segment

    @cached_property
    def type(self) -> str:
        """MSH-9.1, ``ORU``."""
        return self.msh.value(9).partition("_")[0].upper()

    @cached_property
    def event(self) -> str:
        """MSH-9.2, ``R01``; where it is empty (2.1, 2.2), EVN-1 or the only event of the type."""
        return _event(self)

    @cached_property
    def structure(self) -> str:
        """MSH-9.3, ``ORU_R01``; derived from type and event where these tell (table 0354)."""
        return structure_name(self.type, self.event, self.msh.value(9, 3).upper())

    @cached_property
    def version(self) -> str:
        """MSH-12.1 as sent, ``2.5.1``."""
        return self.msh.value(12)

    @cached_property
    def control_id(self) -> str:
        """MSH-10."""
        return self.msh.value(10)

    @cached_property
    def processing_id(self) -> str:
        """MSH-11.1."""
        return self.msh.value(11)

    @property
    def sent_at(self) -> str:
        """MSH-7.1 as sent."""
        return self.msh.value(7)


_ONLY_EVENT = {"ORU": "R01", "ORM": "O01", "ORR": "O02", "ORF": "R04", "RDE": "O01"}


def _event(message: Message) -> str:
    header = message.msh.field(9)
    if event := header.component(2):
        return event.upper()
    if "_" in header.text:
        return header.text.partition("_")[2].upper()
    trigger = message.first("EVN")
    if trigger is not None and (event := trigger.value(1)):
        return event.upper()
    return _ONLY_EVENT.get(header.text.upper(), "")


def parse(raw: bytes, *, default_charset: str = "ASCII", windows_1252: bool = False, utf16: bool = True) -> Message:
    """Return the message in ``raw`` (one message, without MLLP framing or with it).

    ``default_charset`` (table 0211), ``windows_1252`` and ``utf16`` are as for ``charset.decode``. Raises
    ``Unreadable`` naming the place when there is no MSH, no MSH-10, the delimiters or character set cannot be read, the
    header is longer than ``LONGEST_HEADER`` or there are more than ``MOST_SEGMENTS``.
    """
    decoded = decode(raw, default=default_charset, windows_1252=windows_1252, transport_utf16=utf16)
    return _build(decoded.text, decoded.charset, list(decoded.findings))


def parse_text(text: str) -> Message:
    r"""Return the message in ``text``; raises ``Unreadable`` as ``parse`` does.

    >>> parse_text("MSH|^~\\&|LAB||||||ORU^R01|1|P|2.5\rPID|1||7^^^H~8^^^K").require("PID").repeats(3)[1].component(4)
    'K'
    """
    return _build(text, "utf-8", [])


def _build(text: str, charset: str, findings: list[Finding]) -> Message:
    text = text.strip(_AROUND)
    if not text.startswith("MSH"):
        raise Unreadable("the message does not begin with MSH", Place("MSH"))
    delimiters = read_delimiters(text)
    syntax = syntax_of(delimiters, charset)
    segments = _segments(text, syntax, findings)
    if len(segments[0].line) > LONGEST_HEADER:
        raise Unreadable(f"the header is longer than {LONGEST_HEADER} characters", Place("MSH"))
    if not segments[0].value(10):
        raise Unreadable("no message control id", Place("MSH", 1, 10), "101")
    return Message(text, delimiters, charset, segments, findings)


def _segments(text: str, syntax: Syntax, findings: list[Finding]) -> list[Segment]:
    if "\n" in text:
        text = text.replace("\r\n", "\r").replace("\n", "\r")
    separator = syntax.delimiters.field
    is_name = _SEGMENT_NAME.fullmatch
    segments: list[Segment] = []
    counts: dict[str, int] = {}
    broken: dict[int, list[str]] = {}
    for line in text.split("\r"):
        name = line[:3]
        if (line[3:4] == separator or len(line) == 3) and (name in counts or is_name(name)):
            counts[name] = sequence = counts.get(name, 0) + 1
            if len(segments) == MOST_SEGMENTS:
                raise Unreadable(f"more than {MOST_SEGMENTS} segments", Place(name, sequence))
            segments.append(Segment(name, line, len(segments) + 1, sequence, syntax))
        elif line.strip(_AROUND):
            broken.setdefault(len(segments) - 1, []).append(line)
    for position, lines in broken.items():
        findings.append(_continue(segments[position], lines))
    return segments


def _continue(segment: Segment, lines: list[str]) -> Finding:
    """Take lines that begin with no segment name for the rest of a field that had line ends in it."""
    segment.line = "\n".join((segment.line, *lines))
    return Finding(str(segment.place()), "a line that begins with no segment name was read as its rest")
