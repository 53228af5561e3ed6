"""The files of an export while it is written: which part comes next in which file, and where reading goes on."""

from __future__ import annotations

from collections.abc import Sequence
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

    ``after``: within the next patient, behind this change. ``open``: the files that take parts, by kind and type.
    """

    view: int = 0
    patient: str = ""
    after: int = 0
    files: int = 0
    open: dict[str, FileState] = {}

    def next_view(self) -> None:
        """Go on with the next view."""
        self.view, self.patient, self.after = self.view + 1, "", 0

    def behind(self, patient: str) -> None:
        """Go on behind a patient."""
        self.patient, self.after = patient, 0

    def packed(self) -> bytes:
        """Return it as it is stored."""
        return msgpack.encode(self)


_CURSORS: Final = msgpack.Decoder(Cursor)


def cursor_of(export: Export) -> Cursor:
    """Return where an export goes on."""
    return _CURSORS.decode(export.cursor) if export.cursor else Cursor()


class Files:
    """Takes lines into parts. ``finished``: patients that were written whole since it was made."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.parts: list[Part] = []
        self.finished = 0

    @property
    def number(self) -> int:
        """How many files there are."""
        return self.cursor.files

    def add(self, kind: PartKind, type: str, right: Right, lines: Sequence[bytes], shown: Sequence[Shown] = ()) -> None:
        """Add lines as a part of the file of their kind and type."""
        if not lines:
            return
        file = self._file(kind, type)
        body = b"\n".join(lines) + b"\n"
        about = msgpack.encode(right)
        self.parts.append(Part(file.number, file.parts, kind, type, len(lines), about, body, tuple(shown)))
        file.parts += 1
        file.count += len(lines)

    def _file(self, kind: PartKind, type: str) -> FileState:
        name = f"{kind} {type}"
        file = self.cursor.open.get(name)
        if file is None or file.count >= MOST:
            file = self.cursor.open[name] = FileState(self.cursor.files)
            self.cursor.files += 1
        return file
