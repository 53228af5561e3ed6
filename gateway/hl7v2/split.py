"""Taking files apart: batches (FHS, BHS, BTS, FTS; HL7 v2 chapter 2, 2.10.3) and files of many messages."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gateway.errors import Place
from gateway.hl7v2.charset import wide_codec
from gateway.model.translation import Finding

_HEADER = re.compile(rb"[\r\n\x0b\x1c][ \t]*(MSH|FHS|BHS|BTS|FTS)(?=[^A-Za-z0-9\s]|[\r\n]|\Z)")
_LINE_ENDS = b"\r\n\x0b\x1c\x1a\x00"
_BLANK = b" \t" + _LINE_ENDS


@dataclass(frozen=True, slots=True)
class Part:
    """One message of a file, or a stretch of it that belongs to none (``junk``). ``index`` counts parts from 1."""

    raw: bytes
    index: int
    kind: Literal["message", "junk"] = "message"


class Parts(list[Part]):
    """The parts in the order of the file; ``findings`` tells what the batch segments say that is not so."""

    findings: tuple[Finding, ...] = ()


def split(raw: bytes) -> Parts:
    r"""Return the messages of a file without line ends around them, and the junk between them; blank lines are nothing.

    Batch and file headers and trailers are left out. BTS-1 and FTS-1 that differ from what was counted, and batches
    without a trailer, are reported in ``findings``. UTF-16 and UTF-32 files give parts in UTF-16 or UTF-32.

    >>> [part.kind for part in split(b"BHS|^~\\&\rMSH|^~\\&|A\rPID|1\r\n\r\nMSH|^~\\&|B\rBTS|2\rFTS|1")]
    ['message', 'message']
    """
    wide = wide_codec(raw)
    if not wide:
        return _split(raw.removeprefix(codecs.BOM_UTF8))
    try:
        parts = _split(raw.decode(wide).encode())
    except UnicodeDecodeError:
        return Parts([Part(raw, 1, "junk")])
    codec = wide[:6]
    recoded = Parts(Part(part.raw.decode().encode(codec), part.index, part.kind) for part in parts)
    recoded.findings = parts.findings
    return recoded


class _Reader:
    """Collects the parts and compares what the trailers state with what was seen. None: no such header is open."""

    def __init__(self) -> None:
        self.parts = Parts()
        self.findings: list[Finding] = []
        self._messages: int | None = None
        self._batches: int | None = None
        self._trailers = {"BTS": 0, "FTS": 0}

    def message(self, raw: bytes) -> None:
        self._add(raw, "message")
        if self._messages is not None:
            self._messages += 1

    def junk(self, raw: bytes) -> None:
        if raw.strip(_BLANK):
            self._add(raw, "junk")

    def open_file(self) -> None:
        self._batches = 0

    def open_batch(self) -> None:
        if self._messages is not None:
            self._find(Place("BTS"), "a batch has no trailer")
        self._messages = 0
        if self._batches is not None:
            self._batches += 1

    def close_batch(self, stated: int | None) -> None:
        self._compare("BTS", "messages", stated, self._messages)
        self._messages = None

    def close_file(self, stated: int | None) -> None:
        self._compare("FTS", "batches", stated, self._batches)
        self._batches = None

    def finish(self) -> Parts:
        if self._messages is not None:
            self._find(Place("BTS"), "a batch has no trailer")
        if self._batches is not None:
            self._find(Place("FTS"), "the file has no trailer")
        self.parts.findings = tuple(self.findings)
        return self.parts

    def _add(self, raw: bytes, kind: Literal["message", "junk"]) -> None:
        self.parts.append(Part(raw.strip(_LINE_ENDS), len(self.parts) + 1, kind))

    def _compare(self, name: str, things: str, stated: int | None, counted: int | None) -> None:
        self._trailers[name] += 1
        if counted is None:
            self._find(Place(name, self._trailers[name]), "a trailer without a header")
        elif stated is not None and stated != counted:
            self._find(Place(name, self._trailers[name], 1), f"{stated} {things} stated, {counted} found")

    def _find(self, place: Place, what: str) -> None:
        self.findings.append(Finding(str(place), what))


def _split(raw: bytes) -> Parts:
    reader = _Reader()
    for name, chunk in _chunks(raw):
        if name == b"MSH":
            reader.message(chunk)
            continue
        line, rest = _first_line(chunk) if name else (b"", chunk)
        if name == b"FHS":
            reader.open_file()
        elif name == b"BHS":
            reader.open_batch()
        elif name == b"BTS":
            reader.close_batch(_count(line))
        elif name == b"FTS":
            reader.close_file(_count(line))
        reader.junk(rest)
    return reader.finish()


def _chunks(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name, bytes up to the next header); the name of what stands before the first header is empty."""
    raw = b"\r" + raw
    found = list(_HEADER.finditer(raw))
    starts = [match.start(1) for match in found]
    ends = [*starts, len(raw)]
    yield b"", raw[: ends[0]]
    for match, start, end in zip(found, starts, ends[1:], strict=True):
        yield match[1], raw[start:end]


def _first_line(chunk: bytes) -> tuple[bytes, bytes]:
    line = re.split(rb"[\r\n]", chunk, maxsplit=1)[0]
    return line, chunk[len(line) :]


def _count(line: bytes) -> int | None:
    fields = line.split(line[3:4]) if len(line) > 3 else []
    text = fields[1].strip() if len(fields) > 1 else b""
    return int(text) if text.isdigit() and len(text) < 10 else None
