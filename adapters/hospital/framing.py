"""MLLP framing: blocks out of a stream of bytes, however the stream was cut.

A block is ``<VT> content <FS><CR>`` (HL7 v2 chapter 2, appendix C, minimal lower layer protocol). What senders get
wrong is read as far as the meaning is plain: ``<FS><LF>`` or an ``<FS>`` right before the next ``<VT>`` end a block
too, and line ends between blocks are nothing. What has no plain meaning comes out as ``Stray``, never silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

START: Final = 0x0B
STOP: Final = 0x1C
KEPT: Final = 64 * 1024
"""How many bytes are kept of what is too large or stands outside any block."""

_ENDS: Final = frozenset((0x0D, 0x0A, START))
_BETWEEN: Final = b"\r\n \t\x00"


@dataclass(frozen=True, slots=True)
class Oversize:
    """A block larger than allowed: its first ``KEPT`` bytes (no more than are allowed) and how many there were."""

    head: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Stray:
    """Bytes that are no block: the first ``KEPT`` of them.

    ``ended``: an end block followed, so the sender takes it for a message and waits for an answer.
    """

    content: bytes
    ended: bool


Piece = bytes | Oversize | Stray


def frame(content: bytes) -> bytes:
    r"""Return the block that carries ``content``.

    >>> frame(b"MSH|")
    b'\x0bMSH|\x1c\r'
    """
    return b"\x0b" + content + b"\x1c\r"


class BlockReader:
    """Finds blocks in a stream. Memory stays below ``limit`` plus one chunk, whatever is sent."""

    def __init__(self, limit: int = 16 * 1024 * 1024) -> None:
        self._limit = limit
        self._kept = min(KEPT, limit)
        self._buffer = bytearray()
        self._inside = False
        self._looked = 0
        self._dropped = 0

    @property
    def open(self) -> bool:
        """Whether a block, or something that should have been one, has begun and not ended."""
        return self._inside or bool(self._buffer)

    def feed(self, data: bytes) -> list[Piece]:
        """Return what is complete now that ``data`` has come: the contents of blocks, ``Oversize`` and ``Stray``."""
        self._buffer += data
        pieces: list[Piece] = []
        while self._inside or self._open_block(pieces):
            end = self._find_end()
            if end < 0:
                self._bound(self._limit)
                break
            pieces.append(self._close_block(end))
        return pieces

    def finish(self) -> list[Piece]:
        """Return what is left when nothing more will come: at most one piece. A block that ends in FS is whole."""
        content, inside = bytes(self._buffer), self._inside
        fits = self._dropped + len(content) <= self._limit + 1
        whole = fits and content.endswith(b"\x1c")
        self._cut_to(len(content))
        if inside:
            return [content[:-1]] if whole else [Stray(content[: KEPT if fits else self._kept], ended=True)]
        content = content[:KEPT].strip(_BETWEEN)
        return [Stray(content, ended=False)] if content else []

    def _open_block(self, pieces: list[Piece]) -> bool:
        """Go to the next start block, giving out what stands before it; False when there is none yet."""
        while True:
            self._skip_line_ends()
            start = self._buffer.find(START)
            end = self._find_end() if start else -1
            if end >= 0 and (start < 0 or end < start):
                pieces.append(self._stray(end, ended=True))
                self._cut(end)
            elif start >= 0:
                if start:
                    pieces.append(self._stray(start, ended=False))
                self._cut_to(start + 1)
                self._inside = True
                return True
            else:
                self._bound(KEPT)
                return False

    def _skip_line_ends(self) -> None:
        place = 0
        while place < len(self._buffer) and self._buffer[place] in _BETWEEN:
            place += 1
        del self._buffer[:place]

    def _stray(self, end: int, *, ended: bool) -> Stray:
        return Stray(bytes(self._buffer[: min(end, KEPT)]).rstrip(_BETWEEN), ended)

    def _find_end(self) -> int:
        """Return where the end block stands, or -1."""
        at = self._buffer.find(STOP, self._looked)
        while 0 <= at < len(self._buffer) - 1:
            if self._buffer[at + 1] in _ENDS:
                return at
            at = self._buffer.find(STOP, at + 1)
        self._looked = len(self._buffer) if at < 0 else at
        return -1

    def _close_block(self, end: int) -> Piece:
        """Take the block that ends at ``end`` out of the buffer."""
        size = self._dropped + end
        fits = size <= self._limit
        content = bytes(self._buffer[: end if fits else self._kept])
        self._cut(end)
        return content if fits else Oversize(content, size)

    def _cut(self, end: int) -> None:
        """Forget everything up to and with the end block at ``end``; a start block after FS stays."""
        self._cut_to(end + 1 if self._buffer[end + 1] == START else end + 2)

    def _cut_to(self, place: int) -> None:
        del self._buffer[:place]
        self._inside, self._looked, self._dropped = False, 0, 0

    def _bound(self, limit: int) -> None:
        """Keep only the head, and a last FS, of what is already larger than ``limit``."""
        if self._dropped + len(self._buffer) <= limit + 1:
            return
        kept = min(KEPT, limit)
        drop = self._looked - kept
        if drop > 0:
            del self._buffer[kept : self._looked]
            self._dropped += drop
            self._looked = kept
