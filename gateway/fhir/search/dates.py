"""Parameters of type date (FHIR R4 3.1.1.4.7 "date", 3.1.1.4.5 "Prefixes").

Every date is a range: ``2024-01`` is the whole of January, a second the whole second, a Period from the start of its
start to the end of its end, without bound where it has none. Ranges are half open, in microseconds. A time without a
zone is taken as UTC.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from math import inf
from typing import Any, Final

from gateway.fhir.search.grammar import Test, Unfit, prefixed

Range = tuple[float, float]
"""From (included) and to (excluded), in microseconds since 0001-01-01 UTC; infinite where there is no bound."""

_SECOND: Final = 1_000_000
_MINUTE: Final = 60 * _SECOND
_DAY: Final = 24 * 60 * _MINUTE
_WRITTEN: Final = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>0[1-9]|1[0-2])(?:-(?P<day>0[1-9]|[12][0-9]|3[01])"
    r"(?:T(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9]|60)(?:\.(?P<part>[0-9]{1,9}))?)?"
    r"(?P<zone>Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])?)?)?)?"
)


@lru_cache(maxsize=8192)
def range_of(text: str) -> Range:
    """Return the range a date or time stands for. Raises ``Unfit``.

    >>> low, high = range_of("2024-02")
    >>> (high - low) / 86_400_000_000
    29.0
    """
    found = _WRITTEN.fullmatch(text)
    if found is None or found["year"] == "0000":
        raise Unfit("is not a date or time")
    year, month = int(found["year"]), int(found["month"] or 1)
    days = monthrange(year, month)[1]
    day = int(found["day"] or 1)
    if day > days:
        raise Unfit("is not a date or time")
    start = date(year, month, day).toordinal() * _DAY
    if found["hour"] is None:
        return start, start + _length(found, year, days)
    time = int(found["hour"]) * 60 * _MINUTE + int(found["minute"]) * _MINUTE - _offset(found["zone"])
    return _moment(start + time, found)


def _length(found: re.Match[str], year: int, days: int) -> int:
    """Return how long a year, a month or a day is."""
    if found["month"] is None:
        return (date(year, 12, 31).toordinal() - date(year, 1, 1).toordinal() + 1) * _DAY
    return days * _DAY if found["day"] is None else _DAY


def _moment(start: int, found: re.Match[str]) -> Range:
    if found["second"] is None:
        return start, start + _MINUTE
    start += int(found["second"]) * _SECOND
    part = found["part"]
    if part is None:
        return start, start + _SECOND
    digits = part[:6]
    width = 10 ** (6 - len(digits))
    start += int(digits) * width
    return start, start + width


def _offset(zone: str | None) -> int:
    if zone in (None, "Z"):
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    return (-minutes if zone[0] == "-" else minutes) * _MINUTE


# --- values of a resource -------------------------------------------------------------------------------------------


def _period(value: dict[str, Any]) -> Range | None:
    start, end = value.get("start"), value.get("end")
    if start is None and end is None:
        return None
    return (range_of(start)[0] if start else -inf), (range_of(end)[1] if end else inf)


def _timing(value: dict[str, Any]) -> Range | None:
    """Return the outer limits of a schedule: its events and its bounds; what lies between is not looked at."""
    ranges = [range_of(event) for event in value.get("event", ()) if event is not None]
    bounds = _period(value.get("repeat", {}).get("boundsPeriod", {}))
    if bounds is not None:
        ranges.append(bounds)
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None


_READERS: Final[dict[str, Callable[[Any], Range | None]]] = {
    "date": range_of,
    "dateTime": range_of,
    "instant": range_of,
    "Period": _period,
    "Timing": _timing,
}


def reader(datatype: str) -> Callable[[Any], Range | None] | None:
    """Return what reads the range of a value of a datatype, None for one that is no date (a string, an Age)."""
    return _READERS.get(datatype)


# --- comparisons ----------------------------------------------------------------------------------------------------


def _approximate(low: float, high: float) -> Callable[[float, float], bool]:
    """Return ``ap``: overlaps the range widened on both sides by its own length (systems may choose their width)."""
    width = high - low
    return lambda start, end: start < high + width and end > low - width


_COMPARISONS: Final[dict[str, Callable[[float, float], Callable[[float, float], bool]]]] = {
    "eq": lambda low, high: lambda start, end: low <= start and end <= high,
    "ne": lambda low, high: lambda start, end: start < low or end > high,
    "gt": lambda low, high: lambda start, end: end > high,
    "lt": lambda low, high: lambda start, end: start < low,
    "ge": lambda low, high: lambda start, end: end > high or (low <= start and end <= high),
    "le": lambda low, high: lambda start, end: start < low or (low <= start and end <= high),
    "sa": lambda low, high: lambda start, end: start >= high,
    "eb": lambda low, high: lambda start, end: end <= low,
    "ap": _approximate,
}


def day(text: str, datatype: str) -> Test | None:
    """Return the test for one date, None where the datatype has no range."""
    prefix, written = prefixed(text)
    holds = _COMPARISONS[prefix](*range_of(written))
    read = reader(datatype)
    if read is None:
        return None
    if read is range_of:
        return lambda value: holds(*range_of(value))
    return _of_ranges(read, holds)


def _of_ranges(read: Callable[[Any], Range | None], holds: Callable[[float, float], bool]) -> Test:
    def test(value: Any) -> bool:
        found = read(value)
        return found is not None and holds(*found)

    return test
