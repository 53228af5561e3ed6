"""Single values against what is asked of them, for ``naive_search``."""

from __future__ import annotations

import calendar
import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.chance import BASE, Resource

FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


def plain(value: str) -> str:
    return re.sub(r"\\([,|$\\])", r"\1", value)


def holds(kind: str, value: Any, wanted: str, modifier: str, names: tuple[str, str | None]) -> bool:
    """Whether one value is what is asked; ``names``: of the parameter, and of the system a code implies."""
    if kind == "token":
        return token(value, wanted, modifier, names[1])
    if kind == "reference":
        return reference(value, wanted, modifier, names[0])
    if kind == "string":
        return any(text(each, plain(wanted), modifier) for each in strings(value))
    if kind == "uri":
        return value == wanted or value.split("|")[0] == wanted
    prefix, wanted = (wanted[:2], wanted[2:]) if re.match("[a-z]{2}", wanted) else ("eq", wanted)
    return moment(value, prefix, wanted) if kind == "date" else quantity(value, prefix, wanted)


def token(value: Any, wanted: str, modifier: str, system: str | None) -> bool:
    if modifier == "text":
        written = [value.get("text"), value.get("display"), *(each.get("display") for each in value.get("coding", []))]
        return any(text(each, plain(wanted), "") for each in written if each)
    parts = [plain(part) for part in re.split(r"(?<!\\)\|", wanted)]
    if modifier == "of-type":
        kinds = [(each.get("system"), each.get("code")) for each in value.get("type", {}).get("coding", [])]
        return (parts[0], parts[1]) in kinds and value.get("value") == parts[2]
    if isinstance(value, dict):
        return any(coded(each, parts) for each in value.get("coding", [value] if "text" not in value else []))
    return primitive(str(value).lower() if isinstance(value, bool) else value, parts, system)


def primitive(value: str, parts: list[str], system: str | None) -> bool:
    if system is None:
        return parts == [value]
    return (len(parts) == 1 or parts[0] in ("", system)) and parts[-1].lower() in ("", value.lower())


def coded(value: Resource, parts: list[str]) -> bool:
    code = value.get("code", value.get("value"))
    if len(parts) == 2 and value.get("system", "") != parts[0]:
        return False
    return parts[-1] in ("", code) or (not is_identifier(value) and str(code).lower() == parts[-1].lower())


def is_identifier(value: Resource) -> bool:
    return "value" in value and value.get("system") not in ("phone", "email")


def reference(value: Resource, wanted: str, modifier: str, name: str) -> bool:
    if modifier == "identifier":
        return "identifier" in value and token(value["identifier"], wanted, "", None)
    literal, asked = value.get("reference"), wanted.replace(f"{BASE}/", "")
    if literal is None:
        return False
    if "/" not in asked:
        types = [modifier] if modifier else ["Patient"] if name in ("patient", "subject", "individual") else None
        kind, _, rest = literal.replace(f"{BASE}/", "").partition("/")
        return rest.split("/_history/")[0] == asked and (types is None or kind in types) and kind.isalpha()
    here = literal.replace(f"{BASE}/", "")
    return here == asked or here.split("/_history/")[0] == asked


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        return
    for key, each in value.items():
        if key not in ("use", "type", "period"):
            yield from each if isinstance(each, list) else [each]


def text(value: str, wanted: str, modifier: str) -> bool:
    if modifier == "exact":
        return value == wanted
    one, two = (
        "".join(sign for sign in unicodedata.normalize("NFD", each) if unicodedata.category(sign) != "Mn").lower()
        for each in (value, wanted)
    )
    return two in one if modifier == "contains" else one[: len(two)] == two


# --- dates: closed spans of moments -----------------------------------------------------------------------------------


