"""Messages from what a person names: files, batch files, folders, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import GatewayError
from gateway.hl7v2.split import split


def messages_of(paths: list[str]) -> Iterator[tuple[str, int, bytes]]:
    """Yield (name of the file, index in it, bytes) of every message, what is no message included.

    Raises ``GatewayError`` for a path that cannot be read, and when there is nothing in any of them.
    """
    empty = True
    for path in paths:
        for name, content in _files(path):
            for part in split(content):
                empty = False
                yield name, part.index, part.raw
    if empty:
        raise GatewayError(f"{', '.join(paths)}: no message in it; of a folder, files named .hl7 and .txt are read")


def _files(path: str) -> Iterator[tuple[str, bytes]]:
    if path == "-":
        yield "stdin", sys.stdin.buffer.read()
        return
    given = Path(path)
    if not given.exists():
        raise GatewayError(f"{path}: no such file or folder")
    found = sorted(item for item in given.rglob("*") if item.is_file()) if given.is_dir() else [given]
    for item in found:
        if not given.is_dir() or item.suffix.lower() in {".hl7", ".txt"}:
            yield str(item), _content(item)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayError(f"{path}: cannot be read: {error.strerror or type(error).__name__}") from None
