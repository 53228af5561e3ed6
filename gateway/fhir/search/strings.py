"""Parameters of type string and uri (FHIR R4 3.1.1.4.8 "string", 3.1.1.4.12 "uri")."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

from gateway.fhir.search.grammar import Test, Unfit, unescape

PHONETIC: Final = "phonetic"

_PARTS: Final = {
    "HumanName": ("text", "family", "given", "prefix", "suffix"),
    "Address": ("text", "line", "city", "district", "state", "postalCode", "country"),
}
_SOUNDS: Final = {
    sign: digit for digit, signs in enumerate(("bfpv", "cgjkqsxz", "dt", "l", "mn", "r"), 1) for sign in signs
}
_SILENT: Final = "hw"


@lru_cache(maxsize=4096)
def fold(text: str) -> str:
    """Return a text without case and accents, as strings are compared.

    >>> fold("Éva SZABÓ")
    'eva szabo'
    """
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(sign for sign in apart if not unicodedata.combining(sign)).casefold()


def string(text: str, datatype: str, modifier: str, *, name: str = "") -> Test:
    """Return the test for one string: at the start of a value, or of any part of a name or an address.

    ``:contains`` looks anywhere, ``:exact`` compares the whole as it is written. ``phonetic`` compares how words sound.
    """
    wanted = unescape(text)
    if not wanted:
        raise Unfit("is empty")
    compare = _sounding(wanted) if name == PHONETIC else comparison(wanted, modifier)
    if datatype not in _PARTS:
        return compare
    parts = _PARTS[datatype]
    return lambda value: any(compare(part) for part in _parts(value, parts))


def comparison(wanted: str, modifier: str) -> Callable[[Any], bool]:
    """Return the comparison of one text: starts with, ``contains``, ``exact``."""
    if modifier == "exact":
        return lambda value: bool(value == wanted)
    folded = fold(wanted)
    if modifier == "contains":
        return lambda value: folded in fold(value)
    return lambda value: fold(value).startswith(folded)


def _parts(value: dict[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        found = value.get(name)
        if isinstance(found, list):
            yield from (each for each in found if each is not None)
        elif found is not None:
            yield found


def _sounding(wanted: str) -> Callable[[Any], bool]:
    sounds = {sound(word) for word in _words(wanted)}
    return lambda value: not sounds.isdisjoint(sound(word) for word in _words(value))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", fold(text))


def sound(word: str) -> str:
    """Return the Soundex code of a folded word.

    >>> sound("robert"), sound("rupert"), sound("ashcraft")
    ('R163', 'R163', 'A261')
    """
    digits, last = "", _SOUNDS.get(word[0])
    for sign in word[1:]:
        if sign in _SILENT:
            continue
        digit = _SOUNDS.get(sign)
        if digit is not None and digit != last:
            digits += str(digit)
        last = digit
    return (word[0].upper() + digits + "000")[:4]


def uri(text: str, datatype: str, modifier: str) -> Test:
    """Return the test for one URI: equal, ``:below`` (it begins so, at a segment's end) or ``:above`` (the converse).

    A canonical matches without its version where none is asked for.
    """
    wanted = unescape(text)
    if not wanted:
        raise Unfit("is empty")
    if modifier in ("above", "below"):
        return _hierarchic(wanted, modifier)
    if datatype == "canonical":
        return canonical(wanted)
    return lambda value: bool(value == wanted)


def canonical(wanted: str) -> Test:
    """Return the test for a canonical: its version counts where one is asked for."""
    if "|" in wanted:
        return lambda value: bool(value == wanted)
    return lambda value: bool(value.partition("|")[0] == wanted)


def _hierarchic(wanted: str, modifier: str) -> Test:
    if "://" not in wanted:
        raise Unfit("with :above or :below must be a URL, not a URN")
    stem = wanted.rstrip("/")
    if modifier == "below":
        return lambda value: bool(value in (wanted, stem) or value.startswith(stem + "/"))
    return lambda value: bool(value in (wanted, stem) or wanted.startswith(value.rstrip("/") + "/"))
