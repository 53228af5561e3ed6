r"""Escape sequences (HL7 v2 chapter 2, 2.7): what ``\F\`` and its kin stand for, and how to write them.

=====================  =============================================================
sequence               becomes
=====================  =============================================================
``\F\ \S\ \T\ \R\``    the field, component, subcomponent and repetition separator
``\E\ \P\``            the escape and (2.7) the truncation character
``\Xdd..\``            the bytes, decoded in the character set of the message
``\.br\``              a newline
``\H\ \N\``            nothing: they mark highlighting
any other              itself, as sent
=====================  =============================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from gateway.hl7v2.delimiters import Delimiters

_KNOWN = r"(?P<known>[FSTREPHN]|[Xx](?:[0-9A-Fa-f]{2})+|\.[Bb][Rr])"
_OTHER = r"(?:[CM][0-9A-Fa-f]+|Z[0-9A-Za-z]*|\.[A-Za-z]{2}[+-]?[0-9]*)"


@lru_cache(maxsize=256)
def unescaper(delimiters: Delimiters, charset: str) -> Callable[[str], str]:
    r"""Return the function that resolves the escape sequences of a text.

    ``charset`` is the Python codec that ``\X..\`` is decoded with; bytes it cannot decode leave the sequence as sent.

    >>> unescaper(Delimiters(), "latin-1")(r"a\T\b\XE9\\Z1\ ")
    'a&bé\\Z1\\ '
    """
    escape = delimiters.escape
    if not escape:
        return str
    mark = re.escape(escape)
    pattern = re.compile(f"{mark}(?:{_KNOWN}|{_OTHER}){mark}")
    fixed = {name: character for name, character in _letters(delimiters).items() if character}
    fixed.update(H="", N="")

    def resolve(found: re.Match[str]) -> str:
        name = found["known"]
        if name is None:
            return found[0]
        if name in fixed:
            return fixed[name]
        if name[0] == ".":
            return "\n"
        return _decoded(name[1:], charset, found[0]) if name[0] in "Xx" else found[0]

    def unescape(text: str) -> str:
        return pattern.sub(resolve, text) if escape in text else text

    return unescape


def escape(text: str, delimiters: Delimiters) -> str:
    r"""Return ``text`` written so that it can stand inside a field; ``unescaper`` gives it back.

    Without an escape character delimiters cannot be written: they become blanks.

    >>> escape("a|b^c\nd", Delimiters())
    'a\\F\\b\\S\\c\\.br\\d'
    """
    return text.translate(_table(delimiters))


@lru_cache(maxsize=256)
def _table(delimiters: Delimiters) -> dict[int, str]:
    mark = delimiters.escape
    written = {character: f"{mark}{name}{mark}" for name, character in _letters(delimiters).items() if character}
    written |= {"\n": f"{mark}.br{mark}", "\r": f"{mark}X0D{mark}"}
    return {ord(character): sequence if mark else " " for character, sequence in written.items()}


def _letters(delimiters: Delimiters) -> dict[str, str]:
    return {
        "F": delimiters.field,
        "S": delimiters.component,
        "T": delimiters.subcomponent,
        "R": delimiters.repetition,
        "E": delimiters.escape,
        "P": delimiters.truncation,
    }


def _decoded(digits: str, charset: str, as_sent: str) -> str:
    try:
        return bytes.fromhex(digits).decode(charset)
    except UnicodeDecodeError:
        return as_sent
