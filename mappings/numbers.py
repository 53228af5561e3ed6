"""Numbers as laboratories write them: decimal commas, thousands, comparators, words for "none".

Nothing is guessed. A site profile says how its numbers are written (``Site.decimal_comma``, ``Site.thousands``); a text
that can be read in two ways is *doubtful* and waits for a person, a text that is no number stays a text.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Final

import mappings.tables


@dataclass(frozen=True, slots=True)
class Number:
    """A number that was read. ``comparator`` is FHIR's (``<``, ``<=``, ``>``, ``>=``) or ``""``.

    ``as_sent``: the text was this number already, so that nothing of it is lost. ``doubtful``: it has another reading.
    """

    value: Decimal
    comparator: str = ""
    as_sent: bool = True
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How a site writes numbers: ``decimal_comma``, and the ``thousands`` separator (``""``: none)."""

    decimal_comma: bool = False
    thousands: str = ""

    def read(self, text: str) -> Number | None:
        """Read a text that is one number, with or without a comparator; None: it is not one.

        >>> NumberFormat(decimal_comma=True).read("<0,01")
        Number(value=Decimal('0.01'), comparator='<', as_sent=False, doubtful=False)
        >>> NumberFormat(decimal_comma=True, thousands=".").read("250.000").value
        Decimal('250000')
        >>> NumberFormat(decimal_comma=True, thousands=".").read("1.250").doubtful
        True
        """
        if self.decimal_comma and _PLAIN_COMMA(text):
            return Number(Decimal(text.replace(",", ".")), as_sent=False)
        if self.thousands != "." and _PLAIN(text):
            return Number(Decimal(text))
        return self._read_with_care(text)

    def _read_with_care(self, text: str) -> Number | None:
        if len(text) > _LONGEST:
            return None
        comparator, rest = split_comparator(text)
        rest = rest.replace("\u00a0", " ").replace("\u202f", " ").replace("\u2212", "-").strip()
        read = self._digits(rest)
        if read is None:
            return None
        value, doubtful = read
        return Number(value, comparator, as_sent=text == f"{comparator}{value:f}", doubtful=doubtful)

    def _digits(self, text: str) -> tuple[Decimal, bool] | None:
        doubtful = False
        text = text.removeprefix("+").strip()
        if self.thousands and self.thousands in text:
            ungrouped = self._without_thousands(text)
            if ungrouped is None:
                return None
            text, doubtful = ungrouped
        if self.decimal_comma and "." not in text:
            text = text.replace(",", ".", 1)
        if not _NUMBER(text):
            return None
        value = Decimal(text)
        return (plain(value), doubtful) if _reasonable(value) else None

    def _without_thousands(self, text: str) -> tuple[str, bool] | None:
        """Take the thousands separators away. Second of the pair: the text has another reading."""
        separator = re.escape(self.thousands)
        decimal = "," if self.decimal_comma else r"\."
        if not re.fullmatch(rf"-?\d{{1,3}}(?:{separator}\d{{2,3}})*{separator}\d{{3}}(?:{decimal}\d*)?", text):
            # Not grouped: HL7's own decimal point, where the site's thousands separator is a point too.
            return (text, False) if self.thousands == "." else None
        if self.thousands == "." and text.lstrip("-").startswith("0"):
            return text, False
        doubtful = self.thousands == "." and text.count(".") == 1 and "," not in text and not text.endswith("000")
        return text.replace(self.thousands, ""), doubtful

    def read_range(self, text: str) -> tuple[Decimal | None, Decimal | None] | None:
        """Read a reference range as (low, high); None: it is not one, or can be read in two ways.

        >>> NumberFormat(decimal_comma=True).read_range("11,5-13,5")
        (Decimal('11.5'), Decimal('13.5'))
        >>> NumberFormat().read_range(">=2.06"), NumberFormat().read_range("< 5"), NumberFormat().read_range("negative")
        ((Decimal('2.06'), None), (None, Decimal('5')), None)
        """
        match = _RANGE(text) if len(text) <= _LONGEST else None
        if match is None:
            return self._one_sided(text)
        low, high = self.read(match[1]), self.read(match[2])
        if low is None or high is None or low.doubtful or high.doubtful or low.value > high.value:
            return None
        return low.value, high.value

    def _one_sided(self, text: str) -> tuple[Decimal | None, Decimal | None] | None:
        number = self.read(text)
        if number is None or number.doubtful or not number.comparator:
            return None
        return (number.value, None) if number.comparator.startswith(">") else (None, number.value)


def is_plain(text: str, thousands: str) -> bool:
    """Say whether a text is a number whatever the decimal sign of the site, as it would be written here."""
    return thousands != "." and _PLAIN(text) is not None


_LONGEST: Final = 200
"""Longer texts are neither numbers nor ranges."""

_PLAIN: Final = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,17})?", re.ASCII).fullmatch
_PLAIN_COMMA: Final = re.compile(r"-?(?:0|[1-9]\d{0,17}),\d{1,17}", re.ASCII).fullmatch
_NUMBER: Final = re.compile(r"-?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,2})?", re.ASCII).fullmatch
_RANGE: Final = re.compile(
    r"\s*\[?([+-]?[\d.,' \u00a0]*\d)\s*(?:[-\u2013\u2014]|\.\.\.?|\b(?:to|a|until)\b)\s*([+-]?[\d.,' \u00a0]*\d)\]?\s*"
).fullmatch


def _reasonable(value: Decimal) -> bool:
    return -30 <= value.adjusted() <= 30


def plain(value: Decimal) -> Decimal:
    """Return the same number without an exponent.

    >>> plain(Decimal("1.4E+3")), plain(Decimal("1.50"))
    (Decimal('1400'), Decimal('1.50'))
    """
    return Decimal(f"{value:f}")  # whatever the precision of the context


def split_comparator(text: str) -> tuple[str, str]:
    """Split what is written before a number into FHIR's comparator and the rest.

    >>> split_comparator("inf. 0.5"), split_comparator("≥ 3"), split_comparator("=7"), split_comparator("7")
    (('<', '0.5'), ('>=', '3'), ('', '7'), ('', '7'))
    """
    text = text.strip()
    if not text or text[0].isdigit():
        return "", text
    folded = text.casefold()
    for written, comparator in comparators():
        if folded.startswith(written):
            rest = text[len(written) :].lstrip()
            if rest[:1].isdigit() or rest[:1] in {"-", "+", ".", ","}:
                return comparator, rest
    return "", text


@cache
def comparators() -> tuple[tuple[str, str], ...]:
    """Return (as written, FHIR comparator), longest first; ``comparators.csv``."""
    pairs = [(row["sent"].casefold(), row["comparator"]) for row in _rows("comparators.csv")]
    return tuple(sorted(pairs, key=lambda pair: -len(pair[0])))


@cache
def absent_texts() -> Mapping[str, str]:
    """Return words that say why there is no value -> code of data-absent-reason; ``absent_values.csv``."""
    return {row["sent"]: row["reason"] for row in _rows("absent_values.csv")}


def absent_reason(text: str) -> str:
    """Return the data-absent-reason code that a text stands for, ``""`` when it is none of the known ones.

    >>> absent_reason(" N.D. "), absent_reason("vedi nota"), absent_reason("tracce")
    ('unknown', 'as-text', '')
    """
    return absent_texts().get(" ".join(text.casefold().split()), "")


def _rows(name: str) -> list[dict[str, str]]:
    text = files(mappings.tables).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
