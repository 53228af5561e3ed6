"""``TS``, ``DTM``, ``DT``, ``TM`` and ``DR`` to FHIR ``date``, ``dateTime``, ``instant``, ``time`` and ``Period``.

Precision is preserved: a date stays a date. FHIR wants seconds and an offset beside a time of day. Seconds the sender
left out are written ``:00``; an offset it left out is that of the site's zone. What cannot be read is left out with a
finding.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.hl7v2.message import Field, Message
from gateway.model.site import Site
from mappings.context import Context
from mappings.datatypes.layouts import by_site_layout

_TS: Final = re.compile(
    r"(?P<year>\d{4})(?:(?P<month>\d\d)(?:(?P<day>\d\d)(?:(?P<hour>\d\d)(?:(?P<minute>\d\d)"
    r"(?:(?P<second>\d\d)(?P<fraction>\.\d{1,9})?)?)?)?)?)?(?P<offset>Z|[+-]\d{4})?",
    re.ASCII,
)
_USUAL: Final = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?([+-]\d{4})?", re.ASCII).fullmatch
_PLAIN: Final = re.compile(
    r"(?!0000)[0-9]{4}(?:0[1-9]|1[0-2])(?:0[1-9]|1[0-9]|2[0-8])"
    r"(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9][+-](?:0[0-9]|1[0-3])[0-5][0-9]"
).fullmatch
"""A moment to the second with its offset, on a day that every month has."""

_PLAIN_DAY: Final = re.compile(r"(?!0000)\d{4}(?:0[1-9]|1[0-2])(?:0[1-9]|1\d|2[0-8])", re.ASCII).fullmatch

_TM: Final = re.compile(r"(\d\d)(\d\d)(?:(\d\d)(\.\d{1,9})?)?(?:[+-]\d{4})?", re.ASCII)
_OFFSET: Final = re.compile(r"[+-](?:0\d|1[0-3])[0-5]\d|[+-]1400", re.ASCII)

_PRECISION: Final = {"Y": 4, "L": 6, "D": 8}
"""TS.2, the degree of precision of versions before 2.5: how many digits count. H, M and S are finer than a day."""

_SENTINEL_BIRTHS: Final = frozenset({"1900-01-01", "1800-01-01", "1111-11-11"})
"""Birth dates that registration desks type for "not known"."""


class _Unreadable(ValueError):
    """Not a date; the text says what is wrong without the value."""


def ts_datetime(found: Field, context: Context) -> str | None:
    """Convert a ``TS`` or ``DTM`` to a FHIR ``dateTime``.

    ==============  ===========================  ==============================================
    v2              FHIR                         rule
    ==============  ===========================  ==============================================
    YYYY[MM[DD]]    YYYY[-MM[-DD]]               precision is preserved
    YYYYMMDDHH      YYYY-MM-DD                   minutes are not invented; finding
    ...HHMM         ...THH:MM:00+hh:mm           FHIR requires seconds
    [+/-ZZZZ]       offset                       as sent, else that of the site's zone
    TS.2            precision                    Y, L and D cut the value (up to 2.4)
    ==============  ===========================  ==============================================

    A time that occurs twice when summer time ends takes the earlier moment, with a finding ``ambiguous``; one that is
    skipped when it begins keeps the offset before the change, with a finding. Layouts that only this site uses are read
    by ``Site.date_formats``. Returns None, with a finding, for what is not a date.

    See HL7 v2.5.1 2.A.75 and 2.A.22, and the v2-to-FHIR map ``TS[dateTime]``.
    """
    if usual := usual_datetime(found.raw, context.zone):
        return usual
    text = found.component(1).strip()
    if not text:
        return None
    try:
        parts = _parts(text, context.site)
    except _Unreadable as error:
        context.finding(f"{error}: left out")
        return None
    return _fhir_text(parts, found.component(2), context)


def usual_datetime(raw: str, zone: ZoneInfo) -> str | None:
    """Return the ``dateTime`` of what most senders write: a day, or date and time to the minute or second.

    None: it takes a closer look (``ts_datetime``), as it is no date or something is to be said of it.
    """
    if _PLAIN(raw):
        return f"{raw[:4]}-{raw[4:6]}-{raw[6:8]}T{raw[8:10]}:{raw[10:12]}:{raw[12:14]}{raw[14:17]}:{raw[17:]}"
    if _PLAIN_DAY(raw):
        return f"{raw[:4]}-{raw[4:6]}-{raw[6:]}"
    if (match := _USUAL(raw)) is None:
        return None
    year, month, day, hour, minute, second, offset = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0))  # noqa: DTZ001
    except ValueError:
        return None
    if offset is None:
        offset = _zone_offset(zone, moment.replace(second=0))
    elif not _OFFSET.fullmatch(offset):
        return None
    return f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}{offset[:3]}:{offset[3:]}" if offset else None


def ts_date(found: Field, context: Context) -> str | None:
    """Convert a ``TS``, ``DTM`` or ``DT`` to a FHIR ``date``: as ``ts_datetime`` without the time of day."""
    text = ts_datetime(found, context)
    return text[:10] if text else None


def ts_instant(found: Field, context: Context) -> str | None:
    """Convert a ``TS`` or ``DTM`` to a FHIR ``instant``; None, with a finding, when it says less than the minute."""
    text = ts_datetime(found, context)
    if text is not None and "T" not in text:
        context.finding("no time of day: an instant cannot be made of it")
        return None
    return text


def birth_date(found: Field, context: Context) -> str | None:
    """Convert PID-7 to ``Patient.birthDate``.

    A date that desks type for "not known" (``19000101``) is left out with a finding. A year before 1900 or after the
    next, or a value that is no date, keeps the Patient back for a person: it may be of another calendar.
    """
    text = ts_date(found, context)
    if text is None:
        context.hold("unreadable birth date")
        return None
    if text in _SENTINEL_BIRTHS:
        context.finding("stands for an unknown birth date: left out")
        return None
    if not 1900 <= int(text[:4]) <= context.received_at.year + 1:
        context.finding("implausible birth date")
        context.hold("implausible birth date")
    return text


def tm_time(found: Field, context: Context) -> str | None:
    """Convert a ``TM`` to a FHIR ``time``; seconds not sent are ``:00``, an offset is dropped with a finding."""
    text = found.component(1)
    match = _TM.fullmatch(text)
    if match is None or not _is_time(match[1], match[2], match[3] or "00"):
        context.finding("not a time of day with minutes: left out")
        return None
    if "+" in text or "-" in text:
        context.finding("a FHIR time has no offset: dropped")
    return f"{match[1]}:{match[2]}:{match[3] or '00'}{match[4] or ''}"


def dr_period(found: Field, context: Context) -> dict[str, Any] | None:
    """Convert a ``DR`` (DR-1 start, DR-2 end) to a FHIR ``Period``; None when neither end is valued."""
    start = ts_datetime(found.nested(1), context) if found.component(1) else None
    end = ts_datetime(found.nested(2), context) if found.component(2) else None
    return period(start, end, context)


def period(start: str | None, end: str | None, context: Context) -> dict[str, Any] | None:
    """Make a ``Period`` of two dateTimes; an end before its start is left out with a finding (FHIR per-1)."""
    made: dict[str, Any] = {}
    if start:
        made["start"] = start
    if end and start and _before(end, start, context.zone):
        context.finding("the period ends before it starts: its end is left out")
    elif end:
        made["end"] = end
    return made or None


def sent_at(message: Message, context: Context) -> datetime | None:
    """Return MSH-7 in UTC; None, with a finding where it is valued, when it does not say at least the minute."""
    context.at(message.msh, 7)
    found = message.msh.field(7)
    text = ts_datetime(found, context) if found and not found.is_null else None
    if text is None:
        return None
    if "T" not in text:
        context.finding("the time of sending has no time of day: the time of receipt orders the message")
        return None
    return utc_of(text, context.zone)


def moment_of(text: str, context: Context) -> datetime:
    """Return ``utc_of`` in the site's zone; what one message says of a time is said of many things."""
    key = ("utc", text)
    known: datetime | None = context.memo.get(key)
    if known is None:
        known = context.memo[key] = utc_of(text, context.zone)
    return known


