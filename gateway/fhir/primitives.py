"""One rule per primitive type (FHIR R4, 2.24.0.1 Primitive Types).

Stricter than the specification's patterns where these let through what no receiver wants: dates must exist in the
calendar, text must hold more than white space and no control characters, base64 must decode.
"""

from __future__ import annotations

import binascii
import re
from calendar import monthrange
from decimal import Decimal
from typing import Any, Final

from gateway.fhir.narrative import check_narrative
from gateway.fhir.rules import Broken, Rule, Scope

_TEXT: Final = re.compile(r"[\t\n\r -\ud7ff\ue000-\U0010ffff]+").fullmatch
_WORD: Final = re.compile(r"[^\s\x00-\x1f\x7f\ud800-\udfff]+").fullmatch
_CODE: Final = re.compile(r"[^\s\x00-\x1f\x7f\ud800-\udfff]+( [^\s\x00-\x1f\x7f\ud800-\udfff]+)*").fullmatch
_URL: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*:(//[^\s/?#:@]+)?[^\s/]|/?[A-Za-z0-9.#-])[^\s\x00-\x1f\x7f]*"
).fullmatch
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}").fullmatch
_OID: Final = re.compile(r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+").fullmatch
_UUID: Final = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_MIME: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9*][a-z0-9!#$&^_.+*-]*(\s*;.*)?", re.I).fullmatch
_CURRENCY: Final = re.compile(r"[A-Z]{3}").fullmatch
_BASE64: Final = re.compile(r"[0-9A-Za-z+/=\s]+").fullmatch

_YEAR: Final = r"(?!0000)(?P<year>[0-9]{4})"
_MONTH: Final = r"(?P<month>0[1-9]|1[0-2])"
_DAY: Final = r"(?P<day>0[1-9]|[12][0-9]|3[01])"
_CLOCK: Final = r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
_ZONE: Final = r"(Z|[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
_DATE: Final = re.compile(f"{_YEAR}(-{_MONTH}(-{_DAY})?)?").fullmatch
_DATETIME: Final = re.compile(f"{_YEAR}(-{_MONTH}(-{_DAY}(T{_CLOCK}{_ZONE})?)?)?").fullmatch
_INSTANT: Final = re.compile(f"{_YEAR}-{_MONTH}-{_DAY}T{_CLOCK}{_ZONE}").fullmatch
_TIME: Final = re.compile(_CLOCK).fullmatch

_LATE: Final = frozenset({"29", "30", "31"})
_LONGEST_TEXT: Final = 1024 * 1024


def boolean(value: Any, _: Scope) -> None:
    """``true`` or ``false``."""
    if value is not True and value is not False:
        raise Broken("must be true or false")


def text(value: Any, _: Scope) -> None:
    """``string`` and ``markdown``: not empty, no control characters but tab and line ends."""
    if not isinstance(value, str):
        raise Broken("must be a string")
    if not value or value.isspace():
        raise Broken("is empty")
    if len(value) > _LONGEST_TEXT:
        raise Broken("is longer than 1 MB")
    if not value.isprintable() and not _TEXT(value):
        raise Broken("holds a control character")


def uri(value: Any, _: Scope) -> None:
    """``uri`` and ``canonical``: no white space, not empty."""
    if not isinstance(value, str):
        raise Broken("must be a string")
    if not value:
        raise Broken("is empty")
    if (" " in value or not value.isprintable()) and not _WORD(value):
        raise Broken("is not a URI: it holds white space or a control character")


def code(value: Any, _: Scope) -> None:
    """``code``: single spaces inside only."""
    if not isinstance(value, str):
        raise Broken("must be a string")
    if not value:
        raise Broken("is empty")
    if (" " in value or not value.isprintable()) and not _CODE(value):
        raise Broken("is not a code: white space at an end, twice, or a control character")


def id_(value: Any, _: Scope) -> None:
    """``id`` of a resource: 1 to 64 of letters, digits, ``-`` and ``.``."""
    if not isinstance(value, str) or not _ID(value):
        raise Broken("is not an id: 1 to 64 letters, digits, - or .")


def element_id(value: Any, _: Scope) -> None:
    """``id`` of an element: a string without white space."""
    if not isinstance(value, str) or not _WORD(value):
        raise Broken("must be a string without white space")


def _matched(pattern: Any, wrong: str) -> Rule:
    def rule(value: Any, _: Scope) -> None:
        if not isinstance(value, str) or not pattern(value):
            raise Broken(wrong)

    return rule


def _calendar(pattern: Any, wrong: str) -> Rule:
    def rule(value: Any, _: Scope) -> None:
        if not isinstance(value, str):
            raise Broken("must be a string")
        found = pattern(value)
        if found is None:
            raise Broken(wrong)
        if found["day"] in _LATE and int(found["day"]) > monthrange(int(found["year"]), int(found["month"]))[1]:
            raise Broken("is not in the calendar")

    return rule


def _whole(least: int, name: str) -> Rule:
    def rule(value: Any, _: Scope) -> None:
        if not isinstance(value, int) or value is True or value is False:
            raise Broken(f"must be a whole number ({name})")
        if not least <= value <= 2147483647:
            raise Broken(f"is out of the range of {name}")

    return rule


def decimal(value: Any, _: Scope) -> None:
    """``decimal``: a finite ``Decimal`` or an ``int``; a float is no longer what was sent."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise Broken("is not a finite number")
    elif not isinstance(value, int) or value is True or value is False:
        raise Broken("must be a Decimal or an int")


def base64(value: Any, _: Scope) -> None:
    """``base64Binary``: decodes, white space aside."""
    if not isinstance(value, str):
        raise Broken("must be a string")
    if not value:
        raise Broken("is empty")
    try:
        if not _BASE64(value):
            raise Broken("is not base64")
        binascii.a2b_base64("".join(value.split()).encode("ascii"), strict_mode=True)
    except binascii.Error:
        raise Broken("is not base64") from None


def xhtml(value: Any, _: Scope) -> None:
    """``xhtml``: see ``narrative``."""
    if not isinstance(value, str):
        raise Broken("must be a string")
    if wrong := check_narrative(value):
        raise Broken(wrong)


mime: Final = _matched(
    lambda value: _MIME(value) or value in {"json", "xml", "ttl", "xhtml"}, "is not a media type (BCP 13)"
)
currency: Final = _matched(_CURRENCY, "is not a currency code (ISO 4217)")

PRIMITIVES: Final[dict[str, Rule]] = {
    "base64Binary": base64,
    "boolean": boolean,
    "canonical": uri,
    "code": code,
    "date": _calendar(_DATE, "is not a date"),
    "dateTime": _calendar(_DATETIME, "is not a dateTime: a time needs seconds and a zone"),
    "decimal": decimal,
    "id": id_,
    "instant": _calendar(_INSTANT, "is not an instant: date, time with seconds and zone are needed"),
    "integer": _whole(-2147483648, "integer"),
    "markdown": text,
    "oid": _matched(_OID, "is not an OID"),
    "positiveInt": _whole(1, "positiveInt"),
    "string": text,
    "time": _matched(_TIME, "is not a time"),
    "unsignedInt": _whole(0, "unsignedInt"),
    "uri": uri,
    "url": _matched(_URL, "is not a URL"),
    "uuid": _matched(_UUID, "is not a UUID"),
    "xhtml": xhtml,
}
