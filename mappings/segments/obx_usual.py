"""OBX-5 as JSON: usual values at once, others as ``obx_value`` converts them, checked and written.

Plain numbers, limits (``<5``) and words are written as they stand. Codes, and words that say why there is no value, are
those of the site and come again, so that they are kept; no other value of a patient is.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from gateway.fhir.parts import written
from gateway.hl7v2.message import Segment
from gateway.model.translation import Gap
from mappings.context import Context, Draft
from mappings.segments.obx_media import NOTED
from mappings.segments.obx_order import order_of
from mappings.segments.obx_parts import KIND, LONGEST, Elements
from mappings.segments.obx_shared import Shared
from mappings.segments.obx_value import CODED, FHIR_COMPARATORS, value

Value = tuple[tuple[str, ...], bytes]
"""The names of the elements, and their JSON with a comma behind each."""

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,6})?").fullmatch
"""A number that a Decimal is printed as."""

_QUANTITY: Final = ("valueQuantity",)
_STRING: Final = ("valueString",)
_SIMPLE: Final = frozenset(
    {"valueQuantity", "valueString", "valueCodeableConcept", "valueRange", "valueRatio", "valueDateTime"}
    | {"valueTime", "valuePeriod", "dataAbsentReason"}
)
_COME_AGAIN: Final = frozenset({("valueCodeableConcept",), ("dataAbsentReason",)})
_TYPES_THAT_COME_AGAIN: Final = CODED | {"NM"}


def usual_number(sent: str, shared: Shared, draft: Draft) -> Value | None:
    """Return the Quantity of a number that needs nothing but to be read; None: it needs more."""
    if not (shared.unit_text and _NUMBER(sent)):
        return None
    if shared.bounded:
        _judge(sent, shared, draft)
    return _QUANTITY, b'"valueQuantity":{"value":' + sent.encode() + shared.unit_text


def said_value(obx: Segment, fields: list[str], shared: Shared, draft: Draft, context: Context) -> Value | None:
    """Return value[x] or dataAbsentReason; None: it takes more than one element, an extension, or a DocumentReference.

    Raises ``InvalidResource`` where it is not valid.
    """
    kind, sent = fields[2], fields[5]
    if len(sent) > LONGEST:
        return None if kind == "ED" else _converted(obx, draft, context)
    if shared.is_words and sent.isalnum():
        return _STRING, b'"valueString":"%b",' % sent.encode()
    if shared.limit_text is not None and (limit := _limit(sent, shared, draft, context)):
        return limit
    if kind not in _TYPES_THAT_COME_AGAIN:
        return _converted(obx, draft, context)
    return _come_again(obx, (kind, sent, fields[11]), draft, context)


def _limit(sent: str, shared: Shared, draft: Draft, context: Context) -> Value | None:
    """Return the Quantity of a number with a comparator (SN); None: it is none."""
    comparator, _, number = sent.partition(context.message.delimiters.component)
    if shared.limit_text is None or comparator not in FHIR_COMPARATORS or not _NUMBER(number):
        return None
    if shared.bounded:
        _judge(number, shared, draft)
    digits, sign = number.encode(), comparator.encode()
    unit, end = shared.limit_text
    return _QUANTITY, b'"valueQuantity":{"value":%b,"comparator":"%b"%b%b%b%b' % (digits, sign, unit, sign, digits, end)


def _judge(number: str, shared: Shared, draft: Draft) -> None:
    if shared.known.is_implausible(Decimal(number)):
        draft.hold("implausible value")


def _come_again(obx: Segment, said: tuple[str, ...], draft: Draft, context: Context) -> Value | None:
    """Return a value from the site's cache, or convert it and keep it there if it is a code or says why there is none.

    ``said`` is all it is made of.
    """
    key = ("value", said, order_of(context).dialect)
    kept: tuple[Value, tuple[Gap, ...]] | None = context.cache.get(key)
    if kept is not None:
        for gap in kept[1]:
            context.gaps[gap] = None
        return kept[0]
    gaps, context.gaps, findings = context.gaps, {}, len(context.findings)
    try:
        made = _converted(obx, draft, context)
        new = tuple(context.gaps)
    finally:
        gaps |= context.gaps
        context.gaps = gaps
    if made is not None and made[0] in _COME_AGAIN and len(context.findings) == findings:
        context.cache[key] = made, new
    return made


def _converted(obx: Segment, draft: Draft, context: Context) -> Value | None:
    outer, context.current = context.current, draft
    made: Elements | None = value(obx, context)
    context.current = outer
    if not made or len(made) != 1 or not made.keys() <= _SIMPLE or NOTED in context.memo:
        return None
    return tuple(made), written(KIND, made)
