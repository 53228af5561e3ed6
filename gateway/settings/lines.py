"""Where in a file a setting stands, so that an error can name the line."""

from __future__ import annotations

import re

_HEADER = re.compile(r"^\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_\-\"'. ]+?)\s*=")


def line_of(text: str, location: tuple[int | str, ...]) -> int:
    r"""Return the line (from 1) of a TOML key given by its path, or of the deepest part of the path that is there.

    >>> line_of('a = 1\n[b]\nc = 2\n', ("b", "c"))
    3
    >>> line_of('[[feeds]]\nid = 1\n[[feeds]]\nid = 2\n', ("feeds", 1, "id"))
    4
    """
    wanted = [part for part in location if part != "__root__"]
    best, depth = 1, 0
    for number, path in _paths(text):
        common = _common(path, wanted)
        if common > depth:
            best, depth = number, common
    return best


def _paths(text: str) -> list[tuple[int, list[int | str]]]:
    found: list[tuple[int, list[int | str]]] = []
    table: list[int | str] = []
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            names = _split(header[2])
            if header[1] == "[[":
                counts[header[2]] = counts.get(header[2], -1) + 1
                table = [*names, counts[header[2]]]
            else:
                table = _below_last(names, counts)
            found.append((number, table))
        elif key := _KEY.match(line):
            found.append((number, [*table, *_split(key[1])]))
    return found


def _below_last(names: list[int | str], counts: dict[str, int]) -> list[int | str]:
    """``[feeds.tls]`` belongs to the last ``[[feeds]]``."""
    if names and str(names[0]) in counts and len(names) > 1:
        return [names[0], counts[str(names[0])], *names[1:]]
    return names


def _split(dotted: str) -> list[int | str]:
    return [part.strip().strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.]+", dotted)]


def _common(path: list[int | str], wanted: list[int | str]) -> int:
    same = 0
    for one, other in zip(path, wanted, strict=False):
        if one != other:
            break
        same += 1
    return same
