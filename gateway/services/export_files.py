"""The files of an export while it is written: which part comes next in which file, and where reading goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct, msgpack

from gateway.ports import Export, Part, Shown
from gateway.ports.exports import PartKind
from gateway.services.export_order import Right

MOST: Final = 250_000
"""Resources of a file, about: then another begins, so that a client can fetch several at once."""


class FileState(Struct, array_like=True):
    """A file that is written: its number in the export, how many parts and lines it has."""

    number: int
    parts: int = 0
    count: int = 0


class Cursor(Struct, array_like=True):
    """Where an export goes on: behind this patient of this view (by place in the order).

    ``after``: within this patient, behind this change. ``open``: the files that take parts, by kind and type.
    """

    view: int = 0
    patient: str = ""
    after: int = 0
    files: int = 0
    open: dict[str, FileState] = {}

    def next_view(self) -> None:
        """Go on with the next view."""
        self.view, self.patient, self.after = self.view + 1, "", 0

    def behind(self, patient: str, after: int = 0) -> None:
        """Go on behind a patient, or behind a change of the patient."""
        self.patient, self.after = patient, after

    def packed(self) -> bytes:
        """Return it as it is stored."""
        return msgpack.encode(self)


_CURSORS: Final = msgpack.Decoder(Cursor)


def cursor_of(export: Export) -> Cursor:
    """Return where an export goes on."""
    return _CURSORS.decode(export.cursor) if export.cursor else Cursor()


class Piece(Struct, frozen=True, array_like=True, gc=False):
    """A part of which nobody has said yet in which file it comes next."""

    kind: PartKind
    type: str
    count: int
    about: bytes
    body: bytes
    shown: tuple[Shown, ...]


def pieces_of(
    kind: PartKind, type: str, right: Right, lines: Sequence[bytes], shown: Sequence[Shown] = ()
) -> Iterator[Piece]:
    """Yield lines as a piece, if there are any."""
    if lines:
        yield Piece(kind, type, len(lines), msgpack.encode(right), b"\n".join(lines) + b"\n", tuple(shown))


class Files:
    """Takes pieces into files, as parts that follow each other there."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.parts: list[Part] = []

    @property
    def number(self) -> int:
        """How many files there are."""
        return self.cursor.files

    def add(self, piece: Piece) -> None:
        """Add a piece to the file of its kind and type."""
        file = self._file(piece.kind, piece.type)
        place = file.number, file.parts
        self.parts.append(Part(*place, piece.kind, piece.type, piece.count, piece.about, piece.body, piece.shown))
        file.parts += 1
        file.count += piece.count

    def _file(self, kind: PartKind, type: str) -> FileState:
        name = f"{kind} {type}"
        file = self.cursor.open.get(name)
        if file is None or file.count >= MOST:
            file = self.cursor.open[name] = FileState(self.cursor.files)
            self.cursor.files += 1
        return file
