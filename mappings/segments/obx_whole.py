"""An Observation put together from parts that are checked and written already (``obx_parts``).

Times, people and what comes of the order are made once per order, so that only the value is new with each result. The
rows of ``OBX_OBSERVATION`` make all of it: a result put together is, byte for byte, what the segment map makes of it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from datetime import datetime
from decimal import Decimal
from typing import Final

from msgspec import Struct

from gateway.errors import InvalidResource
from gateway.fhir.codec import decode
from gateway.fhir.parts import written, written_datetime
from gateway.fhir.piecewise import check_together
from gateway.hl7v2.message import Segment
from gateway.model.names import ANALYSED
from mappings.context import Context, Draft, Sealed
from mappings.datatypes.ts import ts_datetime, usual_datetime
from mappings.segments.obx import effective, performers
from mappings.segments.obx_meaning import Meaning
from mappings.segments.obx_order import AHEAD, Order, lies_ahead
from mappings.segments.obx_parts import KIND, Elements, Part, measured, standing
from mappings.segments.obx_value import value
from mappings.statements import effective_date

EACH_TIME: Final = frozenset({"OBX-5", "OBX-14", "OBX-16", "OBX-19", "OBX-21"})
"""First fields of the rows that make no shared part: this module applies them to every OBX."""

_PADDING: Final = [""] * 24
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,6})?", re.ASCII).fullmatch
"""A number that a Decimal is printed as."""

_SIMPLE_VALUES: Final = frozenset(
    {"valueQuantity", "valueString", "valueCodeableConcept", "valueRange", "valueRatio", "valueDateTime"}
    | {"valueTime", "valuePeriod", "dataAbsentReason"}
)
_ANALYSED: Final = b'{"url":"%b","valueDateTime":' % ANALYSED.encode()


class _Shared(Struct, frozen=True):
    """Elements that results of one order share: their names and JSON; of times, the moment and whether it is ahead."""

    names: tuple[str, ...] = ()
    text: bytes = b""
    date: datetime | None = None
    ahead: bool = False


_NOTHING: Final = _Shared()
_QUANTITY: Final = ("valueQuantity",)
_EXTENSION: Final = ("extension",)


def put_together(obx: Segment, draft: Draft, order: Order, known: Meaning, context: Context) -> Sealed | None:
    """Fill a new draft from parts and seal it. None: nothing was done, this OBX is for the segment map to convert.

    ``known`` is what its code and unit mean. It is for the segment map where a field is nulled, where the result has
    an identifier of its own (OBX-21), where a finding has to be said of a part (it names the place), where the value
    takes more than one element, and where something is not valid FHIR.
    """
    fields = obx.fields()
    if len(fields) < len(_PADDING):
        fields = fields + _PADDING[len(fields) :]
    if fields[21] or context.tracing or '""' in obx.line:
        return None
    context.segment = obx
    what, how = measured(obx, fields, known, order.dialect, context), standing(obx, fields, order.dialect, context)
    if what is None or how is None:
        return None
    outer, context.current, said = context.current, draft, len(context.findings)
    try:
        sealed = _sealed(_Result(obx, fields, known, order, context), what, how, draft)
    except InvalidResource:
        sealed = None  # the check of the whole says what, in its turn
    context.current = outer
    if sealed is None:
        while len(context.findings) > said:  # the segment map says them, in its order
            context.findings.popitem()
        return None
    draft.sealed, draft.body = sealed, {}
    return sealed


class _Result(Struct):
    """One OBX: its fields, empty ones to the last that is read; what its code and unit mean; its order."""

    obx: Segment
    fields: list[str]
    known: Meaning
    order: Order
    context: Context


def _sealed(result: _Result, what: Part, how: Part, draft: Draft) -> Sealed | None:
    """Return the body; None: its value is for the segment map."""
    fields, order, context = result.fields, result.order, result.context
    first, last = order.parts.get("around") or _around(result)
    when = order.times.get(fields[14]) or _when(result)
    who = _who(result) if fields[15] or fields[16] or fields[23] else _NOTHING
    said = _value(result, what)
    if said is None:
        return None
    value_names, value_text = said
    extension = _extension(result, what, how)
    names = (
        *first.names, *how.first_names, *what.first_names, *when.names, *who.names, *value_names, *how.last_names,
        *what.last_names, *(_EXTENSION if extension else ()), *last.names,
    )  # fmt: skip
    text = b"".join((
        b'{"resourceType":"Observation","id":"', draft.id.encode(), first.text, how.first_text, what.first_text,
        when.text, who.text, value_text, how.last_text, what.last_text, extension, last.text,
    ))  # fmt: skip
    if names not in context.cache:
        check_together(decode(text[:-1] + b"}"))  # without components nothing but the names of the elements matters
        context.cache[names] = True
    draft.hold(what.held)
    if when.ahead:
        draft.hold(AHEAD)
    for gap in (*how.gaps, *what.gaps):
        context.gaps[gap] = None
    return Sealed(text, names, what.code, when.date, how.status)


# --- made once for the order ------------------------------------------------------------------------------------------


def _around(result: _Result) -> tuple[_Shared, _Shared]:
    """Return what stands behind the id (Observation.subject), and at the end of every result of the order."""
    last = result.order.around(result.context.patient)
    first = {"subject": last.pop("subject")}
    made = _Shared(("subject",), b'",' + written(KIND, first)), _Shared(tuple(last), written(KIND, last))
    result.order.parts["around"] = made
    return made


def _when(result: _Result) -> _Shared:
    context, order = result.context, result.order
    said = len(context.findings)
    elements = effective(result.obx, context) or {}
    date = effective_date(elements, context)
    made = _Shared(tuple(elements), written(KIND, elements), date, lies_ahead(elements, context))
    if len(context.findings) == said:
        order.times[result.fields[14]] = made
    return made


def _who(result: _Result) -> _Shared:
    fields, order, context = result.fields, result.order, result.context
    key: Hashable = (fields[15], fields[16], fields[23])
    kept: _Shared | None = order.parts.get(key)
    if kept is not None:
        return kept
    said = len(context.findings)
    people = performers(result.obx, context)
    made = _Shared(("performer",), written(KIND, {"performer": people})) if people else _NOTHING
    if len(context.findings) == said:
        order.parts[key] = made
    return made


# --- new with each result ---------------------------------------------------------------------------------------------


def _value(result: _Result, what: Part) -> tuple[tuple[str, ...], bytes] | None:
    """Return value[x] or dataAbsentReason, name and text; None: it takes more than one element, or an extension."""
    fields, context = result.fields, result.context
    number = fields[5]
    if what.unit_text and fields[2] == "NM" and context.site.thousands != "." and _NUMBER(number):
        if what.bounded and result.known.is_implausible(Decimal(number)):
            context.hold("implausible value")
        return _QUANTITY, b'"valueQuantity":{"value":%b%b' % (number.encode(), what.unit_text)
    made: Elements | None = value(result.obx, context)
    if not made or len(made) != 1 or not made.keys() <= _SIMPLE_VALUES:
        return None
    return tuple(made), written(KIND, made)


def _extension(result: _Result, what: Part, how: Part) -> bytes:
    text = what.extension_text + how.extension_text
    if result.fields[19]:
        text += _analysed(result)
    return b'"extension":[%b],' % text[:-1] if text else b""


def _analysed(result: _Result) -> bytes:
    """Return the extension for OBX-19; of several times that differ, one each."""
    context, obx = result.context, result.obx
    if usual := usual_datetime(result.fields[19], context.zone):
        return b"%b%b}," % (_ANALYSED, written_datetime(usual))
    context.at(obx, 19)
    times = dict.fromkeys([at for found in obx.repeats(19) if (at := ts_datetime(found, context))])
    return b"".join([b"%b%b}," % (_ANALYSED, written_datetime(at)) for at in times])
