"""Messages from what a person names: files, batch files, folders, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from gateway.hl7v2.split import split


def messages_of(paths: list[str]) -> Iterator[tuple[str, int, bytes]]:
    """Yield (name of the file, index in it, bytes) of every message, what is no message included."""
    for path in paths:
        for name, content in _files(path):
            for part in split(content):
                yield name, part.index, part.raw


def _files(path: str) -> Iterator[tuple[str, bytes]]:
    if path == "-":
        yield "stdin", sys.stdin.buffer.read()
        return
    given = Path(path)
    if not given.exists():
        raise typer.BadParameter(f"{path}: no such file or folder")
    found = sorted(item for item in given.rglob("*") if item.is_file()) if given.is_dir() else [given]
    for item in found:
        if not given.is_dir() or item.suffix.lower() in {".hl7", ".txt"}:
            yield str(item), item.read_bytes()
