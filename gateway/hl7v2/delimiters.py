"""The characters that structure a message, as its own MSH-1 and MSH-2 state them (HL7 v2 chapter 2, 2.5.4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gateway.errors import Place, Unreadable

LONGEST_HEADER: Final = 16 * 1024
"""A longer MSH is not read: what is kept of headers, and answered with their words, stays small."""

_FIELD_SEPARATOR = Place("MSH", 1, 1)
_ENCODING_CHARACTERS = Place("MSH", 1, 2)


@dataclass(frozen=True, slots=True)
class Delimiters:
    r"""One character each. All but ``field`` and ``component`` are ``""`` where MSH-2 is too short to name them.

    >>> Delimiters().encoding_characters
    '^~\\&'
    """

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""

    @property
    def encoding_characters(self) -> str:
        """MSH-2 as it is written."""
        return self.component + self.repetition + self.escape + self.subcomponent + self.truncation


DEFAULT = Delimiters()


def read_delimiters(text: str) -> Delimiters:
    r"""Return the delimiters of a text that begins with a header segment (MSH, FHS or BHS).

    Raises ``Unreadable`` at MSH-1 or MSH-2 when they are missing, letters, digits, blanks, not ASCII, or not distinct.

    >>> read_delimiters("MSH|^~\\&#|LAB").truncation
    '#'
    """
    if len(text) < 4:
        raise Unreadable("no field separator", _FIELD_SEPARATOR)
    field = text[3]
    end = text.find(field, 4)
    encoding = text[4:end] if end > 0 else text[4:].partition("\r")[0].partition("\n")[0]
    return delimiters_of(field, encoding)


@lru_cache(maxsize=256)
def delimiters_of(field: str, encoding: str) -> Delimiters:
    """Return the delimiters that MSH-1 and MSH-2 name; raises ``Unreadable`` as ``read_delimiters`` does."""
    if not _usable(field):
        raise Unreadable("the field separator is not a punctuation character", _FIELD_SEPARATOR)
    if not 1 <= len(encoding) <= 5:
        raise Unreadable("not one to five encoding characters", _ENCODING_CHARACTERS)
    if not all(map(_usable, encoding)):
        raise Unreadable("an encoding character is not a punctuation character", _ENCODING_CHARACTERS)
    if len({field, *encoding}) != 1 + len(encoding):
        raise Unreadable("two delimiters are the same character", _ENCODING_CHARACTERS)
    component, repetition, escape, subcomponent, truncation = (*encoding, "", "", "", "")[:5]
    return Delimiters(field, component, repetition, escape, subcomponent, truncation)


def _usable(character: str) -> bool:
    return "!" <= character <= "~" and not character.isalnum()