def utc_of(text: str, zone: ZoneInfo) -> datetime:
    """Return the UTC moment of a FHIR dateTime; a partial date begins at midnight in the zone.

    >>> utc_of("2025-03-12T08:00:00+01:00", ZoneInfo("Europe/Rome")).isoformat()
    '2025-03-12T07:00:00+00:00'
    >>> utc_of("2025-03", ZoneInfo("Europe/Rome")).isoformat()
    '2025-02-28T23:00:00+00:00'
    """
    if len(text) < 10:
        text = f"{text}{'-01-01'[len(text) - 4 :]}"
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(UTC)


# --- the parts ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _zone_offset(zone: ZoneInfo, moment: datetime) -> str:
    """Return the offset of a zone at a local time as ``+0100``; ``""`` where the clocks change, or it has seconds."""
    here, again = (moment.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    if here is None or here != again or here.total_seconds() % 60:
        return ""
    minutes = int(here.total_seconds()) // 60
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"


def _parts(text: str, site: Site) -> dict[str, str | None]:
    match = _TS.fullmatch(text)
    if match is None:
        match = _TS.fullmatch(by_site_layout(text, site))
    if match is None:
        raise _Unreadable("not a date of HL7 v2")
    parts = match.groupdict()
    try:
        _moment(parts)
    except ValueError:
        raise _Unreadable("a date or time that does not exist") from None
    if (offset := parts["offset"]) and offset != "Z" and not _OFFSET.fullmatch(offset):
        raise _Unreadable("an offset from UTC that does not exist")
    return parts


def _fhir_text(parts: dict[str, str | None], degree: str, context: Context) -> str:
    year, month, day, hour = parts["year"], parts["month"], parts["day"], parts["hour"]
    assert year is not None, "the pattern requires it"  # noqa: S101 - tells the type checker, not a check of input
    digits = _PRECISION.get(degree, 14)
    if month is None or digits == 4:
        return year
    if day is None or digits == 6:
        return f"{year}-{month}"
    date = f"{year}-{month}-{day}"
    if hour is None or digits == 8:
        return date
    minute, second = parts["minute"], parts["second"] or "00"
    if minute is None:
        context.finding("an hour without minutes: kept as a date")
        return date
    return f"{date}T{hour}:{minute}:{second}{parts['fraction'] or ''}{_offset(parts, context)}"


def _offset(parts: dict[str, str | None], context: Context) -> str:
    sent = parts["offset"]
    if sent == "Z":
        return "+00:00"
    if sent:
        return f"{sent[:3]}:{sent[3:]}"
    local = _moment(parts).replace(tzinfo=context.zone)
    earlier, later = local.utcoffset(), local.replace(fold=1).utcoffset()
    if earlier is not None and later is not None and earlier != later:
        if earlier > later:
            context.finding("ambiguous: this time occurs twice when the clocks go back; the earlier one is meant")
        else:
            context.finding("this time does not occur: the clocks go forward over it")
    minutes = round(earlier.total_seconds() / 60) if earlier is not None else 0  # local mean time has seconds
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _moment(parts: dict[str, str | None]) -> datetime:
    names = ("year", "month", "day", "hour", "minute", "second")
    numbers = [int(parts[name] or (1 if name in {"month", "day"} else 0)) for name in names]
    return datetime(*numbers)  # type: ignore[arg-type]  # noqa: DTZ001 - six ints; the zone is added by the caller


def _before(one: str, other: str, zone: ZoneInfo) -> bool:
    """Say whether a dateTime lies before another; where either is a date, at the precision both have."""
    shared = min(len(one), len(other))
    if shared <= 10:
        return one[:shared] < other[:shared]
    return utc_of(one, zone) < utc_of(other, zone)


def _is_time(hour: str, minute: str, second: str) -> bool:
    return int(hour) < 24 and int(minute) < 60 and int(second) < 60