def span(written: str) -> tuple[datetime, datetime]:
    """Return the first and the last moment that a date or time may mean."""
    if len(written) == 4:
        return span(f"{written}-01")[0], span(f"{written}-12")[1]
    if len(written) == 7:
        year, month = map(int, written.split("-"))
        return span(f"{written}-01")[0], span(f"{written}-{calendar.monthrange(year, month)[1]}")[1]
    if len(written) == 10:
        start = datetime.fromisoformat(written).replace(tzinfo=UTC)
        return start, start + timedelta(days=1) - INSTANT
    start = datetime.fromisoformat(written)
    start = start if start.tzinfo else start.replace(tzinfo=UTC)
    clock = re.split("[Z+-]", written[11:])[0]
    width = (
        timedelta(minutes=1)
        if len(clock) == 5
        else timedelta(seconds=1)
        if len(clock) == 8
        else timedelta(milliseconds=1)
    )
    return start, start + width - INSTANT


def moments(value: Any) -> tuple[datetime, datetime] | None:
    if isinstance(value, str):
        return span(value)
    if "event" in value:
        spans = [span(each) for each in value["event"]]
        return min(one for one, _ in spans), max(two for _, two in spans)
    start, end = value.get("start"), value.get("end")
    return (span(start)[0] if start else FIRST, span(end)[1] if end else LAST) if start or end else None


def moment(value: Any, prefix: str, wanted: str) -> bool:
    found = moments(value)
    if found is None:
        return False
    (start, end), (low, high) = found, span(wanted)
    inside, width = low <= start and end <= high, high - low + INSTANT
    return {
        "eq": inside,
        "ne": not inside,
        "gt": end > high,
        "lt": start < low,
        "ge": end > high or inside,
        "le": start < low or inside,
        "sa": start > high,
        "eb": end < low,
        "ap": start <= high + width and end >= low - width,
    }[prefix]


# --- quantities: samples of all the values that a resource allows -----------------------------------------------------

UNITS = {
    "g/L": ("mass", "1"), "mg/dL": ("mass", "0.01"), "mg/L": ("mass", "0.001"), "mmol/L": ("amount", "0.001"),
    "umol/L": ("amount", "0.000001"), "mm[Hg]": ("pressure", "1"),
}  # fmt: skip
TINY, HUGE = Decimal("1e-15"), Decimal("1e9")


def quantity(value: Resource, prefix: str, wanted: str) -> bool:
    number, *unit = wanted.split("|")
    either = value.get("low") or value.get("high") or value
    factor = scale(either, *unit) if unit else Decimal(1)
    if factor is None:
        return False
    asked = Decimal(number)
    half = Decimal(5).scaleb(asked.as_tuple().exponent - 1)
    low, high = (asked - half) * factor, (asked + half) * factor
    asked *= factor
    lowest, highest = limits(value)
    near = [abs(asked) / 10 * sign + asked for sign in (-1, 0, 1)]
    samples = [lowest, highest, *(each for each in near if lowest < each < highest)]
    return {
        "eq": all(low <= each < high for each in samples),
        "ne": not all(low <= each < high for each in samples),
        "gt": any(each > asked for each in samples),
        "lt": any(each < asked for each in samples),
        "ge": any(each >= asked for each in samples),
        "le": any(each <= asked for each in samples),
        "sa": all(each > asked for each in samples),
        "eb": all(each < asked for each in samples),
        "ap": any(near[0] <= each <= near[2] for each in samples),
    }[prefix]


def scale(value: Resource, system: str, code: str) -> Decimal | None:
    """Return how many of the value's unit one of the unit asked for is, None for another thing."""
    if not system:
        return Decimal(1) if code in (value.get("code"), value.get("unit")) else None
    if value.get("system") != system:
        return None
    if code in ("", value.get("code")):
        return Decimal(1)
    (one, first), (two, second) = UNITS.get(code, ("?", "1")), UNITS.get(value.get("code", ""), ("!", "1"))
    return Decimal(first) / Decimal(second) if one == two else None


def limits(value: Resource) -> tuple[Decimal, Decimal]:
    if "low" in value or "high" in value:
        return limits(value["low"])[0] if "low" in value else -HUGE, limits(value["high"])[
            1
        ] if "high" in value else HUGE
    number = Decimal(value["value"])
    return {
        "<": (-HUGE, number - TINY),
        "<=": (-HUGE, number),
        ">": (number + TINY, HUGE),
        ">=": (number, HUGE),
    }.get(value.get("comparator", ""), (number, number))
